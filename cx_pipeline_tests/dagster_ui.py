"""Dagster's webserver and daemon on a data directory, for tests that work as somebody in front of the UI does.

Belongs here: starting and stopping the two processes, asking them by GraphQL. Does not belong here: what a test expects.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cx_pipeline_tests.tiny_company import REPOSITORY, environment

_START_SECONDS = 180
_POLL_SECONDS = 1.0
LOCATION = {"repositoryLocationName": "cx_pipeline.definitions", "repositoryName": "__repository__"}


@dataclass(frozen=True)
class Ui:
    """A running webserver."""

    address: str

    def ask(self, query: str, **variables: Any) -> Any:
        """The `data` of a GraphQL query's answer.

        Raises:
            RuntimeError: if the server answers with errors.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.address}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        if found.get("errors"):
            raise RuntimeError(json.dumps(found["errors"])[:2000])
        return found["data"]

    def materialise_all(self) -> str:
        """Launch what the button "Materialize all" of the asset graph launches; the run's id."""
        nodes = self.ask("{assetNodes {assetKey {path} assetChecksOrError {... on AssetChecks {checks {name}}}}}")
        keys = [{"path": node["assetKey"]["path"]} for node in nodes["assetNodes"]]
        checks = [
            {"assetKey": {"path": node["assetKey"]["path"]}, "name": check["name"]}
            for node in nodes["assetNodes"]
            for check in node["assetChecksOrError"].get("checks", [])
        ]
        launched = self.ask(
            """mutation ($params: ExecutionParams!) {launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}
            ... on RunConfigValidationInvalid {errors {message}} ... on InvalidSubsetError {message}}}""",
            params={
                "selector": {
                    **LOCATION,
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": keys,
                    "assetCheckSelection": checks,
                },
                "runConfigData": {},
                "mode": "default",
            },
        )["launchPipelineExecution"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(json.dumps(launched)[:2000])
        run_id: str = launched["run"]["runId"]
        return run_id

    def wait_for(self, run_id: str, seconds: float = 300) -> str:
        """Final status of a run."""
        end = time.monotonic() + seconds
        status = ""
        while time.monotonic() < end:
            found = self.ask("query ($id: ID!) {runOrError(runId: $id) {... on Run {status}}}", id=run_id)
            status = found["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                break
            time.sleep(_POLL_SECONDS)
        return status


@contextlib.contextmanager
def dagster_ui(root: Path, *, daemon: bool = True) -> Iterator[Ui]:
    """Webserver (and daemon) on a data directory, stopped with all their children at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = environment(root)
    subprocess.run(
        [sys.executable, "-m", "cx_pipeline.cli", "home"], env=variables, check=True, stdout=subprocess.DEVNULL
    )
    module = ["-m", "cx_pipeline.definitions"]
    scripts = Path(sys.executable).parent
    commands = [[str(scripts / "dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), *module]]
    if daemon:
        commands.append([str(scripts / "dagster-daemon"), "run", *module])
    with contextlib.ExitStack() as stack:
        for number, command in enumerate(commands):
            log = stack.enter_context((root / f"ui_{number}.log").open("wb"))
            process = subprocess.Popen(
                command, env=variables, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(_stop, process)
        ui = Ui(f"http://127.0.0.1:{port}")
        _wait(ui)
        yield ui


def _wait(ui: Ui) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            found = ui.ask("{repositoriesOrError {__typename ... on RepositoryConnection {nodes {name}}}}")
            if found["repositoriesOrError"].get("nodes"):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"the webserver did not answer within {_START_SECONDS} s")
        time.sleep(_POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
