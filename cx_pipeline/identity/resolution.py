"""From scored pairs to customers: decisions, components, agglomeration, and what was refused on the way.

Belongs here: how pairs, must-links, cannot-links and holders together make groups of records. Does not belong here: the
scoring of pairs (linkage.py), the mathematics of one merge (agglomeration.py), what identifiers say (evidence.py), ids of customers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cx_pipeline.identity.agglomeration import (
    BoolArray,
    FloatArray,
    IntArray,
    Priors,
    agglomerate,
    agglomerate_many,
    scores,
)
from cx_pipeline.identity.policy import ResolutionPolicy

RESOLUTION_SCHEMA = {"record": pl.Int64, "cluster": pl.Int64, "matched_by": pl.String, "weight": pl.Float64}
HOLDER_SCHEMA = {"record": pl.Int64, "holder": pl.String, "value": pl.String}
PARTY_KIND = "party kind"
# Components of at most this many groups are merged many at a time; their matrices are small.
_SMALL = 16
_CELLS_PER_BATCH = 4_000_000
_LOG_2 = float(np.log(2.0))


@dataclass(frozen=True)
class Rules:
    """What keeps records apart, whatever speaks for joining them.

    Attributes:
        cannot_links: left, right: decisions of reviewers; stronger than everything, and kept through every merge.
        holders: `HOLDER_SCHEMA`; a customer has one value of each holder: a duplicate-free channel (the value is the record), a
            namespace of which a person has one identifier. Holders bind scores, not must-links, save `PARTY_KIND`, which binds
            both: a person is no organisation. At most one value per record and holder.
    """

    cannot_links: pl.DataFrame
    holders: pl.DataFrame

    @classmethod
    def none(cls) -> Rules:
        """Nothing keeps any records apart."""
        return cls(pl.DataFrame(schema={"left": pl.Int64, "right": pl.Int64}), pl.DataFrame(schema=HOLDER_SCHEMA))


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
    rules: Rules | None = None,
) -> pl.DataFrame:
    """One row per record: the cluster it belongs to, and why.

    Args:
        n_records: records are numbered 0 .. n_records - 1.
        edges: left, right, match_weight (log2 odds), and, where the model has them, log_match_ratio, log_related_ratio,
            log_prior_match, log_prior_related (natural logs; constant priors). At most one row per unordered pair.
        must_links: left, right and, where decisions are among them, priority (integers; the lowest is carried out first, NULL
            last): joined whatever the scores say.
        policy: bounds and thresholds.
        rules: what keeps records apart.

    Returns:
        record, cluster (the lowest record of the cluster), matched_by (`human`: the record has a must-link with a priority,
        `deterministic`: it has one without, `probabilistic`, `single`), weight (the best match weight, log2 odds, to another
        record of its cluster; NULL without). Sorted by record. The order of the rows of `edges` and of the links does not matter.
    """
    rules = rules or Rules.none()
    cannot = _pairs(rules.cannot_links)
    holders = _Holders.of(rules.holders)
    cluster, linked_by = _join_must_links(n_records, must_links, edges, cannot, holders.kind_of_records(n_records))
    for scored in _by_model(edges):
        first_records, group = np.unique(cluster, return_inverse=True)
        sizes = np.bincount(group, minlength=len(first_records)).astype(np.float64)
        constraints = _Constraints(len(first_records), group, cannot, holders)
        evidence = _evidence(scored, group, policy)
        merged = _merge_components(evidence, sizes, constraints, policy)
        cluster = first_records[merged[group]]
    return _result(cluster, linked_by, edges)


def _by_model(edges: pl.DataFrame) -> list[pl.DataFrame]:
    """Persons and organisations are scored by models of their own, told apart by their priors; one after the other."""
    if "log_prior_match" not in edges.columns:
        return [edges]
    if edges.is_empty():
        return []
    return [
        part
        for _, part in sorted(
            edges.partition_by("log_prior_match", "log_prior_related", as_dict=True).items(), key=lambda item: item[0]
        )
    ]


def _pairs(links: pl.DataFrame) -> IntArray:
    if links.is_empty():
        return np.empty((0, 2), dtype=np.int64)
    pairs = np.sort(links.select("left", "right").cast(pl.Int64).to_numpy(), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


# --- must-links ---------------------------------------------------------------------------------------------------------------

_NO_LINK, _BY_IDENTIFIER, _BY_HUMAN = 0, 1, 2


def _join_must_links(
    n_records: int, must_links: pl.DataFrame, edges: pl.DataFrame, cannot: IntArray, kind: IntArray
) -> tuple[IntArray, IntArray]:
    """(n,) the lowest record of each record's group, and by what kind of must-link it was joined.

    Links join plainly, except in the groups that would then hold a cannot-link or both a person and an organisation: there they
    are carried out one by one, decisions first, then the likeliest pairs, and those that would break the rule are not.
    """
    must = _prioritised(must_links)
    left, right = must["left"].to_numpy(), must["right"].to_numpy()
    label = _label(n_records, left, right, np.ones(len(left), dtype=np.bool_))
    is_broken = np.zeros(n_records, dtype=np.bool_)
    is_broken[label[cannot[label[cannot[:, 0]] == label[cannot[:, 1]], 0]]] = True
    has_kind = [np.bincount(label[kind == value], minlength=n_records) > 0 for value in (0, 1)]
    is_broken |= has_kind[0] & has_kind[1]
    held = is_broken[label[left]] if len(left) else np.zeros(0, dtype=np.bool_)
    carried = ~held
    if held.any():
        careful = _by_likelihood(must.with_row_index("row").filter(pl.Series(held)), edges)
        carried[careful["row"].to_numpy()[_carry_out(careful, cannot, kind)]] = True
        label = _label(n_records, left, right, carried)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    linked_by = np.full(n_records, _NO_LINK, dtype=np.int64)
    is_human = must["priority"].is_not_null().to_numpy()
    for chosen, by in ((carried & ~is_human, _BY_IDENTIFIER), (carried & is_human, _BY_HUMAN)):
        linked_by[left[chosen]] = by
        linked_by[right[chosen]] = by
    return first[inverse].astype(np.int64), linked_by


def _prioritised(links: pl.DataFrame) -> pl.DataFrame:
    """Must-links with left < right and priority; one row per pair, sorted."""
    priority = pl.col("priority").cast(pl.Int64) if "priority" in links.columns else pl.lit(None, dtype=pl.Int64)
    return (
        links.select(
            pl.min_horizontal("left", "right").cast(pl.Int64).alias("left"),
            pl.max_horizontal("left", "right").cast(pl.Int64).alias("right"),
            priority.alias("priority"),
        )
        .filter(pl.col("left") != pl.col("right"))
        .group_by("left", "right")
        .agg(pl.col("priority").min())
        .sort("left", "right")
    )


def _by_likelihood(must: pl.DataFrame, edges: pl.DataFrame) -> pl.DataFrame:
    """Decisions in their order, then the pairs whose records look most alike."""
    scored = edges.select(
        pl.min_horizontal("left", "right").cast(pl.Int64).alias("left"),
        pl.max_horizontal("left", "right").cast(pl.Int64).alias("right"),
        pl.col("match_weight").cast(pl.Float64),
    )
    return must.join(scored, on=["left", "right"], how="left").sort(
        "priority", "match_weight", "left", "right", descending=[False, True, False, False], nulls_last=True
    )


def _carry_out(must: pl.DataFrame, cannot: IntArray, kind: IntArray) -> BoolArray:
    """Which of a few links can be carried out, one after the other."""
    parent: dict[int, int] = {}
    enemies: dict[int, set[int]] = {}
    for a, b in cannot.tolist():
        enemies.setdefault(a, set()).add(b)
        enemies.setdefault(b, set()).add(a)
    kinds = {record: int(kind[record]) for record in {*must["left"].to_list(), *must["right"].to_list()}}

    def find(record: int) -> int:
        while parent.get(record, record) != record:
            parent[record] = parent.get(parent[record], parent[record])
            record = parent[record]
        return record

    done = np.zeros(must.height, dtype=np.bool_)
    for i, (a, b) in enumerate(must.select("left", "right").iter_rows()):
        low, high = sorted((find(a), find(b)))
        if low != high:
            unlike = kinds[low] >= 0 and kinds[high] >= 0 and kinds[low] != kinds[high]
            if unlike or any(find(enemy) == high for enemy in enemies.get(low, ())):
                continue
            parent[high] = low
            kinds[low] = max(kinds[low], kinds[high])
            enemies[low] = enemies.get(low, set()) | enemies.pop(high, set())
        done[i] = True
    return done


# --- what keeps groups apart --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Holders:
    """`Rules.holders` as numbers, sorted by record."""

    record: IntArray
    holder: IntArray
    value: IntArray
    kind_holder: int
    kind_names: tuple[str, ...]

    @classmethod
    def of(cls, holders: pl.DataFrame) -> _Holders:
        rows = holders.drop_nulls().sort("record", "holder")
        names = rows["holder"].unique().sort().to_list()
        kinds = rows.filter(pl.col("holder") == PARTY_KIND)["value"].unique().sort().to_list()
        numbered = rows.select(
            pl.col("record").cast(pl.Int64),
            pl.col("holder").rank("dense").cast(pl.Int64) - 1,
            (pl.struct("holder", "value").rank("dense").cast(pl.Int64) - 1).alias("value"),
        )
        return cls(
            numbered["record"].to_numpy(),
            numbered["holder"].to_numpy(),
            numbered["value"].to_numpy(),
            names.index(PARTY_KIND) if PARTY_KIND in names else -1,
            tuple(kinds),
        )

    def kind_of_records(self, n_records: int) -> IntArray:
        """(n,) 0 or 1 for the two kinds of parties, -1 where it is not known."""
        kind = np.full(n_records, -1, dtype=np.int64)
        rows = self.holder == self.kind_holder
        if rows.any():
            kind[self.record[rows]] = self.value[rows] - self.value[rows].min()
        return kind


class _Constraints:
    """Which groups must stay apart: reviewers' cannot-links, and different values of one holder."""

    def __init__(self, n_groups: int, group: IntArray, cannot: IntArray, holders: _Holders) -> None:
        self.apart = np.unique(np.sort(group[cannot], axis=1), axis=0)
        self.is_bound = np.zeros(n_groups, dtype=np.bool_)
        self.is_bound[self.apart.ravel()] = True
        held = np.column_stack([group[holders.record], holders.holder, holders.value])
        self._held = np.unique(held, axis=0) if len(held) else held.reshape(0, 3)
        self.is_bound[self._held[:, 0]] = True

    def forbidden(self, nodes: IntArray) -> BoolArray:
        """(k, k) for the sorted groups `nodes`."""
        k = len(nodes)
        result = np.zeros((k, k), dtype=np.bool_)
        if not self.is_bound[nodes].any():
            return result
        start, stop = np.searchsorted(self._held[:, 0], [nodes[0], nodes[-1] + 1])
        held = self._held[start:stop]
        held = held[np.isin(held[:, 0], nodes)]
        if len(held):
            place = np.searchsorted(nodes, held[:, 0])
            result |= _in_common(place, held[:, 1], k) > _in_common(place, held[:, 2], k)
        apart = self.apart[np.isin(self.apart, nodes).all(axis=1)]
        row, column = np.searchsorted(nodes, apart[:, 0]), np.searchsorted(nodes, apart[:, 1])
        result[row, column] = result[column, row] = True
        return result

    def pairs_apart(self, component: IntArray, chosen: BoolArray) -> tuple[IntArray, IntArray]:
        """The forbidden pairs of groups inside small components.

        Args:
            component: (groups,) the component of each group.
            chosen: (groups,) whether its component is looked at.
        """
        inside = chosen[self.apart[:, 0]] & (component[self.apart[:, 0]] == component[self.apart[:, 1]])
        held = self._held[chosen[self._held[:, 0]]]
        rows = pl.DataFrame({"group": held[:, 0], "holder": held[:, 1], "value": held[:, 2]}).with_columns(
            pl.Series("component", component[held[:, 0]])
        )
        met = (
            rows.join(rows, on=["component", "holder"], suffix="_right")
            .filter(pl.col("group") < pl.col("group_right"))
            .group_by("group", "group_right", "holder")
            .agg((pl.col("value") != pl.col("value_right")).all().alias("differs"))
            .filter("differs")
        )
        left = np.concatenate([self.apart[inside, 0], met["group"].to_numpy()])
        right = np.concatenate([self.apart[inside, 1], met["group_right"].to_numpy()])
        return left, right


