from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.blocking import BlockingKey, block_codes, candidate_pairs
from cx_pipeline.identity.hashing import Hasher
from cx_pipeline.identity.key_choice import SampledPairs, choose_keys, possible_keys, sample_pairs
from cx_pipeline.identity.model import Atom
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.training import budget

ATOMS = (Atom("surname", "surname", is_strong=True), Atom("sex", "sex"), Atom("surname", "surname", "first:1"))
A, A_LARGE, B, C = BlockingKey(("a",), 10), BlockingKey(("a",), 20), BlockingKey(("b",), 10), BlockingKey(("c",), 10)


def test_possible_keys_then_strong_atoms_alone_and_pairs_of_two_fields() -> None:
    assert possible_keys(ATOMS, has_tokens=True) == [
        ("surname",),
        ("surname", "sex"),
        ("sex", "surname[first:1]"),
        ("two name tokens",),
    ]


def sample(listings: dict[BlockingKey, list[int]], n_pairs: int) -> SampledPairs:
    return SampledPairs(np.arange(n_pairs), 1.0, {key: np.array(places) for key, places in listings.items()})


def test_choose_keys_then_the_matches_for_the_fewest_new_pairs_come_first() -> None:
    match = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    listings = {A: [0, 1], B: [0, 1, 2, 3], C: [3, 4, 5]}
    assert choose_keys(sample(listings, 6), match, 100) == (A, B)


def test_choose_keys_when_the_budget_is_spent_then_no_more() -> None:
    match = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    listings = {A: [0, 1], B: [0, 1, 2, 3]}
    assert choose_keys(sample(listings, 6), match, 3) == (A,)


def test_choose_keys_when_larger_blocks_still_pay_then_the_larger_limit() -> None:
    match = np.array([1.0, 1.0, 0.9, 0.0])
    listings = {A: [0, 1], A_LARGE: [2, 3]}
    assert choose_keys(sample(listings, 4), match, 100) == (A_LARGE,)
    assert choose_keys(sample(listings, 4), match, 2) == (A,)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    surname = pl.Series([f"{'abcdefgh'[i % 8]}{i}" for i in rng.integers(0, 300, 1_000)])
    return pl.DataFrame({"surname": surname, "sex": pl.Series(["m", "f"])[rng.integers(0, 2, 1_000)]})


def test_sample_pairs_without_a_bound_then_all_that_the_keys_would_find(table: pl.DataFrame) -> None:
    codes = block_codes(table, ATOMS, Hasher("key"))
    keys = possible_keys(ATOMS, has_tokens=False)
    found = sample_pairs(codes, keys, LinkagePolicy(all_pairs_up_to_records=0))
    expected, _ = candidate_pairs(codes, [BlockingKey(atoms, 80) for atoms in keys])
    assert found.rate == 1.0
    assert found.pairs.tolist() == expected.tolist()


def test_sample_pairs_when_there_are_too_many_then_a_share_of_them_and_of_each_key(table: pl.DataFrame) -> None:
    codes = block_codes(table, ATOMS, Hasher("key"))
    keys = possible_keys(ATOMS, has_tokens=False)
    everything = sample_pairs(codes, keys, LinkagePolicy(all_pairs_up_to_records=0))
    part = sample_pairs(codes, keys, LinkagePolicy(all_pairs_up_to_records=0, max_training_pairs=500))
    assert 0.5 * part.rate * len(everything.pairs) < len(part.pairs) < 1.5 * part.rate * len(everything.pairs)
    assert set(part.pairs.tolist()) < set(everything.pairs.tolist())
    for key, places in part.listings.items():
        listed = set(everything.pairs[everything.listings[key]].tolist())
        assert set(part.pairs[places].tolist()) <= listed


@pytest.mark.parametrize(
    ("n_records", "pairs"), [(100, 80.0), (100_000, 80.0), (316_228, 34.6), (1_000_000, 15.0), (9_000_000, 15.0)]
)
def test_budget_then_falling_evenly_in_logarithms_from_small_sets_to_large_ones(n_records: int, pairs: float) -> None:
    assert budget(n_records, LinkagePolicy()) == pytest.approx(pairs, rel=0.01)
