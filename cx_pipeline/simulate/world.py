"""The company while it is being simulated: its people, the clock, numbering of records, extracts and truth as they are written.

Belongs here: what all modules of behaviour share. Does not belong here: any behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from cx_pipeline.simulate.contradictions import SideTally
from cx_pipeline.simulate.handles import Handles
from cx_pipeline.simulate.landing import Landing
from cx_pipeline.simulate.latent import Latent
from cx_pipeline.simulate.randomness import Flags, Floats, Indices, stream
from cx_pipeline.simulate.window import Month, Window

ONLINE = frozenset(
    {
        "web_shop_events",
        "web_shop_orders",
        "mobile_app",
        "display_search_ads",
        "public_social",
        "private_community",
        "referral_programme",
        "addressable_tv",
        "sensor_requests",
        "deliveries",
    }
)


@dataclass
class World:
    """Everything the modules of behaviour work on.

    Attributes:
        seed: of the company.
        window: the simulated span.
        persons: the people, in order of person_id.
        latent: what they are like.
        handles: their identifiers.
        landing: where extracts go.
        truth: table -> frames, below one another.
        tally: counts for the contradictions.
        satisfaction: persons x months of the window, -1..1.
        series: stands between prefix and number of every record, so that later extracts number anew.
        first_cart: number of the next cart of an order, behind those left behind.
    """

    seed: int
    window: Window
    persons: pl.DataFrame
    latent: Latent
    handles: Handles
    landing: Landing
    tally: SideTally
    satisfaction: np.ndarray
    truth: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    series: str = ""
    first_cart: int = 0
    _counters: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, np.ndarray] = field(default_factory=dict)

    def seen(self, namespace: str, n: int) -> Flags:
        """Which identifiers of a namespace have been shown before; the caller marks them."""
        return self._seen.setdefault(namespace, np.zeros(n, dtype=bool))

    def rng(self, name: str) -> np.random.Generator:
        """The random stream of a part."""
        return stream(self.seed, name)

    def numbers(self, prefix: str, n: int) -> pl.Series:
        """The next `n` record numbers of a series, e.g. T0000000001."""
        first = self._counters.get(prefix, 0)
        self._counters[prefix] = first + n
        return record_numbers(prefix + self.series, np.arange(first, first + n))

    def know(self, table: str, frame: pl.DataFrame) -> None:
        """Add rows to a table of truth."""
        self.truth.setdefault(table, []).append(frame)

    def write(self, channel: str, frame: pl.DataFrame, at: Floats) -> None:
        """Write rows of a channel into the extracts of their months, in order of time."""
        index = self.window.month_index(at)
        order = np.lexsort((at, index))
        ordered = frame[order] if frame.height else frame
        bounds = np.searchsorted(index[order], np.arange(len(self.window.months) + 1))
        for month, first, last in zip(self.window.months, bounds[:-1], bounds[1:], strict=True):
            if last > first:
                self.landing.add(channel, ordered.slice(first, last - first), month.label)

    def write_month(self, channel: str, frame: pl.DataFrame, month: Month) -> None:
        """Write rows of a channel that all belong into one month's extract."""
        self.landing.add(channel, frame, month.label)

    def hear(
        self,
        channel: str,
        persons: Indices,
        at: Floats,
        *,
        sentiment: Floats | None = None,
        is_inbound: Flags | None = None,
    ) -> None:
        """Count attributed interactions of a channel for the contradictions."""
        keep = np.ones(len(persons), dtype=bool) if is_inbound is None else is_inbound
        self.tally.add_interactions(
            persons[keep],
            at[keep],
            is_online=channel in ONLINE,
            sentiment=None if sentiment is None else sentiment[keep],
        )

    def audible(self, channel: str, persons: Indices, at: Floats) -> Flags:
        """Which events of a channel may happen: inside the window, and its side not muted for the person."""
        inside = (at >= 0) & (at < self.window.days)
        result: Flags = inside & self.latent.is_audible(persons, at, is_online=channel in ONLINE)
        return result

    def mood(self, persons: Indices, at: Floats) -> Floats:
        """Satisfaction of persons at times."""
        result: Floats = self.satisfaction[persons, self.window.month_index(at)].astype(np.float64)
        return result

    def poisson_times(
        self, name: str, per_30_days: float | Floats, *, weights: Floats | Flags | None = None
    ) -> tuple[Indices, Floats]:
        """Persons and times of a Poisson process while active, over the whole window; hours as the person is reachable.

        Args:
            name: of the random stream.
            per_30_days: mean events of a person in 30 days; one number or one per person.
            weights: factor per person.
        """
        rng = self.rng(name)
        begins = self.latent.active_from
        ends = np.minimum(self.latent.alive_until, self.window.days)
        overlap = np.maximum(ends - begins, 0.0)
        mean = overlap / 30 * per_30_days * (1.0 if weights is None else weights)
        persons = np.repeat(np.arange(self.latent.n), rng.poisson(mean))
        at = begins[persons] + rng.random(len(persons)) * overlap[persons]
        return persons, self.at_own_hours(persons, at, rng)

    def at_own_hours(
        self, persons: Indices, at: Floats, rng: np.random.Generator, opens: float = 0.0, closes: float = 24.0
    ) -> Floats:
        """The same days at hours that suit the person: around the best hour, or any hour of the day with probability 0.3."""
        n = len(persons)
        hour = self.latent.best_hour[persons] + rng.normal(0.0, 2.5, n)
        anywhen = rng.random(n) < 0.3
        hour = np.where(anywhen, 8 + 14 * rng.random(n), hour)
        out = (hour < opens) | (hour >= closes)
        hour = np.where(out, opens + (closes - opens) * rng.random(n), hour)
        moved: Floats = np.floor(at) + hour / 24
        # Nobody acts before coming.
        return np.maximum(moved, self.latent.active_from[persons] + 0.001)


def first_seen(rows: Indices, seen: Flags) -> Flags:
    """Which events are the first of their identifier; remembers what it saw. Rows -1 are never first."""
    known = np.flatnonzero(rows >= 0)
    _, first = np.unique(rows[known], return_index=True)
    result = np.zeros(len(rows), dtype=bool)
    fresh = known[first]
    result[fresh] = ~seen[rows[fresh]]
    seen[rows[fresh]] = True
    return result


def record_numbers(prefix: str, numbers: Indices) -> pl.Series:
    """Record numbers as texts: the prefix and ten digits."""
    return (prefix + pl.Series(numbers).cast(pl.String).str.zfill(10)).alias("number")


def gather(values: list[str] | tuple[str, ...], codes: Indices, name: str = "") -> pl.Series:
    """Texts of codes; NULL for -1."""
    texts = pl.Series(name, [*values, None], dtype=pl.String)
    return texts.gather(np.where(codes < 0, len(values), codes))
