"""How much each agreement is worth, learnt without labels from all pairs of a population.

Belongs here: the mixture of three kinds of pairs and its estimation from counted comparison patterns. Does not belong here:
comparing records (Splink does), the frequencies of single values (term_frequency.py), clusters.

Kinds: M, one person or organisation; H, related but not the same (a household, namesakes at one address); U, unrelated. The
likelihood is over all N(N-1)/2 pairs: pairs that blocking did not find count as U, so no recall has to be guessed, no
deterministic rule has to give a prior, and no block biases the result (Fellegi & Sunter 1969; Winkler 1988 for the estimation).
Fields that depend on one another are one block with a joint table, shrunk to the product of its margins; everything else is
independent given the kind. A missing value is no evidence: tables are normalised within each pattern of missing values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from cx_pipeline.identity.agglomeration import FloatArray, IntArray, Priors

LevelArray = npt.NDArray[np.int8]

_JOINT_STRENGTH_MATCH = 5.0
_JOINT_STRENGTH_UNRELATED = 20.0
_MARGIN_STRENGTH_MATCH = 30.0
_MARGIN_STRENGTH_UNRELATED = 20.0
_TINY = 1e-12
_CONVERGED = 1e-4
_MAX_CELLS = 20_000
_MIN_LIFT = 3.0
_MIN_EXCESS_PAIRS = 10.0
_MIN_LOG_RATIO = 1.0


@dataclass(frozen=True)
class Variable:
    """A comparison as the estimator sees it.

    Attributes:
        name: of the comparison.
        is_own: not shared by related parties: in class H it agrees as rarely as in U.
        prior_match: (levels,) what is expected of matches before any data, lowest level ("anything else") first.
        prior_unrelated: (levels,) likewise of unrelated pairs.
        max_disagreement: more matches than this share cannot have "anything else" where both values are there. Without this
            bound the estimation may settle on another kind of pair than matches, such as namesakes.
    """

    name: str
    is_own: bool
    prior_match: tuple[float, ...]
    prior_unrelated: tuple[float, ...]
    max_disagreement: float = 1.0

    @property
    def n_levels(self) -> int:
        """Levels without "nothing to compare"."""
        return len(self.prior_match)


@dataclass(frozen=True)
class Patterns:
    """Distinct rows of levels with how many pairs show them.

    Attributes:
        levels: (p, variables) int8; -1: nothing to compare, 0: anything else, up to the best level.
        counts: (p,) pairs.
        index: (pairs,) row of `levels` for each pair that was counted.
    """

    levels: LevelArray
    counts: FloatArray
    index: IntArray

    @classmethod
    def of(cls, levels: LevelArray) -> Patterns:
        """Counts the rows of (pairs, variables) levels."""
        if len(levels) == 0:
            return cls(levels, np.empty(0), np.empty(0, dtype=np.int64))
        key = np.zeros(len(levels), dtype=np.int64)
        for column in levels.T:
            key = key * (int(column.max()) + 2) + (column.astype(np.int64) + 1)
        _, first, index, counts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        return cls(levels[first], counts.astype(np.float64), index)


class Block:
    """Variables that are judged together, and the numbering of their joint cells (first digit of each: missing)."""

    def __init__(self, members: tuple[int, ...], variables: tuple[Variable, ...]) -> None:
        self.members = members
        self.variables = tuple(variables[i] for i in members)
        self.radices = tuple(variable.n_levels + 1 for variable in self.variables)
        self.digits = np.array(list(product(*(range(radix) for radix in self.radices))), dtype=np.int64)
        self.missing = (self.digits == 0) @ (1 << np.arange(len(members)))

    @property
    def n_cells(self) -> int:
        """Cells of the joint table."""
        return len(self.digits)

    def cells(self, levels: LevelArray) -> IntArray:
        """(p,) the cell of each row of levels."""
        cell = np.zeros(len(levels), dtype=np.int64)
        for member, radix in zip(self.members, self.radices, strict=True):
            cell = cell * radix + levels[:, member] + 1
        return cell

    def margin(self, table: FloatArray, place: int) -> FloatArray:
        """(levels,) sums of a table over all cells in which the variable at `place` is present."""
        sums = np.bincount(self.digits[:, place], weights=table, minlength=self.radices[place])
        return sums[1:].astype(np.float64)

    def estimate(
        self, counts: FloatArray, priors: list[FloatArray], margin_strength: float, joint: float
    ) -> FloatArray:
        """Cell probabilities within each pattern of missing values, shrunk to the product of the margins."""
        expected = np.ones(self.n_cells)
        for place, prior in enumerate(priors):
            margin = self.margin(counts, place) + margin_strength * prior
            margin /= margin.sum()
            expected *= np.r_[1.0, margin][self.digits[:, place]]
        if len(self.members) == 1:
            return expected
        totals = np.bincount(self.missing, weights=counts)[self.missing]
        table: FloatArray = (counts + joint * expected) / (totals + joint)
        return table

    def related(self, shared: FloatArray, unrelated: FloatArray) -> FloatArray:
        """`shared` with the margins of own variables as among unrelated pairs (raked, pattern of missing by pattern).

        What goes together stays together: a surname, the tokens of the full name and, among namesakes, the given name.
        """
        if all(variable.is_own for variable in self.variables):
            return unrelated.copy()
        result = shared.copy()
        for place, variable in enumerate(self.variables):
            if variable.is_own:
                slot = self.missing * self.radices[place] + self.digits[:, place]
                have, want = np.bincount(slot, weights=result)[slot], np.bincount(slot, weights=unrelated)[slot]
                result *= want / np.maximum(have, _TINY)
        return result


@dataclass(frozen=True)
class PopulationModel:
    """The estimate.

    Attributes:
        variables, blocks: what the tables are about.
        share_match, share_related: of all pairs of the population.
        match, related, unrelated: one table of cell probabilities per block.
        n_pairs: pairs in the population.
        n_iterations: until it settled.
    """

    variables: tuple[Variable, ...]
    blocks: tuple[Block, ...]
    share_match: float
    share_related: float
    match: tuple[FloatArray, ...]
    related: tuple[FloatArray, ...]
    unrelated: tuple[FloatArray, ...]
    n_pairs: float
    n_iterations: int

    @property
    def priors(self) -> Priors:
        """Log odds before any evidence."""
        share_unrelated = 1.0 - self.share_match - self.share_related
        related = np.log(self.share_related / share_unrelated) if self.share_related > 0 else -np.inf
        return Priors(float(np.log(self.share_match / share_unrelated)), float(related))

    def log_ratios(self, levels: LevelArray) -> tuple[FloatArray, FloatArray]:
        """(p,) ln m/u and ln h/u of rows of levels."""
        return self.log_ratios_of_cells([block.cells(levels) for block in self.blocks])

    def log_ratios_of_cells(self, cells: list[IntArray]) -> tuple[FloatArray, FloatArray]:
        """Likewise of rows whose cells, one array per block, are known."""
        match, related = np.zeros(len(cells[0])), np.zeros(len(cells[0]))
        for cell, m, h, u in zip(cells, self.match, self.related, self.unrelated, strict=True):
            match += np.log(np.maximum(m, _TINY) / np.maximum(u, _TINY))[cell]
            related += np.log(np.maximum(h, _TINY) / np.maximum(u, _TINY))[cell]
        return match, related

    def margins(self, name: str) -> tuple[FloatArray, FloatArray]:
        """(levels,) m and u of one variable where all of its block is present."""
        for block, m, u in zip(self.blocks, self.match, self.unrelated, strict=True):
            for place, variable in enumerate(block.variables):
                if variable.name == name:
                    complete = block.missing == 0
                    return block.margin(m * complete, place), block.margin(u * complete, place)
        raise KeyError(name)


def fit(
    candidates: Patterns,
    random: Patterns,
    n_pairs: float,
    n_records: int,
    variables: tuple[Variable, ...],
    groups: tuple[tuple[int, ...], ...],
    has_related: bool,
    max_iterations: int,
) -> PopulationModel:
    """Estimates shares and tables by expectation maximisation.

    Args:
        candidates: the pairs that blocking found; every other pair of the population counts as unrelated.
        random: random pairs of the population; weighted by their probability of U they show how unrelated pairs look.
        n_pairs: pairs in the population.
        n_records: the shares begin at 1 / n_records.
        variables: in the order of the patterns' columns.
        groups: a partition of the variables' numbers into blocks.
        has_related: whether there is a class H.
        max_iterations: at most.
    """
    blocks = tuple(Block(group, variables) for group in groups)
    cells = [block.cells(candidates.levels) for block in blocks]
    random_cells = [block.cells(random.levels) for block in blocks]
    match_priors = [[np.array(variable.prior_match) for variable in block.variables] for block in blocks]
    unrelated_priors = [[np.array(variable.prior_unrelated) for variable in block.variables] for block in blocks]

    def tables(
        of: list[IntArray], weights: FloatArray, priors: list[list[FloatArray]], s: float, a: float
    ) -> list[FloatArray]:
        return [
            block.estimate(_sums(cell, weights, block.n_cells), prior, s, a)
            for block, cell, prior in zip(blocks, of, priors, strict=True)
        ]

    match = tables(cells, np.zeros_like(candidates.counts), match_priors, 1.0, _JOINT_STRENGTH_MATCH)
    # In a small set the matches are a large part even of random pairs: the first look at them is through the expectations.
    expected = tables(random_cells, np.zeros_like(random.counts), unrelated_priors, 1.0, _JOINT_STRENGTH_UNRELATED)
    start = 1.0 / max(n_records, 4)
    nobody = tuple(expected)
    first = PopulationModel(variables, blocks, start, 0.0, tuple(match), nobody, nobody, n_pairs, 0)
    unrelated = tables(
        random_cells,
        (1 - _posteriors_of_cells(first, random_cells)[0]) * random.counts,
        unrelated_priors,
        _MARGIN_STRENGTH_UNRELATED,
        _JOINT_STRENGTH_UNRELATED,
    )
    related = [block.related(m, u) for block, m, u in zip(blocks, match, unrelated, strict=True)]
    share_match = start
    share_related = share_match if has_related else 0.0
    share_drawn = random.counts.sum() / n_pairs
    iteration = 0
    for iteration in range(1, max_iterations + 1):
        model = PopulationModel(
            variables,
            blocks,
            share_match,
            share_related,
            tuple(match),
            tuple(related),
            tuple(unrelated),
            n_pairs,
            iteration,
        )
        p_match, p_related = _posteriors_of_cells(model, cells)
        q_match, q_related = _posteriors_of_cells(model, random_cells)
        for place, factor in _too_much_disagreement(variables, candidates, p_match):
            p_match = np.where(candidates.levels[:, place] == 0, p_match * factor, p_match)
            q_match = np.where(random.levels[:, place] == 0, q_match * factor, q_match)
        before = (share_match, share_related)
        share_match = float(np.clip((p_match @ candidates.counts) / n_pairs, 0.01 / n_pairs, 0.5))
        match = tables(cells, p_match * candidates.counts, match_priors, _MARGIN_STRENGTH_MATCH, _JOINT_STRENGTH_MATCH)
        unrelated = [
            block.estimate(
                # A rare cell is hardly drawn at random, but nearly all of its pairs are candidates.
                np.maximum(
                    _sums(drawn, (1 - q_match - q_related) * random.counts, block.n_cells),
                    _sums(cell, (1 - p_match - p_related) * candidates.counts, block.n_cells) * share_drawn,
                ),
                prior,
                _MARGIN_STRENGTH_UNRELATED,
                _JOINT_STRENGTH_UNRELATED,
            )
            for block, drawn, cell, prior in zip(blocks, random_cells, cells, unrelated_priors, strict=True)
        ]
        if has_related:
            share_related = float(np.clip((p_related @ candidates.counts) / n_pairs, 0.01 / n_pairs, 0.4))
            free = tables(
                cells, p_related * candidates.counts, match_priors, _MARGIN_STRENGTH_MATCH, _JOINT_STRENGTH_MATCH
            )
            related = [block.related(h, u) for block, h, u in zip(blocks, free, unrelated, strict=True)]
        moved = max(abs(share_match - before[0]), abs(share_related - before[1])) / share_match
        if iteration > 5 and moved < _CONVERGED:
            break
    return PopulationModel(
        variables,
        blocks,
        share_match,
        share_related,
        tuple(match),
        tuple(related),
        tuple(unrelated),
        n_pairs,
        iteration,
    )


def _too_much_disagreement(
    variables: tuple[Variable, ...], candidates: Patterns, p_match: FloatArray
) -> list[tuple[int, float]]:
    """Variables in which more matches disagree than can be, and the factor that brings their weight down to the bound.

    Constraining the expectations of the E-step keeps the estimation out of modes in which M is another kind of pair than a
    match, such as namesakes (posterior regularisation: Ganchev, Graca, Gillenwater, Taskar 2010).
    """
    weights = p_match * candidates.counts
    found = []
    for place, variable in enumerate(variables):
        level = candidates.levels[:, place]
        disagrees, agrees = float(weights[level == 0].sum()), float(weights[level > 0].sum())
        most = variable.max_disagreement
        if most < 1.0 and disagrees * (1.0 - most) > agrees * most:
            found.append((place, agrees * most / ((1.0 - most) * disagrees)))
    return found


def _sums(cells: IntArray, weights: FloatArray, n_cells: int) -> FloatArray:
    return np.bincount(cells, weights=weights, minlength=n_cells).astype(np.float64)


def posteriors(model: PopulationModel, levels: LevelArray) -> tuple[FloatArray, FloatArray]:
    """(p,) probabilities of M and of H for rows of levels."""
    return _posteriors_of_cells(model, [block.cells(levels) for block in model.blocks])


def _posteriors_of_cells(model: PopulationModel, cells: list[IntArray]) -> tuple[FloatArray, FloatArray]:
    match, related = model.log_ratios_of_cells(cells)
    priors = model.priors
    match += priors.log_match
    related = related + priors.log_related if model.share_related > 0 else np.full(len(match), -np.inf)
    total = np.logaddexp(np.logaddexp(match, related), 0.0)
    return np.exp(match - total), np.exp(related - total)


def dependent_groups(model: PopulationModel, candidates: Patterns, random: Patterns) -> tuple[tuple[int, ...], ...]:
    """The model's blocks, those joined whose fields agree together among unrelated pairs far more often than by chance.

    Looked at are random pairs whose other comparisons speak against a match: two fields that agree together more
    than three times as often as their frequencies predict (beyond the matches that are to be expected among such pairs) are
    not independent evidence: a postcode and its city, an age and a birth date.
    """
    groups = [set(block.members) for block in model.blocks]
    against = _log_ratios_by_block(model, random.levels)
    of_matches = _log_ratios_by_block(model, candidates.levels)
    matches = posteriors(model, candidates.levels)[0] * candidates.counts
    # The share of the population that the random pairs are: so many matches are among them.
    drawn = random.counts.sum() / model.n_pairs
    speaks_for = []
    for variable in model.variables:
        m, u = model.margins(variable.name)
        speaks_for.append(np.log(np.maximum(m, _TINY) / np.maximum(u, _TINY)) > _MIN_LOG_RATIO)

    def agrees(patterns: Patterns, variable: int) -> npt.NDArray[np.bool_]:
        level = patterns.levels[:, variable]
        result: npt.NDArray[np.bool_] = (level >= 0) & speaks_for[variable][np.maximum(level, 0)]
        return result

    found: list[tuple[float, int, int]] = []
    for i, j in combinations(range(len(model.blocks)), 2):
        weight = random.counts * (against.sum(axis=1) - against[:, i] - against[:, j] < -_MIN_LOG_RATIO)
        others_of_matches = of_matches.sum(axis=1) - of_matches[:, i] - of_matches[:, j]
        unlike = drawn * matches * (others_of_matches < -_MIN_LOG_RATIO)
        for a, b in product(model.blocks[i].members, model.blocks[j].members):
            agree_a, agree_b = agrees(random, a), agrees(random, b)
            present_a, present_b = random.levels[:, a] >= 0, random.levels[:, b] >= 0
            n = weight @ (present_a & present_b)
            expected = (weight @ (agree_a & present_b)) * (weight @ (agree_b & present_a)) / max(n, 1.0)
            observed = weight @ (agree_a & agree_b) - unlike @ (agrees(candidates, a) & agrees(candidates, b))
            if observed > _MIN_LIFT * expected and observed - expected >= _MIN_EXCESS_PAIRS:
                found.append((observed / max(expected, _TINY), i, j))
    return _join(model, groups, found)


def _log_ratios_by_block(model: PopulationModel, levels: LevelArray) -> FloatArray:
    columns = [
        np.log(np.maximum(m, _TINY) / np.maximum(u, _TINY))[block.cells(levels)]
        for block, m, u in zip(model.blocks, model.match, model.unrelated, strict=True)
    ]
    return np.column_stack(columns)


def _join(
    model: PopulationModel, groups: list[set[int]], found: list[tuple[float, int, int]]
) -> tuple[tuple[int, ...], ...]:
    """Unites the groups of the dependent blocks (lift, i, j), strongest first, as long as the joint table stays small."""
    owner = list(range(len(groups)))
    for _, i, j in sorted(found, reverse=True):
        first, second = owner[i], owner[j]
        joined = groups[first] | groups[second]
        n_cells = np.prod([model.variables[k].n_levels + 1 for k in joined])
        if first != second and n_cells <= _MAX_CELLS:
            groups[first] = joined
            owner = [first if group == second else group for group in owner]
    return tuple(tuple(sorted(groups[k])) for k in sorted(set(owner)))
