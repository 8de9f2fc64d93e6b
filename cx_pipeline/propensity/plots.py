"""Plots of the propensity room."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import COLOUR, HEIGHT, render

_WIDTH = 260


def calibration_curves(calibration: nw.LazyFrame) -> str | None:
    """Predicted against observed, out of time, for the newest version of each model; the diagonal is right."""
    rows = to_polars(calibration)
    if rows.is_empty():
        return None
    newest = rows.filter(pl.col("version") == pl.col("version").max().over("model"))
    charts = [
        _curve(group, str(model))
        for (model,), group in newest.sort("model", "bin").group_by("model", maintain_order=True)
    ]
    import altair as alt

    return render(alt.hconcat(*charts))


def _curve(rows: pl.DataFrame, model: str) -> Any:
    import altair as alt

    top = float(max(rows["rate_high"].max() or 0.0, rows["mean_probability"].max() or 0.0))  # type: ignore[arg-type]
    axis = alt.Axis(format=".0%")
    x: Any = alt.X("mean_probability:Q", title="predicted", axis=axis)
    base = alt.Chart(rows.select("mean_probability", "observed_rate", "rate_low", "rate_high"))
    right = (
        alt.Chart(pl.DataFrame({"p": [0.0, top]})).mark_line(color="#999", strokeDash=[4, 4]).encode(x="p:Q", y="p:Q")
    )
    intervals = base.mark_rule(color=COLOUR).encode(
        x=x, y=alt.Y("rate_low:Q", title="observed", axis=axis), y2="rate_high:Q"
    )
    points = base.mark_point(color=COLOUR, filled=True, size=45).encode(x=x, y="observed_rate:Q")
    return (right + intervals + points).properties(
        title=f"Calibration of {model}, out of time", width=_WIDTH, height=HEIGHT
    )


def probabilities_by_decile(scores: nw.LazyFrame) -> str | None:
    """Mean probability of each tenth of the customers, one line per model."""
    means = to_polars(
        scores.filter(~nw.col("probability").is_null()).group_by("model", "decile").agg(nw.col("probability").mean())
    )
    if means.is_empty():
        return None
    import altair as alt

    return render(
        alt.Chart(
            means.sort("model", "decile"), title="Mean probability by tenth of the customers", width=420, height=HEIGHT
        )
        .mark_line(point=True)
        .encode(
            x=alt.X("decile:O", title="tenth (1: most probable)"),
            y=alt.Y("probability:Q", title=None, axis=alt.Axis(format=".0%")),
            color=alt.Color("model:N", title=None),
        )
    )


def figures_beside_naive(metrics: nw.LazyFrame) -> str | None:
    """AUC and Brier score of the newest version of each model beside its naive rule."""
    rows = to_polars(metrics.filter(nw.col("metric").is_in(["auc", "brier"])))
    if rows.is_empty():
        return None
    newest = rows.filter(pl.col("version") == pl.col("version").max().over("model"))
    long = pl.concat(
        [
            newest.select("model", "metric", pl.lit("model").alias("of"), pl.col("value")),
            newest.select("model", "metric", pl.lit("naive rule").alias("of"), pl.col("baseline").alias("value")),
        ]
    ).with_columns(pl.concat_str("model", "metric", separator=" ").alias("figure"))
    import altair as alt

    return render(
        alt.Chart(long.sort("figure", "of"), title="Out of time, beside the naive rule", width=420)
        .mark_bar()
        .encode(
            y=alt.Y("figure:N", title=None),
            x=alt.X("value:Q", title=None),
            yOffset="of:N",
            color=alt.Color(
                "of:N", title=None, scale=alt.Scale(domain=["model", "naive rule"], range=[COLOUR, "#bbb"])
            ),
        )
    )
