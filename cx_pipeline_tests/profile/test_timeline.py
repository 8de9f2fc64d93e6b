from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.profile import timeline
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, IDENTITY = load_step("staging"), load_step("identity")
XREF = frame_of(IDENTITY["identifier_xref"], namespace=["loyalty"], value=["7"], customer_id=["c"])
AT = datetime(2024, 5, 1, 12)
KNOWN = {"channel": "x", "record_id": "1", "identifier_namespace": "loyalty", "identifier_value": "7"}


def rows_of(name: str, **columns: object) -> pl.DataFrame:
    return frame_of(STAGING[name.removeprefix("staging.")], **{**KNOWN, **columns})


def test_event_kinds_when_compared_with_the_contracts_then_every_column_exists() -> None:
    for name, kind in timeline.EVENT_KINDS.items():
        named = [*kind.at, kind.type, kind.value, kind.sentiment, kind.outcome]
        named += [] if kind.direction.startswith("=") else [kind.direction]
        assert set(filter(None, named)) <= set(STAGING[name.removeprefix("staging.")].column_names), name


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        pytest.param(
            "staging.orders",
            {"event_at": AT, "order_amount": Decimal("9.50"), "order_id": "1"},
            {"kind": "order", "value": 9.5, "direction": "inbound"},
            id="order",
        ),
        pytest.param(
            "staging.interactions",
            {"event_at": AT, "event_type": "complaint", "event_direction": "Outbound", "event_sentiment": -0.5},
            {"kind": "interaction", "type": "complaint", "direction": "outbound", "sentiment": -0.5},
            id="interaction",
        ),
        pytest.param(
            "staging.interactions",
            {"event_at": AT, "event_direction": "sideways"},
            {"kind": "interaction", "direction": None},
            id="direction that is no direction",
        ),
        pytest.param(
            "staging.campaign_contacts",
            {"campaign_sent_at": AT, "campaign_id": "spring"},
            {"kind": "campaign_contact", "type": "spring", "direction": "outbound"},
            id="campaign contact",
        ),
        pytest.param(
            "staging.subscriptions",
            {"subscription_started_on": date(2024, 5, 1), "subscription_plan": "gold"},
            {"kind": "subscription", "type": "gold", "at": datetime(2024, 5, 1)},
            id="a day is its midnight",
        ),
        pytest.param(
            "staging.payments",
            {"payment_paid_on": date(2024, 5, 1), "payment_amount": Decimal("3")},
            {"kind": "payment", "at": datetime(2024, 5, 1), "value": 3.0},
            id="second choice of time",
        ),
        pytest.param(
            "staging.consents",
            {"event_at": AT, "consent_purpose": "email", "consent_status": "withdrawn"},
            {"kind": "consent", "type": "email", "outcome": "withdrawn"},
            id="consent",
        ),
    ],
)
def test_events_when_a_row_has_time_and_customer_then_it_is_an_event(
    name: str, columns: dict[str, object], expected: dict[str, object]
) -> None:
    kind = timeline.EVENT_KINDS[name]
    found = same_on_polars_and_duckdb(
        lambda rows, xref: timeline.events(rows, xref, kind), rows_of(name, **columns), XREF
    )
    row = found.to_dicts()[0]
    assert row["customer_id"] == "c"
    assert {key: row[key] for key in expected} == expected


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"event_at": None}, id="no time"),
        pytest.param({"event_at": AT, "identifier_value": None, "identifier_namespace": None}, id="no identifier"),
        pytest.param({"event_at": AT, "identifier_value": "8"}, id="identifier of nobody"),
        pytest.param({"event_at": AT, "identifier_namespace": "crm"}, id="other namespace"),
    ],
)
def test_events_when_time_or_customer_is_missing_then_no_event(columns: dict[str, object]) -> None:
    rows = rows_of("staging.interactions", **columns)
    kind = timeline.EVENT_KINDS["staging.interactions"]
    assert same_on_polars_and_duckdb(lambda r, x: timeline.events(r, x, kind), rows, XREF).is_empty()


def test_timeline_when_all_tables_are_given_then_their_events_are_together() -> None:
    names = list(timeline.EVENT_KINDS)
    filled = {
        "staging.orders": rows_of("staging.orders", event_at=AT, order_id="1", order_amount=Decimal(1)),
        "staging.usage": rows_of("staging.usage", event_at=AT, usage_metric="minutes", usage_value=3.0),
    }
    frames = [filled.get(name, rows_of(name).clear()) for name in names]
    found = same_on_polars_and_duckdb(
        lambda xref, *tables: timeline.timeline(dict(zip(names, tables, strict=True)), xref), XREF, *frames
    )
    assert sorted(found["kind"].to_list()) == ["order", "usage"]


def test_coverage_when_some_rows_have_no_customer_then_their_money_is_counted_apart() -> None:
    orders = rows_of(
        "staging.orders",
        record_id=["1", "2", "3"],
        order_id=["1", "2", "3"],
        event_at=AT,
        order_amount=[Decimal("10.10"), Decimal("-0.10"), Decimal("5.05")],
        identifier_namespace=["loyalty", "loyalty", None],
        identifier_value=["7", "7", None],
    )
    contacts = rows_of("staging.campaign_contacts", campaign_id="a", channel="mail")
    found = same_on_polars_and_duckdb(
        lambda xref, o, c: timeline.coverage({"staging.orders": o, "staging.campaign_contacts": c}, xref),
        XREF,
        orders,
        contacts,
    )
    by_kind = {row["kind"]: row for row in found.to_dicts()}
    assert {name: by_kind["order"][name] for name in ("n_rows", "n_attributed", "n_unattributed")} == {
        "n_rows": 3,
        "n_attributed": 2,
        "n_unattributed": 1,
    }
    assert by_kind["order"]["amount"] == Decimal("15.05")
    assert by_kind["order"]["amount_attributed"] == Decimal("10.00")
    assert by_kind["order"]["amount_unattributed"] == Decimal("5.05")
    assert by_kind["campaign_contact"]["amount"] is None


def test_attributed_when_the_identifier_leads_nowhere_then_the_row_stays_without_customer() -> None:
    rows = rows_of("staging.usage", identifier_value=["7", "8", None], record_id=["1", "2", "3"])
    found = to_polars(timeline.attributed(lazy(rows), lazy(XREF)).select(nw.col("record_id", "customer_id")))
    assert set(found.rows()) == {("1", "c"), ("2", None), ("3", None)}
