"""Business checks of the staging room; those of a single channel stand on its asset (`assets.channel_asset`)."""

from __future__ import annotations

import dagster as dg
import narwhals as nw

from cx_pipeline.core.assets import table_check
from cx_pipeline.core.workspace import Run
from cx_pipeline.staging.canonical import lines_without_order
from cx_pipeline.staging.policy import StagingPolicy
from cx_pipeline.staging.returns import orders_giving_back_too_much


@table_check("staging.load_manifest")
def no_row_has_been_lost(manifest: nw.LazyFrame) -> nw.LazyFrame:
    """For every file, rows read = rows staged + rows rejected + rows superseded."""
    together = nw.col("rows_staged") + nw.col("rows_rejected") + nw.col("rows_superseded")
    return manifest.filter(nw.col("rows_read") != together).select("channel", "file", "rows_read")


@table_check("staging.load_manifest", blocking=False)
def no_file_is_mostly_rejected(run: Run, manifest: nw.LazyFrame) -> nw.LazyFrame:
    """No file lost most of its rows to the contract: that is a broken export rather than bad records."""
    share = run.policy(StagingPolicy).suspicious_file_reject_rate
    return manifest.filter((nw.col("rows_read") > 0) & (nw.col("rows_rejected") > share * nw.col("rows_read"))).select(
        "channel", "file", "rows_read", "rows_rejected"
    )


@table_check("staging.orders", reads=("staging.orders", "staging.order_lines"))
def every_order_line_is_part_of_an_order(orders: nw.LazyFrame, lines: nw.LazyFrame) -> nw.LazyFrame:
    """No line, and so no money, is left out when orders are derived from lines."""
    return lines_without_order(lines, orders).group_by("channel").agg(nw.len().alias("n_lines"))


@table_check("staging.returns", blocking=False, severity=dg.AssetCheckSeverity.WARN)
def no_order_gives_back_more_than_it_brought(returns: nw.LazyFrame) -> nw.LazyFrame:
    """The returns of an order are worth at most what was sold with it."""
    return orders_giving_back_too_much(returns)


CHECKS = (
    no_row_has_been_lost,
    no_file_is_mostly_rejected,
    every_order_line_is_part_of_an_order,
    no_order_gives_back_more_than_it_brought,
)
