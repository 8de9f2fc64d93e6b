"""Splink at work: compares candidate pairs inside its own embedded DuckDB, trains or is given a model, scores.

Belongs here: everything that opens the engine or calls Splink. Does not belong here: the choice of comparisons and
blocking keys (model.py, blocking.py), the estimator over the whole population (population_em.py), clusters
(resolution.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cx_pipeline.identity.agglomeration import BoolArray, FloatArray, IntArray
from cx_pipeline.identity.blocking import (
    BlockCodes,
    all_pairs,
    block_codes,
    candidate_pairs,
    two_step_pairs,
    unpacked,
)
from cx_pipeline.identity.fields import Kind, choose_fields, comparison_columns, party_kind, token_frequencies
from cx_pipeline.identity.hashing import Hasher
from cx_pipeline.identity.incremental import (
    LinkageState,
    are_candidates,
    carried_over,
    difference,
    fingerprints,
    merged_codes,
    read_codes,
    stored_codes,
    touched_pairs,
)
from cx_pipeline.identity.key_choice import choose_keys, possible_keys, sample_pairs
from cx_pipeline.identity.linkage_model import LinkageModel
from cx_pipeline.identity.model import (
    Comparison,
    atoms,
    comparisons,
    numbering,
    splink_settings,
    training_rules,
)
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population import Population
from cx_pipeline.identity.population_em import LevelArray
from cx_pipeline.identity.scoring import PairScorer, RecordValues
from cx_pipeline.identity.training import LevelsOf, budget, estimate

if TYPE_CHECKING:
    import duckdb
    from splink import Linker
    from splink.internals.duckdb.database_api import DuckDBAPI

EDGE_SCHEMA: dict[str, type[pl.DataType]] = {
    "left": pl.Int64,
    "right": pl.Int64,
    "match_weight": pl.Float64,
    "probability": pl.Float64,
    "log_match_ratio": pl.Float64,
    "log_related_ratio": pl.Float64,
    "log_prior_match": pl.Float64,
    "log_prior_related": pl.Float64,
}
PAIR_SCHEMA = EDGE_SCHEMA | {"is_candidate": pl.Boolean}
_PAIR = ("left", "right", "is_candidate")
_LOG_2 = float(np.log(2.0))
_PAIRS_PER_BATCH = 2_000_000
_ROUNDING = 1e-6
_MOST = 0.5


@dataclass(frozen=True)
class Linkage:
    """What linking gives.

    Attributes:
        edges: `EDGE_SCHEMA`; one row per unordered pair (left < right) that is not hopeless: match_weight in log2
            odds, its probability, and its parts (natural logs) for resolution: ln m/u, ln h/u, and the two constant
            priors.
        model: `splink`: settings JSON of the trained model; `identity`: our own part. JSON-ready.
        report: counts of pairs and what was learnt; no personal data.
        state: what the next night can take over; None where that pays nothing: a small set, plain Splink.
    """

    edges: pl.DataFrame
    model: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    state: LinkageState | None = None


def train(
    records: pl.DataFrame, policy: LinkagePolicy, duplicate_free: frozenset[str], hash_key: str = ""
) -> LinkageModel | None:
    """Learns a model from records; None where no column names anybody or there is no pair that could match.

    Args:
        records: what `number_records` gives: standardised rows, `record` = 0 .. n-1 in row order.
        policy: budgets and the kind of model.
        duplicate_free: channels that hold one record per person; pairs within them are never scored.
        hash_key: of the hashes by which the model knows frequent values.
    """
    fields = choose_fields(records)
    if not fields:
        return None
    hasher = Hasher(hash_key)
    has_names = any(one.kind is Kind.FULL_NAME for one in fields)
    tokens = token_frequencies(records, hasher, policy.max_values_per_field) if has_names else None
    table = comparison_columns(records, fields, hasher, tokens)
    population = Population(table, duplicate_free)
    codes = block_codes(table, atoms(fields), hasher)
    sample = sample_pairs(codes, possible_keys(atoms(fields), codes.tokens is not None), policy)
    chosen = comparisons(fields)
    if not population.may_match(*unpacked(sample.pairs, table.height)).any():
        return None
    values = RecordValues(table, hasher)
    max_pairs = budget(table.height, policy) * table.height
    with _Engine(table, policy).opened() as engine:
        rules = tuple(training_rules(table, chosen))
        if policy.model == "splink":
            chosen = tuple(comparison for comparison in chosen if comparison.tf_column)
            learnt, settings = _train_splink(engine, chosen, rules, policy)
            match = _splink_probabilities(engine, settings, *unpacked(sample.pairs, table.height))
            scorers: dict[str, PairScorer] = {}
        else:
            found = estimate(table, values, chosen, sample, population, engine.levels_of(chosen), policy)
            scorers, learnt, match = found.scorers, found.learnt, found.match
            first = next(iter(scorers.values()))
            settings = _saved(
                engine.linker(
                    splink_settings(
                        chosen, first.model.share_match, rules, use_term_frequencies=True, estimate=first.margins()
                    )
                )
            )
    keys = choose_keys(sample, match, max_pairs)
    parts = policy.model, fields, keys, tokens, scorers, settings
    model = LinkageModel(*parts, records.height, hasher.fingerprint, learnt)
    # What a stored model gives and a fresh one must be the same to the last digit.
    return LinkageModel.from_dict(json.loads(json.dumps(model.as_dict())))


def link(
    records: pl.DataFrame,
    policy: LinkagePolicy,
    duplicate_free: frozenset[str],
    model: LinkageModel | None = None,
    hash_key: str = "",
    previous: LinkageState | None = None,
) -> Linkage:
    """Scores the pairs of records that may be one person or organisation.

    Args:
        records: what `number_records` gives: standardised rows, `record` = 0 .. n-1 in row order.
        policy: budgets; the kind of model where one is to be trained.
        duplicate_free: channels that hold one record per person; pairs within them are never scored.
        model: the model in use; None: one is trained on these records.
        hash_key: that the model was trained under.
        previous: what last night left; pairs of unchanged records are taken from there. The edges are the same without it.

    Returns:
        edges, model, report and state; no edges (and no model) where no column names anybody or there is no pair.
    """
    report: dict[str, Any] = {"n_records": records.height, "model": policy.model}
    model = model or train(records, policy, duplicate_free, hash_key)
    if model is None:
        reason = "no candidate pairs" if choose_fields(records) else "no field names anybody"
        return Linkage(pl.DataFrame(schema=EDGE_SCHEMA), {}, report | {"reason": reason})
    report |= {"model": model.kind, "fields": [one.label for one in model.fields], "learnt": model.learnt}
    night = _Night(records, policy, duplicate_free, model, Hasher(hash_key))
    if records.height <= policy.all_pairs_up_to_records:
        pairs = night.possible(all_pairs(records.height))
        edges, state = night.scored(pairs, policy.min_edge_log_odds), None
        report["blocking"] = {"n_pairs": len(pairs), "n_scored_pairs": len(pairs)}
    else:
        edges, state, report["blocking"] = night.linked(previous)
    return Linkage(edges, model.described(), report | {"n_edges": edges.height}, state)


@dataclass(frozen=True)
class ComparedPair:
    """Two records compared under a model, for whoever explains their score.

    Attributes:
        edge: `EDGE_SCHEMA`, one row: what a night would make of them.
        levels: (1, comparisons) of the model's comparisons.
        values: what scoring reads of the two, numbered 0 and 1.
        of_organisations: whether the pair is scored as organisations.
        is_possible: false where a night does not score it: two kinds of party, or one duplicate-free channel.
    """

    edge: pl.DataFrame
    levels: LevelArray
    values: RecordValues
    of_organisations: bool
    is_possible: bool


def compare_pair(
    records: pl.DataFrame, policy: LinkagePolicy, duplicate_free: frozenset[str], model: LinkageModel, hash_key: str
) -> ComparedPair:
    """Compares and scores two records as `link` does.

    Args:
        records: two rows of what `number_records` gives, numbered 0 and 1 in the order of that table.
        policy: of the linkage.
        duplicate_free: channels that hold one record per person.
        model: the model in use.
        hash_key: that the model was trained under.
    """
    night = _Night(records, policy, duplicate_free, model, Hasher(hash_key))
    left, right = np.array([0]), np.array([1])
    table = night.table()
    with _Engine(table, policy).opened() as engine:
        levels = engine.levels_of(model.comparisons)(left, right)
    return ComparedPair(
        night.scored(all_pairs(2), -np.inf),
        levels,
        RecordValues(table, night.hasher),
        bool(night.population.concerns_organisations(left, right)[0]),
        bool(night.population.may_match(left, right)[0]),
    )


class _Night:
    """One set of records under one model."""

    def __init__(
        self,
        records: pl.DataFrame,
        policy: LinkagePolicy,
        duplicate_free: frozenset[str],
        model: LinkageModel,
        hasher: Hasher,
    ) -> None:
        self.records = records
        self.policy = policy
        self.model = model
        self.hasher = hasher
        self.signature = _signature(model, policy, duplicate_free, hasher)
        kinds = records.select("channel", party_kind())
        self.population = Population(kinds, duplicate_free)
        self._table: pl.DataFrame | None = None
        used = {label for key in model.keys for label in key.atoms}
        self._atoms = [atom for atom in atoms(model.fields) if atom.label in used]

    def table(self, rows: IntArray | None = None) -> pl.DataFrame:
        """The comparison table of some records, numbered anew from 0, or of all."""
        if rows is not None:
            some = self.records[rows].with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("record"))
            return comparison_columns(some, self.model.fields, self.hasher, self.model.tokens)
        if self._table is None:
            self._table = comparison_columns(self.records, self.model.fields, self.hasher, self.model.tokens)
        return self._table

    def possible(self, pairs: IntArray) -> IntArray:
        """Those of the packed pairs that can be one party at all."""
        return pairs[self.population.may_match(*unpacked(pairs, self.population.n_records))]

    def linked(self, previous: LinkageState | None) -> tuple[pl.DataFrame, LinkageState | None, dict[str, Any]]:
        """Edges, what the next night may take over, and counts."""
        prints = fingerprints(self.records, self.hasher)
        takes_over = previous is not None and previous.signature == self.signature
        changes = difference(previous.records, prints) if takes_over and previous else None
        n = self.records.height
        report: dict[str, Any] = {}
        if changes is None or previous is None:
            codes = block_codes(self.table(), self._atoms, self.hasher)
            pairs, report["keys"] = candidate_pairs(codes, self.model.keys)
            kept = pl.DataFrame(schema=PAIR_SCHEMA)
        else:
            changed = np.flatnonzero(changes.is_changed)
            before = read_codes(previous.records)
            codes = merged_codes(before, block_codes(self.table(changed), self._atoms, self.hasher), changes)
            touched = touched_pairs(self.model.keys, before, codes, changes)
            pairs = touched.to_score
            kept = self._reviewed(carried_over(previous.pairs, changes), touched.in_doubt, codes)
            report["n_changed_records"] = len(changed)
        pairs = self.possible(pairs)
        fresh = self.scored(pairs, self.policy.min_edge_log_odds).with_columns(is_candidate=pl.lit(True))
        candidates = pl.concat([_without(kept.filter("is_candidate"), pairs, n), fresh])
        steps = self._steps(candidates)
        known = kept.filter(~pl.col("is_candidate"))
        known = known.filter(pl.Series(np.isin(_packed(known, n), steps, assume_unique=True)))
        new = np.setdiff1d(steps, np.concatenate([_packed(known, n), pairs]))
        more = self.scored(new, -np.inf).with_columns(is_candidate=pl.lit(False))
        # Candidates too unlikely to be kept that are two steps apart, too: the next night need not score them again.
        hopeless = _hopeless(np.setdiff1d(np.intersect1d(steps, pairs, assume_unique=True), _packed(known, n)), n)
        scored = pl.concat([candidates, known, more, hopeless]).sort("left", "right")
        report |= {"n_pairs": len(pairs), "n_closure_pairs": len(new), "n_scored_pairs": len(pairs) + len(new)}
        state = LinkageState(self.signature, prints.hstack(stored_codes(codes)), scored) if self.model.scorers else None
        return _likely_enough(scored.drop("is_candidate"), self.policy.min_edge_log_odds), state, report

    def _reviewed(self, kept: pl.DataFrame, in_doubt: BoolArray, codes: BlockCodes) -> pl.DataFrame:
        left, right = kept["left"].to_numpy(), kept["right"].to_numpy()
        is_candidate = kept["is_candidate"].to_numpy().copy()
        rows = np.flatnonzero(is_candidate & in_doubt[left] & in_doubt[right])
        is_candidate[rows] = are_candidates(self.model.keys, codes, left[rows], right[rows])
        return kept.with_columns(pl.Series("is_candidate", is_candidate))

    def _steps(self, candidates: pl.DataFrame) -> IntArray:
        """Two-step pairs that are not candidates themselves; none for Splink's own model, which they would harm."""
        n = self.population.n_records
        if self.policy.max_closure_neighbours == 0 or not self.model.scorers:
            return np.empty(0, dtype=np.int64)
        steps = two_step_pairs(candidates, n, self.policy.max_closure_neighbours)
        return self.possible(np.setdiff1d(steps, _packed(candidates, n), assume_unique=True))

    def scored(self, pairs: IntArray, min_log_odds: float) -> pl.DataFrame:
        """`EDGE_SCHEMA`, sorted: the packed pairs with a score of `min_log_odds` or more, compared and scored batch by batch."""
        if len(pairs) == 0:
            return pl.DataFrame(schema=EDGE_SCHEMA)
        left, right = unpacked(pairs, self.population.n_records)
        is_needed = np.zeros(self.population.n_records, dtype=np.bool_)
        is_needed[left] = is_needed[right] = True
        rows = None if self.model.kind == "splink" or is_needed.mean() > _MOST else np.flatnonzero(is_needed)
        table = self.table(rows)
        own = np.arange(table.height) if rows is None else np.cumsum(is_needed) - 1
        is_about = self.population.concerns_organisations(left, right)
        with _Engine(table, self.policy).opened() as engine:
            if not self.model.scorers:
                found = _splink_edges(engine, self.model.splink, left, right)
            else:
                found = self._weighed(engine, table, own[left], own[right], is_about, min_log_odds)
        if rows is not None:
            numbers = (pl.Series(side, rows[found[side].to_numpy()]) for side in ("left", "right"))
            found = found.with_columns(*numbers)
        return _likely_enough(found, min_log_odds).sort("left", "right")

    def _weighed(
        self,
        engine: _Engine,
        table: pl.DataFrame,
        left: IntArray,
        right: IntArray,
        is_about: BoolArray,
        min_log_odds: float,
    ) -> pl.DataFrame:
        values = RecordValues(table, self.hasher)
        levels_of = engine.levels_of(self.model.comparisons)
        found = [pl.DataFrame(schema=EDGE_SCHEMA)]
        for of_organisations in (False, True):
            rows = np.flatnonzero(is_about == of_organisations)
            scorer = self.model.scorer(of_organisations)
            for start in range(0, len(rows), _PAIRS_PER_BATCH):
                batch = rows[start : start + _PAIRS_PER_BATCH]
                levels = levels_of(left[batch], right[batch])
                # The bound is applied to what is stored, the rounded score.
                scored = scorer.edges(values, left[batch], right[batch], levels, min_log_odds - _ROUNDING)
                found.append(_rounded(scored))
        return pl.concat(found)


