from __future__ import annotations

from datetime import date, datetime

import polars as pl

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile import customers
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, IDENTITY = load_step("staging"), load_step("identity")


def day(n: int) -> datetime:
    return datetime(2024, 1, n)


def test_sightings_when_known_by_records_and_identifiers_then_each_is_counted_once() -> None:
    xref = frame_of(
        IDENTITY["customer_xref"],
        channel=["crm", "shop"],
        record_id=["1", "1"],
        customer_id=["c", "c"],
        matched_by="deterministic",
    )
    identifier_xref = frame_of(
        IDENTITY["identifier_xref"],
        namespace=["loyalty", "email", "cookie"],
        value=["7", "e", "x"],
        customer_id=["c", "c", "d"],
    )
    identifiers = frame_of(
        STAGING["identifiers"],
        channel=["crm", "till", "crm", "web"],
        namespace=["loyalty", "loyalty", "email", "cookie"],
        value=["7", "7", "e", "x"],
        raw_value="r",
        n_records=1,
        first_seen_at=[day(5), day(2), None, day(9)],
        last_seen_at=[day(5), day(20), None, day(9)],
    )
    parties = frame_of(STAGING["parties"], channel=["crm", "shop"], record_id=["1", "1"], updated_at=[day(3), None])
    found = same_on_polars_and_duckdb(customers.sightings, xref, identifier_xref, identifiers, parties)
    rows = {row.pop("customer_id"): row for row in found.to_dicts()}
    assert rows == {
        "c": {"n_records": 2, "n_channels": 3, "n_identifiers": 2, "first_seen_at": day(2), "last_seen_at": day(20)},
        "d": {"n_records": 0, "n_channels": 1, "n_identifiers": 1, "first_seen_at": day(9), "last_seen_at": day(9)},
    }


def test_sightings_when_there_is_nothing_then_no_rows() -> None:
    tables = (
        IDENTITY["customer_xref"],
        IDENTITY["identifier_xref"],
        STAGING["identifiers"],
        STAGING["parties"],
    )
    assert same_on_polars_and_duckdb(customers.sightings, *(frame_of(table).clear() for table in tables)).is_empty()


def test_customer_rows_when_a_customer_has_no_golden_values_then_a_row_all_the_same() -> None:
    sighted = pl.DataFrame({"customer_id": ["c", "d"], "n_records": [1, 0]})
    golden = pl.DataFrame({"customer_id": ["c"], "given_name": ["Ada"]})
    consent = pl.DataFrame({"customer_id": ["d"], "consent": ["{}"]})
    rows = customers.customer_rows(sighted, golden, consent, date(2024, 2, 29)).sort("customer_id")
    assert rows.to_dicts() == [
        {"customer_id": "c", "n_records": 1, "given_name": "Ada", "consent": None, "as_of": date(2024, 2, 29)},
        {"customer_id": "d", "n_records": 0, "given_name": None, "consent": "{}", "as_of": date(2024, 2, 29)},
    ]
