"""Plots of the profile room."""

from __future__ import annotations

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import band, bars, lines


def values_by_status(values: nw.LazyFrame) -> str | None:
    """How many values each channel wins in the golden record."""
    counted = to_polars(values.filter(nw.col("status") == "winner").group_by("channel").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    return bars(
        counted.sort("n", "channel", descending=True).head(20),
        x="channel",
        y="n",
        title="Golden values by channel",
        y_title="values",
    )


def customers_by_channels(customers: nw.LazyFrame) -> str | None:
    """How many customers are known by one channel, two, three ..."""
    counted = to_polars(customers.group_by("n_channels").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    named = counted.sort("n_channels").with_columns(pl.col("n_channels").cast(pl.String).alias("channels"))
    return bars(
        named,
        x="channels",
        y="n",
        title="Customers by number of channels that know them",
        x_title="channels",
        y_title="customers",
    )


def events_by_month(timeline: nw.LazyFrame) -> str | None:
    """Events per month, one line per kind."""
    months = timeline.with_columns(nw.col("at").dt.truncate("1mo").cast(nw.Datetime("us")).alias("month"))
    counted = to_polars(months.group_by("month", "kind").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    return lines(
        counted.sort("month", "kind"), x="month", y="n", colour="kind", title="Events per month", y_title="events"
    )


def recency_at_cutoffs(features: nw.LazyFrame) -> str | None:
    """Median days since the last order at each cut-off, with the middle half of customers around it."""
    spread = to_polars(
        features.filter(~nw.col("recency_days").is_null())
        .group_by("as_of")
        .agg(
            nw.col("recency_days").quantile(share, "linear").alias(name)
            for name, share in (("low", 0.25), ("middle", 0.5), ("high", 0.75))
        )
    )
    if spread.is_empty():
        return None
    return band(
        spread.sort("as_of"),
        x="as_of",
        y="middle",
        low="low",
        high="high",
        title="Days since the last order at each cut-off: median and middle half",
        y_title="days",
    )
