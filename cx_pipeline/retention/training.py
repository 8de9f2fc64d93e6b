"""Training of the retention models: choice between hazards, judgement out of time, parameters of the stored model.

For each basis the discrete-time hazard and Cox are fitted on what was known 180 days ago and compared by calibration over the 90 days
after; the one chosen is fitted on what was known 90 days ago and judged on the 90 days after, which nothing was chosen on; then it
is fitted on everything. Longer horizons are judged from as long ago as they need, where history allows.

Belongs here: cut-offs, choice, judgement. Does not belong here: the hazards, tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from cx_pipeline.core.models import Metric, TrainedModel
from cx_pipeline.retention import evaluation
from cx_pipeline.retention.card import Facts, model_card
from cx_pipeline.retention.cox import Cox, fit_cox
from cx_pipeline.retention.discrete_hazard import Clock, DiscreteHazard, fit_discrete_hazard
from cx_pipeline.retention.evaluation import Flags
from cx_pipeline.retention.policy import RetentionPolicy
from cx_pipeline.retention.subjects import Array, Basis, Subjects

HORIZONS_DAYS = (30, 90, 180, 365)
JUDGED_DAYS = 90
DECIDING_METRIC = f"brier_{JUDGED_DAYS}d"
METHODS = ("discrete_hazard", "cox")
Hazard = DiscreteHazard | Cox


@dataclass(frozen=True)
class Cohorts:
    """Access to the subjects of a basis.

    Attributes:
        basis: contract or activity.
        clock: its periods.
        learn: cut-off -> subjects to learn from, as known at the end of that day; None where there are none.
        at_risk: cut-off, last day of the future that may be seen (None: none) -> customers at risk at the end of the cut-off day.
        context: what scoring needs beside the hazard, as JSON values (W, plans).
    """

    basis: Basis
    clock: Clock
    learn: Callable[[date], Subjects | None]
    at_risk: Callable[[date, date | None], Subjects]
    context: Mapping[str, Any]


def model_name(basis: Basis) -> str:
    """Name of a basis' model in the tables."""
    return f"retention_{basis}"


def hazard_of(stored: Mapping[str, Any]) -> Hazard:
    """The hazard of a stored model's parameters."""
    if stored["method"] == "cox":
        return Cox.from_parameters(stored["hazard"])
    return DiscreteHazard.from_parameters(stored["hazard"])


def survival(hazard: Hazard, subjects: Subjects, horizon_days: float) -> Array:
    """Probability to stay another horizon_days, given the days already survived on the clock; shape (n,)."""
    elapsed = subjects.days("elapsed_days")
    path = hazard.path(subjects.covariates, float(elapsed.max(initial=0.0)) + horizon_days)
    return np.asarray(np.exp(np.minimum(path.at(elapsed) - path.at(elapsed + horizon_days), 0.0)))


def train(cohorts: Cohorts, as_of: date, policy: RetentionPolicy) -> TrainedModel | None:
    """Train a basis' model on everything known at the as-of date; None where too few customers were at risk or left."""
    past = Past(cohorts, policy)
    everything = past.learnt(as_of)
    if everything is None:
        return None
    method, compared = _choose(past, as_of)
    judged, is_better, verdict = _judge(past, method, as_of)
    hazard = past.hazard(method, as_of)
    metrics = [*judged, *compared]
    if isinstance(hazard, Cox) and hazard.schoenfeld_p is not None:
        metrics.append(Metric(f"..{as_of}", "schoenfeld_p", hazard.schoenfeld_p))
    facts = Facts(
        basis=cohorts.basis,
        method=method,
        as_of=as_of,
        n_rows=everything.rows.height,
        n_customers=everything.rows["customer_id"].n_unique(),
        n_events=int(everything.is_event.sum()),
        covariates=everything.names,
        context=cohorts.context,
        verdict=verdict,
        metrics=tuple(metrics),
    )
    return TrainedModel(
        model=model_name(cohorts.basis),
        trained_on=as_of,
        parameters={"method": method, "hazard": hazard.parameters(), **cohorts.context},
        metrics=metrics,
        card=model_card(facts),
        is_better=is_better,
        verdict=verdict,
    )


