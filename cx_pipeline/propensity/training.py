"""Training of a model of yes or no: folds in time, leak sentinel, choice, calibration, and the judgement out of time.

Belongs here: the procedure that all models of the room share. Does not belong here: labels and features of a model (`purchase.py`,
`response.py`), storing (`core/models.py`).

The rows are cut in time into three folds: the candidates are fitted on the oldest, chosen and calibrated on the next, and the
winner is measured on the latest. Rows whose outcome was not yet known when the test fold began are left out. The model that is
stored is the same procedure one fold later: fitted on everything before the test fold, calibrated on the test fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.core.models import Metric, TrainedModel
from cx_pipeline.propensity import evaluation
from cx_pipeline.propensity.calibration import calibrated, fit_calibrator, fit_isotonic
from cx_pipeline.propensity.cards import Description, model_card
from cx_pipeline.propensity.estimators import CANDIDATES, Candidate, Matrix, design, fit, medians, numbers, score
from cx_pipeline.propensity.evaluation import Vector
from cx_pipeline.propensity.policy import PropensityPolicy


@dataclass(frozen=True)
class Task:
    """What a model is to learn.

    Attributes:
        description: name and words for the card.
        rows: customer_id, `at` (date of the cut-off or contact), `moment` (the time from which on nothing is known),
            `known_until` (time of the latest event that a feature uses; NULL: none), `closes_on` (date on which the label is
            known), `label` (0 or 1), the features and the naive rules.
        features: columns of `rows` that the model may use.
        naive: columns of `rows` with a naive rule's score, higher is more probable.
        settings: further values that scoring needs, kept with the model.
    """

    description: Description
    rows: pl.DataFrame
    features: tuple[str, ...]
    naive: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """Why a model was not trained."""

    model: str
    reason: str


@dataclass(frozen=True)
class Folds:
    """Rows by time: to fit on, to choose and calibrate on, to test on."""

    fitting: pl.DataFrame
    calibration: pl.DataFrame
    test: pl.DataFrame


def split(rows: pl.DataFrame, test_from: date, calibration_from: date) -> Folds:
    """Cut rows at two dates.

    Rows whose outcome was not known when the test fold begins are in no fold. The same holds before the calibration fold, unless
    nothing would be left to fit on.
    """
    test = rows.filter(pl.col("at") >= test_from)
    before = rows.filter((pl.col("at") < test_from) & (pl.col("closes_on") <= test_from))
    earlier = before.filter(pl.col("at") < calibration_from)
    closed = earlier.filter(pl.col("closes_on") <= calibration_from)
    enough = closed.height >= earlier.height / 2
    return Folds(closed if enough else earlier, before.filter(pl.col("at") >= calibration_from), test)


def sentinel(task: Task, leak_auc: float) -> str | None:
    """Why the features must not be trusted, or None: one that is younger than its row, or one that knows the outcome."""
    n_late = task.rows.filter(pl.col("known_until") >= pl.col("moment")).height
    if n_late:
        return f"leak: {n_late:,} rows know events that are later than themselves"
    outcome = task.rows["label"].cast(pl.Float64).to_numpy()
    values = numbers(task.rows, task.features)
    for position, name in enumerate(task.features):
        # Missing values are a level of their own: absence may be the leak.
        filled = np.where(np.isnan(values[:, position]), -1e18, values[:, position])
        area = evaluation.auc(outcome, filled)
        if max(area, 1 - area) > leak_auc:
            return f"leak: the feature {name} alone separates the outcomes with AUC {max(area, 1 - area):.3f} (limit {leak_auc})"
    return None


def train(
    task: Task, test_from: date, calibration_from: date, policy: PropensityPolicy, as_of: date
) -> TrainedModel | Refusal:
    """Train and judge a model, or say why not.

    Args:
        task: rows with labels whose windows have closed.
        test_from: first date of the test fold.
        calibration_from: first date of the calibration fold.
        policy: sizes and limits.
        as_of: the date of the training data.
    """
    name = task.description.model
    rows = task.rows.sort("at", "customer_id")
    folds = split(rows, test_from, calibration_from)
    small = _too_small(folds, policy)
    if small:
        return Refusal(name, small)
    leak = sentinel(task, policy.leak_auc)
    if leak:
        return Refusal(name, leak)
    features = _varying(folds.fitting, task.features)
    candidate, chosen_scores, losses = choose(folds, features)
    calibrator = fit_calibrator(_labels(folds.calibration), chosen_scores, isotonic_from=policy.isotonic_from)
    outcome = _labels(folds.test)
    probability = calibrated(calibrator, _scored(candidate, folds.fitting, folds.test, features))
    rule, naive = _naive(task, folds)
    rate = float(_labels(pl.concat([folds.fitting, folds.calibration])).mean())
    beside = {
        "brier_of_rate": evaluation.brier(outcome, np.full_like(outcome, rate)),
        "chance_of_no_gain": evaluation.chance_of_no_gain(outcome, probability, naive),
    }
    metrics = _metrics(outcome, probability, naive, beside, task, folds.test)
    figures = {**evaluation.figures(outcome, probability), **beside}
    is_better, verdict = judge(figures, evaluation.figures(outcome, naive), rule, policy)
    before = rows.filter(pl.col("at") < test_from)
    fill = medians(before, features)
    neutral = list(fill.values())
    final = fit(candidate, design(numbers(before, features), candidate.kind, neutral), _labels(before))
    latest = score(final, candidate.kind, numbers(folds.test, features), neutral)
    parameters = {
        "kind": candidate.kind,
        "candidate": candidate.name,
        "features": list(features),
        "medians": fill,
        "calibrator": fit_calibrator(outcome, latest, isotonic_from=policy.isotonic_from),
        "calibration_curve": evaluation.calibration_curve(outcome, probability),
        "naive_rule": rule,
        "settings": dict(task.settings),
    }
    windows = [_window(fold) for fold in (folds.fitting, folds.calibration, folds.test)]
    card = model_card(task.description, parameters, metrics, verdict, losses, windows, rows)
    return TrainedModel(name, as_of, parameters, metrics, card, is_better, verdict, final)


def choose(folds: Folds, features: Sequence[str]) -> tuple[Candidate, Vector, dict[str, float]]:
    """The candidate with the least log loss on the calibration fold, its scores there, and every candidate's loss."""
    outcome = _labels(folds.calibration)
    scores = {c: _scored(c, folds.fitting, folds.calibration, features) for c in CANDIDATES}
    losses = {c.name: evaluation.log_loss(outcome, values) for c, values in scores.items()}
    best = min(CANDIDATES, key=lambda c: losses[c.name])
    return best, scores[best], losses


