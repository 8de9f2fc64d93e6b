"""Charts of the report page and of the scorecard.

Belongs here: what a chart of the report shows, from tables alone. Does not belong here: the rooms' own plots for the UI.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from cx_pipeline.core.plots import COLOUR, HEIGHT, WIDTH, bars, lines, render

_STAGES = ("acquisition", "activation", "engagement", "satisfaction", "loyalty", "advocacy", "disengaged")
MAX_CAMPAIGNS = 30


def rates_by_month(attrition: pl.DataFrame, acquisition: pl.DataFrame) -> str | None:
    """Attrition and acquisition rate of each month with a complete base, with intervals."""
    kept = ["starts_on", "rate", "rate_low", "rate_high", "what"]
    both = pl.concat(
        [
            attrition.with_columns(pl.col("attrition_rate").alias("rate"), pl.lit("attrition").alias("what")).select(
                kept
            ),
            acquisition.with_columns(
                pl.col("acquisition_rate").alias("rate"), pl.lit("acquisition").alias("what")
            ).select(kept),
        ]
    ).filter(pl.col("rate").is_not_null())
    if both.is_empty():
        return None
    import altair as alt

    base = alt.Chart(both.sort("what", "starts_on")).encode(
        x=alt.X("yearmonth(starts_on):T", title=None), color=alt.Color("what:N", title=None)
    )
    axis = alt.Axis(format=".1%")
    area = base.mark_area(opacity=0.15).encode(y=alt.Y("rate_low:Q", title=None, axis=axis), y2="rate_high:Q")
    line = base.mark_line(point=True).encode(y="rate:Q")
    return render((area + line).properties(title="Attrition and acquisition by month", width=WIDTH, height=HEIGHT))


def revenue_by_month(months: pl.DataFrame) -> str | None:
    """Money of orders by month; columns month (date) and revenue."""
    if months.height < 2:
        return None
    data = months.sort("month").with_columns(
        pl.col("month").cast(pl.Datetime("us")), pl.col("revenue").cast(pl.Float64)
    )
    return lines(data, x="month", y="revenue", title="Revenue by month", y_title="money")


def segments(counts: pl.DataFrame) -> str | None:
    """Customers by RFM segment; columns rfm_segment and n."""
    if counts.is_empty():
        return None
    ordered = counts.sort("n", "rfm_segment", descending=[True, False])
    return bars(ordered, x="rfm_segment", y="n", title="Customers by segment", y_title="customers")


def stages(counts: pl.DataFrame) -> str | None:
    """Customers by lifecycle stage, in the order of the way; columns stage and n."""
    if counts.is_empty():
        return None
    ordered = pl.DataFrame({"stage": list(_STAGES)}).join(counts, on="stage", how="left", maintain_order="left")
    return bars(ordered.fill_null(0), x="stage", y="n", title="Customers by lifecycle stage", y_title="customers")


def value_shares(tenths: pl.DataFrame) -> str | None:
    """Share of the expected revenue that each tenth of the customers brings; columns tenth and share."""
    if tenths.is_empty():
        return None
    return _share_bars(
        tenths, "tenth", "share", "Expected revenue of a year by tenth of the customers", "tenth (1: most valuable)"
    )


def survival(means: pl.DataFrame) -> str | None:
    """Mean probability of staying; columns days and share."""
    if means.is_empty():
        return None
    return _share_bars(means, "days", "share", "Mean probability of staying", "days from now")


def _share_bars(data: pl.DataFrame, x: str, y: str, title: str, x_title: str) -> str:
    import altair as alt

    return render(
        alt.Chart(data, title=title, width=WIDTH, height=HEIGHT)
        .mark_bar(color=COLOUR)
        .encode(
            x=alt.X(f"{x}:O", title=x_title, axis=alt.Axis(labelAngle=0)),
            y=alt.Y(f"{y}:Q", title=None, axis=alt.Axis(format=".0%")),
        )
    )


def calibration(rows: pl.DataFrame) -> str | None:
    """Predicted against observed rate out of time, one panel per model; the dashed diagonal is right."""
    if rows.is_empty():
        return None
    import altair as alt

    panels = []
    axis = alt.Axis(format=".0%")
    for (model,), group in rows.sort("model", "bin").group_by("model", maintain_order=True):
        x: Any = alt.X("mean_probability:Q", title="predicted", axis=axis)
        base = alt.Chart(group.select("mean_probability", "observed_rate", "rate_low", "rate_high"))
        right = (
            alt.Chart(pl.DataFrame({"p": [0.0, 1.0]}))
            .mark_line(color="#999", strokeDash=[4, 4])
            .encode(x="p:Q", y="p:Q")
        )
        spans = base.mark_rule(color=COLOUR).encode(
            x=x, y=alt.Y("rate_low:Q", title="observed", axis=axis), y2="rate_high:Q"
        )
        points = base.mark_point(color=COLOUR, filled=True, size=45).encode(x=x, y="observed_rate:Q")
        panels.append((right + spans + points).properties(title=str(model), width=170, height=HEIGHT))
    return render(alt.hconcat(*panels))


def campaigns(rows: pl.DataFrame) -> str | None:
    """Effects with intervals where campaigns have a control arm, else response rates with intervals; newest first."""
    if rows.is_empty():
        return None
    read = rows.filter(pl.col("effect").is_not_null())
    names = ("effect", "effect_low", "effect_high") if read.height else ("response_rate", "rate_low", "rate_high")
    shown = (read if read.height else rows).sort(
        "first_sent_on", "campaign", "arm", descending=[True, False, False], nulls_last=True
    )
    shown = shown.head(MAX_CAMPAIGNS).with_columns(
        pl.when(pl.col("arm") == "all")
        .then("campaign")
        .otherwise(pl.concat_str("campaign", "arm", separator=": "))
        .alias("name")
    )
    import altair as alt

    y, low, high = names
    base = alt.Chart(shown.select("name", *names)).encode(y=alt.Y("name:N", sort=None, title="campaign"))
    spans = base.mark_rule(color=COLOUR, strokeWidth=2).encode(
        x=alt.X(f"{low}:Q", title=None, axis=alt.Axis(format=".0%")), x2=f"{high}:Q"
    )
    points = base.mark_point(color=COLOUR, filled=True, size=40).encode(x=f"{y}:Q")
    title = "Effect against control" if read.height else "Response rate (no control arm, so no effect)"
    return render((spans + points).properties(title=title, width=WIDTH, height=max(60, 13 * shown.height)))
