"""Assets of the value room, in flow order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_asset, tables_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.models import champion_cards, metric_rows, version_rows
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.value import plots, scoring, summaries, training
from cx_pipeline.value.policy import ValuePolicy

TABLES = load_step("value")
MODELS = (training.MODEL,)


def _days(run: Run, timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Customer-days, computed once: every cut-off reads them."""
    return run.warehouse.materialise(summaries.customer_days(timeline, run.as_of), "value_customer_days")


@tables_asset(
    "value__model",
    [TABLES["model_metrics"], TABLES["model_versions"]],
    descriptions={
        "model_metrics": "One row per version of the value model, window and metric, each beside the naive rule's figure.",
        "model_versions": "One row per stored version of the value model, with its card: which one scores, and why.",
    },
    reads=("profile.timeline",),
    needs=("staging.clock",),
    plots={"model_metrics": plots.predicted_against_actual},
    notes={"model_versions": champion_cards},
    trains=True,
)
def model(run: Run, timeline: nw.LazyFrame[Any]) -> Mapping[str, Frame]:
    """Train the value model in the training job, and where there is no champion yet; else report what is stored."""
    policy = run.policy(ValuePolicy)
    if run.trains or run.models.champion(training.MODEL) is None:
        days = _days(run, timeline)

        def summarise(cutoff: date) -> pl.DataFrame:
            return to_polars(summaries.summaries(days, cutoff))

        def outcomes(cutoff: date) -> pl.DataFrame:
            return to_polars(summaries.outcomes(days, cutoff, policy.holdout_days))

        trained = training.train(summarise, outcomes, run.as_of, policy)
        if trained:
            run.models.submit(trained, training.DECIDING_METRIC, higher_is_better=True)
    return {
        "model_metrics": metric_rows(run.models, MODELS, run.as_of),
        "model_versions": version_rows(run.models, MODELS, run.as_of),
    }


@table_asset(
    TABLES["customers"],
    reads=("profile.customers", "profile.timeline"),
    needs=("value.model_versions",),
    plot=plots.revenue_by_tenth,
)
def customers(run: Run, master: nw.LazyFrame[Any], timeline: nw.LazyFrame[Any]) -> Frame:
    """One row per customer and horizon: expected orders and revenue, an interval, and what that is worth today."""
    champion = run.models.champion(training.MODEL)
    return scoring.score(
        to_polars(master.select("customer_id")),
        to_polars(summaries.summaries(_days(run, timeline), run.as_of)),
        champion.parameters if champion else None,
        champion.load_estimator() if champion and champion.has_estimator else None,
        run.as_of,
        run.policy(ValuePolicy),
    )


ASSETS = (model, customers)
