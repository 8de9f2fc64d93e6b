"""Plots and notes of the channels room."""

from __future__ import annotations

import narwhals as nw
import polars as pl

from cx_pipeline.channels.discovery import RARE
from cx_pipeline.channels.field_register import unused_fields as listed_unused
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import COLOUR, WIDTH, bars, lines, render

_MAX_MONTHS, _MAX_SOURCES, _MAX_FIELDS = 24, 8, 20
_ROW_HEIGHT = 16


def coverage(table: nw.LazyFrame) -> str | None:
    """Heat map of channels by month: the share of records that find their customer; grey where there are no data."""
    import altair as alt

    rows = to_polars(table)
    months = rows["month"].unique().sort().tail(_MAX_MONTHS)
    recent = rows.filter(pl.col("month").is_in(months.implode()))
    if recent.is_empty() or recent["n_records"].sum() == 0:
        return None
    data = recent.select(
        "channel", pl.col("month").dt.strftime("%Y-%m"), "n_records", pl.col("linked_rate").fill_null(0.0)
    )
    base = alt.Chart(data, title="Records that find their customer, by channel and month").encode(
        x=alt.X("month:O", title=None), y=alt.Y("channel:N", title=None)
    )
    empty = base.transform_filter("datum.n_records == 0").mark_rect(color="#ddd", aria=False)
    scale = alt.Scale(range=["#f1f0fd", COLOUR], domain=[0, 1])
    filled = (
        base.transform_filter("datum.n_records > 0")
        .mark_rect(aria=False)
        .encode(color=alt.Color("linked_rate:Q", scale=scale, title="linked", legend=alt.Legend(format=".0%")))
    )
    height = _ROW_HEIGHT * data["channel"].n_unique()
    return render((empty + filled).properties(width=WIDTH, height=height))


def discovery(table: nw.LazyFrame) -> str | None:
    """Customers of each unmapped source by month, the most used sources."""
    rows = to_polars(table.filter(nw.col("source") != RARE))
    if rows.is_empty():
        return None
    leading = rows.group_by("source").agg(pl.col("n_customers_ever").max()).sort("n_customers_ever", "source")
    shown = rows.filter(pl.col("source").is_in(leading.tail(_MAX_SOURCES)["source"].implode()))
    return lines(
        shown.sort("source", "month"),
        x="month",
        y="n_customers",
        colour="source",
        title="Sources that no channel covers",
        y_title="customers",
    )


def overlay_match_rate(table: nw.LazyFrame) -> str | None:
    """Match rate of each provider."""
    rows = to_polars(table.filter(~nw.col("match_rate").is_null()))
    if rows.is_empty():
        return None
    return bars(rows.sort("provider"), x="provider", y="match_rate", title="Third-party records that find a customer")


def unused_fields(table: nw.LazyFrame) -> str:
    """The fields that feed no decision, as Markdown; personal ones first."""
    unused = listed_unused(to_polars(table))
    if unused.is_empty():
        return "Every field feeds a decision."
    listed = [
        f"- `{channel}.{field}`{' (personal)' if is_personal else ''}: {reason}"
        for channel, field, is_personal, reason in unused.head(_MAX_FIELDS).iter_rows()
    ]
    more = [f"- and {unused.height - _MAX_FIELDS} more"] if unused.height > _MAX_FIELDS else []
    return "\n".join([f"{unused.height} fields feed no decision:", "", *listed, *more])
