"""Business checks of the segmentation room."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_check
from cx_pipeline.core.frames import to_polars

_SCORES = ("recency_score", "frequency_score", "monetary_score")


@table_check("segmentation.customers", reads=("segmentation.customers", "profile.features"))
def every_customer_with_orders_has_a_segment(
    customers: nw.LazyFrame[Any], features: nw.LazyFrame[Any]
) -> nw.LazyFrame[Any]:
    """Who has ordered by as_of has scores and a name, and nobody else has."""
    buyers = features.filter(nw.col("n_orders") > 0).select(
        "customer_id", "as_of", nw.col("n_orders").alias("n_ordered")
    )
    faults = nw.any_horizontal(
        *(nw.col(name).is_null() != nw.col("n_ordered").is_null() for name in (*_SCORES, "rfm_segment")),
        nw.col("rfm_reason").is_null() == nw.col("n_ordered").is_null(),
        ignore_nulls=True,
    )
    return (
        customers.join(buyers, on=["customer_id", "as_of"], how="full", suffix="_of_buyer")
        .filter(faults & ~nw.col("customer_id").is_null())
        .select("customer_id", "n_ordered", "rfm_segment")
    )


@table_check("segmentation.customers")
def scores_are_balanced(customers: nw.LazyFrame[Any]) -> pl.DataFrame:
    """Each score from 1 to 5 is held by a fifth of the buyers, to one customer."""
    counted = [
        to_polars(
            customers.filter(~nw.col(name).is_null())
            .group_by(name)
            .agg(nw.len().cast(nw.Int64).alias("n_customers"))
            .select(nw.lit(name).alias("score"), nw.col(name).alias("value"), "n_customers")
        )
        for name in _SCORES
    ]
    sizes = pl.concat(counted)
    total = pl.col("n_customers").sum().over("score")
    fifth = pl.col("n_customers") * len(_FIFTHS)
    # With fewer buyers than fifths some scores are held by nobody; the others still differ by one customer at most.
    return sizes.filter((fifth - total).abs() >= len(_FIFTHS)).sort("score", "value")


_FIFTHS = (1, 2, 3, 4, 5)

CHECKS = (every_customer_with_orders_has_a_segment, scores_are_balanced)
