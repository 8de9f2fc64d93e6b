"""Survival curves of groups by Kaplan and Meier, with intervals, by lifelines.

Belongs here: curves for tables and plots. Does not belong here: survival of single customers.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.retention.subjects import Array, Basis

_STEP_DAYS = 7
CURVE_SCHEMA = {
    "basis": pl.String,
    "segment": pl.String,
    "t_days": pl.Int64,
    "survival": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n_at_risk": pl.Int64,
}
_DECIMALS = 6


def survival_curve(basis: Basis, segment: str, days: Array, is_event: Array, confidence: float = 0.95) -> pl.DataFrame:
    """One row per week since the beginning: share that has not left, with interval, and how many are still looked at.

    Args:
        basis: contract or activity.
        segment: name of the group.
        days: until leaving or until last seen, shape (n,); positive.
        is_event: whether each left, shape (n,).
        confidence: of the interval (Greenwood, log-log).
    """
    from lifelines import KaplanMeierFitter

    at = np.arange(0, int(days.max()) + 1, _STEP_DAYS)
    fitter = KaplanMeierFitter(alpha=1 - confidence).fit(days, is_event, timeline=np.unique(np.concatenate([at, days])))
    curve = fitter.survival_function_at_times(at).to_numpy()
    bounds = fitter.confidence_interval_.loc[at.astype(np.float64)].to_numpy()
    ordered = np.sort(days)
    return pl.DataFrame(
        {
            "basis": [basis] * len(at),
            "segment": [segment] * len(at),
            "t_days": at,
            "survival": np.round(curve, _DECIMALS),
            "low": np.round(bounds[:, 0], _DECIMALS),
            "high": np.round(bounds[:, 1], _DECIMALS),
            "n_at_risk": len(ordered) - np.searchsorted(ordered, at, side="left"),
        },
        schema=CURVE_SCHEMA,
    ).with_columns(pl.col("low", "high").fill_nan(None))


def curves(basis: Basis, lived: pl.DataFrame, min_group: int) -> pl.DataFrame:
    """Curves of everyone and of each group that is large enough.

    Args:
        basis: contract or activity.
        lived: segment, days (positive), is_event: one row per customer.
        min_group: groups smaller than this are only part of "all".
    """
    if lived.is_empty():
        return pl.DataFrame(schema=CURVE_SCHEMA)
    groups = [("all", lived)]
    for name in sorted(lived["segment"].drop_nulls().unique().to_list()):
        members = lived.filter(pl.col("segment") == name)
        if min_group <= members.height < lived.height:
            groups.append((name, members))
    return pl.concat(
        survival_curve(basis, name, _doubles(members["days"]), _doubles(members["is_event"]))
        for name, members in groups
    )


def _doubles(values: pl.Series) -> Array:
    return values.cast(pl.Float64).to_numpy().copy()
