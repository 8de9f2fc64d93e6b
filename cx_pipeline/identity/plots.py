"""Plots of the identity room."""

from __future__ import annotations

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import bars


def records_per_customer(xref: nw.LazyFrame) -> str | None:
    """How many customers have one party record, two, three ...; nothing where there are no records."""
    sizes = to_polars(xref.group_by("customer_id").agg(nw.len().alias("n_records")))
    if sizes.is_empty():
        return None
    counted = (
        sizes.with_columns(
            pl.when(pl.col("n_records") > 15)
            .then(pl.lit("> 15"))
            .otherwise(pl.col("n_records").cast(pl.String))
            .alias("size")
        )
        .group_by("size")
        .agg(pl.len().alias("n_customers"), pl.col("n_records").min().alias("order"))
        .sort("order")
    )
    return bars(
        counted,
        x="size",
        y="n_customers",
        title="Customers by number of records",
        x_title="records",
        y_title="customers",
    )
