from __future__ import annotations

from dataclasses import fields, replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from rapidfuzz.distance import DamerauLevenshtein

from cx_pipeline.simulate import corruption
from cx_pipeline.simulate.corruption import CorruptionRates, Draft, mistyped, without_accents
from cx_pipeline.simulate.randomness import stream

NAMES = ("Catherine", "Müller", "Smith", "García López", "Kowalski", "Al", "Elizabeth", "Łukasz")
NOTHING = replace(CorruptionRates(), **{field.name: 0.0 for field in fields(CorruptionRates)})


def people(n: int = 4_000) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "given_name": [NAMES[i % 8] for i in range(n)],
            "surname": [NAMES[(i // 8) % 8] for i in range(n)],
            "birth_date": [date(1950 + i % 50, 1 + i % 12, 1 + i % 28) for i in range(n)],
            "email": [f"user{i}@mail.example" for i in range(n)],
            "phone": [f"+4471{i:08d}" for i in range(n)],
            "street": ["Station Road"] * n,
            "postcode": ["AB1 2CD"] * n,
        }
    )


def draft(**rates: float) -> Draft:
    return Draft(people(), stream(5, "corruption"), replace(NOTHING, **rates))


def everything(what: Draft) -> None:
    corruption.corrupt_names(what)
    corruption.corrupt_dates(what)
    corruption.corrupt_contacts(what)
    corruption.corrupt_addresses(what)
    corruption.say_nothing_in_words(what, "email")


def test_mistyped_when_hit_then_one_slip_separates_it_from_the_original() -> None:
    values = pl.Series("v", list(NAMES) * 500)
    slips = mistyped(values, stream(1, "typo"))
    distances = [DamerauLevenshtein.distance(a, b) for a, b in zip(values, slips, strict=True)]
    # A misread m (rn) is two characters; a slip never is more.
    assert max(distances) <= 2
    assert np.mean(np.array(distances) == 1) > 0.95
    assert np.mean([a[0] != b[0] for a, b in zip(values, slips, strict=True)]) < 0.2


def test_accents_when_lost_then_plain_letters_remain() -> None:
    assert without_accents(pl.Series(["Łukasz Żółć", "Müller", "Çağrı", "Weiß"])).to_list() == [
        "Lukasz Zolc", "Muller", "Cagri", "Weiss",
    ]  # fmt: skip


def test_corruption_when_all_rates_are_nought_then_nothing_changes_and_nothing_is_noted() -> None:
    what = draft()
    everything(what)
    assert what.frame.equals(people())
    assert what.corruptions().list.len().sum() == 0


@pytest.mark.parametrize(
    ("rate", "kind", "column"),
    [
        ("name_typo", "typo_surname", "surname"),
        ("street_typo", "typo_street", "street"),
        ("email_typo", "typo_email", "email"),
        ("phone_typo", "typo_phone", "phone"),
        ("dummy_phone", "dummy_phone", "phone"),
        ("birth_date_typo", "typo_birth_date", "birth_date"),
        ("street_abbreviated", "street_abbreviated", "street"),
        ("initial", "initial", "given_name"),
    ],
)
def test_corruption_when_a_rate_is_set_then_it_holds_and_exactly_the_changed_records_are_noted(
    rate: str, kind: str, column: str
) -> None:
    what = draft(**{rate: 0.2})
    everything(what)
    noted = pl.Series(what.kinds[kind])
    assert noted.mean() == pytest.approx(0.2, abs=0.03)
    assert what.frame[column].ne_missing(people()[column]).equals(noted)


def test_names_when_corrupted_then_each_kind_does_what_it_says() -> None:
    clean = people()
    swapped = draft(swapped_names=1.0)
    corruption.corrupt_names(swapped)
    assert swapped.frame["given_name"].equals(clean["surname"].alias("given_name"))
    short = draft(nickname=1.0)
    corruption.corrupt_names(short)
    assert set(short.frame["given_name"].filter(clean["given_name"] == "Elizabeth")) == {"Liz", "Beth", "Lizzie"}
    assert (short.frame["given_name"].filter(clean["given_name"] == "Smith") == "Smith").all()
    heard = draft(by_ear=1.0)
    corruption.corrupt_names(heard)
    changed = heard.frame["surname"].ne_missing(clean["surname"])
    assert changed.to_numpy().mean() > 0.8
    dropped = draft(second_surname_dropped=1.0)
    corruption.corrupt_names(dropped)
    assert (dropped.frame["surname"].filter(clean["surname"] == "García López") == "García").all()


def test_dates_when_corrupted_then_day_and_month_change_places_or_the_first_of_january_stands() -> None:
    clean = people()["birth_date"]
    swapped = draft(swapped_day_month=1.0)
    corruption.corrupt_dates(swapped)
    possible = clean.dt.day() <= 12
    assert swapped.frame["birth_date"].dt.month().filter(possible).equals(clean.dt.day().filter(possible))
    assert swapped.frame["birth_date"].filter(~possible).equals(clean.filter(~possible))
    default = draft(default_date=1.0)
    corruption.corrupt_dates(default)
    assert set(default.frame["birth_date"].dt.ordinal_day()) == {1}
    assert default.frame["birth_date"].dt.year().equals(clean.dt.year())


def test_empty_values_when_said_in_words_then_full_ones_stay() -> None:
    frame = people().with_columns(pl.when(pl.int_range(pl.len()) % 2 == 0).then("email").alias("email"))
    what = Draft(frame, stream(2, "n"), replace(NOTHING, null_word=1.0))
    corruption.say_nothing_in_words(what, "email")
    assert what.frame["email"].gather_every(2).equals(frame["email"].gather_every(2))
    assert what.frame["email"].null_count() == 0
    assert "n/a" in set(what.frame["email"])


def test_corruptions_when_several_hit_a_record_then_all_are_listed_in_order() -> None:
    what = draft(initial=1.0, dummy_phone=1.0)
    everything(what)
    assert what.corruptions()[0].to_list() == ["dummy_phone", "initial"]
    assert what.corruptions().list.len().min() == 2
