"""Candidate pairs under a budget: the union of many tight keys, chosen by counting what each would cost.

Belongs here: keys from atoms, counting, choosing, listing pairs. Does not belong here: which atoms a field has
(model.py) and how pairs are compared. Arrays instead of Splink's own blocking rules, because a rule can neither skip
the blocks that are too large nor keep, per record, the pairs that most keys agree on; Splink is handed the resulting
table of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cx_pipeline.identity.model import Atom
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population import Population
from cx_pipeline.identity.population import exclusive_channels as exclusive_channels

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Pairs to be compared, `left` < `right`, sorted; and where they come from.

    Attributes:
        left, right: (m,) record numbers.
        report: keys taken with the pairs they yield, keys left out, totals.
    """

    left: IntArray
    right: IntArray
    report: dict[str, object]


def candidate_pairs(
    table: pl.DataFrame, atoms: tuple[Atom, ...], policy: LinkagePolicy, population: Population
) -> Candidates:
    """All pairs of a small set; else the pairs that the tightest keys find within the budget.

    Args:
        table: one row per record in the order of `record`, with the atoms' columns, `channel`, and `full_tokens` where
            there are names.
        atoms: what keys are made of.
        policy: the budgets.
        population: which pairs are possible.
    """
    n = table.height
    if n <= policy.all_pairs_up_to_records:
        left, right = np.triu_indices(n, k=1)
        left, right = left.astype(np.int64), right.astype(np.int64)
        report: dict[str, object] = {"keys": {"all pairs": len(left)}, "n_keys_left_out": 0}
    else:
        left, right, report = _pairs_by_keys(table, atoms, policy)
    keep = population.may_match(left, right)
    left, right = left[keep], right[keep]
    report |= {"n_pairs": len(left), "n_impossible_pairs": int((~keep).sum())}
    return Candidates(left, right, report)


def _pairs_by_keys(
    table: pl.DataFrame, atoms: tuple[Atom, ...], policy: LinkagePolicy
) -> tuple[IntArray, IntArray, dict[str, object]]:
    n = table.height
    keys = _keys(table, atoms)
    costs = [(_cost(key.codes, policy.max_block_records), key) for key in keys]
    costs.sort(key=lambda pair: (pair[0], pair[1].label))
    budget = min(policy.max_raw_pairs_per_record * n, policy.max_raw_pairs)
    taken: dict[str, int] = {}
    chunks: list[IntArray] = []
    for cost, key in costs:
        if cost == 0 or cost > budget:
            continue
        budget -= cost
        taken[key.label] = cost
        chunks.append(_pairs_of_blocks(key, n, policy.max_block_records))
    if not chunks:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing, {"keys": {}, "n_keys_left_out": len(keys)}
    pairs, n_keys = np.unique(np.concatenate(chunks), return_counts=True)
    del chunks
    pairs = _within_record_budget(pairs, n_keys, n, policy.max_pairs_per_record)
    return pairs // n, pairs % n, {"keys": taken, "n_keys_left_out": len(keys) - len(taken)}


@dataclass(frozen=True)
class _Key:
    """`codes`: one number per entry, equal within a block, -1: none. `records`: whose entry it is, None: 0 .. n-1."""

    label: str
    codes: IntArray
    records: IntArray | None = None


def _keys(table: pl.DataFrame, atoms: tuple[Atom, ...]) -> list[_Key]:
    coded = [(atom, _codes(table, atom)) for atom in atoms]
    keys = [_Key(atom.label, codes) for atom, codes in coded if atom.is_strong]
    for i, (first, first_codes) in enumerate(coded):
        for second, second_codes in coded[i + 1 :]:
            if first.field != second.field:
                keys.append(_Key(f"{first.label} & {second.label}", _combine(first_codes, second_codes)))
    if "full_tokens" in table.columns:
        keys.append(_token_pairs(table))
    return keys


