from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.policy import CustomerPolicy, ResolutionPolicy
from cx_pipeline.identity.trust import Links, bridges, cluster_figures


def links(*pairs: tuple[int, int]) -> Links:
    rows = sorted((min(pair), max(pair)) for pair in pairs)
    left, right = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    return Links(left, right, np.ones(len(rows), dtype=np.int64), np.full(len(rows), 5.0))


def bridges_by_removal(n: int, pairs: list[tuple[int, int]]) -> set[tuple[int, int]]:
    def n_components(kept: list[tuple[int, int]]) -> int:
        parent = list(range(n))

        def find(x: int) -> int:
            while parent[x] != x:
                x = parent[x]
            return x

        for a, b in kept:
            parent[find(a)] = find(b)
        return len({find(x) for x in range(n)})

    return {pair for pair in pairs if n_components([p for p in pairs if p != pair]) > n_components(pairs)}


@pytest.mark.parametrize("seed", range(12))
def test_bridges_when_compared_with_taking_edges_out_one_by_one_then_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 30
    pairs = sorted(
        {(min(a, b), max(a, b)) for a, b in rng.integers(0, n, (int(rng.integers(5, 45)), 2)).tolist() if a != b}
    )
    graph = links(*pairs)
    is_bridge, _ = bridges(n, graph, np.ones(n, dtype=np.int64))
    found = {(int(a), int(b)) for a, b in zip(graph.left[is_bridge], graph.right[is_bridge], strict=True)}
    assert found == bridges_by_removal(n, pairs)


def test_bridges_when_two_triangles_hang_together_by_one_pair_then_its_smaller_side_is_counted_in_records() -> None:
    is_bridge, smaller = bridges(
        6, links((0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5)), np.array([2, 1, 1, 1, 1, 1])
    )
    assert is_bridge.sum() == 1
    assert smaller.max() == 3


def figures(
    n: int, cluster: list[int], scored: list[tuple[int, int, float]], must: list[tuple[int, int]] | None = None
) -> pl.DataFrame:
    records = pl.DataFrame(
        {
            "record": range(n),
            "channel": ["crm" if i % 2 else "web" for i in range(n)],
            "record_id": [str(i) for i in range(n)],
            "party_kind": ["person"] * n,
            "given_name": ["anna"] * n,
        }
    )
    edges = pl.DataFrame(scored, schema={"left": pl.Int64, "right": pl.Int64, "match_weight": pl.Float64}, orient="row")
    linked = pl.DataFrame(must or [], schema={"left": pl.Int64, "right": pl.Int64}, orient="row")
    clusters = pl.DataFrame({"record": range(n), "cluster": cluster})
    return cluster_figures(records, clusters, edges, linked, ResolutionPolicy(), CustomerPolicy())


def test_figures_when_two_groups_hang_on_one_pair_then_the_customer_is_suspected_and_its_weakest_link_known() -> None:
    inside = [(a, b, 9.0) for group in (range(3), range(3, 6)) for a in group for b in group if a < b]
    row = figures(6, [0] * 6, [*inside, (2, 3, 1.5)]).to_dicts()[0]
    assert (row["n_bridges"], row["suspicion"], row["weakest_weight"]) == (1, "bridge", 1.5)
    assert row["density"] == pytest.approx(7 / 15)


def test_figures_when_identifiers_hold_records_together_then_dense_without_a_weakest_link() -> None:
    row = figures(3, [0, 0, 0], [], [(0, 1), (1, 2)]).to_dicts()[0]
    assert (row["density"], row["n_bridges"], row["weakest_weight"], row["is_suspect"]) == (1.0, 0, None, False)


def test_figures_when_nothing_is_joined_then_single_records_without_density() -> None:
    found = figures(2, [0, 1], [(0, 1, -3.0)])
    assert found["density"].null_count() == 2
    assert not found["is_suspect"].any()
    assert figures(0, [], []).is_empty()


def test_figures_when_few_pairs_of_many_records_agree_then_sparse() -> None:
    star = [(0, i, 8.0) for i in range(1, 8)]
    assert figures(8, [0] * 8, star)["suspicion"].to_list() == ["sparse"]
