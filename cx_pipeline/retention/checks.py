"""Business checks of the retention room."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import dagster as dg
import narwhals as nw

from cx_pipeline.core.assets import table_check

_SURVIVALS = ("survival_30d", "survival_90d", "survival_180d", "survival_365d")


@table_check("retention.customers")
def survival_falls_with_the_horizon(customers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Nobody is likelier to stay longer than to stay less long."""
    grows = nw.lit(False)
    for shorter, longer in pairwise(_SURVIVALS):
        grows = grows | (nw.col(longer) > nw.col(shorter)).fill_null(False)
    return customers.filter(grows).select("customer_id")


@table_check("retention.customers")
def a_missing_survival_has_a_reason(customers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Where there is no probability there is a reason, and where there is one there is none; all four are there or none is."""
    n_missing = sum((nw.col(name).is_null().cast(nw.Int64) for name in _SURVIVALS), start=nw.lit(0))
    marked = customers.with_columns(n_missing.alias("n_missing"))
    is_half = (nw.col("n_missing") > 0) & (nw.col("n_missing") < len(_SURVIVALS))
    return marked.filter(is_half | ((nw.col("n_missing") > 0) == nw.col("reason").is_null())).select("customer_id")


@table_check("retention.customers")
def who_has_left_does_not_survive(customers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """An ended contract or a silent customer has probability 0 to stay; an active one keeps more than 0 for a month."""
    has_left = nw.col("status").is_in(["inactive", "ended"])
    is_wrong = (has_left & (nw.col("survival_30d") > 0)) | (~has_left & (nw.col("survival_30d") <= 0))
    return customers.filter(is_wrong).select("customer_id", "status")


@table_check("retention.survival_curves")
def curves_never_rise(curves: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """The share that has not left never grows with time, and lies within its interval."""
    before = nw.col("survival").shift(1).over("basis", "segment", order_by="t_days")
    marked = curves.with_columns(before.alias("before"))
    rises = (nw.col("survival") > nw.col("before")).fill_null(False)
    is_out = ((nw.col("low") > nw.col("survival")) | (nw.col("high") < nw.col("survival"))).fill_null(False)
    return marked.filter(rises | is_out).select("basis", "segment", "t_days")


@table_check("retention.customers", reads=("retention.customers", "profile.customers"))
def every_customer_has_one_row(customers: nw.LazyFrame[Any], master: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Each customer of the master file has a row, and nobody else has one."""
    ids = master.select("customer_id")
    missing = ids.join(customers, on="customer_id", how="anti").select("customer_id")
    return nw.concat([missing, customers.join(ids, on="customer_id", how="anti").select("customer_id")])


@table_check("retention.model_versions", blocking=False, severity=dg.AssetCheckSeverity.WARN)
def the_champions_beat_the_naive_rule(versions: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Each version that makes the scores ranked customers better than days on the clock alone out of time, and was calibrated."""
    return versions.filter(nw.col("is_champion") & ~nw.col("is_better")).select("model", "version", "verdict")


CHECKS = (
    survival_falls_with_the_horizon,
    a_missing_survival_has_a_reason,
    who_has_left_does_not_survive,
    curves_never_rise,
    every_customer_has_one_row,
    the_champions_beat_the_naive_rule,
)
