"""Likelihoods against the literature, against one another's definitions, and against simulation."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from cx_pipeline.value.bg_nbd import BGNBD, fit_bg_nbd
from cx_pipeline.value.gamma_gamma import GammaGamma, fit_gamma_gamma
from cx_pipeline.value.likelihood import Array, counted, maximise
from cx_pipeline.value.lognormal import LogNormalValue, fit_lognormal
from cx_pipeline.value.pareto_nbd import ParetoNBD, fit_pareto_nbd
from cx_pipeline_tests.value.buyers import cdnow_days

PARETO = ParetoNBD(0.55, 10.6, 0.61, 11.7)
CALIBRATION_END = date(1997, 9, 30)


@pytest.fixture(scope="module")
def cdnow() -> pl.DataFrame:
    days = cdnow_days().filter(pl.col("day") <= CALIBRATION_END)
    marked = days.with_columns(pl.col("day").min().over("customer_id").alias("first"))
    return (
        marked.group_by("customer_id")
        .agg(
            (pl.len() - 1).cast(pl.Float64).alias("x"),
            ((pl.col("day").max() - pl.col("first").first()).dt.total_days() / 7).alias("t_x"),
            ((pl.lit(CALIBRATION_END) - pl.col("first").first()).dt.total_days() / 7).alias("age"),
            pl.col("revenue").filter(pl.col("day") > pl.col("first")).cast(pl.Float64).mean().alias("value"),
        )
        .sort("customer_id")
    )


def histories(cdnow: pl.DataFrame) -> tuple[Array, Array, Array]:
    return tuple(cdnow[name].to_numpy() for name in ("x", "t_x", "age"))  # type: ignore[return-value]


def arrays(*rows: tuple[float, float, float]) -> tuple[Array, Array, Array]:
    x, t_x, age = np.array(rows, dtype=np.float64).T
    return x, t_x, age


def test_bg_nbd_on_cdnow_then_the_published_estimates(cdnow: pl.DataFrame) -> None:
    model, fit = fit_bg_nbd(*histories(cdnow))
    assert cdnow.height == 2357
    assert fit.parameters == pytest.approx((0.24259, 4.4136, 0.7929, 2.4259), rel=1e-3)
    assert fit.log_likelihood == pytest.approx(-9582.429, abs=1e-3)
    expected = model.expected_orders(*histories(cdnow), 39.0)
    came = cdnow_days().filter(pl.col("day") > CALIBRATION_END).group_by("customer_id").len("n")
    actual = cdnow.join(came, on="customer_id", how="left")["n"].fill_null(0).to_numpy()
    assert expected.sum() / actual.sum() - 1 == pytest.approx(-0.122, abs=1e-3)
    assert np.abs(expected - actual).mean() == pytest.approx(0.786, abs=1e-3)


def test_pareto_nbd_on_cdnow_then_the_published_estimates(cdnow: pl.DataFrame) -> None:
    model, fit = fit_pareto_nbd(*histories(cdnow))
    assert fit.parameters == pytest.approx((0.55315, 10.57633, 0.60625, 11.67150), rel=1e-3)
    assert fit.log_likelihood == pytest.approx(-9594.976, abs=1e-3)
    expected, _ = model.count_moments(*histories(cdnow), 39.0)
    came = cdnow_days().filter(pl.col("day") > CALIBRATION_END).group_by("customer_id").len("n")
    actual = cdnow.join(came, on="customer_id", how="left")["n"].fill_null(0).to_numpy()
    assert np.abs(expected - actual).mean() <= 0.76


def test_gamma_gamma_on_cdnow_then_the_published_estimates(cdnow: pl.DataFrame) -> None:
    repeaters = cdnow.filter(pl.col("x") > 0)
    model, fit = fit_gamma_gamma(repeaters["x"].to_numpy(), repeaters["value"].to_numpy())
    assert fit.n_customers == 946
    assert fit.parameters == pytest.approx((6.25, 3.74, 15.44), rel=2e-3)
    assert fit.log_likelihood == pytest.approx(-4055.918, abs=1e-3)
    assert model.is_usable


@pytest.mark.parametrize(
    ("x", "t_x", "age"), [(0, 0, 12), (1, 3, 30), (4, 29.5, 30), (60, 25, 39), (0, 0, 0)],
    ids=["one order", "one repeat", "just now", "many", "new today"],
)  # fmt: skip
def test_pareto_nbd_likelihood_when_integrated_numerically_then_equal(x: float, t_x: float, age: float) -> None:
    r, alpha, s, beta = PARETO.r, PARETO.alpha, PARETO.s, PARETO.beta
    dead, _ = quad(lambda u: s * (alpha + u) ** -(r + x) * (beta + u) ** -(s + 1), t_x, age, epsabs=0)
    alive = (alpha + age) ** -(r + x) * (beta + age) ** -s
    head = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    assert PARETO.log_likelihood(*arrays((x, t_x, age)))[0] == pytest.approx(head + np.log(alive + dead), abs=1e-5)
    assert PARETO.p_alive(*arrays((x, t_x, age)))[0] == pytest.approx(alive / (alive + dead), rel=1e-5)


@pytest.mark.parametrize(
    "model",
    [PARETO, ParetoNBD(1.4, 1.36, 0.76, 891), ParetoNBD(0.3, 50, 5, 0.5), ParetoNBD(1, 7, 1, 7)],
    ids=["a music shop", "a grocer", "alpha above beta", "alpha equals beta"],
)
def test_pareto_nbd_when_histories_are_extreme_then_finite_and_within_bounds(model: ParetoNBD) -> None:
    data = arrays((0, 0, 0), (0, 0, 500), (900, 500, 500), (900, 3, 500), (5000, 1, 1), (1, 0.14, 1000))
    alive, none = model.p_alive(*data), model.p_no_order(*data, 13.0)
    mean, square = model.count_moments(*data, 13.0)
    assert np.isfinite(model.log_likelihood(*data)).all()
    for probability in (alive, none):
        assert ((probability >= 0) & (probability <= 1)).all()
    assert (mean >= 0).all()
    assert (square >= mean**2 * (1 - 1e-9)).all()


def test_pareto_nbd_moments_when_simulated_then_equal() -> None:
    random = np.random.default_rng(5)
    x, t_x, age, horizon, n = 3.0, 20.0, 30.0, 26.0, 400_000
    rate = random.gamma(PARETO.r + x, 1 / (PARETO.alpha + age), n)
    death = random.gamma(PARETO.s, 1 / (PARETO.beta + age), n)
    is_alive = random.random(n) < PARETO.p_alive(*arrays((x, t_x, age)))[0]
    life = np.minimum(random.exponential(1 / death), horizon)
    orders = random.poisson(rate * life) * is_alive
    mean, square = PARETO.count_moments(*arrays((x, t_x, age)), horizon)
    assert mean[0] == pytest.approx(orders.mean(), rel=0.01)
    assert square[0] == pytest.approx((orders**2).mean(), rel=0.03)
    assert PARETO.p_no_order(*arrays((x, t_x, age)), horizon)[0] == pytest.approx((orders == 0).mean(), abs=0.003)


def test_bg_nbd_expectation_when_stopping_is_impossible_then_negative_binomial() -> None:
    never = BGNBD(0.8, 5.0, 1e-7, 10.0)
    expected = never.expected_orders(*arrays((2, 10, 20), (0, 0, 4)), 13.0)
    assert expected == pytest.approx([2.8 / 25 * 13, 0.8 / 9 * 13], rel=1e-4)


def test_bg_nbd_expectation_when_a_is_one_then_as_beside_it() -> None:
    data = arrays((2, 10, 20), (40, 19, 20))
    at_one = BGNBD(0.8, 5.0, 1.0, 3.0).expected_orders(*data, 13.0)
    assert at_one == pytest.approx(BGNBD(0.8, 5.0, 1.001, 3.0).expected_orders(*data, 13.0), rel=2e-3)


@pytest.mark.parametrize("seed", [1, 2], ids=["one company", "another"])
def test_fit_pareto_nbd_on_simulated_customers_then_the_planted_parameters(seed: int) -> None:
    random, n = np.random.default_rng(seed), 6000
    planted = ParetoNBD(0.8, 6.0, 0.7, 20.0)
    rate, death = random.gamma(planted.r, 1 / planted.alpha, n), random.gamma(planted.s, 1 / planted.beta, n)
    age = random.uniform(20, 60, n)
    life = np.minimum(random.exponential(1 / death), age)
    x = random.poisson(rate * life).astype(np.float64)
    # The last of x uniform times; the longest of them is life times the x-th root of a uniform.
    t_x = np.where(x > 0, life * random.random(n) ** (1 / np.maximum(x, 1)), 0.0)
    model, fit = fit_pareto_nbd(x, t_x, age)
    assert model.r / model.alpha == pytest.approx(planted.r / planted.alpha, rel=0.1)
    assert model.r == pytest.approx(planted.r, rel=0.15)
    assert fit.log_likelihood >= planted.log_likelihood(x, t_x, age).sum()


def test_gamma_gamma_expectation_when_much_is_known_then_the_customers_own_mean() -> None:
    model = GammaGamma(6.25, 3.74, 15.44)
    mean, square, within = model.value_moments(np.array([0.0, 1.0, 1e6]), np.array([0.0, 100.0, 100.0]))
    assert mean[0] == pytest.approx(6.25 * 15.44 / 2.74)
    assert mean[0] < mean[1] < 100
    assert mean[2] == pytest.approx(100, rel=1e-3)
    assert (square >= mean**2).all()
    assert within[2] == pytest.approx(100**2 / 6.25, rel=1e-3)


def test_gamma_gamma_when_q_is_below_one_then_not_usable() -> None:
    assert not GammaGamma(2.0, 0.9, 5.0).is_usable


def test_fit_gamma_gamma_on_values_without_a_mean_then_not_usable_and_shrinkage_is() -> None:
    random = np.random.default_rng(3)
    values = random.gamma(6.0, 1 / random.gamma(0.7, 1 / 5.0, (2000, 1)), (2000, 2))
    two, logs = np.full(2000, 2.0), np.log(values)
    model, _ = fit_gamma_gamma(two, values.mean(axis=1))
    assert not model.is_usable
    shrunk = fit_lognormal(two, logs.sum(axis=1), (logs**2).sum(axis=1))
    mean, square, within = shrunk.value_moments(two, logs.sum(axis=1))
    for figures in (mean, square, within):
        assert np.isfinite(figures).all()
        assert (figures > 0).all()


def test_fit_lognormal_on_generated_values_then_the_planted_variances() -> None:
    random = np.random.default_rng(4)
    n_orders = random.integers(2, 20, 4000)
    level = random.normal(3.0, 0.8, 4000)
    logs = [level[i] + random.normal(0, 0.5, n) for i, n in enumerate(n_orders)]
    model = fit_lognormal(
        n_orders.astype(np.float64), np.array([v.sum() for v in logs]), np.array([(v**2).sum() for v in logs])
    )
    assert model.centre == pytest.approx(3.0, abs=0.05)
    assert model.between == pytest.approx(0.64, rel=0.08)
    assert model.within == pytest.approx(0.25, rel=0.05)


def test_lognormal_expectation_when_much_is_known_then_the_customers_own() -> None:
    mean, _, _ = LogNormalValue(3.0, 0.6, 0.2).value_moments(np.array([1e7]), np.array([4.0e7]))
    assert mean[0] == pytest.approx(np.exp(4.0 + 0.1), rel=1e-4)


def test_counted_when_rows_repeat_then_each_once_with_its_weight() -> None:
    (x, y), weights = counted((np.array([1.0, 2, 1, 1]), np.array([0.0, 5, 0, 7])), 100)
    assert list(zip(x, y, weights, strict=True)) == [(1, 0, 2), (1, 7, 1), (2, 5, 1)]


def test_counted_when_there_are_too_many_rows_then_a_sample_that_stands_for_all() -> None:
    x = np.random.default_rng(1).gamma(2, 3, 10_000)
    (kept,), weights = counted((x,), 500)
    assert len(kept) <= 500
    assert weights.sum() == pytest.approx(10_000)
    assert np.average(kept, weights=weights) == pytest.approx(x.mean(), rel=0.01)


def test_maximise_when_a_parameter_is_impossible_then_it_is_avoided() -> None:
    def concave(parameters: Array) -> float:
        return float("nan") if parameters[0] > 50 else float(-((np.log(parameters[0]) - 2) ** 2))

    assert maximise(concave, [1.0], 1).parameters[0] == pytest.approx(np.exp(2), rel=1e-4)
