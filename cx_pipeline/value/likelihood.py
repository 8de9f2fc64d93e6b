"""What the likelihoods of buying share: identical histories counted once, and a maximiser over positive parameters.

Belongs here: aggregation of sufficient statistics, optimisation, quadrature. Does not belong here: any one model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# Parameters outside of these bounds (natural logs) say that the data do not identify them.
_LOG_BOUNDS = (-9.0, 12.0)


@dataclass(frozen=True)
class Fit:
    """Maximum-likelihood estimates.

    Attributes:
        parameters: positive estimates in the model's order.
        log_likelihood: at the estimates, of all customers.
        n_customers: how many customers were fitted.
    """

    parameters: tuple[float, ...]
    log_likelihood: float
    n_customers: int


def counted(columns: Sequence[Array], max_rows: int) -> tuple[tuple[Array, ...], Array]:
    """Distinct rows of sufficient statistics and how many customers share each.

    Where there are more than `max_rows` distinct rows, every k-th customer in the order of the statistics stands for k of them:
    a sample that is stratified by the statistics and always the same.

    Args:
        columns: arrays of shape (n,).
        max_rows: most rows to return.

    Returns:
        the distinct rows, column by column, and their weights, which sum to n.
    """
    stacked = np.column_stack(columns)
    rows, n = np.unique(stacked, axis=0, return_counts=True)
    weights = n.astype(np.float64)
    if len(rows) > max_rows:
        steps = np.cumsum(weights)
        at = (np.arange(max_rows) + 0.5) * steps[-1] / max_rows
        chosen, times = np.unique(np.searchsorted(steps, at), return_counts=True)
        rows, weights = rows[chosen], times * (steps[-1] / max_rows)
    return tuple(rows[:, i] for i in range(rows.shape[1])), weights


def maximise(log_likelihood: Callable[[Array], float], start: Sequence[float], n_customers: int) -> Fit:
    """Maximise a log-likelihood over positive parameters, from `start`, in logs.

    Args:
        log_likelihood: of an array of positive parameters; a value that is not finite counts as impossible.
        start: positive starting values.
        n_customers: scales the objective, so that tolerances mean the same for a hundred customers and for a million.
    """
    from scipy.optimize import minimize

    scale = max(n_customers, 1)

    def loss(logs: Array) -> float:
        with np.errstate(all="ignore"):
            value = log_likelihood(np.exp(logs))
        return -value / scale if np.isfinite(value) else 1e9

    at = np.log(np.asarray(start, dtype=np.float64))
    bounds = [_LOG_BOUNDS] * len(at)
    found = minimize(loss, at, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-9, "maxiter": 500})
    # Central differences near the optimum: one-sided ones stop L-BFGS a few digits short.
    polished = minimize(
        loss, found.x, method="L-BFGS-B", jac="3-point", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9}
    )
    best = polished if polished.fun <= found.fun else found
    estimates = tuple(float(value) for value in np.exp(best.x))
    return Fit(estimates, float(-best.fun * scale), n_customers)


def legendre(n: int) -> tuple[Array, Array]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1], arrays of shape (n,)."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2
