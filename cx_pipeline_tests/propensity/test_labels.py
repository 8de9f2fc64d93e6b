from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.errors import ConfigurationError
from cx_pipeline.core.frames import lazy
from cx_pipeline.propensity import purchase, response
from cx_pipeline.propensity.inputs import Sources, order_columns
from cx_pipeline.propensity.policy import PropensityPolicy
from cx_pipeline_tests.frames import channel_of, frame_of
from cx_pipeline_tests.parity import money, same_on_polars_and_duckdb

PROFILE, STAGING, IDENTITY = load_step("profile"), load_step("staging"), load_step("identity")
AS_OF = date(2024, 12, 31)
POLICY = PropensityPolicy()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- purchase_90d ------------------------------------------------------------------------------------------------------------


def purchase_rows(orders: list[str], amounts: list[float] | None = None) -> pl.DataFrame:
    features = frame_of(
        PROFILE["features"],
        customer_id="A",
        as_of=[date(2024, 9, 1), date(2024, 10, 2), date(2024, 10, 3), AS_OF],
        n_orders=1,
        n_orders_365d=1,
        recency_days=5,
        tenure_days=50,
        days_since_event=5,
    )
    timeline = frame_of(
        PROFILE["timeline"], customer_id="A", kind="order", at=[at(text) for text in orders], value=amounts or 9.0
    )
    return purchase.labelled(lazy(features), lazy(timeline), AS_OF, POLICY)


def test_purchase_label_when_the_horizon_has_not_closed_then_the_cut_off_is_no_row() -> None:
    # 2024-10-02 and 90 days are 2024-12-31, which is known to its end; a day later is not.
    assert purchase_rows(["2024-05-01"])["at"].to_list() == [date(2024, 9, 1), date(2024, 10, 2)]


@pytest.mark.parametrize(
    ("ordered", "amount", "label"),
    [
        ("2024-09-01 23:59", 9.0, 0),
        ("2024-09-02 00:00", 9.0, 1),
        ("2024-11-30 23:59", 9.0, 1),
        ("2024-12-01 00:00", 9.0, 0),
        ("2024-10-01 12:00", -9.0, 0),
    ],
    ids=["on the cut-off", "the day after", "last day", "past the horizon", "a return"],
)
def test_purchase_label_when_an_order_falls_then_only_the_days_after_the_cut_off_count(
    ordered: str, amount: float, label: int
) -> None:
    first = purchase_rows([ordered], [amount]).filter(pl.col("at") == date(2024, 9, 1))
    assert first["label"].to_list() == [label]
    assert (first["known_until"] < first["moment"]).all()


def test_purchase_label_when_nothing_is_known_then_there_are_no_rows_and_no_folds() -> None:
    rows = purchase.labelled(lazy(PROFILE["features"].empty()), lazy(PROFILE["timeline"].empty()), AS_OF, POLICY)
    assert rows.is_empty()
    assert purchase.folds_from(rows, POLICY) is None


# -- coupon_response ---------------------------------------------------------------------------------------------------------


def sent(**columns: Any) -> pl.DataFrame:
    return frame_of(STAGING["campaign_contacts"], channel="mail", identifier_namespace="card", **columns)


def answered(**columns: Any) -> pl.DataFrame:
    return frame_of(STAGING["campaign_responses"], channel="desk", identifier_namespace="card", **columns)


XREF = frame_of(IDENTITY["identifier_xref"], namespace="card", value=["a", "a2", "b"], customer_id=["A", "A", "B"])
SENT = sent(
    record_id=["1", "2", "3", "4"],
    identifier_value=["a", "a2", "b", "a"],
    campaign_id=["one", "one", "one", "two"],
    campaign_sent_at=[at("2024-03-01"), at("2024-03-05"), at("2024-03-01"), at("2024-06-01")],
    campaign_offer=["X", "X", "X", "Y"],
)
ANSWERED = answered(
    record_id=["1", "2", "3", "4"],
    identifier_value=["a2", "a", "b", "b"],
    campaign_id=["one", "one", "one", "two"],
    campaign_responded_at=[at("2024-03-10 12:00"), at("2024-03-20"), at("2024-05-01"), at("2024-06-02")],
)
ORDERS = frame_of(
    STAGING["orders"],
    channel="shop",
    record_id=["1", "2", "3", "4"],
    identifier_namespace="card",
    identifier_value="a",
    event_at=[at("2024-02-20"), at("2024-05-31 23:00"), at("2024-06-01 00:00"), at("2024-05-30")],
    order_amount=money("10.00", "20.00", "99.00", "-5.00"),
    order_discount=money("0.00", "5.00", "1.00", None),
)


def contacts() -> pl.DataFrame:
    return response.contacts(lazy(SENT), lazy(ANSWERED), lazy(XREF), AS_OF, POLICY)


def rows() -> pl.DataFrame:
    known = contacts()
    moments = known.with_columns(pl.len().over("campaign").cast(pl.Float64).alias("n_contacted"))
    sources = Sources(lazy(ORDERS), lazy(ANSWERED), lazy(XREF), {}, lazy)
    return sources.rows_of(moments, known, [])


def test_contacts_when_a_customer_is_reached_twice_then_the_first_counts_and_late_responses_do_not() -> None:
    found = {(row["customer_id"], row["campaign"]): row for row in contacts().to_dicts()}
    assert found["A", "one"]["at"] == at("2024-03-01")
    assert found["A", "one"]["responded_at"] == at("2024-03-10 12:00")
    # B answered campaign one after the window, and campaign two without having been contacted.
    assert found["B", "one"]["responded_at"] is None
    assert len(found) == 3


