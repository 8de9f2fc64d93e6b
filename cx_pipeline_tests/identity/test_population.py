from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population import ORGANISATION, PERSON, UNKNOWN, Population, exclusive_channels

KINDS = [PERSON, PERSON, ORGANISATION, ORGANISATION, UNKNOWN, UNKNOWN]
TABLE = pl.DataFrame({"channel": ["a", "b", "a", "b", "a", "b"], "party_kind": KINDS})


def all_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    left, right = np.triu_indices(n, k=1)
    return left.astype(np.int64), right.astype(np.int64)


def test_exclusive_channels_then_only_duplicate_free_ones_are_numbered() -> None:
    assert exclusive_channels(pl.Series(["b", "a", "c", "b"]), frozenset({"a", "b"})).tolist() == [1, 0, -1, 1]


def test_may_match_when_one_is_a_person_and_one_an_organisation_then_not() -> None:
    left, right = all_pairs(6)
    possible = Population(TABLE, frozenset()).may_match(left, right)
    impossible = set(zip(left[~possible].tolist(), right[~possible].tolist(), strict=True))
    assert impossible == {(0, 2), (0, 3), (1, 2), (1, 3)}


@pytest.mark.parametrize("duplicate_free", [frozenset(), frozenset({"a"})], ids=["any channel", "one duplicate-free"])
@pytest.mark.parametrize("of_organisations", [False, True], ids=["persons", "organisations"])
def test_sample_when_all_pairs_fit_then_they_are_as_many_as_counted(
    duplicate_free: frozenset[str], of_organisations: bool
) -> None:
    population = Population(TABLE, duplicate_free)
    left, right = all_pairs(6)
    of_sort = population.concerns_organisations(left, right) == of_organisations
    expected = int((population.may_match(left, right) & of_sort).sum())
    sample = population.sample(LinkagePolicy(), of_organisations)
    assert sample.is_everything
    assert len(sample.left) == expected == population.n_pairs(of_organisations)
    assert (sample.left < sample.right).all()


def test_sample_when_there_are_more_pairs_then_distinct_random_ones() -> None:
    table = pl.DataFrame({"channel": ["a"] * 500, "party_kind": [PERSON] * 500})
    sample = Population(table, frozenset()).sample(LinkagePolicy(n_random_pairs=1_000), of_organisations=False)
    assert not sample.is_everything
    assert 900 < len(sample.left) <= 1_000
    assert len(np.unique(sample.left * 500 + sample.right)) == len(sample.left)
    assert sample.n_population == 500 * 499 / 2
