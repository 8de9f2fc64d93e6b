"""Requests of products: an alert or a fault that asks for something to be done, what answered it, and whether in the promised time.

Belongs here: finding requests, their answers and promises. Does not belong here: forecasts of usage, service standards of other kinds.

What a source says of its own request (its outcome, and the hours to the answer as the event's value) counts; where it says nothing, the
first contact by the company or visit after the request is its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import native
from cx_pipeline.engagement.policy import SensorPolicy

_REQUEST = ("channel", "record_id")


def requests(
    usage: nw.LazyFrame, interactions: nw.LazyFrame, xref: nw.LazyFrame, policy: SensorPolicy, as_of: date
) -> nw.LazyFrame:
    """One row per request raised up to the as-of date, with what its own source says of it.

    Args:
        usage: `staging.usage`; its metric names the request.
        interactions: `staging.interactions`; its type does.
        xref: `identity.identifier_xref`.
        policy: the words.
        as_of: the last day that counts.

    Returns:
        channel, record_id, customer_id, product_id, request_type, topic, raised_at, said (answered, waiting, NULL: nothing),
        said_hours (to the answer).
    """
    asks = (nw.col("usage_value") >= policy.request_from_value) | nw.col("usage_value").is_null()
    is_ours = (nw.col("event_direction").str.to_lowercase() == "outbound").fill_null(False)
    is_answered = _word("event_outcome").is_in(list(policy.answered_words)).fill_null(False)
    is_waiting = _word("event_outcome").is_in(list(policy.waiting_words)).fill_null(False)
    said = nw.when(is_answered).then(nw.lit("answered")).otherwise(nw.when(is_waiting).then(nw.lit("waiting")))
    hours = nw.when(is_answered).then(nw.col("event_value") * policy.answer_value_hours).otherwise(None)
    nothing = nw.lit(None)
    measured = _attributed(usage.filter(asks & _word("usage_metric").is_in(list(policy.request_words))), xref, as_of)
    spoken = _attributed(
        interactions.filter(~is_ours & _word("event_type").is_in(list(policy.request_words))), xref, as_of
    )
    common = (*_REQUEST, "customer_id", "product_id", nw.col("event_at").alias("raised_at"))
    return nw.concat(
        [
            measured.select(
                *common,
                _word("usage_metric").alias("request_type"),
                nothing.cast(nw.String).alias("topic"),
                nothing.cast(nw.String).alias("said"),
                nothing.cast(nw.Float64).alias("said_hours"),
            ),
            spoken.select(
                *common,
                _word("event_type").alias("request_type"),
                _word("event_topic").alias("topic"),
                said.cast(nw.String).alias("said"),
                hours.cast(nw.Float64).alias("said_hours"),
            ),
        ]
    )


def _word(column: str) -> nw.Expr:
    return nw.col(column).str.strip_chars().str.to_lowercase()


def _attributed(rows: nw.LazyFrame, xref: nw.LazyFrame, as_of: date) -> nw.LazyFrame:
    """Rows up to the as-of date with the customer that their identifier leads to, NULL where it leads nowhere."""
    end = nw.lit(as_of + timedelta(days=1)).cast(nw.Datetime("us"))
    owners = xref.select(
        nw.col("namespace").alias("identifier_namespace"), nw.col("value").alias("identifier_value"), "customer_id"
    )
    return rows.filter(nw.col("event_at") < end).join(
        owners, on=["identifier_namespace", "identifier_value"], how="left"
    )


def answers(
    asked: nw.LazyFrame,
    interactions: nw.LazyFrame,
    xref: nw.LazyFrame,
    catalogue: nw.LazyFrame,
    policy: SensorPolicy,
    as_of: date,
) -> nw.LazyFrame:
    """One row per request with a later contact that answers it: channel, record_id, seen_at, seen_channel of the first one.

    An answer is an interaction that the company began, or a visit, in a channel of the answering functions, with the same customer.

    Args:
        asked: from `requests`.
        interactions: `staging.interactions`.
        xref: `identity.identifier_xref`.
        catalogue: `channels.catalogue`: channel, function.
        policy: functions, words, window.
        as_of: the last day that counts.
    """
    answering = catalogue.filter(nw.col("function").is_in(list(policy.answer_functions))).select("channel")
    is_ours = (nw.col("event_direction").str.to_lowercase() == "outbound").fill_null(False)
    is_visit = _word("event_type").is_in(list(policy.visit_words)).fill_null(False)
    given = (
        _attributed(interactions.filter(is_ours | is_visit).join(answering, on="channel", how="semi"), xref, as_of)
        .filter(~nw.col("customer_id").is_null())
        .select(
            "customer_id",
            nw.col("event_at").alias("seen_at"),
            nw.col("channel").alias("seen_channel"),
        )
    )
    until = nw.col("raised_at").dt.offset_by(f"{policy.answer_window_days}d")
    return (
        asked.select(*_REQUEST, "customer_id", "raised_at")
        .join(given, on="customer_id", how="inner")
        .filter((nw.col("seen_at") > nw.col("raised_at")) & (nw.col("seen_at") <= until))
        .unique(list(_REQUEST), keep="first", order_by=["seen_at", "seen_channel"])
        .select(*_REQUEST, "seen_at", "seen_channel")
    )


def promised_hours(promises: nw.LazyFrame, policy: SensorPolicy) -> nw.LazyFrame:
    """One row per type or topic of request that a promise about the time to respond names: request_type ("": all), promised_hours.

    Of several promises the strictest counts.

    Args:
        promises: `staging.promises`.
        policy: the metrics that are about the time to respond, and their units in hours.
    """
    unit = _looked_up(_word("promise_metric"), policy.response_promise_hours)
    return (
        promises.with_columns(unit.alias("unit"), _word("event_type").fill_null("").alias("request_type"))
        .filter(~nw.col("unit").is_null() & ~nw.col("promise_threshold").is_null())
        .group_by("request_type")
        .agg((nw.col("promise_threshold") * nw.col("unit")).min().alias("promised_hours"))
    )


def _looked_up(word: nw.Expr, numbers: Mapping[str, float]) -> nw.Expr:
    found: nw.Expr = nw.lit(None).cast(nw.Float64)
    for name, number in numbers.items():
        found = nw.when(word == name.lower()).then(nw.lit(number)).otherwise(found)
    return found


def sensor_requests(asked: nw.LazyFrame, answered: nw.LazyFrame, promised: nw.LazyFrame, as_of: date) -> nw.LazyFrame:
    """One row per request: when it was raised and answered, whether that was in the promised time, and what is to be done.

    Args:
        asked: from `requests`.
        answered: from `answers`.
        promised: from `promised_hours`; what is promised for the topic counts before the type of request, and that before all others.
        as_of: the night it is; a promise is broken from the end of that day, not before.
    """
    end = nw.lit(as_of + timedelta(days=1)).cast(nw.Datetime("us"))
    is_said, is_waiting = ~nw.col("said_hours").is_null(), (nw.col("said") == "waiting").fill_null(False)
    seen = _with_answer_said(_with_promise(asked, promised)).join(answered, on=list(_REQUEST), how="left")
    seen_hours = _hours(nw.col("raised_at"), nw.col("seen_at"))
    known = seen.with_columns(
        nw.when(is_said)
        .then(nw.col("said_at"))
        .otherwise(nw.when(~is_waiting).then(nw.col("seen_at")))
        .alias("answered_at"),
        nw.when(is_said)
        .then(nw.col("channel"))
        .otherwise(nw.when(~is_waiting).then(nw.col("seen_channel")))
        .alias("answer_channel"),
        nw.when(is_said)
        .then(nw.col("said_hours").round(6))
        .otherwise(nw.when(~is_waiting).then(seen_hours))
        .alias("response_hours"),
        (_hours(nw.col("raised_at"), end) > nw.col("promised_hours")).fill_null(False).alias("is_overdue"),
    ).with_columns(
        (~nw.col("answered_at").is_null() | (nw.col("said") == "answered").fill_null(False)).alias("is_answered")
    )
    return known.select(
        *_REQUEST,
        "customer_id",
        "product_id",
        "request_type",
        "topic",
        "raised_at",
        "is_answered",
        "answered_at",
        "answer_channel",
        "response_hours",
        "promised_hours",
        _promise_met().alias("promise_met"),
        _reason().alias("reason"),
        _action().alias("action"),
    )


def _with_promise(asked: nw.LazyFrame, promised: nw.LazyFrame) -> nw.LazyFrame:
    """Requests with promised_hours: of the topic, else of the type, else of all requests."""
    named = promised.filter(nw.col("request_type") != "")
    general = promised.filter(nw.col("request_type") == "").select(
        nw.col("promised_hours").alias("hours_of_all"), nw.lit(1).alias("one")
    )
    by_topic = named.select(nw.col("request_type").alias("topic"), nw.col("promised_hours").alias("hours_of_topic"))
    by_type = named.select("request_type", nw.col("promised_hours").alias("hours_of_type"))
    return (
        asked.with_columns(nw.lit(1).alias("one"))
        .join(by_topic, on="topic", how="left")
        .join(by_type, on="request_type", how="left")
        .join(general, on="one", how="left")
        .with_columns(
            nw.coalesce(nw.col("hours_of_topic"), nw.col("hours_of_type"), nw.col("hours_of_all")).alias(
                "promised_hours"
            )
        )
    )


def _with_answer_said(asked: nw.LazyFrame) -> nw.LazyFrame:
    """Requests with said_at: raised_at and said_hours later; Narwhals has no durations made of columns."""
    return native(
        asked,
        duckdb=lambda data: data.project(
            "*, raised_at + to_microseconds(CAST(round(said_hours * 3600) AS BIGINT) * 1000000) AS said_at"
        ),
        polars=lambda data: data.with_columns(
            (pl.col("raised_at") + pl.duration(seconds=(pl.col("said_hours") * 3600).round())).alias("said_at")
        ),
        pyspark=lambda data: data.selectExpr(
            "*", "timestampadd(SECOND, CAST(round(said_hours * 3600) AS INT), raised_at) AS said_at"
        ),
    )


def _promise_met() -> nw.Expr:
    is_late = (nw.col("response_hours") > nw.col("promised_hours")).fill_null(False)
    met = nw.when(nw.col("is_answered")).then(~is_late).otherwise(nw.lit(False))
    return nw.when(_reason().is_null()).then(met).otherwise(None)


def _reason() -> nw.Expr:
    """Why a promise cannot be judged; NULL where it can."""
    waits = nw.when(~nw.col("is_answered") & ~nw.col("is_overdue")).then(nw.lit("still_open")).otherwise(None)
    timeless = nw.col("is_answered") & nw.col("response_hours").is_null()
    nobodys = nw.col("customer_id").is_null() & ~nw.col("is_answered")
    cause = nw.when(timeless).then(nw.lit("time_not_known")).otherwise(waits)
    cause = nw.when(nw.col("promised_hours").is_null()).then(nw.lit("no_promise")).otherwise(cause)
    return nw.when(nobodys).then(nw.lit("no_customer")).otherwise(cause)


def _action() -> nw.Expr:
    """What is to be done now."""
    is_late = (nw.col("response_hours") > nw.col("promised_hours")).fill_null(False)
    done = nw.when(is_late).then(nw.lit("apologise")).otherwise(nw.lit("none"))
    to_do = nw.when(nw.col("is_overdue")).then(nw.lit("answer_now")).otherwise(nw.lit("answer"))
    to_do = nw.when(nw.col("customer_id").is_null()).then(nw.lit("find_customer")).otherwise(to_do)
    return nw.when(nw.col("is_answered")).then(done).otherwise(to_do)


def _hours(since: nw.Expr, until: nw.Expr) -> nw.Expr:
    return ((_seconds(until) - _seconds(since)).cast(nw.Float64) / 3600).round(6)


def _seconds(time: nw.Expr) -> nw.Expr:
    """Whole seconds since the beginning of the calendar; the engines' own durations differ."""
    year = time.dt.year().cast(nw.Int64) - 1
    days = year * 365 + year // 4 - year // 100 + year // 400 + time.dt.ordinal_day().cast(nw.Int64)
    clock = (
        time.dt.hour().cast(nw.Int64) * 3600 + time.dt.minute().cast(nw.Int64) * 60 + time.dt.second().cast(nw.Int64)
    )
    return days * 86_400 + clock
