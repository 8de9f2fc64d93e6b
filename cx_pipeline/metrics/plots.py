"""Plots of the metrics room."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import band


def attrition(rates: nw.LazyFrame[Any]) -> str | None:
    """Share of customers lost per month, with its interval, where the whole base is known."""
    return _monthly(rates, "attrition_rate", "Customers lost per month")


def acquisition(rates: nw.LazyFrame[Any]) -> str | None:
    """New customers per month as a share of the base, with its interval, where the whole base is known."""
    return _monthly(rates, "acquisition_rate", "New customers per month")


def _monthly(rates: nw.LazyFrame[Any], rate: str, title: str) -> str | None:
    """One definition only: activity where there is one, so that the line has one meaning."""
    months = to_polars(
        rates.filter((nw.col("period") == "month") & (nw.col("segment") == "all") & nw.col("is_base_complete"))
    ).filter(pl.col(rate).is_not_null())
    definition = months["definition"].min()
    shown = months.filter(pl.col("definition") == definition).sort("starts_on")
    if shown.is_empty():
        return None
    window = shown["window_days"][0]
    basis = f"no order within {window} days" if window else "by contract"
    return band(
        shown,
        x="starts_on",
        y=rate,
        low="rate_low",
        high="rate_high",
        title=f"{title} ({basis if rate == 'attrition_rate' else 'share of the base'})",
        y_title="share of the opening base",
        form=".1%",
    )
