from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import narwhals as nw
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.profile import plots
from cx_pipeline_tests.frames import frame_of

PROFILE = load_step("profile")
AT = [datetime(2024, 1, 2), datetime(2024, 2, 3)]
CASES: list[tuple[Callable[[nw.LazyFrame], str | None], str, dict[str, Any], str]] = [
    (plots.overlay_by_match, "overlay_matches", {"matched_by": ["phone", None], "reason": [None, "no_key"]}, "no_key"),
    (plots.age_of_overlays, "overlay", {"age_days": [200, None]}, "Age of third-party data"),
    (plots.conflicts_by_kind, "online_offline_conflicts", {"kind": "active_online_silent_offline"}, "silent_offline"),
    (plots.sessions_by_month, "sessions", {"started_at": AT, "has_cart": True, "has_order": False}, "with a cart"),
    (plots.carts_by_outcome, "cart_abandonment", {"outcome": ["bought", "open"]}, "bought"),
    (
        plots.sentiment_by_topic,
        "social_insight",
        {"topic": ["price", "app"], "mean_sentiment": 0.2, "n_sentiments": 2},
        "price",
    ),
    (plots.links_by_relation, "customer_links", {"relation": ["referred"]}, "referred"),
    (
        plots.usage_by_day,
        "product_usage",
        {"used_on": [date(2024, 1, 2), date(2024, 1, 3)], "customer_id": "A"},
        "usage",
    ),
]


@pytest.mark.parametrize(("plot", "table", "columns", "words"), CASES)
def test_plots_when_there_is_something_to_show_then_it_is_shown_and_else_nothing_is(
    plot: Callable[[nw.LazyFrame], str | None], table: str, columns: dict[str, Any], words: str
) -> None:
    rows = frame_of(PROFILE[table], **columns)
    svg = plot(lazy(rows))
    assert svg is not None
    assert svg.startswith("<svg")
    assert words in svg
    assert plot(lazy(rows.clear())) is None
