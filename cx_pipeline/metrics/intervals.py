"""Intervals of rates.

Belongs here: formulas with their source. Does not belong here: what the rates are of.
"""

from __future__ import annotations

from statistics import NormalDist

import polars as pl


def normal_quantile(confidence: float) -> float:
    """The z with which a two-sided interval of that confidence is made, e.g. 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(successes: pl.Expr, trials: pl.Expr, confidence: float = 0.95) -> tuple[pl.Expr, pl.Expr]:
    """Lower and upper bound of a proportion; NULL where there are no trials or more successes than trials.

    Wilson, E. B. (1927): Probable inference, the law of succession, and statistical inference. JASA 22.
    """
    z = normal_quantile(confidence)
    is_proportion = (trials > 0) & (successes <= trials)
    n = pl.when(is_proportion).then(trials).otherwise(None).cast(pl.Float64)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)).sqrt() / (1 + z * z / n)
    # At the ends the formula says exactly 0 and 1; floating point only nearly.
    low = pl.when(successes == 0).then(n * 0).otherwise((centre - half).clip(0, 1))
    high = pl.when(successes == trials).then(n * 0 + 1).otherwise((centre + half).clip(0, 1))
    return low, high


def poisson_ratio(count: pl.Expr, base: pl.Expr, confidence: float = 0.95) -> tuple[pl.Expr, pl.Expr]:
    """Lower and upper bound of count / base where the count is Poisson and the base is known; NULL where the base is 0.

    Byar's approximation: Breslow, N. E., Day, N. E. (1987): Statistical methods in cancer research II, equation 2.13.
    """
    z = normal_quantile(confidence)
    n = pl.when(base > 0).then(base).otherwise(None).cast(pl.Float64)
    k = count.cast(pl.Float64)
    low = pl.when(k > 0).then(k * (1 - 1 / (9 * k) - z / (3 * k.sqrt())) ** 3).otherwise(0.0)
    high = (k + 1) * (1 - 1 / (9 * (k + 1)) + z / (3 * (k + 1).sqrt())) ** 3
    return low / n, high / n
