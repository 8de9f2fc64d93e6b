from __future__ import annotations

import numpy as np
import pytest

from cx_pipeline.identity.agglomeration import Priors, agglomerate, scores


def symmetric(k: int, entries: dict[tuple[int, int], float], otherwise: float) -> np.ndarray:
    matrix = np.full((k, k), otherwise)
    for (i, j), value in entries.items():
        matrix[i, j] = matrix[j, i] = value
    return matrix


def test_scores_of_one_pair_then_prior_plus_evidence() -> None:
    one = np.ones(1)
    assert scores(5 * one, 0 * one, one, Priors(-3.0, -np.inf), 2 / 3)[0] == pytest.approx(2.0)
    expected = -3.0 + 5.0 - np.log1p(np.exp(-1.0 + 4.0))
    assert scores(5 * one, 4 * one, one, Priors(-3.0, -1.0), 2 / 3)[0] == pytest.approx(expected)


@pytest.mark.parametrize(("rho", "worth"), [(0.0, 4.0), (1.0, 1.0), (2 / 3, 4 / 3)], ids=["new", "repeated", "between"])
def test_scores_of_four_pairs_then_worth_their_effective_number(rho: float, worth: float) -> None:
    n = np.array([4.0])
    assert scores(8 * np.ones(1), np.zeros(1), n, Priors(0.0, -np.inf), rho)[0] == pytest.approx(2.0 * worth)


def test_agglomerate_when_related_evidence_is_as_strong_then_not_joined() -> None:
    match, related = symmetric(2, {(0, 1): 6.0}, 0.0), symmetric(2, {(0, 1): 9.0}, 0.0)
    arguments = (np.ones(2), np.zeros((2, 2), dtype=bool))
    assert agglomerate(match, related, *arguments, Priors(-2.0, -1.0), 2 / 3, 0.0).tolist() == [0, 1]
    assert agglomerate(match, related, *arguments, Priors(-2.0, -np.inf), 2 / 3, 0.0).tolist() == [0, 0]


def test_agglomerate_then_same_partition_as_a_naive_search() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        k = int(rng.integers(2, 12))
        noise = rng.normal(0, 5, (k, k))
        match = noise + noise.T
        related = np.zeros((k, k))
        fast = agglomerate(match, related, np.ones(k), np.zeros((k, k), dtype=bool), Priors(-1.0, -np.inf), 0.5, 0.0)
        assert fast.tolist() == naive(match, -1.0, 0.5)


def naive(match: np.ndarray, prior: float, rho: float) -> list[int]:
    groups = [[i] for i in range(len(match))]
    while True:
        best, pair = 0.0, None
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                between = match[np.ix_(groups[a], groups[b])]
                score = prior + between.sum() / (1 + (between.size - 1) * rho)
                if score >= best and (pair is None or score > best):
                    best, pair = score, (a, b)
        if pair is None:
            break
        groups[pair[0]] = sorted(groups[pair[0]] + groups.pop(pair[1]))
    labels = [0] * len(match)
    for group in groups:
        for member in group:
            labels[member] = group[0]
    return labels
