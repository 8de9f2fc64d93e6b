"""Candidate pairs: two records are compared where a tight enough block holds both.

Belongs here: codes of atoms, the blocks of a key, listing their pairs, two-step closure. Does not belong here: which atoms a field
has (model.py), which keys a model uses (key_choice.py), how pairs are compared. Arrays instead of Splink's own blocking rules,
because a rule cannot skip the blocks that are too large; Splink is handed the resulting table of pairs.

Whether a pair is a candidate depends on its two records and on the sizes of their blocks, never on the rank of the pair among
others: so what one new record changes stays within its own blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.identity.agglomeration import IntArray
from cx_pipeline.identity.hashing import NOTHING, Codes, Hasher, combined
from cx_pipeline.identity.model import Atom
from cx_pipeline.identity.population import exclusive_channels as exclusive_channels

TOKEN_PAIRS = "two name tokens"


@dataclass(frozen=True)
class BlockingKey:
    """What two records must share.

    Attributes:
        atoms: labels of the atoms that must all be equal; `TOKEN_PAIRS` alone: any two name tokens.
        max_records: a larger block says little and costs much: it is skipped.
    """

    atoms: tuple[str, ...]
    max_records: int

    @property
    def label(self) -> str:
        """How reports call it."""
        return " & ".join(self.atoms)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"atoms": list(self.atoms), "max_records": self.max_records}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> BlockingKey:
        """What `as_dict` gave."""
        return cls(tuple(stored["atoms"]), int(stored["max_records"]))


@dataclass(frozen=True)
class Entries:
    """Who stands in which block: `codes` equal within a block, none of them `NOTHING`; `records` whose entry it is."""

    codes: Codes
    records: IntArray

    def in_blocks(self) -> tuple[Entries, IntArray, IntArray]:
        """The entries with those of a block side by side, and each block's start and size."""
        order = np.argsort(self.codes)
        codes, records = self.codes[order], self.records[order]
        starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]) if len(codes) else np.empty(0, dtype=np.int64)
        return Entries(codes, records), starts, np.diff(np.r_[starts, len(codes)])


@dataclass(frozen=True)
class BlockCodes:
    """Codes of the records, one array per atom, from which the blocks of any key are made.

    Attributes:
        n_records: records are numbered 0 .. n_records - 1.
        atoms: (n,) codes by the atom's label, `NOTHING` where a record has no value.
        tokens: an entry for each pair of a record's name tokens; None where there are no names.
    """

    n_records: int
    atoms: Mapping[str, Codes]
    tokens: Entries | None

    def entries(self, atoms: tuple[str, ...]) -> Entries:
        """Who stands in which block of a key; nobody where the records lack one of its atoms."""
        if atoms == (TOKEN_PAIRS,):
            return self.tokens or Entries(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))
        if not all(atom in self.atoms for atom in atoms):
            return Entries(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))
        codes = combined([self.atoms[atom] for atom in atoms])
        records = np.flatnonzero(codes != NOTHING)
        return Entries(codes[records], records)


def block_codes(table: pl.DataFrame, atoms: Iterable[Atom], hasher: Hasher) -> BlockCodes:
    """Codes of the rows of a comparison table; a row's codes depend on that row alone."""
    chosen = tuple(atoms)
    coded = table.select(hasher.code(_value(atom)).alias(atom.label) for atom in chosen) if chosen else None
    arrays = {atom.label: coded[atom.label].to_numpy() for atom in chosen} if coded is not None else {}
    return BlockCodes(table.height, arrays, _token_pairs(table) if "full_tokens" in table.columns else None)


