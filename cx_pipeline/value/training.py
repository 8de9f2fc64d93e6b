"""Training of the value model: past cut-offs, choice between learners out of time, judgement beside naive rules.

Three windows of the holdout's length end at the as-of date. Learners fitted on what was known before the middle one are compared on
it, and the chosen one is judged on the last one, which nothing was chosen on. Then it is fitted once more with the last window's
outcomes. Where history is too short for the choice the plain buying model is taken; where it is too short for the judgement the
model says so.

Belongs here: cut-offs, choice, judgement, parameters of the stored model. Does not belong here: likelihoods, tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.core.models import Metric, TrainedModel
from cx_pipeline.value import evaluation, learners, predictive
from cx_pipeline.value.bg_nbd import fit_bg_nbd
from cx_pipeline.value.buying import Buying, Moments, fit_buying
from cx_pipeline.value.card import Facts, model_card
from cx_pipeline.value.likelihood import Array
from cx_pipeline.value.policy import ValuePolicy
from cx_pipeline.value.predictive import Calibration
from cx_pipeline.value.summaries import DAYS_PER_WEEK, column, history, outcomes_of

MODEL = "customer_value"
# Where most customers buy nothing, rank correlation rewards whoever ranks them all alike; the Gini counts money.
DECIDING_METRIC = "normalised_gini"
# From the simplest to the most complex; a later one must rank better by more than a tie. The naive rule comes last: it is only
# used where nothing beats it.
LEARNERS = ("buying_model", "recency_blend", "gradient_boosting", "recent_spend")
Summarise = Callable[[date], pl.DataFrame]
Outcomes = Callable[[date], pl.DataFrame]


@dataclass(frozen=True)
class Window:
    """A cut-off with what was known then and, once the horizon has closed, what came.

    Attributes:
        cutoff: last day of what is known.
        rows: summary of the customers with an order by then.
        buying: fitted on it.
        moments: of the holdout's horizon.
        orders, revenue: what came, shape (n,); None for the as-of date itself.
    """

    cutoff: date
    rows: pl.DataFrame
    buying: Buying
    moments: Moments
    orders: Array | None
    revenue: Array | None

    def outcome(self) -> Array:
        """Revenue that came, shape (n,).

        Raises:
            ValueError: for a window that has not closed.
        """
        if self.revenue is None:
            raise ValueError(f"the horizon after {self.cutoff} has not closed: there is no outcome to learn from")
        return self.revenue


@dataclass(frozen=True)
class Learner:
    """A fitted learner: `name` of `LEARNERS`, the blend's weights, the boosted trees."""

    name: str
    weights: tuple[float, ...] = ()
    trees: Any = None

    def revenue(self, rows: pl.DataFrame, moments: Moments, cutoff: date, horizon_days: int) -> Array:
        """Expected revenue of the learnt horizon, at least 0, shape (n,)."""
        if self.name == "recency_blend":
            return learners.blended(learners.blend_features(rows, moments, cutoff, horizon_days), self.weights)
        if self.name == "gradient_boosting":
            return learners.boosted(learners.boosting_features(rows, moments, cutoff, horizon_days), self.trees)
        if self.name == "recent_spend":
            return recent_spend(rows)
        return moments.revenue


def recent_spend(rows: pl.DataFrame) -> Array:
    """The naive rule: the next 13 weeks bring what the last 13 brought, shape (n,)."""
    return np.maximum(column(rows, "revenue_91d"), 0.0)


def naive_rate(rows: pl.DataFrame, cutoff: date, horizon_days: int) -> Array:
    """The other naive rule: revenue goes on at its rate since the first order (at least four weeks of it), shape (n,)."""
    age_days = np.maximum(history(rows, cutoff)[2] * DAYS_PER_WEEK + 1, 28.0)
    return np.maximum(column(rows, "revenue"), 0.0) / age_days * horizon_days


