"""Cox's proportional hazards, fitted by lifelines and kept as plain numbers.

Source: Cox 1972, Breslow's baseline, Efron's ties. lifelines ranks well and is seldom calibrated; `training.py` compares.

Belongs here: fit, survival function. Does not belong here: covariates (`subjects.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cx_pipeline.retention.subjects import Array, Subjects

_PENALTY = 0.01
_MAX_LOG_RATIO = 20.0


@dataclass(frozen=True)
class Cox:
    """A fitted Cox model.

    Attributes:
        names, centre, scale, coefficients: of the covariates, which are standardised.
        days, hazard: the baseline's cumulative hazard as a step function.
        tail_rate: its growth per day after the last step: as over the last third of the steps.
        schoenfeld_p: least p value of the test of proportional hazards over the covariates; None where it was not tested.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    days: tuple[float, ...]
    hazard: tuple[float, ...]
    tail_rate: float
    schoenfeld_p: float | None = None

    def path(self, covariates: Array, until_days: float) -> Path:
        """The cumulative hazard of each subject, to be read at any times; arguments as in `DiscreteHazard.path`."""
        log_ratio = np.clip(self._contributions(covariates).sum(axis=1), -_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        return Path(self, np.exp(log_ratio))

    def contributions(self, covariates: Array, elapsed_days: Array) -> Array:
        """What each covariate adds to the log hazard, against the average subject; shape (n, k)."""
        return self._contributions(covariates)

    def _contributions(self, covariates: Array) -> Array:
        return np.asarray((covariates - np.array(self.centre)) / np.array(self.scale) * np.array(self.coefficients))

    def parameters(self) -> dict[str, Any]:
        """As JSON values; `from_parameters` reads them."""
        return asdict(self)

    @classmethod
    def from_parameters(cls, stored: Mapping[str, Any]) -> Cox:
        """The model that `parameters` described."""
        lists = ("names", "centre", "scale", "coefficients", "days", "hazard")
        return cls(**{**stored, **{name: tuple(stored[name]) for name in lists}})


@dataclass(frozen=True)
class Path:
    """The baseline of a Cox model and each subject's ratio to it, shape (n,)."""

    model: Cox
    ratio: Array

    def at(self, days: Array) -> Array:
        """Cumulative hazard of each subject at a time of its own, shape (n,)."""
        steps, heights = np.array(self.model.days), np.concatenate([[0.0], self.model.hazard])
        at = heights[np.searchsorted(steps, days, side="right")]
        beyond = np.maximum(days - steps[-1], 0.0) * self.model.tail_rate
        return np.asarray((at + beyond) * self.ratio)


def fit_cox(subjects: Subjects, max_rows: int) -> Cox:
    """Fit with a slight ridge penalty.

    Args:
        subjects: with exit_days and is_event.
        max_rows: beyond so many, every k-th subject is taken.
    """
    import pandas as pd
    from lifelines import CoxPHFitter

    step = max(1, -(-subjects.rows.height // max_rows))
    part = subjects.take(np.arange(0, subjects.rows.height, step)) if step > 1 else subjects
    centre, spread = part.covariates.mean(axis=0), part.covariates.std(axis=0)
    varies = spread > 1e-9
    scale = np.where(varies, spread, 1.0)
    standard = (part.covariates - centre) / scale
    used = [f"x{i}" for i in range(len(part.names)) if varies[i]]
    frame = pd.DataFrame(standard[:, varies], columns=used)
    frame["exit_days"], frame["is_event"] = part.days("exit_days"), part.is_event
    fitter = CoxPHFitter(penalizer=_PENALTY)
    fitter.fit(frame, duration_col="exit_days", event_col="is_event")
    coefficients = np.zeros(len(part.names))
    coefficients[varies] = fitter.params_.loc[used].to_numpy()
    baseline = fitter.baseline_cumulative_hazard_.iloc[:, 0]
    days, hazard = baseline.index.to_numpy(dtype=np.float64), baseline.to_numpy(dtype=np.float64)
    grows = np.concatenate([[True], np.diff(hazard) > 0])
    days, hazard = days[grows], hazard[grows]
    third = int(len(days) * 2 / 3)
    span = days[-1] - days[third]
    tail = (hazard[-1] - hazard[third]) / span if span > 0 else 0.0

    def rounded(values: Array) -> tuple[float, ...]:
        return tuple(round(float(value), 10) for value in values)

    return Cox(
        part.names, rounded(centre), rounded(scale), rounded(coefficients), rounded(days), rounded(hazard), round(float(tail), 12),
        _schoenfeld_p(fitter, frame),
    )  # fmt: skip


def _schoenfeld_p(fitter: Any, frame: Any) -> float | None:
    """Least p value of the Schoenfeld test; None where nobody left."""
    from lifelines.statistics import proportional_hazard_test

    if not frame["is_event"].any():
        return None
    result = proportional_hazard_test(fitter, frame, time_transform="rank")
    return round(float(np.min(result.p_value)), 10)
