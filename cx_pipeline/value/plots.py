"""Plots of the value room."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import HEIGHT, WIDTH, bars, render


def predicted_against_actual(metrics: nw.LazyFrame[Any]) -> str | None:
    """Mean predicted and actual revenue of each tenth of customers, out of time, of the newest version that was judged."""
    import altair as alt

    found = to_polars(metrics.filter(nw.col("metric").str.starts_with("decile_")).select("version", "metric", "value"))
    if found.is_empty():
        return None
    drawn = found.filter(pl.col("version") == pl.col("version").max()).with_columns(
        pl.col("metric").str.slice(7, 2).alias("tenth"), pl.col("metric").str.slice(10).alias("revenue")
    )
    return render(
        alt.Chart(
            drawn.sort("tenth", "revenue"),
            title="Revenue of 13 weeks out of time, by tenth of predicted value",
            width=WIDTH,
            height=HEIGHT,
        )
        .mark_bar()
        .encode(
            x=alt.X("tenth:N", title="tenth of customers, lowest prediction first"),
            xOffset=alt.XOffset("revenue:N"),
            y=alt.Y("value:Q", title="mean revenue"),
            color=alt.Color("revenue:N", title=None, scale=alt.Scale(range=["#b9b4f3", "#4f43dd"])),
        )
    )


def revenue_by_tenth(customers: nw.LazyFrame[Any]) -> str | None:
    """Expected revenue of the next year by tenth of customers."""
    revenue = to_polars(
        customers.filter((nw.col("horizon_days") == 365) & ~nw.col("expected_revenue").is_null()).select(
            "expected_revenue"
        )
    ).sort("expected_revenue", descending=True)
    if revenue.is_empty():
        return None
    tenths = (
        revenue.with_row_index("place")
        .with_columns((pl.col("place") * 10 // revenue.height + 1).alias("tenth"))
        .group_by("tenth")
        .agg(pl.col("expected_revenue").sum())
        .sort("tenth")
        .with_columns(pl.col("tenth").cast(pl.String))
    )
    return bars(
        tenths,
        x="tenth",
        y="expected_revenue",
        title="Expected revenue of the next 365 days",
        x_title="tenth of customers, most valuable first",
        y_title="revenue",
    )