def judge(
    model: Mapping[str, float], naive: Mapping[str, float], rule: str, policy: PropensityPolicy
) -> tuple[bool, str]:
    """Whether a model may be used, and why.

    It ranks better than the naive rule, by more than chance; it is nearer to the outcomes than the naive rule and than the rate of
    the rows before; and it is calibrated.

    Args:
        model: `evaluation.figures`, `brier_of_rate` and `chance_of_no_gain`.
        naive: `evaluation.figures` of the naive rule.
        rule: its name.
        policy: limits.
    """
    against = f"AUC {model['auc']:.3f} against {naive['auc']:.3f} of {rule}, Brier {model['brier']:.4f} against {naive['brier']:.4f}"
    if model["chance_of_no_gain"] > policy.max_chance_of_no_gain:
        return False, f"no better than the naive rule out of time, beyond chance: {against}"
    if model["brier"] >= min(naive["brier"], model["brier_of_rate"]):
        return False, f"no better than the naive rule out of time: {against}"
    if model["ece"] > policy.max_calibration_error:
        return (
            False,
            f"not calibrated out of time: mean gap {model['ece']:.3f}, allowed {policy.max_calibration_error}; {against}",
        )
    return True, f"better than the naive rule out of time: {against}; mean calibration gap {model['ece']:.3f}"


def _too_small(folds: Folds, policy: PropensityPolicy) -> str | None:
    for name, fold in (("fit on", folds.fitting), ("calibrate on", folds.calibration), ("test on", folds.test)):
        n_events = int(fold["label"].sum()) if fold.height else 0
        rarer = min(n_events, fold.height - n_events)
        if fold.height < policy.min_rows or rarer < policy.min_events:
            return (
                f"too little to {name}: {fold.height:,} rows with {rarer:,} of the rarer outcome; "
                f"{policy.min_rows:,} and {policy.min_events:,} are needed"
            )
    return None


def _varying(frame: pl.DataFrame, features: Sequence[str]) -> list[str]:
    """The features that take more than one value."""
    counts = frame.select(pl.col(name).n_unique() for name in features).row(0)
    return [name for name, n in zip(features, counts, strict=True) if n > 1]


def _scored(candidate: Candidate, fitted_on: pl.DataFrame, rows: pl.DataFrame, features: Sequence[str]) -> Vector:
    """Scores of rows by a candidate fitted on others."""
    fill = list(medians(fitted_on, features).values())
    x: Matrix = design(numbers(fitted_on, features), candidate.kind, fill)
    return score(fit(candidate, x, _labels(fitted_on)), candidate.kind, numbers(rows, features), fill)


def _naive(task: Task, folds: Folds) -> tuple[str, Vector]:
    """The naive rule that ranks best on the calibration fold, and its probabilities (isotonic, fitted there) on the test fold."""
    known = pl.concat([folds.fitting, folds.calibration])
    outcome = _labels(known)
    areas = {name: evaluation.auc(outcome, numbers(known, [name])[:, 0]) for name in task.naive}
    rule = max(task.naive, key=lambda name: areas[name])
    calibrator = fit_isotonic(outcome, numbers(known, [rule])[:, 0])
    return rule, calibrated(calibrator, numbers(folds.test, [rule])[:, 0])


def _metrics(
    outcome: Vector,
    probability: Vector,
    naive: Vector,
    beside: Mapping[str, float],
    task: Task,
    test: pl.DataFrame,
) -> tuple[Metric, ...]:
    window = _window(test)
    model, baseline = evaluation.figures(outcome, probability), evaluation.figures(outcome, naive)
    found = [Metric(window, name, value, baseline[name]) for name, value in model.items()]
    found += [
        Metric(window, f"auc_of_{name}", evaluation.auc(outcome, numbers(test, [name])[:, 0])) for name in task.naive
    ]
    counts = {
        **beside,
        "base_rate": float(outcome.mean()),
        "n_rows": float(outcome.size),
        "n_events": float(outcome.sum()),
    }
    found += [Metric(window, name, value) for name, value in counts.items()]
    return tuple(Metric(m.window, m.metric, _finite(m.value), _finite(m.baseline)) for m in found)


def _finite(value: float | None) -> float | None:
    """Rounded to 10 digits after the point; None for what is not a number."""
    return None if value is None or not np.isfinite(value) else round(value, 10)


def _labels(rows: pl.DataFrame) -> Vector:
    return rows["label"].cast(pl.Float64).to_numpy()


def _window(rows: pl.DataFrame) -> str:
    dates: list[date] = [rows["at"].min(), rows["at"].max()]  # type: ignore[list-item]
    return "..".join(day.isoformat() for day in dates)
