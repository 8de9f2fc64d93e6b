"""Customers: from clusters of records and from identifiers to customer ids.

Belongs here: identifiers as deterministic evidence, guards on them, attaching identifiers to customers, naming customers. Pure.
Does not belong here: comparing records (`linkage.py`), joining scored pairs (`resolution.py`).

Strong identifiers (crm, loyalty, account ...) name one customer: records that carry the same one belong together, and so do strong
identifiers seen together. Weak ones (e-mail, phone, cookie, device, household) may be shared: they lead to a customer but join none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.identity.policy import CustomerPolicy

_ID = ["namespace", "value"]


@dataclass(frozen=True)
class Customers:
    """customer_xref and identifier_xref, with the columns of their contracts."""

    customer_xref: pl.DataFrame
    identifier_xref: pl.DataFrame


def strong_groups(
    identifiers: pl.DataFrame, party_identifiers: pl.DataFrame, pairs: pl.DataFrame, policy: CustomerPolicy
) -> pl.DataFrame:
    """One row per strong identifier: the group of identifiers that name the same customer.

    Two strong identifiers seen together in an event join their groups, unless one of them is seen with more partners of a
    namespace than a person has (a kiosk's account, a test login).

    Args:
        identifiers: namespace, value (any number of rows for each).
        party_identifiers: channel, record_id, namespace, value.
        pairs: left_namespace, left_value, right_namespace, right_value, seen together in events.
        policy: which namespaces are weak, how many partners are plausible.

    Returns:
        namespace, value, group (dense integers).
    """
    weak = list(policy.weak_namespaces)
    strong = identifiers.select(_ID).unique().filter(~pl.col("namespace").is_in(weak)).sort(_ID).with_row_index("node")
    crowded = (
        party_identifiers.group_by(_ID)
        .agg(pl.len().alias("n"))
        .filter(pl.col("n") > policy.max_records_per_identifier)
        .select(_ID)
    )
    strong = (
        strong.join(crowded, on=_ID, how="anti")
        .sort("node")
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("node"))
    )
    links = plausible_pairs(pairs, policy).filter(
        ~pl.col("left_namespace").is_in(weak), ~pl.col("right_namespace").is_in(weak)
    )
    nodes = strong.select("node", *_ID)
    joined = links.join(nodes, left_on=["left_namespace", "left_value"], right_on=_ID).join(
        nodes, left_on=["right_namespace", "right_value"], right_on=_ID, suffix="_right"
    )
    group = connected_groups(strong.height, joined["node"].to_numpy(), joined["node_right"].to_numpy())
    return strong.select(*_ID, pl.Series("group", group, dtype=pl.Int64))


def plausible_pairs(pairs: pl.DataFrame, policy: CustomerPolicy) -> pl.DataFrame:
    """Pairs without those of hot identifiers."""
    return _without(pairs, hot_identifiers(pairs, policy))


def _without(pairs: pl.DataFrame, unwanted: pl.DataFrame) -> pl.DataFrame:
    """Pairs of which neither end is one of the unwanted identifiers."""
    for side in ("left", "right"):
        pairs = pairs.join(unwanted, left_on=[f"{side}_namespace", f"{side}_value"], right_on=_ID, how="anti")
    return pairs


def hot_identifiers(pairs: pl.DataFrame, policy: CustomerPolicy) -> pl.DataFrame:
    """Identifiers seen with more partners than a person has: a kiosk's cookie, a call centre's phone, a test account.

    Only partners count whose namespace is at least as strong: an account with fifty cookies is a loyal customer, a cookie
    with fifty accounts is a kiosk.

    Returns:
        namespace, value.
    """
    rank = {namespace: i for i, namespace in enumerate(policy.weak_namespaces, start=1)}

    def strength(column: str) -> pl.Expr:
        return pl.col(column).replace_strict(rank, default=0, return_dtype=pl.Int64)

    return (
        _both_ways(pairs)
        .filter(strength("other") <= strength("namespace"))
        .group_by(*_ID, "other")
        .agg(pl.col("other_value").n_unique().alias("n"))
        .filter(pl.col("n") > policy.max_partners)
        .select(_ID)
        .unique()
    )


def _both_ways(pairs: pl.DataFrame) -> pl.DataFrame:
    """Each pair seen from both of its ends: namespace, value, other, other_value, n_records."""
    return pl.concat(
        [
            pairs.select(
                pl.col(f"{a}_namespace").alias("namespace"),
                pl.col(f"{a}_value").alias("value"),
                pl.col(f"{b}_namespace").alias("other"),
                pl.col(f"{b}_value").alias("other_value"),
                "n_records",
            )
            for a, b in (("left", "right"), ("right", "left"))
        ]
    )


def must_links(records: pl.DataFrame, party_identifiers: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Pairs of records that carry identifiers of the same group: a chain through each group.

    Args:
        records: record, channel, record_id.
        party_identifiers: channel, record_id, namespace, value.
        groups: from `strong_groups`.

    Returns:
        left, right: record numbers.
    """
    members = (
        party_identifiers.join(groups, on=_ID)
        .join(records.select("record", "channel", "record_id"), on=["channel", "record_id"])
        .select("group", pl.col("record").cast(pl.Int64))
        .unique()
        .sort("group", "record")
    )
    chain = members.with_columns(pl.col("record").shift(1).over("group").alias("left"))
    return chain.drop_nulls("left").select("left", pl.col("record").alias("right"))


def name_customers(
    records: pl.DataFrame,
    clusters: pl.DataFrame,
    identifiers: pl.DataFrame,
    party_identifiers: pl.DataFrame,
    pairs: pl.DataFrame,
    groups: pl.DataFrame,
    policy: CustomerPolicy,
    key: str,
) -> Customers:
    """Give every record and every identifier its customer.

    A customer is named after the first record of its cluster (by channel and record id), or, where it has no record, after its
    first identifier: the same data give the same id, in whatever order they come. An identifier that records of more than
    `max_partners` customers carry (a dummy number, a shop's own e-mail address) leads to none of them.

    Args:
        records: record, channel, record_id.
        clusters: record, cluster, matched_by, weight (from `resolution.resolve`).
        identifiers: channel, namespace, value, n_records, first_seen_at, last_seen_at.
        party_identifiers: channel, record_id, namespace, value.
        pairs: identifiers seen together in events, with n_records.
        groups: from `strong_groups`.
        policy: weak namespaces and bounds.
        key: key of the hash, so that an id does not give the record id away.
    """
    xref = _customer_xref(records, clusters, key)
    plausible = plausible_pairs(pairs, policy)
    carried = _carried_by_customers(xref, party_identifiers)
    crowd = carried.group_by(_ID).len().filter(pl.col("len") > policy.max_partners).select(_ID)
    nobodys = pl.concat([hot_identifiers(pairs, policy), crowd]).unique()
    known = _spread_over_groups(_best(carried.join(crowd, on=_ID, how="anti")), groups.join(crowd, on=_ID, how="anti"))
    known = _spread_over_pairs(known, plausible.pipe(_without, crowd), policy)
    # Groups of strong identifiers that lead to no record are customers known by identifiers alone.
    unnamed = groups.join(known, on=_ID, how="anti").join(crowd, on=_ID, how="anti")
    known = pl.concat([known, _name_groups(unnamed, key)])
    known = _spread_over_pairs(known, plausible.pipe(_without, crowd), policy)
    # So are weak ones that nothing explains; only those that too many people stand behind lead nowhere.
    alone = identifiers.select(_ID).unique().join(known, on=_ID, how="anti").join(nobodys, on=_ID, how="anti")
    known = pl.concat([known, _name_groups(_weak_groups(alone, plausible), key)])
    seen = identifiers.group_by(_ID).agg(pl.col("first_seen_at").min(), pl.col("last_seen_at").max())
    return Customers(xref, known.join(seen, on=_ID, how="left").sort(_ID))


def _name_groups(groups: pl.DataFrame, key: str) -> pl.DataFrame:
    """namespace, value, customer_id for groups of identifiers: a group is named after its first identifier."""
    first = (
        groups.sort(_ID)
        .group_by("group", maintain_order=True)
        .agg(pl.col("namespace").first(), pl.col("value").first())
    )
    named = first.with_columns(_ids(first["namespace"], first["value"], key)).select("group", "customer_id")
    return groups.join(named, on="group").select(*_ID, "customer_id")


def connected_groups(n: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Number of the connected component of each of n nodes; components are numbered by their first node."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if n == 0:
        return np.zeros(0, dtype=np.int64)
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n, n))
    labels: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _customer_xref(records: pl.DataFrame, clusters: pl.DataFrame, key: str) -> pl.DataFrame:
    placed = records.select("record", "channel", "record_id").join(clusters, on="record")
    anchors = placed.sort("channel", "record_id").group_by("cluster", maintain_order=True).agg(
        pl.col("channel").first(), pl.col("record_id").first()
    )  # fmt: skip
    named = anchors.with_columns(_ids(anchors["channel"], anchors["record_id"], key)).select("cluster", "customer_id")
    return (
        placed.join(named, on="cluster")
        .select("channel", "record_id", "customer_id", "matched_by", "weight")
        .sort("channel", "record_id")
    )


