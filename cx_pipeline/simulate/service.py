"""Service: calls, visits, deliveries, connected products and what was promised about them.

Belongs here: promises kept and broken, complaints that follow, sentiment, product usage and requests of sensors. Does not belong here:
posts in communities (`community.py`), surveys (`surveys.py`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import PROMISES, RATES
from cx_pipeline.simulate.purchases import Written
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, weighted_indices
from cx_pipeline.simulate.window import Month
from cx_pipeline.simulate.world import World, gather, record_numbers

_CALL_TOPICS, _CALL_SHARES = ("billing", "order", "delivery", "product"), (0.25, 0.3, 0.25, 0.2)
_VISIT_TOPICS, _VISIT_SHARES = ("installation", "repair", "maintenance"), (0.4, 0.4, 0.2)
_SENSOR_TOPICS, _SENSOR_SHARES = ("fault", "supply"), (0.6, 0.4)
_OUTCOMES = ("resolved", "open", "escalated")
_BULKY_SHARE = 0.2
_TEXTS = {
    -1: ("this is the third time I ask", "nobody calls back", "the bill is wrong again", "it never arrived"),
    0: ("where is my order", "please change my address", "question about the product", "how does it work"),
    1: ("quick and friendly, thank you", "solved at once", "very helpful", "great service"),
}
_OPPOSED = ("satisfied_online_dissatisfied_offline", "dissatisfied_online_satisfied_offline")


def keep_promises(
    world: World, channel: str, processes: tuple[str, ...], code: Indices, rng: np.random.Generator
) -> tuple[Floats, Flags, Floats]:
    """What was done about a promise: the actual value, whether it broke the promise, the harm done to sentiment.

    Args:
        world: the company.
        channel: of the process.
        processes: names that `code` counts.
        code: the process of each event.
        rng: random stream.
    """
    rules = {rule.process: rule for rule in PROMISES if rule.channel == channel}
    columns = {
        name: np.array([getattr(rules[process], name) for process in processes])[code]
        for name in ("threshold", "break_rate", "harm")
    }
    is_broken = rng.random(len(code)) < columns["break_rate"]
    factor = np.where(is_broken, 1.2 + rng.exponential(0.8, len(code)), rng.uniform(0.1, 1.0, len(code)))
    return (columns["threshold"] * factor).round(1), is_broken, np.where(is_broken, columns["harm"], 0.0)


def know_promises(
    world: World,
    channel: str,
    processes: tuple[str, ...],
    code: Indices,
    persons: Indices,
    at: Floats,
    actual: Floats,
    numbers: pl.Series,
) -> None:
    """Truth: promise_events: a row for each event about which something was promised."""
    rules = {rule.process: rule for rule in PROMISES if rule.channel == channel}
    threshold = np.array([rules[process].threshold for process in processes])[code]
    world.know(
        "promise_events",
        pl.DataFrame(
            {
                "channel": pl.Series([channel]).gather(np.zeros(len(code), dtype=np.int64)),
                "process": gather(processes, code),
                "metric": gather([rules[process].metric for process in processes], code),
                "record_id": numbers,
                "person_id": persons,
                "at": world.window.times(at),
                "promised": threshold,
                "actual": actual,
                "is_broken": actual > threshold,
            }
        ),
    )


def hot_spots() -> pl.DataFrame:
    """truth/hot_spots: channel, process, metric, threshold, break_rate, harm: the parameters behind promise_events."""
    return pl.DataFrame(
        [
            {
                "channel": rule.channel,
                "process": rule.process,
                "metric": rule.metric,
                "threshold": rule.threshold,
                "break_rate": rule.break_rate,
                "harm": rule.harm,
                "is_hot": rule.break_rate >= 0.2,
            }
            for rule in PROMISES
        ]
    )


def deliveries(world: World, month: Month, written: Written) -> tuple[Indices, Floats]:
    """Deliveries of some of a month's web orders; returns who complains about theirs, and when. Truth: promise_events."""
    rng = world.rng(f"service.deliveries.{month.label}")
    orders = written.orders
    own = np.flatnonzero(orders.is_online & (rng.random(len(orders)) < RATES.delivery_share))
    processes = ("standard_delivery", "bulky_delivery")
    code = (rng.random(len(own)) < _BULKY_SHARE).astype(np.int64)
    days, is_broken, _ = keep_promises(world, "deliveries", processes, code, rng)
    at = np.floor(orders.at[own]) + np.maximum(days, 0.5) + rng.uniform(8, 19, len(own)) / 24
    keep = at < world.window.days
    own, code, days, is_broken, at = own[keep], code[keep], days[keep], is_broken[keep], at[keep]
    persons = orders.person[own]
    numbers = world.numbers("D", len(own))
    know_promises(world, "deliveries", processes, code, persons, at, days, numbers)
    frame = pl.DataFrame(
        {
            "delivery_no": numbers,
            "delivered_at": world.window.times(at),
            "account_no": world.handles.pick("account", persons, rng, name="account_no"),
            "order_no": written.numbers.gather(own),
            "event": gather(("delivered",), np.zeros(len(own), dtype=np.int64)),
            "process": gather(processes, code),
            "direction": gather(("outbound",), np.zeros(len(own), dtype=np.int64)),
            "days": days,
        }
    )
    world.write("deliveries", frame, at)
    complains = is_broken & (rng.random(len(own)) < RATES.calls_per_bad_delivery)
    return persons[complains], at[complains] + rng.uniform(0.1, 3.0, int(complains.sum()))


