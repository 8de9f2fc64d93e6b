"""Staging as a whole, whatever the nights are like: spread over ten of them in any order, or killed at any moment.

Belongs here: real processes and the tables of the whole room. Does not belong here: single channels (`test_intake.py`), single extracts
(`test_bad_extracts.py`).
"""

from __future__ import annotations

import gzip
import json
import logging
import multiprocessing as mp
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cx_pipeline.core.contract import load_channels, load_step
from cx_pipeline.core.progress import Progress, listening
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging import intake
from cx_pipeline.staging.intake import take_in
from cx_pipeline_tests.frames import channel_of
from cx_pipeline_tests.tiny_company import HASH_KEY, contract, write_contract

TABLES = load_step("staging")
N_KILLS = 10
# The state of files and the time of loading differ between nights; nothing else may.
UNLIKE = {"landing_files": None, "load_manifest": "loaded_at"}
REGISTER = contract(
    "register",
    "party",
    {
        "no": {"role": "record.id", "required": True},
        "mail": {"role": "contact.email", "classification": "personal"},
        "card": {"role": "id.loyalty"},
        "changed": {"role": "record.updated_at", "logicalType": "timestamp"},
    },
)
SHOP = contract(
    "shop",
    "order_line",
    {
        "line": {"role": "record.id", "required": True, "primaryKey": True},
        "basket": {"role": "order.id"},
        "at": {"role": "event.at", "logicalType": "timestamp"},
        "product": {"role": "product.id"},
        "amount": {"role": "order.amount", "logicalType": "number", "physicalType": "decimal(18,2)", "required": True},
        "card": {"role": "id.loyalty"},
        "returns": {"role": "order.returns_id"},
    },
    {"tolerated_reject_rate": 1.0},
)
PRICES = contract(
    "prices",
    "product",
    {"product": {"role": "record.id", "required": True, "primaryKey": True}, "shelf": {"role": "product.category"}},
    {"snapshot": True},
)


