from __future__ import annotations

import numpy as np

from cx_pipeline.simulate.surveys import LEVELS, items_of, levels_of


def test_levels_when_means_are_at_the_cut_offs_then_they_are_those_of_the_definitions() -> None:
    cases = {
        (4.5, 4.33): "fully_engaged",
        (4.5, 4.0): "engaged",
        (3.75, 3.0): "engaged",
        (3.74, 3.0): "not_engaged",
        (2.49, 5.0): "actively_disengaged",
        (5.0, 2.32): "actively_disengaged",
    }
    emotional, rational = (np.array([case[i] for case in cases]) for i in (0, 1))
    assert [LEVELS[code] for code in levels_of(emotional, rational)] == list(cases.values())


def test_answers_when_rounded_to_whole_numbers_then_their_mean_stays_at_the_latent_level() -> None:
    rng = np.random.default_rng(1)
    level = rng.uniform(1, 5, 2_000)
    scores = items_of(level, 8, rng)
    assert np.abs(scores.mean(axis=1) - level).max() <= 1 / 16 + 1e-9
    assert scores.min() >= 1
    assert scores.max() <= 5
    assert (scores == np.rint(scores)).all()
