from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core.models import ModelStore
from cx_pipeline.identity.champion import model_in_use, read_state, write_state
from cx_pipeline.identity.fields import number_records
from cx_pipeline.identity.linkage import link
from cx_pipeline.identity.linkage_model import MODEL, LinkageModel, usable_model
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.standardise import standardise
from cx_pipeline_tests.identity.people import population

POLICY = LinkagePolicy(all_pairs_up_to_records=0, n_random_pairs=20_000)
DAY = date(2026, 1, 31)
NOBODY: frozenset[str] = frozenset()


def numbered(people: pl.DataFrame) -> pl.DataFrame:
    return number_records(standardise(nw.from_native(people.lazy())).collect().to_native())


@pytest.fixture(scope="module")
def people() -> pl.DataFrame:
    return population(60, seed=5)


@pytest.fixture(scope="module")
def records(people: pl.DataFrame) -> pl.DataFrame:
    return numbered(people)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, records: pl.DataFrame) -> ModelStore:
    store = ModelStore(tmp_path_factory.mktemp("models"))
    assert model_in_use(store, records, POLICY, NOBODY, "key", DAY) is not None
    return store


def test_model_in_use_without_a_champion_then_trained_submitted_and_promoted(store: ModelStore) -> None:
    champion = store.champion(MODEL)
    assert champion is not None
    assert champion.is_better
    assert champion.decision == "promoted: the first version"
    assert "Blocking keys" in champion.card.quantitative_analyses


def test_model_in_use_with_a_champion_then_it_is_used_and_nothing_trained(
    store: ModelStore, records: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cx_pipeline.identity.champion.train", None)
    assert model_in_use(store, records[:50], POLICY, NOBODY, "key", DAY) is not None


def test_the_stored_model_then_scores_as_the_fresh_one(store: ModelStore, records: pl.DataFrame) -> None:
    stored = model_in_use(store, records, POLICY, NOBODY, "key", DAY)
    fresh = link(records, POLICY, NOBODY, hash_key="key")
    assert link(records, POLICY, NOBODY, stored, "key").edges.equals(fresh.edges)


def test_the_stored_files_then_hold_no_value_of_a_person(store: ModelStore, people: pl.DataFrame) -> None:
    text = b"".join(path.read_bytes() for path in store.root.rglob("*") if path.is_file()).decode()
    values = {
        value for column in ("given_name", "surname", "email", "birth_date") for value in people[column].drop_nulls()
    }
    assert [value for value in values if f'"{value}"' in text or f"{value} " in text] == []


@pytest.mark.parametrize(
    ("change", "is_usable"),
    [
        ("nothing", True),
        ("another key", False),
        ("another kind", False),
        ("a new field", False),
        ("many more records", False),
        ("fewer levels", False),
        ("a field less", True),
    ],
)
def test_usable_model_then_only_where_it_fits(
    store: ModelStore, people: pl.DataFrame, change: str, is_usable: bool
) -> None:
    champion = store.champion(MODEL)
    assert champion is not None
    stored = json.loads(json.dumps(champion.parameters))
    policy, key, seen = POLICY, "key", people
    if change == "another key":
        key = "other"
    elif change == "another kind":
        policy = LinkagePolicy(model="splink")
    elif change == "a new field":
        seen = people.with_columns(phone=pl.int_range(pl.len()).cast(pl.String) + "000000")
    elif change == "a field less":
        seen = people.drop("email")
    elif change == "many more records":
        stored["n_records"] = 10
    elif change == "fewer levels":
        stored["scorers"]["persons"]["blocks"][0]["levels"][0] -= 1
    assert isinstance(usable_model(stored, numbered(seen), policy, key), LinkageModel) is is_usable


def test_state_when_written_and_read_then_the_same_and_gone_without_one(
    tmp_path: Path, store: ModelStore, records: pl.DataFrame
) -> None:
    model = model_in_use(store, records, POLICY, NOBODY, "key", DAY)
    first = link(records, POLICY, NOBODY, model, "key")
    assert first.state is not None
    write_state(tmp_path / "linkage", first.state)
    found = read_state(tmp_path / "linkage")
    assert found is not None
    again = link(records, POLICY, NOBODY, model, "key", found)
    assert again.edges.equals(first.edges)
    assert again.report["blocking"]["n_pairs"] == 0
    write_state(tmp_path / "linkage", None)
    assert read_state(tmp_path / "linkage") is None
