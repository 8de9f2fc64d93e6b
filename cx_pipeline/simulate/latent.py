"""Latent types: what every simulated person is like, drawn once, from which all behaviour follows.

Belongs here: drawing types and per-person parameters from `parameters.py`, who follows a script, what a person is worth.
Does not belong here: events (the modules of behaviour), who people are (`population.py`).
All arrays have one element per person, in order of `person_id`; times are day numbers of the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import CATEGORIES, PLANTED, SEGMENTS, SOURCE_QUALITY
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, stream, weighted_indices
from cx_pipeline.simulate.window import Window

CONTRADICTIONS = (
    "active_offline_silent_online",
    "active_online_silent_offline",
    "satisfied_online_dissatisfied_offline",
    "dissatisfied_online_satisfied_offline",
)
SCRIPTS = ("none", *CONTRADICTIONS, "jump", "skip", "steady", "advocate", "silence")
NEVER = np.inf
_MIN_SCRIPT_DAYS = 330
_MANY = 20_000
_MEAN_RETURN = 0.04


@dataclass(frozen=True)
class Reach:
    """By which identifiers a person can be seen at all: without any of a side, nothing happens there.

    Attributes:
        online: has an account of the web shop.
        offline: has a loyalty card or a card token.
        email, crm, app, handle: has one.
        member: of the company's own community, under the handle.
        firm: every record of the person shares undamaged evidence with another one, and no mailbox or identifier is shared: what is
            planted on such people can be found by anyone who reads carefully.
    """

    online: Flags
    offline: Flags
    email: Flags
    crm: Flags
    app: Flags
    handle: Flags
    member: Flags
    firm: Flags


@dataclass(frozen=True)
class Latent:
    """What every person is like. See `truth/README.md` (table latent) for units.

    Attributes:
        segment, source: index into SEGMENTS, into the keys of SOURCE_QUALITY.
        script: index into SCRIPTS.
        active_from, alive_until: day numbers; purchases happen in between only. alive_until may lie after the end.
        rate: orders a day while active; leave_rate: of leaving, a day; spend: factor on list prices; offline_share: of orders.
        tastes: persons x categories, rows sum to 1.
        best_hour: 0-24; satisfaction: mean of the path (-1..1); engagement: standard normal, moves rate, sentiment and surveys.
        promo_sensitivity, base_response: factors with mean about 1; payment_score: standard normal, higher pays worse.
        lead_quality: P(won) of the person's opportunity; sociability: factor on community events.
        contact_channel: index into CONTACT_CHANNELS.
        falls_silent_at: when a script ends; infinite for most.
        muted_online_from, muted_offline_from: from then on nothing comes from that side; infinite for most.
        is_prospect: never buys.
    """

    segment: Indices
    source: Indices
    script: Indices
    active_from: Floats
    alive_until: Floats
    rate: Floats
    leave_rate: Floats
    spend: Floats
    offline_share: Floats
    tastes: Floats
    best_hour: Floats
    satisfaction: Floats
    engagement: Floats
    promo_sensitivity: Floats
    base_response: Floats
    payment_score: Floats
    sociability: Floats
    contact_channel: Indices
    falls_silent_at: Floats
    muted_online_from: Floats
    muted_offline_from: Floats
    is_prospect: Flags
    reach: Reach

    @property
    def n(self) -> int:
        """Number of persons."""
        return len(self.segment)

    def follows(self, *scripts: str) -> Flags:
        """Who follows one of these scripts."""
        result: Flags = np.isin(self.script, [SCRIPTS.index(name) for name in scripts])
        return result

    @property
    def is_scripted(self) -> Flags:
        """Who follows any script: their orders are the script's alone."""
        result: Flags = self.script > 0
        return result

    def is_audible(self, persons: Indices, at: Floats, *, is_online: bool) -> Flags:
        """Whether something of these persons at these times still comes from that side."""
        muted = self.muted_online_from if is_online else self.muted_offline_from
        result: Flags = at < muted[persons]
        return result


CONTACT_CHANNELS = ("email", "direct_mail", "mobile_app", "call_centre")
SOURCES = tuple(SOURCE_QUALITY)


