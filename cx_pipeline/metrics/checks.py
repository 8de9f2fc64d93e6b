"""Business checks of the metrics room."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from cx_pipeline.core.assets import table_check

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
) -> nw.LazyFrame[Any]:
    """Counted anew, customers with an order of a positive amount in the window before the end are the closing base of the last month."""
    months = attrition.filter(
        (nw.col("definition") == "activity") & (nw.col("period") == "month") & (nw.col("segment") == "all")
    )
    last = months.join(months.group_by("period").agg(nw.col("ends_on").max()), on=["period", "ends_on"])
    ordered = timeline.filter((nw.col("kind") == "order") & (nw.col("value") > 0)).select(
        "customer_id", nw.col("at").cast(nw.Date).alias("ordered_on")
    )
    # The window as days by month boundaries would be another definition: both dates are exact.
    windows = last.select("ends_on", "window_days", "n_closing").join(ordered, how="cross")
    days = (nw.col("ends_on") - nw.col("ordered_on")).dt.total_minutes() // (24 * 60)
    return (
        windows.filter((nw.col("ordered_on") < nw.col("ends_on")) & (days <= nw.col("window_days")))
        .group_by("ends_on", "n_closing")
        .agg(nw.col("customer_id").n_unique().cast(nw.Int64).alias("n_anew"))
        .filter(nw.col("n_closing") != nw.col("n_anew"))
    )


CHECKS = (
    closing_is_opening_minus_lost_plus_new_plus_reactivated,
    a_period_opens_with_what_the_last_one_closed,
    the_closing_base_is_who_ordered_within_the_window,
)
