"""Surveys: the engagement panel in waves, and short surveys after orders.

Belongs here: latent engagement per wave, its answers, satisfaction asked after orders. Does not belong here: satisfaction itself
(its path is drawn in `company.py`), opinions given unasked (`community.py`, `service.py`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import EMERGING, KNOWN_HEARD_FROM, SURVEYS
from cx_pipeline.simulate.purchases import Written
from cx_pipeline.simulate.randomness import Floats, Indices, weighted_indices
from cx_pipeline.simulate.window import Month
from cx_pipeline.simulate.world import World, gather

EMOTIONAL = (
    "confidence_always_trust",
    "confidence_keeps_promises",
    "integrity_treats_fairly",
    "integrity_fair_resolution",
    "pride_proud_customer",
    "pride_treats_with_respect",
    "passion_perfect_for_me",
    "passion_cannot_imagine_without",
)
RATIONAL = ("overall_satisfaction", "repurchase", "recommend")
LEVELS = ("fully_engaged", "engaged", "not_engaged", "actively_disengaged")
_HEARD_SHARE = 0.4


def levels_of(emotional: Floats, rational: Floats) -> Indices:
    """Index into LEVELS by the cut-offs of SurveyParameters (means of the emotional and of the rational items, 1 to 5)."""
    full_e, full_r = SURVEYS.fully_engaged
    low_e, low_r = SURVEYS.actively_disengaged
    return np.where(
        (emotional < low_e) | (rational < low_r),
        3,
        np.where((emotional >= full_e) & (rational >= full_r), 0, np.where(emotional >= SURVEYS.engaged, 1, 2)),
    )


def engagement_panel(world: World) -> None:
    """Waves of the engagement survey, answered by the panel. Truth: engagement_levels: every customer at every wave after joining."""
    latent, window, rng = world.latent, world.window, world.rng("surveys.panel")
    p = SURVEYS
    n_waves = max(1, (window.days - 20) // p.days_between_waves)
    member = latent.reach.email & (latent.rate > 0) & (rng.random(latent.n) < p.panel_share / 0.9)
    steady = latent.engagement
    state = rng.standard_normal(latent.n)
    for wave in range(n_waves):
        day = window.days - 20.0 - (n_waves - 1 - wave) * p.days_between_waves
        state = p.wave_persistence * state + np.sqrt(1 - p.wave_persistence**2) * rng.standard_normal(latent.n)
        emotional = 0.85 * steady + np.sqrt(1 - 0.85**2) * state
        rational = p.correlation * emotional + np.sqrt(1 - p.correlation**2) * rng.standard_normal(latent.n)
        emotional = (p.emotional_mean + p.emotional_sd * emotional).clip(1, 5)
        rational = (p.rational_mean + p.rational_sd * rational).clip(1, 5)
        here = (latent.active_from < day) & (latent.rate > 0)
        answers = member & here & (rng.random(latent.n) < p.response_rate)
        persons = np.flatnonzero(answers)
        days: Floats = day + rng.integers(0, 10, len(persons)).astype(np.float64)
        at = world.at_own_hours(persons, days, rng)
        _write_panel(world, wave, persons, at, emotional[persons], rational[persons], rng)
        everyone = np.flatnonzero(here)
        world.know(
            "engagement_levels",
            pl.DataFrame(
                {
                    "person_id": everyone,
                    "wave": np.full(len(everyone), wave + 1),
                    "began_on": window.dates(np.full(len(everyone), day), "began_on"),
                    "emotional": emotional[everyone].astype(np.float32),
                    "rational": rational[everyone].astype(np.float32),
                    "level": gather(LEVELS, levels_of(emotional[everyone], rational[everyone])),
                    "is_surveyed": answers[everyone],
                }
            ),
        )


def _write_panel(
    world: World,
    wave: int,
    persons: Indices,
    at: Floats,
    emotional: Floats,
    rational: Floats,
    rng: np.random.Generator,
) -> None:
    """One row per item. The items of a scale are rounded so that their mean stays within 1 / (2 x items) of the latent level."""
    items = (*EMOTIONAL, *RATIONAL)
    scores = np.concatenate([items_of(emotional, len(EMOTIONAL), rng), items_of(rational, len(RATIONAL), rng)], axis=1)
    n = len(persons)
    person = np.repeat(np.arange(n), len(items))
    _write_answers(
        world,
        persons[person],
        at[person],
        "engagement",
        gather(items, np.tile(np.arange(len(items)), n)),
        scores.reshape(-1),
        pl.Series([None] * len(person), dtype=pl.String),
        gather((f"wave_{wave + 1}",), np.zeros(len(person), dtype=np.int64)),
    )


def items_of(level: Floats, n_items: int, rng: np.random.Generator) -> Floats:
    """Whole scores 1 to 5 whose sum is the level times the number of items, rounded; which items score higher is drawn."""
    total = np.rint(level * n_items).astype(np.int64)
    base, extra = total // n_items, total % n_items
    rank = rng.random((len(level), n_items)).argsort(axis=1)
    scores: Floats = (base[:, None] + (rank < extra[:, None])).astype(np.float64)
    return scores


def after_orders(world: World, month: Month, written: Written) -> None:
    """Short surveys after some of a month's orders: satisfaction (1-5), recommendation (0-10), effort (1-7)."""
    latent, rng = world.latent, world.rng(f"surveys.orders.{month.label}")
    orders = written.orders
    own = np.flatnonzero(latent.reach.email[orders.person] & (rng.random(len(orders)) < SURVEYS.transactional_share))
    at = orders.at[own] + rng.uniform(0.5, 4.0, len(own))
    keep = (at < world.window.days) & world.audible("surveys", orders.person[own], at)
    own, at = own[keep], at[keep]
    persons = orders.person[own]
    mood = world.mood(persons, at) + rng.normal(0, 0.3, len(own))
    kind = weighted_indices(rng, (0.45, 0.35, 0.2), len(own))
    scores = np.select(
        [kind == 0, kind == 1],
        [np.rint(3.4 + 1.6 * mood).clip(1, 5), np.rint(7.0 + 3.5 * mood).clip(0, 10)],
        np.rint(4.6 + 2.2 * mood).clip(1, 7),
    )
    heard = _heard_from(world, persons, at, rng)
    for code, (instrument, item) in enumerate((("csat", "order"), ("nps", "recommend"), ("ces", "ease"))):
        chosen = np.flatnonzero(kind == code)
        none = np.zeros(len(chosen), dtype=np.int64)
        _write_answers(
            world, persons[chosen], at[chosen], instrument, gather((item,), none), scores[chosen],
            heard.gather(chosen), pl.Series([None] * len(chosen), dtype=pl.String),
        )  # fmt: skip


