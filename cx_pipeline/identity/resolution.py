"""From scored pairs to customers: components, decisions, agglomeration.

Belongs here: how pairs, must-links and cannot-links together make groups of records. Does not belong here: the
scoring of pairs (linkage.py), the mathematics of one merge (agglomeration.py), stable customer ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cx_pipeline.identity.agglomeration import BoolArray, FloatArray, IntArray, Priors, agglomerate, scores
from cx_pipeline.identity.policy import ResolutionPolicy

RESOLUTION_SCHEMA = {"record": pl.Int64, "cluster": pl.Int64, "matched_by": pl.String, "weight": pl.Float64}
_LOG_2 = float(np.log(2.0))


@dataclass(frozen=True)
class _Evidence:
    """Scored pairs between groups of records that must-links have already joined; `left` < `right` are group numbers.

    `match` and `related` are sums of log ratios above that of an unscored pair.
    """

    left: IntArray
    right: IntArray
    match: FloatArray
    related: FloatArray
    unscored_match: float
    unscored_related: float
    priors: Priors


def resolve(
    n_records: int,
    edges: pl.DataFrame,
    must_links: pl.DataFrame,
    policy: ResolutionPolicy,
    cannot_links: pl.DataFrame | None = None,
    exclusive_group: pl.Series | None = None,
) -> pl.DataFrame:
    """One row per record: the cluster it belongs to, and why.

    Args:
        n_records: records are numbered 0 .. n_records - 1.
        edges: left, right, match_weight (log2 odds), and, where the model has them, log_match_ratio, log_related_ratio,
            log_prior_match, log_prior_related (natural logs; constant priors). At most one row per unordered pair.
        must_links: left, right; joined whatever the scores say.
        policy: bounds and thresholds.
        cannot_links: left, right; stronger than must-links, and kept through every merge.
        exclusive_group: one integer per record, NULL for none: two records of one group are never joined by scores
            (duplicate-free channels: one record per person).

    Returns:
        record, cluster (the lowest record of the cluster), matched_by (`deterministic`: the record has a must-link,
        `probabilistic`, `single`), weight (the best match weight, log2 odds, to another record of its cluster; NULL
        without). Sorted by record. The order of the rows of `edges` and of the links does not matter.
    """
    cannot = _pairs(cannot_links)
    cluster, is_linked = _join_must_links(n_records, _pairs(must_links), cannot)
    for scored in _by_model(edges):
        first_records, group = np.unique(cluster, return_inverse=True)
        sizes = np.bincount(group, minlength=len(first_records)).astype(np.float64)
        constraints = _Constraints(len(first_records), group, cannot, exclusive_group)
        evidence = _evidence(scored, group, policy)
        merged = np.arange(len(first_records), dtype=np.int64)
        for nodes, rows in _components(evidence, sizes, policy):
            merged[nodes] = nodes[_merge_component(nodes, rows, evidence, sizes, constraints, policy)]
        cluster = first_records[merged[group]]
    return _result(cluster, is_linked, edges)


def _by_model(edges: pl.DataFrame) -> list[pl.DataFrame]:
    """Persons and organisations are scored by models of their own, told apart by their priors; one after the other."""
    if "log_prior_match" not in edges.columns:
        return [edges]
    return edges.partition_by("log_prior_match", "log_prior_related", maintain_order=False) if edges.height else []


def _pairs(links: pl.DataFrame | None) -> IntArray:
    if links is None or links.is_empty():
        return np.empty((0, 2), dtype=np.int64)
    pairs = np.sort(links.select("left", "right").cast(pl.Int64).to_numpy(), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _join_must_links(n_records: int, must: IntArray, cannot: IntArray) -> tuple[IntArray, BoolArray]:
    """(n,) the lowest record of each record's group, and whether it has a must-link that was carried out."""
    is_linked = np.zeros(n_records, dtype=np.bool_)
    if len(cannot) == 0:
        is_linked[must.ravel()] = True
        graph = coo_array((np.ones(len(must)), (must[:, 0], must[:, 1])), shape=(n_records, n_records))
        _, label = connected_components(graph, directed=False)
        _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
        return first[inverse].astype(np.int64), is_linked
    parent = list(range(n_records))
    enemies: dict[int, set[int]] = {}
    for a, b in cannot.tolist():
        enemies.setdefault(a, set()).add(b)
        enemies.setdefault(b, set()).add(a)

    def find(record: int) -> int:
        while parent[record] != record:
            parent[record] = parent[parent[record]]
            record = parent[record]
        return record

    for a, b in must.tolist():
        low, high = sorted((find(a), find(b)))
        if low != high:
            if any(find(enemy) == high for enemy in enemies.get(low, ())):
                continue
            parent[high] = low
            enemies[low] = enemies.get(low, set()) | enemies.pop(high, set())
        is_linked[[a, b]] = True
    return np.array([find(record) for record in range(n_records)], dtype=np.int64), is_linked


