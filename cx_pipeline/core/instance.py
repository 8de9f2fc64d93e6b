"""The Dagster instance of a data directory: where it lives, runs that died without a word, and old runs.

Belongs here: DAGSTER_HOME, seeding it, housekeeping of runs. Does not belong here: jobs and schedules (`automation.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import dagster as dg

from cx_pipeline.core.settings import DataDirectory

_ACTIVE = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
_PAGE = 100


def dagster_home(data: DataDirectory, variables: Mapping[str, str] | None = None) -> Path:
    """DAGSTER_HOME, else `.dagster` of the data directory; made, and seeded with the project's dagster.yaml where it has none."""
    variables = os.environ if variables is None else variables
    home = Path(variables.get("DAGSTER_HOME") or data.dagster_home).expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        settings.write_text(_project_settings(), encoding="utf-8")
    return home


def _project_settings() -> str:
    """dagster.yaml as shipped in the wheel, else of the source checkout."""
    shipped = resources.files("cx_pipeline").joinpath("dagster.yaml")
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "dagster.yaml").read_text(encoding="utf-8")


def fail_dead_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs as failed that are on record as running although nothing holds the warehouse any more; return how many.

    To be called only by the process that has just held the warehouse's lock: whoever ran before is dead.
    """
    dead = instance.get_runs(dg.RunsFilter(statuses=_ACTIVE))
    for run in dead:
        instance.report_run_failed(
            run, "The process of this run ended without a word; a later run found its lock free."
        )
    return len(dead)


def prune_runs(instance: dg.DagsterInstance, n_kept: int) -> int:
    """Delete all but the newest finished runs with their event logs; return how many."""
    removed = 0
    newest = instance.get_run_records(limit=n_kept)
    if len(newest) < n_kept:
        return 0
    while old := instance.get_run_records(limit=_PAGE, cursor=newest[-1].dagster_run.run_id):
        finished = [record for record in old if record.dagster_run.is_finished]
        for record in finished:
            instance.delete_run(record.dagster_run.run_id)
        removed += len(finished)
        if len(finished) < len(old) or len(old) < _PAGE:
            break
    return removed
