"""Records: what each channel that describes people knows of them, how it got that wrong, and the truth behind every record.

Belongs here: the extracts of party channels, of links between identifiers, of bought-in demographics, of consents and privacy requests.
Does not belong here: errors themselves (`corruption.py`), behaviour.

Each channel asks for something else (CRM: all; web account: mailbox and name; loyalty: name, birth date, telephone; call centre: a name
as heard and the number that called; app: mailbox, telephone, device). A record knows the surname and address that were right when it was
made, unless the channel learnt of the change: then an earlier version stands in an earlier file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from cx_pipeline.simulate.corruption import (
    HEARD,
    OLD_SYSTEM,
    TYPED_BY_CUSTOMER,
    TYPED_BY_STAFF,
    CorruptionRates,
    Draft,
    corrupt_addresses,
    corrupt_contacts,
    corrupt_dates,
    corrupt_names,
    mistyped,
    say_nothing_in_words,
    without_accents,
)
from cx_pipeline.simulate.linkability import is_linkable
from cx_pipeline.simulate.population import END, Population
from cx_pipeline.simulate.randomness import Flags, Floats, chosen, code_numbers, stream, weighted_indices
from cx_pipeline.simulate.writing import write_by_month, write_extract

# What a channel shows of a person before its own columns are made of it.
_ADDRESS = ("street", "house_number", "unit", "city", "region", "postcode")
_KNOWN = ("given_name", "middle_name", "surname", "sex", "birth_date", "email", "phone", *_ADDRESS, "country")

TRUTH_README: Mapping[str, str] = {
    "persons": (
        "One row per person (`person_id`): name, addresses now and before `moved_at`, surname now and before "
        "`surname_changed_at`, mailboxes, telephones, household, employer (`account_id`), joining, source, prospect, "
        "erasure asked for."
    ),
    "households": "One row per household: its type and number of persons.",
    "accounts": "One row per organisation (`account_id`; `organisation_no` is its number in the extracts).",
    "records": (
        "One row per record of a channel of kind party: channel, record_id, person_id or account_id, corruptions "
        "(kinds its last version suffered), is_linkable (it shares enough undamaged evidence with another record of "
        "the same person; NULL where the person has one record only)."
    ),
    "identifiers": (
        "One row per identifier and person who uses it: namespace, value, person_id, from_at, to_at, is_shared (a "
        "household's), is_kiosk (strangers'). Mailboxes and telephones stand here too (namespaces email, phone)."
    ),
    "overlay_matches": (
        "One row per row of bought-in demographics: record_id, person_id (NULL: about nobody), is_findable (its key "
        "stands, undamaged, in records of that person and of nobody else)."
    ),
    "stale_attributes": (
        "One row per record that still shows what is no longer true: person_id, attribute (surname or address), "
        "channel, record_id, since."
    ),
    "privacy_requests": "One row per request: request_id, person_id, type, received_at.",
    "consents": "One row per person and purpose: the status that holds at the end, since when.",
}


@dataclass(frozen=True)
class ChannelHabits:
    """What a channel asks for, and how well it keeps it.

    Attributes:
        rates: what goes wrong.
        filled: share of records with a value, per column; columns that are not named are empty.
        home_phone_rate: share that gives the home number although there is a mobile one.
        second_email_rate: share of people with two mailboxes who give the second.
        learns_rate: share of moves and marriages that the channel learns of.
        corrected_rate: share of records in which an error was found and corrected later.
    """

    rates: CorruptionRates
    filled: Mapping[str, float]
    home_phone_rate: float = 0.1
    second_email_rate: float = 0.05
    learns_rate: float = 0.0
    corrected_rate: float = 0.0


HABITS: Mapping[str, ChannelHabits] = {
    "crm": ChannelHabits(
        TYPED_BY_STAFF,
        {"given_name": 1, "middle_name": 0.6, "surname": 1, "sex": 0.9, "birth_date": 0.93, "email": 0.88, "phone": 0.94,
         "street": 0.97, "house_number": 0.97, "unit": 0.9, "city": 0.97, "region": 0.6, "postcode": 0.97, "country": 1},
        home_phone_rate=0.12,
        learns_rate=0.8,
        corrected_rate=0.04,
    ),
    "web_accounts": ChannelHabits(
        TYPED_BY_CUSTOMER,
        {"given_name": 1, "surname": 1, "birth_date": 0.3, "email": 1, "phone": 0.78, "street": 0.85, "house_number": 0.85,
         "unit": 0.9, "city": 0.85, "postcode": 0.85},
        home_phone_rate=0.08,
        learns_rate=0.6,
    ),
    "loyalty": ChannelHabits(
        TYPED_BY_CUSTOMER,
        {"given_name": 1, "surname": 1, "birth_date": 0.96, "email": 0.55, "phone": 0.93, "postcode": 0.75},
        learns_rate=0.25,
    ),
    "app_registrations": ChannelHabits(
        TYPED_BY_CUSTOMER, {"given_name": 0.92, "birth_date": 0.4, "email": 0.97, "phone": 0.85}, home_phone_rate=0.0
    ),
    "call_centre_contacts": ChannelHabits(
        HEARD,
        {"given_name": 0.94, "surname": 1, "birth_date": 0.6, "email": 0.3, "phone": 0.98, "postcode": 0.8},
        home_phone_rate=0.15,
    ),
    "billing_accounts": ChannelHabits(
        OLD_SYSTEM,
        {"given_name": 1, "surname": 1, "birth_date": 0.88, "email": 0.7, "phone": 0.75, "street": 1, "house_number": 1,
         "unit": 0.95, "city": 1, "postcode": 1},
        home_phone_rate=0.25,
        learns_rate=0.85,
    ),
    "community_members": ChannelHabits(
        TYPED_BY_CUSTOMER, {"given_name": 0.9, "surname": 0.8, "birth_date": 0.4, "email": 0.98, "city": 0.6}
    ),
    "business_contacts": ChannelHabits(
        TYPED_BY_STAFF, {"given_name": 1, "surname": 1, "email": 0.95, "phone": 0.9}, home_phone_rate=0.0
    ),
}  # fmt: skip
_WORK_EMAIL_RATE = 0.6
_CALLS_PER_PERSON = 0.30
_DATE_PATTERNS = {"loyalty": "%d/%m/%Y", "call_centre_contacts": "%d/%m/%Y", "billing_accounts": "%d.%m.%Y"}
_ISO = "%Y-%m-%d"
# Fields that staff may not leave empty.
_SAID_IN_WORDS = {
    "crm": ("email", "phone", "middle_name", "birth_text"),
    "loyalty": ("email", "postcode"),
    "call_centre_contacts": ("email", "postcode", "birth_text"),
}


@dataclass(frozen=True)
class _Party:
    """A party channel made: its versions in its own columns, and the truth of its records."""

    versions: pl.DataFrame
    records: pl.DataFrame
    stale: pl.DataFrame


def write_records(
    out: Path, population: Population, identifiers: pl.DataFrame, days: int, seed: int
) -> dict[str, pl.DataFrame]:
    """Write the extracts of every channel that describes people, links identifiers or speaks of privacy.

    Args:
        out: data directory; files go to `landing/<channel>/`.
        population: the true people.
        identifiers: from `draw_identifiers`.
        days: length of the window, as the population was drawn for.
        seed: of the company.

    Returns:
        The truth by table name (see TRUTH_README).
    """
    records, stale, evidence = [], [], []
    for channel in HABITS:
        party = _party(channel, population, identifiers, seed)
        write_by_month(out, channel, party.versions, _TIME_COLUMNS[channel], population.starts_at)
        records.append(party.records.drop(_EVIDENCE))
        evidence.append(party.records.select("person_id", *_EVIDENCE))
        stale.append(party.stale)
    known = pl.concat(evidence)
    truth_records = pl.concat(records).with_columns(is_linkable(known))
    organisations = _organisations(population, seed)
    write_by_month(out, "business_accounts", organisations, "updated_at", population.starts_at)
    truth_records = pl.concat(
        [
            truth_records.with_columns(pl.lit(None, dtype=pl.Int64).alias("account_id")),
            organisations.select(
                pl.lit("business_accounts").alias("channel"),
                pl.col("organisation_no").alias("record_id"),
                pl.lit(None, dtype=pl.Int64).alias("person_id"),
                "corruptions",
                pl.lit(None, dtype=pl.Boolean).alias("is_linkable"),
                "account_id",
            ),
        ]
    )
    _write_links(out, population, identifiers, seed)
    return {
        "persons": population.persons,
        "households": population.households,
        "accounts": population.accounts,
        "records": truth_records.select(
            "channel", "record_id", "person_id", "account_id", "corruptions", "is_linkable"
        ),
        "identifiers": _true_identifiers(population, identifiers),
        "overlay_matches": _write_overlay(out, population, known, seed),
        "stale_attributes": pl.concat(stale),
        "privacy_requests": _write_privacy_requests(out, population, identifiers, seed),
        "consents": _write_consents(out, population, identifiers, seed),
    }


_EVIDENCE = ["given_name", "surname", "birth_date", "email", "phone", "house_number", "postcode"]
_TIME_COLUMNS = {
    "crm": "changed_at",
    "web_accounts": "updated_at",
    "loyalty": "updated_at",
    "app_registrations": "registered_at",
    "call_centre_contacts": "noted_at",
    "billing_accounts": "updated_at",
    "community_members": "joined_at",
    "business_contacts": "updated_at",
}
_NAMESPACES = {
    "crm": "crm",
    "web_accounts": "account",
    "loyalty": "loyalty",
    "app_registrations": "app_user",
    "billing_accounts": "billing",
    "community_members": "social_handle",
}


def _party(channel: str, population: Population, identifiers: pl.DataFrame, seed: int) -> _Party:
    """One party channel: who is in it, what it knows, what it got wrong, its earlier versions, its own columns."""
    rng = stream(seed, f"records.{channel}")
    habits = HABITS[channel]
    made = _made(channel, population, identifiers, rng)
    known = _known(made, population, habits, rng)
    draft = Draft(known, rng, habits.rates)
    draft.note("stale_surname", known["has_stale_surname"].to_numpy())
    draft.note("stale_address", (known["has_stale_address"] & known["postcode"].is_not_null()).to_numpy())
    draft.note("shared_mailbox", (known["uses_shared_mailbox"] & known["email"].is_not_null()).to_numpy())
    draft.note("shared_phone", (known["uses_home_phone"] & known["phone"].is_not_null()).to_numpy())
    corrupt_names(draft)
    corrupt_dates(draft)
    corrupt_contacts(draft, phone="phone" if channel != "app_registrations" else "")
    corrupt_addresses(draft)
    evidence = draft.frame.select(_EVIDENCE)
    draft.frame = draft.frame.with_columns(_birth_date(channel).alias("birth_text"))
    say_nothing_in_words(draft, *_SAID_IN_WORDS.get(channel, ()))
    known = draft.frame.with_columns(
        draft.corruptions(),
        phone_style=weighted_indices(rng, (0.35, 0.35, 0.2, 0.1), draft.frame.height),
        shortens_middle_name=chosen(rng, 0.3, draft.frame.height),
    )
    records = known.select(pl.lit(channel).alias("channel"), "record_id", "person_id", "corruptions")
    records = pl.concat([records, evidence], how="horizontal")
    stale = _stale(channel, known)
    versions = _versions(known, habits, rng)
    return _Party(_COLUMNS[channel](Draft(versions, rng, habits.rates), population, identifiers), records, stale)


def _made(channel: str, population: Population, identifiers: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """record_id, person_id, made_at, own_code (the identifier that names the record, if any) of a channel's records."""
    if channel == "call_centre_contacts":
        counts = rng.poisson(_CALLS_PER_PERSON, population.persons.height)
        owners = np.repeat(np.arange(population.persons.height), counts)
        joined = population.persons["joined_at"].to_numpy()[owners].astype("datetime64[s]")
        first = np.maximum(joined, np.datetime64(population.starts_at, "s"))
        span = (np.datetime64(END, "s") - first).astype(np.int64)
        made_at = first + np.floor(span * rng.random(len(owners))).astype("timedelta64[s]")
        numbers = code_numbers(np.arange(len(owners)), 99_999_989, int(rng.integers(0, 10**7)))
        codes = pl.DataFrame({"n": numbers}).select(pl.format("K{}", pl.col("n").cast(pl.String).str.zfill(8)))
        return pl.DataFrame(
            {
                "record_id": codes.to_series(),
                "person_id": owners.astype(np.int64),
                "made_at": pl.Series(made_at.astype("datetime64[us]")),
                "own_code": pl.Series([None] * len(owners), dtype=pl.String),
            }
        )
    if channel == "business_contacts":
        people = population.persons.filter(pl.col("account_id").is_not_null())
        codes = people.select(pl.format("P{}", pl.col("person_id").cast(pl.String).str.zfill(7)).alias("record_id"))
        return people.select("person_id", pl.col("joined_at").alias("made_at")).with_columns(
            codes["record_id"], pl.lit(None, dtype=pl.String).alias("own_code")
        )
    held = identifiers.filter(pl.col("namespace") == _NAMESPACES[channel])
    held = held.select("person_id", pl.col("from_at").alias("made_at"), pl.col("value").alias("own_code"))
    if channel == "community_members":
        held = held.filter(chosen(rng, 0.8, held.height))
        number = pl.Series(code_numbers(np.arange(held.height), 8_999_993, int(rng.integers(0, 10**6))))
        return held.with_columns(pl.format("M{}", (number + 1_000_000).cast(pl.String)).alias("record_id"))
    return held.with_columns(pl.col("own_code").alias("record_id"))


