from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from cx_pipeline.simulate.identifiers import NAMESPACES, draw_identifiers, pick
from cx_pipeline.simulate.randomness import stream
from cx_pipeline_tests.simulate.conftest import SEED, People


def test_identifiers_when_drawn_twice_then_they_are_the_same(people: People) -> None:
    assert draw_identifiers(people.population, seed=SEED).equals(people.identifiers)


def test_identifiers_when_neither_shared_nor_of_a_kiosk_then_they_are_of_one_person(people: People) -> None:
    owners = (
        people.identifiers.filter(~pl.col("is_shared") & ~pl.col("is_kiosk"))
        .group_by("namespace", "value")
        .agg(pl.col("person_id").n_unique())
    )
    assert owners["person_id"].max() == 1
    assert set(people.identifiers["namespace"].unique()) == set(NAMESPACES)


def test_kiosks_when_drawn_then_few_cookies_are_used_by_many_and_shared_ones_stay_in_a_household(
    people: People,
) -> None:
    kiosks = people.identifiers.filter("is_kiosk").group_by("value").len()
    assert 2 <= kiosks.height <= 12
    assert kiosks["len"].min() > 20
    homes = people.population.persons.select("person_id", "household_id")
    shared = people.identifiers.filter("is_shared").join(homes, on="person_id")
    assert shared.group_by("namespace", "value").agg(pl.col("household_id").n_unique())["household_id"].max() == 1
    assert shared.filter(pl.col("namespace") == "cookie").height > 10


def test_pick_when_asked_then_it_gives_own_identifiers_that_were_in_use_and_null_to_those_without(
    people: People,
) -> None:
    person_ids = np.tile(people.population.persons["person_id"].to_numpy(), 5)
    at = np.datetime64("2026-01-01", "us") + np.arange(len(person_ids)).astype("timedelta64[s]")
    picked = pick(people.identifiers, person_ids, "cookie", stream(1, "p"), at)
    assert picked.null_count() == 0
    rows = pl.DataFrame({"person_id": person_ids, "value": picked, "at": at}).join(
        people.identifiers.filter(pl.col("namespace") == "cookie"), on=["person_id", "value"], how="left"
    )
    assert rows["from_at"].null_count() == 0
    in_use = rows.select(((pl.col("from_at") <= pl.col("at")) & (pl.col("at") < pl.col("to_at"))).mean()).item()
    assert float(in_use) > 0.97
    assert 0 < rows["is_kiosk"].to_numpy().mean() < 0.03
    accounts = pick(people.identifiers, person_ids, "account", stream(1, "p"))
    holders = people.identifiers.filter(pl.col("namespace") == "account")["person_id"].unique()
    without = ~pl.Series(person_ids).is_in(holders.to_list())
    assert accounts.is_null().equals(without)


def test_pick_when_a_person_has_several_then_all_are_shown_at_some_time(people: People) -> None:
    devices = people.identifiers.filter((pl.col("namespace") == "device") & ~pl.col("is_shared"))
    person = int(devices.filter(pl.len().over("person_id") > 1)["person_id"][0])
    picked = pick(people.identifiers, np.full(400, person), "device", stream(3, "p"))
    own = people.identifiers.filter((pl.col("namespace") == "device") & (pl.col("person_id") == person))["value"]
    assert set(picked) == set(own)


def test_pick_when_nothing_is_in_use_at_that_time_then_the_first_is_shown(people: People) -> None:
    holders = people.identifiers.filter(pl.col("namespace") == "loyalty")["person_id"].to_numpy()
    long_ago = np.full(len(holders), np.datetime64(datetime(1990, 1, 1), "us"))
    picked = pick(people.identifiers, holders, "loyalty", stream(1, "p"), long_ago)
    assert picked.to_list() == people.identifiers.filter(pl.col("namespace") == "loyalty")["value"].to_list()
