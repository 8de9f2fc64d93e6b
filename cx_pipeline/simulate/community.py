"""Communities: what people say in public and among themselves, who helps whom, who brings whom.

Belongs here: mentions, questions and replies, ideas, referrals. Does not belong here: calls and visits (`service.py`).
`other_party` is always an identifier of the same namespace as the row's own.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import RATES
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, weighted_indices
from cx_pipeline.simulate.service import texts_of
from cx_pipeline.simulate.world import World, gather

_HANDLE_SHARE, _MEMBER_SHARE = 0.09, 0.063
_TOPICS = ("delivery", "price", "quality", "service", "product_idea", "store", "app")
_TYPES, _SHARES = ("question", "reply", "thanks", "post", "idea"), (0.3, 0.35, 0.12, 0.17, 0.06)
_OPPOSED = ("satisfied_online_dissatisfied_offline", "dissatisfied_online_satisfied_offline")


def public_mentions(world: World) -> None:
    """Mentions of the company on public networks."""
    latent, rng = world.latent, world.rng("community.mentions")
    weights = latent.reach.handle * latent.sociability * ~latent.follows(*_OPPOSED, "advocate")
    persons, at = world.poisson_times("community.mentions.times", RATES.mentions / _HANDLE_SHARE, weights=weights)
    sentiment = (world.mood(persons, at) + rng.normal(0, 0.35, len(persons))).clip(-1, 1)
    write_mentions(world, persons, at, sentiment, rng)


def write_mentions(world: World, persons: Indices, at: Floats, sentiment: Floats, rng: np.random.Generator) -> None:
    """Rows of public_social, by handle."""
    keep = world.audible("public_social", persons, at) & world.latent.reach.handle[persons]
    persons, at, sentiment = persons[keep], at[keep], sentiment[keep].round(2)
    others = _others(world.latent.reach.handle, persons, rng)
    frame = pl.DataFrame(
        {
            "post_id": world.numbers("PS", len(persons)),
            "posted_at": world.window.times(at),
            "handle": world.handles.pick("social_handle", persons, rng, name="handle"),
            "kind": gather(("mention",), np.zeros(len(persons), dtype=np.int64)),
            "topic": gather(_TOPICS, rng.integers(0, len(_TOPICS), len(persons))),
            "sentiment": sentiment,
            "direction": gather(("inbound",), np.zeros(len(persons), dtype=np.int64)),
            "mentions_handle": world.handles.pick(
                "social_handle", others, rng, name="mentions_handle", keep=rng.random(len(persons)) < 0.2
            ),
            "text": texts_of(sentiment, rng),
        }
    )
    world.hear("public_social", persons, at, sentiment=sentiment)
    world.write("public_social", frame, at)


def _others(among: Flags, persons: Indices, rng: np.random.Generator) -> Indices:
    """Somebody else for each."""
    members = np.flatnonzero(among)
    if not len(members):
        return persons
    found = members[rng.integers(0, len(members), len(persons))]
    return np.where(found == persons, members[0], found)


def private_posts(world: World) -> None:
    """Posts in the company's own community, scripted ones among them. Truth: community_ties (replies and thanks, person to person)."""
    latent, rng = world.latent, world.rng("community.posts")
    weights = latent.reach.member * latent.sociability * ~latent.follows(*_OPPOSED, "advocate")
    persons, at = world.poisson_times("community.posts.times", RATES.community / _MEMBER_SHARE, weights=weights)
    sentiment = (world.mood(persons, at) + 0.1 + rng.normal(0, 0.3, len(persons))).clip(-1, 1)
    kind = weighted_indices(rng, _SHARES, len(persons))
    scripted, scripted_at, scripted_mood = _scripted_posts(world, rng)
    persons, at = np.concatenate([persons, scripted]), np.concatenate([at, scripted_at])
    sentiment = np.concatenate([sentiment, scripted_mood])
    kind = np.concatenate([kind, np.full(len(scripted), _TYPES.index("post"))])
    keep = world.audible("private_community", persons, at) & latent.reach.member[persons]
    persons, at, sentiment, kind = persons[keep], at[keep], sentiment[keep].round(2), kind[keep]
    others = _others(latent.reach.member, persons, rng)
    answers = np.isin(kind, (_TYPES.index("reply"), _TYPES.index("thanks")))
    numbers = world.numbers("PC", len(persons))
    frame = pl.DataFrame(
        {
            "post_id": numbers,
            "posted_at": world.window.times(at),
            "handle": world.handles.pick("social_handle", persons, rng, name="handle"),
            "kind": gather(_TYPES, kind),
            "topic": gather(
                _TOPICS, np.where(kind == _TYPES.index("idea"), 4, rng.integers(0, len(_TOPICS), len(kind)))
            ),
            "sentiment": sentiment,
            "to_handle": world.handles.pick("social_handle", others, rng, name="to_handle", keep=answers),
            "text": texts_of(sentiment, rng),
        }
    )
    world.hear("private_community", persons, at, sentiment=sentiment)
    world.write("private_community", frame, at)
    world.know(
        "community_ties",
        pl.DataFrame(
            {
                "record_id": numbers,
                "person_id": persons,
                "other_person_id": others,
                "kind": gather(_TYPES, kind),
                "at": world.window.times(at),
            }
        ).filter(pl.Series(answers)),
    )