def calls(world: World, complaints: tuple[Indices, Floats]) -> None:
    """Calls, among them those about deliveries, and scripted ones. Truth: promise_events.

    Args:
        world: the company.
        complaints: who calls about a delivery, and when.
    """
    latent, rng = world.latent, world.rng("service.calls")
    persons, at = world.poisson_times(
        "service.calls.times", RATES.calls / 0.78, weights=latent.reach.crm & ~latent.follows(*_OPPOSED)
    )
    topic = weighted_indices(rng, _CALL_SHARES, len(persons))
    scripted, scripted_at, mood = _scripted_calls(world, rng)
    late, late_at = complaints
    keep = latent.reach.crm[late] & ~latent.follows(*_OPPOSED)[late]
    late, late_at = late[keep], late_at[keep]
    topic = np.concatenate([topic, np.full(len(late), 2), np.full(len(scripted), 3)])
    base = np.concatenate([np.full(len(persons), np.nan), np.full(len(late), np.nan), mood])
    is_complaint = np.concatenate(
        [np.zeros(len(persons), dtype=bool), np.ones(len(late), dtype=bool), np.zeros(len(scripted), dtype=bool)]
    )
    persons = np.concatenate([persons, late, scripted])
    at = np.concatenate([at, late_at, scripted_at])
    audible = world.audible("call_centre", persons, at) & latent.reach.crm[persons]
    persons, at, topic = persons[audible], at[audible], topic[audible]
    base, is_complaint = base[audible], is_complaint[audible]
    wait, is_broken, harm = keep_promises(world, "call_centre", _CALL_TOPICS, topic, rng)
    drawn = world.mood(persons, at) - harm - 0.5 * is_complaint + rng.normal(0, 0.25, len(persons))
    sentiment = np.where(np.isnan(base), drawn, base).clip(-1, 1).round(2)
    numbers = world.numbers("CC", len(persons))
    know_promises(world, "call_centre", _CALL_TOPICS, topic, persons, at, wait, numbers)
    solved = rng.random(len(persons)) < 0.75 - 0.25 * is_broken
    frame = pl.DataFrame(
        {
            "call_id": numbers,
            "called_at": world.window.times(at),
            "crm_no": world.handles.pick("crm", persons, rng, name="crm_no"),
            "kind": gather(("call", "complaint"), (sentiment < -0.4).astype(np.int64)),
            "topic": gather(_CALL_TOPICS, topic),
            "direction": gather(("inbound",), np.zeros(len(persons), dtype=np.int64)),
            "wait_s": wait,
            "talk_s": rng.integers(30, 900, len(persons)),
            "sentiment": sentiment,
            "outcome": gather(_OUTCOMES, np.where(solved, 0, rng.integers(1, 3, len(persons)))),
            "note": texts_of(sentiment, rng),
        }
    )
    world.hear("call_centre", persons, at, sentiment=sentiment)
    world.write("call_centre", frame, at)


