"""Training of the linkage model: what agreements are worth and which blocking keys pay, learnt without labels.

Belongs here: the order of the steps from records to a frozen model, its card. Does not belong here: the engine (linkage.py, which
passes in how pairs are compared), the estimator (population_em.py), the choice of keys (key_choice.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.core.models import Metric, ModelCard, TrainedModel
from cx_pipeline.identity.agglomeration import FloatArray, IntArray
from cx_pipeline.identity.blocking import two_step_pairs, unpacked
from cx_pipeline.identity.key_choice import SampledPairs
from cx_pipeline.identity.linkage_model import MODEL, ORGANISATIONS, PERSONS, LinkageModel
from cx_pipeline.identity.model import Comparison
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population import Population
from cx_pipeline.identity.population_em import LevelArray
from cx_pipeline.identity.scoring import PairScorer, RecordValues, estimate_population, refitted

DECIDING_METRIC = "share_of_guards_passed"
LevelsOf = Callable[[IntArray, IntArray], LevelArray]


@dataclass(frozen=True)
class Estimate:
    """What the estimation gives.

    Attributes:
        scorers: by sort, `persons` and `organisations`.
        match: (m,) probability that a sampled pair is a match; 0 for an impossible one.
        learnt: figures by sort.
    """

    scorers: dict[str, PairScorer]
    match: FloatArray
    learnt: dict[str, Any]


def estimate(
    table: pl.DataFrame,
    values: RecordValues,
    chosen: tuple[Comparison, ...],
    sample: SampledPairs,
    population: Population,
    levels_of: LevelsOf,
    policy: LinkagePolicy,
) -> Estimate:
    """One model for persons and one for organisations, each from its own sort of pairs.

    Args:
        table: the comparison table.
        values: of its records.
        chosen: comparisons.
        sample: of the candidate pairs.
        population: which pairs are possible.
        levels_of: compares pairs.
        policy: bounds.
    """
    n = table.height
    left, right = unpacked(sample.pairs, n)
    possible = population.may_match(left, right)
    is_about = population.concerns_organisations(left, right)
    match = np.zeros(len(left))
    scorers: dict[str, PairScorer] = {}
    learnt: dict[str, Any] = {}
    for name, of_organisations in ((PERSONS, False), (ORGANISATIONS, True)):
        rows = np.flatnonzero(possible & (is_about == of_organisations))
        if len(rows) == 0:
            continue
        pairs = (left[rows], right[rows], levels_of(left[rows], right[rows]))
        drawn = population.sample(policy, of_organisations)
        is_all = len(rows) == drawn.n_population and sample.rate == 1.0
        random = (drawn.left, drawn.right, pairs[2] if is_all else levels_of(drawn.left, drawn.right))
        scorer = estimate_population(
            values, table["channel"], chosen, pairs, sample.rate, random, drawn.n_population, of_organisations, policy
        )
        more = np.empty(0, dtype=np.int64)
        if sample.rate == 1.0 and not is_all:
            found = scorer.edges(values, *pairs, 0.0)
            steps = two_step_pairs(found, n, policy.max_closure_neighbours)
            more = np.setdiff1d(steps, sample.pairs, assume_unique=True)
            further = unpacked(more, n)
            fits = population.may_match(*further) & (population.concerns_organisations(*further) == of_organisations)
            further = further[0][fits], further[1][fits]
            compared = (*further, levels_of(*further))
            together = (
                np.concatenate([pairs[0], compared[0]]),
                np.concatenate([pairs[1], compared[1]]),
                np.concatenate([pairs[2], compared[2]]),
            )
            scorer = refitted(scorer, values, together, random, policy)
        scored = scorer.edges(values, *pairs, -np.inf)
        match[rows] = scored["probability"].to_numpy()
        scorers[name], learnt[name] = scorer, scorer.learnt() | {"n_closure_pairs": len(more)}
    return Estimate(scorers, match, learnt)


def budget(n_records: int, policy: LinkagePolicy) -> float:
    """Distinct candidate pairs a record: `pairs_per_record` for small sets, falling evenly (in logarithms) to that at scale."""
    place = np.log(max(n_records, 1) / policy.small_set_records) / np.log(
        policy.large_set_records / policy.small_set_records
    )
    share = float(np.clip(place, 0.0, 1.0))
    return float(policy.pairs_per_record ** (1 - share) * policy.pairs_per_record_at_scale**share)


def trained_model(model: LinkageModel, trained_on: date) -> TrainedModel:
    """What the model store takes: parameters, card, figures and the guards against an estimate in a wrong mode."""
    guards = _guards(model)
    passed = sum(guards.values()) / max(len(guards), 1)
    failed = sorted(name for name, holds in guards.items() if not holds)
    metrics = [Metric(trained_on.isoformat(), DECIDING_METRIC, passed, None)]
    for sort, learnt in sorted(model.learnt.items()):
        if isinstance(learnt, dict):
            metrics += [
                Metric(trained_on.isoformat(), f"{sort}.{name}", float(value), None)
                for name, value in sorted(learnt.items())
                if isinstance(value, int | float)
            ]
    verdict = f"guards failed: {', '.join(failed)}" if failed else "all guards against a wrong mode passed"
    return TrainedModel(MODEL, trained_on, model.as_dict(), metrics, _card(model, trained_on), not failed, verdict)


def _guards(model: LinkageModel) -> dict[str, bool]:
    guards = {}
    for name, scorer in model.scorers.items():
        estimated = scorer.model
        matches_per_record = estimated.share_match * estimated.n_pairs / max(model.n_records, 1)
        guards[f"{name}: matches are rarer than related and unrelated pairs"] = estimated.share_match < 0.1
        guards[f"{name}: a record has fewer than 50 matches"] = matches_per_record < 50
        top = [scorer.model.margins(comparison.field.name) for comparison in scorer.chosen]
        guards[f"{name}: most fields agree more among matches"] = sum(m[-1] > u[-1] for m, u in top) > len(top) / 2
    return guards


def _card(model: LinkageModel, trained_on: date) -> ModelCard:
    fields = ", ".join(one.label for one in model.fields)
    keys = "\n".join(f"- {key.label} (blocks of at most {key.max_records})" for key in model.keys)
    figures = "\n".join(
        f"- {sort}: {name} {value:,.6g}"
        for sort, learnt in sorted(model.learnt.items())
        if isinstance(learnt, dict)
        for name, value in sorted(learnt.items())
        if isinstance(value, int | float)
    )
    return ModelCard(
        model_details=f"Record linkage, kind `{model.kind}`: Splink compares, a three-class mixture over all pairs of the "
        f"population weighs. Trained on {trained_on.isoformat()} from {model.n_records:,} records, without labels.",
        intended_use="Finding the records of one person or organisation in the company's own channels. Not for decisions about "
        "a person, nor for joining data of other companies.",
        factors=f"Fields: {fields or 'none'}. Persons and organisations have models of their own.",
        metrics="Expected matches and related pairs, iterations, share of the guards that hold; quality against labels or a "
        "truth is measured elsewhere (identity.quality, cx bench identity).",
        evaluation_data="None: the model is learnt without labels.",
        training_data=f"{model.n_records:,} party records; stored are keyed hashes of frequent values, never a value.",
        quantitative_analyses=f"{figures or 'none'}\n\nBlocking keys:\n{keys or '- all pairs'}",
        ethical_considerations="Rare names are stronger evidence than common ones, so persons with common names are found less "
        "completely. Names in other scripts have no Soundex.",
        caveats_and_recommendations="Train anew when fields come in or the company grows; the night does so by itself when "
        "the records have become many more than these.",
    )
