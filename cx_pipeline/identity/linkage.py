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
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cx_pipeline.identity.agglomeration import IntArray
from cx_pipeline.identity.blocking import Candidates, candidate_pairs, closure_pairs
from cx_pipeline.identity.fields import choose_fields, comparison_columns
from cx_pipeline.identity.model import Comparison, atoms, comparisons, numbering, splink_settings, training_rules
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population import Population
from cx_pipeline.identity.population_em import LevelArray
from cx_pipeline.identity.scoring import PairScorer, estimate_population

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
_LOG_2 = float(np.log(2.0))
_PAIRS_PER_BATCH = 1_000_000


@dataclass(frozen=True)
class Linkage:
    """What linking gives.

    Attributes:
        edges: `EDGE_SCHEMA`; one row per unordered pair (left < right) that is not hopeless: match_weight in log2
            odds, its probability, and its parts (natural logs) for resolution: ln m/u, ln h/u, and the two constant
            priors.
        model: `splink`: settings JSON of the trained model; `identity`: our own part. JSON-ready.
        report: counts of pairs and what was learnt; no personal data.
    """

    edges: pl.DataFrame
    model: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def link(records: pl.DataFrame, policy: LinkagePolicy, duplicate_free: frozenset[str]) -> Linkage:
    """Scores the pairs of records that may be one person or organisation.

    Args:
        records: what `number_records` gives: standardised rows, `record` = 0 .. n-1 in row order.
        policy: budgets and the model to use.
        duplicate_free: channels that hold one record per person; pairs within them are never scored.

    Returns:
        edges, model and report; without edges (and without a model) where no column names anybody or there is no pair.
    """
    fields = choose_fields(records)
    chosen = comparisons(fields)
    report: dict[str, Any] = {
        "n_records": records.height,
        "fields": [item.label for item in fields],
        "model": policy.model,
    }
    if not fields:
        return Linkage(pl.DataFrame(schema=EDGE_SCHEMA), {}, report | {"reason": "no field names anybody"})
    table = comparison_columns(records, fields)
    population = Population(table, duplicate_free)
    candidates = candidate_pairs(table, atoms(fields), policy, population)
    report["blocking"] = candidates.report
    if len(candidates.left) == 0:
        return Linkage(pl.DataFrame(schema=EDGE_SCHEMA), {}, report | {"reason": "no candidate pairs"})
    with _Engine(table, policy).opened() as engine:
        if policy.model == "splink":
            edges, model, learnt = _link_with_splink(engine, chosen, candidates, policy)
        else:
            edges, model, learnt = _link_with_population(engine, chosen, candidates, policy, population)
    report |= {"n_edges": edges.height, "learnt": learnt}
    return Linkage(edges, model, report)


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

    def levels(self, linker: Linker, chosen: tuple[Comparison, ...], left: IntArray, right: IntArray) -> LevelArray:
        """(pairs, comparisons) levels by a linker whose match weights are numbers of levels (see `model.numbering`)."""
        names = [comparison.field.name for comparison in chosen]
        columns = ", ".join(f'(round("mw_{name}") - 1)::TINYINT AS "level_{name}"' for name in names)
        batches = [
            batch.select(pl.exclude("record_l", "record_r")).to_numpy()
            for batch in self.compare(linker, left, right, columns)
        ]
        return np.concatenate(batches) if batches else np.empty((0, len(names)), dtype=np.int8)


def _saved(linker: Linker) -> dict[str, Any]:
    """Splink's settings as plain data, without the random name of the linker and the last bits of parallel sums."""
    text = json.dumps(linker.misc.save_model_to_json())
    settings: dict[str, Any] = json.loads(text, parse_float=lambda number: float(f"{float(number):.9g}"))
    settings.pop("linker_uid", None)
    return settings


def _edges(scored: pl.DataFrame) -> pl.DataFrame:
    """Rounded, so that the last bits of sums made by several threads do not reach a table."""
    return scored.select(
        pl.col(name).cast(dtype).round(9) if dtype == pl.Float64 else pl.col(name).cast(dtype)
        for name, dtype in EDGE_SCHEMA.items()
    ).sort("left", "right")


