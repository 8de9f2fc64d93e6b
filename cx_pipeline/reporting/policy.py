"""Policy of the reporting room: how long snapshots and runs are kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishingPolicy:
    """How long the past is kept.

    Attributes:
        n_kept_snapshots: published runs that stay on disk, the current one included; 1 at least.
        n_kept_runs: runs whose event logs stay in Dagster's instance.
    """

    n_kept_snapshots: int = 14
    n_kept_runs: int = 60
