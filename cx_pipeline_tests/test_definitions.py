from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cx_pipeline.automation import NIGHTLY, alert, sensors
from cx_pipeline.core.assets import CONTRACT_CHECK, TRAINS_TAG
from cx_pipeline.core.errors import ConfigurationError
from cx_pipeline.core.settings import AlertPolicy, Environment
from cx_pipeline.core.workspace import TRAINING_JOB
from cx_pipeline.definitions import build
from cx_pipeline_tests.tiny_company import NEWSLETTER, REGISTER, SHOP, contract, write_company, write_contract

SNAPSHOT = Path(__file__).parent / "asset_keys.txt"
UPDATE = "UPDATE_SNAPSHOTS"


def environment(root: Path) -> Environment:
    return Environment.read({"CX_DATA_DIR": str(root)})


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The definitions of a data directory without channels: the rooms alone."""
    return build(environment(tmp_path_factory.mktemp("bare")))


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The definitions of a company with three good channels and two broken ones."""
    root = tmp_path_factory.mktemp("company")
    for document in (REGISTER, SHOP, NEWSLETTER):
        write_contract(root, document)
    write_contract(root, contract("leaflets", "campaign_contacts", {"no": {"role": "record.id"}}))
    (root / "channels" / "call centre.v2.yaml").write_text("a: b: c\n", encoding="utf-8")
    (root / "settings.yaml").write_text("company: {time_zone: Asia/Tokyo}\n", encoding="utf-8")
    return build(environment(root))


def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def is_broken(spec: dg.AssetSpec) -> bool:
    return spec.tags.get("contract") == "broken"


def keys_of_job(definitions: dg.Definitions, job: str) -> set[str]:
    return {key.to_user_string() for key in definitions.resolve_job_def(job).asset_layer.executable_asset_keys}


def blocking_checks(definitions: dg.Definitions) -> set[tuple[str, str]]:
    graph = definitions.resolve_asset_graph()
    return {
        (key.asset_key.to_user_string(), key.name)
        for key in graph.asset_check_keys
        if graph.get_check_spec(key).blocking
    }


def test_definitions_when_built_then_they_load(bare: dg.Definitions, company: dg.Definitions) -> None:
    for definitions in (bare, company):
        dg.Definitions.validate_loadable(definitions)


def test_asset_keys_when_compared_with_the_snapshot_then_they_are_the_same(bare: dg.Definitions) -> None:
    keys = sorted(specs(bare))
    if os.environ.get(UPDATE):
        SNAPSHOT.write_text("\n".join(keys) + "\n", encoding="utf-8")
    known = SNAPSHOT.read_text(encoding="utf-8").split()
    assert keys == known, (
        f"asset keys are public: gone {sorted(set(known) - set(keys))}, new {sorted(set(keys) - set(known))}. If that is meant, "
        f"run `{UPDATE}=1 .venv/bin/pytest cx_pipeline_tests/test_definitions.py` and say so in CHANGELOG.md"
    )


def test_assets_when_shown_then_each_has_group_owner_grain_columns_and_a_blocking_contract_check(
    company: dg.Definitions,
) -> None:
    blocking = blocking_checks(company)
    found = specs(company)
    assert "staging/channel_register" in found
    for name, spec in found.items():
        assert spec.group_name == name.partition("/")[0], name
        assert spec.owners, name
        if is_broken(spec):
            continue
        assert (spec.description or "").startswith("One row"), name
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema), name
        assert schema.columns, name
        assert spec.metadata["dagster/table_name"] == name.replace("/", "."), name
        assert (name, CONTRACT_CHECK) in blocking, name


def test_checks_when_shown_then_each_has_a_statement_for_a_name_and_says_what_it_means(company: dg.Definitions) -> None:
    graph = company.resolve_asset_graph()
    for key in graph.asset_check_keys:
        assert key.name.count("_") >= 1, key
        assert graph.get_check_spec(key).description, key
    assert len(graph.asset_check_keys) > len(specs(company))


def test_publishing_when_reached_then_every_other_table_lies_before_it(company: dg.Definitions) -> None:
    graph = company.resolve_asset_graph()
    last = dg.AssetKey(["reporting", "published_tables"])
    before = graph.get(last).parent_keys
    # What is made of the snapshot, like the report page, comes after it.
    missing = {
        key.to_user_string()
        for key in graph.get_all_asset_keys() - {last} - before
        if last not in graph.get_ancestor_asset_keys(key)
    }
    assert not missing


