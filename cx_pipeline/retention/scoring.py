"""Scores of the retention models: one row per customer, from the stored parameters alone.

Belongs here: survival at the horizons, median time left, who has left already, reasons. Does not belong here: training.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.retention.drivers import N_DRIVERS, drivers
from cx_pipeline.retention.subjects import Array, Basis, Subjects
from cx_pipeline.retention.training import HORIZONS_DAYS, Hazard, survival

SURVIVALS = tuple(f"survival_{days}d" for days in HORIZONS_DAYS)
NO_ORDERS = "neither a contract nor an order is known"
NO_MODEL = "too few customers have left for a model"
_DECIMALS = 6
_HALVINGS = 24
SCHEMA: dict[str, Any] = {
    "customer_id": pl.String,
    "basis": pl.String,
    "status": pl.String,
    **dict.fromkeys(SURVIVALS, pl.Float64),
    "median_residual_days": pl.Int64,
    **{f"driver_{i}": pl.String for i in range(1, N_DRIVERS + 1)},
    "reason": pl.String,
}


def scored(basis: Basis, hazard: Hazard | None, subjects: Subjects, max_residual_days: int) -> pl.DataFrame:
    """Rows of the customers at risk; without a model, rows that say so."""
    rows = subjects.rows.select("customer_id", pl.lit(basis).alias("basis"), pl.lit("active").alias("status"))
    if hazard is None or rows.is_empty():
        return _padded(rows.with_columns(pl.lit(NO_MODEL).alias("reason")))
    figures = {
        name: np.round(survival(hazard, subjects, days), _DECIMALS)
        for name, days in zip(SURVIVALS, HORIZONS_DAYS, strict=True)
    }
    told = drivers(
        subjects.rows, subjects.names, hazard.contributions(subjects.covariates, subjects.days("elapsed_days"))
    )
    median = pl.Series("median_residual_days", median_residual(hazard, subjects, max_residual_days), dtype=pl.Float64)
    with_figures = rows.with_columns(
        *(pl.Series(name, values) for name, values in figures.items()), median.fill_nan(None).cast(pl.Int64)
    )
    return _padded(pl.concat([with_figures, told], how="horizontal"))


def median_residual(hazard: Hazard, subjects: Subjects, max_days: int) -> Array:
    """First day on which the probability to have stayed is at most one half, by halving; NaN beyond max_days. Shape (n,)."""
    low, high = np.zeros(subjects.rows.height), np.full(subjects.rows.height, float(max_days))
    elapsed = subjects.days("elapsed_days")
    path = hazard.path(subjects.covariates, float(elapsed.max(initial=0.0)) + max_days)
    half = path.at(elapsed) + np.log(2)
    is_ever = path.at(elapsed + high) >= half
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        left = path.at(elapsed + middle) >= half
        low, high = np.where(left, low, middle), np.where(left, middle, high)
    return np.where(is_ever, np.ceil(np.round(high, 3)), np.nan)


def gone(basis: Basis, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the customers who have left already: customer_id, status, driver_1 (since when); they survive with probability 0."""
    return _padded(
        rows.select(
            "customer_id",
            pl.lit(basis).alias("basis"),
            "status",
            *(pl.lit(0.0).alias(name) for name in SURVIVALS),
            pl.lit(0, pl.Int64).alias("median_residual_days"),
            "driver_1",
        )
    )


def customer_rows(customers: pl.DataFrame, parts: list[pl.DataFrame], as_of: date) -> pl.DataFrame:
    """One row per customer of the master file.

    Args:
        customers: customer_id of everyone.
        parts: from `scored` and `gone`; the first that has a customer counts.
        as_of: the date the rows stand for.
    """
    known = pl.concat([pl.DataFrame(schema=SCHEMA), *parts]).unique("customer_id", keep="first", maintain_order=True)
    return (
        customers.select("customer_id")
        .join(known, on="customer_id", how="left")
        .with_columns(
            pl.when(pl.col("basis").is_null()).then(pl.lit(NO_ORDERS)).otherwise(pl.col("reason")).alias("reason"),
            pl.lit(as_of).alias("as_of"),
        )
        .sort("customer_id")
    )


def _padded(rows: pl.DataFrame) -> pl.DataFrame:
    """All columns of the schema, NULL where nothing is said."""
    missing = [pl.lit(None).alias(name) for name in SCHEMA if name not in rows.columns]
    return rows.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
