"""Evaluation of probabilities: discrimination, accuracy, calibration.

Belongs here: figures of a vector of probabilities and outcomes. Does not belong here: which rows they are measured on (`training.py`).

Sources: Hanley & McNeil 1982 (AUC by ranks), Brier 1950, Cox 1958 (calibration slope and intercept), Naeini et al. 2015 (ECE, here
over bins of equal size), Wilson 1927.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
N_BINS = 10
N_BOOTSTRAP = 200
_MAX_BOOTSTRAP_ROWS = 20_000
_SEED = 7
_CLIP = 1e-6
_Z95 = 1.959963984540054


def auc(outcome: Vector, score: Vector) -> float:
    """Area under the ROC curve; ties count half; .5 where only one outcome occurs.

    Args:
        outcome: shape (n,), 0 or 1.
        score: shape (n,), higher is more probable; NaN ranks lowest.
    """
    n_events = float(outcome.sum())
    n_others = float(outcome.size - n_events)
    if not n_events or not n_others:
        return 0.5
    values = np.where(np.isnan(score), -np.inf, score)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[place]
    return float((ranks[outcome == 1].sum() - n_events * (n_events + 1) / 2) / (n_events * n_others))


def chance_of_no_gain(outcome: Vector, score: Vector, other: Vector) -> float:
    """Share of bootstrap samples in which `score` ranks no better than `other` by AUC (seeded, paired; at most 20,000 rows)."""
    random = np.random.default_rng(_SEED)
    n = min(outcome.size, _MAX_BOOTSTRAP_ROWS)
    no_gain = 0
    for _ in range(N_BOOTSTRAP):
        rows = random.integers(0, outcome.size, n)
        no_gain += auc(outcome[rows], score[rows]) <= auc(outcome[rows], other[rows])
    return no_gain / N_BOOTSTRAP


def brier(outcome: Vector, probability: Vector) -> float:
    """Mean squared difference of probability and outcome."""
    return float(np.mean((probability - outcome) ** 2))


def log_loss(outcome: Vector, probability: Vector) -> float:
    """Mean negative log-likelihood; probabilities are kept 1e-6 away from 0 and 1."""
    p = np.clip(probability, _CLIP, 1 - _CLIP)
    return float(-np.mean(outcome * np.log(p) + (1 - outcome) * np.log(1 - p)))


def lift(outcome: Vector, score: Vector, share: float = 0.1) -> float:
    """Rate of the first `share` by score over the rate of all; ties are shared out evenly. NaN where nothing happened."""
    rate = float(outcome.mean())
    if not rate:
        return math.nan
    n_taken = max(1, round(share * outcome.size))
    border = np.sort(score)[::-1][n_taken - 1]
    above, at = score > border, score == border
    events = outcome[above].sum() + (n_taken - above.sum()) * outcome[at].mean()
    return float(events / n_taken / rate)


def logit(probability: Vector) -> Vector:
    """log(p / (1 - p)), with p kept 1e-6 away from 0 and 1."""
    p = np.clip(probability, _CLIP, 1 - _CLIP)
    values: Vector = np.log(p / (1 - p))
    return values


def expit(value: Vector) -> Vector:
    """The inverse of `logit`, without the clip."""
    result: Vector = 0.5 * (1 + np.tanh(0.5 * value))
    return result


def logistic_fit(outcome: Vector, x: Vector, *, slope: float | None = None) -> tuple[float, float]:
    """Slope and intercept of a logistic regression on one variable, by Newton's method.

    Args:
        outcome: shape (n,), 0 or 1.
        x: shape (n,).
        slope: fix the slope and fit the intercept alone.
    """
    b, a = (1.0 if slope is None else slope), 0.0
    for _ in range(100):
        p = expit(b * x + a)
        w = np.maximum(p * (1 - p), 1e-12)
        gradient_a = float((outcome - p).sum())
        if slope is not None:
            step_b, step_a = 0.0, gradient_a / float(w.sum())
        else:
            gradient_b = float(((outcome - p) * x).sum())
            # A whiff of ridge: with separated outcomes the slope has no maximum.
            hessian = np.array([[(w * x * x).sum() + 1e-6, (w * x).sum()], [(w * x).sum(), w.sum() + 1e-6]])
            step_b, step_a = (float(v) for v in np.linalg.solve(hessian, np.array([gradient_b, gradient_a])))
        b, a = b + float(np.clip(step_b, -5, 5)), a + float(np.clip(step_a, -5, 5))
        if abs(step_a) + abs(step_b) < 1e-10:
            break
    return b, a


def calibration_curve(outcome: Vector, probability: Vector) -> list[dict[str, Any]]:
    """Ten bins of equal size by probability: n, mean probability, observed rate with Wilson's 95 % interval."""
    order = np.argsort(probability, kind="stable")
    curve: list[dict[str, Any]] = []
    for number, rows in enumerate(np.array_split(order, N_BINS), start=1):
        if not rows.size:
            continue
        n, rate = int(rows.size), float(outcome[rows].mean())
        centre = (rate + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
        half = _Z95 * math.sqrt(rate * (1 - rate) / n + _Z95**2 / (4 * n * n)) / (1 + _Z95**2 / n)
        curve.append(
            {
                "bin": number,
                "n": n,
                "mean_probability": float(probability[rows].mean()),
                "observed_rate": rate,
                "rate_low": max(0.0, min(rate, centre - half)),
                "rate_high": min(1.0, max(rate, centre + half)),
            }
        )
    return curve


def calibration_error(curve: list[dict[str, Any]]) -> float:
    """Expected calibration error of a curve: the mean gap of predicted and observed rate, weighted by rows."""
    n = sum(row["n"] for row in curve)
    return float(sum(row["n"] * abs(row["mean_probability"] - row["observed_rate"]) for row in curve) / n)


def figures(outcome: Vector, probability: Vector) -> dict[str, float]:
    """All figures of a vector of probabilities."""
    logits = logit(probability)
    slope, _ = logistic_fit(outcome, logits)
    _, intercept = logistic_fit(outcome, logits, slope=1.0)
    return {
        "auc": auc(outcome, probability),
        "brier": brier(outcome, probability),
        "log_loss": log_loss(outcome, probability),
        "lift_10": lift(outcome, probability),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "ece": calibration_error(calibration_curve(outcome, probability)),
    }
