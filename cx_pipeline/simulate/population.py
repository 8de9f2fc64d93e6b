"""The population: people in households at addresses, some of them employed by organisations that are customers too.

Belongs here: what is true of a person, a household, an organisation, and when it changed. Does not belong here: what a channel knows of
it (`records.py`), identifiers (`identifiers.py`), behaviour.

Sources of difficulty that are true of the world, not errors: shared surnames and addresses, twins, children named after a parent, family
mailboxes and home phones, marriages, moves, people with two mailboxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from cx_pipeline.simulate.randomness import (
    Flags,
    Floats,
    Indices,
    chosen,
    code_numbers,
    stream,
    weighted_indices,
    zipf_weights,
)
from cx_pipeline.simulate.vocabularies import (
    MAIL_DOMAINS,
    postal_areas,
    regions,
    streets,
    town_names,
    traditions,
)

END = datetime(2026, 6, 30)
TIME_ZONE = "Europe/London"
CURRENCY = "GBP"
PHONE_REGION = "GB"
COUNTRY = "United Kingdom"

ACQUISITION_SOURCES = ("search", "display", "referral", "store", "direct_mail", "social", "partner")
_SOURCE_WEIGHTS_BEFORE = (0.20, 0.08, 0.12, 0.38, 0.14, 0.03, 0.05)
_SOURCE_WEIGHTS_NOW = (0.28, 0.14, 0.14, 0.18, 0.05, 0.15, 0.06)


@dataclass(frozen=True)
class PopulationRates:
    """How people live.

    Attributes:
        household_shares: shares of households, by those of their members who deal with the company: single, couple, family, single
            parent, flatshare, three generations.
        flat_rate: addresses with a unit.
        twin_rate: families with two or more children in which two are twins.
        namesake_rate: families in which a child bears a parent's given name.
        same_surname_rate: couples with one surname.
        partner_tradition_rate: partners of another heritage.
        middle_name_rate: people with a middle name.
        email_rate, second_email_rate: people with a mailbox, with a second one.
        shared_mailbox_rate: households of two and more with a common mailbox, which members use instead of an own one.
        mobile_rate, home_phone_rate: people with a mobile phone, households with a home phone.
        annual_move_rate: households that move in a year.
        annual_surname_change_rate: women of 20 to 45 who change their surname in a year (others: a tenth of it).
        contact_rate: people who deal with the company for their employer.
        accounts_per_person: organisations.
        joined_before_rate: people who came before the window.
        prospect_rate: people who never buy.
        erasure_rate: people who ask for erasure in the window.
    """

    household_shares: tuple[float, ...] = (0.58, 0.22, 0.10, 0.03, 0.05, 0.02)
    flat_rate: float = 0.22
    twin_rate: float = 0.03
    namesake_rate: float = 0.025
    same_surname_rate: float = 0.74
    partner_tradition_rate: float = 0.12
    middle_name_rate: float = 0.42
    email_rate: float = 0.97
    second_email_rate: float = 0.22
    shared_mailbox_rate: float = 0.07
    mobile_rate: float = 0.94
    home_phone_rate: float = 0.5
    annual_move_rate: float = 0.09
    annual_surname_change_rate: float = 0.025
    contact_rate: float = 0.03
    accounts_per_person: float = 0.012
    joined_before_rate: float = 0.4
    prospect_rate: float = 0.08
    erasure_rate: float = 0.002


@dataclass(frozen=True)
class Population:
    """The true people, households and organisations.

    Attributes:
        persons: one row per person in order of `person_id` (0, 1, ...): person_id, household_id, is_head, account_id (employer; NULL
            for most), given_name, middle_name, surname, previous_surname, surname_changed_at, sex (m, f), birth_date, email,
            second_email, is_mailbox_shared, mobile_phone, home_phone (E.164), street, house_number, unit, city, region, postcode,
            country, moved_at, previous_street, previous_house_number, previous_unit, previous_city, previous_region,
            previous_postcode, joined_at, acquisition_source, is_prospect, asks_erasure_at, heritage. Surname, mailbox and address
            are those of END; the `previous_` ones held until the change.
        households: household_id, household_type, n_persons.
        accounts: account_id, organisation_no, name, registration_id, industry, n_employees, street, house_number, city, region,
            postcode, country, email, phone, joined_at.
        starts_at: first moment of the window; it ends with END.
    """

    persons: pl.DataFrame
    households: pl.DataFrame
    accounts: pl.DataFrame
    starts_at: datetime


HOUSEHOLD_TYPES = ("single", "couple", "family", "single_parent", "flatshare", "three_generations")
_HEAD, _PARTNER, _CHILD, _FLATMATE, _GRANDPARENT = range(5)


def draw_population(customers: int, days: int, seed: int, rates: PopulationRates | None = None) -> Population:
    """Draw a company's people.

    Args:
        customers: number of people, at least 1.
        days: length of the window that ends with END.
        seed: of the company; the same arguments give the same people.
        rates: how people live.
    """
    rates = rates or PopulationRates()
    starts_at = END - timedelta(days=days)
    members = _members(customers, seed, rates)
    n = members.height
    n_households = int(members["household_id"][-1]) + 1
    sizes = np.bincount(members["household_id"].to_numpy(), minlength=n_households)
    persons = pl.concat([members, _names(members, seed, rates)], how="horizontal")
    persons = _with_marriages(persons, days, seed, rates)
    geography = _Geography.draw(n_households, seed)
    homes, moves = _homes(persons, geography, days, seed, rates)
    accounts = _accounts(max(1, round(n * rates.accounts_per_person)), geography, starts_at, seed)
    persons = pl.concat([persons, homes, moves], how="horizontal")
    persons = _with_contacts(persons, sizes, accounts, seed, rates)
    persons = _with_history(persons, starts_at, seed, rates)
    households = pl.DataFrame(
        {
            "household_id": np.arange(n_households),
            "household_type": members.group_by("household_id", maintain_order=True).first()["household_type"],
            "n_persons": sizes,
        }
    )
    return Population(persons.drop("role", "household_type").select(_PERSON_COLUMNS), households, accounts, starts_at)


_PERSON = (
    "person_id household_id is_head account_id given_name middle_name surname previous_surname surname_changed_at sex birth_date email "
    "second_email is_mailbox_shared mobile_phone home_phone street house_number unit city region postcode country moved_at "
    "previous_street previous_house_number previous_unit previous_city previous_region previous_postcode joined_at acquisition_source "
    "is_prospect asks_erasure_at heritage"
)
_PERSON_COLUMNS = tuple(_PERSON.split())
_ACCOUNT = (
    "account_id organisation_no name registration_id industry n_employees street house_number city region postcode "
    "country email phone joined_at"
)
_ACCOUNT_COLUMNS = tuple(_ACCOUNT.split())


def _members(n: int, seed: int, rates: PopulationRates) -> pl.DataFrame:
    """person_id, household_id, is_head, role, household_type, sex, birth_date (as day number since 1970)."""
    rng = stream(seed, "population.households")
    kinds = weighted_indices(rng, rates.household_shares, n)
    n_children = 1 + weighted_indices(rng, (0.5, 0.38, 0.12), n)
    n_flatmates = 1 + weighted_indices(rng, (0.45, 0.35, 0.2), n)
    # Members in the order of roles: head, partner, children, flatmates, grandparents.
    counts = np.stack(
        [
            np.ones(n, dtype=np.int64),
            np.isin(kinds, (1, 2, 5)).astype(np.int64),
            np.where(np.isin(kinds, (2, 3, 5)), n_children, 0),
            np.where(kinds == 4, n_flatmates, 0),
            np.where(kinds == 5, 1, 0),
        ],
        axis=1,
    )
    flat = counts.ravel()
    household = np.repeat(np.repeat(np.arange(n), 5), flat)[:n]
    role = np.repeat(np.tile(np.arange(5), n), flat)[:n]
    is_first = np.concatenate([[True], household[1:] != household[:-1]])
    head = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    sex_is_m = chosen(rng, 0.5, n)
    partner_differs = chosen(rng, 0.95, n)
    sex_is_m = np.where(role == _PARTNER, sex_is_m[head] ^ partner_differs, sex_is_m)
    kind = kinds[household]
    age = _ages(rng, role, kind, head, household, n)
    is_twin = _twins(rng, role, household, n, rates.twin_rate)
    born = (np.datetime64("2026-06-30", "D").astype(np.int64) - age * 365.2425).astype(np.int64)
    born = np.where(is_twin, np.roll(born, 1), born)
    return pl.DataFrame(
        {
            "person_id": np.arange(n, dtype=np.int64),
            "household_id": household,
            "is_head": role == _HEAD,
            "role": role,
            "household_type": pl.Series(HOUSEHOLD_TYPES).gather(kind),
            "sex": pl.Series(["f", "m"]).gather(sex_is_m.astype(np.int64)),
            "birth_date": pl.Series(born.astype(np.int32)).cast(pl.Date),
        }
    )


def _ages(rng: np.random.Generator, role: Indices, kind: Indices, head: Indices, household: Indices, n: int) -> Floats:
    """Ages in years at END: heads by kind of household, the others by their head's."""
    low = np.array([19.0, 22.0, 38.0, 36.0, 19.0, 40.0])[kind]
    spread = np.array([68.0, 62.0, 24.0, 24.0, 16.0, 20.0])[kind]
    age = low + spread * rng.beta(1.3, 1.7, n)
    head_age = age[head]
    partner = np.maximum(head_age + rng.normal(0, 4.0, n), rng.uniform(19.0, 24.0, n))
    child = np.maximum(head_age - rng.uniform(21, 36, n), rng.uniform(14.0, 18.0, n))
    grandparent = head_age + rng.uniform(21, 34, n)
    return np.select([role == _PARTNER, role == _CHILD, role == _GRANDPARENT], [partner, child, grandparent], age)


