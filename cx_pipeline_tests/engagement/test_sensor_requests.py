from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.engagement import checks
from cx_pipeline.engagement.plots import requests_by_action
from cx_pipeline.engagement.policy import SensorPolicy
from cx_pipeline.engagement.sensor_requests import answers, promised_hours, requests, sensor_requests
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, IDENTITY, CHANNELS, ENGAGEMENT = (
    load_step(step) for step in ("staging", "identity", "channels", "engagement")
)
AS_OF, POLICY = date(2024, 5, 10), SensorPolicy()
XREF = frame_of(IDENTITY["identifier_xref"], namespace=["device", "account"], value=["d1", "a1"], customer_id="A")
CATALOGUE = frame_of(
    CHANNELS["catalogue"],
    channel=["desk", "field", "newsletter"],
    function=["service", "service", "marketing"],
)
RAISED = datetime(2024, 5, 1, 12)
NO_USAGE, NO_PROMISE = frame_of(STAGING["usage"]).clear(), frame_of(STAGING["promises"]).clear()


def alert(**columns: Any) -> pl.DataFrame:
    given = {
        "channel": "iot",
        "record_id": "1",
        "identifier_namespace": "device",
        "identifier_value": "d1",
        "event_at": RAISED,
        "usage_metric": "Alert",
        "usage_value": 1.0,
        "product_id": "p",
        **columns,
    }
    return frame_of(STAGING["usage"], **given)


def contact(**columns: Any) -> pl.DataFrame:
    given = {
        "channel": "desk",
        "record_id": "9",
        "identifier_namespace": "account",
        "identifier_value": "a1",
        "event_at": datetime(2024, 5, 1, 18),
        "event_type": "call",
        "event_direction": "outbound",
        **columns,
    }
    return frame_of(STAGING["interactions"], **given)


def promise(**columns: Any) -> pl.DataFrame:
    given = {"channel": "standards", "record_id": "1", "promise_metric": "response_time_hours", **columns}
    return frame_of(STAGING["promises"], **given)


def judged(
    usage: pl.DataFrame, interactions: pl.DataFrame, promises: pl.DataFrame = NO_PROMISE
) -> list[dict[str, Any]]:
    def rows(u: Any, i: Any, p: Any, x: Any, c: Any) -> Any:
        asked = requests(u, i, x, POLICY, AS_OF)
        answered = answers(asked, i, x, c, POLICY, AS_OF)
        return sensor_requests(asked, answered, promised_hours(p, POLICY), AS_OF)

    found = same_on_polars_and_duckdb(rows, usage, interactions, promises, XREF, CATALOGUE)
    return found.sort("channel", "record_id").to_dicts()


@pytest.mark.parametrize(
    ("hours", "met", "action"), [(6.0, True, "none"), (5.9, False, "apologise"), (None, None, "none")]
)
def test_sensor_requests_when_answered_then_the_promise_is_judged_if_there_is_one(
    hours: float | None, met: bool | None, action: str
) -> None:
    (row,) = judged(alert(), contact(), promise(promise_threshold=hours) if hours else NO_PROMISE)
    assert (row["request_type"], row["product_id"], row["answer_channel"], row["response_hours"]) == (
        "alert",
        "p",
        "desk",
        6.0,
    )
    assert (row["promise_met"], row["action"]) == (met, action)
    assert row["reason"] == (None if hours else "no_promise")


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"event_at": RAISED}, id="not later"),
        pytest.param({"event_at": datetime(2024, 6, 1, 12)}, id="after the window"),
        pytest.param({"channel": "newsletter"}, id="marketing"),
        pytest.param({"event_direction": "inbound"}, id="the customer called"),
        pytest.param({"identifier_value": "a9"}, id="somebody else"),
    ],
)
def test_sensor_requests_when_a_contact_is_no_answer_then_the_request_waits(columns: dict[str, Any]) -> None:
    (row,) = judged(alert(), contact(**columns), promise(promise_threshold=24.0))
    assert (row["answered_at"], row["promise_met"], row["reason"], row["action"]) == (None, False, None, "answer_now")


def test_sensor_requests_when_a_technician_comes_then_that_is_an_answer_whatever_the_direction() -> None:
    visits = contact(channel="field", event_type="Visit", event_direction=[None, None], record_id=["8", "9"],
                     event_at=[datetime(2024, 5, 3), datetime(2024, 5, 2, 12)])  # fmt: skip
    (row,) = judged(alert(), visits)
    assert (row["answer_channel"], row["response_hours"]) == ("field", 24.0)


def test_sensor_requests_when_the_promised_time_is_not_over_then_nothing_is_broken_yet() -> None:
    (row,) = judged(alert(event_at=datetime(2024, 5, 10, 12)), contact(), promise(promise_threshold=24.0))
    assert (row["promise_met"], row["reason"], row["action"]) == (None, "still_open", "answer")


def test_sensor_requests_when_a_device_leads_nowhere_then_the_customer_is_to_be_found() -> None:
    (row,) = judged(alert(identifier_value="d9"), contact(), promise(promise_threshold=1.0))
    assert (row["customer_id"], row["promise_met"], row["reason"], row["action"]) == (
        None,
        None,
        "no_customer",
        "find_customer",
    )


def own_request(**columns: Any) -> pl.DataFrame:
    return contact(
        **{
            "channel": "sensors",
            "event_at": RAISED,
            "event_type": "sensor_request",
            "event_topic": "Fault",
            "event_direction": None,
            **columns,
        }
    )


FOLLOWED = contact(record_id="later", event_at=datetime(2024, 5, 1, 13))