def _codes(table: pl.DataFrame, atom: Atom) -> IntArray:
    column = pl.col(atom.column)
    if atom.part.startswith("first:"):
        length = int(atom.part.removeprefix("first:"))
        value = (
            pl.when(column.str.len_chars() >= min(length, 2)).then(column.str.slice(0, length))
            if length > 1
            else (column.str.slice(0, 1))
        )
    elif atom.part == "first_half":
        value = pl.when(column.str.len_chars() >= 6).then(column.str.slice(0, column.str.len_chars() // 2))
    elif atom.part == "last_half":
        value = pl.when(column.str.len_chars() >= 6).then(column.str.slice(column.str.len_chars() // 2))
    elif atom.part == "letters":
        letters = column.str.replace_all(r"[^\p{L}]+", "")
        value = pl.when(letters.str.len_chars() >= 3).then(letters)
    elif atom.part == "month_day":
        # 1 January is what many systems write for "unknown".
        is_default = (column == "01") & (pl.col(atom.columns[0]) == "01")
        value = pl.when(~is_default).then(pl.concat_str(column, *atom.columns, separator="-"))
    elif atom.part == "month_day_any_order":
        month, day = (pl.col(name) for name in atom.columns)
        value = pl.concat_str(column, pl.min_horizontal(month, day), pl.max_horizontal(month, day), separator="-")
    else:
        value = pl.concat_str(column, *atom.columns, separator="-")
    codes = table.select(value.rank("dense").cast(pl.Int64).fill_null(0) - 1).to_series()
    return codes.to_numpy()


def _combine(first: IntArray, second: IntArray) -> IntArray:
    combined = first * (second.max(initial=0) + 1) + second
    return np.where((first < 0) | (second < 0), -1, combined)


def _token_pairs(table: pl.DataFrame) -> _Key:
    """Every unordered pair of a record's name tokens: finds swapped and half-missing names."""
    tokens = table.select("record", token="full_tokens").explode("token").drop_nulls("token")
    pairs = tokens.join(tokens, on="record").filter(pl.col("token") < pl.col("token_right"))
    codes = pairs.select(pl.struct("token", "token_right").rank("dense").cast(pl.Int64) - 1).to_series()
    return _Key("two name tokens", codes.to_numpy(), pairs["record"].to_numpy())


def _cost(codes: IntArray, max_block: int) -> int:
    present = np.sort(codes[codes >= 0])
    if len(present) == 0:
        return 0
    starts = np.flatnonzero(np.r_[True, present[1:] != present[:-1]])
    sizes = np.diff(np.r_[starts, len(present)])
    sizes = sizes[sizes <= max_block]
    return int((sizes * (sizes - 1) // 2).sum())


def _pairs_of_blocks(key: _Key, n: int, max_block: int) -> IntArray:
    """Pairs of records within each block that is small enough, each as left x n + right, left < right."""
    present = np.flatnonzero(key.codes >= 0)
    order = present[np.argsort(key.codes[present], kind="stable")]
    codes = key.codes[order]
    records = order if key.records is None else key.records[order]
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    sizes = np.diff(np.r_[starts, len(codes)])
    keep = (sizes > 1) & (sizes <= max_block)
    starts, sizes = starts[keep], sizes[keep]
    chunks: list[IntArray] = []
    for size in np.unique(sizes):
        row, column = np.triu_indices(size, k=1)
        first = starts[sizes == size]
        left = records[(first[:, None] + row[None, :]).ravel()]
        right = records[(first[:, None] + column[None, :]).ravel()]
        chunks.append(np.minimum(left, right) * n + np.maximum(left, right))
    return np.concatenate(chunks) if chunks else np.empty(0, dtype=np.int64)


def _within_record_budget(pairs: IntArray, n_keys: IntArray, n: int, budget: int) -> IntArray:
    """The pairs that are among the `budget` best (by number of keys) of one of their two records."""
    left, right = pairs // n, pairs % n
    degree = np.bincount(left, minlength=n) + np.bincount(right, minlength=n)
    is_rich = degree > budget
    contested = np.flatnonzero(is_rich[left] & is_rich[right])
    if len(contested) == 0:
        return pairs
    record = np.concatenate([left[contested], right[contested]])
    # One sortable number per entry: record, then more keys first, then the pair's place (pairs are sorted).
    position = np.tile(np.arange(len(contested), dtype=np.int64), 2)
    strength = (int(n_keys.max()) - np.tile(n_keys[contested], 2)).astype(np.int64)
    order = np.lexsort((position, strength, record))
    starts = np.searchsorted(record[order], np.arange(n))
    rank = np.arange(len(order)) - starts[record[order]]
    kept = np.zeros(len(pairs), dtype=np.bool_)
    kept[:] = True
    kept[contested] = False
    kept[contested[position[order[rank < budget]]]] = True
    return pairs[kept]


def closure_pairs(
    edges: pl.DataFrame, candidates: Candidates, policy: LinkagePolicy, population: Population
) -> tuple[IntArray, IntArray]:
    """Pairs two likely steps apart that no key found: both are likely partners of one record.

    Args:
        edges: left, right, match_weight of scored pairs.
        candidates: what has been scored already.
        policy: `max_closure_neighbours` best partners of a record are looked at.
        population: which pairs are possible.

    Returns:
        left, right: (m,) record numbers, left < right.
    """
    n = population.n_records
    nothing = np.empty(0, dtype=np.int64)
    if policy.max_closure_neighbours == 0 or n <= policy.all_pairs_up_to_records:
        return nothing, nothing
    likely = edges.filter(pl.col("match_weight") >= 0).select("left", "right", "match_weight")
    partners = (
        pl.concat([likely, likely.select(left="right", right="left", match_weight="match_weight")])
        .sort("left", "match_weight", "right", descending=[False, True, False])
        .filter(pl.int_range(pl.len()).over("left") < policy.max_closure_neighbours)
        .select(middle="left", record="right")
    )
    steps = partners.join(partners, on="middle").filter(pl.col("record") < pl.col("record_right"))
    pairs = np.unique(steps.select(pl.col("record") * n + pl.col("record_right")).to_series().to_numpy())
    pairs = np.setdiff1d(pairs, candidates.left * n + candidates.right, assume_unique=True)
    left, right = pairs // n, pairs % n
    keep = population.may_match(left, right)
    return left[keep], right[keep]
