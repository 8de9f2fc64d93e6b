"""The graph of evidence as tables: every edge that took effect, and every edge that was refused, with its reason.

Belongs here: putting deterministic, probabilistic, human and uniqueness evidence into one form, after everything is decided.
Does not belong here: deciding (evidence.py, decisions.py, resolution.py).

A node is a record (source: its channel) or an identifier (source: its namespace; a keyed hash where the contract says personal). An
identifier that nothing but one record carries joins nothing and is left out; `staging.party_identifiers` has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.identity.customers import Customers
from cx_pipeline.identity.decisions import CANNOT_LINK, MUST_LINK, Decisions
from cx_pipeline.identity.evidence import ID, PAIR, IdentifierEvidence
from cx_pipeline.identity.policy import ResolutionPolicy
from cx_pipeline.identity.resolution import PARTY_KIND, Rules, refusals

EDGE_SCHEMA = pl.Schema(
    {
        "kind": pl.String(),
        "rule": pl.String(),
        "left_is_record": pl.Boolean(),
        "left_source": pl.String(),
        "left_value": pl.String(),
        "right_is_record": pl.Boolean(),
        "right_source": pl.String(),
        "right_value": pl.String(),
        "weight": pl.Float64(),
        "valid_from": pl.Datetime("us"),
        "valid_to": pl.Datetime("us"),
    }
)
_LOG_2 = float(np.log(2.0))


@dataclass(frozen=True)
class Graph:
    """All evidence of a night.

    Attributes:
        edges: `EDGE_SCHEMA` and is_used: false where the pair speaks against a join that other evidence has carried.
        rejected: `EDGE_SCHEMA` and reason.
    """

    edges: pl.DataFrame
    rejected: pl.DataFrame


@dataclass(frozen=True)
class Resolved:
    """What was decided about a night's records.

    Attributes:
        records: record (0 .. n-1, sorted), channel, record_id.
        clusters: record, cluster, sorted by record (from `resolution.resolve`).
        customers: the names of records and identifiers.
        rules: what kept records apart.
    """

    records: pl.DataFrame
    clusters: pl.DataFrame
    customers: Customers
    rules: Rules


def evidence_graph(
    resolved: Resolved,
    scored: pl.DataFrame,
    decisions: Decisions,
    evidence: IdentifierEvidence,
    party_identifiers: pl.DataFrame,
    policy: ResolutionPolicy,
) -> Graph:
    """Sort all evidence of a night into what took effect and what was refused.

    Args:
        resolved: what came out.
        scored: left, right, match_weight (log2 odds) of pairs of records.
        decisions: verdicts of people.
        evidence: what identifiers say.
        party_identifiers: channel, record_id, namespace, value.
        policy: how unlikely a refused pair may be and still be kept.
    """
    judged = [
        _carried(resolved, evidence, party_identifiers, policy),
        _seen_together(resolved.customers, evidence),
        _similarities(resolved, scored, policy),
        _verdicts(resolved, decisions, policy),
    ]
    both = pl.concat([frame.select(*EDGE_SCHEMA, "is_used", "reason") for frame in judged])
    refused = both.filter(pl.col("reason").is_not_null())
    edges = both.filter(pl.col("reason").is_null()).drop("reason")
    return Graph(pl.concat([edges, _uniqueness(refused)]), refused.drop("is_used"))


def _edges(frame: pl.DataFrame, kind: str, **columns: pl.Expr) -> pl.DataFrame:
    """`EDGE_SCHEMA`, is_used and reason; what is not given is NULL."""
    given = {"kind": pl.lit(kind), "is_used": pl.col("reason").is_null(), **columns}
    schema = pl.Schema({**EDGE_SCHEMA, "is_used": pl.Boolean(), "reason": pl.String()})
    return frame.select(
        given.get(name, pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )


def _carried(
    resolved: Resolved, evidence: IdentifierEvidence, party_identifiers: pl.DataFrame, policy: ResolutionPolicy
) -> pl.DataFrame:
    """Records with identifiers that others have too, or that are refused."""
    xref = resolved.customers.customer_xref
    linked = evidence.groups.filter(pl.len().over("group") > 1).select(ID)
    owner = resolved.customers.identifier_xref.select(*ID, pl.col("customer_id").alias("owner"))
    shared = party_identifiers.filter(pl.len().over(ID) > 1).select(ID).unique()
    rows = (
        party_identifiers.join(
            pl.concat([shared, linked, evidence.refused.select(ID), evidence.nobodys.select(ID)]).unique(), on=ID
        )
        .join(resolved.records.select("record", "channel", "record_id"), on=["channel", "record_id"])
        .join(xref.select("channel", "record_id", "customer_id"), on=["channel", "record_id"])
        .join(owner, on=ID, how="left")
        .join(evidence.groups.select(*ID, pl.lit(True).alias("is_strong")), on=ID, how="left")
        .join(
            pl.concat([evidence.refused, evidence.nobodys]).unique(ID, keep="first", maintain_order=True),
            on=ID,
            how="left",
        )
        .sort("namespace", "value", "record")
    )
    first = rows.select("customer_id", "record").join(
        resolved.clusters.select("record", "cluster"), on="record"
    ).unique("customer_id").select(pl.col("customer_id").alias("owner"), pl.col("cluster").alias("right"))  # fmt: skip
    rows = rows.join(first, on="owner", how="left", maintain_order="left")
    ends = rows.select(
        pl.col("record").cast(pl.Int64).alias("left"),
        pl.coalesce("right", "record").cast(pl.Int64).alias("right"),
        pl.lit(None, dtype=pl.Float64).alias("log_odds"),
    )
    rows = rows.with_columns(refusals(resolved.clusters, ends, resolved.rules, policy).alias("why_apart"))
    is_elsewhere = pl.col("owner").is_null() | (pl.col("owner") != pl.col("customer_id"))
    strong = evidence.strengths.filter(pl.col("rank") == 0)["namespace"].to_list()
    # A weak identifier was never to join records: it is refused where it does not even lead to the record's customer.
    is_refused = pl.col("reason").is_not_null() & (is_elsewhere | pl.col("namespace").is_in(strong))
    reason = (
        pl.when(is_refused)
        .then("reason")
        .when(~is_elsewhere)
        .then(None)
        .when(pl.col("is_strong") & (pl.col("why_apart") != "outvoted"))
        .then("why_apart")
        .when(pl.col("owner").is_null())
        .then(pl.lit("hot_identifier"))
        .otherwise(pl.lit("shared_identifier"))
    )
    rows = rows.with_columns(reason.alias("reason")).filter(pl.col("is_strong") | pl.col("reason").is_not_null())
    return _edges(
        rows,
        "deterministic",
        rule=pl.col("namespace"),
        left_is_record=pl.lit(True),
        left_source=pl.col("channel"),
        left_value=pl.col("record_id"),
        right_is_record=pl.lit(False),
        right_source=pl.col("namespace"),
        right_value=pl.col("value"),
    )


def _seen_together(customers: Customers, evidence: IdentifierEvidence) -> pl.DataFrame:
    """Identifiers seen together in events: used where both lead to one customer."""
    owner = customers.identifier_xref.select(*ID, "customer_id")
    rows = evidence.pairs.join(evidence.refused_pairs.unique(PAIR, keep="first"), on=PAIR, how="left")
    for side in ("left", "right"):
        rows = rows.join(
            owner.rename({"customer_id": f"{side}_owner"}),
            left_on=[f"{side}_namespace", f"{side}_value"],
            right_on=ID,
            how="left",
        )
    is_one = (pl.col("left_owner") == pl.col("right_owner")).fill_null(False)
    leads_nowhere = pl.col("left_owner").is_null() | pl.col("right_owner").is_null()
    reason = (
        pl.when(pl.col("reason").is_not_null())
        .then("reason")
        .when(is_one)
        .then(None)
        .when(leads_nowhere)
        .then(pl.lit("hot_identifier"))
        .otherwise(pl.lit("shared_identifier"))
    )
    return _edges(
        rows.sort(PAIR).with_columns(reason.alias("reason")),
        "deterministic",
        rule=pl.lit("seen_together"),
        left_is_record=pl.lit(False),
        left_source=pl.col("left_namespace"),
        right_is_record=pl.lit(False),
        right_source=pl.col("right_namespace"),
        valid_from=pl.col("first_seen_at"),
        valid_to=pl.col("last_seen_at"),
    )


def _records_as_ends(pairs: pl.DataFrame, records: pl.DataFrame) -> pl.DataFrame:
    """The pairs with both records' channel and record_id as ends of edges."""
    ends = {
        f"{side}_{end}": records[column].gather(pairs[side])
        for side in ("left", "right")
        for end, column in (("source", "channel"), ("value", "record_id"))
    }
    return pairs.with_columns(pl.lit(True).alias("left_is_record"), pl.lit(True).alias("right_is_record"), **ends)


