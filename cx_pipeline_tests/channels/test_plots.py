from __future__ import annotations

from datetime import date

import pytest

from cx_pipeline.channels import plots
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline_tests.frames import frame_of

TABLES = load_step("channels")
MONTHS = [date(2024, 5, 1), date(2024, 6, 1)]
COVERAGE = frame_of(TABLES["coverage"], channel="calls", month=MONTHS, n_records=[3, 0], linked_rate=[0.5, None])
DISCOVERY = frame_of(
    TABLES["discovery"], source=["streamtok", "(rare)"], month=MONTHS, n_customers=[5, 1], n_customers_ever=[5, 1]
)
RATES = frame_of(TABLES["overlay_match_rate"], provider=["demographics"], match_rate=[0.8])


@pytest.mark.parametrize(
    ("plot", "rows", "shown"),
    [
        pytest.param(plots.coverage, COVERAGE, "calls", id="coverage"),
        pytest.param(plots.discovery, DISCOVERY, "streamtok", id="discovery"),
        pytest.param(plots.overlay_match_rate, RATES, "demographics", id="overlay"),
    ],
)
def test_a_plot_when_there_are_rows_then_it_shows_them_and_nothing_where_there_are_none(
    plot: object, rows: object, shown: str
) -> None:
    svg = plot(lazy(rows))  # type: ignore[operator, arg-type]
    assert svg is not None
    assert shown in svg
    assert "(rare)" not in svg
    assert plot(lazy(rows.clear())) is None  # type: ignore[operator, attr-defined]
