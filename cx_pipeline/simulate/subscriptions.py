"""Subscriptions and their payments: hazards of cancelling, late payments, defaults.

Belongs here: contracts, their covariates and known coefficients, dues. Does not belong here: orders (`purchases.py`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import SUBSCRIPTIONS
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, weighted_indices
from cx_pipeline.simulate.world import World, gather

MONTH_DAYS = 30.4375
_BILLING_SHARE = 0.31
_EARLIEST = -500.0
_UNPAID_UNTIL_ENDED = 3


def _logistic(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result


def subscriptions(world: World) -> None:
    """Contracts and their payments. Truth: subscription_hazards (one row per contract), payment_defaults."""
    p, latent, rng = SUBSCRIPTIONS, world.latent, world.rng("subscriptions")
    joined = np.maximum(world.window.day_numbers(world.persons["joined_at"]), _EARLIEST)
    holds = world.handles["billing"].has & (latent.rate > 0) & ~latent.is_scripted
    persons = np.flatnonzero(holds & (rng.random(latent.n) < p.customer_share / _BILLING_SHARE))
    started = np.floor(joined[persons] + rng.uniform(0, 120, len(persons)))
    keep = started < world.window.days
    persons, started = persons[keep], started[keep]
    plan = weighted_indices(rng, [q.share for q in p.plans], len(persons))
    by_invoice = rng.random(len(persons)) < p.invoice_share
    has_promo = rng.random(len(persons)) < p.promo_share
    fixed = np.array([q.log_hazard for q in p.plans])[plan] + p.invoice * by_invoice + p.promo_price * has_promo
    cancelled = cancelled_on(started, np.exp(p.log_base + fixed), rng)
    odds = p.default_intercept + p.default_invoice * by_invoice + p.default_premium * (plan == 2)
    chance = _logistic(odds + p.default_score * latent.payment_score[persons])
    stops_paying = rng.random(len(persons)) < chance
    fees = np.array([q.fee for q in p.plans])[plan]
    first_unpaid = np.where(stops_paying, started + MONTH_DAYS * rng.integers(1, 15, len(persons)), np.inf)
    bad_debt = first_unpaid + _UNPAID_UNTIL_ENDED * MONTH_DAYS
    ended = np.minimum(cancelled, bad_debt)
    is_bad = bad_debt < cancelled
    numbers = world.numbers("SUB", len(persons))
    _write_contracts(world, persons, numbers, started, ended, is_bad, plan, by_invoice, has_promo, fees, rng)
    monthly = np.exp(p.log_base + fixed)
    days = world.window.days
    world.know(
        "subscription_hazards",
        pl.DataFrame(
            {
                "subscription_no": numbers,
                "person_id": persons,
                "started_on": world.window.dates(started, "started_on"),
                "plan": gather([q.name for q in p.plans], plan),
                "is_invoice": by_invoice,
                "has_promo_price": has_promo,
                "monthly_hazard": -np.expm1(-monthly),
                "monthly_hazard_first_3_months": -np.expm1(-monthly * np.exp(p.first_quarter)),
                "ended_on": world.window.dates(np.where(ended < days, ended, np.nan), "ended_on"),
                "would_cancel_on": world.window.dates(np.where(cancelled < days + 3650, cancelled, np.nan), "d"),
                "end_reason": gather(("cancelled", "bad_debt"), np.where(ended >= days, -1, is_bad.astype(np.int64))),
            }
        ),
    )
    _payments(world, persons, numbers, started, ended, first_unpaid, by_invoice, fees, chance, rng)


def cancelled_on(started: Floats, monthly: Floats, rng: np.random.Generator) -> Floats:
    """Day of cancelling from a hazard that is higher in the first three months; drawn by inverting the cumulative hazard."""
    target = rng.exponential(1.0, len(started))
    early = np.exp(SUBSCRIPTIONS.first_quarter) * monthly
    in_early = target < 3 * early
    months = np.where(in_early, target / early, 3 + (target - 3 * early) / monthly)
    cancelled: Floats = np.floor(started + np.maximum(months * MONTH_DAYS, 1.0))
    return cancelled


def _write_contracts(
    world: World,
    persons: Indices,
    numbers: pl.Series,
    started: Floats,
    ended: Floats,
    is_bad: Flags,
    plan: Indices,
    by_invoice: Flags,
    has_promo: Flags,
    fees: Floats,
    rng: np.random.Generator,
) -> None:
    """A version of each contract at its start, and a second one when it has ended."""
    window = world.window
    has_ended = ended < window.days
    billing = world.handles.pick("billing", persons, rng, name="billing_no")
    p = SUBSCRIPTIONS

    def version(which: Indices, at: Floats, *, shows_end: bool) -> None:
        reason = is_bad[which].astype(np.int64) if shows_end else np.full(len(which), -1)
        frame = pl.DataFrame(
            {
                "subscription_no": numbers.gather(which),
                "billing_no": billing.gather(which),
                "started_on": window.dates(started[which], "started_on"),
                "ended_on": window.dates(ended[which] if shows_end else np.full(len(which), np.nan), "ended_on"),
                "plan": gather([q.name for q in p.plans], plan[which]),
                "fee": fees[which],
                "payment_method": gather(("autopay", "invoice"), by_invoice[which].astype(np.int64)),
                "price": gather(("list", "promotional"), has_promo[which].astype(np.int64)),
                "end_reason": gather(("cancelled", "bad_debt"), reason),
                "changed_at": window.times(at),
            }
        )
        world.write("subscriptions", frame, at)

    every = np.arange(len(persons))
    version(every, started + 0.4, shows_end=False)
    which = np.flatnonzero(has_ended)
    version(which, ended[which] + 0.6, shows_end=True)
    world.landing.dirt.append(
        {
            "channel": "subscriptions",
            "file": "*",
            "kind": "record_versions",
            "n_rows": len(every) + len(which),
            "n_rejected": 0,
            "n_superseded": len(which),
            "status": "loaded",
        }
    )


def _payments(
    world: World,
    persons: Indices,
    numbers: pl.Series,
    started: Floats,
    ended: Floats,
    first_unpaid: Floats,
    by_invoice: Flags,
    fees: Floats,
    chance: Floats,
    rng: np.random.Generator,
) -> None:
    """A due each month of contract inside the window; paid in time, late, or not at all."""
    p, window = SUBSCRIPTIONS, world.window
    first = np.maximum(np.ceil(-started / MONTH_DAYS), 0).astype(np.int64)
    last = np.floor((np.minimum(ended, window.days) - started - 0.01) / MONTH_DAYS).astype(np.int64)
    count = np.maximum(last - first + 1, 0)
    row = np.repeat(np.arange(len(persons)), count)
    ordinal = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
    due = np.floor(started[row] + ordinal * MONTH_DAYS)
    is_unpaid = due >= first_unpaid[row] - 0.5
    score = world.latent.payment_score[persons[row]]
    late = rng.random(len(row)) < _logistic(p.late_intercept + p.late_per_score * score)
    paid = due + np.where(late, 3 + rng.exponential(9.0, len(row)), rng.integers(0, 2, len(row)))
    is_known = ~is_unpaid & (paid < window.days)
    frame = pl.DataFrame(
        {
            "invoice_no": world.numbers("INV", len(row)),
            "billing_no": world.handles.pick("billing", persons[row], rng, name="billing_no"),
            "subscription_no": numbers.gather(row),
            "due_on": window.dates(due, "due_on"),
            "paid_on": window.dates(np.where(is_known, paid, np.nan), "paid_on"),
            "amount": fees[row],
            "method": gather(("autopay", "invoice"), by_invoice[row].astype(np.int64)),
        }
    )
    world.write("payments", frame, due)
    n_unpaid = np.bincount(row[is_unpaid], minlength=len(persons))
    world.know(
        "payment_defaults",
        pl.DataFrame(
            {
                "subscription_no": numbers,
                "person_id": persons,
                "probability": chance,
                "is_default": n_unpaid > 0,
                "first_unpaid_due_on": window.dates(
                    np.where(n_unpaid > 0, np.floor(first_unpaid), np.nan), "first_unpaid_due_on"
                ),
                "n_unpaid": n_unpaid,
                "exposure": (n_unpaid * fees).round(2),
            }
        ),
    )
