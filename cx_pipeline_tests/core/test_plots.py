from __future__ import annotations

import base64
from datetime import date
from xml.etree import ElementTree

import polars as pl

from cx_pipeline.core.plots import bars, data_uri, lines

DATA = pl.DataFrame({"day": [date(2024, 1, 1), date(2024, 1, 2)], "n": [1, 2], "who": ["a", "b"]})


def test_plots_when_rendered_then_they_are_small_svg_without_anything_from_elsewhere() -> None:
    for svg in (
        bars(DATA, x="who", y="n", title="Who", x_title="", y_title="number"),
        lines(DATA, x="day", y="n", title="When"),
        lines(DATA, x="day", y="n", title="When", colour="who"),
    ):
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert len(svg) < 20_000
        assert "href" not in svg
        assert "url(http" not in svg


def test_a_data_uri_when_made_then_it_holds_the_picture() -> None:
    uri = data_uri("<svg/>")
    assert uri.startswith("data:image/svg+xml;base64,")
    assert base64.b64decode(uri.partition(",")[2]) == b"<svg/>"
