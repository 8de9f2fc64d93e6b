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

from cx_pipeline.core.errors import EngineError, Problem
from cx_pipeline.identity.agglomeration import FloatArray, IntArray
from cx_pipeline.identity.fields import Kind
from cx_pipeline.identity.hashing import Codes, Hasher, combined
from cx_pipeline.identity.model import Comparison, expected_levels, max_disagreement
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population_em import (
    Block,
    LevelArray,
    Patterns,
    PopulationModel,
    Variable,
    dependent_groups,
    fit,
)
from cx_pipeline.identity.term_frequency import TermFrequency

_NAME_KINDS = (Kind.GIVEN_NAME, Kind.SURNAME, Kind.FULL_NAME)
_MAX_CHANNELS = 12
_LOG_2 = float(np.log(2.0))
ComparedPairs = tuple[IntArray, IntArray, LevelArray]


@dataclass(frozen=True)
class PairScorer:
    """What pairs of levels and values are worth, as learnt once: holds no record and no value, only hashes of frequent ones.

    Attributes:
        model: the estimate.
        chosen: comparisons, in the order of the levels' columns.
        of_organisations: or of persons.
        channels: the pairs of channels that the model tells apart.
        frequencies: of the values of comparisons (by their numbers), each alone or several together.
    """

    model: PopulationModel
    chosen: tuple[Comparison, ...]
    of_organisations: bool
    channels: ChannelPairs
    frequencies: dict[tuple[int, ...], TermFrequency]

    def edges(
        self, values: RecordValues, left: IntArray, right: IntArray, levels: LevelArray, min_log_odds: float
    ) -> pl.DataFrame:
        """One row per pair with a score of `min_log_odds` or more; columns as in linkage.EDGE_SCHEMA.

        A pair's row depends on its two records alone, not on which other pairs are scored with it.
        """
        with_channels = self.channels.appended_to(levels, values.channel_codes(self.channels), left, right)
        match, related = self.model.log_ratios(with_channels)
        self._add_frequencies(match, related, values, left, levels)
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

    def _add_frequencies(
        self, match: FloatArray, related: FloatArray, values: RecordValues, left: IntArray, levels: LevelArray
    ) -> None:
        top = np.array([comparison.n_levels - 1 for comparison in self.chosen])
        agrees = levels == top[None, :]
        for block in self.model.blocks:
            for members, rows in _frequency_rows(self.chosen, block.members, agrees):
                adjustment = values.adjustments(self, members)[left[rows]]
                match[rows] += adjustment
                if not any(self.chosen[member].field.is_own(self.of_organisations) for member in members):
                    related[rows] += adjustment

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

    def described(self) -> dict[str, Any]:
        """The model as JSON-ready data, without the frequencies of values."""
        model = self.model
        return {
            "share_match": model.share_match,
            "share_related": model.share_related,
            "n_pairs": model.n_pairs,
            "channel_pairs": self.channels.labels,
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

    def as_dict(self) -> dict[str, Any]:
        """All that scoring needs, JSON-ready."""
        return self.described() | {
            "channels": list(self.channels.names),
            "frequencies": [
                {"fields": [self.chosen[i].field.name for i in members]} | frequency.as_dict()
                for members, frequency in self.frequencies.items()
            ],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any], chosen: tuple[Comparison, ...], of_organisations: bool) -> PairScorer:
        """What `as_dict` gave, for the same comparisons.

        Raises:
            EngineError: where the comparisons' levels are not those that the model was learnt with.
        """
        channels = ChannelPairs(tuple(stored["channels"]))
        variables = _variables(chosen, of_organisations, channels)
        place = {variable.name: i for i, variable in enumerate(variables)}
        groups = [tuple(place.get(name, -1) for name in block["fields"]) for block in stored["blocks"]]
        if sorted(i for group in groups for i in group) != list(range(len(variables))):
            raise EngineError(_unlike("its fields are not those of its blocks"))
        blocks = tuple(Block(group, variables) for group in groups)
        if [list(block.radices) for block in blocks] != [block["levels"] for block in stored["blocks"]]:
            raise EngineError(_unlike("fields have other levels now"))
        match, related, unrelated = (
            tuple(np.array(block[kind]) for block in stored["blocks"]) for kind in ("match", "related", "unrelated")
        )
        shares = stored["share_match"], stored["share_related"]
        model = PopulationModel(variables, blocks, *shares, match, related, unrelated, stored["n_pairs"], 0)
        frequencies = {
            tuple(place[name] for name in item["fields"]): TermFrequency.from_dict(item)
            for item in stored["frequencies"]
        }
        return cls(model, chosen, of_organisations, channels, frequencies)