def _known(made: pl.DataFrame, population: Population, habits: ChannelHabits, rng: np.random.Generator) -> pl.DataFrame:
    """What the channel shows of each person today, before errors: values of the time it last learnt something."""
    n = made.height
    people = population.persons[made["person_id"].to_numpy()].drop("person_id")
    frame = pl.concat([made, people], how="horizontal").with_columns(
        learns_move=chosen(rng, habits.learns_rate, n),
        learns_name=chosen(rng, habits.learns_rate, n),
        move_delay=_days(rng.exponential(12.0, n)),
        name_delay=_days(rng.exponential(25.0, n)),
        gives_second=chosen(rng, habits.second_email_rate, n),
        gives_home=chosen(rng, habits.home_phone_rate, n),
    )
    made_at = pl.col("made_at")
    for kind, changed in (("move", "moved_at"), ("name", "surname_changed_at")):
        learnt_at = pl.col(changed) + pl.col(f"{kind}_delay")
        is_later = (pl.col(changed) > made_at).fill_null(value=False)
        learnt = is_later & pl.col(f"learns_{kind}") & (learnt_at < END)
        frame = frame.with_columns(
            is_later.alias(f"{kind}_is_later"), pl.when(learnt).then(learnt_at).alias(f"{kind}_learnt_at")
        )
    stale_name = pl.col("name_is_later") & pl.col("name_learnt_at").is_null()
    stale_home = pl.col("move_is_later") & pl.col("move_learnt_at").is_null()
    frame = frame.with_columns(
        stale_name.alias("has_stale_surname"),
        stale_home.alias("has_stale_address"),
        pl.max_horizontal("made_at", "move_learnt_at", "name_learnt_at").alias("updated_at"),
        pl.when(stale_name).then("previous_surname").otherwise("surname").alias("surname"),
        *[pl.when(stale_home).then(f"previous_{name}").otherwise(name).alias(name) for name in _ADDRESS],
        pl.when(pl.col("gives_second") & pl.col("second_email").is_not_null())
        .then("second_email")
        .otherwise("email")
        .alias("shown_email"),
        pl.when(pl.col("gives_home"))
        .then(pl.coalesce("home_phone", "mobile_phone"))
        .otherwise(pl.coalesce("mobile_phone", "home_phone"))
        .alias("phone"),
        pl.col("surname").alias("surname_now"),
        *[pl.col(name).alias(f"{name}_now") for name in _ADDRESS],
    )
    frame = frame.with_columns(
        (pl.col("is_mailbox_shared") & (pl.col("shown_email") == pl.col("email")))
        .fill_null(value=False)
        .alias("uses_shared_mailbox"),
        (pl.col("phone") == pl.col("home_phone")).fill_null(value=False).alias("uses_home_phone"),
    ).with_columns(pl.col("shown_email").alias("email"))
    return frame.with_columns(_blanks(n, habits, rng))


