"""Model cards of the propensity room: the nine sections of Mitchell et al. 2019, written anew at each training.

Belongs here: words about a model. Does not belong here: figures (`evaluation.py`), storing (`core/models.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cx_pipeline.core.models import Metric, ModelCard


@dataclass(frozen=True)
class Description:
    """What the card says about a model that no figure tells.

    Attributes:
        model: name of the model.
        outcome: what is predicted, in a sentence.
        row: what a row of the training data is.
        use: what the probability is for, and what not.
        caveats: what to beware of.
    """

    model: str
    outcome: str
    row: str
    use: str
    caveats: str


def model_card(
    description: Description,
    parameters: Mapping[str, Any],
    metrics: Sequence[Metric],
    verdict: str,
    losses: Mapping[str, float],
    windows: Sequence[str],
    rows: pl.DataFrame,
) -> ModelCard:
    """The card of a model just trained.

    Args:
        description: the words.
        parameters: as they will be stored.
        metrics: figures out of time.
        verdict: the judgement.
        losses: candidate -> log loss on the calibration fold.
        windows: of the fitting, calibration and test fold.
        rows: all labelled rows.
    """
    compared = "\n".join(f"- {name}: log loss {loss:.4f}" for name, loss in losses.items())
    figures = "\n".join(
        f"| {m.metric} | {_text(m.value)} | {_text(m.baseline)} |"
        for m in metrics
        if m.metric not in ("n_rows", "n_events")
    )
    features = ", ".join(f"`{name}`" for name in parameters["features"])
    return ModelCard(
        model_details=f"`{description.model}`: {parameters['candidate']}, calibrated by a {parameters['calibrator']['kind']} map. "
        f"Predicts {description.outcome} Chosen by log loss on the calibration fold among:\n\n{compared}",
        intended_use=description.use,
        factors=f"Features: {features}. No name, address, age, sex or other trait of the person is used.",
        metrics="AUC (ranking), Brier score and log loss (accuracy), lift of the first tenth, calibration slope, intercept and mean "
        "gap. A model is used only if it ranks better and is more accurate than the naive rule and is calibrated, out of time.",
        evaluation_data=f"Rows of {windows[2]}, later than everything the tested model was fitted and calibrated on.",
        training_data=f"{description.row} {rows.height:,} rows with {int(rows['label'].sum()):,} events; candidates fitted on "
        f"{windows[0]}, chosen and calibrated on {windows[1]}; the stored model is fitted on all rows before "
        f"{windows[2].split('..')[0]} and calibrated on {windows[2]}.",
        quantitative_analyses=f"{verdict[0].upper()}{verdict[1:]}.\n\n| figure | model | naive rule ({parameters['naive_rule']}) |\n"
        f"| --- | --- | --- |\n{figures}",
        ethical_considerations="Behaviour only. A low probability must not decide about service or price; people who asked not to be "
        "contacted are not contacted, whatever the score.",
        caveats_and_recommendations=description.caveats,
    )


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