class Past:
    """What was known at past cut-offs, and hazards fitted on it; each is made once.

    Args:
        cohorts: access to the subjects.
        policy: how many subjects are enough.
    """

    def __init__(self, cohorts: Cohorts, policy: RetentionPolicy) -> None:
        self.cohorts = cohorts
        self.policy = policy
        self._learnt: dict[date, Subjects | None] = {}
        self._hazards: dict[tuple[str, date], Hazard] = {}

    def learnt(self, cutoff: date) -> Subjects | None:
        """Subjects to learn from at a cut-off; None where they or those who left are too few."""
        if cutoff not in self._learnt:
            found = self.cohorts.learn(cutoff)
            is_enough = (
                found is not None
                and found.rows["customer_id"].n_unique() >= self.policy.min_customers
                and int(found.is_event.sum()) >= self.policy.min_events
            )
            self._learnt[cutoff] = found if is_enough else None
        return self._learnt[cutoff]

    def hazard(self, method: str, cutoff: date) -> Hazard:
        """The hazard of a method fitted at a cut-off.

        Raises:
            ValueError: where there is too little to learn from.
        """
        subjects = self.learnt(cutoff)
        if subjects is None:
            raise ValueError(f"too little was known at {cutoff} to fit a hazard")
        if (method, cutoff) not in self._hazards:
            self._hazards[method, cutoff] = (
                fit_cox(subjects, self.policy.max_cox_rows)
                if method == "cox"
                else fit_discrete_hazard(subjects, self.cohorts.clock)
            )
        return self._hazards[method, cutoff]

    def trial(self, cutoff: date, horizon_days: int) -> Trial | None:
        """A cut-off with enough before and behind it; None else."""
        if self.learnt(cutoff) is None:
            return None
        tested = self.cohorts.at_risk(cutoff, cutoff + timedelta(days=horizon_days))
        return Trial(tested, cutoff) if tested.rows.height >= self.policy.min_customers else None

    def naive(self, trial: Trial, horizon_days: int) -> Array | None:
        """The naive rule of a trial (see `naive_probability`); None where too few were at risk a horizon earlier."""
        before = self.cohorts.at_risk(trial.cutoff - timedelta(days=horizon_days), trial.cutoff)
        if before.rows.height < self.policy.min_customers:
            return None
        return naive_probability(before, trial.tested, horizon_days)


@dataclass(frozen=True)
class Trial:
    """A cut-off, and what became of the customers who were at risk then."""

    tested: Subjects
    cutoff: date

    def left(self, horizon_days: int) -> Flags:
        """Who left within the horizon, shape (n,)."""
        return _left(self.tested, horizon_days)

    def window(self, horizon_days: int) -> str:
        """The horizon's days, as tables name them."""
        return f"{self.cutoff + timedelta(days=1)}..{self.cutoff + timedelta(days=horizon_days)}"


def _choose(past: Past, as_of: date) -> tuple[str, list[Metric]]:
    """The method that was calibrated better over the window before the last one."""
    trial = past.trial(as_of - timedelta(days=2 * JUDGED_DAYS), JUDGED_DAYS)
    if trial is None:
        return METHODS[0], []
    left, errors = trial.left(JUDGED_DAYS), {}
    for method in METHODS:
        stays = survival(past.hazard(method, trial.cutoff), trial.tested, JUDGED_DAYS)
        errors[method] = evaluation.calibration_error(left, 1 - stays)
    window = trial.window(JUDGED_DAYS)
    metrics = [Metric(window, f"choice_calibration_error_{method}", error) for method, error in errors.items()]
    return min(METHODS, key=lambda method: round(errors[method], 6)), metrics


def _judge(past: Past, method: str, as_of: date) -> tuple[list[Metric], bool, str]:
    """Figures of the chosen method and of the other one out of time, and whether the chosen one proved itself."""
    metrics: list[Metric] = []
    is_better, verdict = False, f"history is too short to be judged over {JUDGED_DAYS} days out of time"
    for back, horizons in ((JUDGED_DAYS, (30, JUDGED_DAYS)), (180, (180,)), (365, (365,))):
        trial = past.trial(as_of - timedelta(days=back), back)
        if trial is None:
            break
        for name in (method, *(other for other in METHODS if other != method)):
            hazard = past.hazard(name, trial.cutoff)
            suffix = "" if name == method else f"_{name}"
            found = [
                metric for days in horizons for metric in _figures(trial, hazard, past.naive(trial, days), days, suffix)
            ]
            metrics += found
            if back == JUDGED_DAYS and name == method:
                is_better, verdict = _verdict(found, past.policy)
    return metrics, is_better, verdict