def _in_common(place: IntArray, held: IntArray, k: int) -> IntArray:
    """(k, k) how many things of one sort two groups both hold."""
    _, column = np.unique(held, return_inverse=True)
    membership = np.zeros((k, int(column.max()) + 1), dtype=np.float32)
    membership[place, column] = 1
    common: IntArray = np.rint(membership @ membership.T).astype(np.int64)
    return common


# --- scored pairs -------------------------------------------------------------------------------------------------------------


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


def _component_labels(evidence: _Evidence, sizes: FloatArray, policy: ResolutionPolicy) -> IntArray:
    """(groups,) the loose component of each group; those that are too large are cut at a higher level."""
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
            return label
        cut += 1.0
        keep = np.where(too_large[left], score >= cut, label[left] == label[right])
        label = _label(len(sizes), left, right, keep & (label[left] == label[right]))


def _label(n: int, left: IntArray, right: IntArray, keep: BoolArray) -> IntArray:
    graph = coo_array((np.ones(int(keep.sum()), dtype=np.int8), (left[keep], right[keep])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64) if n else np.empty(0, dtype=np.int64)


def _merge_components(
    evidence: _Evidence, sizes: FloatArray, constraints: _Constraints, policy: ResolutionPolicy
) -> IntArray:
    """(groups,) the lowest group of those that each is merged with."""
    n = len(sizes)
    merged = np.arange(n, dtype=np.int64)
    label = _component_labels(evidence, sizes, policy)
    n_groups = np.bincount(label, minlength=n)[label] if n else label
    inside = label[evidence.left] == label[evidence.right]
    is_small = (n_groups > 1) & (n_groups <= _SMALL)
    apart = constraints.pairs_apart(label, is_small)
    for k in np.unique(n_groups[is_small]):
        chosen = n_groups == k
        members = np.flatnonzero(chosen)
        nodes = members[np.argsort(label[members], kind="stable")].reshape(-1, k)
        rows = np.flatnonzero(inside & chosen[evidence.left])
        for batch, batch_rows in _batches(nodes, rows, label, evidence):
            merged[batch] = _merge_batch(batch, batch_rows, evidence, sizes, apart, policy)
    for groups, group_rows in _large_components(label, n_groups, inside, evidence):
        merged[groups] = groups[_merge_component(groups, group_rows, evidence, sizes, constraints, policy)]
    return merged


def _batches(
    nodes: IntArray, rows: IntArray, label: IntArray, evidence: _Evidence
) -> Iterator[tuple[IntArray, IntArray]]:
    """(components, k) groups, and rows of the evidence inside them, so many components at a time as fit into memory."""
    per_batch = max(_CELLS_PER_BATCH // nodes.shape[1] ** 2, 1)
    rows = rows[np.argsort(label[evidence.left[rows]], kind="stable")]
    of_row = label[evidence.left[rows]]
    for start in range(0, len(nodes), per_batch):
        batch = nodes[start : start + per_batch]
        first, last = label[batch[0, 0]], label[batch[-1, 0]]
        yield batch, rows[np.searchsorted(of_row, first) : np.searchsorted(of_row, last, side="right")]


def _merge_batch(
    nodes: IntArray,
    rows: IntArray,
    evidence: _Evidence,
    sizes: FloatArray,
    apart: tuple[IntArray, IntArray],
    policy: ResolutionPolicy,
) -> IntArray:
    n, k = nodes.shape
    component = np.full(len(sizes), -1, dtype=np.int64)
    place = np.zeros(len(sizes), dtype=np.int64)
    component[nodes] = np.arange(n)[:, None]
    place[nodes] = np.arange(k)
    size = sizes[nodes]
    n_pairs = size[:, :, None] * size[:, None, :]
    match, related = n_pairs * evidence.unscored_match, n_pairs * evidence.unscored_related
    left, right = evidence.left[rows], evidence.right[rows]
    c, i, j = component[left], place[left], place[right]
    for matrix, values in ((match, evidence.match[rows]), (related, evidence.related[rows])):
        matrix[c, i, j] += values
        matrix[c, j, i] += values
    forbidden = np.zeros((n, k, k), dtype=np.bool_)
    of_batch = component[apart[0]] >= 0
    c, i, j = component[apart[0][of_batch]], place[apart[0][of_batch]], place[apart[1][of_batch]]
    forbidden[c, i, j] = forbidden[c, j, i] = True
    labels = agglomerate_many(
        match,
        related,
        size,
        forbidden,
        evidence.priors,
        policy.pair_correlation,
        policy.min_merge_log_odds,
        _limit(policy),
    )
    return np.take_along_axis(nodes, labels, axis=1)


def _large_components(
    label: IntArray, n_groups: IntArray, inside: BoolArray, evidence: _Evidence
) -> Iterator[tuple[IntArray, IntArray]]:
    """(sorted groups, rows of the evidence between them) for each component that is not small."""
    by_label = np.flatnonzero(n_groups > _SMALL)
    by_label = by_label[np.argsort(label[by_label], kind="stable")]
    rows = np.flatnonzero(inside & (n_groups[evidence.left] > _SMALL))
    rows = rows[np.argsort(label[evidence.left[rows]], kind="stable")]
    components, node_start = np.unique(label[by_label], return_index=True)
    node_stop = np.append(node_start[1:], len(by_label))
    edge_start = np.searchsorted(label[evidence.left[rows]], components)
    edge_stop = np.append(edge_start[1:], len(rows))
    for i in range(len(components)):
        yield by_label[node_start[i] : node_stop[i]], rows[edge_start[i] : edge_stop[i]]


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
    return agglomerate(
        match,
        related,
        size,
        constraints.forbidden(nodes),
        evidence.priors,
        policy.pair_correlation,
        policy.min_merge_log_odds,
        _limit(policy),
    )


def _limit(policy: ResolutionPolicy) -> float:
    return np.inf if policy.max_cluster_records is None else float(policy.max_cluster_records)


def _result(cluster: IntArray, linked_by: IntArray, edges: pl.DataFrame) -> pl.DataFrame:
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
            "matched_by": np.select(
                [is_single, linked_by == _BY_HUMAN, linked_by == _BY_IDENTIFIER],
                ["single", "human", "deterministic"],
                "probabilistic",
            ),
            "weight": weight,
        },
        schema=RESOLUTION_SCHEMA,
    ).with_columns(pl.when(pl.col("weight").is_finite()).then(pl.col("weight")))


