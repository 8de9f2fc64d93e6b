"""Erasure: who is meant by a customer id or a contact, and what is theirs alone.

Belongs here: finding the customer, the records and the identifiers that lead to nobody else, open requests, the rows of
`identity.suppressions` and `identity.erasures`. Pure. Does not belong here: files and other rooms' tables (`cx_pipeline/erasure.py`).

What several people share, a family's mailbox or a kiosk's cookie, is not suppressed: it would take the others' rows along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from cx_pipeline.core.suppressions import Kind, key_id, suppression_hash

_ID = ["namespace", "value"]
_RECORD = ["channel", "record_id"]
REASON = "erasure"
ERASURE_WORDS = ("eras", "delet", "forget", "forgotten", "removal")


@dataclass(frozen=True)
class Known:
    """Tables of the last night, in memory.

    Attributes:
        customer_xref: channel, record_id, customer_id.
        identifier_xref: namespace, value, customer_id.
        party_identifiers: channel, record_id, namespace, value.
        identifiers: namespace, value, raw_value (any number of rows for each).
        pairs: left_namespace, left_value, right_namespace, right_value.
    """

    customer_xref: pl.DataFrame
    identifier_xref: pl.DataFrame
    party_identifiers: pl.DataFrame
    identifiers: pl.DataFrame
    pairs: pl.DataFrame


@dataclass(frozen=True)
class Person:
    """What is known of one customer.

    Attributes:
        customer_id: the customer.
        records: channel, record_id of the party records.
        identifiers: namespace, raw_value of the identifiers that lead to this customer and to nobody else.
        n_shared: identifiers that others have too, which stay.
    """

    customer_id: str
    records: pl.DataFrame
    identifiers: pl.DataFrame
    n_shared: int


def customers_with(known: Known, namespace: str, value: str) -> list[str]:
    """Ids of the customers whom a normalised identifier leads to: those whose records carry it, else the one it is attributed to.

    Args:
        known: tables of the last night.
        namespace: email, phone ...
        value: the identifier itself, normalised as staging does it.
    """
    meant = (
        known.identifiers.filter(pl.col("namespace") == namespace, pl.col("raw_value") == value).select(_ID).unique()
    )
    carried = known.party_identifiers.join(meant, on=_ID).join(known.customer_xref, on=_RECORD)["customer_id"]
    attributed = known.identifier_xref.join(meant, on=_ID)["customer_id"]
    return sorted(set(carried) or set(attributed))


def customer_exists(known: Known, customer_id: str) -> bool:
    """Whether a record or an identifier leads to the customer."""
    return any((table["customer_id"] == customer_id).any() for table in (known.customer_xref, known.identifier_xref))


def person(known: Known, customer_id: str, former: pl.DataFrame, weak_namespaces: Sequence[str]) -> Person:
    """The records and identifiers of a customer.

    An identifier is the customer's own unless a record of somebody else carries it or, where its namespace is weak, it was seen
    together with an identifier at least as strong that leads to somebody else.

    Args:
        known: tables of the last night.
        customer_id: a customer that exists.
        former: namespace, raw_value of identifiers that earlier versions of the customer's records carried.
        weak_namespaces: the strongest first.
    """
    records = known.customer_xref.filter(pl.col("customer_id") == customer_id).select(_RECORD).unique()
    raw = known.identifiers.select(*_ID, "raw_value").unique()
    carried = known.party_identifiers.join(records, on=_RECORD, how="semi").select(_ID)
    attributed = known.identifier_xref.filter(pl.col("customer_id") == customer_id).select(_ID)
    earlier = raw.join(former, on=["namespace", "raw_value"], how="semi").select(_ID)
    own = pl.concat([carried, attributed, earlier]).unique()
    elses = known.party_identifiers.join(records, on=_RECORD, how="anti").select(_ID).unique()
    shared = pl.concat([elses, _seen_with_others(known, customer_id, own, weak_namespaces)]).unique()
    alone = own.join(shared, on=_ID, how="anti").join(raw, on=_ID, how="left")
    # An identifier of an earlier version that no standing row has any more is nobody else's.
    unseen = former.join(raw, on=["namespace", "raw_value"], how="anti")
    identifiers = pl.concat([alone.select("namespace", "raw_value"), unseen.select("namespace", "raw_value")])
    n_shared = own.join(shared, on=_ID, how="semi").height
    return Person(
        customer_id, records.sort(_RECORD), identifiers.drop_nulls().unique().sort("namespace", "raw_value"), n_shared
    )


def _seen_with_others(
    known: Known, customer_id: str, own: pl.DataFrame, weak_namespaces: Sequence[str]
) -> pl.DataFrame:
    """Weak identifiers of `own` seen together with one at least as strong that leads to another customer: namespace, value."""
    rank = {namespace: i for i, namespace in enumerate(weak_namespaces, start=1)}
    sides = [
        known.pairs.select(
            pl.col(f"{a}_namespace").alias("namespace"),
            pl.col(f"{a}_value").alias("value"),
            pl.col(f"{b}_namespace").alias("other_namespace"),
            pl.col(f"{b}_value").alias("other_value"),
        )
        for a, b in (("left", "right"), ("right", "left"))
    ]

    def strength(column: str) -> pl.Expr:
        return pl.col(column).replace_strict(rank, default=0, return_dtype=pl.Int64)

    met = pl.concat(sides).join(own, on=_ID, how="semi").filter(pl.col("namespace").is_in(list(rank)))
    others = known.identifier_xref.filter(pl.col("customer_id") != customer_id).select(_ID)
    return (
        met.filter(strength("other_namespace") <= strength("namespace"))
        .join(others, left_on=["other_namespace", "other_value"], right_on=_ID, how="semi")
        .select(_ID)
        .unique()
    )


def open_requests(requests: pl.DataFrame, known: Known, erased: Iterable[str]) -> list[str]:
    """Ids of the customers who asked to be erased and are not yet.

    Args:
        requests: request_type, identifier_namespace, identifier_value of `staging.privacy_requests`.
        known: tables of the last night.
        erased: customers who are.
    """
    asked = pl.col("request_type").str.to_lowercase().str.contains_any(list(ERASURE_WORDS))
    found = requests.filter(asked).join(
        known.identifier_xref, left_on=["identifier_namespace", "identifier_value"], right_on=_ID
    )
    return sorted(set(found["customer_id"]) - set(erased))


def suppressions(
    persons: Iterable[Person], rows: Iterable[tuple[str, str]], since: datetime, key: str
) -> list[dict[str, object]]:
    """Rows of `identity.suppressions` for some people: keyed hashes only.

    Args:
        persons: who.
        rows: (channel, text) of their rows that have no id of their own, or that are broken.
        since: when.
        key: of the data directory.
    """
    hashed: list[tuple[Kind, str, str]] = []
    for one in persons:
        hashed += [("record", channel, text) for channel, text in one.records.iter_rows()]
        hashed += [("identifier", namespace, text) for namespace, text in one.identifiers.iter_rows()]
    hashed += [("row", channel, text) for channel, text in rows]
    return [
        {
            "kind": kind,
            "scope": scope,
            "hash": suppression_hash(kind, scope, text, key),
            "since": since,
            "reason": REASON,
            "key_id": key_id(key),
        }
        for kind, scope, text in hashed
    ]
