"""Orders and money to come, together: Pareto/NBD for the count, Gamma-Gamma or log-normal shrinkage for the value of an order.

Belongs here: joint moments of revenue over a horizon. Does not belong here: corrections learnt from past cut-offs (`learners.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.value.gamma_gamma import GammaGamma, fit_gamma_gamma
from cx_pipeline.value.likelihood import Array
from cx_pipeline.value.lognormal import LogNormalValue, fit_lognormal
from cx_pipeline.value.pareto_nbd import ParetoNBD, fit_pareto_nbd
from cx_pipeline.value.summaries import DAYS_PER_WEEK, column, history, mean_order_value

_MAX_MEAN_RATIO = 2.0


@dataclass(frozen=True)
class Moments:
    """What a horizon brings, per customer: arrays of shape (n,).

    Attributes:
        orders: expected orders.
        revenue: expected revenue.
        variation: squared coefficient of variation of the revenue of those who order at all.
        p_none: probability of no order.
    """

    orders: Array
    revenue: Array
    variation: Array
    p_none: Array


@dataclass(frozen=True)
class Buying:
    """A fitted pair of models."""

    count: ParetoNBD
    spend: GammaGamma | LogNormalValue

    @property
    def method(self) -> str:
        """Name of the pair in the tables, e.g. `pareto_nbd+gamma_gamma`."""
        return f"pareto_nbd+{'gamma_gamma' if isinstance(self.spend, GammaGamma) else 'lognormal_shrinkage'}"

    def moments(self, rows: pl.DataFrame, cutoff: date, horizon_days: float) -> Moments:
        """Moments over (cutoff, cutoff + horizon_days] for the customers of a summary as known at the cut-off."""
        x, t_x, age = history(rows, cutoff)
        horizon = horizon_days / DAYS_PER_WEEK
        orders, orders_squared = self.count.count_moments(x, t_x, age, horizon)
        value, value_squared, within = self._value_moments(rows)
        p_none = np.clip(self.count.p_no_order(x, t_x, age, horizon), 0.0, 1.0 - 1e-9)
        revenue = orders * value
        # Var of a sum of N values of mean z: E[N] within + E[N^2] E[z^2] - mean^2; given N > 0 the moments grow by 1 / P(N > 0).
        square = orders * within + orders_squared * value_squared
        with np.errstate(divide="ignore", invalid="ignore"):
            variation = square * (1 - p_none) / revenue**2 - 1
        usable = np.isfinite(variation)
        return Moments(orders, revenue, np.where(usable, np.clip(variation, 1e-3, 1e3), 1.0), p_none)

    def p_alive(self, rows: pl.DataFrame, cutoff: date) -> Array:
        """Probability that a customer of a summary will ever order again as before, shape (n,)."""
        return self.count.p_alive(*history(rows, cutoff))

    def _value_moments(self, rows: pl.DataFrame) -> tuple[Array, Array, Array]:
        n_orders = column(rows, "n_orders")
        if isinstance(self.spend, GammaGamma):
            return self.spend.value_moments(n_orders, mean_order_value(rows))
        return self.spend.value_moments(n_orders, column(rows, "log_value"))

    def parameters(self) -> dict[str, Any]:
        """As JSON values; `from_parameters` reads them."""
        name = "gamma_gamma" if isinstance(self.spend, GammaGamma) else "lognormal"
        return {"pareto_nbd": asdict(self.count), name: asdict(self.spend)}

    @classmethod
    def from_parameters(cls, stored: Mapping[str, Any]) -> Buying:
        """The pair that `parameters` described."""
        if "gamma_gamma" in stored:
            return cls(ParetoNBD(**stored["pareto_nbd"]), GammaGamma(**stored["gamma_gamma"]))
        return cls(ParetoNBD(**stored["pareto_nbd"]), LogNormalValue(**stored["lognormal"]))


def fit_buying(rows: pl.DataFrame, cutoff: date, *, max_rows: int) -> Buying:
    """Fit both models on a summary of all customers with an order, as known at the cut-off.

    Gamma-Gamma is taken only where its expectations exist (q > 1) and their mean is not far above what was seen (q just above 1
    adds a tail that nobody bought), log-normal shrinkage else.
    """
    x, t_x, age = history(rows, cutoff)
    count, _ = fit_pareto_nbd(x, t_x, age, max_rows=max_rows)
    n_orders, value = column(rows, "n_orders"), mean_order_value(rows)
    has_value = value > 0
    if has_value.any():
        spend, _ = fit_gamma_gamma(n_orders[has_value], value[has_value], max_rows=max_rows)
        if spend.is_usable and spend.mean <= _MAX_MEAN_RATIO * float(value[has_value].mean()):
            return Buying(count, spend)
    return Buying(count, fit_lognormal(n_orders, column(rows, "log_value"), column(rows, "log_value_squared")))