def _signature(model: LinkageModel, policy: LinkagePolicy, duplicate_free: frozenset[str], hasher: Hasher) -> str:
    """Of all that decides an edge beside the records."""
    from importlib.metadata import version

    parts = [
        model.as_dict(),
        [[one.null_sql, one.levels] for one in model.comparisons],
        [policy.max_closure_neighbours, policy.min_edge_log_odds, policy.all_pairs_up_to_records],
        sorted(duplicate_free),
        hasher.fingerprint,
        [version(name) for name in ("polars", "duckdb", "splink", "numpy")],
    ]
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _packed(pairs: pl.DataFrame, n_records: int) -> IntArray:
    packed: IntArray = pairs["left"].to_numpy() * n_records + pairs["right"].to_numpy()
    return packed


def _hopeless(pairs: IntArray, n_records: int) -> pl.DataFrame:
    left, right = unpacked(pairs, n_records)
    numbers = {name: pl.lit(-np.inf if name == "match_weight" else 0.0) for name in PAIR_SCHEMA if name not in _PAIR}
    rows = pl.DataFrame({"left": left, "right": right}).with_columns(**(numbers | {"is_candidate": pl.lit(False)}))
    return rows.select(pl.col(name).cast(dtype) for name, dtype in PAIR_SCHEMA.items())


