"""Plots of the retention room."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import COLOUR, HEIGHT, WIDTH, bars, render


def survival_curves(curves: nw.LazyFrame[Any]) -> str | None:
    """Share of customers that has not left, over weeks of life: a line per segment, with the interval of all."""
    import altair as alt

    found = to_polars(curves.select("basis", "segment", "t_days", "survival", "low", "high")).sort(
        "basis", "segment", "t_days"
    )
    if found.is_empty():
        return None
    several = found["basis"].n_unique() > 1
    named = found.with_columns(
        (pl.col("basis") + ": " + pl.col("segment") if several else pl.col("segment")).alias("group")
    )
    band = (
        alt.Chart(named.filter(pl.col("segment") == "all"))
        .mark_area(opacity=0.2, color=COLOUR, interpolate="step-after")
        .encode(x="t_days:Q", y="low:Q", y2="high:Q", detail="group:N")
    )
    lines = (
        alt.Chart(named)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("t_days:Q", title="days since the beginning"),
            y=alt.Y("survival:Q", title="share not left", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("group:N", title=None),
        )
    )
    layers = alt.LayerChart(layer=[band, lines], title="Who stays how long", width=WIDTH, height=HEIGHT)
    return render(layers)


def predicted_against_actual(metrics: nw.LazyFrame[Any]) -> str | None:
    """Calibration out of time: share that left within 90 days against its prediction, by tenth, of the newest versions judged."""
    import altair as alt

    found = to_polars(
        metrics.filter(nw.col("metric").str.starts_with("decile_")).select("model", "version", "metric", "value")
    )
    if found.is_empty():
        return None
    drawn = (
        found.filter(pl.col("version") == pl.col("version").max().over("model"))
        .with_columns(pl.col("metric").str.slice(7, 2).alias("tenth"), pl.col("metric").str.slice(10).alias("what"))
        .pivot("what", index=["model", "tenth"], values="value")
        .sort("model", "tenth")
    )
    top = float(drawn.select(pl.max_horizontal("predicted", "actual").max()).item())
    line = alt.Chart(pl.DataFrame({"predicted": [0.0, top], "actual": [0.0, top]})).mark_line(
        color="#999", strokeDash=[4, 3]
    )
    points = alt.Chart(drawn).mark_line(point=True)
    encoded = [
        chart.encode(
            x=alt.X("predicted:Q", title="predicted share that leaves"), y=alt.Y("actual:Q", title="share that left")
        )
        for chart in (line, points)
    ]
    coloured = encoded[1].encode(color=alt.Color("model:N", title=None))
    title = "Leaving within 90 days, out of time"
    return render(alt.LayerChart(layer=[encoded[0], coloured], title=title, width=WIDTH, height=HEIGHT))


def survival_of_customers(customers: nw.LazyFrame[Any]) -> str | None:
    """How many active customers have which probability to stay 90 days."""
    found = to_polars(
        customers.filter((nw.col("status") == "active") & ~nw.col("survival_90d").is_null()).select("survival_90d")
    )
    if found.is_empty():
        return None
    share = (pl.col("survival_90d") * 10).floor().clip(0, 9).cast(pl.Int64)
    counted = found.with_columns(share.alias("tenth")).group_by("tenth").len().sort("tenth")
    named = counted.with_columns(
        pl.format("{}-{} %", pl.col("tenth") * 10, pl.col("tenth") * 10 + 10).alias("probability")
    )
    return bars(
        named,
        x="probability",
        y="len",
        title="Active customers by probability to stay 90 days",
        x_title="probability",
        y_title="customers",
    )
