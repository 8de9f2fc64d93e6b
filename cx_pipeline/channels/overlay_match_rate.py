"""Overlay match rate: how many of a provider's third-party records find a customer, by e-mail, by phone or both, and how old they are.

Belongs here: the rates of a provider. Does not belong here: which customer a record is about (profile).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import narwhals as nw
import polars as pl

from cx_pipeline.channels.policy import OverlayRatePolicy
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.tables import Table


def aged_records(matches: nw.LazyFrame) -> nw.LazyFrame:
    """One row per provider, way of matching and day of observation: n_records, n_conflicting, and the same per customer.

    Args:
        matches: `profile.overlay_matches`.

    Returns:
        provider, matched_by (NULL: not matched), observed_on (NULL: not said), n_records, n_conflicting.
    """
    return (
        matches.with_columns(nw.col("observed_at").cast(nw.Date).alias("observed_on"))
        .group_by(nw.col("channel").alias("provider"), "matched_by", "observed_on")
        .agg(
            nw.len().cast(nw.Int64).alias("n_records"),
            nw.when(nw.col("is_ambiguous")).then(1).otherwise(0).sum().cast(nw.Int64).alias("n_conflicting"),
        )
    )


def customers_of_providers(matches: nw.LazyFrame) -> nw.LazyFrame:
    """One row per provider: n_customers with at least one record.

    Args:
        matches: `profile.overlay_matches`.
    """
    once = matches.select(nw.col("channel").alias("provider"), "customer_id").unique()
    return once.group_by("provider").agg(nw.col("customer_id").count().cast(nw.Int64).alias("n_customers"))


def overlay_match_rate(
    matches: nw.LazyFrame, providers: Sequence[str], table: Table, as_of: date, policy: OverlayRatePolicy
) -> pl.DataFrame:
    """One row per provider: how its records match customers, and how old they are at as_of.

    Args:
        matches: `profile.overlay_matches`.
        providers: names of all overlay channels, those without records too.
        table: contract of the result.
        as_of: the date the results stand for.
        policy: when a record is stale.
    """
    records = to_polars(aged_records(matches)).with_columns(
        (pl.lit(as_of) - pl.col("observed_on")).dt.total_days().clip(lower_bound=0).alias("age")
    )
    n, age, by = pl.col("n_records"), pl.col("age"), pl.col("matched_by")
    is_stale = age > policy.overlay_stale_after_days
    rates = records.group_by("provider").agg(
        n.sum(),
        n.filter(by.is_not_null()).sum().alias("n_matched"),
        *(n.filter(by == way).sum().alias(f"n_by_{way}") for way in ("email", "phone", "both")),
        pl.col("n_conflicting").sum(),
        n.filter(age.is_not_null()).sum().alias("n_dated"),
        age.repeat_by(n).explode().median().alias("median_age_days"),
        n.filter(is_stale).sum().alias("n_stale"),
    )
    counted = pl.DataFrame({"provider": providers}, schema={"provider": pl.String}).join(
        rates.join(to_polars(customers_of_providers(matches)), on="provider"), on="provider", how="left"
    )
    counts = [name for name in counted.columns if name.startswith("n_")]
    return (
        counted.with_columns(pl.col(counts).fill_null(0))
        .with_columns(
            pl.when(n > 0).then(pl.col("n_matched") / n).alias("match_rate"),
            pl.when(pl.col("n_dated") > 0).then(pl.col("n_stale") / pl.col("n_dated")).alias("stale_rate"),
            pl.lit(as_of).alias("as_of"),
        )
        .select(table.column_names)
        .sort("provider")
    )
