"""Subjects of survival analysis: who is at risk at a date, on which clock, with which covariates, and what became of them.

Two bases, one form. *Activity*: the clock is the days since the last order; a customer leaves when it reaches W without an order
(day of the last order + W); he is looked at on several past dates (landmarks). *Contract*: the clock is the days since the contract
began; he leaves when it ends. A subject has `elapsed_days` on its clock already survived, and, once known, `exit_days` with
`is_event`.

Belongs here: days, spells, subjects and their covariates. Does not belong here: models of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import narwhals as nw
import numpy as np
import numpy.typing as npt
import polars as pl

Basis = Literal["contract", "activity"]
Array = npt.NDArray[np.float64]
ACTIVITY_COVARIATES = ("recency", "overdue", "frequency", "slowing", "tenure", "order_value")
# Plans with fewer contracts than this share of all count as "other".
_MIN_PLAN_SHARE = 0.02
_MAX_PLANS = 12
_MONEY = nw.Decimal(18, 4)
_YEAR_DAYS, _QUARTER_DAYS, _MONTH_DAYS = 364, 91, 28


@dataclass(frozen=True)
class Subjects:
    """Customers at risk at a date.

    Attributes:
        rows: customer_id, elapsed_days, exit_days and is_event (both NULL where nothing is known beyond the date), and the facts
            that drivers are told with.
        covariates: shape (n, k), in the order of `names`.
        names: of the covariates.
    """

    rows: pl.DataFrame
    covariates: Array
    names: tuple[str, ...]

    def days(self, name: str) -> Array:
        """A column of days as doubles, shape (n,)."""
        return self.rows[name].cast(pl.Float64).to_numpy().copy()

    @property
    def is_event(self) -> npt.NDArray[np.bool_]:
        """Whether each subject left, shape (n,)."""
        return self.rows["is_event"].to_numpy().copy()

    def take(self, chosen: npt.NDArray[Any]) -> Subjects:
        """Some of them, by mask or positions."""
        rows = self.rows.filter(pl.Series(chosen)) if chosen.dtype == np.bool_ else self.rows[chosen.tolist()]
        return Subjects(rows, self.covariates[chosen], self.names)


def order_days(timeline: nw.LazyFrame[Any], as_of: date) -> nw.LazyFrame[Any]:
    """One row per customer and day with a positive net amount until `as_of`: customer_id, day, revenue (decimal)."""
    return (
        timeline.filter((nw.col("kind") == "order") & ~nw.col("value").is_null())
        .select("customer_id", nw.col("at").cast(nw.Date).alias("day"), nw.col("value").cast(_MONEY).alias("revenue"))
        .filter(nw.col("day") <= nw.lit(as_of))
        .group_by("customer_id", "day")
        .agg(nw.col("revenue").sum().cast(_MONEY).alias("revenue"))
        .filter(nw.col("revenue") > 0)
    )


def spells(days: nw.LazyFrame[Any], window_days: int) -> nw.LazyFrame[Any]:
    """One row per spell of activity: customer_id, started_on, last_on, first_value; a spell ends where window_days pass without an order.

    The customer has left on last_on + window_days, unless that day is still to come.
    """
    before = nw.col("day").shift(1).over("customer_id", order_by="day")
    begins = days.with_columns(before.alias("before")).with_columns(
        (nw.col("before").is_null() | (nw.col("day") >= _plus(nw.col("before"), window_days)))
        .cast(nw.Int64)
        .alias("begins")
    )
    numbered = begins.with_columns(nw.col("begins").cum_sum().over("customer_id", order_by="day").alias("spell"))
    first_value = nw.when(nw.col("begins") == 1).then(nw.col("revenue")).otherwise(None)
    return (
        numbered.with_columns(nw.col("spell").cast(nw.Int64))
        .group_by("customer_id", "spell")
        .agg(
            nw.col("day").min().alias("started_on"),
            nw.col("day").max().alias("last_on"),
            first_value.max().cast(nw.Float64).alias("first_value"),
        )
        .sort("customer_id", "spell")
    )


def _plus(day: nw.Expr, n_days: int) -> nw.Expr:
    return day.dt.offset_by(f"{n_days}d").cast(nw.Date)


def activity_facts(days: nw.LazyFrame[Any], landmark: date) -> nw.LazyFrame[Any]:
    """One row per customer with an order until the landmark day: what was known of the rhythm of orders then.

    Columns: customer_id, first_day, last_day, n_orders, n_orders_364d, n_orders_91d, n_orders_28d, revenue.
    """
    known = days.filter(nw.col("day") <= nw.lit(landmark))

    def recent(n_days: int) -> nw.Expr:
        is_recent = nw.col("day") > nw.lit(landmark - timedelta(days=n_days))
        return nw.when(is_recent).then(1).otherwise(0).sum().cast(nw.Int64).alias(f"n_orders_{n_days}d")

    return (
        known.group_by("customer_id")
        .agg(
            nw.col("day").min().alias("first_day"),
            nw.col("day").max().alias("last_day"),
            nw.len().cast(nw.Int64).alias("n_orders"),
            *(recent(n_days) for n_days in (_YEAR_DAYS, _QUARTER_DAYS, _MONTH_DAYS)),
            nw.col("revenue").sum().cast(_MONEY).cast(nw.Float64).alias("revenue"),
        )
        .sort("customer_id")
    )


def activity_subjects(
    facts: pl.DataFrame,
    landmark: date,
    window_days: int,
    lived: pl.DataFrame | None = None,
    known_until: date | None = None,
) -> Subjects:
    """Customers who are active at the end of the landmark day, on the clock of days since their last order.

    Args:
        facts: from `activity_facts` of that day.
        landmark: the day.
        window_days: W.
        lived: from `spells`; None where the future is not to be looked at.
        known_until: last day of the future that is looked at; who has not left by then is censored.
    """
    day = pl.lit(landmark)
    rows = (
        facts.with_columns(
            (day - pl.col("last_day")).dt.total_days().alias("elapsed_days"),
            (day - pl.col("first_day")).dt.total_days().alias("tenure_days"),
        )
        .filter(pl.col("elapsed_days") < window_days)
        .with_columns(
            (pl.min_horizontal(pl.col("tenure_days") + 1, _YEAR_DAYS) / pl.max_horizontal("n_orders_364d", 1)).alias(
                "usual_gap_days"
            ),
            (pl.col("revenue") / pl.col("n_orders")).alias("mean_order_value"),
        )
        .sort("customer_id")
    )
    if lived is not None and known_until is not None:
        rows = _with_exits(rows, lived, landmark, window_days, known_until)
    per_month = pl.col("n_orders_91d") * (_MONTH_DAYS / _QUARTER_DAYS)
    made = rows.select(
        (pl.col("elapsed_days") + 1).log().alias("recency"),
        ((pl.col("elapsed_days") + 1) / (pl.col("usual_gap_days") + 1)).log().alias("overdue"),
        (pl.col("n_orders_91d") + 1).log().alias("frequency"),
        ((per_month + 0.5) / (pl.col("n_orders_28d") + 0.5)).log().alias("slowing"),
        (pl.col("tenure_days") + 1).log().alias("tenure"),
        pl.max_horizontal("mean_order_value", 0.01).log().alias("order_value"),
    )
    return Subjects(rows, made.select(ACTIVITY_COVARIATES).to_numpy(), ACTIVITY_COVARIATES)


def _with_exits(
    rows: pl.DataFrame, lived: pl.DataFrame, landmark: date, window_days: int, known_until: date
) -> pl.DataFrame:
    """Days on the clock until the customer left or was last looked at."""
    leaves = (pl.col("last_on").dt.offset_by(f"{window_days}d")).alias("left_on")
    current = lived.with_columns(leaves).filter((pl.col("started_on") <= landmark) & (pl.col("left_on") > landmark))
    joined = rows.join(current.select("customer_id", "left_on"), on="customer_id", how="inner", maintain_order="left")
    until = pl.min_horizontal("left_on", pl.lit(known_until))
    return joined.with_columns(
        (until - pl.col("last_day")).dt.total_days().alias("exit_days"),
        (pl.col("left_on") <= known_until).alias("is_event"),
    )


def contract_rows(subscriptions: pl.DataFrame) -> pl.DataFrame:
    """One row per customer with a contract: customer_id, started_on, ended_on, plan, fee.

    Of several contracts the one that runs longest stands for the customer; where none runs, the one that ended last.

    Args:
        subscriptions: customer_id, subscription_started_on, subscription_ended_on, subscription_plan, subscription_fee, record_id.
    """
    return (
        subscriptions.filter(
            pl.col("subscription_started_on").is_not_null()
            & (
                pl.col("subscription_ended_on").is_null()
                | (pl.col("subscription_ended_on") >= pl.col("subscription_started_on"))
            )
        )
        .sort(
            "customer_id",
            pl.col("subscription_ended_on").fill_null(date.max),
            "subscription_started_on",
            "record_id",
            descending=[False, True, False, False],
        )
        .unique("customer_id", keep="first", maintain_order=True)
        .select(
            "customer_id",
            pl.col("subscription_started_on").alias("started_on"),
            pl.col("subscription_ended_on").alias("ended_on"),
            pl.col("subscription_plan").alias("plan"),
            pl.col("subscription_fee").cast(pl.Float64).alias("fee"),
        )
    )


def plans_of(contracts: pl.DataFrame) -> tuple[str, ...]:
    """Plans common enough to be a covariate each; the most common one is the reference and left out."""
    counted = contracts.drop_nulls("plan").group_by("plan").len().sort("len", "plan", descending=[True, False])
    common = counted.filter(pl.col("len") >= _MIN_PLAN_SHARE * contracts.height)["plan"].to_list()
    return tuple(common[1:_MAX_PLANS])


def contract_subjects(
    contracts: pl.DataFrame, plans: tuple[str, ...], at: date, *, from_start: bool, known_until: date | None = None
) -> Subjects:
    """Customers whose contract had begun at the end of a day, on the clock of days since it began.

    Args:
        contracts: from `contract_rows`.
        plans: plans that are covariates.
        at: the day.
        from_start: True: everyone, looked at from the first day on (to learn from); False: those whose contract runs at the day.
        known_until: last day of what is known of the end; None where the future is not to be looked at.
    """
    ended = pl.col("ended_on")
    begun = contracts.filter(pl.col("started_on") <= at).sort("customer_id")
    if not from_start:
        begun = begun.filter(ended.is_null() | (ended > at))
    tenure = (pl.lit(at) - pl.col("started_on")).dt.total_days()
    rows = begun.with_columns(pl.lit(0).alias("elapsed_days") if from_start else tenure.alias("elapsed_days"))
    if known_until is not None:
        until = pl.min_horizontal(ended.fill_null(known_until), pl.lit(known_until))
        rows = rows.with_columns(
            pl.max_horizontal((until - pl.col("started_on")).dt.total_days(), 1).alias("exit_days"),
            (ended <= known_until).fill_null(False).alias("is_event"),
        )
    made = rows.select(
        (pl.max_horizontal(pl.col("fee").fill_null(0), 0) + 1).log().alias("fee"),
        *((pl.col("plan") == plan).fill_null(False).cast(pl.Float64).alias(f"plan={plan}") for plan in plans),
    )
    return Subjects(rows, made.to_numpy().astype(np.float64), tuple(made.columns))


def stacked(parts: list[Subjects]) -> Subjects:
    """Subjects of several landmarks as one."""
    return Subjects(
        pl.concat([part.rows for part in parts], how="diagonal"),
        np.vstack([part.covariates for part in parts]),
        parts[0].names,
    )
