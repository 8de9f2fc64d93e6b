"""The Dagster instance of a data directory: where it lives, runs that died without a word, and old runs.

Belongs here: DAGSTER_HOME, seeding it, housekeeping of runs. Does not belong here: jobs and schedules (`automation.py`).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

import dagster as dg

from cx_pipeline.core.settings import DataDirectory

_ACTIVE = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]


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


@contextlib.contextmanager
def quick_event_log() -> Iterator[None]:
    """While it lasts, Dagster's SQLite files do not wait for the disk at every event.

    Dagster opens and closes a connection for each of some 1,300 writes of a run, and each waits twice: for the commit, and for the
    checkpoint that SQLite makes when the last connection closes. With `synchronous = NORMAL` only checkpoints wait, which is safe
    in WAL mode (a power cut may take the last events, never the file), and one connection held open per file defers them.
    """
    from sqlalchemy import Engine, event

    held: dict[str, sqlite3.Connection] = {}

    def tune(connection: object, _: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        if connection.execute("PRAGMA journal_mode").fetchall() != [("wal",)]:
            return
        connection.execute("PRAGMA synchronous = NORMAL")
        path = connection.execute("PRAGMA database_list").fetchall()[0][2]
        if path not in held:
            held[path] = sqlite3.connect(path, check_same_thread=False)
            held[path].execute("SELECT count(*) FROM sqlite_master").fetchall()

    event.listen(Engine, "connect", tune)
    try:
        yield
    finally:
        event.remove(Engine, "connect", tune)
        for connection in held.values():
            connection.close()


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
    finished = [run for run in instance.get_runs()[n_kept:] if run.is_finished]
    for run in finished:
        instance.delete_run(run.run_id)
    return len(finished)


def forget_runs(instance: dg.DagsterInstance) -> int:
    """Delete all runs but the last one with their event logs, whatever their state; return how many."""
    runs = instance.get_runs()[1:]
    for run in runs:
        instance.delete_run(run.run_id)
    return len(runs)
