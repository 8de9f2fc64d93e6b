"""The pulse: how many customers there are at the beginning and the end of a period, who came, who left, who came back.

Belongs here: spells as a customer, movements between period boundaries, attrition and acquisition made of them.
Does not belong here: money (profitability, growth index), why somebody leaves (retention).

A spell is a stretch of time in the base: a customer is in it at the beginning of day D when `started_on < D <= until_on`. From a
contract, `until_on` is its last day; without one, an order keeps its customer in for W days, so until_on is the order's day + W, and
`started_on < D <= until_on` says the same as "an order in [D - W, D)". Periods are numbered (months and years one after another), so a
spell covers a run of boundaries; where a run begins somebody comes, where it ends somebody leaves, and the base is the running sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Literal

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.metrics.intervals import poisson_ratio, wilson

Definition = Literal["contract", "activity"]
Period = Literal["month", "year"]

PERIODS: tuple[Period, ...] = ("month", "year")
# Each entry divides all customers by something fixed for each of them: an expression over the columns of spells.
SEGMENTATIONS: tuple[nw.Expr, ...] = (nw.lit("all"),)

# Contracts without an end last longer than anybody looks ahead.
_NO_END = date(9999, 12, 31)
_COUNTS = ("n_entered", "n_left", "n_new", "n_new_still_active")
_EMPTY = pl.DataFrame(
    schema={
        "period": pl.String,
        "starts_on": pl.Date,
        "ends_on": pl.Date,
        "segment": pl.String,
        "definition": pl.String,
        "window_days": pl.Int64,
        "is_base_complete": pl.Boolean,
        **dict.fromkeys(
            ("n_opening", "n_new", "n_new_still_active", "n_reactivated", "n_lost", "n_closing"), pl.Int64()
        ),
    }
)


def activity_spells(timeline: nw.LazyFrame[Any], window_days: int, as_of: date) -> nw.LazyFrame[Any]:
    """One row per customer and spell of activity: customer_id, started_on, until_on.

    Args:
        timeline: `profile.timeline`; orders of a positive amount count, up to as_of.
        window_days: W, see above.
        as_of: the last day that counts.
    """
    ordered_on = nw.col("at").cast(nw.Date)
    days = (
        timeline.filter((nw.col("kind") == "order") & (nw.col("value") > 0))
        .select("customer_id", ordered_on.alias("started_on"))
        .filter(nw.col("started_on") <= as_of)
        .unique()
    )
    until = nw.col("started_on").dt.offset_by(f"{window_days}d").cast(nw.Date).alias("until_on")
    return _joined(days.with_columns(until, until.alias("bridged_on")))


def contract_spells(
    subscriptions: nw.LazyFrame[Any], xref: nw.LazyFrame[Any], as_of: date
) -> nw.LazyFrame[Any]:  # fmt: skip
    """One row per customer and spell under contract: customer_id, started_on, until_on. A plan that follows the next day goes on.

    Args:
        subscriptions: `staging.subscriptions`; rows without start or with an end before it say nothing.
        xref: `identity.identifier_xref`.
        as_of: contracts that begin later do not count; ends in the future do.
    """
    owners = xref.select(
        nw.col("namespace").alias("identifier_namespace"), nw.col("value").alias("identifier_value"), "customer_id"
    )
    held = (
        subscriptions.join(owners, on=["identifier_namespace", "identifier_value"])
        .select(
            "customer_id",
            nw.col("subscription_started_on").cast(nw.Date).alias("started_on"),
            nw.col("subscription_ended_on").cast(nw.Date).fill_null(_NO_END).alias("until_on"),
        )
        .filter((nw.col("started_on") <= as_of) & (nw.col("until_on") >= nw.col("started_on")))
        .group_by("customer_id", "started_on")
        .agg(nw.col("until_on").max())
    )
    day_after = nw.col("until_on").dt.offset_by("1d").cast(nw.Date)
    bridged = nw.when(nw.col("until_on") < _NO_END).then(day_after).otherwise(nw.col("until_on"))
    return _joined(held.with_columns(bridged.alias("bridged_on")))


def _joined(stretches: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Stretches of time that touch or overlap as one spell; `bridged_on` is the last start that still touches."""
    reach = nw.col("bridged_on").cum_max().over("customer_id", order_by="started_on").alias("reach")
    before = nw.col("reach").shift(1).over("customer_id", order_by="started_on")
    begins = (
        nw.when(before.is_null() | (nw.col("started_on") > before)).then(1).otherwise(0).cast(nw.Int64).alias("begins")
    )
    number = nw.col("begins").cum_sum().over("customer_id", order_by="started_on").alias("spell")
    return (
        stretches.with_columns(reach)
        .with_columns(begins)
        .with_columns(number)
        .group_by("customer_id", "spell")
        .agg(nw.col("started_on").min(), nw.col("until_on").max())
        .select("customer_id", "started_on", "until_on")
    )


