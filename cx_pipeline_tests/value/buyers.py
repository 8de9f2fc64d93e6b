"""Generated buyers with known habits, and the CDNOW sample of the literature.

Belongs here: order days for tests of the value room. Does not belong here: what a test expects.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.core.models import TrainedModel
from cx_pipeline.value import summaries, training
from cx_pipeline.value.policy import ValuePolicy

CDNOW = Path(__file__).parents[3] / "shared" / "data" / "analytics" / "CDNOW_sample.txt"
FIRST_DAY = date(2023, 1, 1)


def cdnow_days() -> pl.DataFrame:
    """customer_id, day, revenue of the CDNOW sample of 2,357 customers; skips where the file is not there."""
    if not CDNOW.is_file():
        pytest.skip("the CDNOW sample is not beside this checkout (../shared/data/analytics)")
    rows = [line.split() for line in CDNOW.read_text().splitlines()]
    return (
        pl.DataFrame(
            {"customer_id": [r[1] for r in rows], "day": [r[2] for r in rows], "revenue": [r[4] for r in rows]}
        )
        .with_columns(pl.col("day").str.to_date("%Y%m%d"), pl.col("revenue").cast(pl.Decimal(18, 4)))
        .group_by("customer_id", "day")
        .agg(pl.col("revenue").sum())
    )


def timeline(n: int = 300, n_days: int = 540, seed: int = 1, tail: float = 0.6) -> pl.DataFrame:
    """Orders of n buyers with Gamma rates who stop at exponential times; log-normal values with the given spread."""
    random = np.random.default_rng(seed)
    rows: list[tuple[str, date, float]] = []
    for i in range(n):
        begins = int(random.integers(0, n_days // 2))
        ends = min(n_days, begins + int(random.exponential(400)) + 1)
        gap = 1 / random.gamma(1.2, 0.05)
        level = random.normal(3, tail)
        day = float(begins)
        while day < ends:
            rows.append(
                (f"C{i:05d}", FIRST_DAY + timedelta(days=int(day)), float(np.exp(level + random.normal(0, tail))))
            )
            day += max(1.0, random.exponential(gap))
    return as_timeline(rows)


def as_timeline(rows: list[tuple[str, date, float]]) -> pl.DataFrame:
    """Rows of (customer, day, amount) as orders of `profile.timeline`."""
    frame = pl.DataFrame(rows, schema={"customer_id": pl.String, "at": pl.Date, "value": pl.Float64}, orient="row")
    return frame.with_columns(pl.col("at").cast(pl.Datetime("us")), pl.lit("order").alias("kind"))


def summary(orders: pl.DataFrame, cutoff: date) -> pl.DataFrame:
    """Summary of a timeline at the end of a day."""
    return to_polars(summaries.summaries(summaries.customer_days(lazy(orders), cutoff), cutoff))


def trained(orders: pl.DataFrame, as_of: date, policy: ValuePolicy | None = None) -> TrainedModel | None:
    """The value model of a timeline."""
    policy = policy or ValuePolicy()
    days: nw.LazyFrame = lazy(to_polars(summaries.customer_days(lazy(orders), as_of)))
    return training.train(
        lambda cutoff: to_polars(summaries.summaries(days, cutoff)),
        lambda cutoff: to_polars(summaries.outcomes(days, cutoff, policy.holdout_days)),
        as_of,
        policy,
    )
