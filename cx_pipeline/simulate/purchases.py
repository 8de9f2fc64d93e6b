"""Purchases: when people order, what, where, for how much, and what they give back.

Belongs here: the purchase process (gamma-distributed rates, exponential lifetimes, seasons, weekdays), regular re-buying of a category,
scripted orders, baskets, returns, products. Does not belong here: what leads to an order on the web (`web.py`), campaigns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from cx_pipeline.simulate.latent import CONTRADICTIONS, Latent
from cx_pipeline.simulate.parameters import CATEGORIES, PRODUCTS_PER_CATEGORY, RATES, SEGMENTS
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, stream
from cx_pipeline.simulate.window import Month
from cx_pipeline.simulate.world import World, first_seen, gather

SOURCES = ("process", "first", "rebuy", "script", "campaign", "journey", "recovered_cart")
_PROCESS, _FIRST, _REBUY, _SCRIPT, CAMPAIGN, JOURNEY, RECOVERED = range(7)
_REBUY_SHARE, _REBUY_SHAPE = 0.05, 25.0
_STORES = tuple(f"store_{i:02d}" for i in range(1, 25))
_METHODS = ("card", "wallet", "invoice", "bank_transfer")
_NOVEMBER, _JANUARY = 0.35, 0.85
_DISCOUNT_SHARE, _DISCOUNT = 0.25, 0.12
_OPENS, _CLOSES = 8.5, 20.9
_WALK_IN_SHARE = 0.04


@dataclass(frozen=True)
class Orders:
    """A batch of orders, one element each.

    Attributes:
        person, at: who and when.
        is_online: in the web shop, else in a store.
        source: index into SOURCES.
        category: of the first line where it is given; -1 else.
        reference: number of what led to it (journey, cart, contact); -1 for none.
    """

    person: Indices
    at: Floats
    is_online: Flags
    source: Indices
    category: Indices
    reference: Indices

    def __len__(self) -> int:
        return len(self.person)

    def take(self, keep: Flags | Indices) -> Orders:
        """The chosen ones."""
        return Orders(
            self.person[keep],
            self.at[keep],
            self.is_online[keep],
            self.source[keep],
            self.category[keep],
            self.reference[keep],
        )


def make_orders(
    person: Indices,
    at: Floats,
    is_online: Flags,
    source: int,
    category: Indices | None = None,
    reference: Indices | None = None,
) -> Orders:
    """Orders of one source."""
    n = len(person)
    none = np.full(n, -1, dtype=np.int64)
    return Orders(
        person,
        at,
        is_online,
        np.full(n, source, dtype=np.int64),
        none if category is None else category,
        none if reference is None else reference,
    )


def join_orders(batches: list[Orders]) -> Orders:
    """Several batches as one."""
    return Orders(
        *(
            np.concatenate([getattr(batch, name) for batch in batches])
            for name in ("person", "at", "is_online", "source", "category", "reference")
        )
    )


def products(seed: int) -> pl.DataFrame:
    """The catalogue: product_id, category, name, list_price, margin_rate, updated_at is the caller's. Cheapest first in a category."""
    rng = stream(seed, "products")
    n = PRODUCTS_PER_CATEGORY
    rows = []
    for i, category in enumerate(CATEGORIES):
        prices = np.sort(category.price * np.exp(rng.normal(0, 0.55, n))).round(2)
        rows.append(
            pl.DataFrame(
                {
                    "product_id": [f"P{i:02d}{k:02d}" for k in range(n)],
                    "category": [category.name] * n,
                    "name": [f"{category.name} {k + 1}" for k in range(n)],
                    "list_price": prices,
                    "margin_rate": (category.margin_rate + rng.normal(0, 0.03, n)).clip(0.05, 0.8).round(3),
                }
            )
        )
    return pl.concat(rows)


def _choose_side(latent: Latent, persons: Indices, rng: np.random.Generator) -> Flags:
    result: Flags = rng.random(len(persons)) >= latent.offline_share[persons]
    return result


def _season(month: Month, segment: Indices) -> Floats:
    december = np.array([s.december for s in SEGMENTS])[segment]
    factors = {12: december, 11: 1 + _NOVEMBER * (december - 1), 1: np.full(len(segment), _JANUARY)}
    result: Floats = factors.get(month.number, np.ones(len(segment)))
    return result