def movements(spells: nw.LazyFrame[Any], period: Period, segment: nw.Expr) -> nw.LazyFrame[Any]:
    """One row per number of a period and segment: n_new, n_entered, n_new_still_active and n_left in that period.

    Args:
        spells: from `activity_spells` or `contract_spells`.
        period: month or year.
        segment: an entry of `SEGMENTATIONS`.
    """
    numbered = spells.with_columns(
        _number(nw.col("started_on"), period).alias("first_period"), segment.cast(nw.String).alias("segment")
    ).with_columns((nw.col("first_period") + 1).alias("start"), _number(nw.col("until_on"), period).alias("end"))
    first = numbered.group_by("customer_id", "segment").agg(nw.col("first_period").min().alias("new_in"))
    # Spells that begin and end between the same two boundaries cover none; those with no boundary between them are one run.
    before = nw.col("end").shift(1).over("customer_id", order_by="start")
    runs = (
        numbered.filter(nw.col("start") <= nw.col("end"))
        .with_columns(before.alias("end_before"))
        .with_columns(
            (nw.col("end_before").is_null() | (nw.col("start") > nw.col("end_before") + 1)).alias("enters"),
        )
    )
    after = nw.col("start").shift(-1).over("customer_id", order_by="start")
    entered = (
        runs.filter(nw.col("enters"))
        .select("customer_id", "segment", (nw.col("start") - 1).alias("number"))
        .join(first.select("customer_id", "new_in"), on="customer_id")
        .with_columns(
            nw.lit(1).alias("n_entered"),
            nw.when(nw.col("number") == nw.col("new_in")).then(1).otherwise(0).alias("n_new_still_active"),
        )
    )
    left = (
        runs.with_columns(after.alias("start_after"))
        .filter(nw.col("start_after").is_null() | (nw.col("start_after") > nw.col("end") + 1))
        .select("segment", nw.col("end").alias("number"), nw.lit(1).alias("n_left"))
    )
    new = first.select("segment", nw.col("new_in").alias("number"), nw.lit(1).alias("n_new"))
    return nw.concat([_counted(frame) for frame in (entered, left, new)]).group_by("segment", "number").agg(
        nw.col(name).sum().cast(nw.Int64) for name in _COUNTS
    )  # fmt: skip


