from __future__ import annotations

from datetime import date

import polars as pl

from cx_pipeline.simulate.linkability import is_linkable

COLUMNS = ("person_id", "given_name", "surname", "birth_date", "email", "phone", "house_number", "postcode")
SCHEMA = {"person_id": pl.Int64, "birth_date": pl.Date}
BORN = date(1980, 5, 6)


def linkable(*rows: tuple[object, ...]) -> list[bool | None]:
    frame = pl.DataFrame(
        [dict(zip(COLUMNS, row, strict=True)) for row in rows],
        schema={name: SCHEMA.get(name, pl.String) for name in COLUMNS},
    )
    return is_linkable(frame).to_list()


def test_records_when_they_share_a_mailbox_and_an_initial_then_they_are_linkable() -> None:
    rows = [
        (1, "Ann", "Lee", None, "a@x.example", None, None, None),
        (1, "A", "Le", None, "A@x.example", None, None, None),
    ]
    assert linkable(*rows) == [True, True]


def test_records_when_they_share_a_birth_date_and_a_beginning_of_a_name_then_they_are_linkable() -> None:
    rows = [(1, "Ann", "Lee", BORN, None, None, None, None), (1, "Bea", "Leigh", BORN, None, None, None, None)]
    assert linkable(*rows) == [True, True]


def test_records_when_they_share_a_name_only_or_a_dummy_phone_then_they_are_not() -> None:
    rows = [
        (1, "Ann", "Lee", None, "a@x.example", "0000000000", None, None),
        (1, "Ann", "Lee", None, "b@x.example", "0000000000", None, None),
    ]
    assert linkable(*rows) == [False, False]


def test_records_when_the_evidence_is_another_persons_then_they_are_not_and_a_lone_record_is_not_asked() -> None:
    rows = [
        (1, "Ann", "Lee", BORN, None, None, None, None),
        (1, "Ann", "Lee", None, None, None, "3", "AB1 2CD"),
        (2, "Ann", "Lee", BORN, None, None, "3", "AB1 2CD"),
    ]
    assert linkable(*rows) == [False, False, None]


def test_records_when_one_has_no_name_then_a_common_mailbox_or_telephone_is_enough_for_both() -> None:
    rows = [
        (1, None, None, None, None, "+447100000001", None, None),
        (1, "Ann", "Lee", None, None, "+447100000001", None, None),
    ]
    assert linkable(*rows) == [True, True]