def _blanks(n: int, habits: ChannelHabits, rng: np.random.Generator) -> list[pl.Expr]:
    """Values that the channel did not get; the parts of an address come together."""
    is_address_filled = chosen(rng, habits.filled.get("street", 1.0), n)
    kept = []
    for name in _KNOWN:
        share = habits.filled.get(name, 0.0)
        flags: Flags = chosen(rng, share, n)
        if name in ("street", "house_number", "city", "postcode") and "street" in habits.filled:
            flags = is_address_filled
        elif name == "unit":
            flags &= is_address_filled
        kept.append(pl.when(pl.Series(flags)).then(name).alias(name))
    return kept


def _days(values: Floats) -> pl.Series:
    return pl.Series(np.floor(values * 86_400.0 + 3_600.0).astype("timedelta64[s]").astype("timedelta64[us]"))


def _stale(channel: str, known: pl.DataFrame) -> pl.DataFrame:
    parts = [
        known.filter(pl.col(flag) & pl.col(shown).is_not_null()).select(
            "person_id",
            pl.lit(attribute).alias("attribute"),
            pl.lit(channel).alias("channel"),
            "record_id",
            pl.col(since).alias("since"),
        )
        for attribute, flag, shown, since in (
            ("surname", "has_stale_surname", "surname", "surname_changed_at"),
            ("address", "has_stale_address", "postcode", "moved_at"),
        )
    ]
    return pl.concat(parts)


