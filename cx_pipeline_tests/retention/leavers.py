"""Generated customers whose way of leaving is known: orders that stop, contracts that end.

Belongs here: frames for tests of the retention room. Does not belong here: what a test expects.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.retention.subjects import contract_rows, order_days

FIRST_DAY = date(2022, 1, 1)


def as_timeline(rows: list[tuple[str, date, float]]) -> pl.DataFrame:
    """Rows of (customer, day, amount) as orders of `profile.timeline`."""
    frame = pl.DataFrame(rows, schema={"customer_id": pl.String, "at": pl.Date, "value": pl.Float64}, orient="row")
    return frame.with_columns(pl.col("at").cast(pl.Datetime("us")), pl.lit("order").alias("kind"))


def days_of(rows: list[tuple[str, date, float]], as_of: date) -> pl.DataFrame:
    """The same as order days."""
    return to_polars(order_days(lazy(as_timeline(rows)), as_of))


def buyers(n: int = 250, n_days: int = 600, seed: int = 3) -> list[tuple[str, date, float]]:
    """Orders of n buyers with gaps of their own who stop at exponential times."""
    random = np.random.default_rng(seed)
    rows: list[tuple[str, date, float]] = []
    for i in range(n):
        day = float(random.integers(0, 120))
        ends = min(n_days, day + random.exponential(500) + 1)
        gap = random.uniform(4, 40)
        while day < ends:
            rows.append((f"C{i:05d}", FIRST_DAY + timedelta(days=int(day)), 10 + 10 * random.random()))
            day += max(1.0, random.exponential(gap))
    return rows


def contracts(n: int = 3000, n_days: int = 900, seed: int = 3) -> pl.DataFrame:
    """Contracts of n customers: monthly plans end at a hazard of 6 % a month, yearly ones at 1 %; a fifth of each lasts for ever."""
    random = np.random.default_rng(seed)
    begins = random.integers(0, n_days, n)
    is_yearly = random.random(n) < 0.5
    lasts = random.exponential(30 / np.where(is_yearly, 0.01, 0.06)) + 1
    lasts = np.where(random.random(n) < 0.2, 1e6, lasts)
    ended = [
        FIRST_DAY + timedelta(days=int(begin + last)) if begin + last <= n_days else None
        for begin, last in zip(begins, lasts, strict=True)
    ]
    return contract_rows(
        pl.DataFrame(
            {
                "customer_id": [f"C{i:05d}" for i in range(n)],
                "record_id": [f"S{i}" for i in range(n)],
                "subscription_started_on": [FIRST_DAY + timedelta(days=int(day)) for day in begins],
                "subscription_ended_on": pl.Series(ended, dtype=pl.Date),
                "subscription_plan": np.where(is_yearly, "yearly", "monthly"),
                "subscription_fee": np.where(is_yearly, 90.0, 10.0),
            }
        )
    )