def _ids(first: pl.Series, second: pl.Series, key: str) -> pl.Series:
    """`C` and 16 hexadecimal digits of the keyed hash of two texts."""
    names = (f"{key}\x1f{a}\x1f{b}".encode() for a, b in zip(first, second, strict=True))
    return pl.Series("customer_id", ["C" + hashlib.sha256(name).hexdigest()[:16] for name in names], dtype=pl.String)


def _carried_by_customers(xref: pl.DataFrame, party_identifiers: pl.DataFrame) -> pl.DataFrame:
    """One row per identifier that records carry and customer of such a record, with the number n of the records."""
    return (
        party_identifiers.join(xref.select("channel", "record_id", "customer_id"), on=["channel", "record_id"])
        .group_by(*_ID, "customer_id")
        .agg(pl.len().alias("n"))
    )


def _best(counted: pl.DataFrame) -> pl.DataFrame:
    """Each identifier with the customer that n is greatest for (ties: the smaller id)."""
    return (
        counted.sort("n", "customer_id", descending=[True, False])
        .unique(_ID, keep="first", maintain_order=True)
        .select(*_ID, "customer_id")
    )


def _spread_over_groups(known: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Identifiers of a group that has a customer lead to that customer too."""
    owners = known.join(groups, on=_ID).group_by("group").agg(pl.col("customer_id").min())
    added = groups.join(known, on=_ID, how="anti").join(owners, on="group").select(*_ID, "customer_id")
    return pl.concat([known, added])


def _spread_over_pairs(known: pl.DataFrame, pairs: pl.DataFrame, policy: CustomerPolicy) -> pl.DataFrame:
    """Identifiers seen with a known one lead to its customer: nearest first, then the one seen with it most often."""
    both = _both_ways(pairs).rename({"other": "known_namespace", "other_value": "known_value"})
    for _ in range(policy.max_steps):
        unknown = both.join(known, on=_ID, how="anti")
        reached = unknown.join(
            known.rename({"namespace": "known_namespace", "value": "known_value"}),
            on=["known_namespace", "known_value"],
        )
        if reached.is_empty():
            break
        counted = reached.group_by(*_ID, "customer_id").agg(pl.col("n_records").sum().alias("n"))
        known = pl.concat([known, _best(counted)])
    return known


def _weak_groups(alone: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Groups of weak identifiers seen together, among those that lead to no customer otherwise."""
    nodes = alone.sort(_ID).with_row_index("node").with_columns(pl.col("node").cast(pl.Int64))
    joined = pairs.join(nodes, left_on=["left_namespace", "left_value"], right_on=_ID).join(
        nodes, left_on=["right_namespace", "right_value"], right_on=_ID, suffix="_right"
    )
    group = connected_groups(nodes.height, joined["node"].to_numpy(), joined["node_right"].to_numpy())
    return nodes.select(*_ID, pl.Series("group", group, dtype=pl.Int64))