def _link_with_population(
    engine: _Engine,
    chosen: tuple[Comparison, ...],
    candidates: Candidates,
    policy: LinkagePolicy,
    population: Population,
) -> tuple[pl.DataFrame, dict[str, Any], dict[str, Any]]:
    """Splink compares; what agreement is worth comes from the whole population's pairs; Splink's settings get m and u.

    Persons and organisations each have their own model; `model["splink"]` is the persons' where there are any.
    """
    rules = tuple(training_rules(engine.table, chosen))
    linker = engine.linker(splink_settings(chosen, 0.5, rules, use_term_frequencies=False, estimate=numbering(chosen)))

    def levels_of(left: IntArray, right: IntArray) -> LevelArray:
        return engine.levels(linker, chosen, left, right)

    edges: list[pl.DataFrame] = []
    scorers: dict[str, PairScorer] = {}
    learnt: dict[str, Any] = {}
    is_about = population.concerns_organisations(candidates.left, candidates.right)
    for name, of_organisations in (("persons", False), ("organisations", True)):
        chosen_pairs = is_about == of_organisations
        left, right = candidates.left[chosen_pairs], candidates.right[chosen_pairs]
        if len(left) == 0:
            continue
        levels = levels_of(left, right)
        drawn = population.sample(policy, of_organisations)
        drawn_levels = levels if len(left) == drawn.n_population else levels_of(drawn.left, drawn.right)
        random = (drawn.left, drawn.right, drawn_levels)
        scorer = estimate_population(
            engine.table, chosen, (left, right, levels), random, drawn.n_population, of_organisations, policy
        )
        found = scorer.edges(left, right, levels, policy.min_edge_log_odds)
        more = closure_pairs(found, candidates, policy, population)
        if len(more[0]):
            left, right = np.concatenate([left, more[0]]), np.concatenate([right, more[1]])
            levels = np.concatenate([levels, levels_of(*more)])
            scorer = scorer.refitted((left, right, levels), random, policy)
            found = scorer.edges(left, right, levels, policy.min_edge_log_odds)
        scorers[name], learnt[name] = scorer, scorer.learnt() | {"n_closure_pairs": len(more[0])}
        edges.append(found)
    first = next(iter(scorers.values()))
    settings = splink_settings(
        chosen, first.model.share_match, rules, use_term_frequencies=True, estimate=first.margins()
    )
    settings = _saved(engine.linker(settings))
    ours = {"model": "population"} | {name: scorer.as_dict() for name, scorer in scorers.items()}
    return _edges(pl.concat(edges)), {"splink": settings, "identity": ours}, learnt


def _link_with_splink(
    engine: _Engine, chosen: tuple[Comparison, ...], candidates: Candidates, policy: LinkagePolicy
) -> tuple[pl.DataFrame, dict[str, Any], dict[str, Any]]:
    """Plain Splink: u from random pairs, m by expectation maximisation in blocks, Splink's own weights."""
    n = engine.table.height
    chosen = tuple(comparison for comparison in chosen if comparison.tf_column)
    rules = training_rules(engine.table, chosen)
    linker = engine.linker(splink_settings(chosen, 1.0 / max(n, 2), tuple(rules), use_term_frequencies=True))
    learnt = _train_splink(linker, rules, policy)
    settings = _saved(linker)
    prior = float(np.clip(settings["probability_two_random_records_match"], 1e-12, 0.5))
    log_prior = float(np.log(prior) - np.log1p(-prior))
    batches = [
        batch.filter(pl.col("match_weight") * _LOG_2 >= policy.min_edge_log_odds)
        for batch in engine.compare(linker, candidates.left, candidates.right, "match_weight, match_probability")
    ]
    scored = pl.concat(batches)
    edges = _edges(
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
    return edges, {"splink": settings, "identity": {"model": "splink"}}, learnt | {"prior": prior}


def _train_splink(linker: Linker, rules: list[str], policy: LinkagePolicy) -> dict[str, Any]:
    from splink.internals.exceptions import EMTrainingException

    learnt: dict[str, Any] = {"trained_on": []}
    if not rules:
        return learnt | {"reason": "no field repeats: levels keep their default weights"}
    linker.training.estimate_probability_two_random_records_match([*rules[:2]], recall=0.6)
    linker.training.estimate_u_using_random_sampling(max_pairs=float(policy.n_random_pairs), seed=policy.seed)
    for rule in rules:
        try:
            linker.training.estimate_parameters_using_expectation_maximisation(
                rule, estimate_without_term_frequencies=True
            )
        except EMTrainingException as error:
            learnt.setdefault("not_trained_on", []).append(type(error).__name__)
        else:
            learnt["trained_on"].append(rule)
    return learnt