def train(summarise: Summarise, outcomes: Outcomes, as_of: date, policy: ValuePolicy) -> TrainedModel | None:
    """Train the value model on everything known at the as-of date; None where too few customers have ordered.

    Args:
        summarise: cut-off -> summary as known at the end of that day.
        outcomes: cut-off -> orders and revenue of the holdout_days after it.
        as_of: last day of the data.
        policy: windows, sizes, what counts as calibrated.
    """
    today = _window(summarise(as_of), None, as_of, policy)
    if today is None:
        return None
    past = []
    for back in (1, 2, 3):
        cutoff = as_of - timedelta(days=back * policy.holdout_days)
        window = _window(summarise(cutoff), outcomes(cutoff), cutoff, policy)
        if window is None:
            break
        past.append(window)
    name, compared = _choose(past, policy)
    judged, is_better, verdict = _judge(name, past, policy)
    # Two windows are learnt from; today's own horizon is still open.
    final = _fit(name, past[:2], policy)
    calibration = _calibrate(final, past[:1], policy)
    parameters: dict[str, Any] = {
        "learner": name,
        "weights": list(final.weights),
        "horizon_days": policy.holdout_days,
        "buying": today.buying.parameters(),
        "calibration": asdict(calibration),
        "method": method_name(name, today.buying),
    }
    metrics = [*judged, *compared]
    facts = Facts(
        method=str(parameters["method"]),
        as_of=as_of,
        n_customers=today.rows.height,
        holdout_days=policy.holdout_days,
        windows=tuple(window.cutoff for window in past),
        parameters=parameters["buying"],
        verdict=verdict,
        metrics=tuple(metrics),
    )
    return TrainedModel(
        model=MODEL,
        trained_on=as_of,
        parameters=parameters,
        metrics=metrics,
        card=model_card(facts),
        is_better=is_better,
        verdict=verdict,
        estimator=final.trees,
    )


def method_name(learner: str, buying: Buying) -> str:
    """What the column `method` says, e.g. `recency_blend(pareto_nbd+gamma_gamma)`."""
    return buying.method if learner == "buying_model" else f"{learner}({buying.method})"


def _window(rows: pl.DataFrame, found: pl.DataFrame | None, cutoff: date, policy: ValuePolicy) -> Window | None:
    """A fitted window; None where too few customers were known at the cut-off."""
    if rows.height < policy.min_customers:
        return None
    buying = fit_buying(rows, cutoff, max_rows=policy.max_fit_rows)
    moments = buying.moments(rows, cutoff, policy.holdout_days)
    orders, revenue = (None, None) if found is None else outcomes_of(rows, found)
    return Window(cutoff, rows, buying, moments, orders, revenue)


def _fit(name: str, windows: Sequence[Window], policy: ValuePolicy) -> Learner:
    """Fit a learner on closed windows; without any, the learner can only be the buying model."""
    if name not in ("recency_blend", "gradient_boosting") or not windows:
        return Learner(name)
    revenue = np.concatenate([window.outcome() for window in windows])

    def stacked(features: Callable[[pl.DataFrame, Moments, date, int], Array]) -> Array:
        return np.vstack([features(w.rows, w.moments, w.cutoff, policy.holdout_days) for w in windows])

    if name == "recency_blend":
        return Learner(name, weights=tuple(learners.fit_blend(stacked(learners.blend_features), revenue)))
    rows = stacked(learners.boosting_features)
    return Learner(name, trees=learners.fit_boosting(rows, revenue, policy.max_train_rows * len(windows)))


def _predict(learner: Learner, window: Window, policy: ValuePolicy) -> Array:
    return learner.revenue(window.rows, window.moments, window.cutoff, policy.holdout_days)


def _calibrate(learner: Learner, windows: Sequence[Window], policy: ValuePolicy) -> Calibration:
    """The spread that the latest closed window teaches; the buying model's own where there is none."""
    if not windows:
        return Calibration()
    window = windows[0]
    revenue = _predict(learner, window, policy)
    correction = correction_of(revenue, window.moments)
    return predictive.calibrate(
        window.outcome(), revenue, window.moments.variation, window.moments.p_none, correction, policy.target_coverage
    )


def correction_of(revenue: Array, moments: Moments) -> Array:
    """What a learner multiplies the buying model's revenue by, shape (n,), bounded."""
    return np.clip(np.maximum(revenue, 1e-9) / np.maximum(moments.revenue, 1e-9), 1e-6, 1e6)


def _choose(past: Sequence[Window], policy: ValuePolicy) -> tuple[str, list[Metric]]:
    """The learner that ranks best on the middle window, and each one's figure there."""
    if len(past) < 3:
        return LEARNERS[0], []
    middle, first = past[1], past[2]
    chosen, best = LEARNERS[0], -np.inf
    compared = []
    for name in LEARNERS:
        predicted = _predict(_fit(name, [first], policy), middle, policy)
        ranked = evaluation.normalised_gini(middle.outcome(), predicted)
        compared.append(Metric(_window_name(middle.cutoff, policy), f"choice_normalised_gini_{name}", ranked))
        if ranked is not None and ranked > best + (policy.tie_gini if best > -np.inf else 0.0):
            chosen, best = name, ranked
    return chosen, compared


