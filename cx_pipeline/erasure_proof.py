"""The proof that nothing of erased people is left: by their own values while they are known, by hashes ever after.

Belongs here: searching every file and table of a data directory, and taking landing in anew beside it. Changes nothing. Does not belong
here: taking anything away (`erasure_places.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import narwhals as nw
import polars as pl

from cx_pipeline.core import erasure as files
from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.core.erasure import Hit
from cx_pipeline.core.errors import ConfigurationError, Problem
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.settings import Environment, Settings
from cx_pipeline.core.suppressions import TABLE, Suppressions, Traces
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.erasure_places import (
    ERASURES,
    KEPT_TABLES,
    QUARANTINE,
    Erasure,
    Site,
    n_rows,
    open_warehouse,
    published_runs,
    site_of,
    suppressed_words,
)
from cx_pipeline.staging import canonical, suppression
from cx_pipeline.staging.intake import channel_tables, take_in


@dataclass(frozen=True)
class Proof:
    """What the verification found.

    Attributes:
        hits: where something of an erased person is left; none where the proof holds.
        counts: what was looked at, in words -> number.
        notes: what is held back or lies in quarantine.
    """

    hits: tuple[Hit, ...]
    counts: dict[str, int]
    notes: tuple[str, ...]


def verify(
    environment: Environment, settings: Settings, channels: Sequence[Channel], dagster_home: Path, now: datetime
) -> Proof:
    """Prove that nothing of erased people is left: landing taken in anew, every table and every file searched by hash.

    Landing is taken in by a warehouse of its own that knows the suppressions and is thrown away; what it stages, every table of the
    warehouse and of every published run is searched for suppressed records and identifiers and for ids of erased customers; the words of
    all other files for suppressed identifiers. Values are not needed: they are not kept anywhere.

    Args:
        environment: where things are.
        settings: the user's policies.
        channels: the usable channels.
        dagster_home: folder of Dagster's storage.
        now: for the manifest of the replay.
    """
    data = environment.data
    hits: list[Hit] = []
    counts: dict[str, int] = {}
    notes: list[str] = []
    if not data.warehouse.is_file():
        raise ConfigurationError(Problem("no night has run yet", "warehouse", remedy="`cx run` first"))
    with open_warehouse(environment) as warehouse:
        site = site_of(environment, settings, channels, warehouse)
        suppressions = site.suppressions()
        erased = site.table(ERASURES)
        counts["erased customers"] = erased.height
        counts["suppressed records, rows and identifiers"] = sum(len(hashes) for hashes in suppressions.hashes.values())
        if not suppressions:
            return Proof((), counts, ("nobody was erased",))
        if erased.filter(pl.col("status") == "started").height:
            hits.append(
                Hit(
                    "identity.erasures: begun and not finished; call `cx erase` again",
                    erased.filter(pl.col("status") == "started").height,
                )
            )
        hits += _verify_warehouse(site, suppressions, counts)
        for folder in published_runs(data.published):
            hits += _verify_published(site, folder, suppressions, counts)
        hits += _verify_files(site, suppressions, dagster_home, counts)
        hits += _replay(site, suppressions, counts, notes, now)
    kept = list(files.files_below([data.root / QUARANTINE]))
    if kept:
        notes.append(f"{len(kept)} files in {QUARANTINE}/ may still hold values: delete them")
    return Proof(tuple(hits), counts, tuple(notes))


def _verify_warehouse(site: Site, suppressions: Suppressions, counts: dict[str, int]) -> Iterator[Hit]:
    tables = {channel.name: channel_tables(channel) for channel in site.channels}
    own: set[str] = set()
    for channel in site.channels:
        for table in (tables[channel.name].rows, tables[channel.name].superseded):
            own.add(table.full_name)
            rows = site.warehouse.read_or_empty(table)
            condition = suppression.suppressed_rows(rows, channel, suppressions, site.policy)
            if condition is not None and (n := n_rows(rows.filter(condition))):
                yield Hit(f"warehouse: {table.full_name}", n)
        rejected = tables[channel.name].rejected
        own.add(rejected.full_name)
        telling = suppression.telling_raw_rows(
            site.warehouse.read_or_empty(rejected), channel, suppressions, site.policy
        )
        if telling.height:
            yield Hit(f"warehouse: {rejected.full_name}", telling.height)
    erased = site.table(ERASURES)
    traces = Traces(suppressions, frozenset(erased["customer_id"]) if erased.width else frozenset())
    for name in site.warehouse.names():
        counts["tables of the warehouse"] = counts.get("tables of the warehouse", 0) + 1
        if name not in own and name not in KEPT_TABLES:
            yield from _hit(f"warehouse: {name}", site.warehouse.read(name), traces)


def _hit(where: str, frame: nw.LazyFrame, traces: Traces) -> Iterator[Hit]:
    condition = traces.rows_about_them(frame)
    if condition is not None and (n := n_rows(frame.filter(condition))):
        yield Hit(where, n)


def _verify_published(site: Site, folder: Path, suppressions: Suppressions, counts: dict[str, int]) -> Iterator[Hit]:
    erased = site.table(ERASURES)
    traces = Traces(suppressions, frozenset(erased["customer_id"]) if erased.width else frozenset())
    of_channels = {channel.table.full_name: channel for channel in site.channels}
    for path in sorted(folder.glob("*/*.parquet")):
        name = f"{path.parent.name}.{path.stem}"
        if name in KEPT_TABLES:
            continue
        counts["tables of published runs"] = counts.get("tables of published runs", 0) + 1
        rows = site.warehouse.parquet(path)
        where = str(path.relative_to(site.root))
        channel = of_channels.get(name)
        if channel is None:
            yield from _hit(where, rows, traces)
        elif {column.name for column in channel.table.columns} <= set(rows.collect_schema().names()):
            condition = suppression.suppressed_rows(rows, channel, suppressions, site.policy)
            if condition is not None and (n := n_rows(rows.filter(condition))):
                yield Hit(where, n)


def _verify_files(site: Site, suppressions: Suppressions, dagster_home: Path, counts: dict[str, int]) -> Iterator[Hit]:
    """Words of models, reports, outbound files, logs and Dagster's storage that are suppressed identifiers."""
    data = site.environment.data
    skipped = [data.landing, data.channels, data.warehouse.parent, site.root / QUARANTINE]
    n_files = 0
    for path in files.files_below([data.root, dagster_home], skipped):
        if path.suffix.lower() == ".parquet":
            continue
        n_files += 1
        if n := sum(suppressed_words(site.warehouse, words, suppressions) for words in files.tokens_of(path) if words):
            yield Hit(_shown(path, site.root, dagster_home), n)
    counts["other files"] = n_files


