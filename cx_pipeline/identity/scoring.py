"""From levels to scores: the estimate for one set of records, and the score of any pair under it.

Belongs here: which variables and blocks the estimator gets, term frequencies, the score's formula, the model as data. Does not
belong here: the estimator itself (population_em.py) and the comparing (linkage.py).

    score = ln(prior match) + sum ln m/u + TF - ln(1 + exp(ln(prior related) + sum ln h/u + TF of shared fields))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.identity.agglomeration import FloatArray, IntArray
from cx_pipeline.identity.fields import Kind
from cx_pipeline.identity.model import Comparison, expected_levels
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population_em import LevelArray, Patterns, PopulationModel, Variable, dependent_groups, fit
from cx_pipeline.identity.term_frequency import TermFrequency

_NAME_KINDS = (Kind.GIVEN_NAME, Kind.SURNAME, Kind.FULL_NAME)
_MAX_CHANNELS = 12
_LOG_2 = float(np.log(2.0))
ComparedPairs = tuple[IntArray, IntArray, LevelArray]


@dataclass(frozen=True)
class PairScorer:
    """Scores compared pairs of the records it was made for."""

    model: PopulationModel
    chosen: tuple[Comparison, ...]
    of_organisations: bool
    n_records: int
    sources: ChannelPairs
    frequencies: dict[tuple[int, ...], TermFrequency]

    def edges(self, left: IntArray, right: IntArray, levels: LevelArray, min_log_odds: float) -> pl.DataFrame:
        """One row per pair with a score of `min_log_odds` or more; columns as in linkage.EDGE_SCHEMA."""
        patterns = Patterns.of(self.sources.appended_to(levels, left, right))
        by_match, by_related = self.model.log_ratios(patterns.levels)
        match, related = by_match[patterns.index], by_related[patterns.index]
        self._add_frequencies(match, related, left, levels)
        priors = self.model.priors
        score = priors.log_match + match - np.logaddexp(0.0, priors.log_related + related)
        keep = score >= min_log_odds
        score = score[keep]
        return pl.DataFrame(
            {
                "left": left[keep],
                "right": right[keep],
                "match_weight": score / _LOG_2,
                "probability": 1.0 / (1.0 + np.exp(-score)),
                "log_match_ratio": match[keep],
                "log_related_ratio": related[keep],
                "log_prior_match": np.full(len(score), priors.log_match),
                "log_prior_related": np.full(len(score), priors.log_related),
            }
        )

    def _add_frequencies(self, match: FloatArray, related: FloatArray, left: IntArray, levels: LevelArray) -> None:
        top = np.array([comparison.n_levels - 1 for comparison in self.chosen])
        agrees = levels == top[None, :]
        for block in self.model.blocks:
            for members, rows in _frequency_rows(self.chosen, block.members, agrees):
                adjustment = self.frequencies[members].adjustments(left[rows])
                match[rows] += adjustment
                if not any(self.chosen[member].field.is_own(self.of_organisations) for member in members):
                    related[rows] += adjustment

    def refitted(self, candidates: ComparedPairs, drawn: ComparedPairs, policy: LinkagePolicy) -> PairScorer:
        """The same variables and blocks, estimated from more candidates."""
        found = Patterns.of(self.sources.appended_to(candidates[2], candidates[0], candidates[1]))
        random = Patterns.of(self.sources.appended_to(drawn[2], drawn[0], drawn[1]))
        groups = tuple(block.members for block in self.model.blocks)
        n_records, n_pairs = self.n_records, self.model.n_pairs
        model = fit(found, random, n_pairs, n_records, self.model.variables, groups, True, policy.max_em_iterations)
        return replace(self, model=model)

    def learnt(self) -> dict[str, Any]:
        """What a report says of the estimate."""
        model = self.model
        return {
            "expected_matches": model.share_match * model.n_pairs,
            "expected_related": model.share_related * model.n_pairs,
            "joined_fields": [
                [variable.name for variable in block.variables]
                for block in model.blocks
                if len(block.members) > 1 and not all(self.chosen[i].field.kind in _NAME_KINDS for i in block.members)
            ],
            "n_iterations": model.n_iterations,
        }

    def margins(self) -> dict[str, tuple[list[float], list[float]]]:
        """M and u of each comparison on its own, lowest level first, for Splink's settings and charts."""
        result = {}
        for comparison in self.chosen:
            m, u = self.model.margins(comparison.field.name)
            result[comparison.field.name] = (
                np.clip(m, 1e-9, 1).round(9).tolist(),
                np.clip(u, 1e-9, 1).round(9).tolist(),
            )
        return result

    def as_dict(self) -> dict[str, Any]:
        """The model as JSON-ready data."""
        model = self.model
        return {
            "share_match": model.share_match,
            "share_related": model.share_related,
            "n_pairs": model.n_pairs,
            "channel_pairs": self.sources.labels,
            "blocks": [
                {
                    "fields": [variable.name for variable in block.variables],
                    "levels": list(block.radices),
                    "match": np.round(m, 12).tolist(),
                    "related": np.round(h, 12).tolist(),
                    "unrelated": np.round(u, 12).tolist(),
                }
                for block, m, h, u in zip(model.blocks, model.match, model.related, model.unrelated, strict=True)
            ],
        }