def test_a_channel_when_its_contract_is_broken_then_its_asset_says_why_and_the_others_are_usable(
    company: dg.Definitions,
) -> None:
    found = specs(company)
    broken = {name: spec for name, spec in found.items() if is_broken(spec)}
    assert len(broken) == 2
    leaflets = broken["staging/channel_leaflets"].description or ""
    assert "channels/leaflets.yaml: schema[0].customProperties[0].value" in leaflets
    assert "did you mean `campaign_contact`?" in leaflets
    (odd,) = broken.keys() - {"staging/channel_leaflets"}
    assert odd.startswith("staging/channel_call_centre_v2_")
    assert "channels/call centre.v2.yaml: line 1" in (broken[odd].description or "")
    graph = company.resolve_asset_graph()
    published = dg.AssetKey(["reporting", "published_tables"])
    assert {"staging/channel_shop", "staging/channel_register", "staging/channel_shop_rejected"} <= found.keys()
    for name in broken:
        assert dg.AssetKey(name.split("/")) in graph.get(published).parent_keys, (
            "nothing is published beside a broken contract"
        )


def test_a_broken_channel_when_materialised_then_the_run_fails_with_the_contracts_error(
    company: dg.Definitions,
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = company.resolve_job_def(NIGHTLY).execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["staging", "channel_leaflets"])], raise_on_error=False
        )
        assert not result.success
        (event,) = result.get_step_failure_events()
        data = event.step_failure_data.user_failure_data
    assert data is not None
    assert "did you mean `campaign_contact`?" in (data.description or "")


def test_jobs_when_selected_then_the_night_runs_everything_and_training_what_is_tagged(company: dg.Definitions) -> None:
    found = specs(company)
    assert keys_of_job(company, NIGHTLY) == found.keys()
    trained = {name for name, spec in found.items() if TRAINS_TAG in spec.tags}
    assert trained
    assert keys_of_job(company, TRAINING_JOB) == trained
    for job in (NIGHTLY, TRAINING_JOB):
        assert company.resolve_job_def(job).executor_def is dg.in_process_executor


def test_the_schedule_when_there_is_a_time_zone_then_it_is_two_at_night_there(
    bare: dg.Definitions, company: dg.Definitions
) -> None:
    for definitions, zone in ((bare, "UTC"), (company, "Asia/Tokyo")):
        schedule = definitions.resolve_schedule_def("nightly_at_two")
        assert (schedule.cron_schedule, schedule.execution_timezone, schedule.job_name) == ("0 2 * * *", zone, NIGHTLY)


