"""Business checks of the value room."""

from __future__ import annotations

from typing import Any

import dagster as dg
import narwhals as nw

from cx_pipeline.core.assets import table_check

_FIGURES = ("expected_orders", "expected_revenue", "median_revenue", "revenue_low", "revenue_high", "clv")


@table_check("value.customers")
def no_value_is_negative_or_nan(customers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Every figure is a number of at least zero, or NULL with a reason and then all of them."""
    n_missing = sum((nw.col(name).is_null().cast(nw.Int64) for name in _FIGURES), start=nw.lit(0))
    is_wrong = nw.lit(False)
    for name in _FIGURES:
        is_wrong = is_wrong | nw.col(name).is_nan().fill_null(False) | (nw.col(name) < 0).fill_null(False)
    marked = customers.with_columns(n_missing.alias("n_missing"), is_wrong.alias("is_wrong"))
    is_half_missing = (nw.col("n_missing") > 0) & (nw.col("n_missing") < len(_FIGURES))
    is_unexplained = (nw.col("n_missing") > 0) == nw.col("reason").is_null()
    return marked.filter(nw.col("is_wrong") | is_half_missing | is_unexplained).select("customer_id", "horizon_days")


@table_check("value.customers")
def quantiles_are_in_order(customers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """revenue_low is at most the median, which is at most revenue_high."""
    is_out = (nw.col("revenue_low") > nw.col("median_revenue")) | (nw.col("median_revenue") > nw.col("revenue_high"))
    return customers.filter(is_out).select("customer_id", "horizon_days")


@table_check("value.customers")
def expectations_grow_with_the_horizon(customers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Over a longer horizon a customer is never expected to order less or bring less."""

    def at(horizon: int) -> nw.LazyFrame[Any]:
        return customers.filter(nw.col("horizon_days") == horizon).select(
            "customer_id",
            nw.col("expected_orders").alias(f"orders_{horizon}"),
            nw.col("expected_revenue").alias(f"revenue_{horizon}"),
        )

    wide = at(91).join(at(182), on="customer_id", how="inner").join(at(365), on="customer_id", how="inner")
    falls = nw.lit(False)
    for name in ("orders", "revenue"):
        falls = falls | (nw.col(f"{name}_91") > nw.col(f"{name}_182")) | (nw.col(f"{name}_182") > nw.col(f"{name}_365"))
    return wide.filter(falls).select("customer_id")


@table_check("value.customers", reads=("value.customers", "profile.customers"))
def every_customer_has_every_horizon(customers: nw.LazyFrame[Any], master: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Each customer of the master file has one row for each of the three horizons, and nobody else has any."""
    counted = customers.group_by("customer_id").agg(nw.len().cast(nw.Int64).alias("n_horizons"))
    missing = (
        master.select("customer_id")
        .join(counted, on="customer_id", how="left")
        .filter(nw.col("n_horizons").is_null() | (nw.col("n_horizons") != 3))
    )
    unknown = counted.join(master.select("customer_id"), on="customer_id", how="anti")
    return nw.concat([missing.select("customer_id"), unknown.select("customer_id")])


@table_check("value.model_versions", blocking=False, severity=dg.AssetCheckSeverity.WARN)
def the_champion_beats_the_naive_rule(versions: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """The version that makes the scores ranked customers better than the last 13 weeks' spend out of time, and was calibrated."""
    return versions.filter(nw.col("is_champion") & ~nw.col("is_better")).select("model", "version", "verdict")


CHECKS = (
    no_value_is_negative_or_nan,
    quantiles_are_in_order,
    expectations_grow_with_the_horizon,
    every_customer_has_every_horizon,
    the_champion_beats_the_naive_rule,
)