def _scripted_calls(world: World, rng: np.random.Generator) -> tuple[Indices, Floats, Floats]:
    """Calls of scripted customers: who, when, sentiment."""
    latent, days = world.latent, world.window.days
    happy = np.flatnonzero(latent.follows(_OPPOSED[1]))
    unhappy = np.flatnonzero(latent.follows(_OPPOSED[0]))
    jump = np.flatnonzero(latent.follows("jump"))
    persons = np.concatenate([np.repeat(happy, 3), np.repeat(unhappy, 3), np.repeat(jump, 2)])
    opposed = 3 * (len(happy) + len(unhappy))
    at = np.concatenate(
        [
            days - rng.uniform(10, 165, opposed),
            latent.falls_silent_at[np.repeat(jump, 2)] - rng.uniform(1, 20, 2 * len(jump)),
        ]
    )
    mean = np.concatenate([np.full(3 * len(happy), 0.7), np.full(3 * len(unhappy) + 2 * len(jump), -0.7)])
    return persons, at, (mean + rng.normal(0, 0.08, len(mean))).clip(-1, 1).round(2)


def texts_of(sentiment: Floats, rng: np.random.Generator) -> pl.Series:
    """A few words that fit the sentiment."""
    n = len(_TEXTS[0])
    texts = [text for key in (-1, 0, 1) for text in _TEXTS[key]]
    row = np.where(sentiment < -0.25, 0, np.where(sentiment > 0.35, 2, 1))
    return gather(texts, row * n + rng.integers(0, n, len(sentiment)), "note")


def visits(world: World) -> None:
    """Technicians' visits. Truth: promise_events."""
    latent, rng = world.latent, world.rng("service.visits")
    weights = latent.reach.crm & ~latent.follows(*_OPPOSED)
    persons, at = world.poisson_times("service.visits.times", RATES.visits / 0.78, weights=weights)
    at = np.floor(at) + rng.uniform(8, 17, len(at)) / 24
    keep = world.audible("field_service", persons, at)
    persons, at = persons[keep], at[keep]
    topic = weighted_indices(rng, _VISIT_SHARES, len(persons))
    late, is_broken, harm = keep_promises(world, "field_service", _VISIT_TOPICS, topic, rng)
    sentiment = (world.mood(persons, at) + 0.1 - harm + rng.normal(0, 0.25, len(persons))).clip(-1, 1).round(2)
    numbers = world.numbers("FS", len(persons))
    know_promises(world, "field_service", _VISIT_TOPICS, topic, persons, at, late, numbers)
    frame = pl.DataFrame(
        {
            "visit_no": numbers,
            "arrived_at": world.window.times(at),
            "crm_no": world.handles.pick("crm", persons, rng, name="crm_no"),
            "event": gather(("visit",), np.zeros(len(persons), dtype=np.int64)),
            "job": gather(_VISIT_TOPICS, topic),
            "minutes_late": late,
            "duration_s": rng.integers(900, 9000, len(persons)),
            "outcome": gather(
                ("done", "comes_again"), (rng.random(len(persons)) < 0.12 + 0.2 * is_broken).astype(np.int64)
            ),
            "sentiment": sentiment,
        }
    )
    world.hear("field_service", persons, at, sentiment=sentiment)
    world.write("field_service", frame, at)


_METRICS = ("active_minutes", "cycles")
_DEVICE_PRODUCTS = 3


