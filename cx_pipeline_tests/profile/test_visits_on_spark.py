"""The profile room's tables of visits, contradictions, communities, usage and third-party data on Spark: the same rows as on Polars."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile import conflicts, overlay, sessions, social, usage
from cx_pipeline.profile.policy import ConflictPolicy, OverlayPolicy, SessionPolicy, SocialPolicy
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import money, same_on_polars_and_spark, spark_session

STAGING, IDENTITY, PROFILE, CHANNELS = (load_step(step) for step in ("staging", "identity", "profile", "channels"))
AS_OF = date(2024, 6, 30)
NAMED = {"identifier_namespace": "account", "identifier_value": "a1"}
XREF = frame_of(
    IDENTITY["identifier_xref"],
    namespace=["account", "account", "phone"],
    value=["a1", "a2", "#p"],
    customer_id=["A", "B", "A"],
)
CATALOGUE = frame_of(
    CHANNELS["catalogue"],
    channel=["web", "till", "forum", "census"],
    mode=["online", "offline", "online", "online"],
    pillar=["ecommerce", "traditional", "community_private", "emerging"],
    kind=["interaction", "order", "interaction", "overlay"],
)
IDENTIFIERS = frame_of(
    STAGING["identifiers"],
    channel=["forum", "forum", "till"],
    namespace=["account", "account", "phone"],
    value=["a1", "a2", "#p"],
    raw_value=["a1", "a2", "+447700900123"],
)
INTERACTIONS = frame_of(
    STAGING["interactions"],
    **NAMED,
    channel=["web", "web", "web", "forum"],
    record_id=["1", "2", "3", "4"],
    event_at=[datetime(2024, 5, 1, hour) for hour in (9, 9, 11, 12)],
    event_type=["search", "add_to_cart", "page_view", "reply"],
    event_value=[None, 5.0, None, None],
    event_topic=[None, None, None, "price"],
    event_sentiment=[None, None, None, 0.5],
    event_other_party=[None, None, None, "@A2"],
)
ORDERS = frame_of(
    STAGING["orders"],
    **NAMED,
    channel="till",
    record_id=["1", "2"],
    event_at=[datetime(2024, 5, 2), datetime(2024, 5, 3)],
    order_amount=money("5", "6"),
)
TIMELINE = frame_of(
    PROFILE["timeline"],
    customer_id="A",
    channel=["till", "till", "web", "web", "web"],
    record_id=["1", "2", "3", "4", "5"],
    at=[datetime(2024, 6, 1), datetime(2024, 6, 2), *[datetime(2024, 1, day) for day in (1, 2, 3)]],
    kind=["order", "order", "interaction", "interaction", "interaction"],
    value=[1.0, 2.0, None, None, None],
    sentiment=[None, None, 0.5, None, None],
)
USAGE = frame_of(
    STAGING["usage"],
    **NAMED,
    channel="iot",
    record_id=["1", "2"],
    event_at=datetime(2024, 5, 1, 9),
    usage_value=[0.1, 0.2],
)
KEYS = pl.DataFrame({"channel": "census", "record_id": ["1"], "namespace": "phone", "key": "07700900123"})
OBSERVED = KEYS.select("channel", "record_id", observed_at=pl.lit(datetime(2023, 1, 1)).cast(pl.Datetime("us")))


def visits(interactions: Any, orders: Any, xref: Any, catalogue: Any) -> Any:
    return sessions.sessions(sessions.session_rows(interactions, orders, xref, catalogue, SessionPolicy(), AS_OF))


def carts(interactions: Any, orders: Any, xref: Any, catalogue: Any) -> Any:
    rows = sessions.session_rows(interactions, orders, xref, catalogue, SessionPolicy(), AS_OF)
    return sessions.cart_abandonment(rows, orders, xref, SessionPolicy(), AS_OF)


def contradictions(timeline: Any, catalogue: Any) -> Any:
    sides = conflicts.sides(timeline, catalogue, ConflictPolicy(), AS_OF)
    return conflicts.online_offline_conflicts(sides, ConflictPolicy())


def links(interactions: Any, identifiers: Any, xref: Any) -> Any:
    parties = social.other_parties(interactions, identifiers, xref)
    return social.customer_links(interactions, parties, xref, SocialPolicy(), AS_OF)


def third_party(observed: Any, keys: Any, identifiers: Any, xref: Any, catalogue: Any) -> Any:
    matches = overlay.overlay_matches(observed, keys, identifiers, xref, catalogue)
    return overlay.overlay(matches, OverlayPolicy(), AS_OF)


@pytest.mark.slow
def test_tables_when_made_on_spark_then_they_have_the_rows_that_polars_gives() -> None:
    with spark_session() as session:
        for n_rows, function, frames in (
            (2, visits, (INTERACTIONS, ORDERS, XREF, CATALOGUE)),
            (1, carts, (INTERACTIONS, ORDERS, XREF, CATALOGUE)),
            (1, contradictions, (TIMELINE, CATALOGUE)),
            (1, lambda i, x, c: social.social_insight(i, x, c, AS_OF), (INTERACTIONS, XREF, CATALOGUE)),
            (1, links, (INTERACTIONS, IDENTIFIERS, XREF)),
            (1, lambda u, x: usage.product_usage(u, x, AS_OF), (USAGE, XREF)),
            (1, third_party, (OBSERVED, KEYS, IDENTIFIERS, XREF, CATALOGUE)),
        ):
            assert same_on_polars_and_spark(session, function, *frames).height == n_rows
