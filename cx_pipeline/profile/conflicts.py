"""On-line and off-line together: customers whose two sides contradict each other, and the conclusion that one side alone would give.

Belongs here: what each side says of activity and satisfaction, and where the two differ. Does not belong here: which channel is
on-line (its contract), what to do about it (engagement).

Activity: one side has orders, the other, once used, has been silent. Satisfaction: both sides have been heard and say the opposite.
"""

from __future__ import annotations

from datetime import date, timedelta

import narwhals as nw

from cx_pipeline.profile.policy import ConflictPolicy
from cx_pipeline.profile.sentiment import SENTIMENT, mean_sentiment

SIDES = ("online", "offline")


def sides(timeline: nw.LazyFrame, catalogue: nw.LazyFrame, policy: ConflictPolicy, as_of: date) -> nw.LazyFrame:
    """One row per customer: what is known of each side, up to the end of the as-of date.

    Events are orders and interactions that the company did not begin; the side is the mode of the channel.

    Args:
        timeline: `profile.timeline`.
        catalogue: `channels.catalogue`: channel, mode; channels without mode are on no side.
        policy: windows.
        as_of: the last day that counts.

    Returns:
        customer_id and for each side n_<side>_events, n_<side>_recent_events, n_<side>_recent_orders (activity window),
        n_<side>_sentiments, sum_<side>_sentiment (satisfaction window), last_<side>_at.
    """
    end = as_of + timedelta(days=1)
    active_from, heard_from = (
        nw.lit(end - timedelta(days=n)).cast(nw.Datetime("us"))
        for n in (policy.conflict_activity_days, policy.conflict_sentiment_days)
    )
    is_ours = (nw.col("kind") == "interaction") & (nw.col("direction") == "outbound").fill_null(False)
    events = (
        timeline.filter(nw.col("kind").is_in(["order", "interaction"]) & ~is_ours)
        .filter(nw.col("at") < nw.lit(end).cast(nw.Datetime("us")))
        .join(catalogue.select("channel", "mode"), on="channel", how="inner")
        .with_columns(
            (nw.col("at") >= active_from).alias("is_recent"),
            ((nw.col("kind") == "order") & (nw.col("value") > 0)).fill_null(False).alias("is_order"),
            nw.when((nw.col("kind") == "interaction") & (nw.col("at") >= heard_from))
            .then(nw.col("sentiment"))
            .otherwise(None)
            .cast(SENTIMENT)
            .alias("heard"),
        )
    )

    def counted(condition: nw.Expr, name: str) -> nw.Expr:
        return nw.when(condition).then(1).otherwise(0).sum().cast(nw.Int64).alias(name)

    measures: list[nw.Expr] = []
    for side in SIDES:
        here = (nw.col("mode") == side).fill_null(False)
        measures += [
            counted(here, f"n_{side}_events"),
            counted(here & nw.col("is_recent"), f"n_{side}_recent_events"),
            counted(here & nw.col("is_recent") & nw.col("is_order"), f"n_{side}_recent_orders"),
            counted(here & ~nw.col("heard").is_null(), f"n_{side}_sentiments"),
            nw.when(here).then(nw.col("heard")).otherwise(None).sum().alias(f"sum_{side}_sentiment"),
            nw.when(here).then(nw.col("at")).otherwise(None).max().alias(f"last_{side}_at"),
        ]
    return events.group_by("customer_id").agg(*measures)


