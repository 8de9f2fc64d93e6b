"""Which identifier an event carries: fast look-ups of the drawn identifiers by person and time.

Belongs here: choosing among the identifiers a person has. Does not belong here: drawing them (`identifiers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cx_pipeline.simulate.randomness import Flags, Floats, Indices
from cx_pipeline.simulate.window import Window

_TRIES = 3
_AVOIDS_RARE = 0.9


@dataclass(frozen=True)
class Namespace:
    """All identifiers of one namespace, grouped by person.

    Attributes:
        values: the identifiers, in order of person.
        firsts: persons + 1 offsets into values.
        from_at, to_at: day numbers between which each is in use.
        is_rare: used by the person now and then only (a shop's kiosk).
    """

    values: pl.Series
    firsts: Indices
    from_at: Floats
    to_at: Floats
    is_rare: Flags

    @property
    def counts(self) -> Indices:
        """How many identifiers each person has."""
        return np.diff(self.firsts)

    @property
    def has(self) -> Flags:
        """Who has any."""
        result: Flags = self.counts > 0
        return result

    def choose(self, persons: Indices, rng: np.random.Generator, at: Floats | None = None) -> Indices:
        """Row of the identifier that each event carries: one in use at its time where a few tries find one; -1 where there is none."""
        n_own = self.counts[persons]
        first = self.firsts[persons]
        rows = first + np.floor(rng.random(len(persons)) * n_own).astype(np.int64)
        has = n_own > 0
        rows = np.where(has, rows, 0)
        if len(self.values):
            avoids = rng.random(len(persons)) < _AVOIDS_RARE
            when = np.zeros(len(persons)) if at is None else at
            for _ in range(_TRIES):
                unfit = avoids & self.is_rare[rows]
                if at is not None:
                    unfit |= (when < self.from_at[rows]) | (when >= self.to_at[rows])
                wrong = np.flatnonzero(has & (n_own > 1) & unfit)
                if not len(wrong):
                    break
                step = rows[wrong] - first[wrong] + 1
                rows[wrong] = first[wrong] + step % n_own[wrong]
        return np.where(has, rows, -1)

    def first(self, persons: Indices) -> Indices:
        """Row of each person's first identifier; -1 where there is none."""
        return np.where(self.counts[persons] > 0, self.firsts[persons], -1)

    def text(self, rows: Indices, name: str, keep: Flags | None = None) -> pl.Series:
        """The identifiers of chosen rows; NULL for -1 and where not kept."""
        is_there = rows >= 0 if keep is None else (rows >= 0) & keep
        if not len(self.values):
            return pl.Series(name, [None] * len(rows), dtype=pl.String)
        index = pl.Series(rows).set(pl.Series(~is_there), None)
        return self.values.gather(index).alias(name)


@dataclass(frozen=True)
class Handles:
    """All identifiers, by namespace."""

    by_namespace: dict[str, Namespace]

    def __getitem__(self, namespace: str) -> Namespace:
        return self.by_namespace[namespace]

    def pick(
        self,
        namespace: str,
        persons: Indices,
        rng: np.random.Generator,
        at: Floats | None = None,
        *,
        name: str = "",
        keep: Flags | None = None,
    ) -> pl.Series:
        """The identifier each event carries, NULL where the person has none or it is not kept."""
        found = self.by_namespace[namespace]
        return found.text(found.choose(persons, rng, at), name or namespace, keep)


def index_identifiers(
    identifiers: pl.DataFrame, n_persons: int, namespaces: tuple[str, ...], window: Window
) -> Handles:
    """Group identifiers for look-up.

    Args:
        identifiers: person_id (row number of the person), namespace, value, from_at, to_at (NULL: always, for ever), is_kiosk.
        n_persons: number of persons.
        namespaces: those that events carry.
        window: the simulated span.
    """
    found = {}
    for namespace in namespaces:
        own = (
            identifiers.filter(pl.col("namespace") == namespace)
            .filter(pl.col("person_id").is_not_null())
            .sort("person_id", "from_at", "value")
        )
        counts = np.bincount(own["person_id"].to_numpy().astype(np.int64), minlength=n_persons)
        from_at = np.nan_to_num(window.day_numbers(own["from_at"]), nan=-np.inf)
        to_at = np.nan_to_num(window.day_numbers(own["to_at"]), nan=np.inf)
        firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        found[namespace] = Namespace(own["value"], firsts, from_at, to_at, own["is_kiosk"].to_numpy())
    return Handles(found)
