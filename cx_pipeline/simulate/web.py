"""The web shop, the app and what leads there: sessions and carts, journeys of touches before an order, advertisements, television.

Belongs here: anonymous and named behaviour online, which part of it leads to an order, sources nobody has mapped yet. Does not belong
here: what is in an order (`purchases.py`), campaigns with arms (`campaigns.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import CATEGORIES, EMERGING, JOURNEYS, KNOWN_REFERRERS, RATES
from cx_pipeline.simulate.purchases import JOURNEY, RECOVERED, Orders, Written, make_orders
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, weighted_indices
from cx_pipeline.simulate.window import Month
from cx_pipeline.simulate.world import World, first_seen, gather, record_numbers

_MINUTE = 1 / 1440
_TOUCHES = tuple(JOURNEYS.weights)
_DEVICES = ("phone", "desktop", "tablet")
_KINDS = ("order", "abandon", "recover", "browse")
_STEPS: dict[str, tuple[tuple[str, float], ...]] = {
    "order": (("page_view", -7.0), ("add_to_cart", -4.0), ("checkout", 0.0)),
    "abandon": (("page_view", 0.0), ("add_to_cart", 2.0), ("abandon", 30.0)),
    "recover": (("recover", -3.0), ("checkout", 0.0)),
    "browse": (("page_view", 0.0), ("search", 1.5)),
}
_LOGIN, _SEARCHES = 0.6, 0.5
_ANONYMOUS = 0.08
_REFERRED = 0.35


@dataclass(frozen=True)
class Carts:
    """Carts left behind, over the whole window.

    Attributes:
        person, at: who and when.
        number: of the cart.
        is_recovered, recovered_at: whether and when it becomes an order after all.
    """

    person: Indices
    at: Floats
    number: Indices
    is_recovered: Flags
    recovered_at: Floats


def emerging_share(world: World, name: str, at: Floats) -> Floats:
    """Share of a field's rows that come from an emerging source at each time: 0 before its first month, then a straight line."""
    source = next(s for s in EMERGING if s.name == name)
    n_months = len(world.window.months)
    first = n_months - 1 - source.first_month_before_end
    index = world.window.month_index(at)
    result: Floats = np.clip((index - first + 1) / (n_months - first), 0.0, 1.0) * source.share * (index >= first)
    return result


def know_source(world: World, name: str, channel: str, persons: Indices, at: Floats) -> None:
    """Truth: unmapped_sources; persons -1 are strangers."""
    source = next(s for s in EMERGING if s.name == name)
    index = world.window.month_index(at)
    frame = pl.DataFrame({"month": gather([m.label for m in world.window.months], index), "person": persons})
    counted = frame.group_by("month").agg(
        pl.len().cast(pl.Int64).alias("n_events"),
        pl.col("person").filter(pl.col("person") >= 0).n_unique().cast(pl.Int64).alias("n_persons"),
    )
    world.know(
        "unmapped_sources",
        counted.sort("month").select(
            pl.lit(name).alias("source"),
            pl.lit(source.field).alias("field"),
            pl.lit(channel).alias("channel"),
            "month",
            "n_events",
            "n_persons",
        ),
    )


def abandoned_carts(world: World) -> tuple[Carts, Orders]:
    """Carts left behind, and the orders of those that are taken up again. Truth: carts."""
    persons, at = world.poisson_times("web.carts", RATES.abandoned, weights=world.latent.reach.online)
    keep = world.audible("web_shop_events", persons, at)
    persons, at = persons[keep], at[keep]
    rng = world.rng("web.carts.recovery")
    later = at + rng.exponential(1.2, len(at)) + 0.1
    recovered = (rng.random(len(at)) < RATES.recovered) & world.audible("web_shop_events", persons, later)
    recovered &= (world.latent.rate[persons] > 0) & ~world.latent.is_scripted[persons]
    numbers = np.arange(len(persons))
    carts = Carts(persons, at, numbers, recovered, later)
    who = np.flatnonzero(recovered)
    orders = make_orders(persons[who], later[who], np.ones(len(who), dtype=bool), RECOVERED, reference=numbers[who])
    return carts, orders


