"""Assets of the engagement room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.engagement import evaluation as campaigns
from cx_pipeline.engagement import plots
from cx_pipeline.engagement import sensor_requests as sensors
from cx_pipeline.engagement.policy import EvaluationPolicy, SensorPolicy

TABLES = load_step("engagement")


@table_asset(
    TABLES["evaluation"],
    reads=(
        "staging.campaign_contacts",
        "staging.campaign_responses",
        "staging.channel_costs",
        "identity.identifier_xref",
    ),
    needs=("staging.clock",),
    plot=plots.effects_or_rates,
)
def evaluation(
    run: Run, contacts: nw.LazyFrame, responses: nw.LazyFrame, costs: nw.LazyFrame, xref: nw.LazyFrame
) -> Frame:
    """One row per campaign and arm: response rate, effect against control with interval, and a verdict that may say "not identifiable".

    The sample ratio is looked at before anything else; p values are adjusted over all arms that are read.
    """
    policy = run.policy(EvaluationPolicy)
    people = campaigns.assigned(contacts, responses, xref, policy.response_window_days)
    spent = to_polars(
        costs.filter(~nw.col("campaign_id").is_null()).group_by("campaign_id").agg(nw.col("cost_amount").sum())
    )
    by_campaign = {campaign: float(amount or 0) for campaign, amount in spent.iter_rows()}
    rows = campaigns.evaluation(to_polars(campaigns.arms(people)), by_campaign, policy, run.as_of)
    table = TABLES["evaluation"]
    return table.empty() if rows.is_empty() else rows.select(table.column_names).cast(table.polars_schema())


@table_asset(
    TABLES["sensor_requests"],
    reads=(
        "staging.usage",
        "staging.interactions",
        "staging.promises",
        "identity.identifier_xref",
        "channels.catalogue",
    ),
    needs=("staging.clock",),
    plot=plots.requests_by_action,
)
def sensor_requests(
    run: Run,
    usage: nw.LazyFrame,
    interactions: nw.LazyFrame,
    promises: nw.LazyFrame,
    xref: nw.LazyFrame,
    catalogue: nw.LazyFrame,
) -> Frame:
    """One row per request of a product: when it was answered, whether within the promised time, what is to be done now."""
    policy = run.policy(SensorPolicy)
    asked = run.warehouse.materialise(
        sensors.requests(usage, interactions, xref, policy, run.as_of), "engagement_requests"
    )
    answered = sensors.answers(asked, interactions, xref, catalogue, policy, run.as_of)
    rows = sensors.sensor_requests(asked, answered, sensors.promised_hours(promises, policy), run.as_of)
    return rows.with_columns(nw.lit(run.as_of).alias("as_of"))


ASSETS = (evaluation, sensor_requests)
