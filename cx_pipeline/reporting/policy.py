"""Policy of the reporting room: how long snapshots, reports and runs are kept, and the windows of the scorecard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishingPolicy:
    """How long the past is kept.

    Attributes:
        n_kept_snapshots: published runs that stay on disk, the current one included; 1 at least. The same number of report pages stays.
        n_kept_runs: runs whose event logs stay in Dagster's instance.
    """

    n_kept_snapshots: int = 14
    n_kept_runs: int = 60


@dataclass(frozen=True)
class ScorecardPolicy:
    """Windows of the scorecard.

    Attributes:
        trading_days: days over which orders and money are counted, against as many days before.
        active_days: a customer with an order in this many days is active.
        campaign_days: campaigns that ended within this many days are counted, against as many days before.
    """

    trading_days: int = 28
    active_days: int = 90
    campaign_days: int = 182