def _versions(known: pl.DataFrame, habits: ChannelHabits, rng: np.random.Generator) -> pl.DataFrame:
    """Today's version of every record, and the earlier one of those that were changed or corrected since.

    The earlier version shows the surname and address of its time, or an error that was found later; what else the record has, right or
    wrong, is the same in both.
    """
    n = known.height
    late = pl.Series(chosen(rng, habits.corrected_rate, n)) & (known["updated_at"] == known["made_at"])
    corrected_at = known["made_at"] + _days(rng.exponential(60.0, n))
    is_corrected = late & (corrected_at < END)
    known = known.with_columns(is_corrected=is_corrected).with_columns(
        pl.when("is_corrected").then(corrected_at).otherwise("updated_at").alias("updated_at")
    )
    earlier = known.filter(pl.col("updated_at") > pl.col("made_at"))
    moved, renamed = pl.col("move_learnt_at").is_not_null(), pl.col("name_learnt_at").is_not_null()
    earlier = earlier.with_columns(
        pl.col("made_at").alias("updated_at"),
        pl.when(renamed & pl.col("surname").is_not_null())
        .then("previous_surname")
        .otherwise("surname")
        .alias("surname"),
        *[
            pl.when(moved & pl.col("postcode").is_not_null()).then(f"previous_{name}").otherwise(name).alias(name)
            for name in _ADDRESS
        ],
    )
    wrong = np.flatnonzero(earlier["is_corrected"].to_numpy() & earlier["surname"].is_not_null().to_numpy())
    damage = Draft(earlier, rng, habits.rates)
    damage.change("corrected", "surname", wrong, lambda names: mistyped(names, rng))
    return pl.concat([damage.frame, known]).sort("updated_at", "record_id")


def _spoken_phone() -> pl.Expr:
    """A telephone number as people write it: international, national, with spaces. Dummy numbers stay."""
    style = pl.col("phone_style")
    national = pl.concat_str(pl.lit("0"), pl.col("phone").str.slice(3))
    spaced = pl.concat_str(national.str.slice(0, 5), pl.lit(" "), national.str.slice(5))
    return (
        pl.when(~pl.col("phone").str.starts_with("+44") | (style == 0))
        .then("phone")
        .when(style == 1)
        .then(national)
        .when(style == 2)
        .then(spaced)
        .otherwise(pl.concat_str(pl.lit("0044"), pl.col("phone").str.slice(3)))
        .alias("phone")
    )


