"""Which pairs of records can be one party at all, how many there are, and random ones among them.

Belongs here: kinds of parties (a person is never an organisation) and duplicate-free channels, as counts and masks over pairs.
Does not belong here: blocking keys (blocking.py) and any evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cx_pipeline.identity.agglomeration import BoolArray, IntArray
from cx_pipeline.identity.policy import LinkagePolicy

PERSON, ORGANISATION, UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class PairSample:
    """Pairs of records, `left` < `right`, sorted and distinct.

    Attributes:
        left, right: (m,) record numbers.
        n_population: number of all such pairs there are.
        is_everything: whether these are all of them.
    """

    left: IntArray
    right: IntArray
    n_population: float
    is_everything: bool


class Population:
    """The possible pairs of a set of records."""

    def __init__(self, table: pl.DataFrame, duplicate_free: frozenset[str]) -> None:
        """Reads `channel` and `party_kind` of the comparison table."""
        self.n_records = table.height
        self.exclusive = exclusive_channels(table["channel"], duplicate_free)
        self.kind: IntArray = table["party_kind"].to_numpy().astype(np.int64)

    def may_match(self, left: IntArray, right: IntArray) -> BoolArray:
        """Not two records of a duplicate-free channel, and not a person and an organisation."""
        apart = (self.exclusive[left] >= 0) & (self.exclusive[left] == self.exclusive[right])
        unlike = (self.kind[left] + self.kind[right] == PERSON + ORGANISATION) & (self.kind[left] != self.kind[right])
        result: BoolArray = ~(apart | unlike)
        return result

    def concerns_organisations(self, left: IntArray, right: IntArray) -> BoolArray:
        """Pairs with an organisation in them; every other possible pair is about a person."""
        result: BoolArray = (self.kind[left] == ORGANISATION) | (self.kind[right] == ORGANISATION)
        return result

    def n_pairs(self, of_organisations: bool) -> float:
        """How many possible pairs there are of one sort."""
        if not of_organisations:
            return self._n_pairs_among(self.kind != ORGANISATION)
        return self._n_pairs_among(self.kind != PERSON) - self._n_pairs_among(self.kind == UNKNOWN)

    def _n_pairs_among(self, chosen: BoolArray) -> float:
        n = int(chosen.sum())
        held = np.bincount(self.exclusive[chosen & (self.exclusive >= 0)]).astype(np.float64)
        return n * (n - 1) / 2 - float((held * (held - 1) / 2).sum())

    def sample(self, policy: LinkagePolicy, of_organisations: bool) -> PairSample:
        """Draws about `policy.n_random_pairs` possible pairs of one sort, or takes all where there are no more."""
        members = np.flatnonzero(self.kind != (PERSON if of_organisations else ORGANISATION))
        n = len(members)
        is_everything = n * (n - 1) // 2 <= policy.n_random_pairs
        if is_everything:
            left, right = (members[side] for side in np.triu_indices(n, k=1))
        else:
            drawn = np.random.default_rng(policy.seed).integers(0, n, (policy.n_random_pairs, 2))
            drawn = drawn[drawn[:, 0] != drawn[:, 1]]
            pairs = np.unique(drawn.min(axis=1) * n + drawn.max(axis=1))
            left, right = members[pairs // n], members[pairs % n]
        keep = self.may_match(left, right) & (self.concerns_organisations(left, right) == of_organisations)
        return PairSample(left[keep], right[keep], self.n_pairs(of_organisations), is_everything)


def exclusive_channels(channel: pl.Series, duplicate_free: frozenset[str]) -> npt.NDArray[np.int64]:
    """(n,) the number of a record's channel where that is duplicate-free, else -1."""
    numbers = {name: i for i, name in enumerate(sorted(duplicate_free))}
    return channel.replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy()
