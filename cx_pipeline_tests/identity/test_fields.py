from __future__ import annotations

import polars as pl
import pytest

from cx_pipeline.identity.fields import TOKEN_WEIGHT_BITS, choose_fields, comparison_columns, number_records, soundex
from cx_pipeline.identity.nicknames import given_name_roots


def standardised(**columns: list[object]) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    base = {
        name: pl.Series([None] * n, dtype=pl.String)
        for name in (
            "full_name",
            "given_name",
            "middle_name",
            "surname",
            "birth_place",
            "occupation",
            "organisation_name",
            "address_line",
            "address_street",
            "address_unit",
            "address_city",
            "address_region",
            "address_country",
            "organisation_registration_id",
            "address_number",
            "address_postcode",
            "birth_date",
            "birth_year",
            "birth_month",
            "birth_day",
            "sex",
            "email",
            "phone",
        )
    }
    base["channel"] = pl.Series(["crm"] * n)
    base["record_id"] = pl.Series([str(i) for i in range(n)])
    base["full"] = pl.Series([None] * n, dtype=pl.List(pl.String))
    for name, values in columns.items():
        base[name] = pl.Series(values, dtype=base[name].dtype)
    return pl.DataFrame(base)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("robert", "r163"),
        ("rupert", "r163"),
        ("ashcraft", "a261"),
        ("tymczak", "t522"),
        ("pfister", "p236"),
        ("lee", "l000"),
        ("", None),
        ("李", None),
    ],
)
def test_soundex_then_the_archives_code(word: str, code: str | None) -> None:
    assert soundex(word) == code


def test_given_name_roots_when_a_form_belongs_to_several_names_then_left_out() -> None:
    roots = given_name_roots()
    assert roots["lizzie"] == "elizabeth"
    assert "bert" not in roots
    assert all(root not in roots for root in roots.values())


def test_number_records_when_rows_are_shuffled_then_the_same_numbers() -> None:
    frame = standardised(surname=["a", "b", "c"])
    numbered = number_records(frame)
    assert numbered.equals(number_records(frame.reverse()))
    assert numbered["record"].to_list() == [0, 1, 2]


def test_number_records_when_identifiers_are_given_then_a_column_per_namespace() -> None:
    identifiers = pl.DataFrame(
        {
            "channel": ["crm"] * 3,
            "record_id": ["0", "0", "2"],
            "namespace": ["loyalty", "loyalty", "ssn"],
            "value": ["B-2", "A-1", "77"],
        }
    )
    numbered = number_records(standardised(surname=["a", "b", "c"]), identifiers)
    assert numbered["id_loyalty"].to_list() == ["a1", None, None]
    assert numbered["id_ssn"].to_list() == [None, None, "77"]


def test_number_records_when_there_is_a_full_name_only_then_it_lends_its_ends() -> None:
    numbered = number_records(standardised(full_name=["ana maria oneil", "plato"]))
    assert numbered["given_name"].to_list() == ["ana", None]
    assert numbered["surname"].to_list() == ["oneil", None]


def test_choose_fields_without_any_name_then_none() -> None:
    frame = number_records(standardised(birth_date=["1970-01-01", "1980-01-01"], email=["a@b", "c@d"]))
    assert choose_fields(frame) == ()


def test_choose_fields_when_a_column_is_constant_then_left_out() -> None:
    frame = number_records(standardised(surname=["a", "b"], address_country=["de", "de"]))
    assert [field.name for field in choose_fields(frame)] == ["surname"]


def test_comparison_columns_then_a_rare_token_weighs_more() -> None:
    frame = number_records(standardised(surname=["x", "y", "z"], full=[["von", "x"], ["von", "y"], ["von", "z"]]))
    table = comparison_columns(frame, choose_fields(frame))
    tokens = table["full_tokens"].to_list()
    shared = set(tokens[0]) & set(tokens[1])
    mask = (1 << TOKEN_WEIGHT_BITS) - 1
    assert len(shared) == 1
    assert (shared.pop() & mask) < max(token & mask for token in tokens[0])
    assert table["full_weight"][0] == sum(token & mask for token in tokens[0])
