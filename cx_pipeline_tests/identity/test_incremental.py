from __future__ import annotations

from dataclasses import replace

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cx_pipeline.identity.blocking import BlockingKey, block_codes, candidate_pairs, unpacked
from cx_pipeline.identity.fields import number_records
from cx_pipeline.identity.hashing import Hasher
from cx_pipeline.identity.incremental import (
    are_candidates,
    difference,
    fingerprints,
    merged_codes,
    read_codes,
    stored_codes,
    touched_pairs,
)
from cx_pipeline.identity.linkage import link, train
from cx_pipeline.identity.linkage_model import LinkageModel
from cx_pipeline.identity.model import Atom
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.standardise import standardise
from cx_pipeline_tests.identity.people import population

HASHER = Hasher("key")
ATOMS = (Atom("surname", "surname", is_strong=True), Atom("sex", "sex"), Atom("city", "city", "first:1"))
KEYS = (BlockingKey(("surname",), 3), BlockingKey(("sex", "city[first:1]"), 2), BlockingKey(("two name tokens",), 2))
# Small blocks, so that they often become too large or small enough again.
POLICY = LinkagePolicy(all_pairs_up_to_records=0, n_random_pairs=20_000, max_block_records=6, max_closure_neighbours=3)

people_of_a_night = st.dictionaries(
    st.integers(0, 14),
    st.tuples(st.sampled_from("abc"), st.sampled_from(["m", "f", None]), st.sampled_from("xy")),
    max_size=15,
)


def night(people: dict[int, tuple[str, str | None, str]]) -> pl.DataFrame:
    rows = [(f"{key:02d}", *values) for key, values in sorted(people.items())]
    frame = pl.DataFrame(
        rows,
        schema={"record_id": pl.String, "surname": pl.String, "sex": pl.String, "city": pl.String},
        orient="row",
    )
    return frame.with_columns(
        record=pl.int_range(pl.len()),
        channel=pl.lit("crm"),
        full_tokens=pl.concat_list(pl.col(name).hash(1) // 4096 for name in ("surname", "city")).cast(
            pl.List(pl.Int64)
        ),
    )


@settings(max_examples=150, deadline=None)
@given(people_of_a_night, people_of_a_night)
def test_touched_pairs_then_with_what_stays_they_are_all_candidates(
    before: dict[int, tuple[str, str | None, str]], after: dict[int, tuple[str, str | None, str]]
) -> None:
    old, new = night(before), night(after)
    old_codes = block_codes(old, ATOMS, HASHER)
    changes = difference(fingerprints(old, HASHER), fingerprints(new, HASHER))
    assert changes is not None
    fresh = block_codes(new.filter(pl.Series(changes.is_changed)), ATOMS, HASHER)
    codes = merged_codes(read_codes(stored_codes(old_codes)), fresh, changes)
    touched = touched_pairs(KEYS, old_codes, codes, changes)
    stays = [
        (int(changes.new_of_old[left]), int(changes.new_of_old[right]))
        for left, right in zip(*unpacked(candidate_pairs(old_codes, KEYS)[0], old.height), strict=True)
        if min(changes.new_of_old[left], changes.new_of_old[right]) >= 0
    ]
    kept = set()
    for left, right in stays:
        in_doubt = touched.in_doubt[left] and touched.in_doubt[right]
        if not in_doubt or are_candidates(KEYS, codes, np.array([left]), np.array([right]))[0]:
            kept.add(left * new.height + right)
    expected, _ = candidate_pairs(block_codes(new, ATOMS, HASHER), KEYS)
    assert kept | set(touched.to_score.tolist()) == set(expected.tolist())


@pytest.fixture(scope="module")
def people() -> pl.DataFrame:
    return population(60, seed=3).sort("record_id")


def numbered(people: pl.DataFrame) -> pl.DataFrame:
    return number_records(standardise(nw.from_native(people.lazy())).collect().to_native())


@pytest.fixture(scope="module")
def model(people: pl.DataFrame) -> LinkageModel:
    found = train(numbered(people), POLICY, frozenset(), "key")
    assert found is not None
    return found


def nights_of(people: pl.DataFrame, seed: int, n_nights: int) -> list[pl.DataFrame]:
    """Records come, are corrected and go, at random."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(n_nights):
        there = people.filter(pl.Series(rng.random(people.height) < rng.uniform(0.4, 1)))
        corrected = pl.Series(rng.random(there.height) < rng.uniform(0, 0.2))
        shuffled = there.sample(fraction=1, shuffle=True, seed=int(rng.integers(1000)))
        result.append(
            there.with_columns(pl.when(corrected).then(shuffled["surname"]).otherwise("surname").alias("surname"))
        )
    return result


@pytest.mark.parametrize("seed", [1, 2])
def test_link_night_by_night_then_the_edges_of_a_full_run(people: pl.DataFrame, model: LinkageModel, seed: int) -> None:
    check_nights(nights_of(people, seed, 3), model)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_link_over_many_nights_then_the_edges_of_a_full_run(seed: int) -> None:
    people = population(60, seed=seed).sort("record_id")
    found = train(numbered(people), POLICY, frozenset({"shop"}), "key")
    assert found is not None
    check_nights(nights_of(people, seed, 5), found, frozenset({"shop"}))


def check_nights(nights: list[pl.DataFrame], model: LinkageModel, duplicate_free: frozenset[str] = frozenset()) -> None:
    state = None
    n_taken_over = 0
    for people in nights:
        records = numbered(people)
        incremental = link(records, POLICY, duplicate_free, model, "key", state)
        full = link(records, POLICY, duplicate_free, model, "key")
        assert incremental.edges.equals(full.edges)
        n_taken_over += full.report["blocking"]["n_scored_pairs"] - incremental.report["blocking"]["n_scored_pairs"]
        state = incremental.state
    assert n_taken_over > 0


def test_link_when_nothing_changed_then_no_pair_is_scored(people: pl.DataFrame, model: LinkageModel) -> None:
    records = numbered(people)
    first = link(records, POLICY, frozenset(), model, "key")
    again = link(records, POLICY, frozenset(), model, "key", first.state)
    assert again.edges.equals(first.edges)
    assert again.report["blocking"]["n_scored_pairs"] == 0


def test_link_when_the_state_is_of_another_model_then_everything_is_scored(
    people: pl.DataFrame, model: LinkageModel
) -> None:
    records = numbered(people)
    first = link(records, POLICY, frozenset(), model, "key")
    assert first.state is not None
    other = replace(first.state, signature="other", pairs=first.state.pairs.clear())
    assert link(records, POLICY, frozenset(), model, "key", other).edges.equals(first.edges)


def test_link_then_the_state_holds_no_value_of_a_person(people: pl.DataFrame, model: LinkageModel) -> None:
    state = link(numbered(people), POLICY, frozenset(), model, "key").state
    assert state is not None
    assert not any(dtype == pl.String for frame in (state.records, state.pairs) for dtype in frame.schema.values())