def process_orders(world: World, month: Month) -> Orders:
    """Orders of the purchase process in a month: Poisson while active, thinned by season and weekday."""
    latent, rng = world.latent, world.rng(f"orders.{month.label}")
    begins = np.maximum(latent.active_from, month.begins)
    overlap = np.maximum(np.minimum(latent.alive_until, month.ends) - begins, 0.0)
    overlap[latent.is_scripted] = 0.0
    days = np.array([RATES.store_days, RATES.web_days])
    highest = days.max()
    n_orders = rng.poisson(latent.rate * overlap * _season(month, latent.segment) * highest)
    persons = np.repeat(np.arange(latent.n), n_orders)
    at = begins[persons] + rng.random(len(persons)) * overlap[persons]
    is_online = _choose_side(latent, persons, rng)
    kept = rng.random(len(persons)) * highest < days[is_online.astype(np.int64), world.window.weekdays(at)]
    return make_orders(persons[kept], at[kept], is_online[kept], _PROCESS)


def first_orders(world: World) -> Orders:
    """The order with which a customer who joins inside the window begins."""
    latent, rng = world.latent, world.rng("orders.first")
    persons = np.flatnonzero((latent.rate > 0) & (latent.active_from > 0) & ~latent.is_scripted)
    at = latent.active_from[persons] + rng.exponential(0.3, len(persons))
    return make_orders(persons, at, _choose_side(latent, persons, rng), _FIRST)


def _renewals(
    persons: Indices, first: Floats, mean: Floats, ends: Floats, shape: float, rng: np.random.Generator
) -> tuple[Indices, Floats, Indices]:
    """Renewal processes with gamma gaps: index into persons, time, ordinal."""
    if not len(persons):
        return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64)
    longest = int(np.ceil(((ends - first).clip(0) / mean).max() * 1.3)) + 6
    gaps = rng.gamma(shape, 1 / shape, (len(persons), longest)) * mean[:, None]
    times = first[:, None] + np.cumsum(gaps, axis=1) - gaps
    row, ordinal = np.nonzero(times < ends[:, None])
    return row, times[row, ordinal], ordinal


