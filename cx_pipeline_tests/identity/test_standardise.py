from __future__ import annotations

import duckdb
import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.identity.standardise import standardise

CASES = pl.DataFrame(
    {
        "channel": ["crm"] * 10 + ["shop"] * 3,
        "record_id": [f"{i:02d}" for i in range(13)],
        "full_name": ["Dr. Ana-María O'Neil", "N/A", "Łukasz Øre", "  ", None, *[None] * 8],
        "given_name": ["Ana", "Jörg", None, "Zoë", "unknown", *[None] * 8],
        "surname": [None, "Müller", None, "de la Cruz", None, *[None] * 8],
        "birth_date": [
            "1970-01-02",
            "19700102",
            "02/03/1970",
            "13/02/1970",
            "12 Mar 1970",
            "March 3rd, 1985",
            "1970-34-02",
            "1970-01-02T00:00:00",
            "garbage",
            "25121990",
            "02/03/70",
            "02/13/1970",
            "1970",
        ],
        "phone": ["+44 7911 123456", "07911 123456", "12", *[None] * 10],
        "sex": ["Male", "F", "diverse", *[None] * 10],
        "email": [" Ana.Maria@Example.ORG ", "mailto:x@y.z", None, *[None] * 10],
        "address_postcode": ["TQ13 8DF", "tq13-8df", None, *[None] * 10],
    }
)


def on_polars(frame: pl.DataFrame) -> pl.DataFrame:
    result: pl.DataFrame = standardise(nw.from_native(frame.lazy())).collect().to_native()
    return result.sort("channel", "record_id")


def on_duckdb(frame: pl.DataFrame) -> pl.DataFrame:
    connection = duckdb.connect()
    connection.register("parties", frame.to_arrow())
    relation = connection.sql("SELECT * FROM parties")
    result: pl.DataFrame = standardise(nw.from_native(relation)).collect("polars").to_native()
    return result.sort("channel", "record_id")


def test_standardise_on_polars_and_duckdb_then_the_same_rows() -> None:
    assert on_polars(CASES).equals(on_duckdb(CASES), null_equal=True)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(0, "1970-01-02", id="ISO"),
        pytest.param(1, "1970-01-02", id="compact, year first"),
        pytest.param(2, "1970-03-02", id="ambiguous, day-first by its channel's majority"),
        pytest.param(3, "1970-02-13", id="unambiguous day-first"),
        pytest.param(4, "1970-03-12", id="spelt month second"),
        pytest.param(5, "1985-03-03", id="spelt month first"),
        pytest.param(6, "1970-34-02", id="impossible month is kept"),
        pytest.param(7, "1970-01-02", id="with time of day"),
        pytest.param(8, None, id="no date at all"),
        pytest.param(9, "1990-12-25", id="compact, year last"),
        pytest.param(10, "1970-02-03", id="two-digit year, month-first by its channel's majority"),
        pytest.param(12, None, id="a year alone is no whole date"),
    ],
)
def test_birth_date_when_delivered_in_any_notation_then_read(row: int, expected: str | None) -> None:
    assert on_polars(CASES)["birth_date"][row] == expected


def test_birth_year_when_only_a_year_is_delivered_then_kept_as_part() -> None:
    result = on_polars(CASES)
    assert result["birth_year"][12] == "1970"
    assert result["birth_month"][12] is None


def test_names_when_accented_and_punctuated_then_plain_distinct_tokens() -> None:
    result = on_polars(CASES)
    assert result["full"][0].to_list() == ["ana", "dr", "maria", "oneil"]
    assert result["full"][2].to_list() == ["lukasz", "ore"]
    assert result["full"][3].to_list() == ["cruz", "de", "la", "zoe"]
    assert result["full"][4] is None
    assert result["given_name"][1] == "jorg"


def test_codes_phones_and_emails_when_spelt_differently_then_equal() -> None:
    result = on_polars(CASES)
    assert result["address_postcode"][0] == result["address_postcode"][1] == "tq138df"
    assert result["phone"][0] == result["phone"][1] == "911123456"
    assert result["phone"][2] is None
    assert result["email"][:2].to_list() == ["ana.maria@example.org", "x@y.z"]
    assert result["sex"][:3].to_list() == ["m", "f", "diverse"]


def test_standardise_when_columns_are_missing_or_untyped_then_null_columns() -> None:
    frame = pl.DataFrame({"channel": ["a"], "record_id": ["1"], "surname": [None], "email": [None]})
    result = on_polars(frame)
    assert result.height == 1
    assert result["surname"].null_count() == result["occupation"].null_count() == 1