def _twins(rng: np.random.Generator, role: Indices, household: Indices, n: int, rate: float) -> Flags:
    """Children born with the person before them."""
    second = (role == _CHILD) & (np.roll(role, 1) == _CHILD) & (np.roll(household, 1) == household)
    twins: Flags = second & chosen(rng, rate, n) & (np.roll(second, 1) == False)  # noqa: E712
    twins[0] = False
    return twins


def _names(members: pl.DataFrame, seed: int, rates: PopulationRates) -> pl.DataFrame:
    """given_name, middle_name, surname, heritage of every member."""
    rng = stream(seed, "population.names")
    n = members.height
    household, role = members["household_id"].to_numpy(), members["role"].to_numpy()
    is_male = (members["sex"] == "m").to_numpy()
    head = np.flatnonzero(members["is_head"].to_numpy())[household]
    shares = [tradition.share for tradition in traditions()]
    heritage = weighted_indices(rng, shares, n)
    follows_head = (role != _FLATMATE) & ~((role == _PARTNER) & chosen(rng, rates.partner_tradition_rate, n))
    heritage = np.where(follows_head, heritage[head], heritage)
    given, middle, surname = [_words(rng, heritage, is_male, part) for part in ("given", "given", "surname")]
    has_parents_name = (role == _CHILD) & chosen(rng, rates.namesake_rate, n) & (is_male == is_male[head])
    given = given.gather(np.where(has_parents_name, head, np.arange(n)))
    surname_of = np.where(
        (role == _CHILD)
        | ((role == _PARTNER) & chosen(rng, rates.same_surname_rate, n))
        | ((role == _GRANDPARENT) & chosen(rng, 0.6, n)),
        head,
        np.arange(n),
    )
    surname = _with_second_surname(rng, surname, heritage)
    names = pl.DataFrame(
        {
            "given_name": given,
            "middle_name": middle,
            "surname": surname.gather(surname_of),
            "heritage": pl.Series([tradition.name for tradition in traditions()]).gather(heritage),
            "is_male": is_male,
            "has_middle": chosen(rng, rates.middle_name_rate, n),
            "is_inflected": chosen(rng, 0.6, n),
        }
    )
    feminine = pl.col("surname").str.replace("(s|c|dz)ki$", "${1}ka")
    return names.with_columns(
        pl.when("has_middle").then("middle_name").alias("middle_name"),
        pl.when((pl.col("heritage") == "polish") & ~pl.col("is_male") & pl.col("is_inflected"))
        .then(feminine)
        .otherwise("surname")
        .alias("surname"),
    ).select("given_name", "middle_name", "surname", "heritage")


