from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.policy import ResolutionPolicy
from cx_pipeline.identity.resolution import HOLDER_SCHEMA, PARTY_KIND, Rules, refusals, resolve

POLICY = ResolutionPolicy()


def links(*pairs: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"left": pl.Int64, "right": pl.Int64}, orient="row")


def edges(*rows: tuple[int, int, float]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"left": pl.Int64, "right": pl.Int64, "match_weight": pl.Float64}, orient="row")


def rules(cannot: pl.DataFrame | None = None, *held: tuple[int, str, str]) -> Rules:
    return Rules(links() if cannot is None else cannot, pl.DataFrame(held, schema=HOLDER_SCHEMA, orient="row"))


def clusters(n: int, scored: pl.DataFrame, must: pl.DataFrame | None = None, apart: Rules | None = None) -> list[int]:
    return resolve(n, scored, links() if must is None else must, POLICY, apart)["cluster"].to_list()


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
    result = clusters(3, scored, apart=rules(links((0, 2))))
    assert result[0] != result[2]
    assert clusters(3, edges(), links((0, 1), (1, 2)), rules(links((0, 2)))) == [0, 0, 2]
    assert clusters(3, edges((1, 2, 4.0)), links((0, 1), (1, 2)), rules(links((0, 2)))) == [0, 1, 1]


def test_resolve_when_a_channel_is_duplicate_free_then_one_record_of_it_per_cluster() -> None:
    scored = edges((0, 1, 10.0), (1, 2, 9.0), (0, 2, 8.0))
    one_each = rules(None, (0, "crm", "0"), (2, "crm", "2"))
    assert clusters(3, scored, apart=one_each) == [0, 0, 2]
    assert clusters(3, scored, links((0, 2)), one_each) == [0, 0, 0]


def test_resolve_when_records_hold_one_value_of_a_unique_namespace_then_only_different_values_part_them() -> None:
    scored = edges((0, 1, 10.0), (1, 2, 9.0), (0, 2, 8.0))
    assert clusters(3, scored, apart=rules(None, (0, "passport", "A"), (1, "passport", "A"), (2, "passport", "B"))) == [
        0,
        0,
        2,
    ]


@pytest.mark.parametrize("by_link", [True, False])
def test_resolve_when_a_person_and_an_organisation_share_everything_then_they_stay_apart(by_link: bool) -> None:
    kinds = rules(None, (0, PARTY_KIND, "person"), (1, PARTY_KIND, "organisation"))
    scored = edges((0, 1, 20.0), (0, 2, 20.0), (1, 2, 12.0))
    must = links((0, 1), (1, 2), (0, 2)) if by_link else links()
    assert clusters(3, scored, must, kinds) == [0, 1, 0]


def test_resolve_when_decisions_contradict_an_identifier_then_the_decision_is_carried_out_first() -> None:
    must = pl.DataFrame({"left": [0, 1], "right": [1, 2], "priority": [None, 0]})
    result = resolve(3, edges((0, 1, 15.0)), must, POLICY, rules(links((0, 2))))
    assert result["cluster"].to_list() == [0, 1, 1]
    assert result["matched_by"].to_list() == ["single", "human", "human"]


@pytest.mark.parametrize("n", [3, 9, 15])
def test_resolve_when_small_components_are_merged_many_at_a_time_then_as_one_by_one(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(n)
    rows = []
    for start in range(0, 60 * n, n):
        for a in range(start, start + n):
            rows += [(a, b, float(rng.normal(2, 8))) for b in range(a + 1, start + n) if rng.random() < 0.8]
    held = [(r, f"h{r % 3}", str(rng.integers(0, 3))) for r in range(0, 60 * n, 2)]
    apart = rules(links(*[(s, s + 2) for s in range(0, 60 * n, 4 * n)]), *held)
    must = links(*[(s, s + 1) for s in range(0, 60 * n, 3 * n)])
    fast = resolve(60 * n, edges(*rows), must, POLICY, apart)
    monkeypatch.setattr("cx_pipeline.identity.resolution._SMALL", 1)
    assert fast.equals(resolve(60 * n, edges(*rows), must, POLICY, apart))
    assert 60 < fast["cluster"].n_unique() < 60 * n


def test_refusals_when_pairs_were_not_joined_then_each_has_its_reason() -> None:
    scored = edges((0, 1, 9.0), (2, 3, 9.0), (1, 2, 2.0), (4, 5, -1.0), (6, 7, 9.0), (8, 9, 9.0))
    apart = rules(links((6, 7)), (8, "crm", "8"), (9, "crm", "9"))
    result = resolve(10, scored, links(), POLICY, apart)
    pairs = scored.with_columns((pl.col("match_weight") * np.log(2)).alias("log_odds"))
    assert refusals(result, pairs, apart, POLICY).to_list() == [
        None, None, "outvoted", "below_threshold", "cannot_link", "source_uniqueness",
    ]  # fmt: skip
    small = ResolutionPolicy(max_cluster_records=1)
    assert refusals(resolve(2, scored[:1], links(), small), pairs[:1], Rules.none(), small).to_list() == ["size_cap"]


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
