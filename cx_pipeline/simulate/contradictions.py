"""Who contradicts themselves between channels, counted from the true events while they are written.

Belongs here: the public definitions of the four contradictions, as of the end. Does not belong here: making people contradict
themselves (`latent.py`, `purchases.py`, `service.py`, `community.py`).

A side is the mode of the channel. Events of a side are its orders (returns too) and interactions that are not outbound. Active: at least
2 orders of positive amount in the last 90 days. Silent: at least 3 events ever, none in the last 90 days. Satisfied: over the last 180
days at least 2 interactions with sentiment, mean at least +0.3; dissatisfied: the same with at most -0.3.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.simulate.latent import CONTRADICTIONS, Latent
from cx_pipeline.simulate.parameters import PLANTED
from cx_pipeline.simulate.randomness import Floats, Indices

_MIN_ORDERS, _MIN_EVENTS, _MIN_SENTIMENTS = 2, 3, 2


class SideTally:
    """Counts per person and side (0 offline, 1 online), fed with batches of true events."""

    def __init__(self, n_persons: int, days: int) -> None:
        self._n, self._days = n_persons, days
        self._events = np.zeros((2, n_persons), dtype=np.int64)
        self._recent_events = np.zeros((2, n_persons), dtype=np.int64)
        self._recent_orders = np.zeros((2, n_persons), dtype=np.int64)
        self._n_sentiments = np.zeros((2, n_persons), dtype=np.int64)
        self._sum_sentiments = np.zeros((2, n_persons))

    def add_orders(self, persons: Indices, at: Floats, is_positive: np.ndarray, *, is_online: bool) -> None:
        """Count orders; returns are events but no orders of positive amount."""
        side = int(is_online)
        recent = at >= self._days - PLANTED.active_days
        self._events[side] += self._count(persons)
        self._recent_events[side] += self._count(persons[recent])
        self._recent_orders[side] += self._count(persons[recent & is_positive])

    def add_interactions(
        self, persons: Indices, at: Floats, *, is_online: bool, sentiment: Floats | None = None
    ) -> None:
        """Count inbound interactions; sentiment NaN: none said."""
        side = int(is_online)
        self._events[side] += self._count(persons)
        self._recent_events[side] += self._count(persons[at >= self._days - PLANTED.active_days])
        if sentiment is not None:
            said = (at >= self._days - PLANTED.sentiment_days) & ~np.isnan(sentiment)
            self._n_sentiments[side] += self._count(persons[said])
            self._sum_sentiments[side] += np.bincount(persons[said], weights=sentiment[said], minlength=self._n)

    def _count(self, persons: Indices) -> Indices:
        return np.bincount(persons, minlength=self._n).astype(np.int64)

    def table(self, latent: Latent) -> pl.DataFrame:
        """truth/contradictions: person_id, kind, is_planted; everyone for whom a definition holds, planted or not."""
        active = self._recent_orders >= _MIN_ORDERS
        silent = (self._events >= _MIN_EVENTS) & (self._recent_events == 0)
        enough = self._n_sentiments >= _MIN_SENTIMENTS
        mean = self._sum_sentiments / np.maximum(self._n_sentiments, 1)
        happy = enough & (mean >= PLANTED.sentiment_gap)
        unhappy = enough & (mean <= -PLANTED.sentiment_gap)
        holds = (active[0] & silent[1], active[1] & silent[0], happy[1] & unhappy[0], unhappy[1] & happy[0])
        frames = []
        for kind, flags in zip(CONTRADICTIONS, holds, strict=True):
            persons = np.flatnonzero(flags)
            frames.append(
                pl.DataFrame(
                    {
                        "person_id": pl.Series(persons, dtype=pl.Int64),
                        "kind": pl.Series([kind], dtype=pl.String).gather(np.zeros(len(persons), dtype=np.int64)),
                        "is_planted": pl.Series(latent.follows(kind)[persons], dtype=pl.Boolean),
                    }
                )
            )
        return pl.concat(frames)
