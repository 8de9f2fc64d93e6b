"""The model card of customer value: nine sections, written anew at each training from what was measured.

Belongs here: wording. Does not belong here: figures (`training.py` measures them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from cx_pipeline.core.models import Metric, ModelCard


@dataclass(frozen=True)
class Facts:
    """What the card tells.

    Attributes:
        method: what the column `method` says.
        as_of: last day of the training data.
        n_customers: customers that the buying model was fitted on.
        holdout_days: length of the windows.
        windows: cut-offs with a closed window, latest first.
        parameters: of the buying model.
        verdict: the judgement in a sentence.
        metrics: everything measured.
    """

    method: str
    as_of: date
    n_customers: int
    holdout_days: int
    windows: tuple[date, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    verdict: str
    metrics: tuple[Metric, ...]


def model_card(facts: Facts) -> ModelCard:
    """The card."""
    fitted = "; ".join(
        f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        for name, values in facts.parameters.items()
    )
    judged_on = (
        f"The {facts.holdout_days} days after {facts.windows[0]}; nothing was chosen or fitted on them when this was measured."
        if facts.windows
        else "None: history is too short."
    )
    return ModelCard(
        model_details=f"`{facts.method}`, trained on what was known at the end of {facts.as_of}. Orders by Pareto/NBD, their value by "
        "Gamma-Gamma (log-normal shrinkage where Gamma-Gamma has no finite mean), corrected by recent run rates where past "
        f"cut-offs show that it ranks customers better. {fitted}.",
        intended_use="Expected orders, revenue and discounted margin of each customer over 91, 182 and 365 days, for ranking customers and "
        "for deciding what may be spent on them. Not for promising a single customer's spend: see the interval.",
        factors="Only the dates and net amounts of a customer's own orders. No attribute of the person is used.",
        metrics="Normalised Gini (decides), rank correlation, bias of the total, mean absolute error of the median, share of revenue of "
        "the top tenth, share of outcomes inside the 10-90 % interval (randomised where nothing was bought).",
        evaluation_data=judged_on,
        training_data=f"{facts.n_customers:,} customers with at least one order until {facts.as_of}. Learners saw the cut-offs "
        f"{', '.join(str(cutoff) for cutoff in facts.windows) or 'none'}, each with the {facts.holdout_days} days after it.",
        quantitative_analyses=_table(facts.metrics) if facts.metrics else "Nothing could be measured out of time.",
        ethical_considerations="Customers valued low may get less service; the interval is wide for customers with few orders, so a low "
        "value is often ignorance. Do not exclude anyone on this figure alone.",
        caveats_and_recommendations=f"Verdict: {facts.verdict}. Seasons are only seen in so far as past windows had them; horizons beyond "
        f"{facts.holdout_days} days are carried forward by the buying model and were not judged.",
    )


def _table(metrics: tuple[Metric, ...]) -> str:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    rows = [f"| {m.window} | {m.metric} | {cell(m.value)} | {cell(m.baseline)} |" for m in metrics]
    return "\n".join(["| window | metric | value | baseline |", "| --- | --- | --- | --- |", *rows])