def extracts(seed: int, n_lines: int) -> dict[str, list[bytes]]:
    """Path below landing -> contents, the last of which counts: corrected files come with a draft first."""
    chance = random.Random(seed)
    found: dict[str, list[bytes]] = {}
    for day in range(8):
        lines = [
            (
                f"{day * n_lines + i if chance.random() < 0.97 else chance.randrange(day * n_lines + 1)}",
                f"B{chance.randrange(day * n_lines + n_lines)}",
                f"{datetime(2024, 1, 1) + timedelta(days=day, seconds=chance.randrange(86_400)):%Y-%m-%d %H:%M:%S}",
                f"P{chance.randrange(30)}",
                "many"
                if chance.random() < 0.01
                else f"{chance.choice([1, 1, 1, -1]) * chance.randrange(1, 9_999) / 100}",
                f"C{chance.randrange(400)}",
                "" if chance.random() < 0.9 else f"B{chance.randrange(9)}",
            )
            for i in range(n_lines)
        ]
        text = "\n".join(["line,basket,at,product,amount,card,returns", *map(",".join, lines)]) + "\n"
        name, data = f"shop/2024-01-{day + 1:02d}.csv", text.encode()
        if day % 3 == 1:
            name, data = name + ".gz", gzip.compress(data, mtime=0)
        elif day % 3 == 2:
            names = text.split("\n", 1)[0].split(",")
            rows = [json.dumps({k: v or None for k, v in zip(names, line, strict=True)}) for line in lines]
            name, data = name.replace(".csv", ".jsonl"), ("\n".join(rows) + "\n").encode()
        found[name] = [data[: len(data) // 2], data] if day in (0, 5) else [data]
    found["shop/again.csv"] = found["shop/2024-01-01.csv"][-1:]
    for part in range(3):
        people = [
            (f"{i}", f"p{i}@x.example" if i % 7 else "", f"C{i}", f"2024-0{1 + (i * part) % 9}-01") for i in range(400)
        ]
        register = "".join(",".join(person) + "\n" for person in chance.sample(people, 300))
        found[f"register/{part}.csv"] = [("no,mail,card,changed\n" + register).encode()]
        shelves = "".join(f"P{i},S{chance.randrange(4)}\n" for i in chance.sample(range(30), 25))
        found[f"prices/2024-0{part + 1}.csv"] = [("product,shelf\n" + shelves).encode()]
    return found


def lay_out(root: Path) -> Path:
    for document in (REGISTER, SHOP, PRICES):
        write_contract(root, document)
        (root / "landing" / document["name"]).mkdir(parents=True)
    return root


def land(root: Path, name: str, data: bytes) -> None:
    (root / "landing" / name).write_bytes(data)


def run_staging(root: str) -> None:
    """The assets of the staging room, in this process."""
    import dagster as dg

    from cx_pipeline.core.workspace import Workspace
    from cx_pipeline.staging.assets import build

    os.environ["CX_HASH_KEY"] = HASH_KEY
    logging.getLogger("dagster").setLevel(logging.ERROR)
    # Without this the large files of a first load would have to be large.
    intake.LARGE_FILE_BYTES = 100_000
    channels, broken = load_channels(Path(root) / "channels")
    steps = Path(root) / "steps.txt"

    def note(progress: Progress) -> None:
        with steps.open("a") as file:
            file.write(f"{progress.event} {progress.name}\n")

    with dg.DagsterInstance.ephemeral() as instance, listening(note):
        dg.materialize(
            build(channels, broken),
            instance=instance,
            resources={"workspace": Workspace(data_dir=root)},
        )


def staged(root: Path) -> dict[str, pl.DataFrame]:
    """Every table of the room, rows and columns in one order."""
    found = {}
    with Warehouse(root / "warehouse" / "cx.duckdb") as warehouse:
        for name in warehouse.tables("staging"):
            if UNLIKE.get(name, "") is None:
                continue
            table = warehouse._con.sql(f'SELECT * FROM staging."{name}"').pl()
            kept = table.drop([UNLIKE[name]] if name in UNLIKE else [])
            found[name] = (
                kept.filter(pl.col("reason").fill_null("") != intake._REPLACED) if name == "load_manifest" else kept
            )
    return {name: table.sort(pl.all()) for name, table in found.items()}


def assert_same(left: Mapping[str, pl.DataFrame], right: Mapping[str, pl.DataFrame]) -> None:
    assert sorted(left) == sorted(right)
    for name, table in left.items():
        assert_frame_equal(table, right[name])


def take_in_all(root: Path, night: int) -> None:
    """One night of all channels."""
    channels, _ = load_channels(root / "channels")
    with Warehouse(root / "warehouse" / "cx.duckdb") as warehouse:
        warehouse._audit = lambda table, name, **_: None  # type: ignore[method-assign]
        for channel in channels:
            take_in(
                warehouse,
                channel,
                TABLES["load_manifest"],
                root / "landing" / channel.name,
                company_time_zone="UTC",
                started_at=datetime(2024, 1, 1) + timedelta(days=night),
                landing_files=TABLES["landing_files"],
            )


@pytest.mark.slow
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("seed", [1, 2])
def test_staging_when_extracts_are_spread_over_ten_nights_in_any_order_then_all_tables_are_those_of_one_night(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    files = extracts(seed, 400)
    once, many = lay_out(tmp_path / "once"), lay_out(tmp_path / "many")
    for name, contents in files.items():
        land(once, name, contents[-1])
    run_staging(str(once))
    # Each content has its night; a corrected file's draft comes before the correction. Some nights bring nothing.
    arrivals: list[tuple[int, str, bytes]] = []
    for name, contents in files.items():
        nights = sorted(chance.sample(range(10), len(contents)))
        arrivals += [(night, name, data) for night, data in zip(nights, contents, strict=True)]
    for night in range(10):
        tonight = [(name, data) for at, name, data in arrivals if at == night]
        for name, data in chance.sample(tonight, len(tonight)):
            land(many, name, data)
        take_in_all(many, night)
    run_staging(str(many))
    expected = staged(once)
    assert {"orders", "returns", "identifiers", "channel_shop_superseded"} <= set(expected)
    assert expected["returns"].height > 100
    assert expected["channel_shop_rejected"].height > 0
    assert_same(staged(many), expected)


@pytest.mark.slow
@pytest.mark.timeout(3_000)
def test_staging_when_killed_at_ten_random_moments_then_the_next_run_gives_the_tables_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["dagster", "great_expectations", "cx_pipeline.staging.assets", __name__])
    chance = random.Random(4)
    files = extracts(3, 4_000)
    first_night = {name for name in files if chance.random() < 0.5}
    start = lay_out(tmp_path / "start")
    for name in first_night:
        land(start, name, files[name][-1])

    def run(root: Path) -> mp.process.BaseProcess:
        process = context.Process(target=run_staging, args=(str(root),))
        process.start()
        return process

    def n_steps(root: Path) -> int:
        path = root / "steps.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def finish(root: Path) -> int:
        process = run(root)
        process.join(600)
        assert process.exitcode == 0
        n_done = n_steps(root)
        (root / "steps.txt").unlink()
        return n_done

    undisturbed = shutil.copytree(start, tmp_path / "undisturbed")
    steps = [finish(undisturbed)]
    night_before = shutil.copytree(undisturbed, tmp_path / "night_before")
    for name, contents in files.items():
        land(undisturbed, name, contents[-1])
    steps.append(finish(undisturbed))
    expected = staged(undisturbed)
    n_killed = 0
    for trial in range(N_KILLS):
        # Half of the kills hit a first night, half one with new and corrected files.
        is_first = trial % 2 == 0
        root = shutil.copytree(start if is_first else night_before, tmp_path / f"trial_{trial}")
        for name, contents in files.items():
            land(root, name, contents[-1])
        process = run(root)
        # A step and a while after it: a moment by the clock would depend on what else the machine does. The first steps take extracts in.
        n_before = chance.randrange(1, steps[not is_first] if trial % 4 else 12)
        while process.is_alive() and n_steps(root) < n_before:
            time.sleep(0.002)
        process.join(chance.uniform(0, 0.4))
        if process.is_alive():
            n_killed += 1
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
        (root / "steps.txt").unlink(missing_ok=True)
        finish(root)
        assert_same(staged(root), expected)
        with Warehouse(root / "warehouse" / "cx.duckdb") as warehouse:
            assert not [name for name in warehouse.tables("staging") if "__new" in name]
        assert not list((root / "warehouse").glob("extract_*"))
        shutil.rmtree(root)
    assert n_killed >= N_KILLS - 2


# --- conservation over generated tables ---------------------------------------------------------------------------------------

ANY = channel_of(
    "any",
    "party",
    {
        "no": {"role": "record.id", "required": True, "primaryKey": True},
        "number": {"logicalType": "number", "physicalType": "decimal(6,2)", "logicalTypeOptions": {"maximum": 100}},
        "day": {"logicalType": "date"},
        "flag": {"logicalType": "boolean"},
        "text": {"required": True},
    },
)
VALUES = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8),
    st.sampled_from(
        ["1", "2", "3", "99.5", "100.01", "1e9", "2024-02-29", "2023-02-29", "true", "no", '"', "a,b", "x\ny"]
    ),
)
GENERATED = st.lists(st.tuples(st.sampled_from(["1", "2", "3", None]) | VALUES, *[VALUES] * 4), max_size=6)


