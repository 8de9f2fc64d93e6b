"""Assets of the metrics room, in flow order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import tables_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.metrics import plots, pulse
from cx_pipeline.metrics.policy import PulsePolicy

TABLES = load_step("metrics")


@tables_asset(
    "metrics__pulse",
    (TABLES["attrition"], TABLES["acquisition"]),
    descriptions={
        "attrition": "One row per period, segment and definition of a customer: who was there, who left, and the share that left.",
        "acquisition": "One row per period and segment: how many customers came, against the base they came to.",
    },
    reads=("profile.timeline", "staging.subscriptions", "identity.identifier_xref"),
    needs=("staging.clock",),
    plots={"attrition": plots.attrition, "acquisition": plots.acquisition},
)
def pulse_of_the_base(
    run: Run, timeline: nw.LazyFrame[Any], subscriptions: nw.LazyFrame[Any], xref: nw.LazyFrame[Any]
) -> Mapping[str, Frame]:
    """The customer base at the boundaries of months and years, and who moved in between, by activity and by contract."""
    policy, as_of = run.policy(PulsePolicy), run.as_of
    window = policy.active_window_days
    spells = run.warehouse.materialise(pulse.activity_spells(timeline, window, as_of), "metrics_activity")
    activity = pulse.base_by_period(spells, "activity", window, as_of)
    held = run.warehouse.materialise(pulse.contract_spells(subscriptions, xref, as_of), "metrics_contracts")
    contract = pulse.base_by_period(held, "contract", None, as_of)
    return {
        "attrition": pulse.attrition(pl.concat([activity, contract]), policy.confidence, as_of),
        "acquisition": pulse.acquisition(contract if activity.is_empty() else activity, policy.confidence, as_of),
    }


ASSETS = (pulse_of_the_base,)
