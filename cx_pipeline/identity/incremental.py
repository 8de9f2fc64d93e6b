"""What changed since last night, in blocks and pairs: a night compares and scores that and takes the rest from last night.

Belongs here: the state that one night leaves to the next, the difference of two nights' records, the pairs whose candidacy or score
can have changed. Does not belong here: comparing and scoring (linkage.py). The state holds hashes and numbers, no value of a person.

Why it equals a run over everything (docs/adr/0010): a pair's score depends on its two records and the model alone, and a pair is a
candidate when one of the model's keys holds both records in a block that is not too large. So nothing changes between two unchanged
records but through a block that became too large, or is so no longer; those blocks are looked at whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.identity.agglomeration import BoolArray, IntArray
from cx_pipeline.identity.blocking import BlockCodes, BlockingKey, Entries, distinct
from cx_pipeline.identity.hashing import Codes, Hasher

_CODE = "code:"
_TOKENS = "token_codes"
_FILTER_BITS = np.uint64((1 << 22) - 1)
_NOT_EVIDENCE = ("record", "updated_at")


@dataclass(frozen=True)
class LinkageState:
    """What a night leaves to the next.

    Attributes:
        signature: of everything but the records that decides an edge; another one: nothing can be taken over.
        records: one row per record in the order of its number: `key` (hash of channel and record id), `fingerprint` (hash of what
            is compared), `code:<atom>` per atom that the model's keys use, `token_codes`.
        pairs: scored pairs that count: every candidate that is not hopeless, every two-step pair; left and right (numbers of
            `records`), linkage.EDGE_SCHEMA's other columns, `is_candidate`; match_weight -inf where
            a two-step pair was a candidate too unlikely to be kept.
    """

    signature: str
    records: pl.DataFrame
    pairs: pl.DataFrame


@dataclass(frozen=True)
class Difference:
    """Tonight's records against last night's.

    Attributes:
        old_of_new: (n,) last night's number of a record whose evidence is unchanged, -1 for a new or changed one.
        new_of_old: (n before,) tonight's number of an unchanged record, -1 for one that is gone or changed.
    """

    old_of_new: IntArray
    new_of_old: IntArray

    @property
    def is_changed(self) -> BoolArray:
        """(n,) new or changed."""
        result: BoolArray = self.old_of_new < 0
        return result


def fingerprints(records: pl.DataFrame, hasher: Hasher) -> pl.DataFrame:
    """`key` and `fingerprint` of numbered records."""
    evidence = sorted(set(records.columns) - set(_NOT_EVIDENCE))
    lists = [name for name in evidence if records.schema[name].is_nested()]
    plain = [
        pl.col(name).cast(pl.List(pl.String)).list.join("\x1f") if name in lists else pl.col(name) for name in evidence
    ]
    names_and_values = pl.struct(*plain, pl.lit("\x1f".join(evidence)).alias("__names"))
    return records.select(
        hasher.code(pl.struct("channel", "record_id")).alias("key"), hasher.code(names_and_values).alias("fingerprint")
    )


def difference(before: pl.DataFrame, after: pl.DataFrame) -> Difference | None:
    """Matches records by key; None where two records share a key, which hashing makes all but impossible."""
    if before["key"].is_duplicated().any() or after["key"].is_duplicated().any():
        return None
    old = before.select("key", "fingerprint", old=pl.int_range(pl.len()))
    joined = after.select("key", "fingerprint").join(old, on=["key", "fingerprint"], how="left", maintain_order="left")
    old_of_new = joined["old"].fill_null(-1).to_numpy()
    new_of_old = np.full(before.height, -1, dtype=np.int64)
    kept = np.flatnonzero(old_of_new >= 0)
    new_of_old[old_of_new[kept]] = kept
    return Difference(old_of_new, new_of_old)


def stored_codes(codes: BlockCodes) -> pl.DataFrame:
    """Codes as columns of the state."""
    frame = pl.DataFrame({_CODE + label: values for label, values in codes.atoms.items()})
    if codes.tokens is None:
        return frame
    tokens = pl.DataFrame({"place": codes.tokens.records, _TOKENS: codes.tokens.codes})
    listed = tokens.group_by("place").agg(pl.col(_TOKENS).sort())
    every = pl.DataFrame({"place": np.arange(codes.n_records)})
    return frame.hstack([every.join(listed, on="place", how="left", maintain_order="left")[_TOKENS]])


def read_codes(records: pl.DataFrame) -> BlockCodes:
    """What `stored_codes` gave."""
    atoms = {name.removeprefix(_CODE): records[name].to_numpy() for name in records.columns if name.startswith(_CODE)}
    tokens = None
    if _TOKENS in records.columns:
        listed = records.select(_TOKENS, place=pl.int_range(pl.len())).explode(_TOKENS).drop_nulls(_TOKENS)
        tokens = Entries(listed[_TOKENS].to_numpy(), listed["place"].to_numpy())
    return BlockCodes(records.height, atoms, tokens)


def merged_codes(before: BlockCodes, of_changed: BlockCodes, changes: Difference) -> BlockCodes:
    """Tonight's codes: last night's for unchanged records, fresh ones for the rest (in the order of their numbers)."""
    changed = np.flatnonzero(changes.is_changed)
    place = np.maximum(changes.old_of_new, 0)
    atoms: dict[str, Codes] = {}
    for label, fresh in of_changed.atoms.items():
        codes = before.atoms[label][place] if before.n_records else np.zeros(len(place), dtype=np.uint64)
        codes[changed] = fresh
        atoms[label] = codes
    tokens = None
    if before.tokens is not None and of_changed.tokens is not None:
        mapped = changes.new_of_old[before.tokens.records]
        kept = mapped >= 0
        tokens = Entries(
            np.concatenate([before.tokens.codes[kept], of_changed.tokens.codes]),
            np.concatenate([mapped[kept], changed[of_changed.tokens.records]]),
        )
    return BlockCodes(len(changes.old_of_new), atoms, tokens)


@dataclass(frozen=True)
class TouchedPairs:
    """Where candidacy can have changed.

    Attributes:
        to_score: packed, sorted: candidates with a new or changed record, or of a block that is small enough again.
        in_doubt: (n,) records of blocks that have become too large: a stored pair of two of them may be no candidate any more.
    """

    to_score: IntArray
    in_doubt: BoolArray


def touched_pairs(
    keys: Sequence[BlockingKey], before: BlockCodes, after: BlockCodes, changes: Difference
) -> TouchedPairs:
    """Looks at the blocks that a record came into or left."""
    is_changed = changes.is_changed
    gone = _subset(before, np.flatnonzero(changes.new_of_old < 0))
    in_doubt = np.zeros(after.n_records, dtype=np.bool_)
    chunks = []
    for key in keys:
        entries = after.entries(key.atoms)
        came = is_changed[entries.records]
        left_codes = gone.entries(key.atoms).codes
        codes = np.unique(np.concatenate([left_codes, entries.codes[came]]))
        rows, block = _rows_in(entries.codes, codes)
        n_after = np.bincount(block, minlength=len(codes))
        n_before = (
            n_after
            - np.bincount(block[came[rows]], minlength=len(codes))
            + np.bincount(np.searchsorted(codes, left_codes), minlength=len(codes))
        )
        fits, fitted = n_after <= key.max_records, n_before <= key.max_records
        in_doubt[entries.records[rows[(fitted & ~fits)[block]]]] = True
        asks = fits[block] & (came[rows] | ~fitted[block])
        chunks.append(_pairs_with(entries.records[rows], block, asks, n_after, after.n_records))
    return TouchedPairs(distinct(chunks), in_doubt)


def are_candidates(keys: Sequence[BlockingKey], codes: BlockCodes, left: IntArray, right: IntArray) -> BoolArray:
    """(m,) whether one of the keys holds both records of a pair in a block that is not too large."""
    result = np.zeros(len(left), dtype=np.bool_)
    if len(left) == 0:
        return result
    pairs = pl.DataFrame({"pair": np.arange(len(left)), "left": left, "right": right})
    concerned = np.zeros(codes.n_records, dtype=np.bool_)
    concerned[left] = concerned[right] = True
    for key in keys:
        entries = codes.entries(key.atoms)
        own = concerned[entries.records]
        wanted = np.unique(entries.codes[own])
        _, block = _rows_in(entries.codes, wanted)
        fits = np.bincount(block, minlength=len(wanted)) <= key.max_records
        place = np.searchsorted(wanted, entries.codes[own])
        members = pl.DataFrame({"record": entries.records[own], "block": place}).filter(pl.Series(fits[place]))
        shared = pairs.join(members, left_on="left", right_on="record").join(
            members, left_on=["right", "block"], right_on=["record", "block"]
        )
        result[shared["pair"].to_numpy()] = True
    return result


def _subset(codes: BlockCodes, records: IntArray) -> BlockCodes:
    tokens = codes.tokens
    if tokens is not None:
        chosen = np.zeros(codes.n_records, dtype=np.bool_)
        chosen[records] = True
        kept = chosen[tokens.records]
        # Only the codes of what is gone are asked for, not whose they were.
        tokens = Entries(tokens.codes[kept], tokens.records[kept])
    return BlockCodes(len(records), {label: values[records] for label, values in codes.atoms.items()}, tokens)


def _rows_in(codes: Codes, wanted: Codes) -> tuple[IntArray, IntArray]:
    """Rows whose code is among the sorted `wanted`, and where it stands there; a table of their low bits spares most look-ups."""
    if len(wanted) == 0:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing
    table = np.zeros(int(_FILTER_BITS) + 1, dtype=np.bool_)
    table[wanted & _FILTER_BITS] = True
    rows = np.flatnonzero(table[codes & _FILTER_BITS])
    place = np.minimum(np.searchsorted(wanted, codes[rows]), len(wanted) - 1)
    found = wanted[place] == codes[rows]
    return rows[found], place[found]


def _pairs_with(records: IntArray, block: IntArray, asks: BoolArray, sizes: IntArray, n_records: int) -> IntArray:
    """Packed pairs of every record that asks with all members of its block."""
    order = np.argsort(block, kind="stable")
    members = records[order]
    start = np.r_[0, np.cumsum(sizes)]
    asking = np.flatnonzero(asks)
    count = sizes[block[asking]]
    first = np.repeat(records[asking], count)
    offset = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    second = members[np.repeat(start[block[asking]], count) + offset]
    packed = np.minimum(first, second) * n_records + np.maximum(first, second)
    return distinct([packed[first != second]])


def carried_over(pairs: pl.DataFrame, changes: Difference) -> pl.DataFrame:
    """Last night's pairs of two unchanged records, under tonight's numbers; numbering keeps the order, so left < right still."""
    mapped = pairs.with_columns(
        pl.Series("left", changes.new_of_old[pairs["left"].to_numpy()]),
        pl.Series("right", changes.new_of_old[pairs["right"].to_numpy()]),
    )
    return mapped.filter((pl.col("left") >= 0) & (pl.col("right") >= 0))
