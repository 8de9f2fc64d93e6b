"""Campaigns with arms drawn at random, newsletters, and how people respond.

Belongs here: who is contacted, potential outcomes under every arm, opens and clicks by hour, conversions. Does not belong here: what is
in the order that follows (`purchases.py`), responses to the pipeline's own plan (`respond.py`, which uses the same functions).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.simulate.latent import CONTACT_CHANNELS, Latent
from cx_pipeline.simulate.parameters import CAMPAIGNS, RATES, Arm, Campaign
from cx_pipeline.simulate.purchases import CAMPAIGN, Orders, Written, make_orders
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, weighted_indices
from cx_pipeline.simulate.world import World, gather

_OPEN, _CLICK = 0.28, 0.22
_PREFERRED, _OTHER = 1.5, 0.85
_HOUR_WIDTH = 2.5
_MAX_CHANCE = 0.6


@dataclass
class Assignments:
    """Everyone a campaign was assigned to, one element each, over all campaigns.

    Attributes:
        campaign, arm: names by code: index into CAMPAIGNS and its arms.
        person, sent_at: who and when.
        converts_at: time of the order the campaign's own process leads to; NaN for none.
    """

    campaign: Indices
    arm: Indices
    person: Indices
    sent_at: Floats
    converts_at: Floats


def chance_without(latent: Latent, persons: Indices, at: Floats, base_rate: float) -> Floats:
    """P(order of the campaign's own process) of persons who are not contacted: 0 for those who never buy or have left."""
    buys = (latent.rate[persons] > 0) & (latent.alive_until[persons] > at) & ~latent.is_scripted[persons]
    return np.where(buys, np.minimum(base_rate * latent.base_response[persons], _MAX_CHANCE), 0.0)


def chance_with(latent: Latent, persons: Indices, without: Floats, arm: Arm) -> Floats:
    """P(order) under an arm: plus its effect, stronger through the preferred channel, by promo sensitivity where the arm says so."""
    if arm.effect == 0:
        return without
    own = CONTACT_CHANNELS.index(arm.channel)
    scale = np.where(latent.contact_channel[persons] == own, _PREFERRED, _OTHER)
    if arm.scales_with_promo:
        scale = scale * latent.promo_sensitivity[persons]
    moved: Floats = np.clip(without + arm.effect * scale, 0.0, _MAX_CHANCE)
    return np.where(without > 0, moved, 0.0)


def hour_factor(latent: Latent, persons: Indices, at: Floats) -> Floats:
    """Factor on opening a message sent at an hour: 0.4 far from the person's best hour, 1.6 at it."""
    distance = np.abs((at % 1) * 24 - latent.best_hour[persons])
    distance = np.minimum(distance, 24 - distance)
    result: Floats = 0.4 + 1.2 * np.exp(-(distance**2) / (2 * _HOUR_WIDTH**2))
    return result


def run_campaigns(world: World) -> tuple[Assignments, Orders]:
    """Assign and send all campaigns, and draw who orders. Truth: campaign_outcomes, campaign_effects."""
    parts = [
        _run_campaign(world, code, campaign)
        for code, campaign in enumerate(CAMPAIGNS)
        if campaign.days_before_end <= world.window.days
    ]
    empty = np.zeros(0, dtype=np.int64)
    assigned = Assignments(
        *(
            np.concatenate([getattr(part, name) for part in parts] or [empty])
            for name in ("campaign", "arm", "person", "sent_at", "converts_at")
        )
    )
    who = np.flatnonzero(np.isfinite(assigned.converts_at) & (assigned.converts_at < world.window.days))
    persons = assigned.person[who]
    is_online = world.rng("campaigns.side").random(len(who)) >= world.latent.offline_share[persons]
    return assigned, make_orders(persons, assigned.converts_at[who], is_online, CAMPAIGN, reference=who)


def _run_campaign(world: World, code: int, campaign: Campaign) -> Assignments:
    latent, rng = world.latent, world.rng(f"campaigns.{campaign.name}")
    day = float(world.window.days - campaign.days_before_end)
    uses = {arm.channel for arm in campaign.arms}
    reachable = (latent.active_from < day) & ~latent.is_prospect
    for channel, flags in (("email", latent.reach.email), ("direct_mail", latent.reach.crm)):
        if channel in uses:
            reachable &= flags
    persons = np.flatnonzero(reachable & (rng.random(latent.n) < campaign.audience_share))
    arm = weighted_indices(rng, [a.share for a in campaign.arms], len(persons))
    sent_at = day + rng.integers(6, 22, len(persons)) / 24 + rng.random(len(persons)) / 48
    without = chance_without(latent, persons, sent_at, campaign.base_rate)
    chances = np.stack([chance_with(latent, persons, without, a) for a in campaign.arms])
    luck = rng.random(len(persons))
    own = chances[arm, np.arange(len(persons))]
    converts = luck < own
    delay = rng.exponential(campaign.window_days / 4, len(persons)) % campaign.window_days
    converts_at = np.where(converts, sent_at + 0.05 + delay, np.nan)
    _know_campaign(world, campaign, persons, arm, without, chances, luck < without, converts)
    for channel in sorted(uses):
        codes = [i for i, a in enumerate(campaign.arms) if a.channel == channel]
        chosen = np.flatnonzero(np.isin(arm, codes))
        _send(world, campaign, channel, persons[chosen], arm[chosen], sent_at[chosen], converts[chosen], rng)
    return Assignments(np.full(len(persons), code), arm, persons, sent_at, converts_at)


def _know_campaign(
    world: World,
    campaign: Campaign,
    persons: Indices,
    arm: Indices,
    without: Floats,
    chances: Floats,
    would_anyway: Flags,
    converts: Flags,
) -> None:
    n = len(persons)
    own = chances[arm, np.arange(n)]
    names = [a.name for a in campaign.arms]
    world.know(
        "campaign_outcomes",
        pl.DataFrame(
            {
                "campaign": gather((campaign.name,), np.zeros(n, dtype=np.int64)),
                "person_id": persons,
                "arm": gather(names, arm),
                "p_control": without.astype(np.float32),
                "p_arm": own.astype(np.float32),
                "would_order_anyway": would_anyway,
                "is_converted": converts,
            }
        ),
    )
    world.know(
        "campaign_effects",
        pl.DataFrame(
            {
                "campaign": [campaign.name] * len(names),
                "arm": names,
                "channel": [a.channel for a in campaign.arms],
                "offer": pl.Series([a.offer or None for a in campaign.arms], dtype=pl.String),
                "n_assigned": [int((arm == i).sum()) for i in range(len(names))],
                "n_converted": [int(converts[arm == i].sum()) for i in range(len(names))],
                "p_control": [float(without.mean()) if n else 0.0] * len(names),
                "p_arm": [float(chances[i].mean()) if n else 0.0 for i in range(len(names))],
                "true_effect": [float((chances[i] - without).mean()) if n else 0.0 for i in range(len(names))],
                "is_heterogeneous": [a.scales_with_promo for a in campaign.arms],
            }
        ),
    )


def _send(
    world: World,
    campaign: Campaign,
    channel: str,
    persons: Indices,
    arm: Indices,
    sent_at: Floats,
    converts: Flags,
    rng: np.random.Generator,
) -> None:
    """Contacts of a channel, those of the control arm too (assigned, not sent), and opens and clicks of mails."""
    names, offers = [a.name for a in campaign.arms], [a.offer or "none" for a in campaign.arms]
    is_control = np.array([a.name == "control" for a in campaign.arms])[arm]
    frame = pl.DataFrame(
        {
            "contact_id": world.numbers("E" if channel == "email" else "DM", len(persons)),
            "sent_at": world.window.times(sent_at),
            **addressee(world, channel, persons, rng),
            "campaign": gather((campaign.name,), np.zeros(len(persons), dtype=np.int64)),
            "arm": gather(names, arm),
            "offer": gather(offers, np.where(is_control, -1, arm)),
            "message": gather((campaign.name,), np.where(is_control, -1, 0)),
        }
    )
    world.write(channel, frame, sent_at)
    if channel == "email":
        sent = np.flatnonzero(~is_control)
        open_and_click(
            world, persons[sent], sent_at[sent], converts[sent], campaign.name, gather(names, arm[sent]), rng
        )


def addressee(world: World, channel: str, persons: Indices, rng: np.random.Generator) -> dict[str, pl.Series]:
    """By what a channel of contacts knows people: mailbox, or number in the CRM system."""
    if channel == "email":
        return {"email": world.persons["email"].gather(persons).alias("email")}
    return {"crm_no": world.handles.pick("crm", persons, rng, name="crm_no")}


def open_and_click(
    world: World,
    persons: Indices,
    sent_at: Floats,
    sure: Flags,
    campaign: str | pl.Series,
    arms: pl.Series,
    rng: np.random.Generator,
) -> None:
    """Opens by hour and preference, clicks of some of them; who is sure does both."""
    latent = world.latent
    prefers = latent.contact_channel[persons] == 0
    chance = _OPEN * hour_factor(latent, persons, sent_at) * np.where(prefers, 1.4, 0.9)
    alive = (latent.alive_until[persons] > sent_at) & world.audible("email_responses", persons, sent_at)
    opens = (alive & (rng.random(len(persons)) < chance)) | sure
    clicks = opens & ((rng.random(len(persons)) < _CLICK) | sure)
    open_at = sent_at + rng.exponential(0.08, len(persons)) + 0.001
    for kind, flags, at in (("open", opens, open_at), ("click", clicks, open_at + 0.0007)):
        chosen = np.flatnonzero(flags & (at < world.window.days))
        write_responses(
            world,
            "email_responses",
            persons[chosen],
            at[chosen],
            campaign if isinstance(campaign, str) else campaign.gather(chosen),
            arms.gather(chosen),
            kind,
            None,
            rng,
        )


def write_responses(
    world: World,
    channel: str,
    persons: Indices,
    at: Floats,
    campaign: str | pl.Series,
    arms: pl.Series,
    kind: str,
    value: Floats | None,
    rng: np.random.Generator,
) -> None:
    """Rows of a channel of responses."""
    n = len(persons)
    none = np.zeros(n, dtype=np.int64)
    frame = pl.DataFrame(
        {
            "response_id": world.numbers("ER" if channel == "email_responses" else "DR", n),
            "responded_at": world.window.times(at),
            **addressee(world, "email" if channel == "email_responses" else "direct_mail", persons, rng),
            "campaign": gather((campaign,), none) if isinstance(campaign, str) else campaign,
            "arm": arms,
            "action": gather((kind,), none),
            "value": pl.Series([None] * n, dtype=pl.Float64) if value is None else pl.Series(value),
        }
    )
    world.write(channel, frame, at)


def newsletters(world: World) -> None:
    """Newsletters without arms."""
    rng = world.rng("campaigns.newsletters")
    weights = world.latent.reach.email & ~world.latent.is_prospect
    persons, at = world.poisson_times("campaigns.newsletters.times", RATES.newsletter, weights=weights)
    at = np.floor(at) + rng.integers(6, 22, len(at)) / 24 + rng.random(len(at)) / 48
    keep = (at < world.window.days) & (at >= world.latent.active_from[persons])
    persons, at = persons[keep], at[keep]
    write_newsletters(world, persons, at, np.zeros(len(persons), dtype=bool), "newsletter", rng)


def write_newsletters(
    world: World, persons: Indices, at: Floats, sure: Flags, campaign: str, rng: np.random.Generator
) -> None:
    """Newsletters, their opens and clicks; of whom is sure the click takes place at `at`, the mail a little before."""
    sent_at = np.where(sure, at - 0.1, at)
    n = len(persons)
    frame = pl.DataFrame(
        {
            "contact_id": world.numbers("E", n),
            "sent_at": world.window.times(sent_at),
            **addressee(world, "email", persons, rng),
            "campaign": gather((campaign,), np.zeros(n, dtype=np.int64)),
            "arm": pl.Series([None] * n, dtype=pl.String),
            "offer": pl.Series([None] * n, dtype=pl.String),
            "message": gather((campaign,), np.zeros(n, dtype=np.int64)),
        }
    )
    world.write("email", frame, sent_at)
    arms = pl.Series([None] * n, dtype=pl.String)
    open_and_click(world, persons, sent_at, sure, campaign, arms, rng)


def report_conversions(world: World, assigned: Assignments, written: list[Written]) -> None:
    """The campaign tools' report of orders in the campaigns' windows, control arms included, when all orders are written."""
    rng = world.rng("campaigns.conversions")
    reference, at, amount = (
        np.concatenate([np.zeros(0)] + [part for month in written for part in [_campaign_part(month, name)]])
        for name in ("reference", "at", "amount")
    )
    rows = reference.astype(np.int64)
    for code, campaign in enumerate(CAMPAIGNS):
        for channel in sorted({arm.channel for arm in campaign.arms}):
            arms = [i for i, arm in enumerate(campaign.arms) if arm.channel == channel]
            chosen = np.flatnonzero((assigned.campaign[rows] == code) & np.isin(assigned.arm[rows], arms))
            write_responses(
                world,
                "email_responses" if channel == "email" else "direct_mail_responses",
                assigned.person[rows[chosen]],
                at[chosen],
                campaign.name,
                gather([arm.name for arm in campaign.arms], assigned.arm[rows[chosen]]),
                "convert",
                amount[chosen],
                rng,
            )


def _campaign_part(written: Written, name: str) -> Floats:
    chosen = written.orders.source == CAMPAIGN
    values = written.amount if name == "amount" else getattr(written.orders, name)
    part: Floats = values[chosen].astype(np.float64)
    return part
