"""The whole company: people, records, behaviour, extracts, truth, in one call.

Belongs here: the order in which the parts are drawn and written. Does not belong here: any of the parts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from cx_pipeline.core.errors import ConfigurationError, Problem
from cx_pipeline.simulate import population as people
from cx_pipeline.simulate.campaigns import newsletters, report_conversions, run_campaigns
from cx_pipeline.simulate.community import private_posts, public_mentions, referrals
from cx_pipeline.simulate.contradictions import SideTally
from cx_pipeline.simulate.handles import index_identifiers
from cx_pipeline.simulate.identifiers import draw_identifiers
from cx_pipeline.simulate.landing import Landing
from cx_pipeline.simulate.latent import SOURCES, Reach, draw_latent, latent_table
from cx_pipeline.simulate.population import draw_population
from cx_pipeline.simulate.purchases import (
    Orders,
    Written,
    expected_order,
    first_orders,
    future_purchases,
    join_orders,
    process_orders,
    products,
    rebuy_orders,
    script_orders,
    walk_ins,
    write_orders,
)
from cx_pipeline.simulate.randomness import Flags, Indices, stream
from cx_pipeline.simulate.records import write_records
from cx_pipeline.simulate.sales import costs, opportunities, products_extract, promises_extract
from cx_pipeline.simulate.service import calls, connected_products, deliveries, hot_spots, visits
from cx_pipeline.simulate.subscriptions import subscriptions
from cx_pipeline.simulate.surveys import after_orders, engagement_panel
from cx_pipeline.simulate.truth import write_readme, write_truth
from cx_pipeline.simulate.web import (
    abandoned_carts,
    advertisements,
    app_events,
    journey_weights,
    journeys,
    web_sessions,
)
from cx_pipeline.simulate.window import Window
from cx_pipeline.simulate.world import World
from cx_pipeline.simulate.writing import write_contracts

SETTINGS = "settings.yaml"
TRUTH = "truth"
SEED_FILE = "company.json"
_NAMESPACES = (
    "crm",
    "loyalty",
    "account",
    "cookie",
    "device",
    "card_token",
    "social_handle",
    "household",
    "app_user",
    "billing",
)
_MOOD_PERSISTENCE, _MOOD_SPREAD = 0.7, 0.22
_DONE_BEFORE_ORDERS = frozenset({"email", "direct_mail", "display_search_ads", "addressable_tv", "mobile_app"})
_WRITTEN_WITH_ORDERS = frozenset({"store_till", "web_shop_orders", "web_shop_lines", "web_shop_events", "deliveries"})
MIN_DAYS, MAX_DAYS = 30, 3_660


def simulate(out: Path, customers: int, days: int, seed: int) -> dict[str, int]:
    """Write a company: contracts, settings, extracts and truth. The same arguments write the same bytes.

    Args:
        out: an empty or new folder, or one that holds a simulated company, which is replaced.
        customers: number of people, at least 1.
        days: length of the window, ending with the fixed last day.
        seed: of the company.

    Returns:
        channel -> rows of behaviour written.

    Raises:
        ConfigurationError: the arguments make no sense, or the folder holds something else.
    """
    _check(customers, days, seed)
    _clear(out)
    population = draw_population(customers, days, seed)
    identifiers = draw_identifiers(population, seed=seed)
    write_contracts(out)
    _write_settings(out)
    facts = write_records(out, population, identifiers, days, seed)
    for table, frame in facts.items():
        write_truth(out / TRUTH, table, frame)
    world = build_world(out, population.persons, identifiers, facts["records"], days, seed)
    _behave(world)
    _finish(world, out)
    _remember(out, customers, days, seed)
    return {channel: int(counts.sum()) for channel, counts in sorted(world.landing.monthly.items())}


def _check(customers: int, days: int, seed: int) -> None:
    problems = []
    if customers < 1:
        problems.append(Problem("a company has at least one customer", "--customers", example=str(customers)))
    if not MIN_DAYS <= days <= MAX_DAYS:
        problems.append(Problem(f"the window has {MIN_DAYS} to {MAX_DAYS:,} days", "--days", example=str(days)))
    if seed < 0:
        problems.append(Problem("a seed is not negative", "--seed", example=str(seed)))
    if problems:
        raise ConfigurationError(problems)


def is_simulated(out: Path) -> bool:
    """Whether a folder holds a simulated company."""
    return (out / TRUTH / SEED_FILE).is_file()


def _clear(out: Path) -> None:
    """Make room: an earlier simulated company's files go, with what a pipeline made of them left alone; nothing else is touched.

    Raises:
        ConfigurationError: the folder holds something that is no simulated company.
    """
    import shutil

    if out.exists() and not out.is_dir():
        raise ConfigurationError(Problem("there is a file of that name", str(out), remedy="name a folder"))
    if out.is_dir() and any(out.iterdir()):
        if not is_simulated(out):
            raise ConfigurationError(
                Problem(
                    "the folder is not empty and holds no simulated company",
                    str(out),
                    remedy="name a new folder: nothing that is yours is overwritten",
                )
            )
        for name in ("channels", "landing", TRUTH):
            shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)


def _write_settings(out: Path) -> None:
    text = (
        "# A simulated company: see truth/README.md.\n"
        "company:\n"
        f"  time_zone: {people.TIME_ZONE}\n"
        f"  currency: {people.CURRENCY}\n"
        f"  phone_region: {people.PHONE_REGION}\n"
    )
    (out / SETTINGS).write_text(text, encoding="utf-8")


def _remember(out: Path, customers: int, days: int, seed: int) -> None:
    import json

    facts = {"customers": customers, "days": days, "seed": seed, "end": people.END.date().isoformat()}
    (out / TRUTH / SEED_FILE).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def firmly_known(records: pl.DataFrame, identifiers: pl.DataFrame, persons: pl.DataFrame) -> Flags:
    """Who can be found whole: all records linkable, none of them shared with the household, no shared mailbox or identifier.

    Args:
        records: truth: person_id, is_linkable.
        identifiers: person_id, is_shared, is_kiosk, namespace.
        persons: person_id, is_mailbox_shared, in order.
    """
    n = persons.height
    firm = np.zeros(n, dtype=bool)
    own = (
        records.filter(pl.col("person_id").is_not_null())
        .group_by("person_id")
        .agg(pl.col("is_linkable").fill_null(value=False).all())
    )
    firm[own.filter("is_linkable")["person_id"].to_numpy()] = True
    shared = identifiers.filter(pl.col("namespace").is_in(_NAMESPACES)).filter(
        (pl.col("is_shared") & (pl.col("namespace") != "household")) | pl.col("is_kiosk")
    )
    firm[shared["person_id"].to_numpy()] = False
    result: Flags = firm & ~persons["is_mailbox_shared"].fill_null(value=False).to_numpy()
    return result


def _appear_in(records: pl.DataFrame, channel: str, n: int) -> Flags:
    """Who has a record in a channel."""
    found = np.zeros(n, dtype=bool)
    found[records.filter(pl.col("channel") == channel)["person_id"].drop_nulls().to_numpy()] = True
    return found


def build_world(
    out: Path, everyone: pl.DataFrame, identifiers: pl.DataFrame, records: pl.DataFrame, days: int, seed: int
) -> World:
    """The company before anything happens: types drawn, identifiers ready.

    Args:
        out: the data directory.
        everyone: the people: person_id, joined_at, is_prospect, acquisition_source, email, is_mailbox_shared.
        identifiers: theirs.
        records: truth: channel, person_id, is_linkable.
        days: length of the window.
        seed: of the company.
    """
    window = Window(people.END.date(), days)
    persons = everyone.select("person_id", "joined_at", "is_prospect", "acquisition_source", "email")
    handles = index_identifiers(identifiers, persons.height, _NAMESPACES, window)
    account, loyalty, card = (handles[name].has for name in ("account", "loyalty", "card_token"))
    reach = Reach(
        online=account,
        offline=loyalty | (card & account),
        email=persons["email"].is_not_null().to_numpy(),
        crm=handles["crm"].has,
        app=handles["app_user"].has & handles["device"].has,
        handle=handles["social_handle"].has,
        member=handles["social_handle"].has & _appear_in(records, "community_members", persons.height),
        firm=firmly_known(records, identifiers, everyone),
    )
    latent = draw_latent(persons, reach, window, seed)
    rng = stream(seed, "satisfaction")
    state = rng.standard_normal(latent.n, dtype=np.float32)
    moods = np.empty((latent.n, len(window.months)), dtype=np.float32)
    for i in range(len(window.months)):
        fresh = rng.standard_normal(latent.n, dtype=np.float32)
        state = np.float32(_MOOD_PERSISTENCE) * state + np.float32((1 - _MOOD_PERSISTENCE**2) ** 0.5) * fresh
        moods[:, i] = (latent.satisfaction + _MOOD_SPREAD * state).clip(-1, 1)
    landing = Landing(out, seed, latent.n, tuple(month.label for month in window.months))
    return World(seed, window, persons, latent, handles, landing, SideTally(latent.n, days), moods)


def _behave(world: World) -> None:
    """Everything that happens, written as it is drawn."""
    landing, window = world.landing, world.window
    catalogue = products(world.seed)
    carts, cart_orders = abandoned_carts(world)
    assigned, campaign_orders = run_campaigns(world)
    journey_orders = journeys(world)
    fixed = join_orders(
        [first_orders(world), rebuy_orders(world), script_orders(world), campaign_orders, journey_orders, cart_orders]
    )
    advertisements(world)
    app_events(world)
    newsletters(world)
    landing.flush(_DONE_BEFORE_ORDERS)
    fixed_month = window.month_index(fixed.at)
    complaints: list[tuple[Indices, np.ndarray]] = []
    written: list[Written] = []
    for i, month in enumerate(window.months):
        own = fixed.take((fixed_month == i) & (fixed.at < window.days))
        done = write_orders(world, join_orders([process_orders(world, month), own]), month, catalogue)
        walk_ins(world, month, done, catalogue)
        web_sessions(world, month, done, carts)
        complaints.append(deliveries(world, month, done))
        after_orders(world, month, done)
        written.append(_only_campaigns(done))
        landing.flush(_WRITTEN_WITH_ORDERS, month.label)
    report_conversions(world, assigned, written)
    calls(world, (np.concatenate([persons for persons, _ in complaints]), np.concatenate([at for _, at in complaints])))
    visits(world)
    connected_products(world)
    public_mentions(world)
    private_posts(world)
    referrals(world)
    engagement_panel(world)
    subscriptions(world)
    opportunities(world)
    products_extract(world, catalogue)
    promises_extract(world)
    joined = world.window.day_numbers(world.persons["joined_at"])
    inside = joined >= 0
    costs(
        world,
        landing.monthly,
        {
            source: np.bincount(
                window.month_index(joined[inside & (world.latent.source == code)]), minlength=len(window.months)
            ).astype(np.int64)
            for code, source in enumerate(SOURCES)
        },
    )
    landing.flush()
    mean, margin = expected_order(catalogue, world.latent)
    world.know("latent", latent_table(world.persons, world.latent, window, mean, margin))
    world.know("future_purchases", future_purchases(world, catalogue))


def _only_campaigns(written: Written) -> Written:
    """What the campaigns' reports need of a month."""
    from cx_pipeline.simulate.purchases import CAMPAIGN

    keep = np.flatnonzero(written.orders.source == CAMPAIGN)
    orders: Orders = written.orders.take(keep)
    return Written(orders, written.numbers.gather(keep), written.amount[keep], written.cost[keep])