def online_offline_conflicts(sides: nw.LazyFrame, policy: ConflictPolicy) -> nw.LazyFrame:
    """One row per customer and contradiction, with what each side alone concludes and what both together say.

    Args:
        sides: from `sides`.
        policy: thresholds.

    Returns:
        customer_id, kind, online_conclusion, offline_conclusion, truth, misleading_side, wrong_conclusion, the counts of both sides,
        mean_online_sentiment, mean_offline_sentiment (-1 to 1; NULL without a sentiment in the window), last_online_at,
        last_offline_at.
    """
    known = sides.with_columns(
        *(
            mean_sentiment(nw.col(f"sum_{side}_sentiment"), nw.col(f"n_{side}_sentiments")).alias(
                f"mean_{side}_sentiment"
            )
            for side in SIDES
        ),
        mean_sentiment(
            nw.col("sum_online_sentiment").fill_null(0) + nw.col("sum_offline_sentiment").fill_null(0),
            nw.col("n_online_sentiments") + nw.col("n_offline_sentiments"),
        ).alias("mean_sentiment"),
    )
    found = [_activity(known, active, silent, policy) for active, silent in (SIDES, SIDES[::-1])]
    found += [_satisfaction(known, happy, unhappy, policy) for happy, unhappy in (SIDES, SIDES[::-1])]
    return nw.concat(found)


def _activity(known: nw.LazyFrame, active: str, silent: str, policy: ConflictPolicy) -> nw.LazyFrame:
    """Customers who order on one side and have fallen silent on the other: the silent side alone would give them up."""
    is_so = (
        (nw.col(f"n_{active}_recent_orders") >= policy.conflict_min_orders)
        & (nw.col(f"n_{silent}_events") >= policy.conflict_min_events)
        & (nw.col(f"n_{silent}_recent_events") == 0)
    )
    said = {active: nw.lit("active"), silent: nw.lit("silent")}
    return _rows(
        known.filter(is_so),
        f"active_{active}_silent_{silent}",
        said,
        nw.lit("active"),
        nw.lit(silent),
        nw.lit("silent"),
    )


def _satisfaction(known: nw.LazyFrame, happy: str, unhappy: str, policy: ConflictPolicy) -> nw.LazyFrame:
    """Customers content on one side and not on the other: together they are one of both, or divided, and then both sides mislead."""
    level = policy.conflict_satisfied_from
    is_heard = (nw.col(f"n_{happy}_sentiments") >= policy.conflict_min_sentiments) & (
        nw.col(f"n_{unhappy}_sentiments") >= policy.conflict_min_sentiments
    )
    is_so = is_heard & (nw.col(f"mean_{happy}_sentiment") >= level) & (nw.col(f"mean_{unhappy}_sentiment") <= -level)
    said = {happy: nw.lit("satisfied"), unhappy: nw.lit("dissatisfied")}
    together = nw.col("mean_sentiment")

    def by_truth(satisfied: str, dissatisfied: str, divided: str) -> nw.Expr:
        below = nw.when(together <= -level).then(nw.lit(dissatisfied)).otherwise(nw.lit(divided))
        return nw.when(together >= level).then(nw.lit(satisfied)).otherwise(below)

    # Where both sides together are divided, each of them is wrong by itself.
    kind = (
        f"satisfied_{happy}_dissatisfied_{unhappy}"
        if happy == "online"
        else f"dissatisfied_{unhappy}_satisfied_{happy}"
    )
    return _rows(
        known.filter(is_so),
        kind,
        said,
        by_truth("satisfied", "dissatisfied", "divided"),
        by_truth(unhappy, happy, "both"),
        by_truth("dissatisfied", "satisfied", "satisfied_or_dissatisfied"),
    )


def _rows(
    found: nw.LazyFrame,
    kind: str,
    said: dict[str, nw.Expr],
    truth: nw.Expr,
    misleading: nw.Expr,
    wrong: nw.Expr,
) -> nw.LazyFrame:
    return found.select(
        "customer_id",
        nw.lit(kind).alias("kind"),
        said["online"].alias("online_conclusion"),
        said["offline"].alias("offline_conclusion"),
        truth.alias("truth"),
        misleading.alias("misleading_side"),
        wrong.alias("wrong_conclusion"),
        *(
            f"{name.format(side=side)}"
            for side in SIDES
            for name in (
                "n_{side}_events",
                "n_{side}_recent_events",
                "n_{side}_recent_orders",
                "n_{side}_sentiments",
                "mean_{side}_sentiment",
                "last_{side}_at",
            )
        ),
    )
