"""Product usage: what customers' products measured, by day.

Belongs here: measurements attributed to customers and added up by day. Does not belong here: forecasts (propensity), requests of
products for help (engagement).
"""

from __future__ import annotations

from datetime import date, timedelta

import narwhals as nw

from cx_pipeline.profile.timeline import attributed

UNKNOWN = "(unknown)"


def product_usage(usage: nw.LazyFrame, xref: nw.LazyFrame, as_of: date) -> nw.LazyFrame:
    """One row per customer, product, day and metric, only of days with a measurement: n, total, mean, least and greatest value.

    Metrics stand below one another, not side by side: which there are is the data's business. Values are in the metric's unit,
    rounded to six digits, so that the order of rows never shows.

    Args:
        usage: `staging.usage`; rows without time, value or customer say nothing here.
        xref: `identity.identifier_xref`.
        as_of: the last day that counts.
    """
    end = nw.lit(as_of + timedelta(days=1)).cast(nw.Datetime("us"))
    measured = attributed(usage.filter((nw.col("event_at") < end) & ~nw.col("usage_value").is_null()), xref).filter(
        ~nw.col("customer_id").is_null()
    )
    value = nw.col("usage_value")
    return (
        measured.with_columns(
            nw.col("product_id").fill_null(UNKNOWN),
            nw.col("usage_metric").fill_null(UNKNOWN).alias("metric"),
            nw.col("event_at").cast(nw.Date).alias("used_on"),
        )
        .group_by("customer_id", "product_id", "used_on", "metric")
        .agg(
            nw.len().cast(nw.Int64).alias("n_measurements"),
            value.sum().round(6).alias("total"),
            value.mean().round(6).alias("mean"),
            value.min().alias("least"),
            value.max().alias("greatest"),
        )
    )