def _figures(trial: Trial, hazard: Hazard, naive: Array | None, horizon_days: int, suffix: str) -> list[Metric]:
    """AUC, Brier score, calibration error, mean probability and Harrell's C over a horizon, beside the naive rule's."""
    left, window = trial.left(horizon_days), trial.window(horizon_days)
    days = f"{horizon_days}d{suffix}"
    probability = 1 - survival(hazard, trial.tested, horizon_days)

    def both(name: str, figure: Callable[[Array], float | None]) -> Metric:
        return Metric(window, f"{name}_{days}", figure(probability), None if naive is None else figure(naive))

    metrics = [
        both("auc", lambda risk: evaluation.auc(left, risk)),
        both("brier", lambda risk: evaluation.brier(left, risk)),
        both("calibration_error", lambda risk: evaluation.calibration_error(left, risk)),
        Metric(window, f"calibration_noise_{days}", evaluation.calibration_noise(probability)),
        Metric(window, f"mean_probability_{days}", float(probability.mean()), float(left.mean())),
    ]
    if horizon_days >= JUDGED_DAYS:
        residual = trial.tested.days("exit_days") - trial.tested.days("elapsed_days")
        metrics.append(both("concordance", lambda risk: evaluation.concordance(residual, trial.tested.is_event, risk)))
    if horizon_days == JUDGED_DAYS and not suffix:
        for number, (predicted, actual) in enumerate(evaluation.tenths(left, probability), start=1):
            metrics.append(Metric(window, f"decile_{number:02d}_predicted", predicted))
            metrics.append(Metric(window, f"decile_{number:02d}_actual", actual))
    return metrics


def _left(subjects: Subjects, horizon_days: int) -> Flags:
    residual = subjects.days("exit_days") - subjects.days("elapsed_days")
    return np.asarray((residual <= horizon_days) & subjects.is_event)


def naive_probability(before: Subjects, now: Subjects, horizon_days: int) -> Array:
    """The naive rule: the share that left, last time, of those with as many days on the clock; shape (n,).

    Args:
        before: at risk a horizon earlier, with what became of them since; grouped into tenths by days on the clock.
        now: whose probability is wanted.
        horizon_days: the horizon.
    """
    elapsed, left = before.days("elapsed_days"), _left(before, horizon_days).astype(np.float64)
    edges = np.unique(np.quantile(elapsed, np.linspace(0.1, 0.9, 9)))
    group = np.searchsorted(edges, elapsed, side="left")
    n = np.bincount(group, minlength=len(edges) + 1)
    share = np.bincount(group, weights=left, minlength=len(edges) + 1) / np.maximum(n, 1)
    share = np.where(n > 0, share, left.mean())
    return np.asarray(share[np.searchsorted(edges, now.days("elapsed_days"), side="left")])


def _verdict(figures: list[Metric], policy: RetentionPolicy) -> tuple[bool, str]:
    found = {metric.metric: metric for metric in figures}
    score, ranked = found[DECIDING_METRIC], found[f"auc_{JUDGED_DAYS}d"]
    error = found[f"calibration_error_{JUDGED_DAYS}d"].value or 0.0
    noise = found[f"calibration_noise_{JUDGED_DAYS}d"].value or 0.0
    if ranked.value is None or score.value is None:
        return False, "nobody left, or nobody stayed, in the window that it is judged on"
    if ranked.baseline is None or score.baseline is None:
        return False, "history is too short for the naive rule that it is judged beside"
    told = (
        f"over {JUDGED_DAYS} days AUC {ranked.value:.3f} against {ranked.baseline:.3f} of days on the clock alone, Brier score "
        f"{score.value:.4f} against {score.baseline:.4f}, calibration error {error:.3f} ({noise:.3f} by chance)"
    )
    faults = []
    if ranked.value <= ranked.baseline or score.value >= score.baseline:
        faults.append("it does not beat the naive rule")
    if error > policy.max_calibration_error + noise:
        faults.append("it is not calibrated")
    return not faults, f"{told}; {' and '.join(faults)}" if faults else told