def _heard_from(world: World, persons: Indices, at: Floats, rng: np.random.Generator) -> pl.Series:
    """How people came to hear of the company, where they say so."""
    from cx_pipeline.simulate.web import emerging_share, know_source

    names = [name for name, _ in KNOWN_HEARD_FROM]
    code = weighted_indices(rng, [weight for _, weight in KNOWN_HEARD_FROM], len(persons))
    code = np.where(rng.random(len(persons)) < _HEARD_SHARE, code, -1)
    for source in (s for s in EMERGING if s.field == "heard_from"):
        chosen = (code >= 0) & (rng.random(len(persons)) < emerging_share(world, source.name, at))
        names.append(source.name)
        code = np.where(chosen, len(names) - 1, code)
        know_source(world, source.name, "surveys", persons[chosen], at[chosen])
    return gather(names, code, "heard_from")


def _write_answers(
    world: World,
    persons: Indices,
    at: Floats,
    instrument: str,
    items: pl.Series,
    scores: Floats,
    heard_from: pl.Series,
    wave: pl.Series,
) -> None:
    frame = pl.DataFrame(
        {
            "answer_id": world.numbers("SV", len(persons)),
            "answered_at": world.window.times(at),
            "email": world.persons["email"].gather(persons),
            "instrument": gather((instrument,), np.zeros(len(persons), dtype=np.int64)),
            "wave": wave,
            "item": items,
            "score": scores.astype(np.int64),
            "heard_from": heard_from,
        }
    )
    world.write("surveys", frame, at)
