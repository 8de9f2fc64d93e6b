"""Gamma-Gamma: what an order of a customer is worth, shrunk to what orders are worth in general.

Source: Fader, Hardie, Lee 2005, "RFM and CLV"; Fader and Hardie 2013, "The Gamma-Gamma model of monetary value". The value of an
order is Gamma(p, nu) with nu ~ Gamma(q, v) across customers. The population mean p v / (q - 1) exists only for q > 1: skewed
retail data often fit q < 1, and expectations are negative then. Such a fit `is_usable` not; use `lognormal.py` instead.

Belongs here: likelihood, fit, moments of a customer's mean order value. Does not belong here: how many orders there will be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cx_pipeline.value.likelihood import Array, Fit, counted, maximise

_START = (2.0, 3.0, 20.0)
# The posterior needs its second moment: with less than this in the shape it is not finite, or as good as not.
_MIN_SHAPE = 2.5


@dataclass(frozen=True)
class GammaGamma:
    """Parameters of a fitted Gamma-Gamma model: order value Gamma(p, nu), nu ~ Gamma(q, v)."""

    p: float
    q: float
    v: float

    @property
    def is_usable(self) -> bool:
        """Whether expectations exist: q > 1."""
        return self.q > 1

    @property
    def mean(self) -> float:
        """Mean order value of the population; only where `is_usable`."""
        return self.p * self.v / (self.q - 1)

    def log_likelihood(self, n_orders: Array, mean_value: Array) -> Array:
        """Log-likelihood of mean order values over n_orders orders each, shape (n,); both positive."""
        from scipy.special import gammaln

        p, q, v = self.p, self.q, self.v
        shape = p * n_orders
        return np.asarray(
            gammaln(shape + q)
            - gammaln(shape)
            - gammaln(q)
            + q * np.log(v)
            + (shape - 1) * np.log(mean_value)
            + shape * np.log(n_orders)
            - (shape + q) * np.log(v + n_orders * mean_value)
        )

    def value_moments(self, n_orders: Array, mean_value: Array) -> tuple[Array, Array, Array]:
        """Mean and second moment of a customer's mean order value, and mean variance of one order around it; shape (n,) each.

        Args:
            n_orders: orders seen, at least 0.
            mean_value: their mean value, at least 0; not looked at where n_orders is 0.
        """
        shape = self.q + self.p * n_orders
        rate = self.v + n_orders * np.where(n_orders > 0, mean_value, 0.0)
        mean = self.p * rate / (shape - 1)
        spread = np.maximum(shape, _MIN_SHAPE)
        square = mean**2 * (spread - 1) / (spread - 2)
        return mean, square, square / self.p


def fit_gamma_gamma(n_orders: Array, mean_value: Array, *, max_rows: int = 100_000) -> tuple[GammaGamma, Fit]:
    """Fit by maximum likelihood.

    Args:
        n_orders: orders of each customer, at least 1, shape (n,).
        mean_value: their mean value, positive, shape (n,).
        max_rows: most distinct rows to look at (see `likelihood.counted`).
    """
    (orders, means), n = counted((n_orders, mean_value), max_rows)

    def log_likelihood(parameters: Array) -> float:
        return float(np.dot(n, GammaGamma(*parameters).log_likelihood(orders, means)))

    p, q, _ = _START
    typical = float(np.average(means, weights=n))
    fit = maximise(log_likelihood, (p, q, max(typical * (q - 1) / p, 1e-3)), len(n_orders))
    return GammaGamma(*fit.parameters), fit
