from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.core.errors import ConfigurationError
from cx_pipeline.identity.explain import customer_story, describe, find_subject, pair_story
from cx_pipeline.identity.ledger import LEDGER_SCHEMA
from cx_pipeline_tests.identity.nights import Sources, Tables, customer

PEOPLE = [{"record_id": record, "given_name": "anna"} for record in "abcdef"]


def published(tables: Tables, folder: Path) -> Path:
    (folder / "identity").mkdir(parents=True)
    for name, table in tables.items():
        table.write_parquet(folder / "identity" / f"{name}.parquet")
    return folder


def ends(row: dict[str, object]) -> set[object]:
    return {row["left_value"], row["right_value"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A ring a-b-c-a; e kept from c by a reviewer's word on a; d and f joined by a loyalty card."""
    night = Sources(
        parties=PEOPLE,
        scores={("a", "b"): 9.0, ("b", "c"): 8.0, ("a", "c"): 7.0, ("c", "e"): 6.0},
        carried={"d": [("loyalty", "L1")], "f": [("loyalty", "L1")]},
        verdicts=[("a", "e", "cannot_link")],
    ).night()
    return published(night, tmp_path / "run")


def test_path_when_two_records_are_one_over_others_then_the_fewest_steps_lead_there(tmp_path: Path) -> None:
    cards = {"a": ["L1"], "b": ["L1", "L2", "L4"], "c": ["L2", "L3"], "d": ["L3"], "e": ["L4"]}
    carried = {record: [("loyalty", card) for card in held] for record, held in cards.items()}
    run = published(Sources(parties=PEOPLE[:5], carried=carried).night(), tmp_path / "run")
    story = pair_story(run, find_subject(run, "crm:a"), find_subject(run, "crm:d"))
    assert story.is_one
    assert story.path is not None
    steps = [("a", "L1"), ("b", "L1"), ("b", "L2"), ("c", "L2"), ("c", "L3"), ("d", "L3")]
    assert [ends(row) for row in story.path] == [set(step) for step in steps]


def test_customer_when_records_form_a_ring_then_the_weakest_pair_of_it_holds_nothing(run: Path) -> None:
    story = customer_story(run, find_subject(run, "crm:a"))
    assert [ends(row) for row in story.path] == [{"a", "b"}, {"b", "c"}]
    assert (story.n_records, story.n_edges, story.figures["n_records"]) == (3, 3, 3)
    assert story.ledger["event"].to_list() == ["created"]


def test_pair_when_a_reviewer_has_parted_two_then_the_verdict_and_the_refused_score_are_told(run: Path) -> None:
    story = pair_story(run, find_subject(run, "crm:a"), find_subject(run, "crm:e"))
    assert not story.is_one
    assert [row["rule"] for row in story.parted] == ["cannot_link"]
    of_customers = pair_story(run, find_subject(run, story.left.customer_id), find_subject(run, "crm:e"))
    assert [(ends(row), row["reason"]) for row in of_customers.refused] == [({"c", "e"}, "cannot_link")]
    assert of_customers.pair == (("crm", "c"), ("crm", "e"))


def test_pair_when_a_shared_identifier_was_refused_then_both_ends_of_it_are_told(tmp_path: Path) -> None:
    names = [{"record_id": str(i), "given_name": name} for i, name in enumerate(("anna", "boris", "clara", "david"))]
    night = Sources(parties=names, carried={str(i): [("loyalty", "shared-card")] for i in range(4)}).night()
    run = published(night, tmp_path / "run")
    story = pair_story(run, find_subject(run, "crm:0"), find_subject(run, "crm:1"))
    assert [(row["left_value"], row["reason"]) for row in story.refused] == [
        ("0", "hot_identifier"),
        ("1", "hot_identifier"),
    ]
    assert "loyalty shared-card" in describe(story.refused[0])


def test_subject_when_an_id_was_absorbed_then_its_heir_is_meant(tmp_path: Path) -> None:
    apart = Sources(parties=PEOPLE[:2]).night()
    joined = Sources(parties=PEOPLE[:2], scores={("a", "b"): 9.0}).night(2, apart)
    run = published(joined, tmp_path / "run")
    living = customer(joined, "a")
    (old,) = {customer(apart, "a"), customer(apart, "b")} - {living}
    story = customer_story(run, find_subject(run, old))
    assert story.customer_id == living
    assert story.ledger["event"].to_list() == ["created", "created", "merged", "absorbed"]
    assert story.ledger.schema == LEDGER_SCHEMA


@pytest.mark.parametrize("text", ["crm:zz", "C-nobody", "nochannel:a"])
def test_subject_when_nobody_is_called_that_then_the_error_says_what_to_give(run: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="channel:record_id"):
        find_subject(run, text)


def test_tables_when_a_run_of_an_earlier_version_lacks_one_then_the_error_names_it(run: Path) -> None:
    subject = find_subject(run, "crm:a")
    (run / "identity" / "edges.parquet").unlink()
    with pytest.raises(ConfigurationError, match=r"identity\.edges"):
        customer_story(run, subject)


def test_describe_when_an_identifier_is_a_hash_then_only_its_beginning_is_shown(run: Path) -> None:
    row = pl.read_parquet(run / "identity" / "edges.parquet").filter(pl.col("rule") == "loyalty").to_dicts()[0]
    assert describe(row | {"right_value": "0123456789abcdef"}).endswith(
        "loyalty 0123456789ab...  [deterministic: loyalty]"
    )
