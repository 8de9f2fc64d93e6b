from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus

from cx_pipeline.core.instance import dagster_home, fail_dead_runs, prune_runs
from cx_pipeline.core.settings import DataDirectory


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def add_run(instance: dg.DagsterInstance, status: DagsterRunStatus) -> str:
    run = dg.DagsterRun(job_name="nightly", status=status)
    instance.add_run(run)
    return run.run_id


def test_dagsters_home_when_none_is_named_then_it_is_made_in_the_data_directory_with_our_settings(
    tmp_path: Path,
) -> None:
    home = dagster_home(DataDirectory(tmp_path), {})
    assert home == tmp_path / ".dagster"
    settings = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    assert settings["telemetry"]["enabled"] is False
    assert settings["concurrency"]["runs"]["max_concurrent_runs"] == 1


def test_dagsters_home_when_it_has_settings_then_they_stay(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    home = dagster_home(DataDirectory(tmp_path), {"DAGSTER_HOME": str(tmp_path / "home")})
    assert home == tmp_path / "home"
    assert (home / "dagster.yaml").read_text(encoding="utf-8") == "telemetry: {enabled: false}\n"


def test_failing_dead_runs_when_some_are_on_record_as_running_then_only_those_are_failed(
    instance: dg.DagsterInstance,
) -> None:
    dead = {add_run(instance, status) for status in (DagsterRunStatus.STARTED, DagsterRunStatus.STARTING)}
    others = {status: add_run(instance, status) for status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.NOT_STARTED)}
    assert fail_dead_runs(instance) == 2
    assert {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.FAILURE]))} == dead
    for status, run_id in others.items():
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == status
    assert fail_dead_runs(instance) == 0


def test_pruning_runs_when_there_are_more_than_are_kept_then_the_newest_and_the_unfinished_stay(
    instance: dg.DagsterInstance,
) -> None:
    unfinished = add_run(instance, DagsterRunStatus.STARTED)
    ids = [add_run(instance, DagsterRunStatus.SUCCESS) for _ in range(6)]
    assert prune_runs(instance, 2) == 4
    assert {run.run_id for run in instance.get_runs()} == {unfinished, *ids[-2:]}
    assert prune_runs(instance, 2) == 0
    assert prune_runs(instance, 10) == 0