class ChannelPairs:
    """The unordered pair of channels of two records, as one more variable: learns softly which channels repeat people."""

    def __init__(self, channel: pl.Series) -> None:
        names = channel.unique().sort().to_list()
        self._n = len(names) if 1 < len(names) <= _MAX_CHANNELS else 0
        self.labels: list[str] = []
        if self._n:
            self._code = channel.replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
            first, second = np.triu_indices(self._n)
            self.labels = [f"{names[a]} & {names[b]}" for a, b in zip(first, second, strict=True)]
            self._number = np.zeros((self._n, self._n), dtype=np.int8)
            self._number[first, second] = self._number[second, first] = np.arange(len(first))

    def variable(self, share: FloatArray | None) -> tuple[Variable, ...]:
        """None for a single channel (or very many); `share`: (pairs of channels,) of all pairs of records."""
        if share is None:
            return ()
        return (Variable("channel_pair", False, tuple(share.tolist()), tuple(share.tolist())),)

    def share(self, left: IntArray, right: IntArray) -> FloatArray | None:
        """How random pairs spread over the pairs of channels."""
        if not self._n:
            return None
        counts = np.bincount(self._number[self._code[left], self._code[right]], minlength=len(self.labels)) + 0.5
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def appended_to(self, levels: LevelArray, left: IntArray, right: IntArray) -> LevelArray:
        """`levels` with the pair of channels as a last column, where there is one."""
        if not self._n:
            return levels
        return np.column_stack([levels, self._number[self._code[left], self._code[right]]])


def estimate_population(
    table: pl.DataFrame,
    chosen: tuple[Comparison, ...],
    candidates: ComparedPairs,
    drawn: ComparedPairs,
    n_pairs: float,
    of_organisations: bool,
    policy: LinkagePolicy,
) -> PairScorer:
    """Fits the population model, joins dependent fields and fits again.

    Args:
        table: the comparison table.
        chosen: comparisons, in the order of the levels' columns.
        candidates: left, right, levels of the pairs that blocking found.
        drawn: left, right, levels of random pairs.
        n_pairs: of the population.
        of_organisations: or of persons.
        policy: bounds.
    """
    sources = ChannelPairs(table["channel"])
    variables = tuple(
        Variable(comparison.field.name, comparison.field.is_own(of_organisations), *expected_levels(comparison))
        for comparison in chosen
    ) + sources.variable(sources.share(drawn[0], drawn[1]))
    found = Patterns.of(sources.appended_to(candidates[2], candidates[0], candidates[1]))
    random = Patterns.of(sources.appended_to(drawn[2], drawn[0], drawn[1]))
    names = tuple(i for i, comparison in enumerate(chosen) if comparison.field.kind in _NAME_KINDS)
    groups = ((names,) if names else ()) + tuple((i,) for i in range(len(variables)) if i not in names)
    is_large = table.height >= policy.min_records_for_dependence
    joined: tuple[tuple[int, ...], ...] = groups
    if is_large:
        # Without class H, which would explain dependent fields away as related people.
        plain = fit(found, random, n_pairs, table.height, variables, groups, False, policy.max_em_iterations)
        joined = dependent_groups(plain, found, random)
    model = fit(found, random, n_pairs, table.height, variables, joined, True, policy.max_em_iterations)
    frequencies = {
        members: TermFrequency(table.select(pl.col(chosen[i].tf_column or "") for i in members))
        for block in model.blocks
        for members in _frequency_members(chosen, block.members)
    }
    return PairScorer(model, chosen, of_organisations, table.height, sources, frequencies)


def _frequency_members(chosen: tuple[Comparison, ...], block: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Which comparisons' values are counted: each alone, and the dependent ones of a block together."""
    counted = [i for i in block if i < len(chosen) and chosen[i].tf_column]
    dependent = tuple(i for i in counted if chosen[i].field.kind not in _NAME_KINDS)
    return [(i,) for i in counted] + ([dependent] if len(dependent) > 1 else [])


def _frequency_rows(
    chosen: tuple[Comparison, ...], block: tuple[int, ...], agrees: np.ndarray[Any, np.dtype[np.bool_]]
) -> list[tuple[tuple[int, ...], IntArray]]:
    """For each counted group the rows it adjusts: dependent fields together where all agree, else one by one."""
    members = _frequency_members(chosen, block)
    together = members[-1] if members and len(members[-1]) > 1 else ()
    all_agree = agrees[:, list(together)].all(axis=1) if together else np.zeros(len(agrees), dtype=np.bool_)
    rows = []
    for group in members:
        if len(group) > 1:
            rows.append((group, np.flatnonzero(all_agree)))
        else:
            alone = agrees[:, group[0]] & ~all_agree if group[0] in together else agrees[:, group[0]]
            rows.append((group, np.flatnonzero(alone)))
    return rows