def written(form: str, rows: list[tuple[Any, ...]]) -> bytes:
    """Rows in a format, as a program that knows its rules would write them."""
    import csv
    import io

    names = ANY.table.column_names
    if form == "parquet":
        sink = io.BytesIO()
        pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row").write_parquet(sink)
        return sink.getvalue()
    if form == "jsonl":
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows).encode()
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([names, *rows])
    return gzip.compress(text.getvalue().encode(), mtime=0) if form == "csv.gz" else text.getvalue().encode()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tables=st.lists(
        st.tuples(GENERATED, st.sampled_from(["csv", "csv.gz", "jsonl", "parquet"])), min_size=1, max_size=3
    ),
    is_large=st.booleans(),
)
def test_rows_when_tables_are_arbitrary_then_all_that_were_written_are_staged_rejected_or_superseded(
    tables: list[tuple[list[tuple[Any, ...]], str]], is_large: bool
) -> None:
    with tempfile.TemporaryDirectory() as name, Warehouse(None) as warehouse, pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "LARGE_FILE_BYTES", 0 if is_large else 1 << 40)
        warehouse._audit = lambda table, name, **_: None  # type: ignore[method-assign]
        landing = Path(name) / "landing" / "any"
        landing.mkdir(parents=True)
        n_written: dict[str, int] = {}
        for night, (rows, form) in enumerate(tables):
            (landing / f"{night}.{form}").write_bytes(written(form, rows))
            n_written[f"{night}.{form}"] = len(rows)
            done = take_in(
                warehouse,
                ANY,
                TABLES["load_manifest"],
                landing,
                company_time_zone="UTC",
                started_at=datetime(2024, 1, 1 + night),
            )
        manifest = done.manifest.filter(pl.col("status") == "loaded")
        for entry in manifest.iter_rows(named=True):
            assert entry["rows_read"] == n_written[entry["file"]]
            parts = (entry["rows_staged"], entry["rows_rejected"], entry["rows_superseded"])
            assert sum(parts) == entry["rows_read"]
        stored = [warehouse.n_rows(f"staging.channel_any{part}") for part in ("", "_rejected", "_superseded")]
        assert sum(stored) == sum(manifest["rows_read"])
        keys = warehouse._con.execute("SELECT count(*), count(DISTINCT no) FROM staging.channel_any").fetchall()[0]
        assert keys[0] == keys[1]