def _words(rng: np.random.Generator, heritage: Indices, is_male: Flags, part: str) -> pl.Series:
    """One name per person from the vocabulary of their heritage (and sex)."""
    lists, starts, picked = [], 0, np.zeros(len(heritage), dtype=np.int64)
    for i, tradition in enumerate(traditions()):
        groups = (
            [(tradition.surnames, heritage == i)]
            if part == "surname"
            else [(tradition.male, (heritage == i) & is_male), (tradition.female, (heritage == i) & ~is_male)]
        )
        for vocabulary, mask in groups:
            picked[mask] = starts + vocabulary.indices(rng, int(mask.sum()))
            lists.append(vocabulary.words)
            starts += len(vocabulary.words)
    return pl.concat(lists).gather(picked)


def _with_second_surname(rng: np.random.Generator, surname: pl.Series, heritage: Indices) -> pl.Series:
    """Spanish people with both surnames, a few English ones with a double-barrelled one."""
    names = [tradition.name for tradition in traditions()]
    shuffled = rng.permutation(len(surname))
    is_same = heritage[shuffled] == heritage
    draw = rng.random(len(surname))
    frame = pl.DataFrame({"first": surname, "second": surname.gather(shuffled)}).with_columns(
        is_spanish=(heritage == names.index("spanish")) & is_same & (draw < 0.6),
        is_double=(heritage == names.index("english")) & is_same & (draw < 0.012),
    )
    return frame.select(
        pl.when((pl.col("first") == pl.col("second")) | ~(pl.col("is_spanish") | pl.col("is_double")))
        .then("first")
        .when("is_spanish")
        .then(pl.format("{} {}", "first", "second"))
        .otherwise(pl.format("{}-{}", "first", "second"))
        .alias("surname")
    )["surname"]


