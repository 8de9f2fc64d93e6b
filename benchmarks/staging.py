"""Taking an event extract in, against the bare engine load of the same file into typed columns; then a night with 1 % new rows.

Run with `cx bench staging` (or `make bench NAME=staging`). Writes an extract of `CX_BENCH_ROWS` rows (default 20,000,000) as CSV and as
Parquet into a temporary directory (`CX_BENCH_FORMATS` names others: csv, quoted, zoned, ragged, parquet). Ours is what a night does:
landing, typing, rules, rejects, versions, audit, manifest, by `staging.intake.take_in` on a warehouse file. The bare load is
`CREATE TABLE ... AS SELECT` from the engine's own reader into the same types on a database file, which keeps no rule and no line number
and would stop at the first broken row. Both run in processes of their own, with the same memory limit (`CX_MEMORY_LIMIT`, default
1.2GB); imports are not counted. One row in a thousand breaks a rule. The ids ascend, as numbers that a system gives out do.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHANNEL = "events"
COLUMNS = {
    "event_id": "BIGINT",
    "happened_at": "TIMESTAMP",
    "account": "VARCHAR",
    "cookie": "VARCHAR",
    "product": "INTEGER",
    "amount": "DECIMAL(12,2)",
    "category": "VARCHAR",
    "note": "VARCHAR",
}
CONTRACT = """
version: 1.0.0
apiVersion: v3.2.0
kind: DataContract
id: bench-events
name: events
status: active
schema:
  - name: events
    logicalType: object
    description: Events of a web shop.
    customProperties: [{property: kind, value: interaction}]
    properties:
      - {name: event_id, logicalType: integer, required: true, primaryKey: true, customProperties: [{property: role, value: record.id}]}
      - {name: happened_at, logicalType: timestamp, required: true, customProperties: [{property: role, value: event.at}]}
      - {name: account, logicalType: string, customProperties: [{property: role, value: id.account}]}
      - {name: cookie, logicalType: string, customProperties: [{property: role, value: id.cookie}]}
      - {name: product, logicalType: integer, physicalType: integer, customProperties: [{property: role, value: product.id}]}
      - name: amount
        logicalType: number
        physicalType: 'decimal(12,2)'
        logicalTypeOptions: {minimum: 0}
        customProperties: [{property: role, value: event.value}]
      - name: category
        logicalType: string
        enum: [{value: view}, {value: cart}, {value: search}, {value: chat}]
        customProperties: [{property: role, value: event.type}]
      - {name: note, logicalType: string, customProperties: [{property: role, value: event.text}]}
