"""Identifiers: the numbers, cookies, devices and handles by which channels know a person without a name.

Belongs here: who holds which identifier from when to when, kiosks and shared devices, and picking one for an event. Does not belong
here: which channel shows it (`records.py` and the behaviour modules).

Identifiers are anonymous: random-looking codes, none derived from a person's data but the handles people choose themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from cx_pipeline.simulate.population import END, Population
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, chosen, code_numbers, stream, weighted_indices

NAMESPACES = (
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
Namespace = pl.Enum(NAMESPACES)
FOREVER = datetime(2100, 1, 1)
_KIOSK_WEIGHT = 0.12


@dataclass(frozen=True)
class IdentifierRates:
    """Who holds what.

    Attributes:
        crm_rate, account_rate, loyalty_rate, app_user_rate, billing_rate, social_handle_rate, card_rate: people known by it.
        second_crm_rate, second_account_rate: of those, people entered twice in the CRM system, people with two web accounts.
        second_card_rate: of the people with a payment card, those who use two.
        n_cookies: mean number of cookies a person goes through in the window.
        n_devices: shares of app users with one, two and three devices.
        shared_device_rate: app users in a household of two and more who use the head's device too.
        shared_cookie_rate: people in such a household who use the head's browser too.
        kiosk_rate: people who use a shop's kiosk.
        people_per_kiosk: kiosks are as many as make this many people share one, at least two, at most twelve.
        household_rate: households with an addressable television.
    """

    crm_rate: float = 0.78
    second_crm_rate: float = 0.05
    account_rate: float = 0.62
    second_account_rate: float = 0.05
    loyalty_rate: float = 0.46
    app_user_rate: float = 0.30
    billing_rate: float = 0.42
    social_handle_rate: float = 0.09
    card_rate: float = 0.70
    second_card_rate: float = 0.25
    n_cookies: float = 2.2
    n_devices: tuple[float, float, float] = (0.62, 0.29, 0.09)
    shared_device_rate: float = 0.06
    shared_cookie_rate: float = 0.08
    kiosk_rate: float = 0.05
    people_per_kiosk: int = 4_000
    household_rate: float = 0.35


def draw_identifiers(
    population: Population,
    rng: np.random.Generator | None = None,
    rates: IdentifierRates | None = None,
    *,
    seed: int = 0,
) -> pl.DataFrame:
    """Every identifier of every person.

    Args:
        population: the people.
        rng: random stream; None: the seed's own stream `identifiers`.
        rates: who holds what.
        seed: of the company, used without `rng`.

    Returns:
        person_id, namespace (an enum of NAMESPACES), value, from_at, to_at (FOREVER: to the end), is_shared (several people of a household
        use it), is_kiosk (strangers use it); sorted by namespace, person_id, from_at, value. A shared identifier has a row for each
        of its people.
    """
    rng = rng or stream(seed, "identifiers")
    rates = rates or IdentifierRates()
    holders = _holders(population, rng, rates)
    parts = [
        _numbers(holders["crm"], holders["second_crm"], "crm", "C{}", 89_999_999, 10_000_000, population, rng),
        _numbers(holders["loyalty"], None, "loyalty", "633{}", 899_999_963, 100_000_000, population, rng),
        _numbers(
            holders["account"], holders["second_account"], "account", "u{}", 1_999_999_973, 0, population, rng, True
        ),
        _numbers(holders["app_user"], None, "app_user", "ap-{}", 1_888_888_901, 0, population, rng, True),
        _numbers(holders["billing"], None, "billing", "B{}", 89_999_969, 10_000_000, population, rng),
        _numbers(
            holders["card"], holders["second_card"], "card_token", "tok_{}", 2_000_000_011, 0, population, rng, True
        ),
        _handles(holders["social_handle"], population, rng),
        _cookies(population, rng, rates),
        _kiosks(population, rng, rates),
        _devices(holders["app_user"], population, rng, rates),
        _televisions(population, rng, rates),
    ]
    return (
        pl.concat(parts)
        .sort("namespace", "person_id", "from_at", "value")
        .select("person_id", "namespace", "value", "from_at", "to_at", "is_shared", "is_kiosk")
    )


def pick(
    identifiers: pl.DataFrame,
    person_ids: npt.NDArray[np.int64],
    namespace: str,
    rng: np.random.Generator,
    at: npt.NDArray[np.datetime64] | pl.Series | None = None,
) -> pl.Series:
    """An identifier that each of these people may show, e.g. one of their cookies.

    Args:
        identifiers: from `draw_identifiers` (its order is relied on).
        person_ids: of the people, in any order, any number of times.
        namespace: one of NAMESPACES.
        rng: random stream.
        at: when it is shown (as many as person_ids): one that is in use then, or, where none is, the first of the person's.

    Returns:
        value: String, NULL where the person has none in the namespace. A kiosk is shown rarely compared with an own identifier.
    """
    own = identifiers.filter(pl.col("namespace") == namespace)
    if own.is_empty():
        return pl.Series("value", [None] * len(person_ids), dtype=pl.String)
    owners = own["person_id"].to_numpy()
    first = np.searchsorted(owners, person_ids, side="left")
    n_own = np.searchsorted(owners, person_ids, side="right") - first
    weights = np.where(own["is_kiosk"].to_numpy(), _KIOSK_WEIGHT, 1.0)
    times = None if at is None else np.asarray(at).astype("datetime64[us]").astype(np.int64)
    from_at, to_at = (own[name].to_physical().to_numpy() for name in ("from_at", "to_at"))
    row = first.copy()
    # Weighted choice of one among each person's few rows, row by row: the k-th is taken with its share of the weight so far.
    total = np.zeros(len(person_ids))
    for k in range(int(n_own.max(initial=0))):
        candidate = np.minimum(first + k, len(owners) - 1)
        usable = k < n_own
        if times is not None:
            usable &= (from_at[candidate] <= times) & (times < to_at[candidate])
        weight = np.where(usable, weights[candidate], 0.0)
        total += weight
        taken = usable & (rng.random(len(person_ids)) * total < weight)
        row[taken] = candidate[taken]
    picked = pl.DataFrame({"row": np.minimum(row, len(owners) - 1), "has": n_own > 0}).select(
        pl.when("has").then("row").alias("row")
    )["row"]
    return own["value"].gather(picked).alias("value")


def _holders(population: Population, rng: np.random.Generator, rates: IdentifierRates) -> dict[str, Flags]:
    """Which people hold an identifier; online and traditional habits go with age, so that channels overlap unevenly."""
    persons = population.persons
    n = persons.height
    age = (END.date() - persons["birth_date"]).dt.total_days().to_numpy() / 365.2425
    online = np.clip(1.25 - (age - 20.0) / 110.0, 0.55, 1.25)
    has_email = persons["email"].is_not_null().to_numpy()
    is_prospect = persons["is_prospect"].to_numpy()
    crm = chosen(rng, rates.crm_rate, n)
    account = (rng.random(n) < rates.account_rate * online) & has_email
    app_user = (rng.random(n) < rates.app_user_rate * online**2) & has_email
    return {
        "crm": crm,
        "second_crm": crm & chosen(rng, rates.second_crm_rate, n),
        "account": account,
        "second_account": account
        & chosen(rng, rates.second_account_rate, n)
        & persons["second_email"].is_not_null().to_numpy(),
        "loyalty": chosen(rng, rates.loyalty_rate, n) & ~is_prospect & (age >= 16),
        "app_user": app_user & ~is_prospect,
        "billing": chosen(rng, rates.billing_rate, n) & ~is_prospect & (age >= 18),
        "social_handle": rng.random(n) < rates.social_handle_rate * online,
        "card": (card := chosen(rng, rates.card_rate, n) & (age >= 16)),
        "second_card": card & chosen(rng, rates.second_card_rate, n),
    }


def _numbers(
    holders: Flags,
    seconds: Flags | None,
    namespace: str,
    pattern: str,
    modulus: int,
    base: int,
    population: Population,
    rng: np.random.Generator,
    is_hexadecimal: bool = False,
) -> pl.DataFrame:
    """One code for each holder, another for those entered twice; valid from some day after the person joined."""
    people = np.flatnonzero(holders)
    twice = np.flatnonzero(seconds) if seconds is not None else np.zeros(0, dtype=np.int64)
    owners = np.concatenate([people, twice])
    numbers = code_numbers(np.arange(len(owners)), modulus, int(rng.integers(0, modulus))) + base
    if is_hexadecimal:
        text = pl.Series([f"{number:08x}" for number in numbers.tolist()], dtype=pl.String)
    else:
        text = pl.Series(numbers).cast(pl.String)
    values = pl.DataFrame({"text": text}).select(pl.format(pattern, "text").alias("value"))["value"]
    delay = np.where(np.arange(len(owners)) < len(people), 0.0, rng.uniform(20.0, 400.0, len(owners)))
    delay = delay + np.where(
        namespace == "crm", 0.0, rng.exponential(45.0, len(owners)) * chosen(rng, 0.6, len(owners))
    )
    return _frame(owners, namespace, values, _after_joining(population, owners, delay))


def _handles(holders: Flags, population: Population, rng: np.random.Generator) -> pl.DataFrame:
    """Handles that people have chosen themselves."""
    people = np.flatnonzero(holders)
    persons = population.persons[people]
    word = pl.Series(_HANDLE_WORDS).gather(rng.integers(0, len(_HANDLE_WORDS), len(people)))
    given = persons["given_name"].str.to_lowercase().str.normalize("NFKD").str.replace_all("[^a-z]", "")
    frame = pl.DataFrame({"word": word, "given": given, "number": rng.integers(1, 99, len(people))})
    frame = frame.with_columns(pl.format("@{}_{}{}", "word", pl.col("given").str.slice(0, 4), "number").alias("handle"))
    count = pl.int_range(pl.len()).over("handle")
    values = frame.select(
        pl.format("{}{}", "handle", pl.when(count > 0).then(pl.format("_{}", count)).otherwise(pl.lit(""))).alias(
            "value"
        )
    )["value"]
    return _frame(people, "social_handle", values, _after_joining(population, people, np.zeros(len(people))))


_HANDLE = (
    "pixel sunny retro daily urban happy coffee travel garden vinyl bookish trail salty misty neon cosmic silent bold tiny "
    "golden lunar foxy breezy wild simply just mrs mr dr the real oh hey its"
)
_HANDLE_WORDS = tuple(_HANDLE.split())


def _cookies(population: Population, rng: np.random.Generator, rates: IdentifierRates) -> pl.DataFrame:
    """Browser cookies: one after another as they are deleted, at times two at once, at times the head's browser."""
    persons = population.persons
    n = persons.height
    days = (END - population.starts_at).days
    counts = 1 + rng.poisson(rates.n_cookies - 1.0, n)
    owners = np.repeat(np.arange(n), counts)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = days / np.repeat(counts, counts)
    # Lives overlap a little: people browse at home and on the phone.
    start = within * share - rng.uniform(0.0, 0.3, len(owners)) * share
    end = (within + 1) * share + rng.uniform(0.0, 0.3, len(owners)) * share
    is_last = within == np.repeat(counts, counts) - 1
    from_at = _moments(population.starts_at, np.where(within == 0, -365.0, start))
    to_at = pl.DataFrame({"to": _moments(population.starts_at, end), "is_last": is_last}).select(
        pl.when("is_last").then(pl.lit(FOREVER)).otherwise("to").alias("to")
    )["to"]
    values = _hex_codes(rng, len(owners), "ck")
    own = _frame(owners, "cookie", values, from_at, to_at)
    shared = _with_heads(own, population, chosen(rng, rates.shared_cookie_rate, n))
    return pl.concat([own.join(shared.select("value").unique(), on="value", how="anti", maintain_order="left"), shared])


