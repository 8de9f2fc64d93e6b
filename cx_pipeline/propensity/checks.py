"""Business checks of the propensity room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_check


@table_check("propensity.scores", reads=("propensity.scores", "profile.customers"))
def every_customer_has_one_row_per_model(scores: nw.LazyFrame, customers: nw.LazyFrame) -> nw.LazyFrame:
    """Each customer of the master file is in each model's scores, with a probability or the reason why there is none."""
    wanted = customers.select("customer_id").join(scores.select("model").unique(), how="cross")
    missing = wanted.join(scores, on=["customer_id", "model"], how="anti").select("customer_id", "model")
    unexplained = scores.filter(nw.col("probability").is_null() == nw.col("reason").is_null()).select(
        "customer_id", "model"
    )
    return nw.concat([missing, unexplained])


@table_check("propensity.scores", reads=("propensity.scores", "propensity.model_versions"))
def scores_come_from_the_champion(scores: nw.LazyFrame, versions: nw.LazyFrame) -> nw.LazyFrame:
    """Every probability is of a version that is in use and beat its naive rule out of time."""
    used = scores.filter(~nw.col("probability").is_null()).select("model", "version").unique()
    allowed = versions.filter(nw.col("is_champion") & nw.col("is_better"))
    return used.join(allowed, on=["model", "version"], how="anti").select("model", "version")


@table_check("propensity.calibration", reads=("propensity.model_metrics", "propensity.model_versions"), blocking=False)
def models_in_use_are_calibrated(metrics: nw.LazyFrame, versions: nw.LazyFrame) -> nw.LazyFrame:
    """The calibration slope of a model in use lies between .7 and 1.4 on its test window."""
    slopes = metrics.filter(
        (nw.col("metric") == "calibration_slope") & ((nw.col("value") < 0.7) | (nw.col("value") > 1.4))
    )
    used = versions.filter(nw.col("is_champion") & nw.col("is_better")).select("model", "version")
    return slopes.join(used, on=["model", "version"]).select("model", "version", "value")


CHECKS = (every_customer_has_one_row_per_model, scores_come_from_the_champion, models_in_use_are_calibrated)
