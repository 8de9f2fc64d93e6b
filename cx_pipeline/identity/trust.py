"""How much a customer's records hold together: density, bridges, the weakest link, suspicion of an over-merge.

Belongs here: figures of one cluster of records. Does not belong here: figures of the whole night, drift, any decision to part records.

A bridge is a pair of records that alone holds two parts of a customer together: without it the evidence falls into two. Found by random
labels: every edge outside a spanning forest gets a random number, every edge of the forest the exclusive or of those that cross it; a
bridge is crossed by none, so its number is 0 (Pritchard and Thurimella 2011; wrong with a chance of 2^-64 a pair).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from cx_pipeline.identity.agglomeration import BoolArray, FloatArray, IntArray
from cx_pipeline.identity.evidence import people_per_value
from cx_pipeline.identity.policy import CustomerPolicy, ResolutionPolicy

_LOG_2 = float(np.log(2.0))
_SEED = 20_240_229
_MIN_RECORDS_OF_SIDE = 2
_MIN_RECORDS_FOR_DENSITY = 4


@dataclass(frozen=True)
class Links:
    """Evidence for one person between groups of records that must-links hold together, one row per pair of groups.

    Attributes:
        left, right: group numbers, `left` < `right`.
        n: pairs of records that speak for it.
        weight: the best of them, log2 odds.
    """

    left: IntArray
    right: IntArray
    n: IntArray
    weight: FloatArray


def cluster_figures(
    records: pl.DataFrame,
    clusters: pl.DataFrame,
    scored: pl.DataFrame,
    must_links: pl.DataFrame,
    policy: ResolutionPolicy,
    customer_policy: CustomerPolicy,
) -> pl.DataFrame:
    """One row per cluster of records.

    Args:
        records: record (0 .. n-1, sorted), channel, record_id, party_kind (a name), standardised given_name, birth_year.
        clusters: record, cluster, sorted by record.
        scored: left, right, match_weight (log2 odds).
        must_links: left, right: what was to be joined by identifiers and decisions.
        policy: from where on a customer is suspicious.
        customer_policy: and how many people are too many.

    Returns:
        cluster, party_kind, n_records, n_channels, n_people (as names and years of birth show), density (share of the pairs of
        records that speak for one person; NULL for a single record), n_bridges, weakest_weight (log2 odds of the weakest pair that
        the customer hangs on; NULL where identifiers or decisions alone hold it together), is_suspect, suspicion.
    """
    cluster = clusters["cluster"].cast(pl.Int64).to_numpy()
    group = _must_groups(cluster, must_links)
    links, n_positive = _links(scored, cluster, group, policy)
    n_groups = int(group.max(initial=-1)) + 1
    cluster_of_group = np.zeros(n_groups, dtype=np.int64)
    cluster_of_group[group] = cluster
    size = np.bincount(group, minlength=n_groups)
    is_bridge, n_smaller_side = bridges(n_groups, links, size)
    by_cluster = cluster_of_group[links.left]
    weakest = np.full(len(cluster) + 1, np.inf)
    in_tree = _spanning(n_groups, links)
    np.minimum.at(weakest, by_cluster[in_tree], links.weight[in_tree])
    pairs_joined = np.bincount(cluster_of_group, weights=size * (size - 1) / 2, minlength=len(cluster)) + n_positive
    found = (
        pl.DataFrame(
            {
                "cluster": cluster,
                "channel": records["channel"],
                "party_kind": records["party_kind"],
            }
        )
        .group_by("cluster")
        .agg(
            pl.col("party_kind").filter(pl.col("party_kind") != "unknown").min().fill_null("unknown"),
            pl.len().cast(pl.Int64).alias("n_records"),
            pl.col("channel").n_unique().cast(pl.Int64).alias("n_channels"),
        )
        .sort("cluster")
    )
    index = found["cluster"].to_numpy()
    bridged = by_cluster[is_bridge & (n_smaller_side >= _MIN_RECORDS_OF_SIDE)]
    found = found.with_columns(
        pl.Series("n_bridges", np.bincount(by_cluster[is_bridge], minlength=len(cluster))[index], dtype=pl.Int64),
        pl.Series("has_bridge", np.isin(index, bridged), dtype=pl.Boolean),
        pl.Series("joined", pairs_joined[index], dtype=pl.Float64),
        pl.Series("weakest_weight", weakest[index], dtype=pl.Float64),
    ).with_columns(
        pl.when(pl.col("n_records") > 1)
        .then((pl.col("joined") / (pl.col("n_records") * (pl.col("n_records") - 1) / 2)).clip(upper_bound=1.0))
        .round(9)
        .alias("density"),
        pl.when(pl.col("weakest_weight").is_finite()).then(pl.col("weakest_weight")).alias("weakest_weight"),
    )
    return _suspected(found.join(_people(records, clusters), on="cluster", how="left"), policy, customer_policy)


def _people(records: pl.DataFrame, clusters: pl.DataFrame) -> pl.DataFrame:
    carried = records.select("channel", "record_id", pl.lit("").alias("namespace")).with_columns(
        clusters["cluster"].cast(pl.String).alias("value")
    )
    return people_per_value(records, carried).select(pl.col("value").cast(pl.Int64).alias("cluster"), "n_people")


def _suspected(found: pl.DataFrame, policy: ResolutionPolicy, customer_policy: CustomerPolicy) -> pl.DataFrame:
    is_sparse = (pl.col("n_records") >= _MIN_RECORDS_FOR_DENSITY) & (pl.col("density") < policy.suspicious_density)
    suspicion = (
        pl.when(pl.col("n_people") > customer_policy.max_people_per_identifier)
        .then(pl.lit("several_people"))
        .when(pl.col("n_records") > policy.suspicious_records)
        .then(pl.lit("many_records"))
        .when(is_sparse)
        .then(pl.lit("sparse"))
        .when("has_bridge")
        .then(pl.lit("bridge"))
    )
    return found.with_columns(pl.col("n_people").fill_null(1.0), suspicion.alias("suspicion")).select(
        "cluster",
        "party_kind",
        "n_records",
        "n_channels",
        "n_people",
        "density",
        "n_bridges",
        "weakest_weight",
        pl.col("suspicion").is_not_null().alias("is_suspect"),
        "suspicion",
    )


def _must_groups(cluster: IntArray, must_links: pl.DataFrame) -> IntArray:
    """(n,) dense numbers of the groups that must-links hold together, of those that were carried out."""
    n = len(cluster)
    left, right = (must_links[side].cast(pl.Int64).to_numpy() for side in ("left", "right"))
    kept = cluster[left] == cluster[right]
    graph = coo_array((np.ones(int(kept.sum()), dtype=np.int8), (left[kept], right[kept])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64) if n else np.empty(0, dtype=np.int64)


def _links(
    scored: pl.DataFrame, cluster: IntArray, group: IntArray, policy: ResolutionPolicy
) -> tuple[Links, FloatArray]:
    """Links between groups of one cluster, and (n,) the number of such pairs of records in each cluster."""
    weight = scored["match_weight"].cast(pl.Float64).to_numpy()
    left, right = (scored[side].cast(pl.Int64).to_numpy() for side in ("left", "right"))
    speaks = (weight * _LOG_2 >= policy.min_merge_log_odds) & (cluster[left] == cluster[right])
    speaks &= group[left] != group[right]
    left, right, weight = left[speaks], right[speaks], weight[speaks]
    n_positive = np.bincount(cluster[left], minlength=len(cluster)).astype(np.float64)
    a, b = group[left], group[right]
    table = (
        pl.DataFrame({"left": np.minimum(a, b), "right": np.maximum(a, b), "weight": weight})
        .group_by("left", "right")
        .agg(pl.len().cast(pl.Int64).alias("n"), pl.col("weight").max())
        .sort("left", "right")
    )
    links = Links(*(table[name].to_numpy() for name in ("left", "right", "n", "weight")))
    return links, n_positive


def _spanning(n_groups: int, links: Links) -> BoolArray:
    """Which links make the spanning forest of greatest weight: a customer hangs on these."""
    if len(links.left) == 0:
        return np.zeros(0, dtype=np.bool_)
    cost = links.weight.max() - links.weight + 1.0
    tree = minimum_spanning_tree(
        coo_array((cost, (links.left, links.right)), shape=(n_groups, n_groups)).tocsr()
    ).tocoo()
    chosen: BoolArray = np.isin(links.left * n_groups + links.right, tree.row.astype(np.int64) * n_groups + tree.col)
    return chosen


def bridges(n_nodes: int, links: Links, size: IntArray) -> tuple[BoolArray, IntArray]:
    """Which links are bridges, and the number of records on the smaller side of each bridge (0 for other links).

    Args:
        n_nodes: groups are numbered 0 .. n_nodes - 1.
        links: the graph.
        size: (n_nodes,) records per group.
    """
    n_links = len(links.left)
    smaller = np.zeros(n_links, dtype=np.int64)
    if n_links == 0:
        return np.zeros(0, dtype=np.bool_), smaller
    parent, order_by_depth = _forest(n_nodes, links)
    left_is_child, right_is_child = parent[links.left] == links.right, parent[links.right] == links.left
    in_forest = left_is_child | right_is_child
    child = np.where(left_is_child, links.left, links.right)
    label = np.zeros(n_nodes + 1, dtype=np.uint64)
    others = np.flatnonzero(~in_forest | (links.n > 1))
    numbers = np.random.default_rng(_SEED).integers(1, 2**64 - 1, len(others), dtype=np.uint64)
    for ends in (links.left, links.right):
        np.bitwise_xor.at(label, ends[others], numbers)
    below = np.append(size.astype(np.int64), 0)
    for nodes in order_by_depth:
        np.bitwise_xor.at(label, parent[nodes], label[nodes])
        np.add.at(below, parent[nodes], below[nodes])
    is_bridge = in_forest & (links.n == 1) & (label[child] == 0)
    root = _roots(parent, n_nodes)
    smaller[is_bridge] = np.minimum(below[child], below[root[child]] - below[child])[is_bridge]
    return is_bridge, smaller


def _forest(n_nodes: int, links: Links) -> tuple[IntArray, list[IntArray]]:
    """(n + 1,) parent of each node in a spanning forest (roots: node n), and the nodes from the deepest level up."""
    graph = coo_array((np.ones(len(links.left), dtype=np.int8), (links.left, links.right)), shape=(n_nodes, n_nodes))
    _, first = np.unique(connected_components(graph, directed=False)[1], return_index=True)
    above = np.concatenate([links.left, np.full(len(first), n_nodes)])
    rooted = coo_array(
        (np.ones(len(above), dtype=np.int8), (above, np.concatenate([links.right, first]))),
        shape=(n_nodes + 1, n_nodes + 1),
    ).tocsr()
    _, parent = breadth_first_order(rooted, n_nodes, directed=False, return_predecessors=True)
    parent = parent.astype(np.int64)
    parent[n_nodes] = n_nodes
    depth = np.ones(n_nodes + 1, dtype=np.int64)
    depth[n_nodes] = 0
    jump = parent.copy()
    while (jump != n_nodes).any():
        depth += depth[jump]
        jump = jump[jump]
    order = np.argsort(depth[:n_nodes], kind="stable")
    starts = np.flatnonzero(np.diff(depth[order])) + 1
    return parent, list(reversed(np.split(order, starts)))


def _roots(parent: npt.NDArray[np.int64], n_nodes: int) -> IntArray:
    """(n + 1,) the root of each node's tree."""
    root = np.where(parent == n_nodes, np.arange(n_nodes + 1), parent)
    while True:
        further = root[root]
        if (further == root).all():
            return root
        root = further
