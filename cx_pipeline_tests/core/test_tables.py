from __future__ import annotations

import datetime
from decimal import Decimal

import polars as pl
import pytest

from cx_pipeline.core.tables import Column, Rule, Table, engine_type
from cx_pipeline_tests.frames import frame_of

PEOPLE = Table(
    "room",
    "people",
    "One row per person.",
    (
        Column("id", "string", "VARCHAR", "The id", required=True, primary_key=True),
        Column("born_on", "date", "DATE", is_personal=True),
        Column("balance", "number", "DECIMAL(18,4)"),
        Column("tags", "array", "VARCHAR[]"),
    ),
    (Rule("id_is_unique", "unique", ("id",)), Rule("born_on_is_never_null", "not_null", ("born_on",))),
    {"unpublished_columns": ["born_on"]},
)


def test_a_table_when_asked_then_it_knows_keys_types_and_what_is_personal() -> None:
    assert PEOPLE.full_name == "room.people"
    assert PEOPLE.primary_key == ("id",)
    assert PEOPLE.personal_columns == {"born_on"}
    assert PEOPLE.engine_schema["balance"] == "DECIMAL(18,4)"
    assert PEOPLE.column("id").required
    with pytest.raises(KeyError, match=r"room\.people has no column name"):
        PEOPLE.column("name")


def test_a_table_without_columns_when_made_then_their_rules_are_gone_too() -> None:
    published = PEOPLE.without(PEOPLE.unpublished_columns)
    assert published.column_names == ("id", "balance", "tags")
    assert [rule.name for rule in published.rules] == ["id_is_unique"]


def test_an_empty_frame_when_made_then_it_has_the_contracts_types() -> None:
    assert PEOPLE.empty().schema == {
        "id": pl.String,
        "born_on": pl.Date,
        "balance": pl.Decimal(18, 4),
        "tags": pl.List(pl.String),
    }


def test_the_column_schema_for_the_ui_when_made_then_it_says_types_meaning_and_constraints() -> None:
    columns = PEOPLE.dagster_schema().columns
    assert [(c.name, c.type, c.constraints.nullable) for c in columns][:2] == [
        ("id", "varchar", False),
        ("born_on", "date", True),
    ]
    assert columns[0].description == "The id"
    assert dict(columns[1].tags or {}) == {"personal": ""}


@pytest.mark.parametrize(
    ("logical", "physical", "expected"),
    [
        ("number", " Decimal(12, 3) ", "DECIMAL(12,3)"),
        ("integer", "smallint", "SMALLINT"),
        ("string", "TEXT", "VARCHAR"),
        ("timestamp", "timestamp_ntz", "TIMESTAMP"),
        ("array", "varchar[]", "VARCHAR[]"),
        ("number", "float8", "DOUBLE"),
    ],
)
def test_the_engine_type_when_a_physical_type_is_known_then_it_wins(logical: str, physical: str, expected: str) -> None:
    assert engine_type(logical, physical) == expected


@pytest.mark.parametrize(
    ("logical", "physical"), [("money", None), ("number", "decimal(39,2)"), ("number", "decimal(5,9)")]
)
def test_the_engine_type_when_there_is_none_then_it_is_refused(logical: str, physical: str | None) -> None:
    with pytest.raises(ValueError, match=r"cannot be staged|no decimal"):
        engine_type(logical, physical)


def test_a_frame_of_a_contract_when_made_for_a_test_then_missing_columns_are_null_and_typing_errors_are_refused() -> (
    None
):
    rows = frame_of(PEOPLE, id=["a", "b"], balance=Decimal("1.5"))
    assert rows.schema == PEOPLE.empty().schema
    assert rows["balance"].to_list() == [Decimal("1.5"), Decimal("1.5")]
    assert rows["born_on"].null_count() == 2
    assert frame_of(PEOPLE, born_on=[datetime.date(2024, 1, 1)]).height == 1
    with pytest.raises(KeyError, match="did you mean `balance`"):
        frame_of(PEOPLE, balanse=[1])
