from __future__ import annotations

from datetime import date, datetime

import polars as pl

from cx_pipeline.channels import overlay_match_rate as overlay
from cx_pipeline.channels.checks import matched_records_add_up
from cx_pipeline.channels.policy import OverlayRatePolicy
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

TABLE = load_step("channels")["overlay_match_rate"]
AS_OF = date(2024, 6, 30)
MATCHES = frame_of(
    load_step("profile")["overlay_matches"],
    channel="demographics",
    record_id=["1", "2", "3", "4", "5", "6"],
    customer_id=["A", "B", "C", "A", None, None],
    matched_by=["both", "email", "phone", "email", None, None],
    is_ambiguous=[False, True, False, False, False, False],
    observed_at=[datetime(2024, 6, 30, 12), datetime(2024, 6, 20), datetime(2022, 1, 1), None, None, None],
)


def rates(matches: pl.DataFrame = MATCHES, *providers: str) -> pl.DataFrame:
    named = providers or ("demographics",)
    return overlay.overlay_match_rate(lazy(matches), named, TABLE, AS_OF, OverlayRatePolicy())


def test_parts_when_counted_on_both_engines_then_they_are_the_same() -> None:
    assert same_on_polars_and_duckdb(overlay.aged_records, MATCHES)["n_records"].sum() == 6
    assert same_on_polars_and_duckdb(overlay.customers_of_providers, MATCHES)["n_customers"].to_list() == [3]


def test_the_rate_when_counted_then_ways_of_matching_add_up_and_ages_are_of_dated_records() -> None:
    expected = {
        "n_records": 6, "n_matched": 4, "match_rate": 4 / 6, "n_by_email": 2, "n_by_phone": 1, "n_by_both": 1, "n_conflicting": 1,
        "n_customers": 3, "n_dated": 3, "median_age_days": 10.0, "stale_rate": 1 / 3,
    }  # fmt: skip
    assert rates().select(list(expected)).row(0, named=True) == expected


def test_the_rate_when_a_provider_has_no_records_then_it_is_null_and_not_zero() -> None:
    row = rates(MATCHES, "demographics", "silent").row(1, named=True)
    assert (row["provider"], row["n_records"], row["n_matched"], row["n_customers"]) == ("silent", 0, 0, 0)
    assert (row["match_rate"], row["median_age_days"], row["stale_rate"]) == (None, None, None)
    assert rates(MATCHES.clear(), "silent").height == 1


def test_checks_when_parts_do_not_add_up_then_the_provider_is_pointed_out() -> None:
    good = rates()
    assert n_offending(matched_records_add_up, channels__overlay_match_rate=good) == 0
    wrong = good.with_columns(pl.col("n_by_both") + 1)
    assert n_offending(matched_records_add_up, channels__overlay_match_rate=wrong) == 1