class _Constraints:
    """Which groups must stay apart: reviewers' cannot-links, and one record per person in a duplicate-free channel."""

    def __init__(self, n_groups: int, group: IntArray, cannot: IntArray, exclusive_group: pl.Series | None) -> None:
        self.apart = np.unique(np.sort(group[cannot], axis=1), axis=0)
        self.is_bound = np.zeros(n_groups, dtype=np.bool_)
        self.is_bound[self.apart.ravel()] = True
        self._exclusive = np.empty((0, 2), dtype=np.int64)
        if exclusive_group is not None:
            exclusive = exclusive_group.cast(pl.Int64).fill_null(-1).to_numpy()
            bound = np.flatnonzero(exclusive >= 0)
            self._exclusive = np.unique(np.column_stack([group[bound], exclusive[bound]]), axis=0)
            self.is_bound[self._exclusive[:, 0]] = True

    def forbidden(self, nodes: IntArray) -> BoolArray:
        """(k, k) for the sorted groups `nodes`."""
        k = len(nodes)
        result = np.zeros((k, k), dtype=np.bool_)
        if not self.is_bound[nodes].any():
            return result
        start, stop = np.searchsorted(self._exclusive[:, 0], [nodes[0], nodes[-1] + 1])
        held = self._exclusive[start:stop]
        held = held[np.isin(held[:, 0], nodes)]
        if len(held):
            _, column = np.unique(held[:, 1], return_inverse=True)
            membership = np.zeros((k, column.max() + 1), dtype=np.float32)
            membership[np.searchsorted(nodes, held[:, 0]), column] = 1
            result |= (membership @ membership.T) > 0
        apart = self.apart[np.isin(self.apart, nodes).all(axis=1)]
        row, column = np.searchsorted(nodes, apart[:, 0]), np.searchsorted(nodes, apart[:, 1])
        result[row, column] = result[column, row] = True
        return result


def _evidence(edges: pl.DataFrame, group: IntArray, policy: ResolutionPolicy) -> _Evidence:
    left, right = (group[edges[side].cast(pl.Int64).to_numpy()] for side in ("left", "right"))
    bound = policy.max_abs_log_odds
    if "log_match_ratio" in edges.columns and edges.height:
        priors = Priors(float(edges["log_prior_match"][0]), float(edges["log_prior_related"][0]))
        match, related = edges["log_match_ratio"].to_numpy(), edges["log_related_ratio"].to_numpy()
    else:
        # Scores of an unknown model: all of the weight is evidence, nothing is prior.
        priors = Priors(0.0, -np.inf)
        match, related = edges["match_weight"].cast(pl.Float64).to_numpy() * _LOG_2, np.zeros(edges.height)
    has_related = bool(np.isfinite(priors.log_related))
    unscored_match = -bound - priors.log_match
    unscored_related = -bound - priors.log_related if has_related else 0.0
    one = np.ones(len(match))
    odds = scores(match, related, one, priors, policy.pair_correlation)
    # The score is bounded, not its two parts: both are large where everything that a household shares agrees.
    match = np.maximum(match - np.maximum(odds - bound, 0.0), unscored_match) - unscored_match
    if has_related:
        related = np.maximum(related, unscored_related) - unscored_related
    is_between = left != right
    table = (
        pl.DataFrame({"l": np.minimum(left, right), "r": np.maximum(left, right), "m": match, "h": related})
        .filter(pl.Series(is_between))
        .sort("l", "r", "m", "h")
        .group_by("l", "r", maintain_order=True)
        .agg(pl.col("m").sum(), pl.col("h").sum())
    )
    return _Evidence(
        table["l"].to_numpy(),
        table["r"].to_numpy(),
        table["m"].to_numpy(),
        table["h"].to_numpy(),
        unscored_match,
        unscored_related,
        priors,
    )


