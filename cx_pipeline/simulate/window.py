"""The simulated span of time: days counted from its first midnight, months as chunks of work, wall-clock times for extracts.

Belongs here: conversion between day numbers (float, 0 = first midnight) and times. Does not belong here: who does what when.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import polars as pl

from cx_pipeline.simulate.randomness import Floats, Indices

_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Month:
    """A calendar month, or the part of it inside the window.

    Attributes:
        label: `2025-03`.
        begins, ends: day numbers; ends is the midnight after its last day.
        number: 1 to 12.
    """

    label: str
    begins: int
    ends: int
    number: int


@dataclass(frozen=True)
class Window:
    """The last `days` days up to and including `end`; everything is said in day numbers from its first midnight.

    Attributes:
        end: the last day.
        days: length.
    """

    end: date
    days: int

    @property
    def start(self) -> date:
        """The first day."""
        return self.end - timedelta(days=self.days - 1)

    @cached_property
    def months(self) -> tuple[Month, ...]:
        """The calendar months the window touches, in order."""
        found, first = [], self.start
        while first <= self.end:
            following = (first.replace(day=1) + timedelta(days=32)).replace(day=1)
            ends = min(following, self.end + timedelta(days=1))
            found.append(Month(f"{first:%Y-%m}", (first - self.start).days, (ends - self.start).days, first.month))
            first = following
        return tuple(found)

    def month_index(self, at: Floats) -> Indices:
        """Which of `months` each time is in; times outside count for the nearest."""
        begins = np.array([month.begins for month in self.months])
        return np.clip(np.searchsorted(begins, at, side="right") - 1, 0, len(begins) - 1).astype(np.int64)

    def month_numbers(self, at: Floats) -> Indices:
        """Calendar month, 1 to 12, of each time inside the window."""
        return np.array([month.number for month in self.months], dtype=np.int64)[self.month_index(at)]

    def weekdays(self, at: Floats) -> Indices:
        """0 (Monday) to 6 of each time."""
        return (np.floor(at).astype(np.int64) + self.start.weekday()) % 7

    def times(self, at: Floats, name: str = "at") -> pl.Series:
        """Wall-clock times, whole seconds, of day numbers; NaN becomes NULL."""
        return _to_datetimes(at, self.start, name)

    def dates(self, at: Floats, name: str) -> pl.Series:
        """Dates of day numbers; NaN and infinity become NULL."""
        return _to_datetimes(np.floor(at), self.start, name).cast(pl.Date)

    def day_numbers(self, times: pl.Series) -> Floats:
        """Day numbers of times; NULL becomes NaN."""
        origin = (self.start - date(1970, 1, 1)).days
        microseconds = times.cast(pl.Datetime("us")).to_physical().cast(pl.Float64).to_numpy()
        result: Floats = microseconds / _DAY_US - origin
        return result


def _to_datetimes(at: Floats, start: date, name: str) -> pl.Series:
    origin = (start - date(1970, 1, 1)).days
    is_known = np.isfinite(at)
    seconds = np.floor((np.where(is_known, at, 0.0) + origin) * 86_400 + 1e-6).astype(np.int64)
    series = pl.Series(name, seconds * 1_000_000).cast(pl.Datetime("us"))
    if is_known.all():
        return series
    return pl.DataFrame({name: series, "known": is_known}).select(pl.when("known").then(name).alias(name))[name]
