from __future__ import annotations

from datetime import date
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.value.summaries import customer_days, history, mean_order_value, outcomes, outcomes_of, summaries
from cx_pipeline_tests.parity import same_on_polars_and_duckdb, same_on_polars_and_spark, spark_session
from cx_pipeline_tests.value.buyers import as_timeline

AS_OF = date(2024, 3, 31)
ORDERS = as_timeline(
    [
        ("a", date(2024, 1, 1), 20.0),
        ("a", date(2024, 1, 1), 5.0),
        ("a", date(2024, 3, 25), 30.0),
        ("a", date(2024, 4, 2), 99.0),
        ("b", date(2024, 2, 1), 40.0),
        ("b", date(2024, 2, 1), -40.0),
        ("b", date(2024, 2, 10), 10.0),
        ("b", date(2024, 2, 20), -25.0),
        ("c", date(2024, 2, 1), -5.0),
    ]
)


def days(timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return customer_days(timeline, AS_OF)


def summarised(timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return summaries(customer_days(timeline, AS_OF), AS_OF)


def came(timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return outcomes(customer_days(timeline, AS_OF), date(2024, 2, 5), 91)


@pytest.mark.parametrize("function", [days, summarised, came], ids=["days", "summary", "outcomes"])
def test_summaries_on_both_engines_then_equal(function: Any) -> None:
    assert same_on_polars_and_duckdb(function, ORDERS).height > 0


@pytest.mark.slow
def test_summaries_on_spark_then_equal() -> None:
    with spark_session() as session:
        for function in (summarised, came):
            same_on_polars_and_spark(session, function, ORDERS)


def test_summaries_when_returns_come_back_then_netted_within_the_day_and_lowering_revenue() -> None:
    rows = to_polars(summarised(lazy(ORDERS)))
    assert rows["customer_id"].to_list() == ["a", "b"]
    a, b = rows.to_dicts()
    assert (a["n_orders"], a["revenue"], a["n_orders_7d"], a["revenue_91d"]) == (2, 55.0, 1, 55.0)
    assert (b["n_orders"], b["revenue"], b["first_day"], b["last_day"]) == (
        1,
        -15.0,
        date(2024, 2, 10),
        date(2024, 2, 10),
    )
    assert a["log_value"] == pytest.approx(np.log(25) + np.log(30), abs=1e-5)
    assert mean_order_value(rows).tolist() == [27.5, 0.0]


def test_summaries_at_a_past_cutoff_then_the_future_is_not_known() -> None:
    past = to_polars(summaries(customer_days(lazy(ORDERS), AS_OF), date(2024, 2, 5)))
    assert past["n_orders"].to_list() == [1]
    assert past["revenue"].to_list() == [25.0]


def test_history_when_weeks_pass_then_repeat_orders_and_ages_in_weeks() -> None:
    x, t_x, age = history(to_polars(summarised(lazy(ORDERS))), AS_OF)
    assert x.tolist() == [1.0, 0.0]
    assert t_x.tolist() == [12.0, 0.0]
    assert age == pytest.approx([90 / 7, 50 / 7])


def test_outcomes_of_when_nothing_came_then_zero_and_never_negative() -> None:
    known = pl.DataFrame({"customer_id": ["a", "b", "z"]})
    orders, revenue = outcomes_of(known, to_polars(came(lazy(ORDERS))))
    assert orders.tolist() == [1.0, 1.0, 0.0]
    assert revenue.tolist() == [30.0, 0.0, 0.0]