def _judge(name: str, past: Sequence[Window], policy: ValuePolicy) -> tuple[list[Metric], bool, str]:
    """Figures of the chosen learner and of the others on the last window, and whether the chosen one proved itself."""
    if not past:
        return [], False, f"history is too short to be judged over {policy.holdout_days} days out of time"
    last, earlier = past[0], past[1:]
    actual, window = last.outcome(), _window_name(last.cutoff, policy)
    naive = {
        "recent_spend": recent_spend(last.rows),
        "naive_rate": naive_rate(last.rows, last.cutoff, policy.holdout_days),
    }
    baseline = evaluation.figures(actual, naive["recent_spend"])
    learner = _fit(name, earlier, policy)
    predicted = _predict(learner, last, policy)
    calibration = _calibrate(_fit(name, earlier[1:], policy) if len(earlier) > 1 else learner, earlier[:1], policy)
    correction = correction_of(predicted, last.moments)
    p_none = calibration.p_none(last.moments.p_none, correction)
    variation = last.moments.variation * calibration.dispersion
    figures = evaluation.figures(actual, predicted, predictive.quantile(0.5, predicted, variation, p_none))
    metrics = [Metric(window, key, value, baseline[key]) for key, value in figures.items()]
    covered = predictive.coverage(actual, predicted, variation, p_none)
    metrics += [
        Metric(window, "share_between_10_and_90_percent", covered, policy.target_coverage),
        *_count_metrics(last, correction, window, policy),
        *(Metric(window, key, value) for key, value in evaluation.deciles(actual, predicted).items()),
    ]
    others: Mapping[str, Array] = {
        "naive_rate": naive["naive_rate"],
        **{other: _predict(_fit(other, earlier, policy), last, policy) for other in LEARNERS[:3] if other != name},
    }
    for other, revenue in others.items():
        metrics += [
            Metric(window, f"{key}_{other}", value) for key, value in evaluation.figures(actual, revenue).items()
        ]
    is_better, verdict = _verdict(name, figures, baseline, covered, policy)
    return metrics, is_better, verdict


def _verdict(
    name: str,
    figures: Mapping[str, float | None],
    baseline: Mapping[str, float | None],
    covered: float,
    policy: ValuePolicy,
) -> tuple[bool, str]:
    """Whether the chosen learner ranks better than the naive rule and is calibrated, in a sentence."""
    ranked, naive, off = figures[DECIDING_METRIC], baseline[DECIDING_METRIC], figures["bias"]
    if ranked is None or off is None:
        return False, "nothing was bought in the window that it is judged on"
    told = (
        f"normalised Gini {ranked:.3f} against {-1 if naive is None else naive:.3f} of the last 13 weeks' spend, total off by "
        f"{off:+.1%}, {covered:.1%} of outcomes inside the 80 % interval"
    )
    faults = []
    if name == "recent_spend":
        faults.append("no model ranks better than the last 13 weeks' spend, which is used")
    elif naive is not None and ranked <= naive:
        faults.append("it does not rank better than the last 13 weeks' spend")
    if abs(off) > policy.max_abs_bias:
        faults.append("its total is off too far")
    if abs(covered - policy.target_coverage) > policy.max_coverage_gap:
        faults.append("its interval is not calibrated")
    return not faults, f"{told}; {' and '.join(faults)}" if faults else told


def _count_metrics(window: Window, correction: Array, name: str, policy: ValuePolicy) -> list[Metric]:
    """Errors of expected orders beside BG/NBD's and the naive rate's."""
    if window.orders is None:
        return []
    x, t_x, age = history(window.rows, window.cutoff)
    horizon = policy.holdout_days / DAYS_PER_WEEK
    bg_nbd, _ = fit_bg_nbd(x, t_x, age, max_rows=policy.max_fit_rows)
    naive = (x + 1) / np.maximum(age + 1 / DAYS_PER_WEEK, 4.0) * horizon
    counted = {
        "": window.moments.orders * correction,
        "_pareto_nbd": window.moments.orders,
        "_bg_nbd": bg_nbd.expected_orders(x, t_x, age, horizon),
    }
    metrics = []
    for suffix, expected in counted.items():
        metrics += [
            Metric(name, f"orders_mae{suffix}", evaluation.mean_absolute_error(window.orders, expected),
                   evaluation.mean_absolute_error(window.orders, naive)),
            Metric(name, f"orders_bias{suffix}", evaluation.bias(window.orders, expected),
                   evaluation.bias(window.orders, naive)),
        ]  # fmt: skip
    return metrics


def _window_name(cutoff: date, policy: ValuePolicy) -> str:
    return f"{cutoff + timedelta(days=1)}..{cutoff + timedelta(days=policy.holdout_days)}"
