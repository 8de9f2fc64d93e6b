"""Estimators: the kinds of model that compete, and the numbers they are given.

Belongs here: the list of candidates, the design matrix. Does not belong here: folds and the choice (`training.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cx_pipeline.propensity.evaluation import Vector

Matrix = npt.NDArray[np.float64]
_SEED = 20_170_101


@dataclass(frozen=True)
class Candidate:
    """A kind of model: `logistic` (strength: inverse of the penalty) or `boosting` (strength: number of trees)."""

    kind: str
    strength: float

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.kind} ({'C' if self.kind == 'logistic' else 'trees'} {self.strength:g})"


CANDIDATES = (
    Candidate("logistic", 0.01),
    Candidate("logistic", 0.1),
    Candidate("logistic", 1.0),
    Candidate("boosting", 80),
    Candidate("boosting", 160),
)


def numbers(frame: pl.DataFrame, features: Sequence[str]) -> Matrix:
    """The features as doubles, NULL as NaN; shape (rows, features)."""
    return frame.select(pl.col(name).cast(pl.Float64) for name in features).to_numpy()


def medians(frame: pl.DataFrame, features: Sequence[str]) -> dict[str, float]:
    """Median of each feature, 0 where it is always NULL: what a missing value and a neutral customer are taken for."""
    row = frame.select(pl.col(name).cast(pl.Float64).median().fill_null(0.0) for name in features).row(0, named=True)
    return {name: float(row[name]) for name in features}


def design(values: Matrix, kind: str, fill: Sequence[float]) -> Matrix:
    """What an estimator of a kind is given.

    Boosting takes the numbers as they are. The logistic regression gets sign(x) log(1 + |x|), medians for missing values, and
    an indicator of missing for each feature.

    Args:
        values: from `numbers`.
        kind: of the candidate.
        fill: the medians, in the order of the features.
    """
    if kind == "boosting":
        return values
    missing = np.isnan(values)
    filled = np.where(missing, np.asarray(fill, dtype=float), values)
    return np.hstack([np.sign(filled) * np.log1p(np.abs(filled)), missing.astype(float)])


def fit(candidate: Candidate, x: Matrix, outcome: Vector) -> Any:
    """Fit a scikit-learn classifier of the candidate's kind on a design matrix."""
    if candidate.kind == "boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier

        estimator: Any = HistGradientBoostingClassifier(
            max_iter=int(candidate.strength),
            learning_rate=0.04,
            max_leaf_nodes=5,
            min_samples_leaf=40,
            l2_regularization=5.0,
            max_features=0.5,
            early_stopping=False,
            random_state=_SEED,
        )
    else:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        estimator = make_pipeline(StandardScaler(), LogisticRegression(C=candidate.strength, max_iter=1_000))
    with _one_thread():
        return estimator.fit(x, outcome)


def _one_thread() -> Any:
    """Trees this small are fitted faster by one thread than by several that wait for one another, above all on a busy machine."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def score(estimator: Any, kind: str, values: Matrix, fill: Sequence[float]) -> Vector:
    """Scores in [0, 1] before calibration, rounded so that sums in another order cannot change a rank; shape (rows,)."""
    if not len(values):
        return np.zeros(0)
    with _one_thread():
        raw: Vector = estimator.predict_proba(design(values, kind, fill))[:, 1]
    return np.round(raw, 9)


def scores_of(estimator: Any, parameters: Mapping[str, Any], frame: pl.DataFrame) -> Vector:
    """Scores of the rows of a frame by a stored model; shape (rows,)."""
    return score(
        estimator,
        parameters["kind"],
        numbers(frame, parameters["features"]),
        [parameters["medians"][name] for name in parameters["features"]],
    )
