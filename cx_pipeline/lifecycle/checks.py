"""Business checks of the lifecycle room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_check


@table_check("lifecycle.customers", reads=("lifecycle.customers", "profile.customers"))
def every_customer_has_one_stage(stages: nw.LazyFrame, customers: nw.LazyFrame) -> nw.LazyFrame:
    """Each customer of the master file has one row, with a stage or the reason why there is none."""
    missing = customers.select("customer_id").join(stages, on="customer_id", how="anti")
    unexplained = stages.filter(nw.col("stage").is_null() & nw.col("reason").is_null()).select("customer_id")
    return nw.concat([missing, unexplained])


@table_check("lifecycle.customers")
def stages_begin_before_tonight(stages: nw.LazyFrame) -> nw.LazyFrame:
    """No stage begins after the as-of date, and none follows itself."""
    late = (nw.col("since") > nw.col("as_of")).fill_null(False)
    itself = (nw.col("stage") == nw.col("previous_stage")).fill_null(False)
    return stages.filter(late | itself).select("customer_id")


CHECKS = (every_customer_has_one_stage, stages_begin_before_tonight)