# --- what was refused ---------------------------------------------------------------------------------------------------------


def refusals(clusters: pl.DataFrame, pairs: pl.DataFrame, rules: Rules, policy: ResolutionPolicy) -> pl.Series:
    """Why each of some pairs of records was not joined; NULL where it was.

    Args:
        clusters: record, cluster (from `resolve`), sorted by record.
        pairs: left, right, log_odds (natural; NULL for evidence that is no score).
        rules: what kept records apart.
        policy: bounds and thresholds.

    Returns:
        `reason`, in the order of `pairs`: cannot_link, party_kind, source_uniqueness (or a unique namespace), size_cap, outvoted (the pair
        speaks for one person, the other records of the two customers against it), below_threshold.
    """
    cluster = clusters["cluster"].to_numpy()
    a, b = (cluster[pairs[side].to_numpy()] for side in ("left", "right"))
    low, high = np.minimum(a, b), np.maximum(a, b)
    n = len(cluster)
    between = np.unique(low[a != b] * n + high[a != b])
    cannot = _pairs(rules.cannot_links)
    ends = np.sort(cluster[cannot], axis=1)
    forbidden = np.unique(ends[:, 0] * n + ends[:, 1])
    held = (
        rules.holders.drop_nulls()
        .with_columns(pl.Series("cluster", cluster[rules.holders.drop_nulls()["record"].to_numpy()], dtype=pl.Int64))
        .select("cluster", "holder", "value")
        .unique()
    )
    conflicts = (
        pl.DataFrame({"low": between // n, "high": between % n})
        .join(held, left_on="low", right_on="cluster")
        .join(held, left_on=["high", "holder"], right_on=["cluster", "holder"], suffix="_high")
        .group_by("low", "high", "holder")
        .agg((pl.col("value") != pl.col("value_high")).all().alias("differs"))
        .filter("differs")
        .with_columns((pl.col("holder") == PARTY_KIND).alias("is_kind"))
        .group_by("low", "high")
        .agg(pl.col("is_kind").any())
    )
    kinds = conflicts.filter("is_kind")
    kind_keys = kinds["low"].to_numpy() * n + kinds["high"].to_numpy()
    other_keys = conflicts["low"].to_numpy() * n + conflicts["high"].to_numpy()
    size = np.bincount(cluster, minlength=n)
    key = low * n + high
    odds = pairs["log_odds"].cast(pl.Float64).fill_null(np.inf).to_numpy()
    conditions = {
        "": a == b,
        "cannot_link": np.isin(key, forbidden),
        "party_kind": np.isin(key, kind_keys),
        "source_uniqueness": np.isin(key, other_keys),
        "size_cap": (odds >= policy.min_merge_log_odds) & (size[a] + size[b] > _limit(policy)),
        "outvoted": odds >= policy.min_merge_log_odds,
    }
    reason = np.select(list(conditions.values()), list(conditions), "below_threshold")
    return pl.Series("reason", reason, dtype=pl.String).replace("", None)
