from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.profile import features as known
from cx_pipeline.profile.checks import no_feature_looks_into_the_future
from cx_pipeline.profile.policy import FeaturePolicy
from cx_pipeline.profile.timeline import EVENT_KINDS, timeline
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb, same_on_polars_and_spark, spark_session

STAGING, IDENTITY, PROFILE = load_step("staging"), load_step("identity"), load_step("profile")
AS_OF = date(2024, 12, 31)
POLICY = FeaturePolicy(cutoff_step_days=28, n_past_cutoffs=3, max_sampled_customers=2)
Data = dict[str, pl.DataFrame]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text)


def data_of(
    orders: list[dict[str, Any]] | None = None,
    lines: list[dict[str, Any]] | None = None,
    contacts: list[dict[str, Any]] | None = None,
    responses: list[dict[str, Any]] | None = None,
    interactions: list[dict[str, Any]] | None = None,
    products: dict[str, str] | None = None,
) -> Data:
    """Canonical tables; every row is of the customer of its card (`card: a` belongs to customer A)."""

    def table(name: str, rows: list[dict[str, Any]] | None) -> pl.DataFrame:
        found = [
            {
                **{key: value for key, value in row.items() if key != "card"},
                "channel": row.get("channel", "shop"),
                "record_id": str(number),
                "identifier_namespace": "card" if row["card"] else None,
                "identifier_value": row["card"],
            }
            for number, row in enumerate(rows or [])
        ]
        names = {name for row in found for name in row}
        columns = {column: [row.get(column) for row in found] for column in sorted(names)}
        return frame_of(STAGING[name], **columns) if found else STAGING[name].empty()

    cards = sorted(
        {row["card"] for rows in (orders, lines, contacts, responses, interactions) for row in rows or []} - {None}
    )
    named = products or {}
    return {
        "orders": table("orders", orders),
        "order_lines": table("order_lines", lines),
        "campaign_contacts": table("campaign_contacts", contacts),
        "campaign_responses": table("campaign_responses", responses),
        "interactions": table("interactions", interactions),
        "products": frame_of(
            STAGING["products"], channel="shop", record_id=list(named), product_id=list(named), product_category=list(named.values())
        ),
        "xref": frame_of(IDENTITY["identifier_xref"], namespace="card", value=cards, customer_id=[c.upper() for c in cards]),
    }  # fmt: skip


TABLES = ("orders", "order_lines", "campaign_contacts", "campaign_responses", "interactions", "products", "xref")


def made_of(*frames: nw.LazyFrame[Any], as_of: date = AS_OF, policy: FeaturePolicy = POLICY) -> nw.LazyFrame[Any]:
    """Features of all cut-offs; the frames are those of `TABLES`, and cut-offs last."""
    *tables, cutoffs = frames
    rows = dict(zip(TABLES, tables, strict=True))
    events = timeline(
        {f"staging.{name}": rows[name] for name in TABLES if f"staging.{name}" in EVENT_KINDS}, rows["xref"]
    )
    bought = known.bought_products(rows["order_lines"], rows["orders"], rows["products"], rows["xref"], as_of)
    days = known.customer_days(events, rows["orders"], bought, rows["xref"], as_of)
    return known.features(days, known.panel(days, cutoffs, policy))


def features_of(data: Data, as_of: date = AS_OF, policy: FeaturePolicy = POLICY) -> pl.DataFrame:
    frames = [data[name] for name in TABLES] + [known.cutoffs(as_of, policy)]
    made = to_polars(made_of(*(lazy(frame) for frame in frames), as_of=as_of, policy=policy))
    return made.sort("customer_id", "as_of")


def tonight(data: Data, customer: str = "A") -> dict[str, Any]:
    """Features of a customer as of `AS_OF`."""
    return features_of(data).row(
        by_predicate=(pl.col("customer_id") == customer) & (pl.col("as_of") == AS_OF), named=True
    )


def busy_company(seed: int = 7, n_events: int = 400) -> Data:
    """Five customers with events of every kind over 300 days, returns and late lines among them."""
    chance = random.Random(seed)

    def at() -> datetime:
        return datetime(2024, 3, 10) + timedelta(minutes=chance.randrange(300 * 24 * 60))

    def amount() -> Decimal:
        return Decimal(chance.randrange(-2000, 20000)) / 100

    card = lambda: chance.choice("aaabbcde")  # noqa: E731
    orders, lines = [], []
    for number in range(n_events):
        order = {"card": card(), "event_at": at(), "order_id": f"o{number}", "order_amount": amount()}
        orders.append({**order, "order_discount": Decimal(chance.randrange(300)) / 100})
        lines += [
            {
                "card": order["card"] if chance.random() < 0.8 else None,
                "event_at": order["event_at"],
                "order_id": order["order_id"],
                "order_amount": amount(),
                "product_id": f"p{chance.randrange(30)}",
                "product_category": chance.choice([None, None, "own category"]),
            }
            for _ in range(chance.randrange(4))
        ]
    contacts = [{"card": card(), "campaign_sent_at": at(), "campaign_id": f"c{chance.randrange(6)}"} for _ in range(60)]
    responses = [{"card": card(), "campaign_responded_at": at(), "campaign_id": f"c{chance.randrange(6)}"} for _ in range(40)]  # fmt: skip
    interactions = [
        {
            "card": card(),
            "event_at": at(),
            "event_sentiment": chance.choice([None, -0.5, 0.25]),
            "channel": chance.choice(["phone", "chat"]),
        }
        for _ in range(80)
    ]
    return data_of(orders, lines, contacts, responses, interactions, {f"p{n}": f"category {n % 7}" for n in range(25)})


