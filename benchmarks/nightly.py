"""The nightly job on the Complete Journey: wall time, peak memory and where the time goes, on the first and the second night.

Run with `cx bench nightly` (or `make bench NAME=nightly`). Lays the example out in a temporary directory, runs `cx run` twice in
processes of their own and reads the split from what the run recorded in its Dagster instance.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print one line per night."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "complete_journey"
        subprocess.run([sys.executable, str(ROOT / "examples/complete_journey/lay_out.py"), str(data)], check=True)
        print(f"{'night':<8}{'wall s':>8}{'peak MB':>9}{'tables s':>10}{'audits s':>10}{'checks s':>10}{'rest s':>8}")
        for night in ("first", "second"):
            wall, peak = _run(data)
            tables, audits, checks = _split(data)
            print(
                f"{night:<8}{wall:>8.1f}{peak:>9.0f}{tables - audits:>10.1f}{audits:>10.1f}{checks:>10.1f}{wall - tables - checks:>8.1f}"
            )
        print("rest: imports, Dagster's event log and plan; audits: Great Expectations with its import (6 s, once)")


def _run(data: Path) -> tuple[float, float]:
    """Wall seconds and peak resident memory in MB of one `cx run`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CX_") and k != "DAGSTER_HOME"}
    environment["CX_DATA_DIR"] = str(data)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cx_pipeline.cli", "run"], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("the run failed: try `make example`")
    return time.perf_counter() - started, _megabytes(usage)


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _split(data: Path) -> tuple[float, float, float]:
    """Seconds in tables (audits included), in audits, and in business checks, of the newest run."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(data / ".dagster")) as instance:
        run_id = instance.get_run_records(limit=1)[0].dagster_run.run_id
        tables = audits = checks = 0.0
        for entry in instance.all_logs(run_id):
            event = entry.dagster_event
            if event and event.is_step_materialization:
                tables += float(event.materialization.metadata["seconds"].value)  # type: ignore[arg-type]
            elif event and event.event_type_value == "ASSET_CHECK_EVALUATION":
                metadata = event.asset_check_evaluation_data.metadata
                audits += float(metadata["audit_seconds"].value) if "audit_seconds" in metadata else 0.0  # type: ignore[arg-type]
                checks += float(metadata["seconds"].value) if "seconds" in metadata else 0.0  # type: ignore[arg-type]
        return tables, audits, checks


if __name__ == "__main__":
    main()
