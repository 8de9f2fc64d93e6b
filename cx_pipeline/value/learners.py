"""What past cut-offs teach about the next weeks: corrections of the buying model by recent run rates.

Customers speed up and slow down, which a rate that is constant for life cannot say. Each learner predicts the revenue of the
holdout horizon from features known at a cut-off and is fitted on past cut-offs whose horizon has closed.

Belongs here: features, the learners. Does not belong here: which learner is used (`training.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.value.buying import Moments
from cx_pipeline.value.likelihood import Array
from cx_pipeline.value.summaries import BAND_ENDS_DAYS, DAYS_PER_WEEK, column, history

HALF_LIVES_DAYS = (14, 45, 120)
BLEND_FEATURES = ("buying_model", *(f"revenue_rate_{half_life}d" for half_life in HALF_LIVES_DAYS))
BOOSTING_FEATURES = (
    *BLEND_FEATURES,
    "orders",
    "p_none",
    *(f"order_rate_{half_life}d" for half_life in HALF_LIVES_DAYS),
    "days_since_last",
    "age_days",
    "order_value",
)
# A run rate over a shorter life than this would blow a first order up.
_MIN_AGE_DAYS = 91.0
_SEED = 20_240_229


def run_rate(rows: pl.DataFrame, cutoff: date, what: str, half_life_days: float, horizon_days: float) -> Array:
    """Orders or revenue that a horizon brings at the exponentially weighted run rate of the last year, shape (n,).

    Args:
        rows: a summary; its bands are weighted at their middles.
        cutoff: the summary's.
        what: `revenue` or `n_orders`.
        half_life_days: age at which an order counts half.
        horizon_days: length of the horizon.
    """
    weighted, until_last, last = np.zeros(rows.height), 0, np.zeros(rows.height)
    for end in BAND_ENDS_DAYS:
        until = column(rows, f"{what}_{end}d")
        weighted += (until - last) * 0.5 ** ((until_last + end) / 2 / half_life_days)
        until_last, last = end, until
    age = np.clip(history(rows, cutoff)[2] * DAYS_PER_WEEK + 1, _MIN_AGE_DAYS, BAND_ENDS_DAYS[-1])
    exposure = half_life_days / np.log(2) * (1 - 0.5 ** (age / half_life_days))
    return np.asarray(np.maximum(weighted, 0.0) * horizon_days / exposure)


def blend_features(rows: pl.DataFrame, moments: Moments, cutoff: date, horizon_days: int) -> Array:
    """`BLEND_FEATURES`, each an estimate of the horizon's revenue; shape (n, 4)."""
    rates = [run_rate(rows, cutoff, "revenue", half_life, horizon_days) for half_life in HALF_LIVES_DAYS]
    return np.column_stack([moments.revenue, *rates])


def boosting_features(rows: pl.DataFrame, moments: Moments, cutoff: date, horizon_days: int) -> Array:
    """`BOOSTING_FEATURES`, shape (n, 12)."""
    _, t_x, age = history(rows, cutoff)
    rates = [run_rate(rows, cutoff, "n_orders", half_life, horizon_days) for half_life in HALF_LIVES_DAYS]
    return np.column_stack(
        [
            blend_features(rows, moments, cutoff, horizon_days),
            moments.orders,
            moments.p_none,
            *rates,
            (age - t_x) * DAYS_PER_WEEK,
            age * DAYS_PER_WEEK,
            column(rows, "revenue") / column(rows, "n_orders"),
        ]
    )


def fit_blend(features: Array, revenue: Array) -> list[float]:
    """Weights of a non-negative sum of estimates, by least squares, scaled so that the totals agree; one per blend feature.

    Args:
        features: of past cut-offs, shape (n, k).
        revenue: of their horizons, shape (n,).
    """
    from scipy.optimize import nnls

    weights, _ = nnls(features, revenue)
    total = float((features @ weights).sum())
    scale = float(revenue.sum()) / total if total > 0 else 0.0
    return [round(float(weight) * scale, 10) for weight in weights]


def blended(features: Array, weights: Sequence[float]) -> Array:
    """The weighted sum, shape (n,)."""
    return np.asarray(features @ np.asarray(weights))


def fit_boosting(features: Array, revenue: Array, max_rows: int) -> Any:
    """Gradient-boosted trees with Poisson loss, which keeps them positive; one thread, so that the same data give the same trees.

    Args:
        features: of past cut-offs, shape (n, 12).
        revenue: of their horizons, shape (n,); at least 0.
        max_rows: most rows to train on; beyond, every k-th is taken.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    step = max(1, -(-len(revenue) // max_rows))
    trees = HistGradientBoostingRegressor(
        loss="poisson",
        learning_rate=0.05,
        max_iter=100,
        max_leaf_nodes=8,
        min_samples_leaf=40,
        early_stopping=False,
        random_state=_SEED,
    )
    with threadpool_limits(limits=1):
        return trees.fit(features[::step], revenue[::step])


def boosted(features: Array, trees: Any) -> Array:
    """The trees' expectation, shape (n,)."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return np.asarray(trees.predict(features), dtype=np.float64)
