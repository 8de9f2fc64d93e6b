from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.tables import Table
from cx_pipeline.reporting import snapshot

TABLES = [load_step("profile")["customers"], load_step("identity")["model"]]
N_SWITCHES = 18


def publish(folder: Path, name: str, number: int, tables: list[Table] = TABLES) -> None:
    """Publish a run whose every table says the run's number."""

    def export(table: Table, path: Path) -> int:
        pl.DataFrame({"number": [number]}).write_parquet(path)
        return 1

    snapshot.publish(folder, name, tables, export)


def numbers(run: Path) -> set[int]:
    return {pl.read_parquet(path)["number"][0] for path in run.glob("*/*.parquet")}


def test_run_name_when_sorted_then_in_order_of_time() -> None:
    names = [snapshot.run_name(datetime(2024, 1, day, 2), "ffffffffff") for day in (2, 10)]
    assert names == ["20240102T020000-ffffffff", "20240110T020000-ffffffff"]


def test_current_run_when_nothing_was_published_then_none(tmp_path: Path) -> None:
    assert snapshot.current_run(tmp_path) is None


def test_publish_when_done_then_link_and_pointer_name_the_same_run(tmp_path: Path) -> None:
    publish(tmp_path, "a", 1)
    publish(tmp_path, "b", 2)
    assert snapshot.current_run(tmp_path) == tmp_path / "b"
    assert (tmp_path / "CURRENT_RUN").read_text() == "b\n"
    assert (tmp_path / "current").readlink() == Path("b")
    assert numbers(tmp_path / "current") == {2}
    assert numbers(tmp_path / "a") == {1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CURRENT_RUN", "a", "b", "current"]


def test_publish_when_the_data_directory_is_moved_then_the_link_still_leads_to_the_run(tmp_path: Path) -> None:
    publish(tmp_path / "here", "a", 1)
    (tmp_path / "here").rename(tmp_path / "there")
    assert numbers(tmp_path / "there" / "current") == {1}


def test_publish_when_an_export_fails_then_the_old_run_stays_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    publish(tmp_path, "a", 1)

    def failing(table: Table, path: Path) -> int:
        if table.name == "model":
            raise OSError("disk full")
        path.write_bytes(b"half")
        return 0

    with pytest.raises(OSError, match="disk full"):
        snapshot.publish(tmp_path, "b", TABLES, failing)
    assert snapshot.current_run(tmp_path) == tmp_path / "a"
    assert numbers(tmp_path / "current") == {1}
    publish(tmp_path, "c", 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CURRENT_RUN", "a", "c", "current"]


_PUBLISHER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    import polars as pl
    from cx_pipeline.core.contract import load_step
    from cx_pipeline.reporting import snapshot
    folder = Path(sys.argv[1])
    def export(table, path):
        pl.DataFrame({"number": [2]}).write_parquet(path)
        print("exporting", flush=True)
        time.sleep(60)
        return 1
    snapshot.publish(folder, "b", [load_step("profile")["customers"]], export)
    """
)


def test_publish_when_the_process_is_killed_then_readers_keep_the_old_run(tmp_path: Path) -> None:
    publish(tmp_path, "a", 1)
    process = subprocess.Popen(
        [sys.executable, "-c", _PUBLISHER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=_environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "exporting\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert snapshot.current_run(tmp_path) == tmp_path / "a"
    assert numbers(tmp_path / "current") == {1}
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("current", "n_kept", "left"),
    [
        pytest.param("d", 2, ["c", "d"], id="the newest two"),
        pytest.param("d", 0, ["d"], id="at least one"),
        pytest.param("a", 2, ["a", "c", "d"], id="never the current one"),
        pytest.param("d", 9, ["a", "b", "c", "d"], id="more than there are"),
    ],
)
def test_remove_old_when_runs_pile_up_then_only_the_newest_are_kept(
    tmp_path: Path, current: str, n_kept: int, left: list[str]
) -> None:
    for number, name in enumerate("abcd"):
        publish(tmp_path, name, number)
    snapshot.switch(tmp_path, current)
    removed = snapshot.remove_old(tmp_path, n_kept)
    assert sorted({"a", "b", "c", "d"} - set(removed)) == left
    assert sorted(path.name for path in tmp_path.iterdir() if len(path.name) == 1) == left
    assert snapshot.current_run(tmp_path) == tmp_path / current


_READER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import polars as pl
    from cx_pipeline.reporting.snapshot import current_run
    folder, n, mixed = Path(sys.argv[1]), 0, 0
    while not (folder / "stop").exists():
        through_link = pl.read_parquet(folder / "current" / "profile" / "customers.parquet")["number"][0]
        assert through_link >= 0
        run = current_run(folder)
        seen = {pl.read_parquet(path)["number"][0] for path in sorted(run.glob("*/*.parquet"))}
        mixed += len(seen) != 1
        n += 1
        if n == 1:
            print("reading", flush=True)
    print(n, mixed, flush=True)
    """
)


def test_switches_when_a_second_process_reads_in_a_loop_then_no_error_and_no_mixture(tmp_path: Path) -> None:
    publish(tmp_path, "run00", 0)
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    for number in range(1, N_SWITCHES + 1):
        publish(tmp_path, f"run{number:02d}", number)
        snapshot.remove_old(tmp_path, 3)
        time.sleep(0.02)
    (tmp_path / "stop").touch()
    out, err = reader.communicate(timeout=30)
    assert reader.returncode == 0, err
    n_turns, n_mixed = (int(word) for word in out.split())
    assert n_turns > N_SWITCHES
    assert n_mixed == 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