def _unlike(what: str) -> Problem:
    return Problem(
        f"the stored linkage model does not fit this version: {what}", "models/linkage", remedy="cx train linkage"
    )


@dataclass(frozen=True)
class ChannelPairs:
    """The unordered pair of channels of two records, as one more variable: learns softly which channels repeat people.

    Attributes:
        names: the channels that are told apart, sorted; none where there is a single one, or very many.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, channel: pl.Series) -> ChannelPairs:
        """Those of a set of records."""
        names = tuple(channel.unique().sort().to_list())
        return cls(names if 1 < len(names) <= _MAX_CHANNELS else ())

    @property
    def labels(self) -> list[str]:
        """Names of the levels."""
        return [f"{self.names[a]} & {self.names[b]}" for a, b in zip(*np.triu_indices(len(self.names)), strict=True)]

    def codes(self, channel: pl.Series) -> IntArray:
        """(n,) the number of each record's channel, -1 for one that is not told apart."""
        if not self.names:
            return np.full(len(channel), -1, dtype=np.int64)
        numbers = range(len(self.names))
        return channel.replace_strict(list(self.names), numbers, default=-1, return_dtype=pl.Int64).to_numpy()

    def share(self, levels: LevelArray) -> tuple[float, ...]:
        """How random pairs, whose pair of channels is the last column, spread over the pairs of channels."""
        counts = np.bincount(levels[:, -1][levels[:, -1] >= 0], minlength=len(self.labels)) + 0.5
        return tuple((counts / counts.sum()).tolist())

    def appended_to(self, levels: LevelArray, codes: IntArray, left: IntArray, right: IntArray) -> LevelArray:
        """`levels` with the pair of channels as a last column, where they are told apart; -1 for a channel not known."""
        if not self.names:
            return levels
        n = len(self.names)
        number = np.full((n + 1, n + 1), -1, dtype=np.int8)
        first, second = np.triu_indices(n)
        number[first, second] = number[second, first] = np.arange(len(first))
        return np.column_stack([levels, number[codes[left], codes[right]]])


class RecordValues:
    """What scoring reads of the records beside the levels of their pairs: channels and the frequencies of values.

    Args:
        table: the comparison table.
        hasher: under the key that the model was learnt with.
    """

    def __init__(self, table: pl.DataFrame, hasher: Hasher) -> None:
        self._table = table
        self._hasher = hasher
        self._hashes: dict[str, Codes] = {}
        self._channel_codes: dict[tuple[str, ...], IntArray] = {}
        self._adjustments: dict[tuple[bool, tuple[int, ...]], FloatArray] = {}

    @property
    def n_records(self) -> int:
        """Rows of the table."""
        return self._table.height

    def channel_codes(self, channels: ChannelPairs) -> IntArray:
        """(n,) see ChannelPairs.codes."""
        if channels.names not in self._channel_codes:
            self._channel_codes[channels.names] = channels.codes(self._table["channel"])
        return self._channel_codes[channels.names]

    def hashes(self, chosen: tuple[Comparison, ...], members: tuple[int, ...]) -> Codes:
        """(n,) hashed values of one comparison's column, or of several together."""
        columns = [chosen[i].tf_column or "" for i in members]
        for column in columns:
            if column not in self._hashes:
                self._hashes[column] = self._hasher.lasting(self._table[column])
        return combined([self._hashes[column] for column in columns]) >> np.uint64(12 if len(members) > 1 else 0)

    def adjustments(self, scorer: PairScorer, members: tuple[int, ...]) -> FloatArray:
        """(n,) what agreement on each record's value adds, see TermFrequency."""
        key = (scorer.of_organisations, members)
        if key not in self._adjustments:
            hashes = self.hashes(scorer.chosen, members)
            self._adjustments[key] = scorer.frequencies[members].adjustments(hashes)
        return self._adjustments[key]


