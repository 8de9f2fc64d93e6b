"""Plots: small SVG pictures for the UI and the report, made with Altair and rendered without a browser.

Belongs here: rendering and the common look. Does not belong here: what a step's plot shows (its own `plots.py`).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import polars as pl

WIDTH, HEIGHT = 420, 200
COLOUR = "#4f43dd"
_LETTER_WIDTH = 6


def render(chart: alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart) -> str:
    """Render an Altair chart as SVG text in the project's look (small, no external fonts)."""
    import vl_convert

    spec: dict[str, Any] = chart.to_dict()
    spec.setdefault("config", {}).update(
        {
            "font": "sans-serif",
            "view": {"stroke": None},
            "axis": {"grid": True, "gridColor": "#eee", "domainColor": "#999", "tickColor": "#999"},
            "background": "white",
        }
    )
    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg


def data_uri(svg: str) -> str:
    """An SVG as a data URI that can stand in Markdown or HTML."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def bars(data: pl.DataFrame, *, x: str, y: str, title: str, x_title: str = "", y_title: str = "") -> str:
    """Bars of `y` for each category `x`, in the order of the frame."""
    import altair as alt

    return render(
        alt.Chart(data, title=title, width=WIDTH, height=HEIGHT)
        .mark_bar(color=COLOUR)
        .encode(
            x=alt.X(f"{x}:N", sort=None, title=x_title or None, axis=alt.Axis(labelAngle=_label_angle(data[x]))),
            y=alt.Y(f"{y}:Q", title=y_title or None),
        )
    )


def _label_angle(labels: pl.Series) -> int:
    """Level where the labels have room for it, else slanted."""
    return 0 if sum(len(str(label)) + 2 for label in labels) * _LETTER_WIDTH < WIDTH else -45


def lines(data: pl.DataFrame, *, x: str, y: str, title: str, y_title: str = "", colour: str | None = None) -> str:
    """A line of `y` over time `x`, one for each value of `colour` where given."""
    import altair as alt

    chart = alt.Chart(data, title=title, width=WIDTH, height=HEIGHT).mark_line(
        color=alt.Undefined if colour else COLOUR
    )
    encoding: dict[str, Any] = {"x": alt.X(f"{x}:T", title=None), "y": alt.Y(f"{y}:Q", title=y_title or None)}
    if colour:
        encoding["color"] = alt.Color(f"{colour}:N", title=None)
    return render(chart.encode(**encoding))


def band(
    data: pl.DataFrame, *, x: str, y: str, low: str, high: str, title: str, y_title: str = "", form: str = ""
) -> str:
    """A line of `y` over time `x` with its interval from `low` to `high`; `form` is the number format of y, e.g. `.0%`."""
    import altair as alt

    over = alt.Chart(data).encode(x=alt.X(f"{x}:T", title=None))
    axis = alt.Axis(format=form) if form else alt.Axis()
    interval = over.mark_area(color=COLOUR, opacity=0.2).encode(
        y=alt.Y(f"{low}:Q", title=y_title or None, axis=axis), y2=f"{high}:Q"
    )
    line = over.mark_line(color=COLOUR, point=alt.OverlayMarkDef(color=COLOUR, size=20)).encode(y=f"{y}:Q")
    return render((interval + line).properties(title=title, width=WIDTH, height=HEIGHT))
