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


def refusals_by_reason(rejected: nw.LazyFrame) -> str | None:
    """How much evidence was refused for each reason; nothing where none was."""
    counted = to_polars(rejected.group_by("reason").agg(nw.len().alias("n_edges"))).sort("reason")
    if counted.is_empty():
        return None
    return bars(
        counted,
        x="reason",
        y="n_edges",
        title="Refused evidence by reason",
        x_title="reason",
        y_title="pieces of evidence",
    )


def changes_by_night(ledger: nw.LazyFrame) -> str | None:
    """How many ids were absorbed, split or retired each night; nothing where none was."""
    changes = to_polars(
        ledger.filter(nw.col("event").is_in(["absorbed", "split", "retired"]))
        .group_by("as_of", "event")
        .agg(nw.len().alias("n_ids"))
    )
    if changes.is_empty():
        return None
    counted = changes.sort("as_of", "event").select(
        pl.concat_str([pl.col("as_of").cast(pl.String), "event"], separator=" ").alias("night"), "n_ids"
    )
    return bars(
        counted.tail(30), x="night", y="n_ids", title="Changes of ids, latest nights", x_title="night", y_title="ids"
    )


def warnings_by_figure(quality: nw.LazyFrame) -> str | None:
    """Figures that are not as usual, by sort; nothing where all are."""
    counted = to_polars(
        quality.filter(nw.col("status") == "warn").group_by("figure").agg(nw.len().alias("n_warnings"))
    ).sort("figure")
    if counted.is_empty():
        return None
    return bars(counted, x="figure", y="n_warnings", title="Warnings", x_title="figure", y_title="warnings")