def _variables(
    chosen: tuple[Comparison, ...], of_organisations: bool, channels: ChannelPairs, share: tuple[float, ...] = ()
) -> tuple[Variable, ...]:
    fields = tuple(
        Variable(
            comparison.field.name,
            comparison.field.is_own(of_organisations),
            *expected_levels(comparison),
            max_disagreement(comparison),
        )
        for comparison in chosen
    )
    if not channels.names:
        return fields
    share = share or (1.0 / len(channels.labels),) * len(channels.labels)
    return (*fields, Variable("channel_pair", False, share, share))


def estimate_population(
    values: RecordValues,
    channel: pl.Series,
    chosen: tuple[Comparison, ...],
    candidates: ComparedPairs,
    rate: float,
    drawn: ComparedPairs,
    n_pairs: float,
    of_organisations: bool,
    policy: LinkagePolicy,
) -> PairScorer:
    """Fits the population model, joins dependent fields and fits again.

    Args:
        values: of the records.
        channel: of the records.
        chosen: comparisons, in the order of the levels' columns.
        candidates: left, right, levels of the pairs that blocking found, or of a sample of them.
        rate: the sample's share of those pairs.
        drawn: left, right, levels of random pairs.
        n_pairs: of the population.
        of_organisations: or of persons.
        policy: bounds.
    """
    channels = ChannelPairs.of(channel)
    codes = values.channel_codes(channels)
    drawn_levels = channels.appended_to(drawn[2], codes, drawn[0], drawn[1])
    share = channels.share(drawn_levels) if channels.names else ()
    variables = _variables(chosen, of_organisations, channels, share)
    found = _patterns(channels.appended_to(candidates[2], codes, candidates[0], candidates[1]), rate)
    random = _patterns(drawn_levels, 1.0)
    names = tuple(i for i, comparison in enumerate(chosen) if comparison.field.kind in _NAME_KINDS)
    groups = ((names,) if names else ()) + tuple((i,) for i in range(len(variables)) if i not in names)
    joined: tuple[tuple[int, ...], ...] = groups
    n_records = values.n_records
    if n_records >= policy.min_records_for_dependence:
        # Without class H, which would explain dependent fields away as related people.
        plain = fit(found, random, n_pairs, n_records, variables, groups, False, policy.max_em_iterations)
        joined = dependent_groups(plain, found, random)
    model = fit(found, random, n_pairs, n_records, variables, joined, True, policy.max_em_iterations)
    frequencies = {
        members: TermFrequency.learn(values.hashes(chosen, members), policy.max_values_per_field)
        for block in model.blocks
        for members in _frequency_members(chosen, block.members)
    }
    return PairScorer(model, chosen, of_organisations, channels, frequencies)


def refitted(
    scorer: PairScorer, values: RecordValues, candidates: ComparedPairs, drawn: ComparedPairs, policy: LinkagePolicy
) -> PairScorer:
    """The same variables and blocks, estimated from more candidates."""
    codes = values.channel_codes(scorer.channels)
    found, random = (
        _patterns(scorer.channels.appended_to(levels, codes, left, right), 1.0)
        for left, right, levels in (candidates, drawn)
    )
    old = scorer.model
    groups = tuple(block.members for block in old.blocks)
    bounds = values.n_records, old.variables, groups, True, policy.max_em_iterations
    return replace(scorer, model=fit(found, random, old.n_pairs, *bounds))


def _patterns(levels: LevelArray, rate: float) -> Patterns:
    counted = Patterns.of(levels)
    return counted if rate == 1.0 else replace(counted, counts=counted.counts / rate)


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
