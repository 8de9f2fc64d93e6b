from __future__ import annotations

import numpy as np
import pytest

from cx_pipeline.propensity import evaluation
from cx_pipeline.propensity.calibration import calibrated, fit_calibrator, fit_isotonic
from cx_pipeline.propensity.evaluation import Vector


def sample(n: int = 4_000, seed: int = 1) -> tuple[Vector, Vector]:
    """Outcomes and the probabilities they were drawn with."""
    random = np.random.default_rng(seed)
    probability = random.beta(1.2, 4.0, n).round(2)
    return (random.random(n) < probability).astype(float), probability


def test_figures_when_held_against_scikit_learn_then_they_are_equal() -> None:
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    outcome, probability = sample()
    assert evaluation.auc(outcome, probability) == pytest.approx(roc_auc_score(outcome, probability))
    assert evaluation.brier(outcome, probability) == pytest.approx(brier_score_loss(outcome, probability))
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    assert evaluation.log_loss(outcome, inside) == pytest.approx(log_loss(outcome, inside))


def test_figures_when_probabilities_are_the_true_ones_then_calibration_is_right_and_else_it_is_not() -> None:
    outcome, probability = sample(40_000)
    right = evaluation.figures(outcome, np.clip(probability, 0.005, 0.995))
    assert right["calibration_slope"] == pytest.approx(1, abs=0.06)
    assert right["calibration_intercept"] == pytest.approx(0, abs=0.06)
    assert right["ece"] < 0.01
    doubled = evaluation.figures(outcome, np.clip(2 * probability, 0.005, 0.995))
    assert doubled["calibration_intercept"] < -0.5
    assert doubled["ece"] > 0.15


def test_lift_when_the_first_tenth_holds_half_of_the_events_then_it_is_five_and_ties_are_shared() -> None:
    outcome = np.array([1.0] * 5 + [0.0] * 5 + [1.0] * 5 + [0.0] * 85)
    assert evaluation.lift(outcome, np.arange(100, 0, -1).astype(float)) == pytest.approx(5.0)
    assert evaluation.lift(outcome, np.zeros(100)) == pytest.approx(1.0)


@pytest.mark.parametrize("outcome", [np.zeros(5), np.ones(5)], ids=["nobody", "everybody"])
def test_auc_when_only_one_outcome_occurs_then_it_is_a_half(outcome: Vector) -> None:
    assert evaluation.auc(outcome, np.arange(5.0)) == 0.5


def test_sigmoid_when_scores_are_too_sure_then_the_map_makes_them_right() -> None:
    outcome, probability = sample(20_000)
    score = evaluation.expit(2.0 * evaluation.logit(np.clip(probability, 0.01, 0.99)) + 1.0)
    calibrator = fit_calibrator(outcome, score, isotonic_from=10**9)
    assert calibrator["kind"] == "sigmoid"
    assert calibrator["slope"] == pytest.approx(0.5, abs=0.04)
    found = calibrated(calibrator, score)
    assert evaluation.calibration_error(evaluation.calibration_curve(outcome, found)) < 0.015


def test_sigmoid_when_the_score_ranks_the_wrong_way_round_then_everyone_gets_the_rate() -> None:
    outcome, probability = sample()
    calibrator = fit_calibrator(outcome, 1 - probability, isotonic_from=10**9)
    assert calibrated(calibrator, 1 - probability) == pytest.approx(outcome.mean())


def test_isotonic_when_held_against_scikit_learn_then_rates_are_equal() -> None:
    from sklearn.isotonic import IsotonicRegression

    outcome, probability = sample(3_000)
    calibrator = fit_isotonic(outcome, probability)
    peer = IsotonicRegression(y_min=0, y_max=1).fit(probability, outcome).predict(probability)
    inside = (peer > 0.02) & (peer < 0.98)
    assert calibrated(calibrator, probability)[inside] == pytest.approx(peer[inside])


def test_isotonic_when_a_score_is_missing_or_beyond_what_was_seen_then_the_end_blocks_answer() -> None:
    calibrator = fit_isotonic(np.array([0.0, 0.0, 1.0, 0.0, 1.0, 1.0]), np.array([np.nan, 1, 2, 3, 4, 5]))
    low, high = calibrated(calibrator, np.array([np.nan, 99.0]))
    assert low == min(calibrator["rate"])
    assert high == max(calibrator["rate"])


def test_curve_when_drawn_then_bins_are_of_equal_size_and_intervals_hold_the_rates() -> None:
    outcome, probability = sample(1_003)
    curve = evaluation.calibration_curve(outcome, probability)
    assert [row["bin"] for row in curve] == list(range(1, 11))
    assert {row["n"] for row in curve} == {100, 101}
    assert all(0 <= row["rate_low"] <= row["observed_rate"] <= row["rate_high"] <= 1 for row in curve)
