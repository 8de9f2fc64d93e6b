"""Customers: from clusters of records and from identifiers to customers with a name of their own.

Belongs here: attaching identifiers to customers, and the names that tonight's data alone would give them. Pure.
Does not belong here: judging identifiers (`evidence.py`), joining scored pairs (`resolution.py`), ids that stay the same from
night to night (`ledger.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import polars as pl

from cx_pipeline.identity.evidence import ID, IdentifierEvidence, both_ways, connected_groups
from cx_pipeline.identity.policy import CustomerPolicy


@dataclass(frozen=True)
class Customers:
    """customer_xref and identifier_xref, with the columns of their contracts."""

    customer_xref: pl.DataFrame
    identifier_xref: pl.DataFrame


def name_customers(
    records: pl.DataFrame,
    clusters: pl.DataFrame,
    identifiers: pl.DataFrame,
    party_identifiers: pl.DataFrame,
    evidence: IdentifierEvidence,
    policy: CustomerPolicy,
    key: str,
) -> Customers:
    """Give every record and every identifier its customer.

    A customer is named after the first record of its cluster (by channel and record id), or, where it has no record, after its
    first identifier: the same data give the same name, in whatever order they come. An identifier that records of more than
    `max_partners` customers carry (a dummy number, a shop's own e-mail address) leads to none of them.

    Args:
        records: record, channel, record_id.
        clusters: record, cluster, matched_by, weight (from `resolution.resolve`).
        identifiers: channel, namespace, value, n_records, first_seen_at, last_seen_at.
        party_identifiers: channel, record_id, namespace, value.
        evidence: what identifiers say.
        policy: bounds.
        key: key of the hash, so that an id does not give the record id away.
    """
    xref = _customer_xref(records, clusters, key)
    carried = _carried_by_customers(xref, party_identifiers).join(evidence.nobodys, on=ID, how="anti")
    crowd = carried.group_by(ID).len().filter(pl.col("len") > policy.max_partners).select(ID)
    groups = evidence.groups
    plausible = _without(evidence.plausible_pairs, crowd)
    known = _spread_over_groups(_best(carried.join(crowd, on=ID, how="anti")), groups.join(crowd, on=ID, how="anti"))
    known = _spread_over_pairs(known, plausible, policy)
    # Groups of strong identifiers that lead to no record are customers known by identifiers alone.
    unnamed = groups.join(known, on=ID, how="anti").join(crowd, on=ID, how="anti")
    known = pl.concat([known, _name_groups(unnamed, key)])
    known = _spread_over_pairs(known, plausible, policy)
    # So are weak ones that nothing explains; only those that too many people stand behind lead nowhere.
    nobodys = pl.concat([evidence.nobodys.select(ID), crowd]).unique()
    alone = identifiers.select(ID).unique().join(known, on=ID, how="anti").join(nobodys, on=ID, how="anti")
    known = pl.concat([known, _name_groups(_weak_groups(alone, plausible), key)])
    seen = identifiers.group_by(ID).agg(pl.col("first_seen_at").min(), pl.col("last_seen_at").max())
    return Customers(xref, known.join(seen, on=ID, how="left").sort(ID))


def _without(pairs: pl.DataFrame, unwanted: pl.DataFrame) -> pl.DataFrame:
    """Pairs of which neither end is one of the unwanted identifiers."""
    for side in ("left", "right"):
        pairs = pairs.join(unwanted, left_on=[f"{side}_namespace", f"{side}_value"], right_on=ID, how="anti")
    return pairs


def _name_groups(groups: pl.DataFrame, key: str) -> pl.DataFrame:
    """namespace, value, customer_id for groups of identifiers: a group is named after its first identifier."""
    first = (
        groups.sort(ID).group_by("group", maintain_order=True).agg(pl.col("namespace").first(), pl.col("value").first())
    )
    named = first.with_columns(_ids(first["namespace"], first["value"], key)).select("group", "customer_id")
    return groups.join(named, on="group").select(*ID, "customer_id")


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
    """One row per identifier that records carry and customer of such a record: the number n of the records, the place of the first."""
    placed = xref.select("channel", "record_id", "customer_id").with_row_index("place")
    return (
        party_identifiers.join(placed, on=["channel", "record_id"])
        .group_by(*ID, "customer_id")
        .agg(pl.len().alias("n"), pl.col("place").min())
    )


def _best(counted: pl.DataFrame, tie: str = "place") -> pl.DataFrame:
    """Each identifier with the customer that n is greatest for (ties: the one whose record comes first, or the smaller id)."""
    return (
        counted.sort("n", tie, "customer_id", descending=[True, False, False])
        .unique(ID, keep="first", maintain_order=True)
        .select(*ID, "customer_id")
    )


def _spread_over_groups(known: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Identifiers of a group that has a customer lead to that customer too."""
    owners = known.join(groups, on=ID).group_by("group").agg(pl.col("customer_id").min())
    added = groups.join(known, on=ID, how="anti").join(owners, on="group").select(*ID, "customer_id")
    return pl.concat([known, added])


def _spread_over_pairs(known: pl.DataFrame, pairs: pl.DataFrame, policy: CustomerPolicy) -> pl.DataFrame:
    """Identifiers seen with a known one lead to its customer: nearest first, then the one seen with it most often."""
    both = both_ways(pairs).rename({"other": "known_namespace", "other_value": "known_value"})
    for _ in range(policy.max_steps):
        unknown = both.join(known, on=ID, how="anti")
        reached = unknown.join(
            known.rename({"namespace": "known_namespace", "value": "known_value"}),
            on=["known_namespace", "known_value"],
        )
        if reached.is_empty():
            break
        counted = reached.group_by(*ID, "customer_id").agg(pl.col("n_records").sum().alias("n"))
        known = pl.concat([known, _best(counted, "customer_id")])
    return known


def _weak_groups(alone: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Groups of weak identifiers seen together, among those that lead to no customer otherwise."""
    nodes = alone.sort(ID).with_row_index("node").with_columns(pl.col("node").cast(pl.Int64))
    joined = pairs.join(nodes, left_on=["left_namespace", "left_value"], right_on=ID).join(
        nodes, left_on=["right_namespace", "right_value"], right_on=ID, suffix="_right"
    )
    group = connected_groups(nodes.height, joined["node"].to_numpy(), joined["node_right"].to_numpy())
    return nodes.select(*ID, pl.Series("group", group, dtype=pl.Int64))
