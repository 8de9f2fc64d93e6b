"""Automation: the one place for jobs, schedules and sensors.

Belongs here: what runs when, and who is told when it fails. Does not belong here: what an asset does.
"""

import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from cx_pipeline.core.assets import TRAINS_TAG
from cx_pipeline.core.settings import AlertPolicy, Environment, Settings
from cx_pipeline.core.workspace import TRAINING_JOB, all_policies

NIGHTLY = "nightly"
NIGHTLY_CRON = "0 2 * * *"
_WEBHOOK_TIMEOUT_SECONDS = 10


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
    """Tells a webhook or a file when a run fails."""

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

    return [tell_about_failures]


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