def _full_name(order: str = "{given} {surname}") -> pl.Expr:
    given, surname = pl.col("given_name"), pl.col("surname")
    both = (
        pl.concat_str(given, pl.lit(" "), surname)
        if order == "{given} {surname}"
        else pl.concat_str(surname, pl.lit(", "), given)
    )
    return pl.coalesce(both, surname, given)


def _line() -> pl.Expr:
    plain = pl.concat_str("house_number", pl.lit(" "), "street")
    return pl.coalesce(pl.concat_str("unit", pl.lit(", "), plain), plain)


def _birth_date(channel: str) -> pl.Expr:
    return pl.col("birth_date").dt.strftime(_DATE_PATTERNS.get(channel, _ISO))


def _another_number(
    frame: pl.DataFrame, identifiers: pl.DataFrame, namespace: str, share: float, rng: np.random.Generator
) -> pl.Series:
    """The person's first identifier in another system, for a share of the people; the same in all versions of a record."""
    first = identifiers.filter(pl.col("namespace") == namespace).unique("person_id", keep="first", maintain_order=True)
    given = first.filter(chosen(rng, share, first.height)).select("person_id", pl.col("value"))
    return frame.select("person_id").join(given, on="person_id", how="left", maintain_order="left")["value"]


def _crm(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    rng = draft.rng
    draft.frame = draft.frame.with_columns(_spoken_phone(), date_of_birth=pl.col("birth_text"))
    is_former = chosen(rng, 0.03, population.persons.height)
    return draft.frame.select(
        pl.col("record_id").alias("contact_no"),
        pl.when("is_prospect")
        .then(pl.lit("prospect"))
        .when(pl.Series(is_former[draft.frame["person_id"].to_numpy()]))
        .then(pl.lit("former"))
        .otherwise(pl.lit("customer"))
        .alias("status"),
        pl.col("acquisition_source").alias("source"),
        "given_name",
        pl.when(pl.col("shortens_middle_name") & (pl.col("middle_name").str.len_chars() > 3))
        .then(pl.col("middle_name").str.slice(0, 1))
        .otherwise("middle_name")
        .alias("middle_name"),
        "surname",
        "date_of_birth",
        pl.col("sex").str.to_uppercase(),
        "email",
        "phone",
        "house_number",
        "street",
        "unit",
        pl.col("city").alias("town"),
        pl.col("region").alias("county"),
        "postcode",
        "country",
        pl.col("updated_at").alias("changed_at"),
    )


def _web_accounts(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    frame = draft.frame
    return frame.select(
        pl.col("record_id").alias("account_id"),
        pl.coalesce("email", pl.concat_str("record_id", pl.lit("@guest.example"))).alias("email"),
        _full_name().alias("full_name"),
        _spoken_phone(),
        pl.col("birth_text").alias("birth_date"),
        _line().alias("delivery_line"),
        pl.col("city").alias("delivery_town"),
        pl.col("postcode").alias("delivery_postcode"),
        _another_number(frame, identifiers, "loyalty", 0.12, draft.rng).alias("loyalty_no"),
        "updated_at",
    )


def _loyalty(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    draft.frame = draft.frame.with_columns(_spoken_phone())
    tier = draft.frame["person_id"].to_numpy() % 20
    return draft.frame.select(
        pl.col("record_id").alias("card_no"),
        "given_name",
        "surname",
        pl.col("birth_text").alias("date_of_birth"),
        "phone",
        "email",
        "postcode",
        pl.Series("tier", np.select([tier == 0, tier < 5], ["gold", "silver"], "basic")),
        "updated_at",
    )


def _app_registrations(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    frame = draft.frame
    return frame.select(
        pl.col("record_id").alias("app_user"),
        _another_number(frame, identifiers, "device", 1.0, draft.rng).alias("device"),
        "email",
        pl.col("given_name").alias("first_name"),
        "phone",
        pl.col("birth_date").dt.year().cast(pl.String).alias("birth_year"),
        _another_number(frame, identifiers, "account", 0.25, draft.rng).alias("account"),
        pl.col("updated_at").alias("registered_at"),
    )


def _call_centre_contacts(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    draft.frame = draft.frame.with_columns(_spoken_phone(), date_of_birth=pl.col("birth_text"))
    return draft.frame.select(
        pl.col("record_id").alias("contact_id"),
        _full_name().alias("caller_name"),
        pl.col("phone").alias("caller_phone"),
        "email",
        "postcode",
        "date_of_birth",
        pl.col("updated_at").alias("noted_at"),
    )


def _billing_accounts(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    frame = draft.frame
    table = frame.select(
        pl.col("record_id").alias("billing_no"),
        _full_name("{surname}, {given}").str.to_uppercase().alias("holder"),
        pl.col("birth_text").alias("date_of_birth"),
        _line().str.to_uppercase().alias("address_line"),
        pl.col("city").str.to_uppercase().alias("town"),
        "postcode",
        "email",
        _spoken_phone(),
        _another_number(frame, identifiers, "account", 0.2, draft.rng).alias("account"),
        "updated_at",
    )
    texts = [name for name, dtype in table.schema.items() if dtype == pl.String]
    return table.with_columns(_in_latin_1(table[name]) for name in texts)


def _in_latin_1(values: pl.Series) -> pl.Series:
    """Letters that the character set of Western Europe lacks, without their marks or left out."""
    foreign = r"[^\x00-\xff]"
    plain = without_accents(values).str.replace_all("’", "'").str.replace_all(foreign, "")
    return pl.DataFrame({"v": values, "plain": plain}).select(
        pl.when(pl.col("v").str.contains(foreign)).then("plain").otherwise("v").alias(values.name)
    )[values.name]


def _community_members(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    return draft.frame.select(
        pl.col("record_id").alias("member_id"),
        pl.col("own_code").alias("handle"),
        _full_name().alias("display_name"),
        "email",
        pl.col("city").alias("town"),
        pl.col("birth_date").dt.year().cast(pl.String).alias("birth_year"),
        pl.col("updated_at").alias("joined_at"),
    )


def _business_contacts(draft: Draft, population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    frame, rng = draft.frame, draft.rng
    accounts = population.accounts.select("account_id", "organisation_no", pl.col("email").alias("office"))
    joined = frame.join(accounts, on="account_id", how="left", maintain_order="left")
    local = (
        without_accents(joined["given_name"] + "." + joined["surname"])
        .str.to_lowercase()
        .str.replace_all("[^a-z.]", "")
    )
    work = local + joined["office"].str.replace("^[^@]*", "")
    at_work = pl.Series(chosen(rng, _WORK_EMAIL_RATE, frame.height))
    titles = pl.Series(["Buyer", "Office manager", "Managing director", "Accountant", "Facilities"])
    return joined.select(
        pl.col("record_id").alias("contact_id"),
        "organisation_no",
        "given_name",
        "surname",
        titles.gather(rng.integers(0, 5, frame.height)).alias("job_title"),
        pl.when(at_work).then(work).otherwise("email").alias("email"),
        pl.col("phone").alias("mobile"),
        "updated_at",
    )


_COLUMNS = {
    "crm": _crm,
    "web_accounts": _web_accounts,
    "loyalty": _loyalty,
    "app_registrations": _app_registrations,
    "call_centre_contacts": _call_centre_contacts,
    "billing_accounts": _billing_accounts,
    "community_members": _community_members,
    "business_contacts": _business_contacts,
}


def _organisations(population: Population, seed: int) -> pl.DataFrame:
    """Business accounts, a few of them entered twice under another form of the name."""
    rng = stream(seed, "records.business_accounts")
    accounts = population.accounts
    twice = accounts.filter(chosen(rng, 0.05, accounts.height)).with_columns(
        pl.concat_str(pl.lit("O9"), pl.col("organisation_no").str.slice(2)).alias("organisation_no"),
        pl.col("name").str.replace("Ltd$", "Limited").str.replace("&", "and", literal=True),
        pl.col("joined_at") + timedelta(days=30),
    )
    frame = pl.concat([accounts, twice]).filter(pl.col("joined_at") < END)
    n = frame.height
    draft = Draft(
        frame.with_columns(address_line=pl.concat_str("house_number", pl.lit(" "), "street")), rng, TYPED_BY_STAFF
    )
    draft.change("typo_name", "name", draft.hit(0.02), lambda names: mistyped(names, rng))
    draft.change("form_dropped", "name", draft.hit(0.1), lambda names: names.str.replace(" (Ltd|Limited|PLC|LLP)$", ""))
    has_registration = pl.Series(chosen(rng, 0.8, n))
    return draft.frame.select(
        "account_id",
        "organisation_no",
        "name",
        pl.when(has_registration).then("registration_id").alias("registration_id"),
        "industry",
        "n_employees",
        "address_line",
        pl.col("city").alias("town"),
        "postcode",
        "email",
        "phone",
        pl.col("joined_at").alias("updated_at"),
        draft.corruptions(),
    ).sort("updated_at", "organisation_no")


def _write_links(out: Path, population: Population, identifiers: pl.DataFrame, seed: int) -> None:
    """First log-ins: cookies into accounts, devices into app users; kiosks and shared devices into those of several people."""
    rng = stream(seed, "records.identifier_links")
    parts = []
    for seen, account, share in (("cookie", "account", 0.8), ("device", "app_user", 0.97)):
        left = identifiers.filter(pl.col("namespace") == seen).select(
            "person_id", pl.col("value").alias(seen), pl.col("from_at").alias("seen_from"), "to_at"
        )
        right = (
            identifiers.filter(pl.col("namespace") == account)
            .unique("person_id", keep="first", maintain_order=True)
            .select("person_id", pl.col("value").alias(account), "from_at")
        )
        pairs = left.join(right, on="person_id", maintain_order="left_right").filter(
            pl.col("from_at") < pl.col("to_at")
        )
        pairs = pairs.filter(chosen(rng, share, pairs.height))
        began = pl.max_horizontal("seen_from", "from_at", pl.lit(population.starts_at))
        until = pl.min_horizontal("to_at", pl.lit(END))
        offset = pl.Series(rng.random(pairs.height) * 0.2)
        pairs = pairs.with_columns((began + (until - began) * offset).dt.truncate("1s").alias("seen_at"))
        parts.append(pairs.filter(pl.col("seen_at") < END).drop("person_id", "seen_from", "to_at", "from_at"))
    links = pl.concat(parts, how="diagonal").sort("seen_at", "cookie", "account", "device", "app_user")
    numbers = pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.String).str.zfill(9)
    write_by_month(out, "identifier_links", links.with_columns(pl.format("L{}", numbers).alias("link_id")), "seen_at")


def _true_identifiers(population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    """Identifiers with those of `contact` namespaces."""
    contacts = []
    for namespace, name in (
        ("email", "email"),
        ("email", "second_email"),
        ("phone", "mobile_phone"),
        ("phone", "home_phone"),
    ):
        held = population.persons.drop_nulls(name)
        contacts.append(
            held.select(
                "person_id",
                pl.lit(namespace).alias("namespace"),
                pl.col(name).alias("value"),
                pl.col("joined_at").alias("from_at"),
                pl.lit(None, dtype=pl.Datetime("us")).alias("to_at"),
                (pl.len().over(name) > 1).alias("is_shared"),
                pl.lit(value=False).alias("is_kiosk"),
            )
        )
    return pl.concat([identifiers.with_columns(pl.col("namespace").cast(pl.String)), *contacts])


@dataclass(frozen=True)
class OverlayRates:
    """Bought-in demographics.

    Attributes:
        covered_rate: people the vendor knows.
        stranger_rate: rows about nobody, as a share of those about somebody.
        phone_rate: rows keyed by telephone rather than e-mail.
        wrong_age_rate: rows whose age is wrong.
        max_age_days: how long ago an observation may be.
    """

    covered_rate: float = 0.35
    stranger_rate: float = 0.17
    phone_rate: float = 0.3
    wrong_age_rate: float = 0.04
    max_age_days: int = 1_460


def _write_overlay(out: Path, population: Population, known: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Write demographics; returns their truth."""
    rng, rates = stream(seed, "records.demographics"), OverlayRates()
    persons = population.persons
    covered = persons.filter(chosen(rng, rates.covered_rate, persons.height)).select(
        "person_id", "email", "mobile_phone", "birth_date", "household_id"
    )
    covered = covered.filter(pl.any_horizontal(pl.col("email", "mobile_phone").is_not_null()))
    n = covered.height
    by_phone = pl.Series(chosen(rng, rates.phone_rate, n))
    use_phone = (by_phone & pl.col("mobile_phone").is_not_null()) | pl.col("email").is_null()
    covered = covered.with_columns(
        pl.when(~use_phone).then("email").alias("email"), pl.when(use_phone).then("mobile_phone").alias("phone")
    ).drop("mobile_phone")
    strangers = covered[rng.integers(0, max(n, 1), round(n * rates.stranger_rate))].with_columns(
        pl.lit(None, dtype=pl.Int64).alias("person_id"),
        pl.concat_str(pl.lit("x"), pl.col("email")).alias("email"),
        pl.col("phone").str.replace(r"^\+447", "+4483").alias("phone"),
    )
    rows = pl.concat([covered, strangers], how="diagonal")
    n = rows.height
    rows = rows[rng.permutation(n)]
    observed = np.datetime64(END, "D") - rng.integers(5, rates.max_age_days, n).astype("timedelta64[D]")
    age = (observed - rows["birth_date"].to_numpy().astype("datetime64[D]")).astype(np.int64) / 365.2425
    wrong = chosen(rng, rates.wrong_age_rate, n) * rng.integers(3, 15, n)
    size = population.households["n_persons"].gather(rows["household_id"])
    lifestyles = pl.Series(["city starters", "suburban families", "rural comfort", "silver surfers", "budget planners"])
    frame = rows.with_columns(
        pl.format("V{}", (pl.int_range(pl.len(), dtype=pl.Int64) + 10_000_000).cast(pl.String)).alias("row_id"),
        pl.Series("observed_on", observed).cast(pl.Date),
        pl.Series("age_years", np.floor(age).astype(np.int64) + wrong),
        pl.Series(["low", "middle", "high", "top"])
        .gather(weighted_indices(rng, (0.25, 0.45, 0.22, 0.08), n))
        .alias("income_band"),
        pl.Series(["owner", "tenant"]).gather(weighted_indices(rng, (0.62, 0.38), n)).alias("home_ownership"),
        size.alias("household_size"),
        lifestyles.gather(rng.integers(0, 5, n)).alias("lifestyle"),
    )
    frame = frame.with_columns(
        [
            pl.when(pl.Series(~chosen(rng, 0.12, n))).then(name).alias(name)
            for name in ("income_band", "home_ownership", "lifestyle")
        ]
    )
    write_extract(out, "demographics", frame, "2026")
    return frame.select(pl.col("row_id").alias("record_id"), "person_id", _is_findable(frame, known))


def _is_findable(overlay: pl.DataFrame, known: pl.DataFrame) -> pl.Series:
    """Whether a row's key stands in records of its person and in nobody else's."""
    findable = pl.lit(value=False)
    frame = overlay.select("person_id", "email", "phone")
    for key in ("email", "phone"):
        owners = (
            known.select(key, "person_id")
            .drop_nulls()
            .group_by(key)
            .agg(pl.col("person_id").min().alias(f"{key}_owner"), pl.col("person_id").n_unique().alias(f"{key}_n"))
        )
        frame = frame.join(owners, on=key, how="left", maintain_order="left")
        own = (pl.col(f"{key}_owner") == pl.col("person_id")) & (pl.col(f"{key}_n") == 1)
        findable = findable | own.fill_null(value=False)
    return frame.select(findable.alias("is_findable"))["is_findable"]


_PURPOSES = {"email_marketing": 0.62, "phone_marketing": 0.35, "post_marketing": 0.5, "profiling": 0.45}


def _write_consents(out: Path, population: Population, identifiers: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Write statements about consent, most made on joining, some taken back or given later; returns who stands where."""
    rng = stream(seed, "records.consents")
    people = _with_numbers(population, identifiers)
    people = people.filter(pl.any_horizontal(pl.col("contact_no", "account", "card_no").is_not_null()))
    parts = []
    for purpose, share in _PURPOSES.items():
        n = people.height
        granted, changes = chosen(rng, share, n), chosen(rng, 0.09, n)
        first = people.with_columns(
            pl.lit(purpose).alias("purpose"),
            pl.Series("is_granted", granted),
            pl.col("joined_at").alias("given_at"),
            pl.Series("changes", changes),
        )
        asked = first.filter(chosen(rng, 0.7, n))
        began = pl.max_horizontal("given_at", pl.lit(population.starts_at))
        later = asked.filter("changes").with_columns(~pl.col("is_granted"))
        share_of_time = pl.Series(rng.random(later.height))
        later = later.with_columns((began + (pl.lit(END) - began) * share_of_time).dt.truncate("1s").alias("given_at"))
        parts += [asked, later]
    statements = (
        pl.concat(parts)
        .with_columns(status=pl.when("is_granted").then(pl.lit("granted")).otherwise(pl.lit("withdrawn")))
        .sort("given_at", "person_id", "purpose", "status")
        .with_columns(
            pl.format("S{}", pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.String).str.zfill(9)).alias("consent_id")
        )
    )
    write_by_month(out, "consents", statements, "given_at", population.starts_at)
    return (
        statements.sort("person_id", "purpose", "given_at", "consent_id")
        .group_by("person_id", "purpose", maintain_order=True)
        .agg(pl.col("status").last(), pl.col("given_at").last().alias("since"))
    )


def _with_numbers(population: Population, identifiers: pl.DataFrame) -> pl.DataFrame:
    """person_id, joined_at, asks_erasure_at, email and the person's first CRM, account and loyalty numbers."""
    people = population.persons.select("person_id", "joined_at", "asks_erasure_at", "email")
    for namespace, name in (("crm", "contact_no"), ("account", "account"), ("loyalty", "card_no")):
        first = identifiers.filter(pl.col("namespace") == namespace).unique(
            "person_id", keep="first", maintain_order=True
        )
        people = people.join(
            first.select("person_id", pl.col("value").alias(name)), on="person_id", how="left", maintain_order="left"
        )
    # A statement is made in one place: the strongest number is named, the others only where there is none.
    return people.with_columns(
        pl.when(pl.col("contact_no").is_null()).then("account").alias("account"),
        pl.when(pl.col("contact_no").is_null() & pl.col("account").is_null()).then("card_no").alias("card_no"),
    )


def _write_privacy_requests(out: Path, population: Population, identifiers: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Write requests for erasure (who asks in the population) and for access; returns their truth."""
    rng = stream(seed, "records.privacy_requests")
    people = _with_numbers(population, identifiers)
    erasure = people.filter(pl.col("asks_erasure_at").is_not_null()).with_columns(
        pl.lit("erasure").alias("type"), pl.col("asks_erasure_at").alias("received_at")
    )
    access = people.filter(chosen(rng, 0.001, people.height))
    days = (END - population.starts_at).days
    seconds = np.floor(rng.random(access.height) * days * 86_400.0).astype("timedelta64[s]")
    received = pl.Series((np.datetime64(population.starts_at, "s") + seconds).astype("datetime64[us]"))
    access = access.with_columns(
        pl.lit("access").alias("type"), pl.max_horizontal("joined_at", received).alias("received_at")
    )
    requests = (
        pl.concat([erasure, access])
        .filter(pl.any_horizontal(pl.col("contact_no", "account", "card_no", "email").is_not_null()))
        .sort("received_at", "person_id", "type")
        .with_columns(
            pl.format("Q{}", pl.int_range(pl.len(), dtype=pl.Int64).cast(pl.String).str.zfill(6)).alias("request_id")
        )
    )
    write_extract(out, "privacy_requests", requests, "all")
    return requests.select("request_id", "person_id", "type", "received_at")


def share_unlinkable(records: pl.DataFrame) -> float:
    """Share of records of people with several records that nothing undamaged connects to another record of the same person."""
    asked = records["is_linkable"].drop_nulls().to_numpy()
    return float(1.0 - asked.mean()) if len(asked) else 0.0
