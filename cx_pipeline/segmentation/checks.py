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
    tonight = features.join(customers.select("as_of").unique(), on="as_of")
    buyers = tonight.filter(nw.col("n_orders") > 0).select(
        nw.col("customer_id").alias("buyer_id"), nw.col("n_orders").alias("n_ordered")
    )
    has_ordered = ~nw.col("buyer_id").is_null()
    is_wrong = nw.any_horizontal(
        *(~nw.col(name).is_null() != has_ordered for name in (*_SCORES, "rfm_segment")),
        nw.col("rfm_reason").is_null() != has_ordered,
        ignore_nulls=True,
    )
    return (
        customers.join(buyers, left_on="customer_id", right_on="buyer_id", how="full")
        .filter(is_wrong)
        .select(nw.coalesce(nw.col("customer_id"), nw.col("buyer_id")).alias("customer_id"), "n_ordered", "rfm_segment")
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
