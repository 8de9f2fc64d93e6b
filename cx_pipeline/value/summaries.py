"""Order histories in a few figures per customer: what every model of this room starts from.

An order here is a customer's day with a positive net amount: several baskets of a day are one visit, returns net out within the
day, and days on which returns outweigh purchases are no orders but still lower the customer's revenue.

Belongs here: customer-days, and their summary as known at the end of a cut-off day. Does not belong here: models.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from cx_pipeline.value.likelihood import Array

# Ends of the bands of recency, in days before the cut-off, in which orders and revenue are summed.
BAND_ENDS_DAYS = (7, 14, 28, 56, 91, 182, 364)
DAYS_PER_WEEK = 7.0
_MONEY = nw.Decimal(18, 4)
_LOG = nw.Decimal(18, 6)


def customer_days(timeline: nw.LazyFrame[Any], as_of: date) -> nw.LazyFrame[Any]:
    """One row per customer and day with orders until `as_of`: customer_id, day, revenue (decimal; may be zero or negative)."""
    return (
        timeline.filter((nw.col("kind") == "order") & ~nw.col("value").is_null())
        .select("customer_id", nw.col("at").cast(nw.Date).alias("day"), nw.col("value").cast(_MONEY).alias("revenue"))
        .filter(nw.col("day") <= nw.lit(as_of))
        .group_by("customer_id", "day")
        .agg(nw.col("revenue").sum().cast(_MONEY).alias("revenue"))
    )


def summaries(days: nw.LazyFrame[Any], cutoff: date) -> nw.LazyFrame[Any]:
    """One row per customer with an order until the end of the cut-off day, as known then.

    Columns: customer_id, first_day, last_day, n_orders, revenue, log_value and log_value_squared (sums over orders), and for each
    band end w n_orders_{w}d and revenue_{w}d, the orders and revenue of the last w days.

    Sums are of decimals: sums of doubles differ between runs in their last digits, and ranks with them.
    """
    is_order = nw.col("revenue") > 0
    logs = nw.when(is_order).then(nw.col("revenue").cast(nw.Float64)).otherwise(1.0).log()
    known = days.filter(nw.col("day") <= nw.lit(cutoff)).with_columns(
        is_order.alias("is_order"),
        logs.cast(_LOG).alias("log_value"),
        (logs * logs).cast(_LOG).alias("log_value_squared"),
    )
    figures = []
    for width in BAND_ENDS_DAYS:
        is_recent = nw.col("day") > nw.lit(cutoff - timedelta(days=width))
        figures += [
            _count(nw.col("is_order") & is_recent).alias(f"n_orders_{width}d"),
            _sum(nw.when(is_recent).then(nw.col("revenue")).otherwise(None), _MONEY).alias(f"revenue_{width}d"),
        ]
    day = nw.when(nw.col("is_order")).then(nw.col("day")).otherwise(None)
    return (
        known.group_by("customer_id")
        .agg(
            day.min().alias("first_day"),
            day.max().alias("last_day"),
            _count(nw.col("is_order")).alias("n_orders"),
            _sum(nw.col("revenue"), _MONEY).alias("revenue"),
            _sum(nw.col("log_value"), _LOG).alias("log_value"),
            _sum(nw.col("log_value_squared"), _LOG).alias("log_value_squared"),
            *figures,
        )
        .filter(nw.col("n_orders") > 0)
        .sort("customer_id")
    )


def outcomes(days: nw.LazyFrame[Any], cutoff: date, horizon_days: int) -> nw.LazyFrame[Any]:
    """One row per customer with orders in the horizon_days after the cut-off day: customer_id, n_orders, revenue (net)."""
    is_order = nw.col("revenue") > 0
    until = cutoff + timedelta(days=horizon_days)
    return (
        days.filter((nw.col("day") > nw.lit(cutoff)) & (nw.col("day") <= nw.lit(until)))
        .group_by("customer_id")
        .agg(_count(is_order).alias("n_orders"), _sum(nw.col("revenue"), _MONEY).alias("revenue"))
    )


def outcomes_of(customers: pl.DataFrame, found: pl.DataFrame) -> tuple[Array, Array]:
    """Orders and revenue (at least 0) of the customers of a summary, in its order; nothing found is zero. Shape (n,) each."""
    joined = customers.select("customer_id").join(
        found.select("customer_id", "n_orders", "revenue"), on="customer_id", how="left", maintain_order="left"
    )
    return column(joined.fill_null(0), "n_orders"), np.maximum(column(joined.fill_null(0), "revenue"), 0.0)


def column(rows: pl.DataFrame, name: str) -> Array:
    """A column as doubles, shape (n,)."""
    return rows[name].cast(pl.Float64).to_numpy().copy()


def history(rows: pl.DataFrame, cutoff: date) -> tuple[Array, Array, Array]:
    """Repeat orders, time of the last order since the first, and age, both in weeks: x, t_x, T of the models; shape (n,) each."""
    age = rows.select((pl.lit(cutoff) - pl.col("first_day")).dt.total_days()).to_series()
    last = rows.select((pl.col("last_day") - pl.col("first_day")).dt.total_days()).to_series()
    return (
        column(rows, "n_orders") - 1,
        last.cast(pl.Float64).to_numpy() / DAYS_PER_WEEK,
        age.cast(pl.Float64).to_numpy() / DAYS_PER_WEEK,
    )


def mean_order_value(rows: pl.DataFrame) -> Array:
    """Net revenue per order, at least 0 (a customer may give back more than he bought), shape (n,)."""
    return np.maximum(column(rows, "revenue"), 0.0) / column(rows, "n_orders")


def _count(condition: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(1).otherwise(0).sum().cast(nw.Int64)


def _sum(value: nw.Expr, kind: nw.Decimal) -> nw.Expr:
    return value.sum().cast(kind).fill_null(0).cast(nw.Float64)