"""


@dataclass(frozen=True)
class Cost:
    """What one load cost: seconds on the clock and on all cores, peak resident memory in MB, rows of its table afterwards."""

    wall: float
    cpu: float
    peak: float
    n_rows: int


def main() -> None:
    """Print one line per format and load."""
    n_rows = int(os.environ.get("CX_BENCH_ROWS", 20_000_000))
    formats = os.environ.get("CX_BENCH_FORMATS", "csv,parquet").split(",")
    print(f"{n_rows:,} rows, then a night with {n_rows // 100:,} new ones")
    print(f"{'extract':<10}{'load':<16}{'rows':>12}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'wall x':>8}{'CPU x':>8}")
    for form in formats:
        for load, cost, beside in compare(form, n_rows):
            print(
                f"{form:<10}{load:<16}{cost.n_rows:>12,}{cost.wall:>9.1f}{cost.cpu:>9.1f}{cost.peak:>9.0f}"
                f"{cost.wall / beside.wall:>8.3f}{cost.cpu / beside.cpu:>8.3f}",
                flush=True,
            )
    print("x: ours against the bare load; the nights after it against our full load")


def compare(form: str, n_rows: int) -> list[tuple[str, Cost, Cost]]:
    """(load, its cost, the cost of what it is compared with) for the bare load, ours, a night with 1 % new rows, a night with none."""
    with tempfile.TemporaryDirectory(prefix="cx_bench_") as name:
        folder = Path(name)
        (folder / "channels").mkdir()
        (folder / "channels" / f"{CHANNEL}.yaml").write_text(CONTRACT, encoding="utf-8")
        _run("write", folder, form, 0, n_rows)
        bare = _run("bare", folder, form, 0, n_rows)
        full = _run("ours", folder, form, 0, n_rows)
        _run("write", folder, form, 1, n_rows)
        night = _run("ours", folder, form, 1, n_rows)
        idle = _run("ours", folder, form, 2, n_rows)
    return [
        ("bare engine", bare, bare),
        ("ours, full", full, bare),
        ("ours, 1 % new", night, full),
        ("ours, no new", idle, full),
    ]


def _run(case: str, folder: Path, form: str, night: int, n_rows: int) -> Cost:
    """Run one case in a process of its own."""
    arguments = [sys.executable, str(Path(__file__)), case, str(folder), form, str(night), str(n_rows)]
    done = subprocess.run(
        arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the case {' '.join(arguments[2:])} failed\n{done.stderr[-2000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


# --- the cases, each in a process of its own ------------------------------------------------------------------------------


def write(folder: Path, form: str, night: int, n_rows: int) -> int:
    """The extract of the first night, or of the second: 1 % of its rows, nine in ten new, the others corrections of earlier ones."""
    import duckdb

    landing = folder / "landing" / CHANNEL
    landing.mkdir(parents=True, exist_ok=True)
    first, last = (0, n_rows) if night == 0 else (n_rows - n_rows // 1000, n_rows + n_rows // 100 - n_rows // 1000)
    rows = f"""
        SELECT i::BIGINT AS event_id,
            TIMESTAMP '2023-01-01 00:00:00' + to_seconds(CAST(i * 3 + i % 2 AS BIGINT)) AS happened_at,
            'A' || (hash(i) % 1000000)::VARCHAR AS account,
            CASE WHEN i % 3 = 0 THEN NULL ELSE 'ck-' || (hash(i + 7) % 5000000)::VARCHAR || '-x' END AS cookie,
            (hash(i + 11) % 50000)::INTEGER AS product,
            CAST(CASE WHEN i % 1000 = 5 THEN -1 ELSE 1 END * ((hash(i + 13) % 100000) / 100 + {night}) AS DECIMAL(12,2)) AS amount,
            ['view', 'cart', 'search', 'chat'][CAST(1 + hash(i + 17) % 4 AS BIGINT)] AS category,
            'looked at ' || (hash(i + 19) % 100000)::VARCHAR || ', then went on' AS note
        FROM range({first}, {last}) AS t(i)"""
    con = duckdb.connect(config={"memory_limit": "1GB"})
    target = str(landing / f"day_{night}")
    if form == "parquet":
        con.execute(f"COPY ({rows}) TO '{target}.parquet' (FORMAT parquet)").fetchall()
    else:
        more = (
            ", FORCE_QUOTE *"
            if form == "quoted"
            else ", TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%SZ'"
            if form == "zoned"
            else ""
        )
        con.execute(f"COPY ({rows}) TO '{target}.csv' (FORMAT csv, HEADER{more})").fetchall()
    if form == "ragged" and night == 0:
        with Path(f"{target}.csv").open("a", encoding="utf-8") as file:
            file.writelines("1,2,3\n" for _ in range(n_rows // 1000))
    return 0


def bare(folder: Path, form: str, night: int, n_rows: int) -> Callable[[], int]:
    """The engine alone."""
    import duckdb

    con = duckdb.connect(str(folder / "bare.duckdb"), config={"memory_limit": _memory_limit()})
    con.execute("SET TimeZone = 'UTC'")
    source = str(folder / "landing" / CHANNEL / f"day_{night}")
    if form == "parquet":
        columns = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
        query = f"SELECT {columns} FROM read_parquet('{source}.parquet')"
    else:
        types = {**COLUMNS, **({"happened_at": "TIMESTAMPTZ"} if form == "zoned" else {})}
        typed = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
        options = f"auto_detect = false, header = true, delim = ',', quote = '\"', columns = {{{typed}}}"
        columns = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
        ignored = ", ignore_errors = true" if form == "ragged" else ""
        query = f"SELECT {columns} FROM read_csv('{source}.csv', {options}{ignored})"

    def load() -> int:
        con.execute(f"CREATE TABLE {CHANNEL} AS {query}").fetchall()
        con.execute("CHECKPOINT").fetchall()
        return int(con.execute(f"SELECT count(*) FROM {CHANNEL}").fetchall()[0][0])

    return load


def ours(folder: Path, form: str, night: int, n_rows: int) -> Callable[[], int]:
    """The pipeline's intake on its warehouse."""
    from cx_pipeline.core.contract import load_channels, load_step
    from cx_pipeline.core.tables import Column, Rule, Table
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.staging.intake import take_in

    warehouse = Warehouse(folder / "warehouse" / "cx.duckdb", memory_limit=_memory_limit())
    (channel,), _ = load_channels(folder / "channels")
    tables, started_at = load_step("staging"), datetime.now(UTC).replace(tzinfo=None)
    # Great Expectations takes six seconds to import, once in a night for all tables.
    warm = Table(
        "bench", "warm", "One row.", (Column("x", "integer", "BIGINT"),), (Rule("x_is_never_null", "not_null", ("x",)),)
    )
    warehouse.write(warm, warm.empty())

    def load() -> int:
        done = take_in(
            warehouse,
            channel,
            tables["load_manifest"],
            folder / "landing" / CHANNEL,
            company_time_zone="UTC",
            started_at=started_at,
            landing_files=tables["landing_files"],
        )
        read = int(done.manifest["rows_read"].sum())
        assert read == sum(int(done.manifest[f"rows_{part}"].sum()) for part in ("staged", "rejected", "superseded"))
        return done.written.n_rows

    return load


def _memory_limit() -> str:
    return os.environ.get("CX_MEMORY_LIMIT", "1.2GB")


def _case(case: str, folder: str, form: str, night: str, n_rows: str) -> None:
    prepared: Any = {"write": write, "bare": bare, "ours": ours}[case](Path(folder), form, int(night), int(n_rows))
    before, started = _cpu(), time.perf_counter()
    n_loaded = prepared() if callable(prepared) else 0
    wall, cpu = time.perf_counter() - started, _cpu() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "n_rows": n_loaded}))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    _case(*sys.argv[1:]) if len(sys.argv) == 6 else main()
