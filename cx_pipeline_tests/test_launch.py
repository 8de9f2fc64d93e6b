"""Every way to start the nightly job gives what `cx run` gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline_tests.dagster_ui import dagster_ui
from cx_pipeline_tests.tiny_company import (
    REPOSITORY,
    comparable,
    cx,
    environment,
    published,
    write_company,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def by_cli(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    root = write_company(tmp_path_factory.mktemp("by_cli"))
    ended = cx(root, "run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return published(root)


@pytest.fixture
def company(tmp_path: Path) -> Path:
    return write_company(tmp_path / "company")


def assert_same(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        try:
            assert_frame_equal(comparable(found[name]), comparable(table))
        except AssertionError as difference:
            raise AssertionError(f"{name}: {difference}") from None


def launch(company: Path, *command: str) -> None:
    cx(company, "home")
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert program
    ended = subprocess.run(
        [program, *command[1:]],
        env=environment(company),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-5000:]


def test_nightly_when_executed_by_dagster_then_the_same_tables(company: Path, by_cli: dict[str, pl.DataFrame]) -> None:
    launch(company, "dagster", "job", "execute", "-m", "cx_pipeline.definitions", "-j", "nightly")
    assert_same(published(company), by_cli)


def test_all_assets_when_launched_by_dg_then_the_same_tables(company: Path, by_cli: dict[str, pl.DataFrame]) -> None:
    launch(company, "dg", "launch", "--assets", "*")
    assert_same(published(company), by_cli)


def test_all_assets_when_materialised_in_the_ui_then_the_same_tables(
    company: Path, by_cli: dict[str, pl.DataFrame]
) -> None:
    with dagster_ui(company) as ui:
        assert ui.wait_for(ui.materialise_all(), 600) == "SUCCESS"
    assert_same(published(company), by_cli)


def test_one_room_when_launched_by_dg_then_only_its_tables_are_made_anew(company: Path) -> None:
    assert cx(company, "run").returncode == 0
    before = (company / "published" / "CURRENT_RUN").read_text()
    launch(company, "dg", "launch", "--assets", "group:profile")
    assert (company / "published" / "CURRENT_RUN").read_text() == before
