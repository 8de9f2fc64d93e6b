"""Plots of the engagement room."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import COLOUR, WIDTH, bars, render

MAX_CAMPAIGNS = 40
_ROW_HEIGHT = 13


def effects_or_rates(evaluation: nw.LazyFrame) -> str | None:
    """Effects with intervals where campaigns have a control arm, else response rates with intervals: newest campaigns first."""
    rows = to_polars(evaluation)
    if rows.is_empty():
        return None
    read = rows.filter(rows["effect"].is_not_null())
    if read.is_empty():
        title, y, low, high = (
            "Response rate of campaigns (no control arm: no effect)",
            "response_rate",
            "rate_low",
            "rate_high",
        )
    else:
        rows, title, y, low, high = read, "Effect of campaigns against control", "effect", "effect_low", "effect_high"
    import altair as alt
    import polars as pl

    shown = rows.sort("first_sent_on", "campaign", "arm", descending=[True, False, False], nulls_last=True).head(
        MAX_CAMPAIGNS
    )
    shown = shown.with_columns(
        pl.when(pl.col("arm") == "all")
        .then(pl.col("campaign"))
        .otherwise(pl.concat_str("campaign", "arm", separator=": "))
        .alias("name")
    )
    base = alt.Chart(shown.select("name", y, low, high))
    names: Any = alt.Y("name:N", sort=None, title=None)
    axis = alt.Axis(format=".0%")
    intervals = base.mark_rule(color=COLOUR, strokeWidth=2).encode(
        y=names, x=alt.X(f"{low}:Q", title=None, axis=axis), x2=f"{high}:Q"
    )
    points = base.mark_point(color=COLOUR, filled=True, size=40).encode(y=names, x=f"{y}:Q")
    return render((intervals + points).properties(title=title, width=WIDTH, height=max(60, _ROW_HEIGHT * shown.height)))


def requests_by_action(requests: nw.LazyFrame) -> str | None:
    """Requests of products by what is to be done about them."""
    counted = to_polars(requests.group_by("action").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    ordered = counted.sort("n", "action", descending=[True, False])
    return bars(ordered, x="action", y="n", title="Requests of products by what is to be done", y_title="requests")