def _counted(frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    present = set(frame.collect_schema().names())
    return frame.group_by("segment", "number").agg(
        (nw.col(name) if name in present else nw.col("number") * 0).sum().cast(nw.Int64).alias(name) for name in _COUNTS
    )


def _number(day: nw.Expr, period: Period) -> nw.Expr:
    """Periods numbered one after another: years by themselves, months as 12 x year + month - 1."""
    year = day.dt.year().cast(nw.Int64)
    return year if period == "year" else year * 12 + day.dt.month().cast(nw.Int64) - 1


def base_by_period(
    spells: nw.LazyFrame[Any],
    definition: Definition,
    window_days: int | None,
    as_of: date,
    segmentations: Sequence[nw.Expr] = SEGMENTATIONS,
) -> pl.DataFrame:
    """One row per period and segment: the base at its beginning and end, and who moved in between.

    Only whole periods count: those that begin on or after the first day of the first spell and have ended by as_of.

    Args:
        spells: from `activity_spells` (with window_days) or `contract_spells` (without); materialise them first.
        definition: what the spells are made of.
        window_days: W of activity; None for contracts.
        as_of: the last day that counts.
        segmentations: see `SEGMENTATIONS`.
    """
    first: date | None = to_polars(spells.select(nw.col("started_on").min()))["started_on"][0]
    if first is None:
        return _EMPTY
    frames = [_EMPTY]
    for period in PERIODS:
        counted = to_polars(nw.concat([movements(spells, period, segment) for segment in segmentations]))
        frames.append(_base(counted, period, first, as_of, window_days))
    return pl.concat(frames, how="diagonal_relaxed").with_columns(
        pl.lit(definition).alias("definition"), pl.lit(window_days, pl.Int64).alias("window_days")
    )


def _base(counted: pl.DataFrame, period: Period, first: date, as_of: date, window_days: int | None) -> pl.DataFrame:
    """Running sums of movements over all periods without a gap, then the whole periods of them."""
    segments = counted.select(pl.col("segment").unique(maintain_order=True))
    numbers = pl.DataFrame({"number": range(_period_number(first, period), _period_number(as_of, period) + 1)})
    has_ended = pl.col("ends_on") <= as_of + timedelta(days=1)
    return (
        segments.join(numbers, how="cross")
        .join(counted, on=["segment", "number"], how="left")
        .with_columns(pl.col(*_COUNTS).fill_null(0))
        .sort("segment", "number")
        .with_columns((pl.col("n_entered") - pl.col("n_left")).cum_sum().over("segment").alias("n_closing"))
        .with_columns(
            pl.col("n_closing").shift(1, fill_value=0).over("segment").alias("n_opening"),
            (pl.col("n_entered") - pl.col("n_new_still_active")).alias("n_reactivated"),
            pl.lit(period).alias("period"),
            _first_day(pl.col("number"), period).alias("starts_on"),
            _first_day(pl.col("number") + 1, period).alias("ends_on"),
        )
        .rename({"n_left": "n_lost"})
        .filter((pl.col("starts_on") >= first) & has_ended)
        .with_columns((pl.col("starts_on") >= first + timedelta(days=window_days or 0)).alias("is_base_complete"))
        .drop("number", "n_entered")
    )


def _period_number(day: date, period: Period) -> int:
    return day.year if period == "year" else day.year * 12 + day.month - 1


def _first_day(number: pl.Expr, period: Period) -> pl.Expr:
    return pl.date(number, 1, 1) if period == "year" else pl.date(number // 12, number % 12 + 1, 1)


def attrition(base: pl.DataFrame, confidence: float, as_of: date) -> pl.DataFrame:
    """Rows of `metrics.attrition`: lost / opening with its Wilson interval; NULL where nobody was there to be lost.

    Args:
        base: from `base_by_period`.
        confidence: of the interval.
        as_of: the date the rows stand for.
    """
    low, high = wilson(pl.col("n_lost"), pl.col("n_opening"), confidence)
    return base.with_columns(
        _ratio("n_lost", "n_opening").alias("attrition_rate"),
        low.alias("rate_low"),
        high.alias("rate_high"),
        pl.lit(as_of).alias("as_of"),
    )


def acquisition(base: pl.DataFrame, confidence: float, as_of: date) -> pl.DataFrame:
    """Rows of `metrics.acquisition`: new / opening with its interval; NULL where there was no base.

    The interval is Wilson's, or, where more come than there were (no proportion any more), that of a Poisson count.

    Args:
        base: from `base_by_period`.
        confidence: of the interval.
        as_of: the date the rows stand for.
    """
    new, opening = pl.col("n_new"), pl.col("n_opening")
    bounds = zip(wilson(new, opening, confidence), poisson_ratio(new, opening, confidence), strict=True)
    low, high = (pl.coalesce(proportion, count) for proportion, count in bounds)
    return base.select(
        "period",
        "starts_on",
        "ends_on",
        "segment",
        "definition",
        "window_days",
        "is_base_complete",
        "n_opening",
        "n_new",
        _ratio("n_new", "n_opening").alias("acquisition_rate"),
        low.alias("rate_low"),
        high.alias("rate_high"),
        pl.lit(as_of).alias("as_of"),
    )


def _ratio(numerator: str, denominator: str) -> pl.Expr:
    return pl.when(pl.col(denominator) > 0).then(pl.col(numerator) / pl.col(denominator)).otherwise(None)