def _without(pairs: pl.DataFrame, packed: IntArray, n_records: int) -> pl.DataFrame:
    if len(packed) == 0 or pairs.is_empty():
        return pairs
    place = np.minimum(np.searchsorted(packed, _packed(pairs, n_records)), len(packed) - 1)
    return pairs.filter(pl.Series(packed[place] != _packed(pairs, n_records)))


def _likely_enough(scored: pl.DataFrame, min_log_odds: float) -> pl.DataFrame:
    return scored.filter(pl.col("match_weight") * _LOG_2 >= min_log_odds)


class _Engine:
    """An own in-memory DuckDB with the comparison table, and Splink on top of it."""

    def __init__(self, table: pl.DataFrame, policy: LinkagePolicy) -> None:
        self.table = table
        self.policy = policy
        self._connection: duckdb.DuckDBPyConnection
        self._api: DuckDBAPI

    @contextmanager
    def opened(self) -> Iterator[_Engine]:
        import duckdb
        from splink import DuckDBAPI

        # Splink warns of each level it did not see; the report says what was learnt.
        logging.getLogger("splink").setLevel(logging.ERROR)
        config: dict[str, str | bool | int | float | list[str]] = {}
        if self.policy.memory_limit_gb is not None:
            config["memory_limit"] = f"{self.policy.memory_limit_gb}GB"
        if self.policy.n_threads is not None:
            config["threads"] = self.policy.n_threads
        self._connection = duckdb.connect(":memory:", config=config)
        try:
            self._connection.register("comparison_source", self.table.drop("channel").to_arrow())
            self._connection.execute("CREATE TABLE comparison_table AS SELECT * FROM comparison_source ORDER BY record")
            self._connection.unregister("comparison_source")
            self._api = DuckDBAPI(self._connection)
            yield self
        finally:
            self._connection.close()

    def linker(self, settings: dict[str, Any]) -> Linker:
        """A linker over the comparison table."""
        from splink import Linker

        return Linker(self._api.register("comparison_table"), settings, log_level=None)

    def compare(self, linker: Linker, left: IntArray, right: IntArray, columns: str) -> Iterator[pl.DataFrame]:
        """Splink's predictions for the given pairs, batch by batch: record_l, record_r and the SQL `columns`."""
        for start in range(0, len(left), _PAIRS_PER_BATCH):
            batch = slice(start, start + _PAIRS_PER_BATCH)
            pairs = pl.DataFrame({"match_key": "0", "join_key_l": left[batch], "join_key_r": right[batch]})
            self._connection.register("pair_batch_source", pairs.to_arrow())
            self._connection.execute("CREATE OR REPLACE TABLE pair_batch AS SELECT * FROM pair_batch_source")
            self._connection.unregister("pair_batch_source")
            linker.table_management.register_blocked_pairs_for_predict(self._api.register("pair_batch"))
            predicted = linker.inference.predict(warning_mode="never")
            scored = self._connection.sql(
                f"SELECT record_l, record_r, {columns} FROM {predicted.physical_name} ORDER BY record_l, record_r"
            ).pl()
            predicted.drop_table_from_database_and_remove_from_cache()
            yield scored

    def levels_of(self, chosen: tuple[Comparison, ...]) -> LevelsOf:
        """How Splink compares pairs: (pairs, comparisons) levels, by match weights that are numbers of levels."""
        settings = splink_settings(chosen, 0.5, (), use_term_frequencies=False, estimate=numbering(chosen))
        linker = self.linker(settings)
        names = [comparison.field.name for comparison in chosen]
        columns = ", ".join(f'(round("mw_{name}") - 1)::TINYINT AS "level_{name}"' for name in names)

        def levels_of(left: IntArray, right: IntArray) -> LevelArray:
            batches = [
                batch.select(pl.exclude("record_l", "record_r")).to_numpy()
                for batch in self.compare(linker, left, right, columns)
            ]
            return np.concatenate(batches) if batches else np.empty((0, len(names)), dtype=np.int8)

        return levels_of


