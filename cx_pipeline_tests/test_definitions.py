"""The definitions: every asset is grouped, owned, described and checked; a broken contract disables its own channel only."""

import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from cx_pipeline import automation
from cx_pipeline.core.assets import CONTRACT_CHECK, TRAINS_TAG
from cx_pipeline.core.settings import AlertPolicy, Environment
from cx_pipeline.core.steps import STEPS
from cx_pipeline.definitions import build, contents

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).with_name("asset_keys.txt")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    shutil.copytree(ROOT / "examples/complete_journey/channels", data / "channels")
    return Environment.read({"CX_DATA_DIR": str(data)})


@pytest.fixture(scope="module")
def graph(environment):
    return build(environment).resolve_asset_graph()


def test_assets_when_listed_then_they_are_those_of_the_snapshot(graph):
    keys = "".join(f"{key.to_user_string()}\n" for key in sorted(graph.get_all_asset_keys()))
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(keys, encoding="utf-8")
    assert keys == SNAPSHOT.read_text(encoding="utf-8"), (
        "public asset keys changed; if that is meant: UPDATE_SNAPSHOTS=1 .venv/bin/pytest cx_pipeline_tests/test_definitions.py"
    )


def test_assets_when_looked_at_then_each_has_group_owner_grain_and_columns(graph):
    faults = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        faults += [f"{key}: no group of a room"] * (node.group_name not in STEPS)
        faults += [f"{key}: group and key prefix differ"] * (node.group_name != key.path[0])
        faults += [f"{key}: no owner"] * (not node.owners)
        faults += [f"{key}: the description does not begin with the grain"] * (
            not (node.description or "").startswith(("One row", "Lines", "A basket")) and "One row" not in (node.description or "")[:200]
        )
        faults += [f"{key}: columns are not shown"] * ("dagster/column_schema" not in node.metadata)
    assert not faults, "\n".join(faults)


def test_assets_when_looked_at_then_each_has_a_blocking_contract_check(graph):
    checked = {key.asset_key for key in graph.asset_check_keys if key.name == CONTRACT_CHECK}
    assert set(graph.get_all_asset_keys()) == checked
    assert all(graph.get_check_spec(key).blocking for key in graph.asset_check_keys if key.name == CONTRACT_CHECK)


def test_checks_when_named_then_each_is_a_statement_with_a_description(graph):
    for key in graph.asset_check_keys:
        assert key.name.count("_") >= 1, key
        assert graph.get_check_spec(key).description, key


def test_publishing_when_reached_then_every_other_table_lies_before_it(graph):
    last = dg.AssetKey(["reporting", "published_tables"])
    before = graph.get(last).parent_keys
    # What is made of the snapshot, like the report page, comes after it.
    missing = {key for key in graph.get_all_asset_keys() if key not in before | {last} and last not in graph.get_ancestor_asset_keys(key)}
    assert not missing, f"published before these are checked: {sorted(missing)}"


def test_broken_contract_when_one_channel_has_it_then_the_others_stay_usable(environment, tmp_path):
    shutil.copytree(environment.data.channels, tmp_path / "channels")
    path = tmp_path / "channels" / "coupon_desk.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("campaign_response", "campaign_responce", 1), encoding="utf-8")
    found = contents(Environment.read({"CX_DATA_DIR": str(tmp_path)}))
    assert [channel.name for channel in found.broken] == ["coupon_desk"]
    assert len(found.channels) == 4
    broken = build(Environment.read({"CX_DATA_DIR": str(tmp_path)})).resolve_asset_graph()
    shown = [broken.get(key).description or "" for key in broken.get_all_asset_keys() if "coupon_desk" in key.path[-1]]
    assert any("campaign_responce" in text and "did you mean `campaign_response`?" in text for text in shown)


def test_jobs_when_resolved_then_training_trains_and_the_night_does_everything(environment, graph):
    definitions = build(environment)
    nightly = definitions.resolve_job_def(automation.NIGHTLY).asset_layer.selected_asset_keys
    training = definitions.resolve_job_def(automation.TRAINING_JOB).asset_layer.selected_asset_keys
    assert set(nightly) == set(graph.get_all_asset_keys())
    assert training
    assert all(TRAINS_TAG in graph.get(key).tags for key in training)


def test_schedule_when_the_company_has_a_time_zone_then_the_night_begins_there(environment, tmp_path):
    shutil.copytree(environment.data.channels, tmp_path / "channels")
    (tmp_path / "settings.yaml").write_text("company: {time_zone: Europe/Berlin}\n", encoding="utf-8")
    schedule = automation.schedules(Environment.read({"CX_DATA_DIR": str(tmp_path)}))[0]
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "Europe/Berlin")


def test_alert_when_a_run_fails_then_the_file_has_a_line_of_it(tmp_path):
    automation.alert(tmp_path, AlertPolicy(), {"run_id": "r", "failed": ["staging__channel_crm"]})
    assert (tmp_path / "reports" / "alerts.jsonl").read_text(encoding="utf-8") == '{"run_id": "r", "failed": ["staging__channel_crm"]}\n'