def test_definitions_when_settings_are_wrong_then_they_do_not_load_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("staging: {tolerated_reject_rat: 1}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="did you mean `tolerated_reject_rate`"):
        build(environment(tmp_path))


# --- failures are told ----------------------------------------------------------------------------------------------------


def told(root: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (root / "reports" / "alerts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_an_alert_when_a_file_is_configured_then_a_line_is_added_each_time(tmp_path: Path) -> None:
    for run in ("1", "2"):
        alert(tmp_path, AlertPolicy(), {"run_id": run})
    assert told(tmp_path) == [{"run_id": "1"}, {"run_id": "2"}]


def test_an_alert_when_nothing_is_configured_then_nobody_is_told(tmp_path: Path) -> None:
    alert(tmp_path, AlertPolicy(webhook_url=None, file=None), {"run_id": "1"})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A webhook on this machine: its address, and what it was told."""
    bodies: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/good" else 500)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_alert_when_a_webhook_is_configured_then_it_is_told(
    tmp_path: Path, webhook: tuple[str, list[dict[str, object]]]
) -> None:
    address, bodies = webhook
    alert(tmp_path, AlertPolicy(webhook_url=f"{address}/good", file=None), {"run_id": "1"})
    assert bodies == [{"run_id": "1"}]
    with pytest.raises(OSError, match="500"):
        alert(tmp_path, AlertPolicy(webhook_url=f"{address}/bad"), {"run_id": "2"})
    assert told(tmp_path) == [{"run_id": "2"}], "the file has been told before the webhook failed"


def test_the_sensor_when_a_run_has_failed_then_job_and_step_are_told(tmp_path: Path) -> None:
    @dg.op
    def breaks() -> None:
        raise dg.Failure(description="it broke")

    @dg.job(name=NIGHTLY)
    def nightly() -> None:
        breaks()

    sensor, _ = sensors(environment(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        result = nightly.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name=sensor.name,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()
        sensor(context)
    (message,) = told(tmp_path)
    assert (message["job"], message["run_id"], message["failed"]) == (NIGHTLY, result.run_id, ["breaks"])
    assert "Steps failed: ['breaks']" in str(message["message"])


# --- freshness, and the start of the night ---------------------------------------------------------------------------------


def test_freshness_policies_when_contracts_have_an_sla_then_the_channels_table_is_judged_by_it(tmp_path: Path) -> None:
    write_contract(tmp_path, {**SHOP, "slaProperties": [{"property": "latency", "value": 2, "unit": "d"}]})
    write_contract(tmp_path, REGISTER)
    found = specs(build(environment(tmp_path)))
    policies = {name: spec.freshness_policy for name, spec in found.items() if spec.freshness_policy}
    assert policies == {
        "staging/channel_shop": dg.FreshnessPolicy.time_window(timedelta(days=2), warn_window=timedelta(days=1))
    }
    assert found["staging/channel_shop"].metadata["dagster/column_schema"], "the rest of the spec has stayed"


def promising(document: dict[str, object], days: int = 1) -> dict[str, object]:
    return {**document, "slaProperties": [{"property": "latency", "value": days, "unit": "d"}]}


@pytest.fixture
def landed(tmp_path: Path) -> Path:
    """A company whose shop and newsletter promise an extract a day; both have delivered, a while ago."""
    root = write_company(tmp_path / "company")
    for document in (SHOP, NEWSLETTER):
        write_contract(root, promising(document))
    (root / "settings.yaml").write_text("channels: {settle_seconds: 0}\n", encoding="utf-8")
    return root


def publish_manifest(root: Path, loaded_at: datetime) -> None:
    """What a night leaves behind: the load manifest of everything that lies in landing."""
    files = [path for path in (root / "landing").glob("*/*") if path.is_file()]
    run = root / "published" / "run"
    (run / "staging").mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        {
            "channel": [path.parent.name for path in files],
            "file": [path.name for path in files],
            "sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
            "loaded_at": [loaded_at] * len(files),
        }
    ).write_parquet(run / "staging" / "load_manifest.parquet")
    (root / "published" / "CURRENT_RUN").write_text("run", encoding="utf-8")


def evaluated(root: Path, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    _, sensor = sensors(environment(root))
    return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))


def test_the_landing_sensor_when_it_is_new_then_it_waits_to_be_switched_on() -> None:
    _, sensor = sensors(environment(Path("nowhere")))
    assert (sensor.name, sensor.job_name) == ("start_when_extracts_have_landed", NIGHTLY)
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


def test_the_landing_sensor_when_a_set_is_complete_then_the_night_starts_once_for_it(landed: Path) -> None:
    home = landed / ".dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        first = evaluated(landed, instance)
        (request,) = first.run_requests or []
        assert request.run_key == first.cursor
        assert request.tags["cx/trigger"] == "landing"
        again = evaluated(landed, instance, first.cursor)
        assert not again.run_requests
        assert again.skip_message == "the nightly job has been started for these files already"
        (landed / "landing" / "shop" / "more.csv").write_text("line\n", encoding="utf-8")
        later = evaluated(landed, instance, first.cursor)
        assert [run.run_key != first.cursor for run in later.run_requests or []] == [True]


def test_the_landing_sensor_when_a_channel_is_late_then_it_waits_for_it(landed: Path) -> None:
    publish_manifest(landed, datetime.now(UTC).replace(tzinfo=None))
    with dg.DagsterInstance.ephemeral() as instance:
        assert evaluated(landed, instance).skip_message == "nothing new has landed"
        (landed / "landing" / "shop" / "new.csv").write_text("line\n", encoding="utf-8")
        assert evaluated(landed, instance).skip_message == "still waiting for newsletter"
        (landed / "landing" / "newsletter" / "new.jsonl").write_text("{}\n", encoding="utf-8")
        assert evaluated(landed, instance).run_requests


def test_the_landing_sensor_when_a_file_is_still_on_its_way_or_a_night_is_running_then_it_waits(landed: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = instance.create_run_for_job(_job(NIGHTLY), status=dg.DagsterRunStatus.STARTED).run_id
        assert evaluated(landed, instance).skip_message == "the nightly job is running"
        instance.delete_run(run_id)
        (landed / "settings.yaml").write_text("channels: {settle_seconds: 3600}\n", encoding="utf-8")
        assert "may still be on their way" in (evaluated(landed, instance).skip_message or "")


def _job(name: str) -> dg.JobDefinition:
    @dg.job(name=name)
    def empty() -> None:
        """Does nothing."""

    return empty
