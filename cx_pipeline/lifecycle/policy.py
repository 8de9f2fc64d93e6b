"""Policy of the lifecycle room: the table of rules that says which stage a customer is in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LifecyclePolicy:
    """Rules of the stages.

    Attributes:
        rules: `stage: feature operator number, ...` in order; the first rule of which all conditions hold decides. Features are
            the columns of `profile.features`; operators are <, <=, =, >=, >. A condition on a feature that is NULL does not
            hold. A rule without conditions holds for everyone.
    """

    rules: tuple[str, ...] = (
        "acquisition: n_orders = 0",
        "disengaged: days_over_median_gap >= 4, recency_days >= 60",
        "disengaged: recency_days >= 180",
        "advocacy: n_interactions_90d >= 2, mean_sentiment_90d >= 0.5, n_orders_180d >= 2, tenure_days >= 90",
        "loyalty: tenure_days >= 150, n_orders_180d >= 6, n_orders_90d >= 3, days_over_median_gap <= 3",
        "loyalty: tenure_days >= 150, n_orders_180d >= 6, n_orders_90d >= 3, recency_days <= 30",
        "satisfaction: mean_sentiment_90d >= 0.2, n_orders_90d >= 1",
        "engagement: n_orders_90d >= 3",
        "activation: n_orders >= 1",
    )
