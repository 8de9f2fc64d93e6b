"""Figures that tell whether predicted value holds out of time, and whether it beats naive rules.

Belongs here: pure figures of predicted and actual arrays. Does not belong here: which model is taken (`training.py`).
"""

from __future__ import annotations

import numpy as np

from cx_pipeline.value.likelihood import Array

# Predictions are rounded before they are ranked: their last digits depend on the machine.
_DECIMALS = 6
_TOP_SHARE = 0.10


def bias(actual: Array, predicted: Array) -> float | None:
    """Share by which the predicted total misses the actual one; None where nothing was bought."""
    total = float(actual.sum())
    return float(predicted.sum()) / total - 1 if total > 0 else None


def mean_absolute_error(actual: Array, predicted: Array) -> float:
    """Mean absolute error in units of the amounts."""
    return float(np.abs(actual - predicted).mean())


def spearman(actual: Array, predicted: Array) -> float | None:
    """Rank correlation; None where either side is constant."""
    from scipy.stats import spearmanr

    first, second = np.round(actual, _DECIMALS), np.round(predicted, _DECIMALS)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def normalised_gini(actual: Array, predicted: Array) -> float | None:
    """Area between the gain curve by predicted rank and the diagonal over that of the perfect ranking."""
    perfect = _gini(actual, actual)
    return _gini(actual, predicted) / perfect if perfect > 0 else None


def top_share(actual: Array, predicted: Array) -> float | None:
    """Share of the actual total that the tenth of customers predicted highest brought."""
    total = float(actual.sum())
    n = max(1, round(len(actual) * _TOP_SHARE))
    order = np.argsort(-np.round(predicted, _DECIMALS), kind="stable")[:n]
    return float(actual[order].sum()) / total if total > 0 else None


def _gini(actual: Array, by: Array) -> float:
    """Area between gain curve and diagonal; customers ranked alike share what they brought together."""
    total = float(actual.sum())
    if total <= 0:
        return 0.0
    _, group, sizes = np.unique(-np.round(by, _DECIMALS), return_inverse=True, return_counts=True)
    shared = (np.bincount(group, weights=actual) / sizes)[group]
    gained = np.cumsum(shared[np.argsort(group, kind="stable")]) / total
    return float(gained.mean() - (len(actual) + 1) / (2 * len(actual)))


def figures(actual: Array, predicted: Array, median: Array | None = None) -> dict[str, float | None]:
    """bias, spearman, normalised_gini, top_10_percent_share of the mean; mae of the median (of the mean where there is none)."""
    return {
        "bias": bias(actual, predicted),
        "spearman": spearman(actual, predicted),
        "normalised_gini": normalised_gini(actual, predicted),
        "top_10_percent_share": top_share(actual, predicted),
        "mae": mean_absolute_error(actual, predicted if median is None else median),
    }


def deciles(actual: Array, predicted: Array) -> dict[str, float]:
    """Mean predicted and actual revenue of each tenth of customers, the tenth predicted highest last: decile_01_predicted, ..."""
    order = np.argsort(np.round(predicted, _DECIMALS), kind="stable")
    found: dict[str, float] = {}
    for number, members in enumerate(np.array_split(order, 10), start=1):
        if len(members):
            found[f"decile_{number:02d}_predicted"] = float(predicted[members].mean())
            found[f"decile_{number:02d}_actual"] = float(actual[members].mean())
    return found