def journeys(world: World) -> Orders:
    """Sequences of touches; some end in an order. Truth: journeys (one row per touch); also the orders they lead to.

    A touch goes out through the channel that shows it; P(order) follows JourneyParameters.
    """
    latent, window, rng = world.latent, world.window, world.rng("web.journeys")
    weights = (latent.rate > 0) & ~latent.is_scripted & latent.reach.online
    persons, ends = world.poisson_times("web.journeys.times", JOURNEYS.monthly_rate, weights=weights)
    n = len(persons)
    count = 1 + rng.integers(0, JOURNEYS.max_touches, n)
    journey = np.repeat(np.arange(n), count)
    position = np.arange(len(journey)) - np.repeat(np.cumsum(count) - count, count)
    touch = weighted_indices(rng, list(JOURNEYS.shares.values()), len(journey))
    touch = _possible_touch(world, persons[journey], touch)
    gaps = rng.exponential(1.5, len(journey)) + 0.02
    remaining = np.cumsum(gaps[::-1])[::-1]
    after_last = np.concatenate([remaining, [0.0]])[np.cumsum(count)]
    at = ends[journey] - (remaining - after_last[journey])
    inside = at >= latent.active_from[persons[journey]]
    log_misses = np.log1p(-np.array(list(JOURNEYS.weights.values())))[touch] * inside
    chance = -np.expm1(np.bincount(journey, weights=log_misses, minlength=n))
    converts = (rng.random(n) < chance) & (ends < window.days)
    shown = inside & (at < window.days)
    world.know(
        "journeys",
        pl.DataFrame(
            {
                "journey_no": journey[shown],
                "person_id": persons[journey][shown],
                "position": position[shown],
                "touched_at": window.times(at[shown]),
                "touch": gather(_TOUCHES, touch[shown]),
                "is_converted": converts[journey][shown],
                "conversion_at": window.times(np.where(converts, ends, np.nan)[journey][shown]),
            }
        ),
    )
    _show_touches(world, persons[journey][shown], at[shown], touch[shown], rng)
    who = np.flatnonzero(converts)
    is_online = rng.random(len(who)) >= latent.offline_share[persons[who]]
    return make_orders(persons[who], ends[who], is_online, JOURNEY, reference=who)


def journey_weights() -> pl.DataFrame:
    """truth/journey_weights: touch, weight, share."""
    return pl.DataFrame(
        {
            "touch": list(_TOUCHES),
            "weight": list(JOURNEYS.weights.values()),
            "share": [JOURNEYS.shares[touch] for touch in _TOUCHES],
        }
    )


def _possible_touch(world: World, persons: Indices, touch: Indices) -> Indices:
    """The drawn touch where the person can have it, else a search."""
    has = {
        "email": world.latent.reach.email,
        "addressable_tv": world.handles["household"].has,
        "social": world.latent.reach.handle,
        "mobile_app": world.latent.reach.app,
    }
    search = _TOUCHES.index("search")
    for name, flags in has.items():
        touch = np.where((touch == _TOUCHES.index(name)) & ~flags[persons], search, touch)
    return touch


def _show_touches(world: World, persons: Indices, at: Floats, touch: Indices, rng: np.random.Generator) -> None:
    """Write touches where they are seen."""
    from cx_pipeline.simulate.campaigns import write_newsletters
    from cx_pipeline.simulate.community import write_mentions

    def of(*names: str) -> Indices:
        return np.flatnonzero(np.isin(touch, [_TOUCHES.index(name) for name in names]))

    ads = of("display", "search")
    is_search = touch[ads] == _TOUCHES.index("search")
    clicked = is_search | (rng.random(len(ads)) < 0.35)
    write_ads(world, persons[ads], at[ads], is_search, clicked, rng)
    tv = of("addressable_tv")
    write_television(world, persons[tv], at[tv], rng)
    mail = of("email")
    write_newsletters(world, persons[mail], at[mail], np.ones(len(mail), dtype=bool), "newsletter", rng)
    social = of("social")
    write_mentions(world, persons[social], at[social], rng.normal(0.4, 0.2, len(social)).clip(-1, 1), rng)
    app = of("mobile_app")
    write_app(world, persons[app], at[app], np.zeros(len(app), dtype=np.int64), np.full(len(app), np.nan), rng)


def write_ads(
    world: World, persons: Indices, at: Floats, is_search: Flags, clicked: Flags, rng: np.random.Generator
) -> None:
    """Advertisements seen or clicked, by cookie."""
    keep = world.audible("display_search_ads", persons, at)
    persons, at, is_search, clicked = persons[keep], at[keep], is_search[keep], clicked[keep]
    frame = pl.DataFrame(
        {
            "impression_id": world.numbers("A", len(persons)),
            "shown_at": world.window.times(at),
            "cookie": world.handles.pick("cookie", persons, rng, at, name="cookie"),
            "action": gather(("impression", "click"), clicked.astype(np.int64)),
            "direction": gather(("outbound", "inbound"), clicked.astype(np.int64)),
            "network": gather(("display", "search"), is_search.astype(np.int64)),
            "topic": gather([c.name for c in CATEGORIES], _topics(world, persons, rng)),
        }
    )
    world.hear("display_search_ads", persons, at, is_inbound=clicked)
    world.write("display_search_ads", frame, at)