def _with_marriages(persons: pl.DataFrame, days: int, seed: int, rates: PopulationRates) -> pl.DataFrame:
    """Adds previous_surname and surname_changed_at: who took another surname in the window, or shortly before it."""
    rng = stream(seed, "population.marriages")
    n = persons.height
    reach = days + 365
    age = (END.date() - persons["birth_date"]).dt.total_days().to_numpy() / 365.2425
    is_likely = (persons["sex"] == "f").to_numpy() & (age >= 20) & (age < 45)
    rate = rates.annual_surname_change_rate * reach / 365.0
    changes = (rng.random(n) < np.where(is_likely, rate, 0.1 * rate)) & (age >= 20)
    heritage = persons["heritage"].replace_strict({t.name: i for i, t in enumerate(traditions())}).to_numpy()
    previous = _words(rng, heritage, (persons["sex"] == "m").to_numpy(), "surname")
    changed = _timestamps(END, -rng.uniform(5, reach, n))
    return persons.with_columns(previous_surname=previous, surname_changed_at=changed, changes=changes).with_columns(
        pl.when("changes").then(pl.col("previous_surname", "surname_changed_at"))
    )


@dataclass(frozen=True)
class _Geography:
    """Towns with Zipf populations and their streets; a street has one postcode."""

    streets: pl.DataFrame
    weights: Floats

    @classmethod
    def draw(cls, n_households: int, seed: int) -> _Geography:
        rng = stream(seed, "population.geography")
        n_towns = int(np.clip(n_households // 150, 25, 3_000))
        n_streets = max(60, n_households // 9)
        town_weights = zipf_weights(n_towns, 0.95, 1.5)
        town = np.sort(weighted_indices(rng, town_weights, n_streets))
        areas, counties = postal_areas(), regions()
        area = town % len(areas)
        within = pl.DataFrame({"area": area}).select(pl.int_range(pl.len()).over("area").alias("i"))["i"].to_numpy()
        within = code_numbers(within, 80_000, 0)
        # District and sector follow the street's number in its area, so that every street has a postcode of its own.
        unit, rest = within % 400, within // 400
        letters = np.array(list("ABDEFGHJLNPQRSTUWXYZ"))
        inward = np.char.add(np.char.add((rest % 10).astype(np.str_), letters[unit // 20]), letters[(unit * 7) % 20])
        district = 1 + rest // 10
        frame = pl.DataFrame(
            {
                "street": streets().draw(rng, n_streets),
                "city": town_names().gather(town),
                "region": pl.Series(counties).gather((town * 37 + 11) % len(counties)),
                "area": pl.Series(areas).gather(area),
                "district": district,
                "inward": pl.Series(inward),
            }
        ).with_columns(pl.format("{}{} {}", "area", "district", "inward").alias("postcode"))
        return cls(
            frame.select("street", "city", "region", "postcode"),
            zipf_weights(n_streets, 0.15)[rng.permutation(n_streets)],
        )

    def addresses(self, rng: np.random.Generator, n: int, flat_rate: float) -> pl.DataFrame:
        """street, city, region, postcode, house_number, unit of n homes."""
        number = 1 + np.floor(rng.gamma(1.6, 28.0, n)).astype(np.int64)
        flat = pl.format("Flat {}", pl.lit(pl.Series(1 + rng.integers(0, 24, n))))
        has_letter = chosen(rng, 0.05, n)
        letter = pl.Series(["A", "B", "C"]).gather(rng.integers(0, 3, n))
        return (
            self.streets[weighted_indices(rng, self.weights, n)]
            .with_columns(number=number, has_letter=has_letter, letter=letter, has_unit=chosen(rng, flat_rate, n))
            .with_columns(
                pl.when("has_letter")
                .then(pl.format("{}{}", "number", "letter"))
                .otherwise(pl.col("number").cast(pl.String))
                .alias("house_number"),
                pl.when("has_unit").then(flat).alias("unit"),
            )
            .select("street", "house_number", "unit", "city", "region", "postcode")
        )


def _homes(
    persons: pl.DataFrame, geography: _Geography, days: int, seed: int, rates: PopulationRates
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Addresses of END, and moved_at with the address before; a household moves together, flatmates one by one."""
    rng = stream(seed, "population.homes")
    household = persons["household_id"].to_numpy()
    n, n_households = len(household), int(household[-1]) + 1
    homes = geography.addresses(rng, n_households, rates.flat_rate)
    reach = days + 365
    own = np.where((persons["role"] == _FLATMATE).to_numpy(), n_households + np.arange(n), household)
    moves = chosen(rng, rates.annual_move_rate * reach / 365.0, n_households + n)[own]
    moved_at = _timestamps(END, -rng.uniform(3, reach, n_households + n)).gather(own)
    before = geography.addresses(rng, n_households + n, rates.flat_rate)[own]
    previous = (
        before.rename({name: f"previous_{name}" for name in before.columns})
        .with_columns(moved_at=moved_at, moves=pl.Series(moves))
        .with_columns(pl.when("moves").then(pl.all().exclude("moves")))
        .drop("moves")
    )
    return homes[household].with_columns(pl.lit(COUNTRY).alias("country")), previous


def _ascii(name: str) -> pl.Expr:
    return (
        pl.col(name)
        .str.to_lowercase()
        .str.replace_all("ß", "ss")
        .str.replace_all("ł", "l")
        .str.replace_all("ø", "o")
        .str.replace_all("ı", "i")
        .str.normalize("NFKD")
        .str.replace_all(r"[^a-z0-9]", "")
    )


def _with_contacts(
    persons: pl.DataFrame, sizes: np.ndarray, accounts: pl.DataFrame, seed: int, rates: PopulationRates
) -> pl.DataFrame:
    """Adds account_id, e-mail addresses and phones; every mailbox is one person's or one household's."""
    rng = stream(seed, "population.contacts")
    n = persons.height
    household = persons["household_id"].to_numpy()
    n_households = int(household[-1]) + 1
    shares_mailbox = (chosen(rng, rates.shared_mailbox_rate, n_households) & (sizes > 1))[household]
    uses_shared = shares_mailbox & chosen(rng, 0.75, n)
    is_contact = chosen(rng, rates.contact_rate, n)
    employer = weighted_indices(rng, zipf_weights(accounts.height, 0.8), n)
    frame = persons.with_columns(
        pl.Series("own_email", _mailboxes(persons, rng, n)),
        pl.Series("other_email", _mailboxes(persons, rng, n, n_taken=n)),
        pl.Series("family_email", _family_mailboxes(persons, rng)),
        uses_shared=uses_shared,
        has_email=chosen(rng, rates.email_rate, n),
        has_second=chosen(rng, rates.second_email_rate, n),
        has_mobile=chosen(rng, rates.mobile_rate, n),
        has_home_phone=chosen(rng, rates.home_phone_rate, n_households)[household],
        is_contact=is_contact,
        employer=employer,
        mobile_number=code_numbers(np.arange(n), 899_999_963, 7_654_321),
        home_number=code_numbers(household.astype(np.int64), 799_999_999, 1_234_567),
    )
    return frame.with_columns(
        pl.when("is_contact").then("employer").alias("account_id"),
        pl.when(pl.col("uses_shared")).then("family_email").when("has_email").then("own_email").alias("email"),
        pl.when("has_second").then("other_email").alias("second_email"),
        pl.col("uses_shared").alias("is_mailbox_shared"),
        pl.when("has_mobile")
        .then(pl.format("+447{}", (pl.col("mobile_number") + 100_000_000).cast(pl.String)))
        .alias("mobile_phone"),
        pl.when("has_home_phone")
        .then(pl.format("+441{}", (pl.col("home_number") + 200_000_000).cast(pl.String)))
        .alias("home_phone"),
    )


def _mailboxes(persons: pl.DataFrame, rng: np.random.Generator, n: int, n_taken: int = 0) -> pl.Series:
    """A mailbox per person in one of the usual styles; a taken name gets a number behind it."""
    domains = list(MAIL_DOMAINS)
    frame = persons.select(
        _ascii("given_name").alias("given"),
        _ascii("surname").alias("family"),
        pl.col("birth_date").dt.year().alias("year"),
    ).with_columns(
        style=weighted_indices(rng, (0.36, 0.14, 0.16, 0.10, 0.12, 0.12), n),
        number=rng.integers(1, 999, n),
        domain=pl.Series(domains).gather(weighted_indices(rng, list(MAIL_DOMAINS.values()), n)),
        word=pl.Series(_MAIL_WORDS).gather(rng.integers(0, len(_MAIL_WORDS), n)),
    )
    given, family, year = pl.col("given"), pl.col("family"), pl.col("year").cast(pl.String)
    local = (
        pl.when(pl.col("style") == 0)
        .then(pl.format("{}.{}", given, family))
        .when(pl.col("style") == 1)
        .then(pl.format("{}{}", given.str.slice(0, 1), family))
        .when(pl.col("style") == 2)
        .then(pl.format("{}{}{}", given, family, year.str.slice(2)))
        .when(pl.col("style") == 3)
        .then(pl.format("{}{}", given, year))
        .when(pl.col("style") == 4)
        .then(pl.format("{}_{}{}", given, family.str.slice(0, 1), "number"))
        .otherwise(pl.format("{}{}{}", "word", given.str.slice(0, 3), "number"))
    )
    frame = frame.with_columns(local.alias("local"))
    # Second mailboxes come later, so that they can never be one of the first ones.
    count = pl.int_range(pl.len()).over("local", "domain") + (1 if n_taken else 0)
    behind = pl.when(count > 0).then(pl.format("{}{}", pl.lit("-" if n_taken else "."), count)).otherwise(pl.lit(""))
    return frame.select(pl.format("{}{}@{}", "local", behind, "domain").alias("email"))["email"]


_MAIL = (
    "blue star happy rover sunny tiger lucky mad music red silver wild green river moon fox captain gamer garden wolf "
    "sweet dancing flying quiet cosy little big real the mister"
)
_MAIL_WORDS = tuple(_MAIL.split())


def _family_mailboxes(persons: pl.DataFrame, rng: np.random.Generator) -> pl.Series:
    """The household's common mailbox, by the head's surname."""
    heads = persons.filter("is_head").select("household_id", _ascii("surname").alias("family"))
    domain = pl.Series(list(MAIL_DOMAINS)).gather(weighted_indices(rng, list(MAIL_DOMAINS.values()), heads.height))
    style = pl.Series(["family", "the{}s", "{}family", "{}home"]).gather(rng.integers(1, 4, heads.height))
    heads = heads.with_columns(domain=domain, style=style).with_columns(
        pl.col("style").str.replace("{}", pl.col("family"), literal=True).alias("local")
    )
    count = pl.int_range(pl.len()).over("local", "domain")
    behind = pl.when(count > 0).then(pl.format(".{}", count)).otherwise(pl.lit(""))
    heads = heads.with_columns(pl.format("family.{}{}@{}", "local", behind, "domain").alias("email"))
    return heads["email"].gather(persons["household_id"].to_numpy())


def _accounts(n: int, geography: _Geography, starts_at: datetime, seed: int) -> pl.DataFrame:
    """Organisations that buy."""
    rng = stream(seed, "population.accounts")
    english = traditions()[0].surnames
    names = [english.draw(rng, n) for _ in range(3)]
    industry = weighted_indices(rng, (0.2, 0.16, 0.14, 0.12, 0.12, 0.1, 0.08, 0.08), n)
    frame = pl.DataFrame(
        {
            "a": names[0],
            "b": names[1],
            "style": weighted_indices(rng, (0.5, 0.2, 0.3), n),
            "trade": pl.Series(_TRADES).gather(industry),
            "industry": pl.Series(_INDUSTRIES).gather(industry),
            "form": pl.Series(["Ltd", "Limited", "PLC", "LLP"]).gather(weighted_indices(rng, (0.6, 0.2, 0.1, 0.1), n)),
        }
    )
    name = (
        pl.when(pl.col("style") == 0)
        .then(pl.format("{} {} {}", "a", "trade", "form"))
        .when(pl.col("style") == 1)
        .then(pl.format("{} & Sons {}", "a", "form"))
        .otherwise(pl.format("{} {} {} {}", "a", "b", "trade", "form"))
    )
    numbers = code_numbers(np.arange(n), 89_999_999, 424_242)
    homes = geography.addresses(rng, n, 0.0).drop("unit")
    return (
        frame.select(name.alias("name"), "industry")
        .with_columns(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("account_id"),
            pl.format("O{}", pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.String).str.zfill(6)).alias(
                "organisation_no"
            ),
            pl.Series("registration_id", numbers + 10_000_000).cast(pl.String),
            pl.Series("n_employees", np.ceil(rng.lognormal(3.0, 1.3, n)).astype(np.int64)),
            pl.Series("switchboard", code_numbers(np.arange(n), 79_999_987, 99)),
            pl.Series("joined_at", _timestamps(starts_at, rng.uniform(-1500, 400, n))),
        )
        .hstack(homes)
        .with_columns(
            pl.lit(COUNTRY).alias("country"),
            pl.format("office@{}{}.example", _ascii("name").str.slice(0, 18), "account_id").alias("email"),
            pl.format("+4420{}", (pl.col("switchboard") + 10_000_000).cast(pl.String)).alias("phone"),
            pl.col("joined_at").clip(upper_bound=END - timedelta(days=1)),
        )
        .select(_ACCOUNT_COLUMNS)
    )


_INDUSTRIES = (
    "construction",
    "retail",
    "hospitality",
    "transport",
    "health",
    "engineering",
    "education",
    "agriculture",
)
_TRADES = ("Builders", "Stores", "Catering", "Logistics", "Care", "Engineering", "Training", "Farms")


def _with_history(persons: pl.DataFrame, starts_at: datetime, seed: int, rates: PopulationRates) -> pl.DataFrame:
    """Adds joined_at, acquisition_source, is_prospect, asks_erasure_at."""
    rng = stream(seed, "population.history")
    n = persons.height
    days = (END - starts_at).days
    before = chosen(rng, rates.joined_before_rate, n)
    # Joining grows: its density at the end of the window is twice that at the start.
    u = rng.random(n)
    growing = (np.sqrt(1.0 + 3.0 * u) - 1.0) * days
    offset = np.where(before, -np.minimum(rng.exponential(900.0, n), 3_650.0), np.minimum(growing, days - 0.01))
    source = np.where(
        before,
        weighted_indices(rng, _SOURCE_WEIGHTS_BEFORE, n),
        weighted_indices(rng, _SOURCE_WEIGHTS_NOW, n),
    )
    joined_at = _timestamps(starts_at, offset)
    asks = chosen(rng, rates.erasure_rate, n)
    window_left = days - np.clip(offset, 0.0, days)
    asked_at = _timestamps(starts_at, np.clip(offset, 0.0, days) + rng.random(n) * window_left * 0.999)
    return persons.with_columns(
        joined_at=joined_at,
        acquisition_source=pl.Series(ACQUISITION_SOURCES).gather(source),
        is_prospect=chosen(rng, rates.prospect_rate, n),
        asks_erasure_at=asked_at,
        asks=asks,
    ).with_columns(pl.when("asks").then("asks_erasure_at").alias("asks_erasure_at"))


def _timestamps(origin: datetime, offset_days: Floats) -> pl.Series:
    """Moments that many days after `origin`, to the second."""
    seconds = np.floor(offset_days * 86_400.0).astype("timedelta64[s]")
    return pl.Series((np.datetime64(origin, "s") + seconds).astype("datetime64[us]"))
