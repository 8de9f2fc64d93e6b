"""The model card of a retention model: nine sections, written anew at each training from what was measured.

Belongs here: wording. Does not belong here: figures (`training.py` measures them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from cx_pipeline.core.models import Metric, ModelCard
from cx_pipeline.retention.subjects import Basis


@dataclass(frozen=True)
class Facts:
    """What the card tells.

    Attributes:
        basis, method: contract or activity; discrete_hazard or cox.
        as_of: last day of the training data.
        n_rows, n_customers, n_events: subjects learnt from, customers among them, how many left.
        covariates: their names.
        context: W or plans.
        verdict: the judgement in a sentence.
        metrics: everything measured.
    """

    basis: Basis
    method: str
    as_of: date
    n_rows: int
    n_customers: int
    n_events: int
    covariates: tuple[str, ...]
    context: Mapping[str, Any]
    verdict: str
    metrics: tuple[Metric, ...]


def model_card(facts: Facts) -> ModelCard:
    """The card."""
    leaving = (
        f"no order for {facts.context['window_days']} days"
        if facts.basis == "activity"
        else "the end of the contract that stands for the customer"
    )
    clock = "days since the last order" if facts.basis == "activity" else "days since the contract began"
    windows = sorted({metric.window for metric in facts.metrics if not metric.window.startswith("..")})
    return ModelCard(
        model_details=f"`{facts.method}` of leaving, on the clock of {clock}; trained on what was known at the end of {facts.as_of}.",
        intended_use="Probability that a customer stays 30, 90, 180 and 365 days, the median time left, and reasons, for ranking whom to "
        "keep and for planning. Not a judgement of a single person.",
        factors=f"Covariates: {', '.join(facts.covariates)}. No attribute of the person is used.",
        metrics="Brier score over 90 days (decides), AUC, calibration error over tenths, Harrell's C; beside each the naive rule: the past "
        "share of those with as many days on the clock.",
        evaluation_data=f"Windows after the cut-off that the model was fitted for: {', '.join(windows)}."
        if windows
        else "None: history is too short.",
        training_data=f"{facts.n_rows:,} subjects of {facts.n_customers:,} customers until {facts.as_of}, of which {facts.n_events:,} "
        f"left. Leaving means: {leaving}.",
        quantitative_analyses=_table(facts.metrics) if facts.metrics else "Nothing could be measured out of time.",
        ethical_considerations="A low probability to stay must not worsen the service: it is meant to find whom to look after. Reasons are "
        "what moves the model, not causes.",
        caveats_and_recommendations=f"Verdict: {facts.verdict}. Horizons longer than history go on with the last hazard that was seen.",
    )


def _table(metrics: tuple[Metric, ...]) -> str:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    rows = [f"| {m.window} | {m.metric} | {cell(m.value)} | {cell(m.baseline)} |" for m in metrics]
    return "\n".join(["| window | metric | value | baseline |", "| --- | --- | --- | --- |", *rows])