def _similarities(resolved: Resolved, scored: pl.DataFrame, policy: ResolutionPolicy) -> pl.DataFrame:
    """Scored pairs: all of one customer, and those of two that are not too unlikely."""
    cluster = resolved.clusters["cluster"].to_numpy()
    pairs = scored.select(
        pl.col("left").cast(pl.Int64), pl.col("right").cast(pl.Int64), pl.col("match_weight").alias("weight")
    ).with_columns((pl.col("weight") * _LOG_2).alias("log_odds"))
    is_one = pl.Series(cluster[pairs["left"].to_numpy()] == cluster[pairs["right"].to_numpy()], dtype=pl.Boolean)
    pairs = pairs.filter(is_one | (pl.col("log_odds") >= policy.near_miss_log_odds)).sort("left", "right")
    pairs = pairs.with_columns(refusals(resolved.clusters, pairs, resolved.rules, policy))
    is_used = pl.col("reason").is_null() & (pl.col("log_odds") >= policy.min_merge_log_odds)
    return _edges(
        _records_as_ends(pairs, resolved.records), "probabilistic", rule=pl.lit("similarity"), is_used=is_used
    )


def _verdicts(resolved: Resolved, decisions: Decisions, policy: ResolutionPolicy) -> pl.DataFrame:
    """Decisions and labels: one row per verdict, those that are not in force among the refused."""
    verdicts = decisions.verdicts.filter(pl.col("verdict").is_in([MUST_LINK, CANNOT_LINK])).unique(maintain_order=True)
    ends = verdicts.select(
        pl.col("left").fill_null(0),
        pl.col("right").fill_null(0),
        pl.lit(None, dtype=pl.Float64).alias("log_odds"),
    )
    verdicts = verdicts.with_columns(refusals(resolved.clusters, ends, resolved.rules, policy).alias("why_apart"))
    reason = (
        pl.when(pl.col("status") != "in_force")
        .then("status")
        .when(pl.col("verdict") == CANNOT_LINK)
        .then(None)
        .otherwise("why_apart")
    )
    rows = verdicts.with_columns(reason.alias("reason")).sort(
        "decided_at", "source_file", "source_line", nulls_last=False
    )
    return _edges(
        rows,
        "human",
        rule=pl.col("verdict"),
        left_is_record=pl.lit(True),
        left_source=pl.col("left_channel"),
        left_value=pl.col("left_record_id"),
        right_is_record=pl.lit(True),
        right_source=pl.col("right_channel"),
        right_value=pl.col("right_record_id"),
        valid_from=pl.col("decided_at"),
    )


def _uniqueness(refused: pl.DataFrame) -> pl.DataFrame:
    """What uniqueness has kept apart, as edges of its own: the same pairs as the refused ones that it spoke against."""
    reasons = {"source_uniqueness": "source_uniqueness", "party_kind": PARTY_KIND.replace(" ", "_")}
    return (
        refused.filter(pl.col("reason").is_in(list(reasons)), pl.col("kind") == "probabilistic")
        .with_columns(
            pl.lit("uniqueness").alias("kind"),
            pl.col("reason").replace(reasons).alias("rule"),
            pl.lit(None, dtype=pl.Float64).alias("weight"),
            pl.lit(True).alias("is_used"),
        )
        .drop("reason")
    )
