"""Suppressions: keyed hashes of what must not come in again, and rows of any table that hold it still.

Belongs here: how a suppressed identifier, record or row is hashed, looked for among values, and traced through tables by the names of
their columns. Does not belong here: whose they are (identity), how a channel's rows are held back (staging), files (`erasure.py`).

The hash of an identifier is made of its keyed hash, so that it can be recomputed from tables that hold the identifier as keyed hash
(ADR 4) as well as from those that hold it as it is. No value can be read from a hash without the data directory's key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Literal

import narwhals as nw
import polars as pl

from cx_pipeline.core.errors import ConfigurationError, Problem
from cx_pipeline.core.frames import keyed_hash, to_polars

Kind = Literal["identifier", "record", "row"]

TABLE = "identity.suppressions"
RULE = "suppressed"
_SEPARATOR = "\x1f"
_N_KEY_DIGITS = 12


@dataclass(frozen=True)
class Suppressions:
    """What is suppressed, by kind and scope.

    Attributes:
        hashes: (kind, scope) -> keyed hashes. The scope of an identifier is its namespace, that of a record or a row its channel.
        key: key of the hashes.
    """

    hashes: Mapping[tuple[str, str], frozenset[str]]
    key: str = field(repr=False)

    @classmethod
    def of(cls, table: pl.DataFrame, key: str) -> Suppressions:
        """From the rows of `identity.suppressions`.

        Raises:
            ConfigurationError: if they were made with another key: nothing would be held back.
        """
        foreign = table.filter(pl.col("key_id") != key_id(key)).height
        if foreign:
            raise ConfigurationError(
                Problem(
                    "erased people would come back: suppressions were made with another key",
                    TABLE,
                    foreign,
                    remedy="give the key back that was in CX_HASH_KEY or warehouse/hash.key when they were erased",
                )
            )
        grouped = table.group_by("kind", "scope").agg("hash")
        return cls({(row["kind"], row["scope"]): frozenset(row["hash"]) for row in grouped.to_dicts()}, key)

    def __bool__(self) -> bool:
        """Whether anything is suppressed."""
        return bool(self.hashes)

    def scopes(self, kind: Kind) -> list[str]:
        """Namespaces (of identifiers) or channels (of records and rows) in which something is suppressed, sorted."""
        return sorted(scope for found, scope in self.hashes if found == kind)

    def found(self, values: nw.LazyFrame, kind: Kind, scope: str, *, is_hashed: bool = False) -> list[str]:
        """Those of the values that are suppressed, sorted.

        Args:
            values: a frame with the text column `value`.
            kind: what they are.
            scope: their namespace or channel.
            is_hashed: whether they are keyed hashes of identifiers already.
        """
        wanted = self.hashes.get((kind, scope))
        if not wanted:
            return []
        texts = values.select("value").filter(~nw.col("value").is_null()).unique()
        texts = texts.with_columns(nw.col("value").alias("__text"))
        if kind == "identifier" and not is_hashed:
            texts = keyed_hash(texts, {"__text": "__text"}, self.key)
        texts = texts.with_columns(nw.concat_str([nw.lit(_prefix(kind, scope)), nw.col("__text")]).alias("__text"))
        hits = keyed_hash(texts, {"__text": "__text"}, self.key).filter(nw.col("__text").is_in(sorted(wanted)))
        return sorted(to_polars(hits.select("value"))["value"].to_list())


def suppression_hash(kind: Kind, scope: str, text: str, key: str) -> str:
    """The keyed hash that stands in `identity.suppressions`; `Suppressions.found` makes the same one inside the engine.

    Args:
        kind: identifier, record or row.
        scope: its namespace, or its channel.
        text: the normalised identifier itself (not its hash), the record's id, or the row's text.
        key: of the data directory.
    """
    inner = _hash(text, key) if kind == "identifier" else text
    return _hash(_prefix(kind, scope) + inner, key)


def key_id(key: str) -> str:
    """Twelve hexadecimal digits by which a key is known again."""
    return _hash("", key)[:_N_KEY_DIGITS]


def _prefix(kind: str, scope: str) -> str:
    return f"{kind}{_SEPARATOR}{scope}{_SEPARATOR}"


def _hash(text: str, key: str) -> str:
    inner = hashlib.sha256((key + text).encode()).hexdigest()
    return hashlib.sha256((key + inner).encode()).hexdigest()


@dataclass(frozen=True)
class Traces:
    """By what rows about erased people are known in tables of any room.

    Attributes:
        suppressions: identifiers and records by hash.
        customers: ids of the erased customers.
        records: channel -> ids of further records that are known to be theirs.
    """

    suppressions: Suppressions
    customers: Collection[str] = ()
    records: Mapping[str, Collection[str]] = field(default_factory=dict)

    def rows_about_them(self, frame: nw.LazyFrame) -> nw.Expr | None:
        """Condition that holds for a table's rows about erased people; None where no row is.

        Columns are understood by their names, with any prefix before them (`left_`, `identifier_`): `customer_id`; `channel`
        with `record_id`; `namespace` with `value`; and `source` with `value`, where `is_record` says which of the two they are.
        """
        names = list(frame.collect_schema().names())
        conditions = [
            *self._by_customer(names),
            *self._by_record(frame, names),
            *self._by_identifier(frame, names),
        ]
        return reduce(or_, conditions) if conditions else None

    def _by_customer(self, names: list[str]) -> Iterator[nw.Expr]:
        if self.customers:
            for name in names:
                if name == "customer_id" or name.endswith("_customer_id"):
                    yield nw.col(name).is_in(sorted(self.customers)).fill_null(False)

    def _by_record(self, frame: nw.LazyFrame, names: list[str]) -> Iterator[nw.Expr]:
        pairs = [(channel, record, nw.lit(True)) for channel, record in _column_pairs(names, "channel", "record_id")]
        for channel, record, is_record in [*pairs, *_mixed_pairs(names, is_record=True)]:
            for scope in sorted({*self.suppressions.scopes("record"), *self.records}):
                of_channel = is_record & (nw.col(channel) == scope)
                values = frame.filter(of_channel).select(nw.col(record).alias("value"))
                hits = {*self.suppressions.found(values, "record", scope), *self.records.get(scope, ())}
                if hits:
                    yield (of_channel & nw.col(record).is_in(sorted(hits))).fill_null(False)

    def _by_identifier(self, frame: nw.LazyFrame, names: list[str]) -> Iterator[nw.Expr]:
        pairs = [(namespace, value, nw.lit(True)) for namespace, value in _column_pairs(names, "namespace", "value")]
        for namespace, value, is_identifier in [*pairs, *_mixed_pairs(names, is_record=False)]:
            for scope in self.suppressions.scopes("identifier"):
                of_namespace = is_identifier & (nw.col(namespace) == scope)
                values = frame.filter(of_namespace).select(nw.col(value).alias("value"))
                hits = {
                    hit
                    for is_hashed in (True, False)
                    for hit in self.suppressions.found(values, "identifier", scope, is_hashed=is_hashed)
                }
                if hits:
                    yield (of_namespace & nw.col(value).is_in(sorted(hits))).fill_null(False)


def _mixed_pairs(names: list[str], *, is_record: bool) -> list[tuple[str, str, nw.Expr]]:
    """Columns that hold records in some rows and identifiers in others: source, value, whether they are what is asked for."""
    found = []
    for source, value in _column_pairs(names, "source", "value"):
        flag = source.removesuffix("source") + "is_record"
        if flag in names:
            found.append((source, value, nw.col(flag) if is_record else ~nw.col(flag)))
    return found


def _column_pairs(names: list[str], first: str, second: str) -> list[tuple[str, str]]:
    """Columns that belong together: both with the same prefix, which is empty or ends with `_`."""
    prefixes = [name.removesuffix(first) for name in names if name.endswith(first)]
    return [(p + first, p + second) for p in prefixes if (not p or p.endswith("_")) and p + second in names]