def rebuy_orders(world: World) -> Orders:
    """Regular re-buying of a category by some customers; of those who follow the script `silence` it stops.

    Truth: buying_windows, silences.
    """
    latent, window, rng = world.latent, world.window, world.rng("orders.rebuy")
    silent = latent.follows("silence")
    joins = (rng.random(latent.n) < _REBUY_SHARE) & (latent.rate > 0) & ~latent.is_scripted | silent
    persons = np.flatnonzero(joins)
    windows = np.array([c.window_days for c in CATEGORIES])
    tastes = latent.tastes[persons] * (windows > 0)
    # Silence is only heard against a short rhythm.
    tastes = np.where(silent[persons][:, None], (windows > 0) & (windows <= 21), tastes)
    cumulative = np.cumsum(tastes, axis=1)
    category = (
        (rng.random(len(persons))[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1).clip(0, len(windows) - 1)
    )
    mean = windows[category] * np.exp(rng.normal(0, 0.2, len(persons)))
    first = latent.active_from[persons] + rng.random(len(persons)) * mean
    ends = np.minimum(latent.alive_until[persons], window.days)
    row, at, _ = _renewals(persons, first, mean, ends, _REBUY_SHAPE, rng)
    last = np.full(len(persons), -np.inf)
    np.maximum.at(last, row, at)
    has = np.isfinite(last)
    facts = pl.DataFrame(
        {
            "person_id": persons,
            "category": gather([c.name for c in CATEGORIES], category),
            "mean_interval_days": mean,
            "cv": np.full(len(persons), _REBUY_SHAPE**-0.5),
            "last_bought_at": window.times(np.where(has, last, np.nan)),
            "expected_at": window.times(np.where(has, last + mean, np.nan)),
            "is_silenced": silent[persons],
        }
    ).filter(pl.Series(has))
    world.know("buying_windows", facts)
    overdue = (window.days - last - mean)[has]
    world.know(
        "silences",
        facts.with_columns(pl.Series("overdue_days", overdue)).filter("is_silenced").drop("is_silenced", "cv"),
    )
    owners = persons[row]
    return make_orders(owners, at, _choose_side(latent, owners, rng), _REBUY, category[row])


def script_orders(world: World) -> Orders:
    """Orders of customers who follow a script of contradiction or lifecycle. Truth: lifecycle_paths."""
    latent, window, rng = world.latent, world.window, world.rng("orders.script")
    lifecycle = latent.follows("jump", "skip", "steady", "advocate")
    contrary = latent.follows(*CONTRADICTIONS)
    persons = np.flatnonzero(lifecycle | contrary)
    is_lifecycle = lifecycle[persons]
    first = latent.active_from[persons] + rng.uniform(0.5, 3.0, len(persons))
    mean = np.where(is_lifecycle, 14.0, 12.0)
    stops = np.minimum(latent.falls_silent_at[persons], window.days)
    row, at, ordinal = _renewals(persons, first, mean, stops, 60.0, rng)
    owners = persons[row]
    # Three baskets on the first day: nobody is seen to be only activated.
    skips = latent.follows("skip")[owners] & (ordinal < 3)
    at = np.where(skips, np.floor(first[row]) + 0.45 + 0.06 * ordinal, at)
    alternating = ordinal % 2 == 0
    is_online = np.where(is_lifecycle[row], _choose_side(latent, owners, rng), alternating)
    world.know("lifecycle_paths", _lifecycle_paths(world, persons, row, at, ordinal))
    return make_orders(owners, at, is_online, _SCRIPT)


def _lifecycle_paths(world: World, persons: Indices, row: Indices, at: Floats, ordinal: Indices) -> pl.DataFrame:
    """person_id, at, stage, is_skip, is_jump of those who follow a script of lifecycle.

    acquisition: joined. activation: first order. engagement: third order (90 days hold at least three). loyalty: 150 days after the
    first order, with an order every fortnight. disengaged: 60 days after the last order.
    """
    latent, window = world.latent, world.window
    joined = latent.active_from[persons]
    first, third, last = (np.full(len(persons), np.nan) for _ in range(3))
    first[row[ordinal == 0]] = at[ordinal == 0]
    third[row[ordinal == 2]] = at[ordinal == 2]
    highest = np.full(len(persons), -np.inf)
    np.maximum.at(highest, row, at)
    last = highest
    jumps, skips = latent.follows("jump")[persons], latent.follows("skip")[persons]
    advocates = latent.follows("advocate")[persons]
    member = latent.follows("jump", "skip", "steady", "advocate")[persons]
    stages: list[tuple[str, Floats, Flags, Flags, Flags]] = [
        ("acquisition", joined, member, np.zeros_like(member), np.zeros_like(member)),
        ("activation", first, member & ~skips, np.zeros_like(member), np.zeros_like(member)),
        ("engagement", third, member, skips, np.zeros_like(member)),
        (
            "loyalty",
            first + 150,
            member & (first + 150 < np.where(jumps, last, window.days)),
            np.zeros_like(member),
            np.zeros_like(member),
        ),
        (
            "advocacy",
            np.full(len(persons), window.days - 60.0),
            advocates,
            np.zeros_like(member),
            np.zeros_like(member),
        ),
        ("disengaged", last + 60, jumps, np.zeros_like(member), jumps),
    ]
    frames = [
        pl.DataFrame(
            {
                "person_id": persons[who],
                "script": pl.Series(_script_names(latent, persons[who]), dtype=pl.String),
                "at": window.times(when[who]),
                "stage": pl.Series([stage] * int(who.sum()), dtype=pl.String),
                "is_skip": is_skip[who],
                "is_jump": is_jump[who],
            }
        )
        for stage, when, who, is_skip, is_jump in stages
    ]
    return pl.concat(frames).sort("person_id", "at")


def _script_names(latent: Latent, persons: Indices) -> list[str]:
    from cx_pipeline.simulate.latent import SCRIPTS

    return [SCRIPTS[code] for code in latent.script[persons]]


def expected_order(catalogue: pl.DataFrame, latent: Latent) -> tuple[Floats, Floats]:
    """Expected money of an order at spend 1, and its expected margin share, per person, from tastes."""
    by = catalogue.group_by("category", maintain_order=True).agg(
        pl.col("list_price").mean(), (pl.col("list_price") * pl.col("margin_rate")).mean().alias("margin")
    )
    lines = (1 + RATES.further_lines) * 1.25
    discounted = 1 - _DISCOUNT_SHARE * _DISCOUNT
    price = latent.tastes @ by["list_price"].to_numpy()
    margin = latent.tastes @ by["margin"].to_numpy()
    return lines * price * discounted, (margin - price * (1 - discounted)) / (price * discounted)


@dataclass(frozen=True)
class Written:
    """What was written of a month: the orders with their numbers and totals, in order of time.

    Attributes:
        orders: the orders that took place.
        numbers: their order ids.
        amount, cost: money, per order.
    """

    orders: Orders
    numbers: pl.Series
    amount: Floats
    cost: Floats


def write_orders(
    world: World, orders: Orders, month: Month, catalogue: pl.DataFrame, *, with_returns: bool = True
) -> Written:
    """Write a month's orders with their lines and returns. Truth: purchases (one row per order), returns.

    Args:
        world: the company.
        orders: of this month.
        month: the month.
        catalogue: the products.
        with_returns: whether some lines come back, up to a month later.
    """
    latent, window, rng = world.latent, world.window, world.rng(f"baskets.{month.label}")
    orders = _with_known_cards(world, orders)
    at = _order_times(world, orders, rng)
    reach = np.where(orders.is_online, latent.reach.online[orders.person], latent.reach.offline[orders.person])
    audible = np.where(
        orders.is_online,
        world.audible("web_shop_orders", orders.person, at),
        world.audible("store_till", orders.person, at),
    )
    keep = np.flatnonzero(reach & audible)
    keep = keep[np.argsort(at[keep], kind="stable")]
    orders = orders.take(keep)
    at = at[keep]
    orders = Orders(orders.person, at, orders.is_online, orders.source, orders.category, orders.reference)
    n = len(orders)
    numbers = world.numbers("O", n)

    n_lines = 1 + rng.poisson(RATES.further_lines, n)
    order = np.repeat(np.arange(n), n_lines)
    is_first = np.concatenate([[True], order[1:] != order[:-1]]) if len(order) else np.zeros(0, dtype=bool)
    lines = _draw_lines(world, orders, order, is_first, month, catalogue, rng)
    amount, cost, discount, quantity = (
        _sums(order, lines[name], n) for name in ("amount", "cost", "discount", "quantity")
    )
    returned = rng.random(len(order)) < RATES.return_rate * with_returns
    world.know(
        "purchases",
        pl.DataFrame(
            {
                "order_id": numbers,
                "person_id": orders.person,
                "at": window.times(at),
                "channel": pl.Series(["store_till", "web_shop_orders"]).gather(orders.is_online.astype(np.int64)),
                "source": gather(SOURCES, orders.source),
                "amount": amount,
                "cost": cost,
                "margin": (amount - cost).round(2),
                "n_lines": n_lines,
            }
        ),
    )
    store, web = np.flatnonzero(~orders.is_online), np.flatnonzero(orders.is_online)
    line_online = orders.is_online[order]
    keys = _order_keys(world, orders, rng)
    _write_lines(world, "store_till", "T", orders, numbers, keys, lines, order, np.flatnonzero(~line_online), month)
    _write_lines(world, "web_shop_lines", "L", orders, numbers, keys, lines, order, np.flatnonzero(line_online), month)
    world.write_month(
        "web_shop_orders",
        pl.DataFrame(
            {
                "order_no": numbers.gather(web),
                "ordered_at": window.times(at[web]),
                "account_no": keys["account"].gather(web),
                "card_token": keys["card_token"].gather(web),
                "total": amount[web],
                "discount": discount[web],
                "cost_of_goods": cost[web],
                "pieces": quantity[web].astype(np.int64),
                "payment": gather(_METHODS, keys["method"].gather(web).to_numpy()),
                "returns_order_no": pl.Series([None] * len(web), dtype=pl.String),
            }
        ),
        month,
    )
    ones = np.ones(n, dtype=bool)
    world.tally.add_orders(orders.person[store], at[store], ones[store], is_online=False)
    world.tally.add_orders(orders.person[web], at[web], ones[web], is_online=True)
    _write_returns(world, orders, numbers, keys, lines, order, np.flatnonzero(returned), rng)
    return Written(orders, numbers, amount, cost)


def _order_times(world: World, orders: Orders, rng: np.random.Generator) -> Floats:
    """When orders are placed.

    At the person's hours of the day; what follows a contact, a touch or a cart follows it at once, but in stores while they are open.
    """
    drawn = np.where(
        orders.is_online,
        world.at_own_hours(orders.person, orders.at, rng),
        world.at_own_hours(orders.person, orders.at, rng, _OPENS, _CLOSES),
    )
    hour = (orders.at % 1) * 24
    opening = np.floor(orders.at) + (hour >= _CLOSES) + (_OPENS + rng.random(len(orders))) / 24
    is_closed = ~orders.is_online & ((hour < _OPENS) | (hour >= _CLOSES))
    following = np.where(is_closed, opening, orders.at)
    return np.where(orders.source < CAMPAIGN, drawn, following)


def _sums(order: Indices, values: Floats, n: int) -> Floats:
    """Per order, to the penny."""
    sums: Floats = np.bincount(order, weights=values, minlength=n).astype(np.float64).round(2)
    return sums


def _with_known_cards(world: World, orders: Orders) -> Orders:
    """The same orders in order of time; who has no loyalty card places the first one in the web shop, where the card meets the account."""
    orders = orders.take(np.argsort(orders.at, kind="stable"))
    no_card = ~world.handles["loyalty"].has & world.latent.reach.online
    rows = np.where(no_card[orders.person], orders.person, -1)
    is_first = first_seen(rows, world.seen("web_buyers", world.latent.n))
    return replace(orders, is_online=orders.is_online | is_first)


def walk_ins(world: World, month: Month, written: Written, catalogue: pl.DataFrame) -> None:
    """Baskets of people who show no card and pay cash: rows without any identifier. Truth: purchases, person_id NULL."""
    rng = world.rng(f"walk_ins.{month.label}")
    n = int(rng.poisson(_WALK_IN_SHARE * (~written.orders.is_online).sum()))
    at = np.sort(month.begins + rng.random(n) * (month.ends - month.begins))
    at = np.floor(at) + rng.uniform(_OPENS, _CLOSES, n) / 24
    product = rng.integers(0, catalogue.height, n)
    price = catalogue["list_price"].to_numpy()[product]
    cost = (price * (1 - catalogue["margin_rate"].to_numpy()[product])).round(2)
    none = pl.Series([None] * n, dtype=pl.String)
    numbers = world.numbers("O", n)
    frame = pl.DataFrame(
        {
            "line_id": world.numbers("T", n),
            "order_no": numbers,
            "sold_at": world.window.times(at),
            "product_no": _product_ids().gather(product),
            "category": gather([c.name for c in CATEGORIES], product // PRODUCTS_PER_CATEGORY),
            "pieces": np.ones(n, dtype=np.int64),
            "amount": price,
            "discount": np.zeros(n),
            "cost_of_goods": cost,
            "returns_order_no": none,
            "store": gather(_STORES, rng.integers(0, len(_STORES), n)),
            "loyalty_no": none,
            "card_token": none,
        }
    )
    world.write_month("store_till", frame, month)
    world.know(
        "purchases",
        pl.DataFrame(
            {
                "order_id": numbers,
                "person_id": pl.Series([None] * n, dtype=pl.Int64),
                "at": world.window.times(at),
                "channel": gather(("store_till",), np.zeros(n, dtype=np.int64)),
                "source": gather(("walk_in",), np.zeros(n, dtype=np.int64)),
                "amount": price,
                "cost": cost,
                "margin": (price - cost).round(2),
                "n_lines": np.ones(n, dtype=np.int64),
            }
        ),
    )


def _order_keys(world: World, orders: Orders, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Identifiers that orders carry: the account online; loyalty card and card token in stores, at least one, both at times."""
    persons, handles = orders.person, world.handles
    loyalty, card = handles["loyalty"], handles["card_token"]
    shows = loyalty.has[persons] & ((rng.random(len(orders)) < 0.85) | ~card.has[persons])
    pays = (rng.random(len(orders)) < 0.7) | ~shows
    # Who has no loyalty card pays by card everywhere: so the card leads to the account.
    by_card = card.has[persons] & ((rng.random(len(orders)) < 0.45) | ~loyalty.has[persons])
    method = np.where(by_card, 0, rng.choice(np.array([1, 2, 3]), len(orders), p=[0.55, 0.27, 0.18]))
    return {
        "method": pl.Series(method),
        "account": handles.pick("account", persons, rng),
        "loyalty": loyalty.text(loyalty.choose(persons, rng), "loyalty", shows & ~orders.is_online),
        "card_token": card.text(
            np.where(loyalty.has[persons], card.choose(persons, rng, orders.at), card.first(persons)),
            "card_token",
            np.where(orders.is_online, by_card, pays),
        ),
        "place": gather(
            _STORES, np.where(orders.is_online, -1, (persons * 7 + rng.integers(0, 2, len(orders))) % len(_STORES))
        ),
    }


def _draw_lines(
    world: World,
    orders: Orders,
    order: Indices,
    is_first: Flags,
    month: Month,
    catalogue: pl.DataFrame,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Product, quantity, money of each line: category by taste and season, product by spend, discounts now and then."""
    latent = world.latent
    person = orders.person[order]
    season = np.array([c.season[(month.number % 12) // 3 - 1] for c in CATEGORIES])
    cumulative = np.cumsum(latent.tastes[person] * season, axis=1)
    category = (rng.random(len(order))[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1)
    category = category.clip(0, len(CATEGORIES) - 1)
    given = is_first & (orders.category[order] >= 0)
    category = np.where(given, orders.category[order], category)
    product = category * PRODUCTS_PER_CATEGORY + rng.integers(0, PRODUCTS_PER_CATEGORY, len(order))
    quantity = 1 + rng.poisson(0.25, len(order))
    full = catalogue["list_price"].to_numpy()[product] * latent.spend[person] * quantity
    rate = np.where(rng.random(len(order)) < _DISCOUNT_SHARE * latent.promo_sensitivity[person], _DISCOUNT, 0.0)
    discount = (full * rate).round(2)
    return {
        "product": product,
        "quantity": quantity,
        "discount": discount,
        "amount": (full.round(2) - discount).round(2),
        "cost": (full * (1 - catalogue["margin_rate"].to_numpy()[product])).round(2),
    }


def _write_lines(
    world: World,
    channel: str,
    prefix: str,
    orders: Orders,
    numbers: pl.Series,
    keys: dict[str, pl.Series],
    lines: dict[str, np.ndarray],
    order: Indices,
    rows: Indices,
    month: Month,
    *,
    returns_at: Floats | None = None,
    returns_numbers: pl.Series | None = None,
) -> None:
    """Lines of a channel; with `returns_at` they are lines of returns: negative, with the sale's order id."""
    own = order[rows]
    is_return = returns_at is not None
    sign = -1 if is_return else 1
    at = orders.at[own] if returns_at is None else returns_at
    frame = pl.DataFrame(
        {
            "line_id": world.numbers(prefix, len(rows)),
            "order_no": numbers.gather(own) if returns_numbers is None else returns_numbers,
            "sold_at": world.window.times(at),
            "product_no": _product_ids().gather(lines["product"][rows]),
            "category": gather([c.name for c in CATEGORIES], lines["product"][rows] // PRODUCTS_PER_CATEGORY),
            "pieces": sign * lines["quantity"][rows],
            "amount": sign * lines["amount"][rows],
            "discount": sign * lines["discount"][rows],
            "cost_of_goods": sign * lines["cost"][rows],
            "returns_order_no": numbers.gather(own) if is_return else pl.Series([None] * len(rows), dtype=pl.String),
            **(
                {
                    "store": keys["place"].gather(own),
                    "loyalty_no": keys["loyalty"].gather(own),
                    "card_token": keys["card_token"].gather(own),
                }
                if channel == "store_till"
                else {"account_no": keys["account"].gather(own)}
            ),
        }
    )
    if is_return:
        world.write(channel, frame, at)
    else:
        world.write_month(channel, frame, month)


def _product_ids() -> pl.Series:
    return pl.Series([f"P{i:02d}{k:02d}" for i in range(len(CATEGORIES)) for k in range(PRODUCTS_PER_CATEGORY)])


def _write_returns(
    world: World,
    orders: Orders,
    numbers: pl.Series,
    keys: dict[str, pl.Series],
    lines: dict[str, np.ndarray],
    order: Indices,
    rows: Indices,
    rng: np.random.Generator,
) -> None:
    """Return lines 2 to 30 days after the sale, through the channel of the sale. Truth: returns."""
    own = order[rows]
    at = np.floor(orders.at[own]) + rng.integers(2, 31, len(rows)) + rng.uniform(9, 20, len(rows)) / 24
    online = orders.is_online[own]
    channels = np.where(online, 1, 0)
    keep = np.where(
        online,
        world.audible("web_shop_orders", orders.person[own], at),
        world.audible("store_till", orders.person[own], at),
    ).astype(bool)
    rows, own, at, channels = rows[keep], own[keep], at[keep], channels[keep]
    return_numbers = world.numbers("R", len(rows))
    world.know(
        "returns",
        pl.DataFrame(
            {
                "return_order_id": return_numbers,
                "sale_order_id": numbers.gather(own),
                "person_id": orders.person[own],
                "at": world.window.times(at),
                "channel": pl.Series(["store_till", "web_shop_orders"]).gather(channels),
                "amount": -lines["amount"][rows],
                "cost": -lines["cost"][rows],
                "product_id": _product_ids().gather(lines["product"][rows]),
            }
        ),
    )
    month = world.window.months[0]
    for channel, prefix, code in (("store_till", "T", 0), ("web_shop_lines", "L", 1)):
        chosen = np.flatnonzero(channels == code)
        _write_lines(
            world, channel, prefix, orders, numbers, keys, lines, order, rows[chosen], month,
            returns_at=at[chosen], returns_numbers=return_numbers.gather(chosen),
        )  # fmt: skip
        world.tally.add_orders(
            orders.person[own[chosen]], at[chosen], np.zeros(len(chosen), dtype=bool), is_online=bool(code)
        )
    web = np.flatnonzero(channels == 1)
    world.write(
        "web_shop_orders",
        pl.DataFrame(
            {
                "order_no": return_numbers.gather(web),
                "ordered_at": world.window.times(at[web]),
                "account_no": keys["account"].gather(own[web]),
                "card_token": pl.Series([None] * len(web), dtype=pl.String),
                "total": -lines["amount"][rows[web]],
                "discount": -lines["discount"][rows[web]],
                "cost_of_goods": -lines["cost"][rows[web]],
                "pieces": -lines["quantity"][rows[web]],
                "payment": pl.Series([None] * len(web), dtype=pl.String),
                "returns_order_no": numbers.gather(own[web]),
            }
        ),
        at[web],
    )


def future_purchases(world: World, catalogue: pl.DataFrame) -> pl.DataFrame:
    """truth/future_purchases: what the purchase process does after the end: person_id, n_orders and revenue within 91 and 182 days.

    Only the process: no seasons, no scripts. A person who leaves in between stops.
    """
    latent, rng = world.latent, world.rng("orders.future")
    days = world.window.days
    mean, _ = expected_order(catalogue, latent)
    left = np.where(latent.is_scripted, 0.0, np.maximum(latent.alive_until - days, 0.0))
    counts = {}
    previous, begins = np.zeros(latent.n, dtype=np.int64), 0.0
    for horizon in (91.0, 182.0):
        span = np.minimum(left, horizon) - np.minimum(left, begins)
        previous = previous + rng.poisson(latent.rate * span)
        counts[int(horizon)] = previous
        begins = horizon
    frame = {"person_id": np.arange(latent.n)}
    for horizon, n_orders in counts.items():
        frame[f"n_orders_{horizon}d"] = n_orders
        money = rng.gamma(np.maximum(n_orders, 1) * 1.2) / 1.2 * mean * latent.spend
        frame[f"revenue_{horizon}d"] = np.where(n_orders > 0, money, 0.0).round(2)
    return pl.DataFrame(frame).filter(pl.Series(latent.rate > 0))
