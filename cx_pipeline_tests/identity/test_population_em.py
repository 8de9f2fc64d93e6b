from __future__ import annotations

import numpy as np
import pytest

from cx_pipeline.identity.population_em import (
    Block,
    LevelArray,
    Patterns,
    PopulationModel,
    Variable,
    dependent_groups,
    fit,
    posteriors,
)

N_RECORDS = 2_000
N_PAIRS = N_RECORDS * (N_RECORDS - 1) / 2
SHARE_MATCH, SHARE_RELATED = 0.002, 0.003
MATCH = {"name": (0.1, 0.1, 0.8), "born": (0.1, 0.9), "street": (0.3, 0.7), "town": (0.2, 0.8)}
UNRELATED = {"name": (0.95, 0.04, 0.01), "born": (0.99, 0.01), "street": (0.995, 0.005), "town": (0.995, 0.005)}
OWN = {"name": True, "born": True, "street": False, "town": False}
VARIABLES = tuple(
    Variable(
        name,
        OWN[name],
        (0.1, 0.9) if len(m) == 2 else (0.1, 0.2, 0.7),
        (0.98, 0.02) if len(m) == 2 else (0.9, 0.08, 0.02),
    )
    for name, m in MATCH.items()
)
ALONE = tuple((i,) for i in range(len(VARIABLES)))


def draw(
    n: int, rng: np.random.Generator, related: float = SHARE_RELATED, twins: bool = False
) -> tuple[LevelArray, np.ndarray]:
    """Levels of n random pairs and their class (0: U, 1: M, 2: H); 2 % missing; `twins`: town follows street."""
    kind = rng.choice(3, size=n, p=[1 - SHARE_MATCH - related, SHARE_MATCH, related])
    columns = []
    for name in MATCH:
        unrelated = rng.choice(len(UNRELATED[name]), size=n, p=UNRELATED[name])
        match = rng.choice(len(MATCH[name]), size=n, p=MATCH[name])
        of_related = unrelated if OWN[name] else match
        columns.append(np.where(kind == 1, match, np.where(kind == 2, of_related, unrelated)))
    if twins:
        columns[3] = np.where((kind == 0) & (rng.random(n) < 0.1), columns[2], columns[3])
    levels = np.column_stack(columns).astype(np.int8)
    levels[rng.random(levels.shape) < 0.02] = -1
    return levels, kind


def fitted(
    levels: LevelArray, groups: tuple[tuple[int, ...], ...] = ALONE, has_related: bool = True
) -> PopulationModel:
    patterns = Patterns.of(levels)
    return fit(patterns, patterns, float(len(levels)), N_RECORDS, VARIABLES, groups, has_related, 60)


def test_patterns_then_counts_and_index_give_the_rows_back() -> None:
    levels = np.array([[1, -1], [0, 2], [1, -1], [-1, 0]], dtype=np.int8)
    patterns = Patterns.of(levels)
    assert len(patterns.counts) == 3
    assert patterns.counts.sum() == 4
    assert (patterns.levels[patterns.index] == levels).all()


def test_fit_when_pairs_are_drawn_from_a_known_mixture_then_it_is_found_again() -> None:
    levels, kind = draw(1_000_000, np.random.default_rng(1))
    model = fitted(levels)
    assert model.share_match == pytest.approx((kind == 1).mean(), rel=0.1)
    assert model.share_related == pytest.approx((kind == 2).mean(), rel=0.5)
    for name in MATCH:
        m, u = model.margins(name)
        assert m == pytest.approx(np.array(MATCH[name]), abs=0.04)
        assert u == pytest.approx(np.array(UNRELATED[name]), abs=0.005)


def test_fit_when_related_pairs_are_many_then_they_are_no_matches() -> None:
    levels, kind = draw(500_000, np.random.default_rng(2), related=0.01)
    p_match, _ = posteriors(fitted(levels), levels)
    shares_home_only = (kind == 2) & (levels[:, 0] == 0) & (levels[:, 1] == 0)
    assert p_match[shares_home_only].mean() < 0.01
    assert p_match[kind == 1].mean() > 0.8
    without = posteriors(fitted(levels, has_related=False), levels)[0]
    assert without[kind == 2].mean() > 5 * p_match[kind == 2].mean()


def test_fit_when_nobody_is_related_then_the_class_dies_out() -> None:
    levels, _ = draw(500_000, np.random.default_rng(3), related=0.0)
    model = fitted(levels)
    assert model.share_related < 0.1 * model.share_match


def test_fit_when_most_pairs_are_not_candidates_then_they_count_as_unrelated() -> None:
    levels, kind = draw(500_000, np.random.default_rng(4), related=0.0)
    is_candidate = (levels > 0).sum(axis=1) >= 2
    model = fit(
        Patterns.of(levels[is_candidate]),
        Patterns.of(levels),
        float(len(levels)),
        N_RECORDS,
        VARIABLES,
        ALONE,
        True,
        60,
    )
    assert model.share_match == pytest.approx((kind == 1).mean(), rel=0.15)


def test_fit_on_a_handful_of_pairs_then_expectations_decide() -> None:
    levels = np.array([[2, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]], dtype=np.int8)
    patterns = Patterns.of(levels)
    model = fit(patterns, patterns, 3.0, 3, VARIABLES, ALONE, True, 20)
    p_match, _ = posteriors(model, levels)
    assert p_match[0] > 0.9
    assert p_match[1:].max() < 0.1


def test_dependent_groups_when_two_fields_repeat_each_other_then_they_are_joined() -> None:
    candidates = Patterns.of(draw(500_000, np.random.default_rng(5), related=0.0)[0])
    model = fit(candidates, candidates, 500_000.0, N_RECORDS, VARIABLES, ALONE, False, 30)
    random = Patterns.of(draw(500_000, np.random.default_rng(9), related=0.0, twins=True)[0])
    assert dependent_groups(model, candidates, random) == ((0,), (1,), (2, 3))


def test_dependent_groups_when_fields_are_independent_then_none_is_joined() -> None:
    levels, _ = draw(500_000, np.random.default_rng(6), related=0.0)
    patterns = Patterns.of(levels)
    model = fit(patterns, patterns, float(len(levels)), N_RECORDS, VARIABLES, ALONE, False, 30)
    assert dependent_groups(model, patterns, patterns) == ALONE


def test_block_estimate_then_it_sums_to_one_within_each_pattern_of_missing_values() -> None:
    block = Block((0, 2), VARIABLES)
    counts = np.random.default_rng(7).random(block.n_cells) * 50
    priors = [np.array(VARIABLES[i].prior_match) for i in block.members]
    table = block.estimate(counts, priors, 5.0, 5.0)
    assert np.bincount(block.missing, weights=table) == pytest.approx(np.ones(4))


def test_block_related_then_own_fields_agree_as_rarely_as_among_unrelated_pairs() -> None:
    block = Block((0, 2), VARIABLES)
    rng = np.random.default_rng(8)
    complete = block.missing == 0
    shared, unrelated = (np.where(complete, rng.random(block.n_cells), 0) for _ in range(2))
    shared, unrelated = shared / shared.sum(), unrelated / unrelated.sum()
    related = block.related(shared, unrelated)
    assert block.margin(related, 0) == pytest.approx(block.margin(unrelated, 0))
    assert block.related(shared, unrelated).sum() == pytest.approx(1.0)
