"""Plots of the lifecycle room."""

from __future__ import annotations

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import bars

_ORDER = ("acquisition", "activation", "engagement", "satisfaction", "loyalty", "advocacy", "disengaged")


def stage_mix(customers: nw.LazyFrame) -> str | None:
    """Customers by stage, in the order of the way."""
    counted = to_polars(
        customers.filter(~nw.col("stage").is_null()).group_by("stage").agg(nw.len().cast(nw.Int64).alias("n"))
    )
    if counted.is_empty():
        return None
    stages = pl.DataFrame({"stage": list(_ORDER)}).join(counted, on="stage", how="left", maintain_order="left")
    return bars(stages.fill_null(0), x="stage", y="n", title="Customers by lifecycle stage", y_title="customers")