def _saved(linker: Linker) -> dict[str, Any]:
    """Splink's settings as plain data, without the random name of the linker and the last bits of parallel sums."""
    text = json.dumps(linker.misc.save_model_to_json())
    settings: dict[str, Any] = json.loads(text, parse_float=lambda number: float(f"{float(number):.9g}"))
    settings.pop("linker_uid", None)
    return settings


def _rounded(scored: pl.DataFrame) -> pl.DataFrame:
    """Rounded, so that the last bits of sums made by several threads do not reach a table."""
    return scored.select(
        pl.col(name).cast(dtype).round(9) if dtype == pl.Float64 else pl.col(name).cast(dtype)
        for name, dtype in EDGE_SCHEMA.items()
    )


def _splink_edges(engine: _Engine, settings: dict[str, Any], left: IntArray, right: IntArray) -> pl.DataFrame:
    """Plain Splink's own scores: its weights, its term frequencies of tonight's records."""
    prior = float(np.clip(settings["probability_two_random_records_match"], 1e-12, 0.5))
    log_prior = float(np.log(prior) - np.log1p(-prior))
    scored = pl.concat(engine.compare(engine.linker(settings), left, right, "match_weight, match_probability"))
    return _rounded(
        scored.select(
            left=pl.min_horizontal("record_l", "record_r"),
            right=pl.max_horizontal("record_l", "record_r"),
            match_weight="match_weight",
            probability="match_probability",
            log_match_ratio=pl.col("match_weight") * _LOG_2 - log_prior,
            log_related_ratio=pl.lit(0.0),
            log_prior_match=pl.lit(log_prior),
            log_prior_related=pl.lit(-np.inf),
        )
    )


