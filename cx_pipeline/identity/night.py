"""A night of identity: from scored pairs, identifiers, decisions and last night's tables to tonight's tables.

Belongs here: the order in which the parts of this room act on one another. Pure: frames in, frames out. Does not belong here: what any of
them does, reading and writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.identity import customers, edges, evidence, households, ledger, trust
from cx_pipeline.identity.decisions import Decisions, decide
from cx_pipeline.identity.fields import party_kind
from cx_pipeline.identity.policy import CustomerPolicy, ResolutionPolicy
from cx_pipeline.identity.population import ORGANISATION, PERSON, UNKNOWN
from cx_pipeline.identity.resolution import PARTY_KIND, Rules, resolve

KIND_NAMES = {PERSON: "person", ORGANISATION: "organisation", UNKNOWN: "unknown"}


@dataclass(frozen=True)
class Sightings:
    """What staging has seen.

    Attributes:
        records: from `number_records`.
        identifiers: channel, namespace, value, raw_value, n_records, first_seen_at, last_seen_at.
        party_identifiers: channel, record_id, namespace, value.
        pairs: identifiers seen together in events.
        verdicts: decisions of people (`decisions.VERDICT_SCHEMA`).
    """

    records: pl.DataFrame
    identifiers: pl.DataFrame
    party_identifiers: pl.DataFrame
    pairs: pl.DataFrame
    verdicts: pl.DataFrame


@dataclass(frozen=True)
class Night:
    """What a night is.

    Attributes:
        at: start of the run.
        as_of: the date the results stand for.
        key: of keyed hashes.
        duplicate_free: channels that hold one record per person.
        resolution, customers: policies.
    """

    at: datetime
    as_of: date
    key: str
    duplicate_free: frozenset[str]
    resolution: ResolutionPolicy
    customers: CustomerPolicy


def read_previous(warehouse: Warehouse, tables: Mapping[str, Table]) -> ledger.Previous:
    """Last night's tables, whatever other columns they had then.

    Args:
        warehouse: where they are.
        tables: the room's contracts.
    """
    nothing = ledger.Previous.nothing()

    def rows(name: str, like: pl.DataFrame) -> pl.DataFrame:
        table = tables[name].full_name
        if not warehouse.has(table) or not set(like.columns) <= warehouse.columns(table).keys():
            return like
        found: pl.DataFrame = warehouse.read(table).select(*like.columns).collect("polars").to_native()
        return found.cast(dict(like.schema))  # type: ignore[arg-type]

    return ledger.Previous(
        customer_xref=rows("customer_xref", nothing.customer_xref),
        identifier_xref=rows("identifier_xref", nothing.identifier_xref),
        ledger=rows("ledger", nothing.ledger),
        history=rows("customer_history", nothing.history),
    )


def resolve_night(
    seen: Sightings, scored: pl.DataFrame, previous: ledger.Previous, night: Night
) -> dict[str, pl.DataFrame]:
    """Tonight's tables by name: all but those that describe the model.

    Args:
        seen: what staging has seen.
        scored: pairs of records with their weights (`linkage.EDGE_SCHEMA`).
        previous: last night's tables.
        night: dates, key and policies.
    """
    records = seen.records.with_columns(_kinds(seen.records))
    decided = decide(records, seen.verdicts, labels_decide=night.customers.labels_decide)
    said = evidence.judge_identifiers(records, seen.identifiers, seen.party_identifiers, seen.pairs, night.customers)
    links = _all_links(evidence.must_links(records, seen.party_identifiers, said.groups), decided)
    rules = keep_apart(records, seen.party_identifiers, decided, night)
    clusters = resolve(records.height, scored, links, night.resolution, rules)
    named = customers.name_customers(
        records, clusters, seen.identifiers, seen.party_identifiers, said, night.customers, night.key
    )
    resolved = edges.Resolved(records, clusters, named, rules)
    graph = edges.evidence_graph(resolved, scored, decided, said, seen.party_identifiers, night.resolution)
    kept = ledger.keep_ids(named, previous, night.key)
    final = customers.Customers(kept.rename(named.customer_xref), kept.rename(named.identifier_xref))
    figures = trust.cluster_figures(records, clusters, scored, links, night.resolution, night.customers)
    of_record = final.customer_xref.select("channel", "record_id", "customer_id")
    located = records.join(of_record, on=["channel", "record_id"], maintain_order="left")
    return {
        "customer_xref": final.customer_xref,
        "identifier_xref": final.identifier_xref,
        "clusters": _with_ids(figures, located),
        "households": households.households(
            located, final.identifier_xref, seen.party_identifiers, said.plausible_pairs, night.customers
        ),
        "edges": graph.edges,
        "rejected_edges": graph.rejected,
        "namespaces": said.strengths,
        **_remembered(final, kept, previous, graph, night),
    }


def _remembered(
    final: customers.Customers, kept: ledger.Kept, previous: ledger.Previous, graph: edges.Graph, night: Night
) -> dict[str, pl.DataFrame]:
    """The tables that grow from night to night."""
    reasons = ledger.reasons_of_changes(kept.changes, final, previous, graph.edges, graph.rejected)
    entered = ledger.ledger_rows(kept.changes, reasons, previous.ledger, night.at, night.as_of)
    whole = pl.concat([previous.ledger, entered])
    living = pl.concat([final.customer_xref["customer_id"], final.identifier_xref["customer_id"]])
    return {
        "ledger": whole,
        "aliases": ledger.aliases(whole, living),
        "customer_history": ledger.extend_history(previous.history, final.customer_xref, night.as_of),
    }


def _kinds(records: pl.DataFrame) -> pl.Series:
    """What each record is about: person, organisation or unknown."""
    as_compared = records.select(
        pl.col("full_name").alias("full"), "birth_date", "birth_year", "sex", "organisation_name"
    )
    numbers = as_compared.select(party_kind())["party_kind"]
    return numbers.replace_strict(KIND_NAMES, return_dtype=pl.String).alias("party_kind")


def _all_links(by_identifier: pl.DataFrame, decided: Decisions) -> pl.DataFrame:
    none = pl.lit(None, dtype=pl.Int64).alias("priority")
    return pl.concat([by_identifier.with_columns(none), decided.must_links.cast(pl.Int64)])


def keep_apart(records: pl.DataFrame, party_identifiers: pl.DataFrame, decided: Decisions, night: Night) -> Rules:
    """What keeps records apart: decisions, duplicate-free channels, unique namespaces, and that a person is no organisation.

    Args:
        records: record, channel, record_id, party_kind (a name).
        party_identifiers: channel, record_id, namespace, value.
        decided: verdicts of people.
        night: which channels and namespaces are unique.
    """
    record = pl.col("record").cast(pl.Int64)
    kinds = records.filter(pl.col("party_kind") != "unknown").select(
        record, pl.lit(PARTY_KIND).alias("holder"), pl.col("party_kind").alias("value")
    )
    if kinds["value"].n_unique() < 2:
        kinds = kinds.clear()
    channels = records.filter(pl.col("channel").is_in(list(night.duplicate_free))).select(
        record, pl.format("channel {}", "channel").alias("holder"), record.cast(pl.String).alias("value")
    )
    unique = (
        party_identifiers.filter(pl.col("namespace").is_in(list(night.customers.unique_namespaces)))
        .join(records.select("record", "channel", "record_id"), on=["channel", "record_id"])
        .group_by(record, pl.format("namespace {}", "namespace").alias("holder"))
        .agg(pl.col("value").min())
    )
    return Rules(decided.cannot_links, pl.concat([kinds, channels, unique]))


def _with_ids(figures: pl.DataFrame, located: pl.DataFrame) -> pl.DataFrame:
    """Figures of clusters under their customers' ids; a cluster is numbered by its first record."""
    ids = located.select(pl.col("record").cast(pl.Int64).alias("cluster"), "customer_id")
    return figures.join(ids, on="cluster").drop("cluster").sort("customer_id")
