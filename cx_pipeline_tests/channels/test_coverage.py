from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import polars as pl
import pytest

from cx_pipeline.channels import coverage
from cx_pipeline.channels.checks import (
    channels_are_as_fresh_as_their_contracts_promise,
    channels_carry_the_directions_that_the_catalogue_says,
    every_staged_row_counts_in_one_month,
)
from cx_pipeline.channels.policy import CoveragePolicy
from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.staging import canonical
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import channel_of, frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, CHANNELS = load_step("staging"), load_step("channels")
AS_OF = date(2024, 6, 20)
CALLS = channel_of(
    "calls",
    "interaction",
    {
        "no": {"role": "record.id"},
        "at": {"role": "event.at", "logicalType": "timestamp"},
        "way": {"role": "event.direction"},
        "card": {"role": "id.loyalty"},
    },
)
MAILINGS = channel_of(
    "mailings",
    "campaign_contact",
    {"no": {"role": "record.id"}, "c": {"role": "campaign.id"}, "sent": {"role": "event.at"}},
)
PRODUCTS = channel_of("products", "product", {"no": {"role": "record.id"}, "name": {}})


def calls(*rows: tuple[str, datetime | None, str | None, str | None]) -> pl.DataFrame:
    schema = pl.Schema({"no": pl.String(), "at": pl.Datetime("us"), "way": pl.String(), "card": pl.String()})
    return pl.DataFrame(rows, schema=schema, orient="row")


ROWS = calls(
    ("1", datetime(2024, 3, 1, 0), "Inbound", "a"),
    ("2", datetime(2024, 3, 31, 23, 59), " outbound", None),
    ("3", datetime(2024, 5, 2, 9), "sideways", "b"),
    ("4", None, None, None),
)


def months_of(rows: pl.DataFrame, channel: Channel = CALLS) -> pl.DataFrame:
    table = next(t for t in STAGING.values() if t.properties.get("kind") == channel.kind)
    return same_on_polars_and_duckdb(lambda f: coverage.monthly_rows(f, channel, table, AS_OF), rows).sort("month")


def covered(channel: Channel, months: pl.DataFrame, links: dict[date, int] | None = None) -> pl.DataFrame:
    linked = pl.DataFrame(
        {
            "channel": [channel.name] * len(links or {}),
            "month": list(links or {}),
            "n_linked": list((links or {}).values()),
        },
        schema={"channel": pl.String, "month": pl.Date, "n_linked": pl.Int64},
    )
    rows = coverage.coverage([channel], {channel.name: months}, linked, AS_OF, CoveragePolicy())
    assert rows.columns == list(CHANNELS["coverage"].column_names)
    return rows


def test_time_roles_when_compared_with_staging_then_they_are_the_same() -> None:
    assert coverage.TIME_ROLES == canonical.TIME_ROLES
    assert coverage.DEFAULT_ROLES == canonical._DEFAULT_ROLES


def test_months_when_rows_are_counted_then_each_counts_once_and_those_without_time_in_the_month_of_as_of() -> None:
    months = months_of(ROWS)
    assert months.select("month", "n_records", "n_untimed", "n_filled", "n_inbound", "n_outbound").rows() == [
        (date(2024, 3, 1), 2, 0, 7, 1, 1),
        (date(2024, 5, 1), 1, 0, 4, 0, 0),
        (date(2024, 6, 1), 1, 1, 1, 0, 0),
    ]
    assert months["last_event_at"].to_list() == [datetime(2024, 3, 31, 23, 59), datetime(2024, 5, 2, 9), None]


def test_months_when_a_time_is_text_then_it_is_understood_and_a_default_role_stands_in() -> None:
    rows = pl.DataFrame({"no": ["1", "2"], "c": ["x", "x"], "sent": ["2024-02-03 10:00:00", "soon"]})
    months = months_of(rows, MAILINGS)
    assert months.select("month", "n_records", "n_untimed", "n_outbound").rows() == [
        (date(2024, 2, 1), 1, 0, 1),
        (date(2024, 6, 1), 1, 1, 1),
    ]


def test_links_when_identifiers_are_known_then_their_records_are_linked() -> None:
    records = frame_of(
        STAGING["interactions"],
        channel="calls",
        record_id=["1", "2", "3"],
        identifier_namespace=["loyalty", None, "loyalty"],
        identifier_value=["a", None, "b"],
        event_at=[datetime(2024, 3, 1), datetime(2024, 3, 2), datetime(2024, 5, 2)],
    )
    xref = frame_of(
        load_step("identity")["identifier_xref"],
        namespace=["loyalty", "cookie"],
        value=["a", "b"],
        customer_id=["c1", "c2"],
    )
    times = coverage.canonical_times(STAGING["interactions"])
    linked = same_on_polars_and_duckdb(lambda r, x: coverage.monthly_links(r, x, times, AS_OF), records, xref)
    assert sorted(linked.select("month", "n_linked").rows()) == [(date(2024, 3, 1), 1), (date(2024, 5, 1), 0)]


