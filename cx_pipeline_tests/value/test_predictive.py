from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cx_pipeline.value.predictive import Calibration, calibrate, coverage, distribution, quantile

POSITIVE = st.floats(1e-6, 1e7)


@settings(max_examples=200, deadline=None)
@given(
    revenue=POSITIVE, variation=st.floats(1e-3, 1e3), p_none=st.floats(0, 1 - 1e-9), probability=st.floats(0.01, 0.99)
)
def test_quantile_when_put_into_the_distribution_then_its_probability(
    revenue: float, variation: float, p_none: float, probability: float
) -> None:
    arguments = tuple(np.array([value]) for value in (revenue, variation, p_none))
    value = quantile(probability, *arguments)
    assert np.isfinite(value).all()
    assert value[0] >= 0
    if probability <= p_none:
        assert value[0] == 0
    elif value[0] > 1e-200:
        assert distribution(value, *arguments)[0] == pytest.approx(probability, abs=1e-6)


def test_coverage_when_outcomes_follow_the_distribution_then_as_much_as_lies_between_the_quantiles() -> None:
    random, n = np.random.default_rng(2), 40_000
    p_none, variation, revenue = np.full(n, 0.4), np.full(n, 0.7), np.full(n, 50.0)
    actual = random.gamma(1 / 0.7, 50 / 0.6 * 0.7, n) * (random.random(n) > 0.4)
    assert coverage(actual, revenue, variation, p_none) == pytest.approx(0.8, abs=0.01)


def test_calibrate_when_the_spread_is_twice_as_wide_then_learnt() -> None:
    random, n = np.random.default_rng(2), 20_000
    is_none = random.random(n) < 0.3
    actual = random.gamma(1 / 1.4, 50 / 0.7 * 1.4, n) * ~is_none
    flat = np.ones(n)
    learnt = calibrate(actual, flat * 50, flat * 0.7, flat * 0.5, flat, 0.8)
    assert learnt.p_none(flat * 0.5, flat)[0] == pytest.approx(0.3, abs=0.01)
    assert learnt.dispersion == pytest.approx(2.0, rel=0.15)


def test_calibration_without_lessons_then_the_probability_stays() -> None:
    p_none = np.array([1e-6, 0.2, 0.9999])
    assert Calibration().p_none(p_none, np.ones(3)) == pytest.approx(p_none)