def test_rows_when_a_contact_is_looked_at_then_only_what_was_before_it_counts() -> None:
    found = {(row["customer_id"], row["campaign"]): row for row in rows().to_dicts()}
    first, second = found["A", "one"], found["A", "two"]
    assert (first["n_orders_30d"], first["n_contacts"], first["n_campaigns_answered"]) == (1, 0, 0)
    # The order at midnight of the contact and the return do not count; the one an hour before does.
    assert (second["n_orders_30d"], second["revenue_30d"], second["n_orders_365d"]) == (1, 20.0, 2)
    assert (second["n_contacts"], second["n_campaigns_answered"], second["n_responses"]) == (1, 1, 2)
    assert (second["n_contacts_same_offer"], second["recency_days"], second["days_since_response"]) == (0, 1, 73)
    assert second["discount_rate"] == pytest.approx(5 / 35)
    # Of two contacts before, one had been answered by then; the offer itself was new.
    assert second["rate_of_all"] == pytest.approx(0.5)
    assert second["offer_response_rate"] is None


def test_order_history_when_engines_differ_then_the_rows_do_not() -> None:
    moments = contacts().select("customer_id", "at")
    found = same_on_polars_and_duckdb(response.order_history, moments, ORDERS, XREF)
    assert found.height == 2


def test_labelled_when_the_window_is_open_then_the_contact_is_no_row() -> None:
    early = response.labelled(rows(), date(2024, 6, 30), POLICY)
    assert sorted(early["campaign"]) == ["one", "one"]
    closed = response.labelled(rows(), date(2024, 7, 1), POLICY)
    assert dict(zip(closed["campaign"] + closed["customer_id"], closed["label"], strict=True)) == {
        "oneA": 1,
        "oneB": 0,
        "twoA": 0,
    }
    assert closed.filter(pl.col("known_until") >= pl.col("moment")).is_empty()


def test_tonight_when_customers_are_scored_then_they_are_looked_at_like_a_contact() -> None:
    known = contacts()
    sources = Sources(lazy(ORDERS), lazy(ANSWERED), lazy(XREF), {}, lazy)
    moment = response.tonight(["A"], date(2024, 5, 31), {"offer": "Y", "n_contacted": 1.0})
    tonight = sources.rows_of(moment, known, []).to_dicts()[0]
    contact = next(row for row in rows().to_dicts() if (row["customer_id"], row["campaign"]) == ("A", "two"))
    names = [name for name in response.FEATURES if name != "n_contacted"]
    assert {name: tonight[name] for name in names} == {name: contact[name] for name in names}


def test_uses_when_a_column_of_the_till_is_named_then_orders_with_it_are_counted() -> None:
    lines = frame_of(
        STAGING["order_lines"],
        channel="till",
        record_id=["1", "2", "3"],
        identifier_namespace="card",
        identifier_value="a",
        event_at=[at("2024-05-01"), at("2024-05-01"), at("2024-05-09")],
    )
    till = pl.DataFrame({"line": ["1", "2", "3"], "coupon": [0.5, 0.5, 0.0]})

    def counted(*frames: Any) -> Any:
        channel, canonical, xref, moments = frames
        return response.use_history(
            moments, response.order_uses(channel, "line", "coupon", canonical, xref), "till_coupon"
        )

    moments = contacts().filter(pl.col("campaign") == "two").select("customer_id", "at")
    found = same_on_polars_and_duckdb(counted, till, lines, XREF, moments)
    assert found["n_till_coupon_180d"].to_list() == [1]


def test_order_columns_when_one_is_misspelt_then_the_nearest_is_told() -> None:
    till = channel_of(
        "till",
        "order_line",
        {
            "line": {"role": "record.id"},
            "when": {"role": "event.at", "logicalType": "timestamp"},
            "paid": {"role": "order.amount", "logicalType": "number"},
            "coupon_disc": {"logicalType": "number"},
        },
    )
    assert order_columns(["till.coupon_disc"], [till])[0].name == "till_coupon_disc"
    with pytest.raises(ConfigurationError, match=r"did you mean `till\.coupon_disc`"):
        order_columns(["till.coupon_dics"], [till])


def test_folds_when_contacts_are_cut_then_the_test_holds_at_most_its_share() -> None:
    days = [date(2024, 1, 1) + timedelta(days=7 * week) for week in range(20)]
    data = pl.DataFrame({"at": days * 10}).with_columns((pl.col("at") + pl.duration(days=7)).alias("closes_on"))
    found = response.folds_from(data, POLICY)
    assert found is not None
    test_from, calibration_from = found
    assert data.filter(pl.col("at") >= test_from).height / data.height == pytest.approx(0.3)
    assert calibration_from < test_from


def test_rows_when_there_are_no_campaigns_then_there_is_nothing_to_train_on() -> None:
    no_contacts, no_responses = (lazy(STAGING[n].empty()) for n in ("campaign_contacts", "campaign_responses"))
    known = response.contacts(no_contacts, no_responses, lazy(XREF), AS_OF, POLICY)
    sources = Sources(lazy(ORDERS), no_responses, lazy(XREF), {}, lazy)
    found = sources.rows_of(known.with_columns(pl.lit(0.0).alias("n_contacted")), known, [])
    labelled = response.labelled(response.with_offers(found, response.frequent_offers(known, POLICY)), AS_OF, POLICY)
    assert labelled.is_empty()
    assert response.folds_from(labelled, POLICY) is None
