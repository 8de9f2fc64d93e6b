"""Calibration: from a score to a probability, as a small set of numbers that is stored as JSON.

Belongs here: sigmoid (Platt 1999, on the logit of the score) and isotonic (pool adjacent violators) maps.
Does not belong here: which rows they are fitted on (`training.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cx_pipeline.propensity.evaluation import Vector, expit, logistic_fit, logit


def fit_calibrator(outcome: Vector, score: Vector, *, isotonic_from: int) -> dict[str, Any]:
    """Fit a map from scores in [0, 1] to probabilities: isotonic with enough rows of the rarer outcome, else sigmoid.

    Args:
        outcome: shape (n,), 0 or 1.
        score: shape (n,), of rows that the model was not fitted on.
        isotonic_from: rows of the rarer outcome from which the map is isotonic.
    """
    n_rarer = min(outcome.sum(), outcome.size - outcome.sum())
    if n_rarer >= isotonic_from:
        return fit_isotonic(outcome, score)
    slope, intercept = logistic_fit(outcome, logit(score))
    # A falling map would turn the ranking round: then the score says nothing, and the rate is the honest answer.
    if slope <= 0:
        return {"kind": "sigmoid", "slope": 0.0, "intercept": float(logit(np.array([outcome.mean()]))[0])}
    return {"kind": "sigmoid", "slope": slope, "intercept": intercept}


def fit_isotonic(outcome: Vector, score: Vector) -> dict[str, Any]:
    """Fit a rising step map from any score to rates, by pooling adjacent violators; rates are kept off 0 and 1 by half a row."""
    values, place = np.unique(np.where(np.isnan(score), -np.inf, score), return_inverse=True)
    weight = np.bincount(place).astype(float)
    events = np.bincount(place, weights=outcome)
    blocks: list[list[float]] = []
    for value, n, x in zip(values, weight, events, strict=True):
        blocks.append([float(value), float(n), float(x)])
        while len(blocks) > 1 and blocks[-2][2] / blocks[-2][1] >= blocks[-1][2] / blocks[-1][1]:
            _, n_last, x_last = blocks.pop()
            blocks[-1][1] += n_last
            blocks[-1][2] += x_last
    return {
        "kind": "isotonic",
        # JSON knows no infinity: the first block also takes everything below it.
        "from": [block[0] if np.isfinite(block[0]) else None for block in blocks],
        "rate": [min(max(x, 0.5), n - 0.5) / n if n > 1 else x / n for _, n, x in blocks],
    }


def calibrated(calibrator: Mapping[str, Any], score: Vector) -> Vector:
    """Probabilities of scores; shape (n,)."""
    if calibrator["kind"] == "sigmoid":
        return expit(calibrator["slope"] * logit(score) + calibrator["intercept"])
    borders = np.array([-np.inf if border is None else border for border in calibrator["from"]], dtype=float)
    values = np.where(np.isnan(score), -np.inf, score)
    index = np.clip(np.searchsorted(borders, values, side="right") - 1, 0, borders.size - 1)
    rates: Vector = np.asarray(calibrator["rate"], dtype=float)[index]
    return rates