@pytest.mark.parametrize(
    ("columns", "hours", "channel", "met", "reason", "action"),
    [
        pytest.param(
            {"event_outcome": "Answered", "event_value": 4.5}, 4.5, "sensors", True, None, "none", id="in time"
        ),
        pytest.param(
            {"event_outcome": "answered", "event_value": 25.0}, 25.0, "sensors", False, None, "apologise", id="late"
        ),
        pytest.param({"event_outcome": "answered"}, 1.0, "desk", True, None, "none", id="answered, time by contact"),
        pytest.param({"event_outcome": "waiting"}, None, None, False, None, "answer_now", id="waiting for all that"),
        pytest.param({"event_outcome": None}, 1.0, "desk", True, None, "none", id="nothing said"),
        pytest.param(
            {"event_outcome": "answered", "identifier_value": "a9"},
            None,
            None,
            None,
            "time_not_known",
            "none",
            id="answered, nobody knows when",
        ),
        pytest.param(
            {"event_outcome": "answered", "identifier_value": "a9", "event_value": 25.0},
            25.0,
            "sensors",
            False,
            None,
            "apologise",
            id="somebody unknown was answered",
        ),
    ],
)
def test_sensor_requests_when_the_source_says_what_became_of_them_then_that_counts_before_contacts(
    columns: dict[str, Any],
    hours: float | None,
    channel: str | None,
    met: bool | None,
    reason: str | None,
    action: str,
) -> None:
    promises = promise(promise_metric="answer_hours", promise_threshold=24.0, event_type="fault")
    (row,) = judged(NO_USAGE, pl.concat([own_request(**columns), FOLLOWED]), promises)
    assert (row["response_hours"], row["answer_channel"], row["topic"]) == (hours, channel, "fault")
    assert (row["promise_met"], row["reason"], row["action"]) == (met, reason, action)
    assert row["answered_at"] == (None if hours is None else RAISED + timedelta(hours=hours))


def test_requests_when_words_and_values_say_so_then_rows_of_usage_and_interactions_are_requests() -> None:
    usage = alert(
        record_id=["1", "2", "3", "4"],
        usage_metric=["alert", "minutes", "fault", "alert"],
        usage_value=[1.0, 50.0, None, 0.0],
    )
    asked = contact(
        channel="app",
        record_id=["5", "6", "7"],
        event_type=["service_request", "page_view", "service_request"],
        event_direction=["inbound", "inbound", "outbound"],
    )
    found = judged(usage, asked)
    assert [(row["record_id"], row["request_type"]) for row in found] == [
        ("5", "service_request"),
        ("1", "alert"),
        ("3", "fault"),
    ]


def test_promised_hours_when_there_are_several_promises_then_the_own_before_the_general_and_the_strictest() -> None:
    promises = promise(
        record_id=["1", "2", "3", "4", "5"],
        promise_metric=["response_time_hours", "response_days", "RESPONSE_MINUTES", "delivery_days", "response_hours"],
        promise_threshold=[48.0, 1.0, 90.0, 1.0, None],
        event_type=[None, None, "Alert", "alert", "alert"],
    )
    found = same_on_polars_and_duckdb(lambda p: promised_hours(p, POLICY), promises)
    assert sorted(found.select("request_type", "promised_hours").rows()) == [("", 24.0), ("alert", 1.5)]
    of_requests = judged(alert(record_id=["1", "2"], usage_metric=["alert", "fault"]), contact(), promises)
    assert [row["promised_hours"] for row in of_requests] == [1.5, 24.0]


def test_sensor_requests_when_there_are_no_requests_then_no_rows() -> None:
    assert judged(NO_USAGE, contact()) == []


@pytest.mark.parametrize(
    ("columns", "n"),
    [
        ({}, 0),
        ({"promise_met": None}, 1),
        ({"promise_met": False}, 1),
        ({"reason": "no_promise"}, 1),
    ],
)
def test_promises_are_judged_or_say_why_not_when_they_are_not_then_it_is_broken(
    columns: dict[str, Any], n: int
) -> None:
    good = {"channel": "iot", "record_id": "1", "promise_met": True, "response_hours": 1.0, "promised_hours": 2.0}
    rows = frame_of(ENGAGEMENT["sensor_requests"], **{**good, **columns})
    assert n_offending(checks.promises_are_judged_or_say_why_not, engagement__sensor_requests=rows) == n


@pytest.mark.parametrize(
    ("columns", "n"),
    [
        ({}, 0),
        ({"answered_at": datetime(2024, 5, 1)}, 1),
        ({"answer_channel": None}, 1),
        ({"is_answered": False}, 1),
    ],
)
def test_answers_come_after_their_requests_when_they_do_not_then_it_is_broken(columns: dict[str, Any], n: int) -> None:
    good = {
        "customer_id": "A",
        "raised_at": RAISED,
        "is_answered": True,
        "answered_at": datetime(2024, 5, 2),
        "answer_channel": "desk",
    }
    rows = frame_of(ENGAGEMENT["sensor_requests"], **{**good, **columns})
    assert n_offending(checks.answers_come_after_their_requests, engagement__sensor_requests=rows) == n


def test_no_promise_to_answer_is_broken_when_a_request_waits_too_long_then_it_is_shown() -> None:
    rows = frame_of(ENGAGEMENT["sensor_requests"], record_id=["1", "2"], action=["answer", "answer_now"])
    assert n_offending(checks.no_promise_to_answer_is_broken, engagement__sensor_requests=rows) == 1


def test_requests_by_action_when_there_are_requests_then_they_are_shown_and_else_nothing_is() -> None:
    rows = frame_of(ENGAGEMENT["sensor_requests"], record_id=["1", "2"], action=["apologise", "none"])
    svg = requests_by_action(lazy(rows))
    assert svg is not None
    assert "apologise" in svg
    assert requests_by_action(lazy(rows.clear())) is None