def _finish(world: World, out: Path) -> None:
    """Write the truth of behaviour and its README."""
    world.know("contradictions", world.tally.table(world.latent))
    world.know("hot_spots", hot_spots())
    world.know("journey_weights", journey_weights())
    world.know("dirt", world.landing.dirt_table())
    world.know("satisfaction_paths", _satisfaction_paths(world))
    world.know("source_quality", _source_quality(world))
    world.know("person_margins", _person_margins(world))
    for table in sorted(world.truth):
        write_truth(out / TRUTH, table, pl.concat(world.truth[table]))
    write_readme(out / TRUTH)


def _satisfaction_paths(world: World) -> pl.DataFrame:
    """Wide: one column per month."""
    columns = {month.label: world.satisfaction[:, i] for i, month in enumerate(world.window.months)}
    return pl.DataFrame({"person_id": world.persons["person_id"], **columns})


def _person_margins(world: World) -> pl.DataFrame:
    """person_id, n_orders, revenue, margin over the window: sales less returns."""
    sales = pl.concat(world.truth["purchases"])
    back = pl.concat(world.truth["returns"])
    rows = pl.concat(
        [
            sales.select("person_id", pl.lit(1).alias("n"), "amount", "cost"),
            back.select("person_id", pl.lit(0).alias("n"), "amount", "cost"),
        ]
    )
    return (
        rows.group_by("person_id")
        .agg(
            pl.col("n").sum().cast(pl.Int64).alias("n_orders"),
            (pl.col("amount") * 100).round().cast(pl.Int64).sum().alias("pence"),
            (pl.col("cost") * 100).round().cast(pl.Int64).sum().alias("cost_pence"),
        )
        .select(
            "person_id",
            "n_orders",
            (pl.col("pence") / 100).alias("revenue"),
            ((pl.col("pence") - pl.col("cost_pence")) / 100).alias("margin"),
        )
        .sort("person_id")
    )


