from __future__ import annotations

import duckdb
import polars as pl
import pytest

from cx_pipeline.identity.fields import Field, Kind, choose_fields, comparison_columns, number_records
from cx_pipeline.identity.model import comparisons, expected_levels, numbering, training_rules
from cx_pipeline_tests.identity.test_fields import standardised


def level(field: str, left: dict[str, object], right: dict[str, object]) -> int:
    """The level of one comparison of two records, worked out by DuckDB as Splink would."""
    names = {name for record in (left, right) for name in record}
    other: dict[str, object] = {"given_name": "zz top", "surname": "qq", "full": ["zz", "qq"]}
    columns = {name: [left.get(name), right.get(name), other.get(name, "other")] for name in names}
    if "birth_date" in names:
        columns = {name: values for name, values in columns.items() if name not in ("full",)}
    records = number_records(standardised(**columns))
    fields = choose_fields(records)
    chosen = {comparison.field.name: comparison for comparison in comparisons(fields)}[field]
    table = comparison_columns(records, fields).drop("record", "channel", "party_kind")
    pair = pl.concat(
        [table[:1].rename(lambda name: f"{name}_l"), table[1:2].rename(lambda name: f"{name}_r")], how="horizontal"
    )
    connection = duckdb.connect()
    connection.register("pair", pair.to_arrow())
    cases = " ".join(
        f"WHEN {condition} THEN {chosen.n_levels - 1 - i}" for i, (_, condition) in enumerate(chosen.levels)
    )
    row = connection.execute(f"SELECT CASE WHEN {chosen.null_sql} THEN -1 {cases} ELSE 0 END FROM pair").fetchone()
    assert row is not None
    return int(row[0])


def person(given: str | None, surname: str | None) -> dict[str, object]:
    return {"given_name": given, "surname": surname, "full": sorted({given or "", surname or ""} - {""})}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param(("anna", "berg"), ("anna", "berg"), 5, id="same"),
        pytest.param(("thomas", "berg"), ("tom", "berg"), 4, id="short form"),
        pytest.param(("katharina", "berg"), ("katarina", "berg"), 4, id="spelling"),
        pytest.param(("anna", "berg"), ("berg", "anna"), 3, id="both names crossed"),
        pytest.param(("anna", "berg"), ("a", "berg"), 2, id="initial"),
        pytest.param(("anna", "berg"), ("berg", "claus"), 1, id="half crossed"),
        pytest.param(("anna", "berg"), ("otto", "berg"), 0, id="anything else"),
        pytest.param(("anna", "berg"), (None, "berg"), -1, id="nothing to compare"),
    ],
)
def test_given_name_levels(left: tuple[str, str], right: tuple[str | None, str], expected: int) -> None:
    assert level("given_name", person(*left), person(*right)) == expected


def born(date: str | None) -> dict[str, object]:
    year, month, day = date.split("-") if date else (None, None, None)
    return {"surname": "berg", "birth_date": date, "birth_year": year, "birth_month": month, "birth_day": day}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param("1970-03-12", "1970-03-12", 5, id="same"),
        pytest.param("1970-03-12", "1970-03-13", 4, id="one character"),
        pytest.param("1970-03-12", "1970-12-03", 4, id="day and month swapped"),
        pytest.param("1970-03-12", "1970-03-21", 4, id="neighbours swapped"),
        pytest.param("1970-03-12", "1984-03-12", 3, id="two of three parts"),
        pytest.param("1970-03-12", "1970-07-29", 2, id="same year"),
        pytest.param("1970-01-01", "1984-01-01", 0, id="default day and month are no agreement"),
        pytest.param("1970-03-12", "1972-08-29", 1, id="two years apart"),
        pytest.param("1970-03-12", "1984-08-29", 0, id="anything else"),
        pytest.param("1970-03-12", None, -1, id="nothing to compare"),
    ],
)
def test_birth_date_levels(left: str, right: str | None, expected: int) -> None:
    assert level("birth_date", born(left), born(right)) == expected


@pytest.mark.parametrize(
    ("column", "left", "right", "expected"),
    [
        pytest.param("address_postcode", "tq138df", "tq138df", 3, id="code: same"),
        pytest.param("address_postcode", "tq138df", "tq183df", 2, id="code: neighbours swapped"),
        pytest.param("address_postcode", "tq138df", "tq139xy", 1, id="code: same beginning"),
        pytest.param("address_postcode", "tq138df", "ab12cd", 0, id="code: anything else"),
        pytest.param("address_street", "high street", "street high", 2, id="text: reordered"),
        pytest.param("address_street", "high street", "hihg street", 2, id="text: spelling"),
        pytest.param("address_street", "high street", "oak lane", 0, id="text: anything else"),
        pytest.param("email", "anna@mail.example", "anna@mail.exmaple", 2, id="e-mail: same user"),
        pytest.param("email", "anna.berg@mail.example", "ana.berg@mail.example", 2, id="e-mail: one edit"),
        pytest.param("email", "anna.berg@mail.example", "otto.w@mail.example", 0, id="e-mail: anything else"),
    ],
)
def test_levels_of_other_fields(column: str, left: str, right: str, expected: int) -> None:
    assert level(column, {"surname": "berg", column: left}, {"surname": "berg", column: right}) == expected


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.value)
def test_expected_levels_then_one_share_per_level_and_matches_agree_more(kind: Kind) -> None:
    fields = [Field({Kind.FULL_NAME: "full", Kind.DATE: "birth_date"}.get(kind, kind.value), kind, True, "x")]
    for comparison in comparisons(tuple(fields)):
        match, unrelated = expected_levels(comparison)
        assert len(match) == len(unrelated) == comparison.n_levels
        assert sum(match) == pytest.approx(1.0)
        assert sum(unrelated) == pytest.approx(1.0)
        assert match[-1] > unrelated[-1]
        assert match[0] < unrelated[0]


def test_numbering_then_the_weight_of_a_level_is_its_number_plus_one() -> None:
    chosen = comparisons((Field("sex", Kind.CATEGORY, True, "sex"),))
    m, u = numbering(chosen)["sex"]
    assert [round(a / b).bit_length() - 1 for a, b in zip(m, u, strict=True)] == [1, 2]


def test_training_rules_then_no_field_in_two_rules() -> None:
    table = pl.DataFrame({"sex": ["m", "m", "f", "f"], "surname": ["a", "a", "b", "b"], "email": ["x", "x", "y", "y"]})
    fields = tuple(Field(name, Kind.CATEGORY, True, name) for name in table.columns)
    rules = training_rules(table, comparisons(fields))
    assert len(rules) == 1
