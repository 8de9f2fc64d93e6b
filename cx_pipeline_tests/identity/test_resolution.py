from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.policy import ResolutionPolicy
from cx_pipeline.identity.resolution import resolve

POLICY = ResolutionPolicy()


def links(*pairs: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"left": pl.Int64, "right": pl.Int64}, orient="row")


def edges(*rows: tuple[int, int, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"left": pl.Int64, "right": pl.Int64, "match_weight": pl.Float64}, orient="row")


def clusters(n: int, scored: pl.DataFrame, must: pl.DataFrame | None = None, **kwargs: object) -> list[int]:
    result = resolve(n, scored, links() if must is None else must, POLICY, **kwargs)  # type: ignore[arg-type]
    return result["cluster"].to_list()


@pytest.mark.parametrize("n", [0, 1, 3], ids=["no record", "one record", "three records"])
def test_resolve_without_pairs_then_every_record_alone(n: int) -> None:
    result = resolve(n, edges(), links(), POLICY)
    assert result["cluster"].to_list() == list(range(n))
    assert result["matched_by"].to_list() == ["single"] * n
    assert result["weight"].null_count() == n


def test_resolve_when_pairs_are_likely_then_joined_with_their_weight() -> None:
    result = resolve(4, edges((0, 1, 9.0), (2, 3, -2.0)), links(), POLICY)
    assert result["cluster"].to_list() == [0, 0, 2, 3]
    assert result["matched_by"].to_list() == ["probabilistic", "probabilistic", "single", "single"]
    assert result["weight"].to_list() == [9.0, 9.0, None, None]


def test_resolve_when_a_bridge_chains_two_people_then_they_stay_apart() -> None:
    inside = [(a, b, 12.0) for group in (range(4), range(4, 8)) for a in group for b in group if a < b]
    assert clusters(8, edges(*inside, (3, 4, 3.0))) == [0] * 4 + [4] * 4


def test_resolve_when_a_pair_was_never_scored_then_it_speaks_against() -> None:
    assert clusters(3, edges((0, 1, 14.0), (1, 2, 3.0)))[2] == 2
    assert clusters(3, edges((0, 1, 14.0), (1, 2, 3.0), (0, 2, 3.0))) == [0, 0, 0]


def test_resolve_when_must_linked_then_joined_whatever_the_score() -> None:
    result = resolve(3, edges((0, 2, -9.0)), links((2, 0)), POLICY)
    assert result["cluster"].to_list() == [0, 1, 0]
    assert result["matched_by"].to_list() == ["deterministic", "single", "deterministic"]


def test_resolve_when_cannot_linked_then_apart_also_through_others() -> None:
    scored = edges((0, 1, 14.0), (1, 2, 14.0), (0, 2, 14.0))
    result = clusters(3, scored, cannot_links=links((0, 2)))
    assert result[0] != result[2]
    assert clusters(3, edges(), links((0, 1), (1, 2)), cannot_links=links((0, 2))) == [0, 0, 2]


def test_resolve_when_a_channel_is_duplicate_free_then_one_record_of_it_per_cluster() -> None:
    scored = edges((0, 1, 10.0), (1, 2, 9.0), (0, 2, 8.0))
    channel = pl.Series([7, None, 7], dtype=pl.Int64)
    assert clusters(3, scored, exclusive_group=channel) == [0, 0, 2]


def test_resolve_when_rows_of_edges_are_shuffled_then_the_same_result() -> None:
    rng = np.random.default_rng(3)
    pairs = {tuple(sorted(pair)) for pair in rng.integers(0, 60, (300, 2)).tolist() if pair[0] != pair[1]}
    scored = edges(*[(a, b, float(w)) for (a, b), w in zip(sorted(pairs), rng.normal(0, 6, len(pairs)), strict=True)])
    first = resolve(60, scored, links((1, 5)), POLICY)
    assert first.equals(resolve(60, scored.sample(fraction=1.0, shuffle=True, seed=9), links((5, 1)), POLICY))


def test_resolve_when_a_component_is_too_large_then_cut_higher_and_strong_pairs_still_join() -> None:
    policy = ResolutionPolicy(max_component_records=4)
    chain = [(i, i + 1, 12.0 if i % 2 == 0 else -1.0) for i in range(9)]
    result = resolve(10, edges(*chain), links(), policy)["cluster"].to_list()
    assert result == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]


def test_resolve_when_clusters_are_limited_then_no_larger_one() -> None:
    scored = edges((0, 1, 9.0), (0, 2, 9.0), (1, 2, 9.0))
    assert resolve(3, scored, links(), ResolutionPolicy(max_cluster_records=2))["cluster"].to_list() == [0, 0, 2]
