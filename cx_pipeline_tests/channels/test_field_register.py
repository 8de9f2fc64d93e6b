from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from cx_pipeline.channels import field_register as register
from cx_pipeline.channels import plots
from cx_pipeline.channels.assets import CANONICAL
from cx_pipeline.channels.checks import every_field_names_its_use_or_why_it_has_none, personal_fields_feed_a_decision
from cx_pipeline.channels.uses import USES
from cx_pipeline.core import vocabulary
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.core.settings import Environment
from cx_pipeline.core.steps import STEPS
from cx_pipeline.definitions import build
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import channel_of

TABLE = load_step("channels")["field_register"]
KNOWN = frozenset(table.full_name for step in STEPS for table in load_step(step).values())
NAMED = sorted({table for use in USES for table in use.tables})
CALLS = channel_of(
    "calls",
    "interaction",
    {
        "no": {"role": "record.id"},
        "at": {"role": "event.at", "logicalType": "timestamp"},
        "mail": {"role": "contact.email", "classification": "personal"},
        "note": {"classification": "personal"},
        "amount": {"role": "order.amount", "logicalType": "number"},
        "seconds": {"role": "event.duration_s", "logicalType": "number"},
    },
)


def rows(known: frozenset[str] = KNOWN) -> pl.DataFrame:
    fills = {"calls": register.filled(lazy(pl.DataFrame({c: ["x", None] for c in CALLS.table.column_names})), CALLS)}
    listed = register.field_register([CALLS], fills, CANONICAL, known, date(2024, 6, 30))
    return pl.DataFrame(listed, schema=TABLE.polars_schema())


def test_the_register_when_fields_have_roles_then_it_says_what_they_feed_and_why_not() -> None:
    by_field = {row["field"]: row for row in rows().iter_rows(named=True)}
    assert list(by_field) == ["no", "at", "mail", "note", "amount", "seconds"]
    assert by_field["at"]["feeds"] == "staging.interactions.event_at"
    assert "profile.timeline" in by_field["at"]["used_by"]
    assert by_field["mail"]["used_by"] == "identity.identifier_xref"
    assert by_field["note"]["reason"] == "it has no role: staged and kept, nothing more"
    assert by_field["amount"]["reason"] == "records of kind interaction have no use for the role order.amount"
    assert all(row["filled_rate"] == 0.5 for row in by_field.values())


def test_a_use_when_its_table_is_not_there_then_it_does_not_count() -> None:
    found = rows(frozenset({"staging.load_manifest"}))
    assert found.filter(pl.col("used_by").is_not_null())["field"].to_list() == ["no"]
    assert found.filter(pl.col("field") == "at")["reason"].item() == "no step reads staging.interactions.event_at yet"


def test_checks_when_a_field_has_neither_use_nor_reason_then_it_is_pointed_out() -> None:
    found = rows()
    assert n_offending(every_field_names_its_use_or_why_it_has_none, channels__field_register=found) == 0
    silent = found.with_columns(reason=pl.lit(None, pl.String))
    assert n_offending(every_field_names_its_use_or_why_it_has_none, channels__field_register=silent) > 0
    assert n_offending(personal_fields_feed_a_decision, channels__field_register=found) == 1


def test_notes_when_fields_are_unused_then_personal_ones_are_named_first() -> None:
    lines = plots.unused_fields(lazy(rows())).splitlines()
    assert lines[2].startswith("- `calls.note` (personal)")


def test_uses_when_compared_with_the_vocabulary_then_every_role_and_kind_is_a_word_of_it() -> None:
    for use in USES:
        assert set(use.kinds) <= set(vocabulary.KINDS), use
        for role in use.roles:
            family = role.removesuffix(".*")
            known = (
                any(word.startswith(f"{family}.") for word in vocabulary.ROLES)
                or family in vocabulary.OPEN_ROLE_FAMILIES
            )
            assert known if role.endswith(".*") else vocabulary.is_role(role), role


def test_uses_when_compared_with_the_contracts_then_every_table_is_there() -> None:
    assert set(NAMED) - KNOWN == set()


@pytest.fixture(scope="module")
def ancestors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Table -> every table it is made of, over the asset graph of the rooms alone."""
    data = tmp_path_factory.mktemp("bare")
    definitions = build(Environment.read({"CX_DATA_DIR": str(data)}))
    graph = definitions.resolve_asset_graph()
    return {
        ".".join(key.path): {".".join(other.path) for other in graph.get_ancestor_asset_keys(key)}
        for key in graph.get_all_asset_keys()
    }


def words_of(named: str) -> list[str]:
    """The roles that a family stands for; of an open family any one."""
    family = named.removesuffix(".*")
    if family in vocabulary.OPEN_ROLE_FAMILIES and named.endswith(".*"):
        return [f"{family}.any"]
    return [role for role in vocabulary.ROLES if role.startswith(f"{family}.")] if named.endswith(".*") else [named]


def test_uses_when_compared_with_the_asset_graph_then_each_table_is_made_of_what_it_is_said_to_read(
    ancestors: dict[str, set[str]],
) -> None:
    for use in USES:
        fed = {
            name.rpartition(".")[0]
            for kind in use.kinds or vocabulary.KINDS
            for named in use.roles
            for role in words_of(named)
            for name in register.canonical_columns(role, kind, CANONICAL[kind])
        }
        for table in use.tables:
            if not table.startswith("staging."):
                assert fed & ancestors[table], (use, table)
