from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile import checks
from cx_pipeline.profile.policy import SessionPolicy
from cx_pipeline.profile.sessions import cart_abandonment, session_rows, sessions
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, IDENTITY, PROFILE, CHANNELS = (load_step(step) for step in ("staging", "identity", "profile", "channels"))
AS_OF = date(2024, 6, 30)
POLICY = SessionPolicy()
CATALOGUE = frame_of(
    CHANNELS["catalogue"],
    channel=["web", "app", "web_orders", "till", "social", "phone"],
    mode=["online", "online", "online", "offline", "online", "offline"],
    pillar=["ecommerce", "emerging", "ecommerce", "traditional", "community_public", "ecommerce"],
)
XREF = frame_of(
    IDENTITY["identifier_xref"],
    namespace=["cookie", "account", "loyalty", "cookie"],
    value=["k1", "a1", "l1", "k2"],
    customer_id=["A", "A", "A", "B"],
)
Event = tuple[str, str, str, str]


def interactions_of(events: list[Event], **more: Any) -> pl.DataFrame:
    """Events as (channel, namespace:value, time in May or `MM-DD HH:MM`, type)."""
    return frame_of(
        STAGING["interactions"],
        channel=[e[0] for e in events],
        record_id=[f"i{n}" for n in range(len(events))],
        identifier_namespace=[e[1].partition(":")[0] or None for e in events],
        identifier_value=[e[1].partition(":")[2] or None for e in events],
        event_at=[at(e[2]) for e in events],
        event_type=[e[3] for e in events],
        **more,
    )


def orders_of(orders: list[tuple[str, str, str, str]]) -> pl.DataFrame:
    """Orders as (channel, namespace:value, time, amount)."""
    if not orders:
        return frame_of(STAGING["orders"]).clear()
    return frame_of(
        STAGING["orders"],
        channel=[o[0] for o in orders],
        record_id=[f"o{n}" for n in range(len(orders))],
        identifier_namespace=[o[1].partition(":")[0] for o in orders],
        identifier_value=[o[1].partition(":")[2] for o in orders],
        event_at=[at(o[2]) for o in orders],
        order_amount=[Decimal(o[3]) for o in orders],
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2024-{text}" if " " in text else f"2024-05-01 {text}")


def visits(interactions: pl.DataFrame, orders: pl.DataFrame | None = None) -> list[dict[str, Any]]:
    found = same_on_polars_and_duckdb(
        lambda i, o, x, c: sessions(session_rows(i, o, x, c, POLICY, AS_OF)),
        interactions,
        orders_of([]) if orders is None else orders,
        XREF,
        CATALOGUE,
    )
    return found.sort("started_at", "session_id").to_dicts()


def carts(interactions: pl.DataFrame, orders: pl.DataFrame) -> list[dict[str, Any]]:
    found = same_on_polars_and_duckdb(
        lambda i, o, x, c: cart_abandonment(session_rows(i, o, x, c, POLICY, AS_OF), o, x, POLICY, AS_OF),
        interactions,
        orders,
        XREF,
        CATALOGUE,
    )
    return found.sort("started_at", "cart_id").to_dicts()


def test_sessions_when_a_pause_is_longer_than_the_gap_then_a_new_one_begins() -> None:
    found = visits(
        interactions_of(
            [
                ("web", "cookie:k1", "10:00", "page_view"),
                ("web", "cookie:k1", "10:30", "Search"),
                ("web", "cookie:k1", "11:01", "search"),
            ]
        )
    )
    assert [(row["n_events"], row["n_searches"], row["duration_s"]) for row in found] == [(2, 1, 1800), (1, 1, 0)]
    assert [row["session_id"] for row in found] == ["web:i0", "web:i2"]


def test_sessions_when_somebody_signs_in_or_changes_channel_then_it_is_one_visit_of_the_customer() -> None:
    (row,) = visits(
        interactions_of(
            [
                ("web", "cookie:k1", "10:00", "page_view"),
                ("web", "account:a1", "10:05", "add_to_cart"),
                ("app", "account:a1", "10:10", "checkout"),
            ]
        ),
        orders_of([("web_orders", "account:a1", "10:12", "20")]),
    )
    assert (row["customer_id"], row["entry_channel"], row["identifier_value"]) == ("A", "web", "k1")
    assert (row["n_events"], row["has_cart"], row["has_checkout"], row["has_order"]) == (3, True, True, True)
    assert row["ended_at"] == at("10:12")


def test_sessions_when_an_identifier_leads_nowhere_then_it_is_the_visitor_itself() -> None:
    found = visits(
        interactions_of([("web", "cookie:z1", "10:00", "page_view"), ("web", "cookie:z2", "10:01", "page_view")])
    )
    assert [(row["customer_id"], row["identifier_value"]) for row in found] == [(None, "z1"), (None, "z2")]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(("till", "cookie:k1", "10:00", "page_view"), id="off-line"),
        pytest.param(("phone", "cookie:k1", "10:00", "page_view"), id="off-line channel of a visited pillar"),
        pytest.param(("social", "cookie:k1", "10:00", "page_view"), id="a post is no visit"),
        pytest.param(("web", "", "10:00", "page_view"), id="no identifier"),
        pytest.param(("app", "account:a1", "10:00", "Alert"), id="a device by itself"),
        pytest.param(("web", "cookie:k1", "07-01 00:00", "page_view"), id="the future"),
    ],
)
def test_sessions_when_an_event_is_no_visit_then_there_is_none(event: Event) -> None:
    assert visits(interactions_of([event]), orders_of([("web_orders", "account:a1", "10:12", "20")])) == []


