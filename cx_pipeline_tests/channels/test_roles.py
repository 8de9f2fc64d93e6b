from __future__ import annotations

import polars as pl
import pytest

from cx_pipeline.channels import roles
from cx_pipeline.core.vocabulary import is_role


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "22", None, " "], "integer"),
        (["007", "12"], "string"),
        (["1.5", "2"], "number"),
        (["1.0", "2.0"], "integer"),
        (["2024-01-02", "2024-02-03"], "date"),
        (["2024-01-02T10:00:00Z", "2024-01-02"], "timestamp"),
        (["10:30", "11:00:01"], "time"),
        (["yes", "No"], "boolean"),
        (["a", "1"], "string"),
        ([None, ""], "string"),
    ],
)
def test_a_type_when_inferred_then_it_is_the_narrowest_that_fits(values: list[str | None], expected: str) -> None:
    assert roles.inferred_type(pl.Series(values, dtype=pl.String)) == expected


@pytest.mark.parametrize(
    ("logical_type", "values", "expected"),
    [
        ("integer", ["1", "x"], 0.5),
        ("number", ["1", "2e3"], 1.0),
        ("boolean", ["1", "0", "true"], 1.0),
        ("date", ["20240102", "2024-01-02 00:00:00"], 1.0),
        ("timestamp", ["02.01.2024"], 0.0),
        ("string", ["x"], None),
        ("integer", [None], None),
    ],
)
def test_the_share_of_a_type_when_values_are_looked_at_then_it_is_that_of_those_that_fit(
    logical_type: str, values: list[str | None], expected: float | None
) -> None:
    assert roles.share_of_type(pl.Series(values, dtype=pl.String), logical_type) == expected


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("kontakt", ["a@b.example", "c@d.example"], "contact.email"),
        ("nummer", ["+49 30 1234567", "030 7654321"], "contact.phone"),
        ("firstName", ["x"], "person.given_name"),
        ("LAST_NAME", ["x"], "person.surname"),
        ("birth_date", ["1970-01-01"], "person.birth_date"),
        ("changed", ["2024-01-01 10:00:00"], "record.updated_at"),
        ("changed", ["somebody"], None),
        ("order_amount", ["1.50"], "order.amount"),
        ("paymentAmount", ["1.50"], "payment.amount"),
        ("utm_source", ["x"], "attribute.utm_source"),
        ("cookie_id", ["x"], "id.cookie"),
        ("colour", ["red"], None),
        ("dormail", [], None),
    ],
)
def test_a_role_when_suggested_then_values_decide_first_and_the_name_else(
    name: str, values: list[str], expected: str | None
) -> None:
    assert roles.suggested_role(name, pl.Series(values, dtype=pl.String)) == expected


def test_roles_when_suggestible_then_each_is_a_word_of_the_vocabulary() -> None:
    assert [role for role in roles.suggestible_roles() if not is_role(role)] == []


def test_personal_when_a_few_values_look_so_then_the_column_is_marked() -> None:
    few = pl.Series(["x"] * 9 + ["a@b.example"])
    assert roles.is_personal(None, few)
    assert not roles.is_personal(None, pl.Series(["x", "y"]))
    assert roles.is_personal("person.surname", few)
    assert not roles.is_personal("address.city", pl.Series(["x"]))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["no", "mail", "2nd_phone"], False),
        (["Jane", "jane@mail.example"], True),
        (["Jane", "2024-01-01"], True),
        (["17", "Jane"], True),
    ],
)
def test_a_header_when_it_holds_values_then_it_is_none(names: list[str], expected: bool) -> None:
    assert roles.looks_like_values(names) is expected