def _source_quality(world: World) -> pl.DataFrame:
    """Per acquisition source: parameters and what its people were worth."""
    from cx_pipeline.simulate.parameters import SOURCE_QUALITY

    joined = world.window.day_numbers(world.persons["joined_at"])
    worth = (
        world.truth["latent"][0]
        .select("person_id", "is_alive_at_end", "expected_margin_182d")
        .join(_person_margins(world), on="person_id", how="left", maintain_order="left")
        .with_columns(
            pl.Series("source", [SOURCES[code] for code in world.latent.source]),
            pl.Series("is_new", joined >= 0),
            pl.Series("is_prospect", world.latent.is_prospect),
            pl.col("margin").fill_null(0.0),
        )
    )
    facts = pl.DataFrame(
        {
            "source": list(SOURCE_QUALITY),
            "rate_factor": [quality[0] for quality in SOURCE_QUALITY.values()],
            "life_factor": [quality[1] for quality in SOURCE_QUALITY.values()],
            "cost_per_customer": [quality[2] for quality in SOURCE_QUALITY.values()],
        }
    )
    counted = (
        worth.filter("is_new")
        .group_by("source")
        .agg(
            pl.len().cast(pl.Int64).alias("n_joined"),
            pl.col("is_prospect").mean().alias("prospect_share"),
            pl.col("is_alive_at_end").mean().alias("alive_share"),
            pl.col("margin").mean().round(6).alias("mean_margin"),
            pl.col("expected_margin_182d").mean().round(6).alias("mean_expected_margin_182d"),
        )
    )
    return facts.join(counted, on="source", how="left", maintain_order="left")