def write_television(world: World, persons: Indices, at: Floats, rng: np.random.Generator) -> None:
    """Spots shown to households."""
    keep = world.audible("addressable_tv", persons, at) & world.handles["household"].has[persons]
    persons, at = persons[keep], at[keep]
    frame = pl.DataFrame(
        {
            "spot_id": world.numbers("V", len(persons)),
            "shown_at": world.window.times(at),
            "household_no": world.handles.pick("household", persons, rng, name="household_no"),
            "spot": gather([f"spot_{i}" for i in range(1, 7)], rng.integers(0, 6, len(persons))),
            "seconds_seen": rng.integers(5, 31, len(persons)),
            "direction": gather(("outbound",), np.zeros(len(persons), dtype=np.int64)),
        }
    )
    world.write("addressable_tv", frame, at)


def advertisements(world: World) -> None:
    """Advertisements and spots that lead nowhere."""
    weights = world.latent.reach.online
    persons, at = world.poisson_times("web.ads", RATES.display, weights=weights)
    rng = world.rng("web.ads.kind")
    is_search = rng.random(len(persons)) < 0.3
    write_ads(world, persons, at, is_search, is_search | (rng.random(len(persons)) < 0.1), rng)
    persons, at = world.poisson_times("web.tv", RATES.tv / 0.35, weights=world.handles["household"].has)
    write_television(world, persons, at, rng)


_APP_TYPES = ("open", "browse", "wish_list", "feedback", "voice_order")
_FEEDBACK = _APP_TYPES.index("feedback")


def app_events(world: World) -> None:
    """Use of the mobile app; now and then with feedback. Truth: unmapped_sources (place)."""
    persons, at = world.poisson_times("web.app", RATES.app / 0.3, weights=world.latent.reach.app)
    rng = world.rng("web.app.kind")
    kind = weighted_indices(rng, (0.55, 0.3, 0.07, 0.08), len(persons))
    sentiment = np.full(len(persons), np.nan)
    said = (kind == _FEEDBACK) & ~world.latent.follows(
        "satisfied_online_dissatisfied_offline", "dissatisfied_online_satisfied_offline"
    )[persons]
    sentiment[said] = (world.mood(persons[said], at[said]) + rng.normal(0, 0.25, int(said.sum()))).clip(-1, 1)
    write_app(world, persons, at, kind, sentiment, rng)


def write_app(
    world: World, persons: Indices, at: Floats, kind: Indices, sentiment: Floats, rng: np.random.Generator
) -> None:
    """Events of the app, by device, and by app account where logged in."""
    keep = world.audible("mobile_app", persons, at) & world.latent.reach.app[persons]
    persons, at, kind, sentiment = persons[keep], at[keep], kind[keep], sentiment[keep]
    spoken = rng.random(len(persons)) < emerging_share(world, "voicemart", at)
    know_source(world, "voicemart", "mobile_app", persons[spoken], at[spoken])
    place = np.where(spoken, 3, rng.integers(0, 3, len(persons)))
    device = world.handles["device"]
    rows = device.choose(persons, rng, at)
    logged_in = first_seen(rows, world.seen("device", len(device.values))) | (rng.random(len(persons)) < 0.5)
    frame = pl.DataFrame(
        {
            "event_id": world.numbers("M", len(persons)),
            "happened_at": world.window.times(at),
            "device": device.text(rows, "device"),
            "app_user": world.handles.pick("app_user", persons, rng, name="app_user", keep=logged_in),
            "action": gather(_APP_TYPES, np.where(spoken, len(_APP_TYPES) - 1, kind)),
            "screen": gather(("home", "catalogue", "account", "voicemart"), place),
            "seconds": rng.integers(5, 400, len(persons)),
            "sentiment": pl.Series(sentiment.round(2)).fill_nan(None),
        }
    )
    world.hear("mobile_app", persons, at, sentiment=sentiment)
    world.write("mobile_app", frame, at)


def _topics(world: World, persons: Indices, rng: np.random.Generator) -> Indices:
    """A category by taste for each event."""
    cumulative = np.cumsum(world.latent.tastes[persons], axis=1)
    found: Indices = (rng.random(len(persons))[:, None] >= cumulative).sum(axis=1).clip(0, len(CATEGORIES) - 1)
    return found