def draw_latent(persons: pl.DataFrame, reach: Reach, window: Window, seed: int) -> Latent:
    """Draw every person's type and parameters.

    Args:
        persons: one row per person in order of person_id: joined_at, is_prospect, acquisition_source.
        reach: by what they can be seen.
        window: the simulated span.
        seed: of the company.
    """
    n = persons.height
    rng = stream(seed, "latent")
    segment = weighted_indices(rng, [s.share for s in SEGMENTS], n)
    source = _codes(persons["acquisition_source"], SOURCES)
    quality = np.array(list(SOURCE_QUALITY.values()))
    engagement = rng.standard_normal(n)
    joined = window.day_numbers(persons["joined_at"])
    is_prospect = persons["is_prospect"].to_numpy()

    shape = _of_segment("rate_shape", segment)
    rate = _of_segment("monthly_rate", segment) / 30 * rng.gamma(shape) / shape
    rate *= quality[source, 0] * np.exp(0.25 * engagement - 0.25**2 / 2)
    life_shape = _of_segment("life_shape", segment)
    leave_rate = rng.gamma(life_shape) / (life_shape - 1).clip(0.5) / _of_segment("mean_life_days", segment)
    leave_rate = leave_rate / quality[source, 1] * np.exp(-0.2 * engagement)
    active_from = np.maximum(joined, 0.0)
    alive_until = active_from + rng.exponential(1.0, n) / leave_rate
    was_gone = (joined < -60) & (rng.random(n) < 0.08)
    alive_until = np.where(was_gone, active_from, alive_until)

    offline = rng.beta(4 * _of_segment("offline_share", segment), 4 * (1 - _of_segment("offline_share", segment)))
    offline = np.where(reach.online, np.where(reach.offline, offline, 0.0), 1.0)
    never_buys = is_prospect | ~(reach.online | reach.offline)
    script = _assign_scripts(joined, never_buys, reach, window, stream(seed, "latent.scripts"))
    prior = np.array([[s.tastes.get(c.name, 0.3) for c in CATEGORIES] for s in SEGMENTS])
    gammas = rng.standard_gamma(prior[segment]) + 1e-9
    silent_at = _falls_silent_at(script, active_from, window, stream(seed, "latent.silent"))
    muted_online, muted_offline = _mutes(script, silent_at, window, stream(seed, "latent.mutes"))
    sensitivity = _of_segment("promo_sensitivity", segment)
    return Latent(
        segment=segment,
        source=source,
        script=script,
        active_from=active_from,
        alive_until=np.where(script > 0, silent_at, alive_until),
        rate=np.where(never_buys, 0.0, rate),
        leave_rate=leave_rate,
        spend=_of_segment("spend", segment) * rng.gamma(6.0, 1 / 6.0, n),
        offline_share=offline,
        tastes=gammas / gammas.sum(axis=1, keepdims=True),
        best_hour=(_of_segment("best_hour", segment) + rng.normal(0, 1.5, n)).clip(6.5, 22.5),
        satisfaction=(_of_segment("satisfaction", segment) + 0.25 * engagement + rng.normal(0, 0.15, n)).clip(
            -0.9, 0.9
        ),
        engagement=engagement,
        promo_sensitivity=sensitivity / sensitivity.mean() if n else sensitivity,
        base_response=rng.gamma(2.0, 0.5, n),
        payment_score=rng.standard_normal(n),
        sociability=rng.gamma(0.5, 2.0, n),
        contact_channel=_contact_channels(segment, rng),
        falls_silent_at=silent_at,
        muted_online_from=muted_online,
        muted_offline_from=muted_offline,
        is_prospect=is_prospect,
        reach=reach,
    )


def _of_segment(name: str, segment: Indices) -> Floats:
    values: Floats = np.array([getattr(s, name) for s in SEGMENTS], dtype=np.float64)[segment]
    return values


def _codes(values: pl.Series, names: tuple[str, ...]) -> Indices:
    codes = values.replace_strict(list(names), list(range(len(names))), default=0, return_dtype=pl.Int64)
    return codes.to_numpy()


def _contact_channels(segment: Indices, rng: np.random.Generator) -> Indices:
    """The segment's own with probability 0.6, else any."""
    own = np.array([CONTACT_CHANNELS.index(s.contact_channel) for s in SEGMENTS])[segment]
    return np.where(rng.random(len(segment)) < 0.6, own, rng.integers(0, len(CONTACT_CHANNELS), len(segment)))