def before(data: Data, last: date) -> Data:
    """What a night on `last` would have found: no row of a later day."""
    times = {"orders": "event_at", "order_lines": "event_at", "campaign_contacts": "campaign_sent_at",
             "campaign_responses": "campaign_responded_at", "interactions": "event_at"}  # fmt: skip
    return {
        name: frame.filter(pl.col(times[name]) < last + timedelta(days=1)) if name in times else frame
        for name, frame in data.items()
    }


@pytest.mark.parametrize("text", ["0001-01-01", "1899-12-31", "2000-02-29", "2023-12-31", "2024-02-29", "2024-12-31"])
def test_day_ordinal_when_given_a_date_then_counts_as_python_does(text: str) -> None:
    frame = pl.DataFrame({"day": [date.fromisoformat(text)]})
    made = same_on_polars_and_duckdb(
        lambda rows: rows.select(known.day_ordinal(nw.col("day")).alias("ordinal")), frame
    )  # fmt: skip
    assert made["ordinal"].to_list() == [date.fromisoformat(text).toordinal()]


def test_features_when_made_on_two_engines_then_equal() -> None:
    data = busy_company()
    made = same_on_polars_and_duckdb(made_of, *(data[name] for name in TABLES), known.cutoffs(AS_OF, POLICY))
    assert made.height > 10
    assert set(made.columns) == set(PROFILE["features"].column_names)


@pytest.mark.slow
def test_features_when_made_on_spark_then_equal() -> None:
    data = busy_company(n_events=60)
    with spark_session() as session:
        frames = (*(data[name] for name in TABLES), known.cutoffs(AS_OF, POLICY))
        assert same_on_polars_and_spark(session, made_of, *frames).height > 10


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_features_when_later_rows_are_taken_away_then_past_cutoffs_stay_the_same(seed: int) -> None:
    policy = FeaturePolicy(cutoff_step_days=28, n_past_cutoffs=12, max_sampled_customers=50)
    data = busy_company(seed)
    all_along = features_of(data, policy=policy)
    cutoffs = all_along["as_of"].unique().sort().to_list()
    assert len(cutoffs) == 11
    for cutoff in cutoffs:
        then = features_of(before(data, cutoff), as_of=cutoff, policy=FeaturePolicy(n_past_cutoffs=0))
        assert_frame_equal(all_along.filter(pl.col("as_of") == cutoff), then)


def test_features_when_a_customer_is_worked_out_by_hand_then_every_figure_is_right() -> None:
    data = data_of(
        orders=[
            {"card": "a", "event_at": day("2024-10-01T09:00"), "order_id": "1", "order_amount": Decimal(30), "order_discount": Decimal(10)},
            {"card": "a", "event_at": day("2024-10-11T09:00"), "order_id": "2", "order_amount": Decimal(20), "order_discount": None},
            {"card": "a", "event_at": day("2024-10-11T19:00"), "order_id": "3", "order_amount": Decimal(10), "order_discount": None},
            {"card": "a", "event_at": day("2024-11-15T09:00"), "order_id": "gift", "order_amount": Decimal(0), "order_discount": None},
            {"card": "a", "event_at": day("2024-12-10T09:00"), "order_id": "4", "order_amount": Decimal(60), "order_discount": Decimal(30)},
            {"card": "a", "event_at": day("2024-12-20T09:00"), "order_id": "5", "order_amount": Decimal(-15), "order_discount": None},
        ],
        lines=[
            {"card": "a", "event_at": day("2024-10-01T09:00"), "order_id": "1", "order_amount": Decimal(30), "product_id": "tea"},
            {"card": None, "event_at": day("2024-12-10T09:00"), "order_id": "4", "order_amount": Decimal(50), "product_id": "cup"},
            {"card": "a", "event_at": day("2024-12-10T09:00"), "order_id": "4", "order_amount": Decimal(10), "product_id": "tea"},
            {"card": "a", "event_at": day("2024-12-20T09:00"), "order_id": "5", "order_amount": Decimal(-15), "product_id": "cup"},
        ],
        contacts=[
            {"card": "a", "campaign_sent_at": day("2024-09-01"), "campaign_id": "autumn"},
            {"card": "a", "campaign_sent_at": day("2024-12-01"), "campaign_id": "winter"},
            {"card": "a", "campaign_sent_at": day("2024-12-05"), "campaign_id": "winter"},
        ],
        responses=[
            {"card": "a", "campaign_responded_at": day("2024-12-10T10:00"), "campaign_id": "winter"},
            {"card": "a", "campaign_responded_at": day("2024-12-11T10:00"), "campaign_id": "unasked"},
        ],
        interactions=[
            {"card": "a", "event_at": day("2024-11-01"), "event_sentiment": -0.5, "channel": "phone"},
            {"card": "a", "event_at": day("2024-11-02"), "event_sentiment": 0.25, "channel": "phone"},
            {"card": "a", "event_at": day("2024-11-03"), "event_sentiment": None, "channel": "phone"},
        ],
        products={"tea": "food", "cup": "household"},
    )  # fmt: skip
    row = tonight(data)
    assert row == {
        "customer_id": "A", "as_of": AS_OF, "n_orders": 4, "n_active_days": 3, "n_contacts": 3, "n_responses": 2,
        "n_orders_30d": 1, "n_orders_90d": 3, "n_orders_180d": 4, "n_orders_365d": 4,
        "revenue": 105.0, "revenue_30d": 45.0, "revenue_90d": 75.0, "revenue_180d": 105.0, "revenue_365d": 105.0,
        "recency_days": 21, "tenure_days": 121, "mean_order_value": 30.0, "median_gap_days": 35.0,
        "std_gap_days": pytest.approx(1250**0.5), "days_over_median_gap": 0.6, "discount_rate": 0.25,
        "n_categories": 2, "n_products": 2, "share_top_category": pytest.approx(50 / 90),
        "n_interactions_90d": 3, "mean_sentiment_90d": -0.125, "n_contacts_90d": 2, "n_responses_90d": 2,
        "response_rate": 0.5, "days_since_contact": 26, "days_since_response": 20, "n_channels": 2, "days_since_event": 11,
    }  # fmt: skip


