"""Pareto/NBD: how often a customer buys while alive, and until when he lives.

Source: Schmittlein, Morrison, Colombo 1987; Fader and Hardie 2005, "A note on deriving the Pareto/NBD model". While alive a customer
buys at rate lambda ~ Gamma(r, alpha); he dies at rate mu ~ Gamma(s, beta). The likelihood is written as an integral over the time
of death instead of with hypergeometric functions, because it stays finite in logs for any number of orders:

    L(x, t_x, T) = G(r+x)/G(r) alpha^r beta^s [ (alpha+T)^-(r+x) (beta+T)^-s + s int_{t_x}^{T} (alpha+u)^-(r+x) (beta+u)^-(s+1) du ]

and with v = ((alpha+t_x)/(alpha+u))^(r+s+x) the integral is (alpha+t_x)^-(r+s+x)/(r+s+x) int ((alpha+u)/(beta+u))^(s+1) dv over
[((alpha+t_x)/(alpha+T))^(r+s+x), 1], whose integrand is smooth.

Belongs here: likelihood, fit, expectations of counts. Does not belong here: money (`gamma_gamma.py`).
Units: any one unit of time for t_x, T and horizons; the room uses weeks. x counts orders after the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cx_pipeline.value.likelihood import Array, Fit, counted, legendre, maximise

_START = (0.6, 10.0, 0.6, 12.0)
_NODES = 24


@dataclass(frozen=True)
class ParetoNBD:
    """Parameters of a fitted Pareto/NBD; `r`, `alpha` of the rate of buying, `s`, `beta` of the rate of dying."""

    r: float
    alpha: float
    s: float
    beta: float

    def log_likelihood(self, x: Array, t_x: Array, age: Array) -> Array:
        """Log-likelihood of each history: x repeat orders, the last at t_x, observed until age; shape (n,)."""
        from scipy.special import gammaln

        alive, dead = self._log_terms(x, t_x, age)
        head = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha) + self.s * np.log(self.beta)
        return np.asarray(head + np.logaddexp(alive, dead))

    def p_alive(self, x: Array, t_x: Array, age: Array) -> Array:
        """Probability of being alive at `age`, shape (n,)."""
        from scipy.special import expit

        alive, dead = self._log_terms(x, t_x, age)
        return np.asarray(expit(alive - dead))

    def p_no_order(self, x: Array, t_x: Array, age: Array, horizon: float) -> Array:
        """Probability of no order in (age, age + horizon], shape (n,): the same history, observed longer."""
        longer = self.log_likelihood(x, t_x, age + horizon)
        return np.asarray(np.exp(np.minimum(longer - self.log_likelihood(x, t_x, age), 0.0)))

    def count_moments(self, x: Array, t_x: Array, age: Array, horizon: float) -> tuple[Array, Array]:
        """Mean and second moment of the number of orders in (age, age + horizon], each of shape (n,).

        Alive, lambda ~ Gamma(r + x, alpha + age) and the time left is Lomax(s, beta + age), independent of it.
        """
        shape, rate = self.r + x, self.alpha + age
        time, time_squared = _restricted_life(self.s, self.beta + age, horizon)
        alive = self.p_alive(x, t_x, age)
        mean = alive * shape / rate * time
        return mean, mean + alive * shape * (shape + 1) / rate**2 * time_squared

    def _log_terms(self, x: Array, t_x: Array, age: Array) -> tuple[Array, Array]:
        """Logs of the two summands in brackets (module docstring): alive at age, died between t_x and age."""
        r, alpha, s, beta = self.r, self.alpha, self.s, self.beta
        a = r + s + x
        log_ratio = np.log((alpha + t_x) / (alpha + age))
        lowest = np.exp(a * log_ratio)
        nodes, weights = legendre(_NODES)
        integral = np.zeros_like(a)
        for node, weight in zip(nodes, weights, strict=True):
            v = lowest + (1 - lowest) * node
            u_alpha = (alpha + t_x) * v ** (-1 / a)
            integral += weight * (u_alpha / (u_alpha + (beta - alpha))) ** (s + 1)
        integral *= -np.expm1(a * log_ratio)
        with np.errstate(divide="ignore"):
            dead = np.log(s) - np.log(a) - a * np.log(alpha + t_x) + np.log(integral)
        return -(r + x) * np.log(alpha + age) - s * np.log(beta + age), dead


def _restricted_life(s: float, beta: Array, horizon: float) -> tuple[Array, Array]:
    """E[min(life, horizon)] and E[min(life, horizon)^2] of a Lomax(s, beta) life: integrals of S(u) and 2 u S(u) over the horizon."""
    nodes, weights = legendre(_NODES)
    top = np.log1p(horizon / beta)
    mean, square = np.zeros_like(beta), np.zeros_like(beta)
    for node, weight in zip(nodes, weights, strict=True):
        w = top * node
        u = beta * np.expm1(w)
        # S(u) du with u = beta (e^w - 1), so S = e^(-s w) and du = beta e^w dw.
        density = weight * top * beta * np.exp((1 - s) * w)
        mean += density
        square += 2 * u * density
    return mean, square


def fit_pareto_nbd(x: Array, t_x: Array, age: Array, *, max_rows: int = 100_000) -> tuple[ParetoNBD, Fit]:
    """Fit by maximum likelihood.

    Args:
        x: repeat orders, shape (n,).
        t_x: time of the last order since the first, shape (n,).
        age: time observed since the first order, shape (n,); at least t_x.
        max_rows: most distinct histories to look at (see `likelihood.counted`).
    """
    (xs, ts, ages), n = counted((x, t_x, age), max_rows)

    def log_likelihood(parameters: Array) -> float:
        return float(np.dot(n, ParetoNBD(*parameters).log_likelihood(xs, ts, ages)))

    scale = max(float(np.average(ages, weights=n)), 1e-3) / 30
    r, alpha, s, beta = _START
    fit = maximise(log_likelihood, (r, alpha * scale, s, beta * scale), len(x))
    return ParetoNBD(*fit.parameters), fit
