"""`purchase_90d`: will the customer order within the horizon after a cut-off?

Belongs here: its labels, features and naive rules. Does not belong here: training (`training.py`), features of all rooms (`profile`).
"""

from __future__ import annotations

from datetime import date

import narwhals as nw
import polars as pl

from cx_pipeline.propensity.cards import Description
from cx_pipeline.propensity.policy import PropensityPolicy
from cx_pipeline.propensity.training import Task

MODEL = "purchase_90d"
# Sums over all time and tenure are left out: they grow with the length of the recorded history, so they drift.
FEATURES = (
    "n_orders_30d",
    "n_orders_90d",
    "n_orders_180d",
    "revenue_30d",
    "revenue_90d",
    "revenue_180d",
    "recency_days",
    "mean_order_value",
    "median_gap_days",
    "std_gap_days",
    "days_over_median_gap",
    "discount_rate",
    "share_top_category",
    "n_interactions_90d",
    "mean_sentiment_90d",
    "n_contacts_90d",
    "n_responses_90d",
    "response_rate",
    "days_since_response",
    "n_channels",
    "days_since_event",
)
NAIVE = ("recency", "own_frequency")
DESCRIPTION = Description(
    model=MODEL,
    outcome="an order of a positive amount within the horizon after a cut-off (`purchase_horizon_days`).",
    row="A row is a customer with an order so far, at a cut-off whose horizon has closed.",
    use="Whom to expect back without doing anything, and who is slipping away. Not an effect: it does not say whom a message would "
    "bring back.",
    caveats="Seasons shorter than the recorded history are learnt as if they were habit. Fitting and calibration cut-offs of short "
    "histories overlap in their horizons; the test cut-off never does. Customers without any order get no probability.",
)


def labelled(features: nw.LazyFrame, timeline: nw.LazyFrame, as_of: date, policy: PropensityPolicy) -> pl.DataFrame:
    """One row per customer and closed cut-off: features, label, dates and naive scores.

    Args:
        features: `profile.features`.
        timeline: `profile.timeline`, whose orders say what happened after a cut-off.
        as_of: the last day that is known.
        policy: the horizon and the most rows.
    """
    horizon = f"{policy.purchase_horizon_days}d"
    at_cutoff = features.filter(nw.col("n_orders") > 0).with_columns(
        nw.col("as_of").cast(nw.Datetime("us")).dt.offset_by(horizon).cast(nw.Date).alias("closes_on")
    )
    closed = at_cutoff.filter(nw.col("closes_on") <= nw.lit(as_of))
    ordered = timeline.filter((nw.col("kind") == "order") & (nw.col("value") > 0)).select(
        "customer_id", nw.col("at").cast(nw.Date).alias("ordered_on")
    )
    bought = (
        closed.select("customer_id", "as_of", "closes_on")
        .join(ordered, on="customer_id")
        .filter((nw.col("ordered_on") > nw.col("as_of")) & (nw.col("ordered_on") <= nw.col("closes_on")))
        .select("customer_id", "as_of")
        .unique()
        .with_columns(nw.lit(1).alias("label"))
    )
    rows = closed.join(bought, on=["customer_id", "as_of"], how="left").with_columns(nw.col("label").fill_null(0))
    found: pl.DataFrame = rows.collect("polars").to_native()
    return with_naive(found.sort("customer_id", "as_of").head(policy.max_rows)).with_columns(
        pl.col("as_of").alias("at"),
        (pl.col("as_of") + pl.duration(days=1)).alias("moment"),
        (pl.col("as_of") - pl.duration(days=pl.col("days_since_event"))).alias("known_until"),
    )


def with_naive(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the naive rules: the later the last order, and the more orders per day known, the more probable the next."""
    days = pl.col("tenure_days").clip(lower_bound=1).clip(upper_bound=365)
    return rows.with_columns(
        (-pl.col("recency_days").cast(pl.Float64)).alias("recency"),
        (pl.col("n_orders_365d") / days).alias("own_frequency"),
    )


def task(rows: pl.DataFrame) -> Task:
    """The training task of labelled rows."""
    return Task(DESCRIPTION, rows, FEATURES, NAIVE, settings={})


def folds_from(rows: pl.DataFrame, policy: PropensityPolicy) -> tuple[date, date] | None:
    """Where test and calibration begin: the last closed cut-off, and the last one closed by then; None with too few cut-offs."""
    dates = sorted(rows["at"].unique().to_list())
    if not dates:
        return None
    test_from = dates[-1]
    before = sorted(rows.filter(pl.col("closes_on") <= test_from)["at"].unique().to_list())
    return (test_from, before[-1]) if len(before) > 1 else None