def _with_heads(own: pl.DataFrame, population: Population, uses_heads: Flags) -> pl.DataFrame:
    """Rows of heads' identifiers that a member of the household uses too: for the head and for the members, marked as shared."""
    persons = population.persons.select("person_id", "household_id", "is_head").with_columns(uses=uses_heads)
    heads = persons.filter("is_head").select("household_id", pl.col("person_id").alias("head_id"))
    members = persons.filter(~pl.col("is_head") & pl.col("uses")).join(heads, on="household_id", maintain_order="left")
    latest = own.unique("person_id", keep="last", maintain_order=True)
    borrowed = members.select("person_id", "head_id").join(
        latest.rename({"person_id": "head_id"}), on="head_id", maintain_order="left"
    )
    lent = own.join(borrowed.select("value").unique(), on="value", how="semi", maintain_order="left")
    return pl.concat([lent, borrowed.select(own.columns)]).with_columns(is_shared=pl.lit(value=True))


def _kiosks(population: Population, rng: np.random.Generator, rates: IdentifierRates) -> pl.DataFrame:
    """Cookies of shops' kiosks, each used by very many people."""
    n = population.persons.height
    users = np.flatnonzero(chosen(rng, rates.kiosk_rate, n))
    n_kiosks = int(np.clip(len(users) // rates.people_per_kiosk, 2, 12))
    values = _hex_codes(rng, n_kiosks, "ck").gather(rng.integers(0, n_kiosks, len(users)))
    from_at = _moments(population.starts_at, np.full(len(users), -365.0))
    return _frame(users, "cookie", values, from_at).with_columns(is_kiosk=pl.lit(value=True))


def _devices(holders: Flags, population: Population, rng: np.random.Generator, rates: IdentifierRates) -> pl.DataFrame:
    """Telephones and tablets of app users: one to three, and at times the head's tablet."""
    people = np.flatnonzero(holders)
    owners = np.repeat(people, 1 + weighted_indices(rng, rates.n_devices, len(people)))
    is_first = np.concatenate([[True], owners[1:] != owners[:-1]]) if len(owners) else np.zeros(0, dtype=np.bool_)
    delay = np.where(is_first, 0.0, rng.uniform(10.0, 500.0, len(owners)))
    own = _frame(owners, "device", _hex_codes(rng, len(owners), "dv"), _after_joining(population, owners, delay))
    uses_heads = chosen(rng, rates.shared_device_rate, population.persons.height) & holders
    shared = _with_heads(own, population, uses_heads)
    return pl.concat([own.join(shared.select("value").unique(), on="value", how="anti", maintain_order="left"), shared])


def _televisions(population: Population, rng: np.random.Generator, rates: IdentifierRates) -> pl.DataFrame:
    """Addressable televisions: one per household, seen by all of it."""
    household = population.persons["household_id"].to_numpy()
    sizes = np.bincount(household)
    people = np.flatnonzero(chosen(rng, rates.household_rate, len(sizes))[household])
    numbers = code_numbers(household[people].astype(np.int64), 99_999_989, 4_711)
    values = pl.DataFrame({"n": numbers}).select(
        pl.format("hh-{}", pl.col("n").cast(pl.String).str.zfill(8)).alias("value")
    )["value"]
    from_at = _moments(population.starts_at, np.full(len(people), -365.0))
    return _frame(people, "household", values, from_at).with_columns(is_shared=pl.Series(sizes[household[people]] > 1))


def _hex_codes(rng: np.random.Generator, n: int, prefix: str) -> pl.Series:
    """Distinct codes of 15 characters: a running number, scrambled, and random digits behind it."""
    running = code_numbers(np.arange(n), 2**31 - 1, int(rng.integers(0, 2**31 - 1)))
    random = rng.integers(0, 2**20, n)
    text = [f"{prefix}{a:08x}{b:05x}" for a, b in zip(running.tolist(), random.tolist(), strict=True)]
    return pl.Series("value", text, dtype=pl.String)


def _after_joining(population: Population, owners: Indices, delay_days: Floats) -> pl.Series:
    """That many days after each owner joined, at the latest shortly before END."""
    joined = population.persons["joined_at"].to_numpy().astype("datetime64[s]")[owners]
    moments = joined + np.floor(delay_days * 86_400.0).astype("timedelta64[s]")
    last = np.datetime64(END - timedelta(hours=1), "s")
    return pl.Series(np.minimum(moments, np.maximum(last, joined)).astype("datetime64[us]"))


def _moments(origin: datetime, offset_days: Floats) -> pl.Series:
    seconds = np.floor(offset_days * 86_400.0).astype("timedelta64[s]")
    return pl.Series((np.datetime64(origin, "s") + seconds).astype("datetime64[us]"))


def _frame(
    owners: Indices, namespace: str, values: pl.Series, from_at: pl.Series, to_at: pl.Series | None = None
) -> pl.DataFrame:
    return pl.DataFrame({"person_id": owners.astype(np.int64), "value": values, "from_at": from_at}).select(
        "person_id",
        pl.lit(namespace, dtype=Namespace).alias("namespace"),
        "value",
        "from_at",
        (pl.lit(FOREVER) if to_at is None else pl.lit(to_at)).alias("to_at"),
        pl.lit(value=False).alias("is_shared"),
        pl.lit(value=False).alias("is_kiosk"),
    )