@pytest.mark.parametrize("days", known.WINDOWS_DAYS)
def test_features_when_an_order_is_as_old_as_the_window_then_it_has_just_left_it(days: int) -> None:
    def order(age: int) -> dict[str, Any]:
        at = datetime(2024, 12, 31, 23, 59) - timedelta(days=age)
        return {"card": "a", "event_at": at, "order_id": str(age), "order_amount": Decimal(1)}

    row = tonight(data_of(orders=[order(days - 1), order(days)]))
    assert (row["n_orders"], row[f"n_orders_{days}d"], row[f"revenue_{days}d"]) == (2, 1, 1.0)


def test_features_when_a_customer_never_ordered_then_figures_of_orders_are_null_and_counts_zero() -> None:
    row = tonight(data_of(contacts=[{"card": "a", "campaign_sent_at": day("2024-12-01"), "campaign_id": "c"}]))
    missing = {name for name, value in row.items() if value is None}
    assert missing == {
        "recency_days", "mean_order_value", "median_gap_days", "std_gap_days", "days_over_median_gap", "discount_rate",
        "n_categories", "n_products", "share_top_category", "mean_sentiment_90d", "days_since_response",
    }  # fmt: skip
    assert (row["n_orders"], row["revenue"], row["response_rate"]) == (0, 0.0, 0.0)


def test_features_when_an_event_lies_after_as_of_then_it_is_unknown() -> None:
    orders = [
        {"card": "a", "event_at": day(text), "order_id": text, "order_amount": Decimal(5)}
        for text in ("2024-12-31T23:59:59", "2025-01-01T00:00:00")
    ]
    assert tonight(data_of(orders=orders))["n_orders"] == 1


def test_panel_when_there_are_more_customers_than_the_sample_then_only_the_first_have_a_past() -> None:
    orders = [
        {"card": card, "event_at": day("2024-11-01"), "order_id": card, "order_amount": Decimal(5)} for card in "abcd"
    ]
    made = features_of(data_of(orders=orders))
    n_cutoffs = dict(made.group_by("customer_id").len().sort("customer_id").iter_rows())
    # Of the past cut-offs 2024-12-03, 2024-11-05 and 2024-10-08 the last lies before the first event.
    assert n_cutoffs == {"A": 3, "B": 3, "C": 1, "D": 1}


def test_features_when_there_are_no_events_then_no_rows_of_the_right_columns() -> None:
    made = features_of(data_of())
    assert made.is_empty()
    assert set(made.columns) == set(PROFILE["features"].column_names)


def test_no_feature_looks_into_the_future_when_a_later_order_was_counted_then_it_is_found() -> None:
    data = busy_company(n_events=50)
    events = timeline(
        {f"staging.{name}": lazy(data[name]) for name in TABLES if f"staging.{name}" in EVENT_KINDS}, lazy(data["xref"])
    )
    made = features_of(data)
    assert (
        n_offending(no_feature_looks_into_the_future, profile__features=made, profile__timeline=to_polars(events)) == 0
    )
    leaking = made.with_columns(
        pl.when(pl.col("as_of") < AS_OF).then(pl.col("n_orders") + 1).otherwise(pl.col("n_orders")).alias("n_orders")
    )
    found = n_offending(
        no_feature_looks_into_the_future, profile__features=leaking, profile__timeline=to_polars(events)
    )
    assert found == made.filter(pl.col("as_of") < AS_OF).height > 0
