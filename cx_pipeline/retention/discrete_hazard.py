"""Discrete-time hazard: the chance to leave in each period, given that one has not left before, by logistic regression.

Source: Singer and Willett 1993; Tutz and Schmid 2016. Each subject counts once per period that it was at risk in. Time enters as
[t = 1], log t and t; each covariate also with [t = 1] and log t, so that effects may fade: hazards need not be proportional. That is
what makes it calibrated where Cox is not.

Belongs here: person-periods, fit, survival function. Does not belong here: covariates (`subjects.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cx_pipeline.retention.subjects import Array, Subjects

_INVERSE_PENALTY = 1.0
_MAX_HAZARD = 1 - 1e-9
# Beyond the last period that was seen, time stands still: the hazard goes on as it was.


@dataclass(frozen=True)
class Clock:
    """Periods of the clock: the first lasts `first_days`, each later one `period_days`.

    Attributes:
        first_days, period_days: lengths.
        is_point: whether the first period's leaving happens on its last day only (nobody falls silent before W days have passed).
    """

    first_days: int
    period_days: int
    is_point: bool

    def period(self, days: Array) -> npt.NDArray[np.int64]:
        """Number of the period that ends on or after a time, from 1; shape (n,)."""
        later = np.ceil(np.maximum(days - self.first_days, 0) / self.period_days)
        return (1 + later).astype(np.int64)

    def ends(self, n_periods: int) -> Array:
        """Last day of each period, shape (n_periods,)."""
        return self.first_days + self.period_days * np.arange(n_periods, dtype=np.float64)


@dataclass(frozen=True)
class Path:
    """Cumulative hazards at the ends of the clock's periods, shape (n, periods + 1), the first column 0."""

    heights: Array
    clock: Clock

    def at(self, days: Array) -> Array:
        """Cumulative hazard of each subject at a time of its own, shape (n,): within a period it grows evenly."""
        ends = np.concatenate([[0.0], self.clock.ends(self.heights.shape[1] - 1)])
        period = np.clip(self.clock.period(days), 1, len(ends) - 1)
        share = np.clip((days - ends[period - 1]) / (ends[period] - ends[period - 1]), 0.0, 1.0)
        if self.clock.is_point:
            share = np.where(period == 1, (days >= ends[1]).astype(np.float64), share)
        who = np.arange(len(days))
        before = self.heights[who, period - 1]
        return np.asarray(before + share * (self.heights[who, period] - before))


@dataclass(frozen=True)
class DiscreteHazard:
    """A fitted hazard: coefficients of `_design`, scaling of covariates, the clock, the last period seen."""

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    intercept: float
    coefficients: tuple[float, ...]
    clock: Clock
    last_period: int

    def path(self, covariates: Array, until_days: float) -> Path:
        """The cumulative hazard of each subject up to a time on the clock, to be read at any times before.

        Args:
            covariates: shape (n, k).
            until_days: the latest time that will be asked for.
        """
        from scipy.special import expit

        standard = self._standard(covariates)
        at_first, with_log, with_time = self.coefficients[:3]
        plain, first, late = (standard @ part for part in self._effects())
        n_periods = int(self.clock.period(np.array([until_days]))[0])
        heights = np.zeros((len(standard), n_periods + 1))
        for number in range(1, n_periods + 1):
            period = min(number, self.last_period)
            log_odds = (
                self.intercept + with_log * np.log(period) + with_time * period / 12 + plain + late * np.log(period)
            )
            if period == 1:
                log_odds = log_odds + at_first + first
            heights[:, number] = heights[:, number - 1] - np.log1p(-np.minimum(expit(log_odds), _MAX_HAZARD))
        return Path(heights, self.clock)

    def contributions(self, covariates: Array, elapsed_days: Array) -> Array:
        """What each covariate adds to the log odds of leaving in the present period, against the average subject; shape (n, k)."""
        standard = self._standard(covariates)
        period = np.minimum(self.clock.period(elapsed_days), self.last_period)[:, None].astype(np.float64)
        plain, first, late = self._effects()
        return np.asarray(standard * (plain + first * (period == 1) + late * np.log(period)))

    def _standard(self, covariates: Array) -> Array:
        return np.asarray((covariates - np.array(self.centre)) / np.array(self.scale))

    def _effects(self) -> Array:
        """Coefficients of the covariates: plain, with [t = 1], with log t; shape (3, k)."""
        return np.array(self.coefficients[3:]).reshape(3, -1)

    def parameters(self) -> dict[str, Any]:
        """As JSON values; `from_parameters` reads them."""
        return asdict(self)

    @classmethod
    def from_parameters(cls, stored: Mapping[str, Any]) -> DiscreteHazard:
        """The hazard that `parameters` described."""
        listed = {name: tuple(stored[name]) for name in ("names", "centre", "scale", "coefficients")}
        return cls(**{**stored, **listed, "clock": Clock(**stored["clock"])})


def fit_discrete_hazard(subjects: Subjects, clock: Clock) -> DiscreteHazard:
    """Fit by penalised logistic regression over person-periods.

    A subject that was last seen within a period without leaving says nothing about that period.

    Args:
        subjects: with exit_days and is_event.
        clock: the periods.
    """
    from sklearn.linear_model import LogisticRegression

    exits, is_event = subjects.days("exit_days"), subjects.is_event
    last = clock.period(exits)
    ends = clock.ends(int(last.max(initial=1)))
    is_whole = is_event | (exits >= ends[last - 1])
    n_periods = np.where(is_whole, last, last - 1)
    who = np.repeat(np.arange(len(exits)), n_periods)
    period = np.arange(len(who)) - np.repeat(np.cumsum(n_periods) - n_periods, n_periods) + 1
    leaves = is_event[who] & (period == last[who])
    centre = subjects.covariates.mean(axis=0)
    spread = subjects.covariates.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    standard = (subjects.covariates - centre) / scale
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=500)
    model.fit(_design(standard[who], period), leaves)

    def rounded(values: Array) -> tuple[float, ...]:
        return tuple(round(float(value), 10) for value in values)

    return DiscreteHazard(
        names=subjects.names,
        centre=rounded(centre),
        scale=rounded(scale),
        intercept=round(float(model.intercept_[0]), 10),
        coefficients=rounded(model.coef_[0]),
        clock=clock,
        last_period=int(period.max(initial=1)),
    )


def _design(standard: Array, period: npt.NDArray[np.int64]) -> Array:
    """[t = 1], log t, t / 12, then the covariates, the covariates x [t = 1], the covariates x log t; shape (n, 3 + 3 k)."""
    t = period.astype(np.float64)[:, None]
    first, late = (t == 1).astype(np.float64), np.log(t)
    return np.hstack([first, late, t / 12, standard, standard * first, standard * late])