def test_links_when_records_are_parties_then_the_record_itself_finds_the_customer() -> None:
    parties = frame_of(STAGING["parties"], channel="crm", record_id=["1", "2"], updated_at=datetime(2024, 3, 1))
    xref = frame_of(load_step("identity")["customer_xref"], channel="crm", record_id=["2"], customer_id=["c"])
    linked = same_on_polars_and_duckdb(lambda r, x: coverage.monthly_links(r, x, ["updated_at"], AS_OF), parties, xref)
    assert linked["n_linked"].to_list() == [1]


def test_coverage_when_a_month_has_no_data_then_it_is_a_gap_of_zeros_between_and_silent_after() -> None:
    rows = covered(CALLS, months_of(ROWS.head(3)), {date(2024, 3, 1): 1})
    assert rows.select("month", "status", "n_records", "n_events", "n_linked", "linked_rate").rows() == [
        (date(2024, 3, 1), "harvested", 2, 2, 1, 0.5),
        (date(2024, 4, 1), "gap", 0, 0, 0, None),
        (date(2024, 5, 1), "harvested", 1, 1, 0, 0.0),
        (date(2024, 6, 1), "silent", 0, 0, 0, None),
    ]
    assert rows["filled_rate"].to_list() == [7 / 8, None, 1.0, None]
    assert rows["age_days"].to_list() == [0, 30, 29, 49]


@pytest.mark.parametrize(("sla", "expected"), [(49.0, True), (48.0, False), (None, None)])
def test_freshness_when_the_contract_promises_it_then_the_last_event_is_measured_at_as_of(
    sla: float | None, expected: bool | None
) -> None:
    rows = covered(replace(CALLS, freshness_days=sla), months_of(ROWS.head(3)))
    assert rows["is_fresh"].to_list()[-1] is expected
    assert n_offending(channels_are_as_fresh_as_their_contracts_promise, channels__coverage=rows) == (expected is False)


def test_coverage_when_data_lie_ahead_or_nothing_has_come_then_the_status_says_so() -> None:
    ahead = covered(CALLS, months_of(calls(("1", datetime(2025, 1, 1), "inbound", None))))
    assert ahead.select("month", "status").rows()[-1] == (date(2025, 1, 1), "ahead")
    assert ahead["age_days"].to_list()[-1] is None
    empty = covered(CALLS, pl.DataFrame(schema=coverage.MONTH_COLUMNS))
    assert empty.select("month", "status", "n_records").rows() == [(date(2024, 6, 1), "empty", 0)]


def test_coverage_when_a_year_is_impossible_then_the_months_since_are_not_all_listed() -> None:
    rows = covered(
        CALLS, months_of(calls(("1", datetime(1, 1, 1), None, None), ("2", datetime(2024, 6, 1), None, None)))
    )
    assert rows["n_records"].sum() == 2
    assert rows.height == CoveragePolicy().max_months + 2


def test_coverage_when_a_channel_is_not_about_customers_then_no_link_is_asked_for() -> None:
    rows = covered(PRODUCTS, months_of(pl.DataFrame({"no": ["1"], "name": ["x"]}), PRODUCTS))
    assert rows.select("n_records", "n_events", "n_untimed", "n_linked", "n_inbound").rows() == [(1, 0, 1, None, 0)]


def test_directions_when_a_channel_carries_another_than_it_says_then_it_is_pointed_out() -> None:
    rows = covered(CALLS, months_of(ROWS))
    for stance, expected in (("listen", 0), ("engage", 0), ("both", 0)):
        catalogue = frame_of(CHANNELS["catalogue"], channel=["calls"], stance=stance)
        assert _n_misdirected(rows, catalogue) == expected, "it carries both"
    spoken = rows.with_columns(n_inbound=pl.lit(0, pl.Int64))
    assert _n_misdirected(spoken, frame_of(CHANNELS["catalogue"], channel=["calls"], stance="listen")) == 1
    heard = rows.with_columns(n_outbound=pl.lit(0, pl.Int64))
    assert _n_misdirected(heard, frame_of(CHANNELS["catalogue"], channel=["calls"], stance="engage")) == 1


def _n_misdirected(rows: pl.DataFrame, catalogue: pl.DataFrame) -> int:
    check = channels_carry_the_directions_that_the_catalogue_says
    return n_offending(check, channels__coverage=rows, channels__catalogue=catalogue)


def test_conservation_when_a_row_is_not_counted_then_the_channel_is_pointed_out() -> None:
    counted = covered(CALLS, months_of(ROWS))
    catalogue = frame_of(CHANNELS["catalogue"], channel=["calls", "mailings"])
    for n_staged, expected in ((4, 1), (5, 2)):
        manifest = frame_of(STAGING["load_manifest"], channel=["calls", "calls"], rows_staged=[n_staged - 1, 1])
        offending = n_offending(
            every_staged_row_counts_in_one_month,
            channels__coverage=counted,
            staging__load_manifest=manifest,
            channels__catalogue=catalogue,
        )
        assert offending == expected, "mailings is not in coverage at all, which is always wrong"
