"""Plots of the segmentation room."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import COLOUR, WIDTH, render


def segment_map(customers: nw.LazyFrame[Any]) -> str | None:
    """How many customers each cell of recency and buying score holds, with the name of its segment."""
    buying = ((nw.col("frequency_score") + nw.col("monetary_score") + 1) // 2).cast(nw.Int64).alias("buying_score")
    cells = to_polars(
        customers.filter(~nw.col("recency_score").is_null())
        .with_columns(buying)
        .group_by("recency_score", "buying_score", "rfm_segment")
        .agg(nw.len().cast(nw.Int64).alias("n_customers"))
    )
    if cells.is_empty():
        return None
    import altair as alt

    named = cells.with_columns(
        pl.col("rfm_segment").str.replace_all("_", " ").alias("name"),
        (pl.col("n_customers") > pl.col("n_customers").max() * 0.6).alias("is_dark"),
    ).sort("recency_score", "buying_score")
    place = alt.Chart(named).encode(
        x=alt.X("recency_score:O", title="recency score (5: ordered last)", axis=alt.Axis(labelAngle=0, grid=False)),
        y=alt.Y("buying_score:O", sort="descending", title="frequency and money (5: most)", axis=alt.Axis(grid=False)),
    )
    colour = alt.condition("datum.is_dark", alt.value("white"), alt.value("#222"))
    tiles = place.mark_rect().encode(
        color=alt.Color("n_customers:Q", scale=alt.Scale(range=["#f1f0fc", COLOUR]), legend=None)
    )
    names = place.mark_text(dy=-7, fontSize=10).encode(text="name:N", color=colour)
    counts = place.mark_text(dy=8, fontSize=11).encode(text=alt.Text("n_customers:Q", format=","), color=colour)
    return render((tiles + names + counts).properties(title="Customers by segment", width=WIDTH + 140, height=260))