def _replay(
    site: Site, suppressions: Suppressions, counts: dict[str, int], notes: list[str], now: datetime
) -> Iterator[Hit]:
    """Take all of landing in anew and look for suppressed records and identifiers in what canonical tables would be made of."""
    table = load_step("identity")["suppressions"]
    with Warehouse(None, memory_limit=site.environment.memory_limit, threads=site.environment.threads) as scratch:
        scratch.write(table, to_polars(site.warehouse.read(TABLE)))
        traces = Traces(suppressions)
        empty = scratch.empty(load_step("staging")["identifiers"])
        for channel in site.channels:
            tables = channel_tables(channel)
            intake = take_in(
                scratch,
                channel,
                load_step("staging")["load_manifest"],
                site.environment.data.landing / channel.name,
                company_time_zone=site.settings.company.time_zone,
                started_at=now,
                hold_back=partial(suppression.hold_back, scratch, channel, suppressions, site.policy),
            )
            counts["landing files taken in anew"] = counts.get("landing files taken in anew", 0) + intake.n_files_read
            held = n_rows(scratch.read(tables.rejected.full_name).filter(nw.col("rule") == "suppressed"))
            if held:
                notes.append(
                    f"landing/{channel.name}: {held:,} rows of erased people are held back; `cx erase` takes them out of the files"
                )
            prepared = canonical.prepare(scratch.read(tables.rows.full_name), channel, site.policy, site.key)
            seen = canonical.identifiers(canonical.seen_identifiers(prepared, channel, site.policy), empty)
            where = f"replay of landing/{channel.name}"
            yield from _hit(where, seen.select("namespace", "value"), traces)
            records = prepared.select(nw.lit(channel.name).alias("channel"), nw.col("__record_id").alias("record_id"))
            yield from _hit(where, records, traces)
            telling = suppression.telling_raw_rows(
                scratch.read(tables.rejected.full_name), channel, suppressions, site.policy
            )
            if telling.height:
                yield Hit(where, telling.height)


# --- by values ---


def search(environment: Environment, dagster_home: Path, erasure: Erasure) -> list[Hit]:
    """Where the values still stand: in the bytes of any file, in any text of a table or a Parquet file."""
    data = environment.data
    needles = files.spellings(erasure.values)
    hits: list[Hit] = []
    n_files = 0
    for path in files.files_below(
        [data.root, dagster_home], [data.root / QUARANTINE, data.warehouse.with_name("hash.key")]
    ):
        n_files += 1
        if n := files.n_values_in(path, needles):
            hits.append(Hit(_shown(path, data.root, dagster_home), n))
    with open_warehouse(environment) as warehouse:
        frames = {name: warehouse.read(name) for name in warehouse.names()}
        for path in files.files_below([data.root], [data.root / QUARANTINE]):
            if path.suffix.lower() == ".parquet":
                frames[_shown(path, data.root, dagster_home)] = warehouse.parquet(path)
        for where, frame in frames.items():
            if n := _n_rows_with(frame, erasure.values):
                hits.append(Hit(where if where.endswith(".parquet") else f"warehouse: {where}", n))
    erasure.counts["own values searched for"] = len(erasure.values)
    erasure.counts["files searched byte by byte"] = n_files
    erasure.counts["tables searched"] = len(frames)
    return hits


def _shown(path: Path, root: Path, dagster_home: Path) -> str:
    if path.is_relative_to(dagster_home):
        return f"dagster/{path.relative_to(dagster_home)}"
    return str(path.relative_to(root))


def _n_rows_with(frame: nw.LazyFrame, values: Sequence[str]) -> int:
    """Rows in which one of the values stands in a text."""
    texts = [name for name, dtype in frame.collect_schema().items() if dtype == nw.String]
    if not texts:
        return 0
    pattern = "|".join(re.escape(value.lower()) for value in values)
    found = [nw.col(name).str.to_lowercase().str.contains(pattern).fill_null(False) for name in texts]
    return n_rows(frame.filter(nw.any_horizontal(*found, ignore_nulls=True)))
