"""Evidence agglomeration: groups of records are joined while all evidence between them speaks for one person.

Belongs here: the merging of a component, and of many small ones at once, as matrices. Does not belong here: finding
components, must-links, labels of customers (resolution.py), or how a pair is scored.

For groups A and B with n = |A||B| pairs and n_eff = n / (1 + (n - 1) rho):

    score = ln(prior match) + n_eff mean(ln m/u) - ln(1 + exp(ln(prior related) + n_eff mean(ln h/u)))

so a single chance agreement cannot chain two people together, as it does in connected components: the pairs that
disagree are heard too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Priors:
    """Natural logs: prior odds of a match, and of a related pair against an unrelated one (-inf: no such class)."""

    log_match: float
    log_related: float


def scores(
    match_sum: FloatArray, related_sum: FloatArray, n_pairs: FloatArray, priors: Priors, rho: float
) -> FloatArray:
    """Log odds that the groups are one person; arguments of equal shape, sums over the groups' pairs."""
    weight = 1.0 / (1.0 + (n_pairs - 1.0) * rho)
    for_match = priors.log_match + weight * match_sum
    if np.isneginf(priors.log_related):
        return for_match
    return for_match - np.logaddexp(0.0, priors.log_related + weight * related_sum)


def agglomerate(
    match_sum: FloatArray,
    related_sum: FloatArray,
    sizes: FloatArray,
    forbidden: BoolArray,
    priors: Priors,
    rho: float,
    min_score: float,
    max_size: float = np.inf,
) -> IntArray:
    """Joins groups, best score first, until no pair of groups reaches `min_score`.

    Args:
        match_sum: (k, k), symmetric; sums of ln m/u over all pairs of records between two groups.
        related_sum: (k, k), symmetric; likewise of ln h/u.
        sizes: (k,), records per group.
        forbidden: (k, k), symmetric; groups that must stay apart, also after they have grown.
        priors: of the module's formula.
        rho: of the module's formula.
        min_score: groups are joined from here up.
        max_size: merges into more records than this are refused.

    Returns:
        (k,) the smallest index of the group that each of the k belongs to in the end. Ties go to the lowest index.
    """
    k = len(sizes)
    labels = np.arange(k, dtype=np.int64)
    match_sum, related_sum, sizes, forbidden = match_sum.copy(), related_sum.copy(), sizes.copy(), forbidden.copy()
    np.fill_diagonal(forbidden, True)
    score = scores(match_sum, related_sum, np.outer(sizes, sizes), priors, rho)
    score[forbidden | (np.add.outer(sizes, sizes) > max_size)] = -np.inf
    partner = score.argmax(axis=1)
    best = score[np.arange(k), partner]
    while True:
        i = int(best.argmax())
        if not best[i] >= min_score:
            return labels
        i, j = sorted((i, int(partner[i])))
        labels[labels == j] = i
        for matrix in (match_sum, related_sum):
            matrix[i] += matrix[j]
            matrix[:, i] = matrix[i]
        sizes[i] += sizes[j]
        sizes[j] = np.inf
        forbidden[i] |= forbidden[j]
        forbidden[:, i] = forbidden[i]
        forbidden[j] = forbidden[:, j] = True
        row = np.full(k, -np.inf)
        open_ = ~forbidden[i] & (sizes + sizes[i] <= max_size)
        row[open_] = scores(match_sum[i, open_], related_sum[i, open_], sizes[i] * sizes[open_], priors, rho)
        score[i] = score[:, i] = row
        score[j] = score[:, j] = -np.inf
        stale = np.flatnonzero((partner == i) | (partner == j))
        better = row > best
        partner[better], best[better] = i, row[better]
        stale = np.union1d(stale, (i, j))
        partner[stale] = score[stale].argmax(axis=1)
        best[stale] = score[stale, partner[stale]]


def agglomerate_many(
    match_sum: FloatArray,
    related_sum: FloatArray,
    sizes: FloatArray,
    forbidden: BoolArray,
    priors: Priors,
    rho: float,
    min_score: float,
    max_size: float = np.inf,
) -> IntArray:
    """`agglomerate` for many components of equally many groups at once.

    Args:
        match_sum: (n, k, k); see `agglomerate`.
        related_sum: (n, k, k); see `agglomerate`.
        sizes: (n, k), records per group.
        forbidden: (n, k, k); see `agglomerate`.
        priors: of the module's formula.
        rho: of the module's formula.
        min_score: groups are joined from here up.
        max_size: merges into more records than this are refused.

    Returns:
        (n, k) as `agglomerate` gives them for each component.
    """
    n, k = sizes.shape
    labels = np.tile(np.arange(k, dtype=np.int64), (n, 1))
    match_sum, related_sum, sizes, forbidden = match_sum.copy(), related_sum.copy(), sizes.copy(), forbidden.copy()
    forbidden[:, np.arange(k), np.arange(k)] = True
    score = scores(match_sum, related_sum, sizes[:, :, None] * sizes[:, None, :], priors, rho)
    score[forbidden | (sizes[:, :, None] + sizes[:, None, :] > max_size)] = -np.inf
    for _ in range(k - 1):
        best = score.reshape(n, k * k).argmax(axis=1)
        i, j = best // k, best % k
        c = np.flatnonzero(score[np.arange(n), i, j] >= min_score)
        if len(c) == 0:
            break
        i, j = np.minimum(i[c], j[c]), np.maximum(i[c], j[c])
        labels[c] = np.where(labels[c] == j[:, None], i[:, None], labels[c])
        for matrix in (match_sum, related_sum):
            row = matrix[c, i] + matrix[c, j]
            # An element of a group's row and column is the same number: the cell of i with i is never read.
            matrix[c, i] = row
            matrix[c, :, i] = row
        sizes[c, i] += sizes[c, j]
        sizes[c, j] = np.inf
        apart = forbidden[c, i] | forbidden[c, j]
        forbidden[c, i] = apart
        forbidden[c, :, i] = apart
        forbidden[c, j] = True
        forbidden[c, :, j] = True
        together = sizes[c, i][:, None] + sizes[c]
        is_open = ~forbidden[c, i] & (together <= max_size) & np.isfinite(together)
        n_pairs = np.where(is_open, sizes[c, i][:, None] * sizes[c], 1.0)
        row = np.where(is_open, scores(match_sum[c, i], related_sum[c, i], n_pairs, priors, rho), -np.inf)
        score[c, i] = row
        score[c, :, i] = row
        score[c, j] = -np.inf
        score[c, :, j] = -np.inf
    return labels
