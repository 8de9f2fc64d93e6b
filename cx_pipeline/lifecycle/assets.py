"""Assets of the lifecycle room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.lifecycle import plots, stages
from cx_pipeline.lifecycle.policy import LifecyclePolicy

TABLES = load_step("lifecycle")


@table_asset(
    TABLES["customers"],
    reads=("profile.customers", "profile.features"),
    needs=("staging.clock",),
    plot=plots.stage_mix,
)
def customers(run: Run, master: nw.LazyFrame, features: nw.LazyFrame) -> Frame:
    """One row per customer: the stage tonight with rule and evidence, since when, and the stage before.

    The stage before is read from the same rules at past cut-offs, so it is known of the customers that have features there.
    """
    known = to_polars(features)
    rules = stages.read_rules(run.policy(LifecyclePolicy).rules, known.columns)
    return stages.customer_stages(to_polars(master.select("customer_id")), stages.staged(known, rules), run.as_of)


ASSETS = (customers,)
