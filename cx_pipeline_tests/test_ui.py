"""What somebody sees who opens the UI on a data directory that has been run, in a headless Chromium.

Screenshots go to the folder that the variable UI_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.steps import STEPS
from cx_pipeline_tests.dagster_ui import LOCATION, Ui, dagster_ui
from cx_pipeline_tests.tiny_company import PLANTED, cx, write_company

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_PLACE = f"{LOCATION['repositoryName']}@{LOCATION['repositoryLocationName']}"
_WAIT_MS = 60_000


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    given = os.environ.get("UI_DATA_DIR")
    root = Path(given) if given else write_company(tmp_path_factory.mktemp("company"))
    if not given:
        ended = cx(root, "run")
        assert ended.returncode == 0, ended.stdout + ended.stderr
    with dagster_ui(root, daemon=False) as running:
        yield running


@pytest.fixture(scope="module")
def look(ui: Ui, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Open a page, wait for a text, take a screenshot, return the page's text."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
    )
    if not browser:
        pytest.skip("no Chromium on this machine")
    folder = Path(os.environ.get("UI_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page: Any = window.new_page(viewport={"width": 1600, "height": 1100})

        def open_page(path: str, wait_for: str, name: str, click: str = "", height: int = 1100) -> str:
            page.set_viewport_size({"width": 1600, "height": height})
            page.goto(ui.address + path, wait_until="domcontentloaded")
            page.get_by_text(wait_for).first.wait_for(state="visible", timeout=_WAIT_MS)
            skip = page.get_by_text("Skip", exact=True)
            if skip.count():
                skip.first.dispatch_event("click")
            if click:
                page.get_by_text(click).last.click()
                page.locator("img[src^='data:image/svg+xml']").first.wait_for(state="visible", timeout=_WAIT_MS)
            page.wait_for_timeout(2_500)
            page.screenshot(path=str(folder / f"{name}.png"))
            text: str = page.inner_text("body")
            return text

        yield open_page
        window.close()


def test_lineage_when_opened_then_the_rooms_are_its_groups(look: Callable[..., str]) -> None:
    text = look("/asset-groups", "reporting", "lineage")
    assert [step for step in STEPS if step not in text] == []


def test_groups_when_asked_for_then_every_table_stands_in_its_rooms_group(ui: Ui) -> None:
    nodes = ui.ask("{assetNodes {assetKey {path} groupName description owners {... on TeamAssetOwner {team}}}}")[
        "assetNodes"
    ]
    assert all(node["groupName"] == node["assetKey"]["path"][0] for node in nodes)
    assert [node["assetKey"]["path"] for node in nodes if not node["description"] or not node["owners"]] == []
    made = {".".join(node["assetKey"]["path"]) for node in nodes}
    assert {table.full_name for step in STEPS for table in load_step(step).values()} <= made


@pytest.mark.parametrize("step", ["staging", "identity", "profile"])
def test_group_when_opened_then_its_tables_are_there(look: Callable[..., str], step: str) -> None:
    tables = sorted(load_step(step))
    text = look(f"/locations/{_PLACE}/asset-groups/{step}/list", tables[0], f"group_{step}", height=3000)
    assert [name for name in tables if name not in text] == []


def test_asset_when_opened_then_grain_plot_and_preview_without_personal_values(look: Callable[..., str]) -> None:
    text = look("/assets/profile/customers", "One row per customer", "asset_customers")
    assert "The customer master file" in text
    assert "Row count" in text
    assert [value for value in PLANTED if value in text] == []


def test_asset_when_its_columns_are_opened_then_each_has_a_type_and_a_meaning(look: Callable[..., str]) -> None:
    text = look("/assets/profile/customers?view=overview", "Columns", "asset_columns")
    for column in ("customer_id", "full_name", "last_seen_at"):
        assert column in text


def test_asset_when_its_checks_are_opened_then_the_contract_and_the_statements_are_kept(
    look: Callable[..., str],
) -> None:
    text = look("/assets/profile/customers?view=checks", "contract_holds", "asset_checks")
    assert "every_customer_id_has_one_profile" in text
    assert "Passed" in text


def test_asset_when_its_plot_is_opened_then_it_is_drawn(look: Callable[..., str]) -> None:
    text = look("/assets/profile/customers?view=events", "[Show Markdown]", "asset_plot", click="[Show Markdown]")
    assert "dagster/row_count" in text
    assert "preview" in text


def test_runs_when_opened_then_the_night_has_succeeded(look: Callable[..., str]) -> None:
    text = look("/runs", "Success", "runs")
    assert "nightly" in text
