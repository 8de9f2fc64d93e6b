from __future__ import annotations

import polars as pl
import pytest
from scipy.stats import binomtest, chi2

from cx_pipeline.metrics.intervals import poisson_ratio, wilson


def bounds(made: tuple[pl.Expr, pl.Expr], counted: int, of: int) -> tuple[float | None, float | None]:
    low, high = made
    return pl.DataFrame({"k": [counted], "n": [of]}).select(low.alias("low"), high.alias("high")).row(0)


@pytest.mark.parametrize(("lost", "opening"), [(0, 10), (1, 10), (45, 2280), (10, 10), (1, 1), (123, 456)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_when_compared_with_scipy_then_equal(lost: int, opening: int, confidence: float) -> None:
    expected = binomtest(lost, opening).proportion_ci(confidence, method="wilson")
    low, high = bounds(wilson(pl.col("k"), pl.col("n"), confidence), lost, opening)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_when_nobody_or_everybody_is_lost_then_the_bound_is_exact() -> None:
    assert bounds(wilson(pl.col("k"), pl.col("n")), 0, 2168)[0] == 0.0
    assert bounds(wilson(pl.col("k"), pl.col("n")), 7, 7)[1] == 1.0


@pytest.mark.parametrize(
    ("counted", "of"), [(0, 0), (3, 0), (5, 4)], ids=["no base", "some of no base", "more than base"]
)
def test_wilson_when_it_is_no_proportion_then_null(counted: int, of: int) -> None:
    assert bounds(wilson(pl.col("k"), pl.col("n")), counted, of) == (None, None)


@pytest.mark.parametrize("counted", [5, 20, 150])
def test_poisson_ratio_when_compared_with_the_exact_interval_then_within_a_percent(counted: int) -> None:
    low, high = bounds(poisson_ratio(pl.col("k"), pl.col("n")), counted, 4)
    assert low == pytest.approx(chi2.ppf(0.025, 2 * counted) / 2 / 4, rel=0.01)
    assert high == pytest.approx(chi2.ppf(0.975, 2 * counted + 2) / 2 / 4, rel=0.01)


def test_poisson_ratio_when_there_is_no_base_then_null() -> None:
    assert bounds(poisson_ratio(pl.col("k"), pl.col("n")), 3, 0) == (None, None)