def test_sessions_when_the_company_speaks_then_it_is_no_visit() -> None:
    assert visits(interactions_of([("app", "account:a1", "10:00", "push")], event_direction="Outbound")) == []


def test_sessions_when_the_source_names_purchases_itself_then_they_count_as_orders() -> None:
    (row,) = visits(interactions_of([("web", "cookie:k1", "10:00", "Purchase")]))
    assert row["has_order"]


CART = [
    ("web", "cookie:k1", "10:00", "page_view"),
    ("web", "cookie:k1", "10:05", "add_to_cart"),
    ("web", "cookie:k1", "10:06", "add_to_cart"),
    ("web", "cookie:k1", "10:10", "page_view"),
]


@pytest.mark.parametrize(
    ("orders", "outcome", "channel", "hours"),
    [
        pytest.param([("web_orders", "account:a1", "10:20", "20")], "bought", None, None, id="in the visit"),
        pytest.param([("till", "loyalty:l1", "05-02 10:10", "20")], "recovered", "till", 24.0, id="in a store"),
        pytest.param(
            [("web_orders", "account:a1", "05-08 10:10", "20")], "recovered", "web_orders", 168.0, id="last moment"
        ),
        pytest.param([("web_orders", "account:a1", "05-08 10:11", "20")], "abandoned", None, None, id="too late"),
        pytest.param([("till", "loyalty:l1", "05-02 10:10", "-20")], "abandoned", None, None, id="a return"),
        pytest.param([("web_orders", "cookie:k2", "05-02 10:10", "20")], "abandoned", None, None, id="somebody else's"),
        pytest.param([("web_orders", "account:a1", "10:01", "20")], "abandoned", None, None, id="before the cart"),
        pytest.param([], "abandoned", None, None, id="none"),
        pytest.param(
            [("till", "loyalty:l1", "05-04 10:10", "9"), ("web_orders", "account:a1", "05-03 10:10", "20")],
            "recovered",
            "web_orders",
            48.0,
            id="the first of two",
        ),
    ],
)
def test_cart_abandonment_when_an_order_comes_or_not_then_the_cart_ends_so(
    orders: list[tuple[str, str, str, str]], outcome: str, channel: str | None, hours: float | None
) -> None:
    (row,) = carts(interactions_of(CART), orders_of(orders))
    assert (row["outcome"], row["recovery_channel"], row["recovery_hours"]) == (outcome, channel, hours)
    assert (row["started_at"], row["n_added"], row["value"]) == (at("10:05"), 2, None)
    assert (row["bought_at"] is None) == (outcome != "bought")
    assert row["abandoned_at"] == (None if outcome == "bought" else at("10:10"))


def test_cart_abandonment_when_the_window_is_not_over_then_the_cart_is_open() -> None:
    added = [("web", "cookie:k1", time, "add_to_cart") for time in ("06-24 00:00", "06-23 23:59")]
    found = carts(interactions_of(added[:1]), orders_of([])) + carts(interactions_of(added[1:]), orders_of([]))
    assert [row["outcome"] for row in found] == ["open", "abandoned"]


def test_cart_abandonment_when_events_say_a_value_then_that_of_the_cart_is_their_sum() -> None:
    events = interactions_of(CART, event_value=[5.0, 2.5, None, 7.0])
    (row,) = carts(events, orders_of([]))
    assert row["value"] == Decimal("2.5")


def test_cart_abandonment_when_a_visitor_is_nobody_then_orders_of_the_same_identifier_count() -> None:
    (row,) = carts(
        interactions_of([("web", "cookie:z", "10:00", "add_to_cart")]),
        orders_of([("web_orders", "cookie:z", "05-02 10:00", "3")]),
    )
    assert (row["customer_id"], row["outcome"], row["recovery_amount"]) == (None, "recovered", Decimal(3))


def test_visits_of_a_visitor_do_not_overlap_when_they_do_then_it_is_broken() -> None:
    def broken(second: datetime) -> int:
        rows = frame_of(
            PROFILE["sessions"],
            session_id=["1", "2"],
            customer_id="A",
            identifier_namespace="cookie",
            identifier_value="k1",
            started_at=[at("10:00"), second],
            ended_at=[at("10:30"), at("12:00")],
        )
        return n_offending(checks.visits_of_a_visitor_do_not_overlap, profile__sessions=rows)

    assert [broken(at("11:30")), broken(at("10:20")), broken(at("12:30"))] == [0, 1, 1]


def test_no_event_is_counted_in_two_visits_when_there_are_more_than_staged_then_it_is_broken() -> None:
    staged = interactions_of(CART)
    for n, expected in ((4, 0), (5, 1)):
        rows = frame_of(PROFILE["sessions"], session_id="1", n_events=n)
        check = checks.no_event_is_counted_in_two_visits
        assert n_offending(check, profile__sessions=rows, staging__interactions=staged) == expected


def test_every_cart_has_one_outcome_and_its_times_agree_when_they_do_not_then_it_is_broken() -> None:
    visit = frame_of(PROFILE["sessions"], session_id=["1", "2"], has_cart=[True, False])
    good = {
        "cart_id": "1",
        "started_at": at("10:00"),
        "outcome": "recovered",
        "abandoned_at": at("10:10"),
        "recovered_at": at("11:00"),
    }

    def broken(**changed: Any) -> int:
        rows = frame_of(PROFILE["cart_abandonment"], **{**good, **changed})
        check = checks.every_cart_has_one_outcome_and_its_times_agree
        return n_offending(check, profile__cart_abandonment=rows, profile__sessions=visit)

    assert broken() == 0
    assert broken(outcome="bought") == broken(recovered_at=None) == broken(recovered_at=at("10:00")) == 1
    assert broken(cart_id="2") == 2
