from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.retention import cohorts
from cx_pipeline.retention.policy import RetentionPolicy
from cx_pipeline.retention.subjects import (
    ACTIVITY_COVARIATES,
    activity_facts,
    activity_subjects,
    contract_rows,
    contract_subjects,
    order_days,
    plans_of,
    spells,
)
from cx_pipeline_tests.parity import same_on_polars_and_duckdb, same_on_polars_and_spark, spark_session
from cx_pipeline_tests.retention.leavers import FIRST_DAY, as_timeline, contracts, days_of

AS_OF = date(2024, 6, 30)
W = 90
ORDERS = [
    ("a", date(2024, 1, 1), 20.0),
    ("a", date(2024, 1, 31), 20.0),
    ("a", date(2024, 4, 30), 5.0),
    ("a", date(2024, 5, 10), 5.0),
    ("b", date(2024, 1, 1), 7.0),
    ("b", date(2024, 1, 1), -7.0),
    ("b", date(2024, 3, 30), 1.0),
    ("c", date(2024, 6, 30), 9.0),
]


def days(timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return order_days(timeline, AS_OF)


def lived(timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return spells(order_days(timeline, AS_OF), W)


def facts(timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return activity_facts(order_days(timeline, AS_OF), AS_OF)


@pytest.mark.parametrize("function", [days, lived, facts], ids=["days", "spells", "facts"])
def test_orders_on_both_engines_then_equal(function: Any) -> None:
    assert same_on_polars_and_duckdb(function, as_timeline(ORDERS)).height > 0


@pytest.mark.slow
def test_orders_on_spark_then_equal() -> None:
    with spark_session() as session:
        for function in (lived, facts):
            same_on_polars_and_spark(session, function, as_timeline(ORDERS))


def test_spells_when_silence_lasts_the_window_then_a_new_one_begins() -> None:
    found = to_polars(lived(lazy(as_timeline(ORDERS)))).rows()
    assert found == [
        ("a", 1, date(2024, 1, 1), date(2024, 1, 31), 20.0),
        ("a", 2, date(2024, 4, 30), date(2024, 5, 10), 5.0),
        ("b", 1, date(2024, 3, 30), date(2024, 3, 30), 1.0),
        ("c", 1, date(2024, 6, 30), date(2024, 6, 30), 9.0),
    ]


def subjects_at(landmark: date, known_until: date | None) -> Any:
    ordered = lazy(days_of(ORDERS, AS_OF))
    return activity_subjects(
        to_polars(activity_facts(ordered, landmark)), landmark, W, to_polars(spells(ordered, W)), known_until
    )


def test_activity_subjects_when_the_end_is_known_then_time_on_the_clock_of_days_since_the_last_order() -> None:
    found = subjects_at(date(2024, 4, 29), AS_OF).rows
    assert found.select("customer_id", "elapsed_days", "exit_days", "is_event").rows() == [
        ("a", 89, 90, True),
        ("b", 30, 90, True),
    ]


def test_activity_subjects_when_the_end_is_not_known_yet_then_censored() -> None:
    found = subjects_at(date(2024, 4, 1), date(2024, 4, 15)).rows
    assert found.select("customer_id", "exit_days", "is_event").rows() == [("a", 75, False), ("b", 16, False)]


def test_activity_subjects_when_silent_for_the_window_then_not_at_risk() -> None:
    assert subjects_at(date(2024, 4, 30) - timedelta(days=1), None).rows["customer_id"].to_list() == ["a", "b"]
    assert subjects_at(date(2024, 6, 28), None).rows["customer_id"].to_list() == ["a"]


def test_activity_covariates_when_the_future_changes_then_they_do_not() -> None:
    landmark = date(2024, 4, 1)
    past = [row for row in ORDERS if row[1] <= landmark]
    first = activity_subjects(to_polars(activity_facts(lazy(days_of(ORDERS, AS_OF)), landmark)), landmark, W)
    second = activity_subjects(to_polars(activity_facts(lazy(days_of(past, AS_OF)), landmark)), landmark, W)
    assert first.names == ACTIVITY_COVARIATES
    assert first.covariates.tolist() == second.covariates.tolist()


def subscriptions(*rows: tuple[str, str, date, date | None, str, float | None]) -> pl.DataFrame:
    names = ("customer_id", "record_id", "subscription_started_on", "subscription_ended_on", "subscription_plan")
    kinds = (pl.String, pl.String, pl.Date, pl.Date, pl.String)
    return pl.DataFrame(
        rows, schema={**dict(zip(names, kinds, strict=True)), "subscription_fee": pl.Float64}, orient="row"
    )


def test_contract_rows_when_a_customer_has_several_then_the_longest_running_stands() -> None:
    day = date(2024, 1, 1)
    found = contract_rows(
        subscriptions(
            ("a", "1", day, date(2024, 2, 1), "x", 1.0),
            ("a", "2", date(2024, 3, 1), None, "y", 2.0),
            ("a", "3", date(2024, 2, 1), None, "z", 3.0),
            ("b", "4", day, date(2024, 2, 1), "x", 1.0),
            ("b", "5", day, date(2024, 3, 1), "y", 1.0),
            ("c", "6", day, date(2023, 1, 1), "ends before it begins", 1.0),
        )
    )
    assert found.select("customer_id", "plan").rows() == [("a", "z"), ("b", "y")]


def test_attributed_contracts_when_the_timeline_knows_the_owner_then_his_contract() -> None:
    owned = subscriptions(("?", "1", date(2024, 1, 1), None, "x", 9.0), ("?", "2", date(2024, 1, 1), None, "x", 9.0))
    staged = owned.drop("customer_id").with_columns(pl.lit("shop").alias("channel"))
    events = pl.DataFrame(
        {
            "customer_id": ["a", "b"],
            "channel": ["shop", "shop"],
            "record_id": ["1", "2"],
            "kind": ["subscription", "order"],
        }
    )
    found = cohorts.attributed_contracts(lazy(staged), lazy(events))
    assert found.rows() == [("a", date(2024, 1, 1), None, "x", 9.0)]


def test_contract_subjects_when_looked_at_from_now_then_tenure_has_passed_and_the_end_counts_if_known() -> None:
    rows = contract_rows(
        subscriptions(
            ("a", "1", date(2024, 1, 1), date(2024, 3, 1), "x", 9.0),
            ("b", "2", date(2024, 1, 11), None, "y", None),
            ("c", "3", date(2024, 5, 1), None, "y", 9.0),
        )
    )
    now = contract_subjects(rows, ("y",), date(2024, 1, 31), from_start=False, known_until=date(2024, 3, 1)).rows
    assert now.select("customer_id", "elapsed_days", "exit_days", "is_event").rows() == [
        ("a", 30, 60, True),
        ("b", 20, 50, False),
    ]
    past = contract_subjects(rows, ("y",), date(2024, 1, 31), from_start=True, known_until=date(2024, 1, 31))
    assert past.rows.select("elapsed_days", "exit_days", "is_event").rows() == [(0, 30, False), (0, 20, False)]
    assert past.names == ("fee", "plan=y")
    assert past.covariates[:, 1].tolist() == [0.0, 1.0]


def test_plans_of_when_one_is_rare_then_it_is_no_covariate() -> None:
    rows = contracts(400)
    rare = rows.with_columns(
        pl.when(pl.col("customer_id") == "C00000").then(pl.lit("odd")).otherwise(pl.col("plan")).alias("plan")
    )
    assert len(plans_of(rare)) == 1
    assert "odd" not in plans_of(rare)


def test_window_days_when_not_set_then_the_one_that_attrition_counts_with() -> None:
    attrition = pl.DataFrame({"definition": ["contract", "activity"], "window_days": [None, 60]})
    assert cohorts.window_days(lazy(attrition), RetentionPolicy()) == 60
    assert cohorts.window_days(lazy(attrition), RetentionPolicy(inactive_after_days=30)) == 30
    assert cohorts.window_days(lazy(attrition.clear()), RetentionPolicy()) == 90


def test_sampled_when_there_are_too_many_then_every_kth_in_any_order_of_rows() -> None:
    ids = pl.DataFrame({"customer_id": [f"{i:03d}" for i in range(100)]})
    found = cohorts.sampled(ids.reverse(), 30)
    assert found["customer_id"].to_list() == [f"{i:03d}" for i in range(0, 100, 4)]


def test_activity_lives_when_first_orders_differ_then_thirds_by_their_size() -> None:
    rows = [(f"{i}", FIRST_DAY, float(i + 1)) for i in range(9)]
    found = cohorts.activity_lives(to_polars(spells(lazy(days_of(rows, AS_OF)), W)), W, FIRST_DAY + timedelta(days=30))
    assert found.group_by("segment").len().sort("segment").rows() == [
        ("first order large", 3),
        ("first order middle", 3),
        ("first order small", 3),
    ]
    assert found["days"].to_list() == [30] * 9
    assert not found["is_event"].any()