def _splink_probabilities(engine: _Engine, settings: dict[str, Any], left: IntArray, right: IntArray) -> FloatArray:
    linker = engine.linker(settings)
    batches = [
        batch["match_probability"].to_numpy() for batch in engine.compare(linker, left, right, "match_probability")
    ]
    return np.concatenate(batches)


def _train_splink(
    engine: _Engine, chosen: tuple[Comparison, ...], rules: tuple[str, ...], policy: LinkagePolicy
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain Splink: u from random pairs, m by expectation maximisation in blocks. What was learnt, and the settings."""
    from splink.internals.exceptions import EMTrainingException, SplinkException

    n = engine.table.height
    linker = engine.linker(splink_settings(chosen, 1.0 / max(n, 2), rules, use_term_frequencies=True))
    learnt: dict[str, Any] = {"trained_on": []}
    if not rules:
        return learnt | {"reason": "no field repeats: levels keep their default weights"}, _saved(linker)
    linker.training.estimate_probability_two_random_records_match([*rules[:2]], recall=0.6)
    linker.training.estimate_u_using_random_sampling(max_pairs=float(policy.n_random_pairs), seed=policy.seed)
    for rule in rules:
        try:
            linker.training.estimate_parameters_using_expectation_maximisation(
                rule, estimate_without_term_frequencies=True
            )
        except (EMTrainingException, SplinkException) as error:
            # Where a rule fixes every field nothing is left to learn from it.
            learnt.setdefault("not_trained_on", []).append(type(error).__name__)
        else:
            learnt["trained_on"].append(rule)
    settings = _saved(linker)
    return learnt | {"prior": settings["probability_two_random_records_match"]}, settings
