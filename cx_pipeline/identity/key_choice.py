"""Which blocking keys a model uses: those that find the most matches for the pairs they cost, under a budget.

Belongs here: the keys that could be used, a sample of the pairs they would list, the choice by greedy cover. Does not belong here:
listing the pairs of a night (blocking.py), what a pair is worth (scoring.py).

A key is worth the matches that no key chosen before finds, for each pair that none of them lists (weighted maximum coverage,
Nemhauser, Wolsey & Fisher 1978, with costs). Ever larger blocks of one key are items of their own, so each key gets the largest
block that still pays.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cx_pipeline.identity.agglomeration import FloatArray, IntArray
from cx_pipeline.identity.blocking import (
    TOKEN_PAIRS,
    BlockCodes,
    BlockingKey,
    all_pairs,
    pairs_of_equal_blocks,
)
from cx_pipeline.identity.model import Atom
from cx_pipeline.identity.policy import LinkagePolicy

# A pair that is listed again costs a fraction of one that has to be compared.
_COST_OF_LISTING = 0.05
_MAX_SAMPLED_LISTINGS = 25_000_000


@dataclass(frozen=True)
class SampledPairs:
    """A sample of the distinct pairs that all affordable keys together would list.

    Attributes:
        pairs: (m,) packed, sorted.
        rate: share of all such pairs that the sample is.
        listings: per key and block size limit, the places in `pairs` of what larger blocks up to that limit add.
    """

    pairs: IntArray
    rate: float
    listings: dict[BlockingKey, IntArray]


def possible_keys(atoms: Sequence[Atom], has_tokens: bool) -> list[tuple[str, ...]]:
    """The strong atoms alone, every pair of atoms of two fields, and pairs of name tokens."""
    keys: list[tuple[str, ...]] = [(atom.label,) for atom in atoms if atom.is_strong]
    for i, first in enumerate(atoms):
        keys += [(first.label, second.label) for second in atoms[i + 1 :] if first.field != second.field]
    return keys + ([(TOKEN_PAIRS,)] if has_tokens else [])


def sample_pairs(codes: BlockCodes, keys: Sequence[tuple[str, ...]], policy: LinkagePolicy) -> SampledPairs:
    """Lists what the keys would find, tightest first, up to `policy.max_raw_pairs_per_record`, and samples it by pair.

    Up to `policy.all_pairs_up_to_records` records the pairs are all there are.
    """
    n = codes.n_records
    affordable, n_listed = _affordable(codes, keys, policy)
    rate = min(1.0, _MAX_SAMPLED_LISTINGS / max(n_listed, 1))
    found: dict[BlockingKey, IntArray] = {}
    for atoms in dict.fromkeys(key.atoms for key in affordable):
        limits = [key.max_records for key in affordable if key.atoms == atoms]
        for limit, chunk in _listed(codes, atoms, limits, rate):
            found[BlockingKey(atoms, limit)] = chunk
    if n <= policy.all_pairs_up_to_records:
        pairs, rate = all_pairs(n), 1.0
        places = {key: np.searchsorted(pairs, chunk) for key, chunk in found.items()}
        return SampledPairs(pairs, rate, places)
    together = np.concatenate([*found.values(), np.empty(0, dtype=np.int64)])
    pairs, place = np.unique(together, return_inverse=True)
    del together
    if len(pairs) > policy.max_training_pairs:
        smaller = rate * policy.max_training_pairs / len(pairs)
        kept = _uniform(pairs) < smaller
        rank = np.cumsum(kept) - 1
        pairs, rate, place = pairs[kept], smaller, np.where(kept[place], rank[place], -1)
    ends = np.cumsum([len(chunk) for chunk in found.values()])
    split = np.split(place, ends[:-1]) if len(ends) else []
    return SampledPairs(pairs, rate, {key: part[part >= 0] for key, part in zip(found, split, strict=True)})


def _limits(policy: LinkagePolicy) -> list[int]:
    limits = {policy.max_block_records}
    while min(limits) > 10:
        limits.add(min(limits) // 2)
    return sorted(limits)


def _affordable(
    codes: BlockCodes, keys: Sequence[tuple[str, ...]], policy: LinkagePolicy
) -> tuple[list[BlockingKey], int]:
    """Keys with a limit of their blocks, cheapest first, until the raw budget is spent; and how many pairs they list."""
    costs: list[tuple[int, int, BlockingKey]] = []
    for atoms in keys:
        _, _, sizes = codes.entries(atoms).in_blocks()
        before = 0
        for limit in _limits(policy):
            fitting = sizes[sizes <= limit]
            cost = int((fitting * (fitting - 1) // 2).sum())
            if cost > before:
                costs.append((cost, cost - before, BlockingKey(atoms, limit)))
            before = cost
    costs.sort(key=lambda item: (item[0], item[2].label, item[2].max_records))
    budget = min(policy.max_raw_pairs_per_record * codes.n_records, policy.max_raw_pairs)
    chosen: list[BlockingKey] = []
    n_listed = 0
    for _, cost, key in costs:
        if n_listed + cost <= budget:
            chosen.append(key)
            n_listed += cost
    return chosen, n_listed


def _listed(
    codes: BlockCodes, atoms: tuple[str, ...], limits: list[int], rate: float
) -> Iterator[tuple[int, IntArray]]:
    """For each limit, the sampled packed pairs of the blocks above the limit before."""
    ordered, starts, sizes = codes.entries(atoms).in_blocks()
    before = 1
    for limit in sorted(limits):
        chunks = []
        for size in np.unique(sizes[(sizes > before) & (sizes <= limit)]):
            pairs = pairs_of_equal_blocks(ordered.records, starts[sizes == size], int(size), codes.n_records)
            chunks.append(pairs if rate >= 1.0 else pairs[_uniform(pairs) < rate])
        before = limit
        yield limit, np.concatenate([*chunks, np.empty(0, dtype=np.int64)])


def _uniform(pairs: IntArray) -> FloatArray:
    """(m,) a number in [0, 1) for each pair, the same wherever the pair is listed (finaliser of SplitMix64)."""
    x = pairs.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).astype(np.float64) / 2.0**64


def choose_keys(sample: SampledPairs, match: FloatArray, max_pairs: float) -> tuple[BlockingKey, ...]:
    """The keys, in the order in which they were chosen, that find the most matches among about `max_pairs` distinct pairs.

    Args:
        sample: of what they could list.
        match: (m,) probability that the sampled pair is a match.
        max_pairs: budget of distinct pairs of the whole set.
    """
    budget = max_pairs * sample.rate
    is_covered = np.zeros(len(sample.pairs), dtype=np.bool_)
    limit_of: dict[tuple[str, ...], int] = {}
    limits: dict[tuple[str, ...], list[BlockingKey]] = {}
    for key in sample.listings:
        limits.setdefault(key.atoms, []).append(key)

    def worth(key: BlockingKey) -> tuple[float, IntArray]:
        held = limit_of.get(key.atoms, 0)
        listed = np.concatenate(
            [sample.listings[one] for one in limits[key.atoms] if held < one.max_records <= key.max_records]
        )
        new = listed[~is_covered[listed]]
        return float(match[new].sum()) / (len(new) + _COST_OF_LISTING * len(listed) + 1e-9), new

    heap = [(-worth(key)[0], key.label, key.max_records, 0, key) for key in sample.listings]
    heapq.heapify(heap)
    n_chosen = n_pairs = 0
    while heap:
        _, label, limit, seen, key = heapq.heappop(heap)
        if limit <= limit_of.get(key.atoms, 0):
            continue
        value, new = worth(key)
        if seen < n_chosen:
            if value > 0:
                heapq.heappush(heap, (-value, label, limit, n_chosen, key))
            continue
        if value <= 0 or n_pairs + len(np.unique(new)) > budget:
            continue
        is_covered[new] = True
        n_pairs = int(is_covered.sum())
        limit_of[key.atoms] = limit
        n_chosen += 1
    return tuple(BlockingKey(atoms, limit) for atoms, limit in limit_of.items())
