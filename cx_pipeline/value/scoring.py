"""Scores of the value model: one row per customer and horizon, from the stored parameters alone.

Belongs here: expectations, quantiles, discounting, reasons. Does not belong here: training.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.value.buying import Buying, Moments
from cx_pipeline.value.likelihood import Array
from cx_pipeline.value.policy import ValuePolicy
from cx_pipeline.value.predictive import HIGH, LOW, Calibration, quantile
from cx_pipeline.value.training import Learner, correction_of

HORIZONS_DAYS = (91, 182, 365)
NO_ORDERS = "the customer has not ordered yet"
NO_MODEL = "too few customers have ordered for a model"
FIGURES = ("expected_orders", "expected_revenue", "median_revenue", "revenue_low", "revenue_high", "clv")
_DAYS_PER_YEAR = 365.0
_DECIMALS = 4
# Money is discounted in steps that end on these days; every horizon is among them.
_STEP_ENDS_DAYS = (91, 182, 273, 365)


def score(
    customers: pl.DataFrame,
    rows: pl.DataFrame,
    stored: Mapping[str, Any] | None,
    trees: Any,
    as_of: date,
    policy: ValuePolicy,
) -> pl.DataFrame:
    """One row per customer and horizon, with a reason where nothing can be said.

    Args:
        customers: customer_id of every customer.
        rows: summary of those with an order, as known at the as-of date.
        stored: parameters of the champion; None where there is none.
        trees: its estimator, where it has one.
        as_of: the date the rows stand for.
        policy: discounting and margin.
    """
    known = rows.filter(pl.lit(stored is not None)).sort("customer_id")
    frames = [] if stored is None or known.is_empty() else _scored(known, stored, trees, as_of, policy)
    scored = pl.concat([_empty(), *frames])
    every = customers.select("customer_id").join(pl.DataFrame({"horizon_days": HORIZONS_DAYS}), how="cross")
    has_ordered = pl.col("customer_id").is_in(rows["customer_id"].implode())
    return (
        every.join(scored, on=["customer_id", "horizon_days"], how="left")
        .with_columns(
            pl.when(pl.col("method").is_null())
            .then(pl.when(has_ordered).then(pl.lit(NO_MODEL)).otherwise(pl.lit(NO_ORDERS)))
            .alias("reason"),
            pl.lit(as_of).alias("as_of"),
        )
        .sort("customer_id", "horizon_days")
    )


def _empty() -> pl.DataFrame:
    names: dict[str, Any] = {"customer_id": pl.String, "horizon_days": pl.Int64}
    names |= dict.fromkeys(FIGURES, pl.Float64)
    return pl.DataFrame(schema=names | {"p_alive": pl.Float64, "method": pl.String})


def _scored(
    rows: pl.DataFrame, stored: Mapping[str, Any], trees: Any, as_of: date, policy: ValuePolicy
) -> list[pl.DataFrame]:
    buying = Buying.from_parameters(stored["buying"])
    calibration = Calibration(**stored["calibration"])
    learnt_days = int(stored["horizon_days"])
    moments = {days: buying.moments(rows, as_of, days) for days in sorted({*_STEP_ENDS_DAYS, learnt_days})}
    learner = Learner(str(stored["learner"]), tuple(stored["weights"]), trees)
    learnt = learner.revenue(rows, moments[learnt_days], as_of, learnt_days)
    correction = correction_of(learnt, moments[learnt_days])
    p_alive = buying.p_alive(rows, as_of)
    frames = []
    for horizon in HORIZONS_DAYS:
        found = moments[horizon]
        revenue = found.revenue * correction
        p_none = calibration.p_none(found.p_none, correction)
        variation = found.variation * calibration.dispersion
        low, median, high = (quantile(q, revenue, variation, p_none) for q in (LOW, 0.5, HIGH))
        clv = _discounted(moments, horizon, policy.annual_discount_rate) * correction * policy.margin_rate
        figures = (found.orders * correction, revenue, median, low, high, clv)
        frames.append(
            pl.DataFrame(
                {
                    "customer_id": rows["customer_id"],
                    "horizon_days": pl.Series([horizon] * rows.height, dtype=pl.Int64),
                    **{name: np.round(values, _DECIMALS) for name, values in zip(FIGURES, figures, strict=True)},
                    "p_alive": np.round(p_alive, _DECIMALS),
                    "method": pl.Series([str(stored["method"])] * rows.height, dtype=pl.String),
                }
            )
        )
    return frames


def _discounted(moments: Mapping[int, Moments], horizon_days: int, annual_rate: float) -> Array:
    """The buying model's revenue over a horizon, discounted step by step, each at its middle; shape (n,)."""
    total, before, begin = np.zeros(1), np.zeros(1), 0
    for end in (days for days in _STEP_ENDS_DAYS if days <= horizon_days):
        until = moments[end].revenue
        years = (begin + end) / 2 / _DAYS_PER_YEAR
        total = total + np.maximum(until - before, 0.0) * (1 + annual_rate) ** -years
        before, begin = until, end
    return total
