from __future__ import annotations

import numpy as np
import pytest

from cx_pipeline.value import evaluation

ACTUAL = np.array([0.0, 0.0, 10.0, 30.0])


def test_figures_when_prediction_is_perfect_then_perfect() -> None:
    assert evaluation.figures(ACTUAL, ACTUAL) == {
        "bias": 0.0,
        "spearman": pytest.approx(1.0),
        "normalised_gini": pytest.approx(1.0),
        "top_10_percent_share": 0.75,
        "mae": 0.0,
    }


def test_figures_when_median_is_given_then_its_error_and_the_means_bias() -> None:
    found = evaluation.figures(ACTUAL, ACTUAL * 1.1, np.zeros(4))
    assert found["bias"] == pytest.approx(0.1)
    assert found["mae"] == 10.0


def test_normalised_gini_when_everyone_is_ranked_alike_then_zero_in_any_order() -> None:
    for actual in (ACTUAL, ACTUAL[::-1]):
        assert evaluation.normalised_gini(actual, np.ones(4)) == pytest.approx(0.0)


def test_normalised_gini_when_ranked_the_wrong_way_round_then_negative() -> None:
    assert evaluation.normalised_gini(ACTUAL, -ACTUAL) == pytest.approx(-1.0)


def test_figures_when_nothing_was_bought_then_unknown() -> None:
    found = evaluation.figures(np.zeros(4), ACTUAL)
    assert [found[name] for name in ("bias", "spearman", "normalised_gini", "top_10_percent_share")] == [None] * 4


def test_deciles_when_ranked_then_tenths_from_low_to_high() -> None:
    found = evaluation.deciles(np.arange(20.0), np.arange(20.0) * 2)
    assert found["decile_01_actual"] == 0.5
    assert found["decile_10_predicted"] == 37.0
