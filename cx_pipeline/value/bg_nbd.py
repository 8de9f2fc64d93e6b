"""BG/NBD: how often a customer buys, with a coin tossed after each order on whether it was the last.

Source: Fader, Hardie, Lee 2005, "Counting your customers the easy way". A customer with one order only cannot have died, so its
P(alive) says nothing; it is kept as a yardstick for Pareto/NBD.

Belongs here: likelihood, fit, expected counts. Units as in `pareto_nbd.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cx_pipeline.value.likelihood import Array, Fit, counted, maximise

_START = (0.3, 5.0, 0.8, 2.5)
# The expectation has a removable singularity at a = 1.
_NEAR_ONE = 1e-6


@dataclass(frozen=True)
class BGNBD:
    """Parameters of a fitted BG/NBD: `r`, `alpha` of the rate of buying, `a`, `b` of the chance to stop after an order."""

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, x: Array, t_x: Array, age: Array) -> Array:
        """Log-likelihood of each history (see `pareto_nbd.ParetoNBD.log_likelihood`), shape (n,)."""
        from scipy.special import betaln, gammaln

        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        head = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        alive = betaln(a, b + x) - (r + x) * np.log(alpha + age)
        dead = np.where(x > 0, betaln(a + 1, b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x), -np.inf)
        return np.asarray(head + np.logaddexp(alive, dead))

    def expected_orders(self, x: Array, t_x: Array, age: Array, horizon: float) -> Array:
        """Expected orders in (age, age + horizon], shape (n,).

        The paper's 2F1(r+x, b+x; a+b+x-1; z) is brought by Euler's transformation into one that converges for any x.
        """
        from scipy.special import hyp2f1

        r, alpha, b = self.r, self.alpha, self.b
        a = self.a if abs(self.a - 1) > _NEAR_ONE else 1 + _NEAR_ONE
        kept = (alpha + age) / (alpha + age + horizon)
        tail = kept ** (a - 1) * hyp2f1(a + b - 1 - r, a - 1, a + b + x - 1, 1 - kept)
        ever = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * ((alpha + age) / (alpha + t_x)) ** (r + x), 0.0)
        return np.asarray(np.maximum((a + b + x - 1) / (a - 1) * (1 - tail) / (1 + ever), 0.0))


def fit_bg_nbd(x: Array, t_x: Array, age: Array, *, max_rows: int = 100_000) -> tuple[BGNBD, Fit]:
    """Fit by maximum likelihood; arguments as in `pareto_nbd.fit_pareto_nbd`."""
    (xs, ts, ages), n = counted((x, t_x, age), max_rows)

    def log_likelihood(parameters: Array) -> float:
        return float(np.dot(n, BGNBD(*parameters).log_likelihood(xs, ts, ages)))

    scale = max(float(np.average(ages, weights=n)), 1e-3) / 30
    r, alpha, a, b = _START
    fit = maximise(log_likelihood, (r, alpha * scale, a, b), len(x))
    return BGNBD(*fit.parameters), fit
