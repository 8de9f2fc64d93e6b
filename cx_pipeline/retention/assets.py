"""Assets of the retention room, in flow order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_asset, tables_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.models import champion_cards, metric_rows, version_rows
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.retention import cohorts, kaplan_meier, plots, scoring, training
from cx_pipeline.retention.policy import RetentionPolicy
from cx_pipeline.retention.subjects import (
    Subjects,
    activity_facts,
    activity_subjects,
    contract_subjects,
    order_days,
    spells,
)

TABLES = load_step("retention")
MODELS = [training.model_name("contract"), training.model_name("activity")]
SOURCES = ("profile.timeline", "staging.subscriptions", "metrics.attrition")


def _order_days(run: Run, timeline: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Order days, computed once: every past date reads them."""
    return run.warehouse.materialise(order_days(timeline, run.as_of), "retention_order_days")


def _cohorts(run: Run, timeline: nw.LazyFrame[Any], contracts: pl.DataFrame, window: int) -> list[training.Cohorts]:
    """Cohorts of both bases, of at most so many customers as the policy says."""
    policy = run.policy(RetentionPolicy)
    days = _order_days(run, timeline)
    chosen = cohorts.sampled(to_polars(days.select("customer_id").unique()), policy.max_train_customers)
    of_chosen = run.warehouse.materialise(
        days.join(run.warehouse.frame(chosen), on="customer_id", how="inner"), "retention_training_days"
    )
    contracted = contracts.join(cohorts.sampled(contracts, policy.max_train_customers), on="customer_id", how="semi")
    return [cohorts.contract_cohorts(contracted, policy), cohorts.activity_cohorts(of_chosen, window, policy)]


@tables_asset(
    "retention__model",
    [TABLES["model_metrics"], TABLES["model_versions"]],
    descriptions={
        "model_metrics": "One row per version of a retention model, window and metric, each beside the naive rule's figure.",
        "model_versions": "One row per stored version of the retention models, with its card: which one scores, and why.",
    },
    reads=SOURCES,
    needs=("staging.clock",),
    plots={"model_metrics": plots.predicted_against_actual},
    notes={"model_versions": champion_cards},
    trains=True,
)
def model(
    run: Run, timeline: nw.LazyFrame[Any], subscriptions: nw.LazyFrame[Any], attrition: nw.LazyFrame[Any]
) -> Mapping[str, Frame]:
    """Train the retention models in the training job, and where there is no champion yet; else report what is stored."""
    policy = run.policy(RetentionPolicy)
    if run.trains or any(run.models.champion(name) is None for name in MODELS):
        contracts = cohorts.attributed_contracts(subscriptions, timeline)
        for found in _cohorts(run, timeline, contracts, cohorts.window_days(attrition, policy)):
            if run.trains or run.models.champion(training.model_name(found.basis)) is None:
                trained = training.train(found, run.as_of, policy)
                if trained:
                    run.models.submit(trained, training.DECIDING_METRIC, higher_is_better=False)
    return {
        "model_metrics": metric_rows(run.models, MODELS, run.as_of),
        "model_versions": version_rows(run.models, MODELS, run.as_of),
    }


@table_asset(
    TABLES["customers"],
    reads=("profile.customers", *SOURCES),
    needs=("retention.model_versions",),
    plot=plots.survival_of_customers,
)
def customers(
    run: Run,
    master: nw.LazyFrame[Any],
    timeline: nw.LazyFrame[Any],
    subscriptions: nw.LazyFrame[Any],
    attrition: nw.LazyFrame[Any],
) -> Frame:
    """One row per customer: probability to stay 30 to 365 days, median time left, up to three reasons to leave."""
    policy = run.policy(RetentionPolicy)
    contracts = cohorts.attributed_contracts(subscriptions, timeline)
    facts = to_polars(activity_facts(_order_days(run, timeline), run.as_of))
    stored = {name: champion.parameters if (champion := run.models.champion(name)) else {} for name in MODELS}
    plans = tuple(stored[MODELS[0]].get("plans", ()))
    # The champion says what it was trained to call leaving; a changed W takes effect with the next training.
    window = stored[MODELS[1]].get("window_days") or cohorts.window_days(attrition, policy)

    def scored(name: str, subjects: Subjects) -> pl.DataFrame:
        hazard = training.hazard_of(stored[name]) if stored[name] else None
        basis = "contract" if name == MODELS[0] else "activity"
        return scoring.scored(basis, hazard, subjects, policy.max_residual_days)  # type: ignore[arg-type]

    parts = [
        scored(MODELS[0], contract_subjects(contracts, plans, run.as_of, from_start=False)),
        scoring.gone("contract", cohorts.contract_gone(contracts, run.as_of)),
        scored(MODELS[1], activity_subjects(facts, run.as_of, window)),
        scoring.gone("activity", cohorts.activity_gone(facts, window, run.as_of)),
    ]
    return scoring.customer_rows(to_polars(master.select("customer_id")), parts, run.as_of)


@table_asset(TABLES["survival_curves"], reads=SOURCES, needs=("staging.clock",), plot=plots.survival_curves)
def survival_curves(
    run: Run, timeline: nw.LazyFrame[Any], subscriptions: nw.LazyFrame[Any], attrition: nw.LazyFrame[Any]
) -> Frame:
    """One row per basis, segment and week of life: the share of customers that has not left by then (Kaplan-Meier)."""
    policy = run.policy(RetentionPolicy)
    window = cohorts.window_days(attrition, policy)
    contracts = cohorts.attributed_contracts(subscriptions, timeline)
    lived = to_polars(spells(_order_days(run, timeline), window))
    curves = [
        kaplan_meier.curves("contract", cohorts.contract_lives(contracts, run.as_of), policy.min_customers),
        kaplan_meier.curves("activity", cohorts.activity_lives(lived, window, run.as_of), policy.min_customers),
    ]
    return pl.concat(curves).with_columns(pl.lit(run.as_of).alias("as_of"))


ASSETS = (model, customers, survival_curves)