def _components(
    evidence: _Evidence, sizes: FloatArray, policy: ResolutionPolicy
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yields (sorted groups, rows of the evidence between them) for each component of two groups or more."""
    left, right = evidence.left, evidence.right
    n_pairs = sizes[left] * sizes[right]
    score = scores(
        evidence.match + n_pairs * evidence.unscored_match,
        evidence.related + n_pairs * evidence.unscored_related,
        n_pairs,
        evidence.priors,
        policy.pair_correlation,
    )
    cut = policy.min_component_log_odds
    label = _label(len(sizes), left, right, score >= cut)
    while True:
        size = np.bincount(label, minlength=len(sizes))
        too_large = size[label] > policy.max_component_records
        if not too_large.any() or cut > policy.max_abs_log_odds:
            break
        cut += 1.0
        keep = np.where(too_large[left], score >= cut, label[left] == label[right])
        label = _label(len(sizes), left, right, keep & (label[left] == label[right]))
    inside = np.flatnonzero(label[left] == label[right])
    inside = inside[np.argsort(label[left[inside]], kind="stable")]
    by_label = np.argsort(label, kind="stable")
    node_start = np.searchsorted(label[by_label], np.arange(label.max(initial=-1) + 2))
    edge_start = np.searchsorted(label[left[inside]], np.arange(label.max(initial=-1) + 2))
    for component in np.flatnonzero(np.diff(node_start) > 1):
        nodes = by_label[node_start[component] : node_start[component + 1]]
        yield nodes, inside[edge_start[component] : edge_start[component + 1]]


def _label(n: int, left: IntArray, right: IntArray, keep: BoolArray) -> IntArray:
    graph = coo_array((np.ones(int(keep.sum())), (left[keep], right[keep])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64) if n else np.empty(0, dtype=np.int64)


def _merge_component(
    nodes: IntArray,
    rows: IntArray,
    evidence: _Evidence,
    sizes: FloatArray,
    constraints: _Constraints,
    policy: ResolutionPolicy,
) -> IntArray:
    size = sizes[nodes]
    n_pairs = np.outer(size, size)
    match, related = n_pairs * evidence.unscored_match, n_pairs * evidence.unscored_related
    i, j = np.searchsorted(nodes, evidence.left[rows]), np.searchsorted(nodes, evidence.right[rows])
    for matrix, values in ((match, evidence.match[rows]), (related, evidence.related[rows])):
        matrix[i, j] += values
        matrix[j, i] += values
    limit = np.inf if policy.max_cluster_records is None else float(policy.max_cluster_records)
    return agglomerate(
        match,
        related,
        size,
        constraints.forbidden(nodes),
        evidence.priors,
        policy.pair_correlation,
        policy.min_merge_log_odds,
        limit,
    )


def _result(cluster: IntArray, is_linked: BoolArray, edges: pl.DataFrame) -> pl.DataFrame:
    n_records = len(cluster)
    weight = np.full(n_records, -np.inf)
    left, right = edges["left"].cast(pl.Int64).to_numpy(), edges["right"].cast(pl.Int64).to_numpy()
    inside = cluster[left] == cluster[right]
    values = edges["match_weight"].cast(pl.Float64).to_numpy()[inside]
    np.maximum.at(weight, left[inside], values)
    np.maximum.at(weight, right[inside], values)
    is_single = np.bincount(cluster, minlength=n_records)[cluster] == 1
    return pl.DataFrame(
        {
            "record": np.arange(n_records, dtype=np.int64),
            "cluster": cluster,
            "matched_by": np.select([is_single, is_linked], ["single", "deterministic"], "probabilistic"),
            "weight": weight,
        },
        schema=RESOLUTION_SCHEMA,
    ).with_columns(pl.when(pl.col("weight").is_finite()).then(pl.col("weight")))
