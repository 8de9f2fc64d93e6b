from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml

from cx_pipeline.channels.drift import Drift
from cx_pipeline.channels.policy import DriftPolicy
from cx_pipeline.channels.proposal import Proposal, changed, draft, propose_changes, quoted
from cx_pipeline.channels.samples import LandedColumns
from cx_pipeline.core.contract import load_channel
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline_tests.tiny_company import PEOPLE, PLANTED, SHOP, register_rows, shop_rows, write_contract

BLOCK = """\
# The register.
apiVersion: v3.2.0
kind: DataContract
id: crm
version: 1.0.0
status: active
schema:
  - name: crm
    customProperties: [{property: kind, value: party}]   # one row a person
    properties:
      - name: key
        logicalType: string
        required: true
        customProperties: [{property: role, value: record.id}]
      - {name: mail, logicalType: string, required: true}   # to be dropped one day
      - name: visits
        logicalType: integer
        physicalType: bigint
# the end
"""
FLOW = """\
{apiVersion: v3.2.0, kind: DataContract, id: crm, version: 1.0.0, status: active,
  schema: [{name: crm,
  customProperties: [{property: kind, value: party}],
  properties: [{name: key, logicalType: string, customProperties: [{property: role, value: record.id}]},
    {name: mail, logicalType: string}]}]}
"""
FILES = (LandedColumns("a.csv", Path("a.csv"), ("no",)),)


def columns_of(text: str, folder: Path) -> dict[str, tuple[str, str, tuple[str, ...], bool]]:
    path = folder / "crm.yaml"
    path.write_text(text, encoding="utf-8")
    return {c.name: (c.logical_type, c.engine_type, c.roles, c.is_personal) for c in load_channel(path).table.columns}


def test_a_contract_when_it_has_drifted_then_only_that_is_changed_and_comments_stay(tmp_path: Path) -> None:
    drifts = [
        Drift("mail", "renamed", FILES, found_as="e-mail: address"),
        Drift("visits", "retyped", FILES, found_type="number"),
        Drift("born", "new", FILES, found_type="date", role="person.birth_date", is_personal=True),
        Drift("a: b", "new", FILES),
    ]
    text = changed(BLOCK, drifts)
    found = columns_of(text, tmp_path)
    assert list(found) == ["key", "e-mail: address", "visits", "born", "a: b"]
    assert found["visits"][:2] == ("number", "DOUBLE")
    assert found["born"] == ("date", "DATE", ("person.birth_date",), True)
    for comment in ("# The register.", "# one row a person", "# to be dropped one day", "# the end"):
        assert comment in text
    assert len(set(BLOCK.splitlines()) - set(text.splitlines())) == 3


def test_a_contract_when_a_required_column_is_missing_then_it_is_required_no_more_but_keys_stay() -> None:
    text = changed(BLOCK, [Drift("mail", "missing", FILES, is_required=True)])
    assert "{name: mail, logicalType: string, required: false}" in text
    assert text.count("required: true") == 1


def test_a_contract_when_it_is_written_in_flow_style_or_ends_without_a_newline_then_columns_are_added_all_the_same(
    tmp_path: Path,
) -> None:
    new = [Drift("born", "new", FILES, found_type="date")]
    assert list(columns_of(changed(FLOW, new), tmp_path)) == ["key", "mail", "born"]
    bare = BLOCK.replace("# the end\n", "").rstrip("\n")
    assert list(columns_of(changed(bare, new), tmp_path)) == ["key", "mail", "visits", "born"]


@pytest.mark.parametrize("name", ["plain", "a: b", "a, b", "{x}", "#x", "'", "ä", "yes", "1"])
def test_a_name_when_quoted_then_yaml_reads_it_back(name: str) -> None:
    assert yaml.safe_load(f"{{name: {quoted(name)}}}") == {"name": name}


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    with Warehouse(None) as opened:
        yield opened


def test_changes_when_files_have_drifted_then_a_usable_contract_and_its_diff_are_proposed(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    path = write_contract(tmp_path, SHOP)
    folder = tmp_path / "landing"
    folder.mkdir()
    shop_rows().write_parquet(folder / "1.parquet")
    channel, text = load_channel(path), path.read_text(encoding="utf-8")
    files = {"1.parquet": folder / "1.parquet"}
    assert propose_changes(warehouse, channel, text, files, "UTC", DriftPolicy()) is None
    mails = pl.Series("kontakt", [person.email for person in PEOPLE] * 3)
    shop_rows().rename({"amount": "line_amount"}).with_columns(mails).write_csv(folder / "2.csv")
    files["2.csv"] = folder / "2.csv"
    proposal = propose_changes(warehouse, channel, text, files, "UTC", DriftPolicy())
    assert proposal is not None
    assert proposal.is_change
    assert proposal.problem == ""
    assert "+  - name: line_amount" in proposal.diff()
    assert "+  - {name: kontakt, logicalType: string, classification: personal" in proposal.diff()
    assert [value for value in PLANTED if value.lower() in (proposal.diff() + str(proposal.notes)).lower()] == []


def drafted(
    warehouse: Warehouse, folder: Path, frame: pl.DataFrame, name: str = "found", separator: str = ","
) -> Proposal:
    path = folder / "a.csv"
    frame.write_csv(path, separator=separator)
    return draft(warehouse, name, {"a.csv": path}, "UTC", DriftPolicy())


def test_a_draft_when_people_are_described_then_roles_key_and_privacy_are_guessed(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    proposal = drafted(warehouse, tmp_path, register_rows(), separator=";")
    assert proposal.problem == ""
    document = yaml.safe_load(proposal.after)
    assert document["servers"][0]["delimiter"] == ";"
    path = tmp_path / "found.yaml"
    path.write_text(proposal.after, encoding="utf-8")
    channel = load_channel(path)
    assert channel.kind == "party"
    assert channel.roles["record.id"] == ("entry",)
    for role in ("person.given_name", "person.surname", "person.birth_date", "contact.email", "contact.phone"):
        assert role in channel.roles, role
    assert {"first_name", "last_name", "born", "mail", "phone", "street"} <= channel.table.personal_columns
    assert [value for value in PLANTED if value.lower() in proposal.after.lower()] == []


def test_a_draft_when_lines_of_orders_are_described_then_the_kind_is_guessed(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    proposal = drafted(warehouse, tmp_path, shop_rows())
    assert "value: order_line" in proposal.after
    assert proposal.problem == ""


@pytest.mark.parametrize(
    ("name", "frame", "problem"),
    [
        pytest.param("Call Centre", pl.DataFrame({"no": ["1"]}), "cannot name a channel", id="name"),
        pytest.param("calls", pl.DataFrame({"no": []}, schema={"no": pl.String}), "no rows", id="empty"),
        pytest.param("calls", pl.DataFrame({"jane@mail.example": ["x"]}), "no header", id="no header"),
    ],
)
def test_a_draft_when_nothing_can_be_proposed_then_it_says_why(
    warehouse: Warehouse, tmp_path: Path, name: str, frame: pl.DataFrame, problem: str
) -> None:
    proposal = drafted(warehouse, tmp_path, frame, name)
    assert problem in proposal.problem
    assert not proposal.is_change
    assert "jane" not in proposal.problem
