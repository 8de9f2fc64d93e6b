"""The distribution of a horizon's revenue: nothing with probability p_none, else Gamma.

The Gamma's mean is revenue / (1 - p_none), its squared coefficient of variation the buying model's times a dispersion that past
horizons teach; p_none is recalibrated on them as well. So quantiles are analytic: no draws, the same for equal customers in every
run, and never negative.

Belongs here: calibration, quantiles, distribution function. Does not belong here: expectations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cx_pipeline.value.likelihood import Array

_MAX_LOGIT = 30.0
_DISPERSIONS = np.exp(np.linspace(np.log(0.1), np.log(20), 60))
# Coverage decides among dispersions within this factor of the one of least quantile loss.
_NEAR = 2.0
LOW, HIGH = 0.1, 0.9


@dataclass(frozen=True)
class Calibration:
    """How the buying model's spread is corrected.

    Attributes:
        dispersion: factor on the squared coefficient of variation.
        none_intercept, none_slope, none_ratio: P(no order) = expit(intercept + slope x logit(p_none) + ratio x log(correction)),
            where the correction is what a learner multiplies expected revenue by.
    """

    dispersion: float = 1.0
    none_intercept: float = 0.0
    none_slope: float = 1.0
    none_ratio: float = 0.0

    def p_none(self, p_none: Array, correction: Array) -> Array:
        """Recalibrated probability of no order, shape (n,)."""
        from scipy.special import expit

        return np.asarray(expit(_none_features(p_none, correction) @ np.array(
            [self.none_intercept, self.none_slope, self.none_ratio]
        )))  # fmt: skip


def _none_features(p_none: Array, correction: Array) -> Array:
    from scipy.special import logit

    bounded = np.clip(logit(np.clip(p_none, 1e-13, 1 - 1e-13)), -_MAX_LOGIT, _MAX_LOGIT)
    return np.column_stack([np.ones_like(bounded), bounded, np.log(np.clip(correction, 1e-3, 1e3))])


def distribution(value: Array, revenue: Array, variation: Array, p_none: Array) -> Array:
    """P(revenue of the horizon <= value), shape (n,).

    Args:
        value: where, at least 0.
        revenue: expectation.
        variation: squared coefficient of variation of revenue above 0, positive.
        p_none: probability of no revenue.
    """
    from scipy.special import gammainc

    shape = 1 / variation
    scale = np.maximum(revenue, 1e-12) / np.maximum(1 - p_none, 1e-12) * variation
    return np.asarray(p_none + (1 - p_none) * gammainc(shape, np.maximum(value, 0) / scale))


def quantile(probability: float, revenue: Array, variation: Array, p_none: Array) -> Array:
    """Quantile of the horizon's revenue, shape (n,); arguments as in `distribution`."""
    from scipy.special import gammaincinv

    left = np.clip((probability - p_none) / np.maximum(1 - p_none, 1e-12), 0.0, 1.0)
    scale = revenue / np.maximum(1 - p_none, 1e-12) * variation
    return np.asarray(np.where(left > 0, gammaincinv(1 / variation, left) * scale, 0.0))


def coverage(actual: Array, revenue: Array, variation: Array, p_none: Array) -> float:
    """Expected share of randomised probability integral transforms inside [0.1, 0.9]; 0.8 where the distribution is right.

    The transform of an outcome of nothing is uniform on [0, p_none]; instead of a draw its expectation is taken.
    """
    at = distribution(actual, revenue, variation, p_none)
    inside = ((at >= LOW) & (at <= HIGH)).astype(np.float64)
    mass = np.maximum(p_none, 1e-12)
    randomised = np.clip(np.minimum(mass, HIGH) - LOW, 0.0, None) / mass
    return float(np.where(actual > 0, inside, randomised).mean())


def calibrate(
    actual: Array, revenue: Array, moments_variation: Array, moments_p_none: Array, correction: Array, target: float
) -> Calibration:
    """Learn the spread from closed horizons.

    Args:
        actual: revenue of the horizon, at least 0, shape (n,).
        revenue: expectation, after the correction.
        moments_variation: the buying model's squared coefficient of variation, shape (n,).
        moments_p_none: its probability of no order, shape (n,).
        correction: revenue / the buying model's revenue.
        target: share of outcomes wanted between the 10 % and 90 % quantiles.
    """
    none = _fit_none(actual <= 0, _none_features(moments_p_none, correction))
    shape = Calibration(1.0, *none)
    p_none = shape.p_none(moments_p_none, correction)
    losses = [quantile_loss(actual, revenue, moments_variation * d, p_none) for d in _DISPERSIONS]
    best = float(_DISPERSIONS[int(np.argmin(np.round(losses, 12)))])
    near = [float(d) for d in _DISPERSIONS if best / _NEAR <= d <= best * _NEAR]
    gaps = [abs(coverage(actual, revenue, moments_variation * d, p_none) - target) for d in near]
    return Calibration(round(near[int(np.argmin(np.round(gaps, 12)))], 10), *none)


def quantile_loss(actual: Array, revenue: Array, variation: Array, p_none: Array) -> float:
    """Mean pinball loss of the published quantiles, each customer's in units of its own expectation.

    It is least where the quantiles are right. Coverage alone is also reached by a spread that is far too wide, whose mass lies at
    zero; so coverage only decides among spreads near the one of least loss.
    """
    scale = np.maximum(revenue, 0.05 * float(revenue.mean()) + 1e-12)
    total = 0.0
    for probability in (LOW, 0.5, HIGH):
        short = (actual - quantile(probability, revenue, variation, p_none)) / scale
        total += float(np.maximum(probability * short, (probability - 1) * short).mean())
    return total


def _fit_none(is_none: npt.NDArray[np.bool_], features: Array) -> tuple[float, float, float]:
    """Logistic regression with a weak pull towards the uncorrected probabilities (intercept 0, slope 1, ratio 0)."""
    from scipy.optimize import minimize

    start = np.array([0.0, 1.0, 0.0])

    def loss(weights: Array) -> tuple[float, Array]:
        from scipy.special import expit

        eta = features @ weights
        value = np.logaddexp(0, eta).sum() - eta[is_none].sum() + 0.5 * float(((weights - start) ** 2).sum())
        gradient = features.T @ (expit(eta) - is_none) + (weights - start)
        return float(value), gradient

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-5, 5), (0.05, 3), (-5, 5)])
    intercept, slope, ratio = (round(float(weight), 10) for weight in found.x)
    return intercept, slope, ratio