def _assign_scripts(
    joined: Floats, never_buys: Flags, reach: Reach, window: Window, rng: np.random.Generator
) -> Indices:
    """Draw disjoint groups of customers for the scripts among those who can be seen on both sides.

    Scripts of contradictions want customers with some history; scripts of lifecycles want customers who joined inside the window and
    early enough.
    """
    n = len(joined)
    script = np.zeros(n, dtype=np.int64)
    fit = ~never_buys & reach.online & reach.offline & reach.email & reach.crm & reach.firm
    latest = window.days - _MIN_SCRIPT_DAYS
    # Members of the community are rare: scripts that need them choose first.
    shares = {"advocate": PLANTED.advocate} | dict.fromkeys(reversed(CONTRADICTIONS[2:]), PLANTED.contradiction)
    shares |= dict.fromkeys(CONTRADICTIONS[:2], PLANTED.contradiction)
    shares |= {name: getattr(PLANTED, name) for name in ("jump", "skip", "steady", "silence")}
    for name, share in shares.items():
        is_lifecycle = name in ("jump", "skip", "steady", "advocate")
        wanted = max(PLANTED.at_least, round(share * n))
        # A company whose window is too short for a script does without it.
        early = (joined >= 0) & (joined < latest) if is_lifecycle else joined < window.days - 260
        free = np.flatnonzero(fit & early & (script == 0))
        if name in CONTRADICTIONS[2:] or name == "advocate":
            free = free[reach.member[free]]
        taken = rng.permutation(free)[: min(wanted, len(free) // 2 if n > _MANY else len(free) // 3 + 1)]
        script[taken] = SCRIPTS.index(name)
    return script


def _falls_silent_at(script: Indices, active_from: Floats, window: Window, rng: np.random.Generator) -> Floats:
    """When scripted customers fall silent on both sides: after 7 to 10 loyal months, or 75 to 140 days before the end."""
    n = len(script)
    jump = np.minimum(active_from + rng.uniform(212, 303, n), window.days - 75)
    silence = window.days - rng.uniform(75, 140, n)
    found = np.full(n, NEVER)
    found = np.where(script == SCRIPTS.index("jump"), jump, found)
    return np.where(script == SCRIPTS.index("silence"), silence, found)


def _mutes(script: Indices, silent_at: Floats, window: Window, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """From when on scripted customers are silent online and offline."""
    n = len(script)
    one_sided = window.days - PLANTED.active_days - rng.uniform(5, 40, n)
    # The day of the last event counts in full.
    silent_from = np.floor(silent_at) + 1
    online = np.where(script == SCRIPTS.index(CONTRADICTIONS[0]), one_sided, silent_from)
    offline = np.where(script == SCRIPTS.index(CONTRADICTIONS[1]), one_sided, silent_from)
    return online, offline


def latent_table(
    persons: pl.DataFrame, latent: Latent, window: Window, mean_order: Floats, margin: Floats
) -> pl.DataFrame:
    """truth/latent: one row per person.

    Args:
        persons: person_id in order.
        latent: what they are like.
        window: the simulated span.
        mean_order: expected money of an order at spend 1, per person.
        margin: expected margin share of an order, per person.
    """
    is_alive = (latent.alive_until > window.days) & (latent.rate > 0)
    expected = {
        horizon: np.where(is_alive, latent.rate * -np.expm1(-latent.leave_rate * horizon) / latent.leave_rate, 0.0)
        for horizon in (91, 182, 365)
    }
    order = mean_order * latent.spend
    columns: dict[str, object] = {
        "person_id": persons["person_id"],
        "segment": pl.Series([s.name for s in SEGMENTS]).gather(latent.segment),
        "script": pl.Series(SCRIPTS).gather(latent.script),
        "active_from": window.times(latent.active_from),
        "alive_until": window.times(np.where(latent.alive_until > window.days * 20, np.inf, latent.alive_until)),
        "is_alive_at_end": is_alive,
        "orders_per_30_days": latent.rate * 30,
        "leave_rate_per_30_days": latent.leave_rate * 30,
        "spend_factor": latent.spend,
        "mean_order_amount": order,
        "offline_share": latent.offline_share,
        "best_hour": latent.best_hour,
        "preferred_contact_channel": pl.Series(CONTACT_CHANNELS).gather(latent.contact_channel),
        "satisfaction_mean": latent.satisfaction,
        "engagement": latent.engagement,
        "promo_sensitivity": latent.promo_sensitivity,
        "base_response": latent.base_response,
        "payment_score": latent.payment_score,
        "sociability": latent.sociability,
        **{f"expected_orders_{h}d": expected[h] for h in expected},
        **{f"expected_revenue_{h}d": expected[h] * order * (1 - 2 * _MEAN_RETURN / 2) for h in expected},
        "expected_margin_182d": expected[182] * order * margin,
        **{f"taste_{c.name}": latent.tastes[:, i] for i, c in enumerate(CATEGORIES)},
    }
    return pl.DataFrame(columns)
