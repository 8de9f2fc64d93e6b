"""Automation: the one place for jobs, schedules and sensors.

Belongs here: what runs when, and who is told when it fails. Does not belong here: what an asset does.
"""

import hashlib
import json
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl

from cx_pipeline.channels.policy import LandingPolicy
from cx_pipeline.channels.readiness import LOADED_COLUMNS, LandedExtract, Readiness, readiness
from cx_pipeline.core.assets import TRAINS_TAG
from cx_pipeline.core.contract import Channel, load_channels
from cx_pipeline.core.settings import AlertPolicy, DataDirectory, Environment, Settings
from cx_pipeline.core.workspace import TRAINING_JOB, all_policies
from cx_pipeline.reporting.snapshot import current_run
from cx_pipeline.staging.landing import list_paths

NIGHTLY = "nightly"
NIGHTLY_CRON = "0 2 * * *"
LANDING_SENSOR_SECONDS = 60
_WEBHOOK_TIMEOUT_SECONDS = 10
_MIN_WINDOW = timedelta(minutes=2)
_IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def jobs() -> list[Any]:
    """The nightly job, and the training job; each in one process, because one process may write the warehouse."""
    return [
        dg.define_asset_job(
            NIGHTLY,
            selection=dg.AssetSelection.all(),
            description="From landing to the published snapshot. Yesterday's snapshot stays until every blocking check has passed. "
            "Models are trained only where there is no champion.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            TRAINING_JOB,
            selection=dg.AssetSelection.tag(TRAINS_TAG, ""),
            description="Trains a challenger of every model on the tables of the last night; a better one becomes champion.",
            executor_def=dg.in_process_executor,
        ),
    ]


def schedules(environment: Environment) -> list[dg.ScheduleDefinition]:
    """Every night at 02:00 in the company's time zone."""
    return [
        dg.ScheduleDefinition(
            name="nightly_at_two",
            job_name=NIGHTLY,
            cron_schedule=NIGHTLY_CRON,
            execution_timezone=_settings(environment).company.time_zone,
            description="Every night at 02:00 in the company's time zone.",
        )
    ]


def sensors(environment: Environment) -> list[Any]:
    """Tells a webhook or a file when a run fails; starts the nightly job when a night's extracts have all landed."""

    @dg.run_failure_sensor(
        name="tell_about_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Appends to `reports/alerts.jsonl`, and posts to the configured webhook, when a run fails.",
    )
    def tell_about_failures(context: dg.RunFailureSensorContext) -> None:
        alert(
            environment.data.root,
            _settings(environment).policy(AlertPolicy),
            {
                "job": context.dagster_run.job_name,
                "run_id": context.dagster_run.run_id,
                "failed": sorted(event.step_key or "" for event in context.get_step_failure_events()),
                "message": context.failure_event.message,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    return [tell_about_failures, _landing_sensor(environment)]


def _landing_sensor(environment: Environment) -> dg.SensorDefinition:
    @dg.sensor(
        name="start_when_extracts_have_landed",
        job_name=NIGHTLY,
        minimum_interval_seconds=LANDING_SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Starts the nightly job as soon as every channel that is expected has a new extract (settings.yaml: `channels`: "
        "cadence_days, does_not_wait_for, settle_seconds). The same set of files starts it once only.",
    )
    def start_when_extracts_have_landed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        running = dg.RunsFilter(job_name=NIGHTLY, statuses=_IN_PROGRESS)
        if context.instance.get_runs(running, limit=1):
            return dg.SkipReason("the nightly job is running")
        ready = _readiness(environment)
        if not ready.is_complete:
            return dg.SkipReason(ready.reason)
        if ready.key == context.cursor:
            return dg.SkipReason("the nightly job has been started for these files already")
        tags = {"cx/trigger": "landing", "cx/new_files": str(sum(ready.new.values()))}
        return dg.SensorResult([dg.RunRequest(run_key=ready.key, tags=tags)], cursor=ready.key)

    return start_when_extracts_have_landed


def _readiness(environment: Environment) -> Readiness:
    """What lies in landing now, against the load manifest of the snapshot that was published last.

    The warehouse is not asked: a sensor that has it open would be in the way of the run it starts.
    """
    data, settings = environment.data, _settings(environment)
    zone = ZoneInfo(settings.company.time_zone)
    channels, _ = load_channels(data.channels)
    published = current_run(data.published)
    manifest = published / "staging" / "load_manifest.parquet" if published else None
    loaded = pl.read_parquet(manifest) if manifest and manifest.exists() else pl.DataFrame(schema=LOADED_COLUMNS)
    landed = [file for channel in channels for file in _landed(data, channel.name, zone)]
    return readiness(landed, loaded, channels, datetime.now(zone).replace(tzinfo=None), settings.policy(LandingPolicy))


def _landed(data: DataDirectory, channel: str, zone: ZoneInfo) -> list[LandedExtract]:
    folder = data.landing / channel
    found = []
    for path in list_paths(folder):
        try:
            status = path.stat()
        except FileNotFoundError:
            # It was renamed or taken away since the folder was listed.
            continue
        # The inode's own time tells of a file that was put in place with an old date.
        changed = datetime.fromtimestamp(max(status.st_mtime, status.st_ctime), zone).replace(tzinfo=None)
        signature = f"{status.st_size} {status.st_mtime_ns}"
        name = path.relative_to(folder).as_posix()
        found.append(LandedExtract(channel, name, changed, signature, lambda path=path: _sha256(path)))  # type: ignore[misc]
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def freshness_policy(channel: Channel) -> dg.FreshnessPolicy | None:
    """The UI's freshness policy of a channel's tables, from the SLA of its contract; None where it promises nothing.

    It judges how long ago the channel was taken in; how old its data are stands in `channels.coverage`.
    """
    if channel.freshness_days is None:
        return None
    window = max(timedelta(days=channel.freshness_days), _MIN_WINDOW)
    return dg.FreshnessPolicy.time_window(fail_window=window, warn_window=window / 2)


def alert(root: Path, policy: AlertPolicy, message: dict[str, Any]) -> None:
    """Append a failure to the alert file and post it to the webhook, whichever are configured.

    Args:
        root: the data directory.
        policy: where to.
        message: the JSON body; names of steps and the error's own message, no personal data.

    Raises:
        OSError: if the file cannot be written or the webhook does not take it; Dagster shows it and tries again.
    """
    body = json.dumps(message)
    if policy.file:
        path = root / policy.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(body + "\n")
    if policy.webhook_url:
        request = urllib.request.Request(
            policy.webhook_url, body.encode(), {"Content-Type": "application/json"}, method="POST"
        )
        urllib.request.urlopen(request, timeout=_WEBHOOK_TIMEOUT_SECONDS).close()


def _settings(environment: Environment) -> Settings:
    return Settings.load(environment.data.settings_file, all_policies())