def _value(atom: Atom) -> pl.Expr:
    column = pl.col(atom.column)
    if atom.part.startswith("first:"):
        length = int(atom.part.removeprefix("first:"))
        head = column.str.slice(0, length)
        return pl.when(column.str.len_chars() >= min(length, 2)).then(head) if length > 1 else head
    if atom.part == "first_half":
        return pl.when(column.str.len_chars() >= 6).then(column.str.slice(0, column.str.len_chars() // 2))
    if atom.part == "last_half":
        return pl.when(column.str.len_chars() >= 6).then(column.str.slice(column.str.len_chars() // 2))
    if atom.part == "letters":
        letters = column.str.replace_all(r"[^\p{L}]+", "")
        return pl.when(letters.str.len_chars() >= 3).then(letters)
    if atom.part == "month_day":
        # 1 January is what many systems write for "unknown".
        is_default = (column == "01") & (pl.col(atom.columns[0]) == "01")
        return pl.when(~is_default).then(pl.concat_str(column, *atom.columns, separator="-"))
    if atom.part == "month_day_any_order":
        month, day = (pl.col(name) for name in atom.columns)
        return pl.concat_str(column, pl.min_horizontal(month, day), pl.max_horizontal(month, day), separator="-")
    return pl.concat_str(column, *atom.columns, separator="-")


def _token_pairs(table: pl.DataFrame) -> Entries:
    """Every unordered pair of a record's name tokens: finds swapped and half-missing names."""
    tokens = table.select(place=pl.int_range(pl.len()), token="full_tokens").explode("token").drop_nulls("token")
    pairs = tokens.join(tokens, on="place").filter(pl.col("token") < pl.col("token_right"))
    codes = combined([pairs[side].cast(pl.UInt64).to_numpy() for side in ("token", "token_right")])
    return Entries(codes, pairs["place"].to_numpy())


def pairs_of_blocks(entries: Entries, n_records: int, max_records: int) -> IntArray:
    """Pairs within each block of at most `max_records`, packed as left x n_records + right, left < right; may repeat."""
    ordered, starts, sizes = entries.in_blocks()
    chunks = [
        pairs_of_equal_blocks(ordered.records, starts[sizes == size], int(size), n_records)
        for size in np.unique(sizes[(sizes > 1) & (sizes <= max_records)])
    ]
    return np.concatenate(chunks) if chunks else np.empty(0, dtype=np.int64)


def pairs_of_equal_blocks(records: IntArray, starts: IntArray, size: int, n_records: int) -> IntArray:
    """Packed pairs of the blocks of one size that begin at `starts`."""
    row, column = np.triu_indices(size, k=1)
    members = records[starts[:, None] + np.arange(size)[None, :]]
    first, second = members[:, row].ravel(), members[:, column].ravel()
    packed = np.minimum(first, second) * n_records + np.maximum(first, second)
    kept: IntArray = packed if (first != second).all() else packed[first != second]
    return kept


def candidate_pairs(codes: BlockCodes, keys: Sequence[BlockingKey]) -> tuple[IntArray, dict[str, int]]:
    """The distinct packed pairs that the keys' blocks hold, sorted; and how many each key listed."""
    n = codes.n_records
    chunks = {key.label: pairs_of_blocks(codes.entries(key.atoms), n, key.max_records) for key in keys}
    return distinct(list(chunks.values())), {label: len(pairs) for label, pairs in chunks.items()}


def all_pairs(n_records: int) -> IntArray:
    """Every packed pair, sorted."""
    left, right = np.triu_indices(n_records, k=1)
    packed: IntArray = left.astype(np.int64) * n_records + right
    return packed


def distinct(chunks: list[IntArray]) -> IntArray:
    """Sorted distinct numbers of several arrays."""
    if not chunks:
        return np.empty(0, dtype=np.int64)
    together = np.concatenate(chunks)
    together.sort()
    return together[np.r_[True, together[1:] != together[:-1]]] if len(together) else together


def unpacked(pairs: IntArray, n_records: int) -> tuple[IntArray, IntArray]:
    """left, right of packed pairs."""
    left, right = np.divmod(pairs, max(n_records, 1))
    return left, right


def two_step_pairs(edges: pl.DataFrame, n_records: int, max_neighbours: int) -> IntArray:
    """Packed sorted pairs of records that are both among the best likely partners of a third one.

    Args:
        edges: left, right, match_weight of scored candidates; those of weight 0 and more are likely.
        n_records: records are numbered 0 .. n_records - 1.
        max_neighbours: the best partners of a record that are looked at; ties go to the lower number.
    """
    likely = edges.filter(pl.col("match_weight") >= 0).select("left", "right", "match_weight")
    partners = (
        pl.concat([likely, likely.select(left="right", right="left", match_weight="match_weight")])
        .sort("left", "match_weight", "right", descending=[False, True, False])
        .filter(pl.int_range(pl.len()).over("left") < max_neighbours)
        .select(middle="left", record="right")
    )
    steps = partners.join(partners, on="middle").filter(pl.col("record") < pl.col("record_right"))
    return distinct([steps.select(pl.col("record") * n_records + pl.col("record_right")).to_series().to_numpy()])