@dataclass(frozen=True)
class _Sessions:
    """Sessions of a month: who (-1: strangers), when, which kind, which cart (-1: none), which order (-1: none)."""

    person: Indices
    at: Floats
    kind: Indices
    cart: Indices
    order: Indices


def web_sessions(world: World, month: Month, written: Written, carts: Carts) -> None:
    """Write a month's sessions in the web shop. Truth: sessions, carts, unmapped_sources (referrer).

    Args:
        world: the company.
        month: the month.
        written: the month's orders: some of those online are seen in a session.
        carts: left behind, of the whole window.
    """
    rng = world.rng(f"web.sessions.{month.label}")
    sessions = _sessions_of(world, month, written, carts, rng)
    n = len(sessions.person)
    is_known = sessions.person >= 0
    who = np.where(is_known, sessions.person, 0)
    cookies = world.handles["cookie"]
    rows = np.where(is_known, cookies.choose(who, rng, sessions.at), -1)
    logged_in = first_seen(rows, world.seen("cookie", len(cookies.values))) | (rng.random(n) < _LOGIN)
    logged_in |= (sessions.kind == 0) | (sessions.kind == 2)
    own = cookies.text(rows, "cookie").fill_null("")
    strangers = record_numbers("cka", rng.integers(0, 10**10, n))
    cookie = pl.Series("cookie", np.where(rows >= 0, own.to_numpy(), strangers.to_numpy()), dtype=pl.String)
    account = world.handles.pick("account", who, rng, name="account_no", keep=logged_in & is_known)
    referrer = _referrers(world, sessions, rng)
    session_numbers = world.numbers("S", n)
    cart_texts = record_numbers("K", np.maximum(sessions.cart, 0))
    topic = _topics(world, who, rng)
    device = rng.integers(0, len(_DEVICES), n)

    steps, offsets, owner = [], [], []
    step_names = sorted({name for kind in _STEPS.values() for name, _ in kind})
    for code, kind in enumerate(_KINDS):
        chosen = np.flatnonzero(sessions.kind == code)
        for i, (name, minutes) in enumerate(_STEPS[kind]):
            taking = chosen if name != "search" else chosen[rng.random(len(chosen)) < _SEARCHES]
            steps.append(np.full(len(taking), step_names.index(name)))
            jitter = 0.0 if minutes == 0 else rng.uniform(-0.5, 0.5, len(taking))
            offsets.append((minutes + jitter) * _MINUTE + np.zeros(len(taking)) + i * 1e-6)
            owner.append(taking)
    session = np.concatenate(owner)
    step = np.concatenate(steps)
    at = sessions.at[session] + np.concatenate(offsets)
    order = np.argsort(at, kind="stable")
    session, step, at = session[order], step[order], at[order]
    has_cart = (sessions.cart[session] >= 0) & np.isin(
        step, [step_names.index(name) for name in ("add_to_cart", "abandon", "recover", "checkout")]
    )
    is_first = np.zeros(len(session), dtype=bool)
    is_first[np.unique(session, return_index=True)[1]] = True
    frame = pl.DataFrame(
        {
            "event_id": world.numbers("W", len(session)),
            "happened_at": world.window.times(at),
            "action": gather(step_names, step),
            "cookie": cookie.gather(session),
            "account_no": account.gather(session),
            "cart_no": _where(cart_texts.gather(session), has_cart),
            "topic": gather([c.name for c in CATEGORIES], topic[session]),
            "device_class": gather(_DEVICES, device[session]),
            "referrer": _where(referrer.gather(session), is_first),
        }
    )
    attributed = is_known[session]
    world.hear("web_shop_events", sessions.person[session][attributed], at[attributed])
    world.write_month("web_shop_events", frame, month)
    world.know(
        "sessions",
        pl.DataFrame(
            {
                "session_id": session_numbers,
                "person_id": sessions.person,
                "began_at": world.window.times(
                    sessions.at + np.array([k[0][1] for k in _STEPS.values()])[sessions.kind] * _MINUTE
                ),
                "kind": gather(_KINDS, sessions.kind),
                "n_events": np.bincount(session, minlength=n),
                "cookie": cookie,
                "is_logged_in": logged_in & is_known,
                "cart_no": _where(cart_texts, sessions.cart >= 0),
            }
        ).with_columns(pl.when(pl.col("person_id") >= 0).then("person_id").alias("person_id")),
    )
    _know_carts(world, sessions, carts, cart_texts, written)


def _where(texts: pl.Series, keep: Flags) -> pl.Series:
    name = texts.name
    return pl.DataFrame({"text": texts, "keep": keep}).select(pl.when("keep").then("text").alias(name))[name]