def connected_products(world: World) -> None:
    """Telemetry of connected products and requests their sensors raise. Truth: product_usage, promise_events.

    Weekly values follow base x exp(trend x week), log-normal noise of 0.15.
    """
    latent, window, rng = world.latent, world.window, world.rng("service.devices")
    can = latent.reach.app & (latent.rate > 0) & (latent.script <= 0)
    owners = np.flatnonzero(can & (rng.random(latent.n) < RATES.device_owner_share / 0.28))
    product = rng.integers(0, _DEVICE_PRODUCTS, len(owners))
    begins = latent.active_from[owners] + rng.exponential(20, len(owners))
    ends = np.minimum(latent.alive_until[owners], window.days)
    base = np.exp(rng.normal(4.0, 0.5, len(owners)))
    trend = 0.004 * latent.engagement[owners] + rng.normal(0, 0.003, len(owners))
    serial = record_numbers("IOT", owners)
    _telemetry(world, owners, product, begins, ends, base, trend, serial, rng)
    world.know(
        "product_usage",
        pl.DataFrame(
            {
                "person_id": owners,
                "serial": serial,
                "product_id": _device_products(product),
                "began_at": window.times(begins),
                "ended_at": window.times(np.where(ends < window.days, ends, np.nan)),
                "base_minutes": base,
                "weekly_trend": trend,
            }
        ).filter(pl.Series(begins < ends)),
    )
    _sensor_requests(world, owners, begins, ends, serial, rng)


def _device_products(product: Indices) -> pl.Series:
    # The dearest products of the category electronics are the connected ones.
    return gather([f"P06{19 - k:02d}" for k in range(_DEVICE_PRODUCTS)], product)


def _telemetry(
    world: World,
    owners: Indices,
    product: Indices,
    begins: Floats,
    ends: Floats,
    base: Floats,
    trend: Floats,
    serial: pl.Series,
    rng: np.random.Generator,
) -> None:
    n_weeks = world.window.days // 7
    week = np.arange(n_weeks)
    times: Floats = (7.0 * week + 0.99).astype(np.float64)
    row, which = np.nonzero((times >= begins[:, None]) & (times < ends[:, None]))
    for code in range(len(_METRICS)):
        chosen = np.flatnonzero(rng.random(len(row)) < RATES.device_metrics_per_week / len(_METRICS))
        owner, at = row[chosen], times[which[chosen]]
        weeks = np.maximum(at - begins[owner], 0) / 7
        scale = 1.0 if code == 0 else 0.1
        value = scale * base[owner] * np.exp(trend[owner] * weeks + rng.normal(0, 0.15, len(owner)))
        frame = pl.DataFrame(
            {
                "reading_id": world.numbers("U", len(owner)),
                "read_at": world.window.times(at),
                "serial": serial.gather(owner),
                "app_user": world.handles.pick("app_user", owners[owner], rng, name="app_user"),
                "product_no": _device_products(product[owner]),
                "metric": gather(_METRICS, np.full(len(owner), code)),
                "value": value.round(1),
            }
        )
        world.write("device_telemetry", frame, at)


def _sensor_requests(
    world: World, owners: Indices, begins: Floats, ends: Floats, serial: pl.Series, rng: np.random.Generator
) -> None:
    span = np.maximum(ends - begins, 0.0)
    owner = np.repeat(np.arange(len(owners)), rng.poisson(span / 30 * 0.3))
    at = begins[owner] + rng.random(len(owner)) * span[owner]
    keep = world.audible("sensor_requests", owners[owner], at)
    owner, at = owner[keep], at[keep]
    topic = weighted_indices(rng, _SENSOR_SHARES, len(owner))
    hours, _, _ = keep_promises(world, "sensor_requests", _SENSOR_TOPICS, topic, rng)
    answered = at + hours / 24
    numbers = world.numbers("Q", len(owner))
    know_promises(world, "sensor_requests", _SENSOR_TOPICS, topic, owners[owner], at, hours, numbers)
    is_answered = answered < world.window.days
    frame = pl.DataFrame(
        {
            "request_no": numbers,
            "raised_at": world.window.times(at),
            "serial": serial.gather(owner),
            "app_user": world.handles.pick("app_user", owners[owner], rng, name="app_user"),
            "event": gather(("sensor_request",), np.zeros(len(owner), dtype=np.int64)),
            "topic": gather(_SENSOR_TOPICS, topic),
            "answer_hours": pl.Series(np.where(is_answered, hours, np.nan)).fill_nan(None),
            "answered_at": world.window.times(np.where(is_answered, answered, np.nan)),
            "outcome": gather(("answered", "waiting"), (~is_answered).astype(np.int64)),
            "action": gather(("technician_sent", "part_sent"), topic),
        }
    )
    world.hear("sensor_requests", owners[owner], at)
    world.write("sensor_requests", frame, at)