def _scripted_posts(world: World, rng: np.random.Generator) -> tuple[Indices, Floats, Floats]:
    """Posts of the opposed (three in the last 165 days) and of advocates (four in the last 80 days)."""
    latent, days = world.latent, world.window.days
    happy = np.flatnonzero(latent.follows(_OPPOSED[0]))
    unhappy = np.flatnonzero(latent.follows(_OPPOSED[1]))
    advocates = np.flatnonzero(latent.follows("advocate"))
    persons = np.concatenate([np.repeat(happy, 3), np.repeat(unhappy, 3), np.repeat(advocates, 4)])
    at = np.concatenate(
        [days - rng.uniform(10, 165, 3 * (len(happy) + len(unhappy))), days - rng.uniform(2, 80, 4 * len(advocates))]
    )
    mean = np.concatenate(
        [np.full(3 * len(happy), 0.7), np.full(3 * len(unhappy), -0.7), np.full(4 * len(advocates), 0.8)]
    )
    return persons, at, (mean + rng.normal(0, 0.08, len(mean))).clip(-1, 1)


def referrals(world: World) -> None:
    """Who brought whom: a customer who came by referral was brought by one who had joined before. Truth: referrals."""
    latent, rng = world.latent, world.rng("community.referrals")
    joined = world.window.day_numbers(world.persons["joined_at"])
    came = (world.persons["acquisition_source"] == "referral").to_numpy() & (joined > 0)
    referred = np.flatnonzero(came)
    members = np.flatnonzero(latent.reach.online & (latent.rate > 0))
    if not len(referred) or not len(members):
        return
    members = members[np.argsort(joined[members], kind="stable")]
    weight = np.exp(2 * latent.satisfaction[members]) * np.where(latent.follows("advocate")[members], 20.0, 1.0)
    cumulative = np.concatenate([[0.0], np.cumsum(weight)])
    n_before = np.searchsorted(joined[members], joined[referred] - 1, side="left")
    drawn = rng.random(len(referred)) * cumulative[n_before]
    chosen = np.clip(np.searchsorted(cumulative, drawn, side="right") - 1, 0, len(members) - 1)
    has = n_before > 0
    referrer, referred = members[chosen][has], referred[has]
    at = joined[referred] + 0.01
    is_seen = (rng.random(len(referred)) < RATES.referral_link_share) & latent.reach.online[referred]
    is_seen &= world.audible("referral_programme", referrer, at)
    world.know(
        "referrals",
        pl.DataFrame(
            {
                "referrer_id": referrer,
                "referred_id": referred,
                "at": world.window.times(at),
                "is_recorded": is_seen,
            }
        ),
    )
    referrer, referred, at = referrer[is_seen], referred[is_seen], at[is_seen]
    frame = pl.DataFrame(
        {
            "referral_no": world.numbers("RF", len(at)),
            "joined_at": world.window.times(at),
            "account_no": world.handles.pick("account", referrer, rng, name="account_no"),
            "referred_account_no": world.handles.pick("account", referred, rng, name="referred_account_no"),
            "kind": gather(("referral",), np.zeros(len(at), dtype=np.int64)),
            "outcome": gather(("joined",), np.zeros(len(at), dtype=np.int64)),
        }
    )
    world.hear("referral_programme", referrer, at)
    world.write("referral_programme", frame, at)
