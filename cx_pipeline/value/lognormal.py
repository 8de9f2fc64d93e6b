"""Log-normal shrinkage of order values: for skewed values that Gamma-Gamma has no usable fit for.

The log of an order's value is Normal(m_i, within) with m_i ~ Normal(centre, between) across customers (one-way random effects,
estimated by moments). Posterior means are always positive and finite, whatever the tail.

Belongs here: estimation and moments of a customer's mean order value. Does not belong here: how many orders there will be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cx_pipeline.value.likelihood import Array

_MIN_VARIANCE = 1e-6
# exp of half of this is the largest factor between median and mean that a tail may have.
_MAX_VARIANCE = 6.0


@dataclass(frozen=True)
class LogNormalValue:
    """Parameters: centre of log values, variance between customers and within a customer."""

    centre: float
    between: float
    within: float

    def value_moments(self, n_orders: Array, log_value: Array) -> tuple[Array, Array, Array]:
        """Mean and second moment of a customer's mean order value, and mean variance of one order around it; shape (n,) each.

        Args:
            n_orders: orders seen, at least 0.
            log_value: sum of the logs of their values.
        """
        precision = 1 / self.between + n_orders / self.within
        located = (self.centre / self.between + log_value / self.within) / precision
        spread = 1 / precision
        mean = np.exp(located + (self.within + spread) / 2)
        square = np.exp(2 * located + self.within + 2 * spread)
        return mean, square, square * np.expm1(self.within)


def fit_lognormal(n_orders: Array, log_value: Array, log_value_squared: Array) -> LogNormalValue:
    """Estimate by moments (analysis of variance with unequal group sizes).

    Args:
        n_orders: orders of each customer, at least 1, shape (n,).
        log_value: sum of the logs of those orders, shape (n,).
        log_value_squared: sum of the squares of the logs, shape (n,).
    """
    total, groups = float(n_orders.sum()), len(n_orders)
    means = log_value / n_orders
    grand = float(log_value.sum() / total)
    inside = float(np.maximum(log_value_squared - n_orders * means**2, 0).sum())
    within = inside / max(total - groups, 1.0)
    outside = float((n_orders * (means - grand) ** 2).sum())
    typical = (total - float((n_orders**2).sum()) / total) / max(groups - 1, 1)
    between = (outside / max(groups - 1, 1) - within) / max(typical, _MIN_VARIANCE)
    bounded = np.clip([between, within], _MIN_VARIANCE, _MAX_VARIANCE)
    weights = 1 / (bounded[0] + bounded[1] / n_orders)
    return LogNormalValue(float(np.average(means, weights=weights)), float(bounded[0]), float(bounded[1]))
