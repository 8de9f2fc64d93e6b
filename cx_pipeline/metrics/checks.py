"""Business checks of the metrics room."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_check
from cx_pipeline.core.frames import to_polars

_KEYS = ("period", "starts_on", "segment", "definition")


@table_check("metrics.attrition")
def closing_is_opening_minus_lost_plus_new_plus_reactivated(attrition: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """In every period nobody is counted twice and nobody is forgotten."""
    moved = nw.col("n_opening") - nw.col("n_lost") + nw.col("n_new_still_active") + nw.col("n_reactivated")
    is_possible = (nw.col("n_lost") <= nw.col("n_opening")) & (nw.col("n_new_still_active") <= nw.col("n_new"))
    return attrition.filter((nw.col("n_closing") != moved) | ~is_possible).select(*_KEYS, "n_opening", "n_closing")


@table_check("metrics.attrition")
def a_period_opens_with_what_the_last_one_closed(attrition: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """The closing base of a period is the opening base of the next one."""
    closed = attrition.select(
        "period", nw.col("ends_on").alias("starts_on"), "segment", "definition", nw.col("n_closing").alias("n_closed")
    )
    return (
        attrition.join(closed, on=list(_KEYS))
        .filter(nw.col("n_opening") != nw.col("n_closed"))
        .select(*_KEYS, "n_opening", "n_closed")
    )


@table_check("metrics.attrition", reads=("metrics.attrition", "profile.timeline"))
def the_closing_base_is_who_ordered_within_the_window(
    attrition: nw.LazyFrame[Any], timeline: nw.LazyFrame[Any]
) -> pl.DataFrame:
    """Counted anew, those who ordered for a positive amount in the window before its end are the closing base of the last month."""
    months = attrition.filter(
        (nw.col("definition") == "activity") & (nw.col("period") == "month") & (nw.col("segment") == "all")
    )
    last = to_polars(months).sort("ends_on").tail(1).select("starts_on", "ends_on", "window_days", "n_closing")
    if last.is_empty():
        return last
    ends_on: date = last["ends_on"][0]
    ordered_on = nw.col("at").cast(nw.Date)
    in_window = (ordered_on >= ends_on - timedelta(days=last["window_days"][0])) & (ordered_on < ends_on)
    ordered = timeline.filter((nw.col("kind") == "order") & (nw.col("value") > 0) & in_window)
    n_anew = to_polars(ordered.select("customer_id").unique().select(nw.len().alias("n")))["n"][0]
    return last.filter(pl.col("n_closing") != n_anew).with_columns(pl.lit(n_anew).alias("n_anew"))


CHECKS = (
    closing_is_opening_minus_lost_plus_new_plus_reactivated,
    a_period_opens_with_what_the_last_one_closed,
    the_closing_base_is_who_ordered_within_the_window,
)