def _sessions_of(world: World, month: Month, written: Written, carts: Carts, rng: np.random.Generator) -> _Sessions:
    orders = written.orders
    online = np.flatnonzero(orders.is_online)
    is_recovery = orders.source[online] == RECOVERED
    seen = online[is_recovery | (rng.random(len(online)) < RATES.session_per_web_order)]
    is_recovery = orders.source[seen] == RECOVERED
    left = np.flatnonzero((carts.at >= month.begins) & (carts.at < month.ends))
    browsers, browse_at = _browsing(world, month, rng)
    n_left, n_browse = len(left), len(browsers)
    first_cart = world.first_cart
    fresh = first_cart + len(carts.person) + np.cumsum(~is_recovery) - 1
    world.first_cart += int((~is_recovery).sum())
    order_carts = np.where(is_recovery, orders.reference[seen], fresh)
    return _Sessions(
        np.concatenate([orders.person[seen], carts.person[left], browsers]),
        np.concatenate([orders.at[seen], carts.at[left], browse_at]),
        np.concatenate([np.where(is_recovery, 2, 0), np.full(n_left, 1), np.full(n_browse, 3)]),
        np.concatenate([order_carts, carts.number[left], np.full(n_browse, -1)]),
        np.concatenate([seen, np.full(n_left + n_browse, -1)]),
    )


def _browsing(world: World, month: Month, rng: np.random.Generator) -> tuple[Indices, Floats]:
    """Visits that lead to nothing, by people with an account while active, and by strangers (-1)."""
    latent = world.latent
    begins = np.maximum(latent.active_from, month.begins)
    overlap = np.maximum(np.minimum(latent.alive_until, month.ends) - begins, 0.0) * latent.reach.online
    persons = np.repeat(np.arange(latent.n), rng.poisson(overlap / 30 * RATES.browse))
    at = world.at_own_hours(persons, begins[persons] + rng.random(len(persons)) * overlap[persons], rng)
    keep = world.audible("web_shop_events", persons, at)
    n_strangers = rng.poisson(_ANONYMOUS * len(persons))
    strangers_at = month.begins + rng.random(n_strangers) * (month.ends - month.begins)
    return (
        np.concatenate([persons[keep], np.full(n_strangers, -1, dtype=np.int64)]),
        np.concatenate([at[keep], strangers_at]),
    )


def _referrers(world: World, sessions: _Sessions, rng: np.random.Generator) -> pl.Series:
    """Where sessions came from: channels of the company, and more and more sources that it does not know."""
    n = len(sessions.person)
    names = [name for name, _ in KNOWN_REFERRERS]
    code = weighted_indices(rng, [weight for _, weight in KNOWN_REFERRERS], n)
    code = np.where(rng.random(n) < _REFERRED, code, -1)
    for source in (s for s in EMERGING if s.field == "referrer"):
        names.append(source.name)
        chosen = (code >= 0) & (rng.random(n) < emerging_share(world, source.name, sessions.at))
        code = np.where(chosen, len(names) - 1, code)
    for i, name in enumerate(names[len(KNOWN_REFERRERS) :], start=len(KNOWN_REFERRERS)):
        from_there = code == i
        know_source(world, name, "web_shop_events", sessions.person[from_there], sessions.at[from_there])
    return gather(names, code, "referrer")


def _know_carts(world: World, sessions: _Sessions, carts: Carts, texts: pl.Series, written: Written) -> None:
    """Truth: carts: a row for each cart that came into being in the month."""
    new = np.flatnonzero((sessions.kind == 0) | (sessions.kind == 1))
    is_left = sessions.kind[new] == 1
    cart = np.where(is_left, sessions.cart[new], 0)
    recovered = np.zeros(len(new), dtype=bool)
    recovered_at = np.full(len(new), np.nan)
    if len(carts.person):
        recovered = is_left & carts.is_recovered[cart]
        recovered_at = np.where(recovered, carts.recovered_at[cart], np.nan)
    order = np.where(is_left, -1, sessions.order[new])
    world.know(
        "carts",
        pl.DataFrame(
            {
                "cart_no": texts.gather(new),
                "person_id": sessions.person[new],
                "began_at": world.window.times(sessions.at[new]),
                "is_abandoned": is_left,
                "is_recovered": recovered,
                "recovered_on": world.window.dates(recovered_at, "recovered_on"),
                "order_id": written.numbers.gather(pl.Series(order).set(pl.Series(order < 0), None)),
            }
        ),
    )
