"""Cohorts of both bases: subjects at past dates out of order days and contracts.

Belongs here: which past dates are looked at, who is sampled, what curves are made of. Does not belong here: models.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.retention.discrete_hazard import Clock
from cx_pipeline.retention.policy import RetentionPolicy
from cx_pipeline.retention.subjects import (
    Subjects,
    activity_facts,
    activity_subjects,
    contract_rows,
    contract_subjects,
    plans_of,
    spells,
    stacked,
)
from cx_pipeline.retention.training import Cohorts

_N_VALUE_GROUPS = ("first order small", "first order middle", "first order large")


def window_days(attrition: nw.LazyFrame[Any], policy: RetentionPolicy) -> int:
    """W: the policy's, else that of `metrics.attrition`, so that both rooms call the same customers gone."""
    if policy.inactive_after_days:
        return policy.inactive_after_days
    said = to_polars(attrition.filter(nw.col("definition") == "activity").select(nw.col("window_days").max()))
    found = said["window_days"].drop_nulls().to_list()
    return int(found[0]) if found else policy.default_inactive_after_days


def sampled(customer_ids: pl.DataFrame, max_customers: int) -> pl.DataFrame:
    """Every k-th customer in the order of their ids, so that at most max_customers are left."""
    ordered = customer_ids.select("customer_id").unique().sort("customer_id")
    return ordered.gather_every(max(1, -(-ordered.height // max_customers)))


def activity_cohorts(days: nw.LazyFrame[Any], window: int, policy: RetentionPolicy) -> Cohorts:
    """Cohorts of customers without a contract.

    Args:
        days: from `subjects.order_days`, of those who are learnt from; materialised, because it is read for every past date.
        window: W, in days.
        policy: distance and number of landmarks.
    """
    lived = to_polars(spells(days, window))
    first: date | None = lived["started_on"].min() if lived.height else None  # type: ignore[assignment]

    def at_risk(day: date, known_until: date | None) -> Subjects:
        return activity_subjects(to_polars(activity_facts(days, day)), day, window, lived, known_until)

    def learn(cutoff: date) -> Subjects | None:
        steps = (timedelta(days=policy.landmark_every_days * i) for i in range(1, policy.max_landmarks + 1))
        landmarks = [cutoff - step for step in steps if first and cutoff - step >= first + timedelta(days=window)]
        return stacked([at_risk(day, cutoff) for day in landmarks]) if landmarks else None

    clock = Clock(window, policy.period_days, is_point=True)
    return Cohorts("activity", clock, learn, at_risk, {"basis": "activity", "window_days": window})


def contract_cohorts(contracts: pl.DataFrame, policy: RetentionPolicy) -> Cohorts:
    """Cohorts of customers with a contract; `contracts` from `subjects.contract_rows`, of those who are learnt from."""
    plans = plans_of(contracts)

    def at_risk(day: date, known_until: date | None) -> Subjects:
        return contract_subjects(contracts, plans, day, from_start=False, known_until=known_until)

    def learn(cutoff: date) -> Subjects | None:
        found = contract_subjects(contracts, plans, cutoff, from_start=True, known_until=cutoff)
        return found if found.rows.height else None

    clock = Clock(policy.period_days, policy.period_days, is_point=False)
    return Cohorts("contract", clock, learn, at_risk, {"basis": "contract", "plans": list(plans)})


def attributed_contracts(subscriptions: nw.LazyFrame[Any], timeline: nw.LazyFrame[Any]) -> pl.DataFrame:
    """One row per customer with a contract (see `subjects.contract_rows`), attributed as the timeline attributes them."""
    owners = timeline.filter(nw.col("kind") == "subscription").select("channel", "record_id", "customer_id")
    wanted = ("subscription_started_on", "subscription_ended_on", "subscription_plan", "subscription_fee")
    found = subscriptions.join(owners, on=["channel", "record_id"], how="inner")
    return contract_rows(to_polars(found.select("customer_id", "record_id", *wanted)))


def activity_lives(lived: pl.DataFrame, window: int, as_of: date) -> pl.DataFrame:
    """First spell of each customer for curves: segment (by the size of the first order), days, is_event."""
    firsts = lived.filter(pl.col("spell") == 1).with_columns(
        pl.col("last_on").dt.offset_by(f"{window}d").alias("left_on")
    )
    place = pl.col("first_value").rank("ordinal") - 1
    group = (place * len(_N_VALUE_GROUPS) // pl.len()).cast(pl.Int64)
    names = pl.Series(list(_N_VALUE_GROUPS))
    return firsts.sort("first_value", "customer_id").select(
        group.replace_strict(list(range(len(names))), names.to_list(), return_dtype=pl.String).alias("segment"),
        pl.max_horizontal(
            (pl.min_horizontal("left_on", pl.lit(as_of)) - pl.col("started_on")).dt.total_days(), 1
        ).alias("days"),
        (pl.col("left_on") <= as_of).alias("is_event"),
    )


def contract_lives(contracts: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Contract of each customer for curves: segment (its plan), days, is_event."""
    subjects = contract_subjects(contracts, (), as_of, from_start=True, known_until=as_of)
    return subjects.rows.select(
        ("plan " + pl.col("plan")).alias("segment"), pl.col("exit_days").alias("days"), "is_event"
    )


def activity_gone(facts: pl.DataFrame, window: int, as_of: date) -> pl.DataFrame:
    """Customers who have fallen silent: customer_id, status, driver_1."""
    since = (pl.lit(as_of) - pl.col("last_day")).dt.total_days()
    return facts.filter(since >= window).select(
        "customer_id",
        pl.lit("inactive").alias("status"),
        pl.format(
            "no order for {} days: inactive since {}", since, pl.col("last_day").dt.offset_by(f"{window}d")
        ).alias("driver_1"),
    )


def contract_gone(contracts: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Customers whose contract has ended: customer_id, status, driver_1."""
    return contracts.filter(pl.col("ended_on") <= as_of).select(
        "customer_id",
        pl.lit("ended").alias("status"),
        pl.format("contract ended on {}", pl.col("ended_on")).alias("driver_1"),
    )
