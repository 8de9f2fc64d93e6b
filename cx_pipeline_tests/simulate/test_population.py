from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from cx_pipeline.simulate.population import END, draw_population
from cx_pipeline_tests.simulate.conftest import N_DAYS, N_PEOPLE, SEED, People


def test_population_when_drawn_twice_then_it_is_the_same_and_another_seed_gives_others(people: People) -> None:
    again = draw_population(N_PEOPLE, N_DAYS, SEED)
    assert again.persons.equals(people.population.persons)
    assert again.accounts.equals(people.population.accounts)
    other = draw_population(N_PEOPLE, N_DAYS, SEED + 1).persons
    assert not other["surname"].equals(people.population.persons["surname"])


@pytest.mark.parametrize("n", [1, 2, 37])
def test_population_when_tiny_then_it_has_that_many_people(n: int) -> None:
    population = draw_population(n, 30, 3)
    assert population.persons["person_id"].to_list() == list(range(n))
    assert population.households["n_persons"].sum() == n


def test_households_when_drawn_then_members_share_home_and_phone_and_each_has_one_head(people: People) -> None:
    persons = people.population.persons
    homes = persons.group_by("household_id").agg(
        pl.col("street", "house_number", "postcode", "home_phone").n_unique(), pl.col("is_head").sum().alias("heads")
    )
    assert homes.select(pl.all().exclude("household_id").max()).row(0) == (1, 1, 1, 1, 1)
    shared_surname = persons.filter(pl.len().over("household_id", "surname") > 1).height
    assert 0.1 < shared_surname / persons.height < 0.6
    assert people.population.households["n_persons"].max() >= 4


def test_addresses_when_drawn_then_a_postcode_belongs_to_one_street_and_towns_differ_in_size(people: People) -> None:
    persons = people.population.persons
    assert persons.group_by("postcode").agg(pl.struct("street", "city").n_unique().alias("n"))["n"].max() == 1
    assert persons["postcode"].str.contains(r"^[A-Z]{1,2}\d{1,2} \d[A-Z]{2}$").all()
    sizes = persons["city"].value_counts(sort=True)["count"]
    assert sizes[0] > 4 * sizes[len(sizes) // 2]


def test_names_when_drawn_then_a_few_are_very_common_and_most_are_rare(people: People) -> None:
    counts = people.population.persons["surname"].value_counts(sort=True)["count"]
    assert counts[0] / N_PEOPLE > 0.005
    assert len(counts) > N_PEOPLE / 5


def test_contacts_when_drawn_then_own_mailboxes_and_mobiles_are_of_one_person_and_some_mailboxes_of_a_household(
    people: People,
) -> None:
    persons = people.population.persons
    own = persons.filter(~pl.col("is_mailbox_shared"))["email"].drop_nulls()
    assert not own.is_duplicated().any()
    assert not persons["mobile_phone"].drop_nulls().is_duplicated().any()
    shared = persons.filter("is_mailbox_shared")
    assert shared.height > 20
    assert shared.group_by("email").agg(pl.col("household_id").n_unique())["household_id"].max() == 1
    assert set(shared["email"]).isdisjoint(own)
    assert persons["email"].drop_nulls().str.ends_with(".example").all()


def test_changes_when_drawn_then_they_lie_before_the_end_and_say_what_was_before(people: People) -> None:
    persons = people.population.persons
    moved = persons.drop_nulls("moved_at")
    assert 0.05 < moved.height / persons.height < 0.4
    assert moved["previous_postcode"].null_count() == 0
    assert (
        persons.filter(pl.col("moved_at").is_null())["previous_postcode"].null_count() == persons.height - moved.height
    )
    renamed = persons.drop_nulls("surname_changed_at")
    assert renamed.height > 20
    assert renamed["previous_surname"].null_count() == 0
    for column in ("moved_at", "surname_changed_at", "joined_at", "asks_erasure_at"):
        assert persons[column].max() < END, column


def test_history_when_drawn_then_the_documented_shares_hold(people: People) -> None:
    persons = people.population.persons
    before = (persons["joined_at"] < END - timedelta(days=N_DAYS)).mean()
    assert before == pytest.approx(0.4, abs=0.04)
    assert persons["is_prospect"].mean() == pytest.approx(0.08, abs=0.02)
    assert (persons["joined_at"] <= persons["asks_erasure_at"]).drop_nulls().all()


def test_birth_dates_when_drawn_then_nobody_is_a_child_and_no_day_is_crowded(people: People) -> None:
    births = people.population.persons["birth_date"]
    assert births.max() <= date(2012, 6, 30)
    assert births.value_counts(sort=True)["count"][0] <= 6
    twins = people.population.persons.filter(pl.len().over("household_id", "birth_date") > 1)
    assert twins.height >= 2
