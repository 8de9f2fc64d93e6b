"""Intake of one channel: new files in, versions of records sorted out, manifest written, all in one transaction.

Belongs here: the order in which a channel's tables change. Does not belong here: which files are new (`landing.py`), which version
stands (`versions.py`), how a file is read (`core/extracts/`).

A channel has three tables: `channel_<c>` with the rows that stand, `channel_<c>_rejected` with rows that broke the contract, and
`channel_<c>_superseded` with rows that a newer version has replaced (kept, so that a withdrawn correction gives them back).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import narwhals as nw
import polars as pl

from cx_pipeline.core.contract import Channel
from cx_pipeline.core.errors import ContractError, Problem, UnreadableExtractError
from cx_pipeline.core.extracts import ExtractFormat, LoadedExtract
from cx_pipeline.core.frames import native, quote_identifier, to_polars
from cx_pipeline.core.tables import Column, Rule, Table
from cx_pipeline.core.warehouse import Warehouse, Written
from cx_pipeline.staging.landing import (
    FileState,
    KnownFile,
    LandedFile,
    list_files,
    list_paths,
    plan_intake,
    settled_states,
)
from cx_pipeline.staging.versions import VERDICT, judge_versions

# From this size on the first file of a channel is worth a table of its own that is not copied.
LARGE_FILE_BYTES = 32 << 20
_SOURCE = (
    Column(
        "source_file", "string", "VARCHAR", "File the row came from, below the channel's landing folder", required=True
    ),
    Column(
        "source_line", "integer", "BIGINT", "Line of the file (of the table for Parquet), the first is 1", required=True
    ),
)


@dataclass(frozen=True)
class ChannelTables:
    """The compiled tables of a channel: standing rows, rejected rows, superseded rows."""

    rows: Table
    rejected: Table
    superseded: Table


@dataclass(frozen=True)
class Intake:
    """What tonight's intake of a channel did.

    Attributes:
        written: the channel's table with its audit.
        rejected: the table of rejected rows with its audit.
        manifest: the channel's rows of the load manifest now.
        n_files_read: files that were read tonight.
    """

    written: Written
    rejected: Written
    manifest: pl.DataFrame
    n_files_read: int


def channel_tables(channel: Channel) -> ChannelTables:
    """The tables that staging makes of a channel, with the columns that say where a row came from."""
    contract = channel.table
    rows = replace(
        contract,
        columns=(*contract.columns, *_SOURCE),
        rules=(*contract.rules, *(_never_null(column) for column in _SOURCE)),
    )
    rejected = Table(
        "staging",
        f"{contract.name}_rejected",
        f"One row per row of the channel {channel.name} that breaks its contract: where it stood and the first rule it broke.",
        (
            *_SOURCE,
            Column("rule", "string", "VARCHAR", "The first rule that the row breaks", required=True),
            Column("raw_row", "string", "VARCHAR", "The row as delivered; stays in the warehouse", is_personal=True),
        ),
        (*(_never_null(column) for column in _SOURCE), Rule("rule_is_never_null", "not_null", ("rule",))),
        {"unpublished_columns": ("raw_row",)},
    )
    superseded = Table(
        "staging",
        f"{contract.name}_superseded",
        f"One row per row of the channel {channel.name} that a newer version of its record or a newer snapshot has replaced.",
        rows.columns,
        tuple(_never_null(column) for column in _SOURCE),
        is_published=False,
    )
    return ChannelTables(rows, rejected, superseded)


def _never_null(column: Column) -> Rule:
    return Rule(f"{column.name}_is_never_null", "not_null", (column.name,))


def fingerprint(channel: Channel, company_time_zone: str) -> str:
    """SHA-256 of what decides how a channel's files are read: columns, types, rules, keys, format, time zones.

    Descriptions, trust and roles may change without anything being read anew, but for the roles that tell versions apart.
    """
    parts = (
        [(column.name, column.engine_type, column.required, column.format) for column in channel.table.columns],
        record_key(channel),
        channel.column_of("record.updated_at"),
        company_time_zone,
        channel.table.rules,
        channel.delimiter,
        channel.encoding,
        channel.quote,
        channel.time_zone,
        bool(channel.properties.get("snapshot", False)),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def take_in(
    warehouse: Warehouse,
    channel: Channel,
    manifest: Table,
    folder: Path,
    *,
    company_time_zone: str,
    started_at: datetime,
    full_refresh: bool = False,
    landing_files: Table | None = None,
    max_extract_bytes: int | None = None,
    hold_back: Callable[[LoadedExtract], LoadedExtract] = lambda extract: extract,
) -> Intake:
    """Bring a channel's tables and its part of the manifest up to what lies in landing.

    Where nothing is new, nothing is written.

    Args:
        warehouse: the open warehouse.
        channel: the channel.
        manifest: contract of `staging.load_manifest`.
        folder: the channel's landing folder; a missing one has no files.
        company_time_zone: zone of the times in the tables.
        started_at: start of the run, wall clock of that zone, for `loaded_at`.
        full_refresh: read everything anew.
        landing_files: contract of `staging.landing_files`, by which files that have not changed are known without reading them;
            None: every file is read.
        max_extract_bytes: size, uncompressed, beyond which a file is refused; None: no limit.
        hold_back: moves rows that must not be staged from a loaded extract's typed ones to its rejected ones, in place.

    Raises:
        ContractBrokenError: if the channel's rows as a whole break the contract; nothing changes then.
        ContractError: if a required column is missing from every file, or a changed contract cannot be applied.
    """
    tables = channel_tables(channel)
    _drop_unfinished(warehouse, tables)
    known = to_polars(warehouse.read_or_empty(manifest).filter(nw.col("channel") == channel.name))
    contract = fingerprint(channel, company_time_zone)
    seen = {} if landing_files is None or full_refresh else _seen_files(warehouse, landing_files, channel)
    files = list_files(folder, seen)
    plan = plan_intake(files, _known_files(known), contract, full_refresh=full_refresh)
    if plan.unreadable_again:
        raise ContractError(
            Problem(
                "the contract has changed, and files that were staged lie in landing no more, so that they cannot be read again",
                f"landing/{channel.name}",
                len(plan.unreadable_again),
                plan.unreadable_again[0],
                "put them back, or accept the loss with `cx run --full-refresh`",
            )
        )
    if plan.load and (missing := missing_required_columns(warehouse, channel, folder, company_time_zone)):
        raise ContractError(missing)
    is_first = plan.starts_over or not any(
        warehouse.has(table.full_name) and warehouse.n_rows(table.full_name)
        for table in (tables.rows, tables.superseded)
    )
    extracts: list[tuple[LandedFile, LoadedExtract]] = []
    fmt = replace(extract_format(channel, company_time_zone), max_bytes=max_extract_bytes)
    try:
        unreadable = _load(warehouse, channel, plan.load, fmt, tables.rows if is_first else None, extracts)
        extracts[:] = [(file, hold_back(extract)) for file, extract in extracts]
        not_loaded = (
            [(file, file.refusal) for file in plan.refused] + unreadable + [(file, "") for file in plan.repeated]
        )
        replaced = sorted({*plan.withdrawn, *(name for file, _ in extracts for name in plan.replaced[file.name])})
        is_changed = bool(extracts or replaced or plan.starts_over or not _stand(warehouse, tables))
        with warehouse.transaction():
            if is_changed:
                before = {entry.name for entry in _known_files(known) if entry.status == "loaded"} - set(replaced)
                standing_files = [*(set() if plan.starts_over else before), *(file.name for file, _ in extracts)]
                is_snapshot = bool(channel.properties.get("snapshot", False))
                written, rejected = _merge(
                    warehouse,
                    channel,
                    tables,
                    extracts,
                    replaced,
                    newest_file=max(standing_files, default=None) if is_snapshot else None,
                    is_first=is_first,
                    starts_over=plan.starts_over,
                )
            else:
                written, rejected = (
                    Written(table, warehouse.n_rows(table.full_name), None) for table in (tables.rows, tables.rejected)
                )
            rows = _manifest_rows(
                channel,
                manifest,
                [] if plan.starts_over else known.to_dicts(),
                extracts,
                not_loaded,
                replaced,
                contract,
                started_at,
                _rows_per_file(warehouse, tables) if is_changed else None,
            )
            if is_changed or not _is_same(rows, known):
                warehouse.replace_partition(manifest, rows, channel=channel.name)
            if landing_files is not None:
                _remember_files(
                    warehouse, landing_files, channel, files, started_at.replace(tzinfo=ZoneInfo(company_time_zone))
                )
    finally:
        _drop_unfinished(warehouse, tables)
        for name in (name for _, extract in extracts for name in (extract.typed, extract.rejected)):
            warehouse.drop_temporary(name)
    return Intake(written, rejected, rows, len(extracts))


def _load(
    warehouse: Warehouse,
    channel: Channel,
    files: Sequence[LandedFile],
    fmt: ExtractFormat,
    first_into: Table | None,
    extracts: list[tuple[LandedFile, LoadedExtract]],
) -> list[tuple[LandedFile, str]]:
    """Read files into tables of their own, adding to `extracts`; the files that cannot be read, with their reasons.

    The largest file of a channel's first load goes where the channel's rows will stand, and so is written once, not twice.
    """
    unreadable: list[tuple[LandedFile, str]] = []
    sizes = {file.name: file.state.size_bytes for file in files if file.state}
    largest = max(sizes, key=lambda name: sizes[name], default="")
    for file in files:
        is_base = first_into is not None and file.name == largest and sizes[largest] >= LARGE_FILE_BYTES
        into = first_into if is_base else None
        try:
            loaded = warehouse.load_extract(file.path, channel.table, fmt, source_file=file.name, into=into)
            extracts.append((file, loaded))
        except UnreadableExtractError as error:
            unreadable.append((file, error.problems[0].what))
    return unreadable


def _drop_unfinished(warehouse: Warehouse, tables: ChannelTables) -> None:
    """Drop what a load that failed, or was killed, has left in the database."""
    name = f"{tables.rows.full_name}__new"
    if warehouse.has(name):
        warehouse.drop(name)


def _stand(warehouse: Warehouse, tables: ChannelTables) -> bool:
    """Whether all tables of a channel are there, with the columns of today."""
    return all(
        warehouse.has(table.full_name) and warehouse.columns(table.full_name) == table.engine_schema
        for table in (tables.rows, tables.rejected, tables.superseded)
    )


def _is_same(rows: pl.DataFrame, known: pl.DataFrame) -> bool:
    names = rows.columns
    return rows.height == known.height and rows.sort("file", "sha256").equals(
        known.select(names).sort("file", "sha256")
    )


def _seen_files(warehouse: Warehouse, landing_files: Table, channel: Channel) -> dict[str, tuple[FileState, str]]:
    rows = to_polars(warehouse.read_or_empty(landing_files).filter(nw.col("channel") == channel.name))
    return {
        row["file"]: (FileState(row["size_bytes"], row["modified_ns"], row["changed_ns"], row["inode"]), row["sha256"])
        for row in rows.iter_rows(named=True)
    }


def _remember_files(
    warehouse: Warehouse, landing_files: Table, channel: Channel, files: Sequence[LandedFile], started_at: datetime
) -> None:
    """Keep the state of the files, where it is another than is known."""
    settled = settled_states(files, started_at)
    if settled == _seen_files(warehouse, landing_files, channel) and warehouse.has(landing_files.full_name):
        return
    rows = [
        {"channel": channel.name, "file": name, **asdict(state), "sha256": digest}
        for name, (state, digest) in settled.items()
    ]
    warehouse.replace_partition(
        landing_files, pl.DataFrame(rows, schema=landing_files.polars_schema()), channel=channel.name
    )


def _known_files(known: pl.DataFrame) -> list[KnownFile]:
    """The current content of each known file: a replaced one (everything superseded, nothing rejected) is history."""
    return [
        KnownFile(row["file"], row["sha256"], row["status"], row["contract_sha256"])
        for row in known.iter_rows(named=True)
        if row["reason"] != _REPLACED
    ]


_REPLACED = "replaced by another file"
_REPEATED = "its content has been loaded under another name"


def missing_required_columns(
    warehouse: Warehouse, channel: Channel, folder: Path, company_time_zone: str
) -> list[Problem]:
    """Required columns that no file of a channel's landing folder has (INTERFACES: exit code 2); a folder without files has none."""
    required = {column.name for column in channel.table.columns if column.required}
    fmt = extract_format(channel, company_time_zone)
    missing, n_files = set(required), 0
    for file in list_paths(folder):
        if not missing:
            break
        try:
            header = warehouse.read_header(file, fmt)
        except UnreadableExtractError:
            continue
        if header:
            n_files += 1
            missing -= {name for name in missing if name.strip().lower() in {found.strip().lower() for found in header}}
    if not n_files:
        return []
    return [
        Problem(
            f"the required column `{name}` is missing from every file",
            f"landing/{channel.name}",
            n_files,
            remedy="correct the extract, or the column's name in the contract",
        )
        for name in sorted(missing)
    ]


def extract_format(channel: Channel, company_time_zone: str) -> ExtractFormat:
    """How the channel's files are written."""
    return ExtractFormat(channel.delimiter, channel.encoding, channel.quote, channel.time_zone, company_time_zone)


def _merge(
    warehouse: Warehouse,
    channel: Channel,
    tables: ChannelTables,
    loaded: list[tuple[LandedFile, LoadedExtract]],
    replaced: list[str],
    *,
    newest_file: str | None,
    is_first: bool,
    starts_over: bool,
) -> tuple[Written, Written]:
    """Sort new rows in among those that are there; only keys that new or replaced rows touch are looked at again."""
    key, _ = record_key(channel)
    extracts = [extract for _, extract in loaded]
    is_snapshot = newest_file is not None
    if starts_over:
        for table in (tables.rows, tables.rejected, tables.superseded):
            warehouse.drop(table.full_name)
    if is_first and (not is_snapshot or [file.name for file, _ in loaded] == [newest_file]):
        written, contradicting = _merge_first(warehouse, channel, tables, extracts, newest_file)
    elif key and not is_snapshot:
        written, contradicting = _merge_into(warehouse, channel, tables, extracts, replaced)
    else:
        written, contradicting = _merge_anew(warehouse, channel, tables, extracts, replaced, newest_file)
    # What was rejected before stays so, unless its file has been replaced.
    names = tables.rejected.column_names
    rejects = _union([warehouse.temporary(extract.rejected).select(names) for extract in extracts])
    rejects = contradicting if rejects is None else nw.concat([rejects, contradicting])
    if starts_over or not warehouse.has(tables.rejected.full_name):
        rejected = warehouse.write(tables.rejected, rejects)
    else:
        rejected = warehouse.replace_rows(tables.rejected, rejects, _files(replaced), audits_all=False)
    for name in ("touched_keys", "judged_rows"):
        warehouse.drop_temporary(name)
    return written, rejected


def _merge_first(
    warehouse: Warehouse,
    channel: Channel,
    tables: ChannelTables,
    extracts: list[LoadedExtract],
    newest_file: str | None,
) -> tuple[Written, nw.LazyFrame]:
    """The rows of a channel that had none: only repeated keys are judged. The table, and the rows that contradict their file."""
    names = list(tables.rows.column_names)
    frames = {extract.typed: _typed(warehouse, extract).select(names) for extract in extracts}
    pending = _union(list(frames.values())) or warehouse.empty(tables.rows)
    key, _ = record_key(channel)
    inserted = [frame for name, frame in frames.items() if "." not in name]
    proven = [rule.name for rule in tables.rows.rules if rule.kind == "unique" and list(rule.columns) == key]
    if not key or warehouse.is_unique(pending, key):
        written = warehouse.adopt(tables.rows, inserted, proven=proven)
        warehouse.write(tables.superseded, warehouse.empty(tables.superseded))
        return written, warehouse.empty(tables.rejected)
    counted = pending.select(key).drop_nulls().group_by(key).agg(nw.len().alias("__n_rows"))
    touched = warehouse.materialise(counted.filter(nw.col("__n_rows") > 1).select(key), "touched_keys")
    judged = _judged(warehouse, channel, pending.join(touched, on=key, how="semi"), newest_file)
    written = warehouse.adopt(
        tables.rows, inserted, removed=touched, added=_with_verdict(judged, "current"), proven=proven
    )
    warehouse.write(tables.superseded, _with_verdict(judged, "superseded"))
    return written, _as_rejected(_with_verdict(judged, "rejected"), channel, key)


def _merge_into(
    warehouse: Warehouse,
    channel: Channel,
    tables: ChannelTables,
    extracts: list[LoadedExtract],
    replaced: list[str],
) -> tuple[Written, nw.LazyFrame]:
    """New rows among those that stand: keys of new and of replaced rows are judged again, the others are left alone."""
    key, _ = record_key(channel)
    names = list(tables.rows.column_names)
    pending = _union([_typed(warehouse, extract).select(names) for extract in extracts]) or warehouse.empty(tables.rows)
    stored = [warehouse.read_or_empty(table) for table in (tables.rows, tables.superseded)]
    is_gone = nw.col("source_file").is_in(replaced)
    going = [frame.filter(is_gone).select(key) for frame in stored] if replaced else []
    touched = warehouse.materialise(nw.concat([pending.select(key), *going]).unique(), "touched_keys")
    complete = touched.drop_nulls()
    kept = [(frame.filter(~is_gone) if replaced else frame).join(complete, on=key, how="semi") for frame in stored]
    pool = nw.concat([frame.select(names) for frame in (*kept, pending)])
    judged = _judged(warehouse, channel, pool, None)
    if replaced:
        for target in (tables.rows, tables.superseded):
            warehouse.replace_rows(target, warehouse.empty(target), _files(replaced), audits_all=False)
    warehouse.replace_rows(tables.superseded, _with_verdict(judged, "superseded"), complete, audits_all=False)
    written = warehouse.replace_rows(tables.rows, _with_verdict(judged, "current"), complete, audits_all=False)
    return written, _as_rejected(_with_verdict(judged, "rejected"), channel, key)


def _merge_anew(
    warehouse: Warehouse,
    channel: Channel,
    tables: ChannelTables,
    extracts: list[LoadedExtract],
    replaced: list[str],
    newest_file: str | None,
) -> tuple[Written, nw.LazyFrame]:
    """All rows judged and written again: a snapshot replaces everything."""
    key, _ = record_key(channel)
    names = list(tables.rows.column_names)
    stored = [warehouse.read_or_empty(table) for table in (tables.rows, tables.superseded)]
    kept = [frame.filter(~nw.col("source_file").is_in(replaced)) if replaced else frame for frame in stored]
    pool = nw.concat([frame.select(names) for frame in (*kept, *(_typed(warehouse, extract) for extract in extracts))])
    judged = _judged(warehouse, channel, pool, newest_file)
    written = warehouse.write(tables.rows, _with_verdict(judged, "current"))
    warehouse.write(tables.superseded, _with_verdict(judged, "superseded"))
    return written, _as_rejected(_with_verdict(judged, "rejected"), channel, key)


def _typed(warehouse: Warehouse, extract: LoadedExtract) -> nw.LazyFrame:
    return warehouse.read(extract.typed) if "." in extract.typed else warehouse.temporary(extract.typed)


def _judged(warehouse: Warehouse, channel: Channel, pool: nw.LazyFrame, newest_file: str | None) -> nw.LazyFrame:
    key, is_declared = record_key(channel)
    updated_at = channel.column_of("record.updated_at")
    judged = judge_versions(pool, key=key, updated_at=updated_at, key_is_declared=is_declared, newest_file=newest_file)
    return warehouse.materialise(judged, "judged_rows")


def _with_verdict(judged: nw.LazyFrame, verdict: str) -> nw.LazyFrame:
    return judged.filter(nw.col(VERDICT) == verdict).drop(VERDICT)


def _files(names: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({"source_file": list(names)}, schema={"source_file": pl.String})


def record_key(channel: Channel) -> tuple[list[str], bool]:
    """The columns that identify a record of a channel, and whether the contract declares them as key.

    The declared primary key, else the columns with the role `record.id`.
    """
    if channel.table.primary_key:
        return list(channel.table.primary_key), True
    return list(channel.roles.get("record.id", ())), False


def _as_rejected(rows: nw.LazyFrame, channel: Channel, key: list[str]) -> nw.LazyFrame:
    rule = f"{'_and_'.join(key)}_{'is' if len(key) == 1 else 'are'}_unique"
    columns = [column.name for column in channel.table.columns]

    def as_json(relation: Any) -> Any:
        fields = ", ".join(f"{quote_identifier(name)} := {quote_identifier(name)}" for name in columns)
        return relation.project(f"*, CAST(to_json(struct_pack({fields})) AS VARCHAR) AS raw_row")

    def as_json_on_spark(data: Any) -> Any:
        from pyspark.sql import functions

        return data.withColumn("raw_row", functions.to_json(functions.struct(*columns), {"ignoreNullFields": "false"}))

    with_json = native(
        rows,
        duckdb=as_json,
        polars=lambda data: data.with_columns(pl.struct(columns).struct.json_encode().alias("raw_row")),
        pyspark=as_json_on_spark,
    )
    return with_json.select("source_file", "source_line", nw.lit(rule).alias("rule"), "raw_row")


def _union(frames: list[nw.LazyFrame]) -> nw.LazyFrame | None:
    return reduce(lambda left, right: nw.concat([left, right]), frames) if frames else None


def _manifest_rows(
    channel: Channel,
    manifest: Table,
    known: list[dict[str, Any]],
    extracts: list[tuple[LandedFile, LoadedExtract]],
    not_loaded: list[tuple[LandedFile, str]],
    replaced: list[str],
    contract: str,
    started_at: datetime,
    counts: Mapping[str, Mapping[str, int]] | None,
) -> pl.DataFrame:
    """The channel's manifest: files of earlier nights, with their rows counted anew, and tonight's.

    `not_loaded` are files with the reason why they are refused, "" where their content is loaded under another name; `replaced`
    are names whose earlier content is history now; `counts` the rows of each file now, None where they are as they were.
    """
    before = {(row["file"], row["sha256"]): row for row in known}
    rows = {
        key: {**row, "reason": _REPLACED} if row["file"] in replaced else dict(row)
        for key, row in before.items()
        if row["status"] == "loaded"
    }
    new = {
        "channel": channel.name,
        "reason": None,
        "rows_read": 0,
        "rows_staged": 0,
        "rows_rejected": 0,
        "rows_superseded": 0,
        "contract_sha256": contract,
        "loaded_at": started_at,
    }
    for file, reason in not_loaded:
        key = (file.name, file.sha256)
        status = {"status": "refused", "reason": reason} if reason else {"status": "repeated", "reason": _REPEATED}
        seen_at = before[key]["loaded_at"] if key in before else started_at
        rows[key] = {**new, **status, "file": file.name, "sha256": file.sha256, "loaded_at": seen_at}
    for file, extract in extracts:
        status = {"status": "loaded", "file": file.name, "sha256": file.sha256}
        rows[file.name, file.sha256] = {**new, **status, "rows_read": extract.n_read}
    for row in rows.values() if counts is not None else ():
        is_history = row["reason"] == _REPLACED
        is_current = row["status"] == "loaded" and not is_history
        row.update({column: n.get(row["file"], 0) if is_current else 0 for column, n in (counts or {}).items()})
        if is_history:
            row["rows_superseded"] = row["rows_read"]
    return pl.DataFrame(list(rows.values()), schema=manifest.polars_schema())


def _rows_per_file(warehouse: Warehouse, tables: ChannelTables) -> dict[str, dict[str, int]]:
    """Per column of the manifest: file -> rows."""
    found: dict[str, dict[str, int]] = {}
    for column, table in (
        ("rows_staged", tables.rows),
        ("rows_rejected", tables.rejected),
        ("rows_superseded", tables.superseded),
    ):
        grouped = warehouse.read(table.full_name).group_by("source_file").agg(nw.len().alias("n"))
        counted = to_polars(grouped)
        found[column] = (
            dict(zip(counted["source_file"].to_list(), counted["n"].to_list(), strict=True)) if len(counted) else {}
        )
    return found


def check_reject_rates(manifest: pl.DataFrame, tolerated: float) -> pl.DataFrame:
    """The files with rejected rows, if the channel's share of rejected rows is above what is tolerated; else none.

    Args:
        manifest: the channel's rows of the load manifest.
        tolerated: share of rows, 0 to 1.
    """
    loaded = manifest.filter(pl.col("status") == "loaded", pl.col("reason").is_null())
    n_read, n_rejected = int(loaded["rows_read"].sum()), int(loaded["rows_rejected"].sum())
    is_tolerable = n_read == 0 or n_rejected <= tolerated * n_read
    return loaded.filter(pl.lit(not is_tolerable), pl.col("rows_rejected") > 0).select(
        "file", "rows_read", "rows_rejected"
    )


def rejects_by_rule(rejected: nw.LazyFrame, files: pl.DataFrame) -> pl.DataFrame:
    """One row per file and rule: how many rows broke the rule first, out of how many, and the first of their lines.

    Args:
        rejected: the channel's rejected rows.
        files: the files to look at: file, rows_read.
    """
    counted = rejected.group_by("source_file", "rule").agg(
        nw.len().cast(nw.Int64).alias("n_rejected"), nw.col("source_line").min().alias("first_line")
    )
    return (
        to_polars(counted)
        .join(files.select(pl.col("file").alias("source_file"), "rows_read"), on="source_file")
        .sort("source_file", "n_rejected", "rule", descending=[False, True, False])
        .select(pl.col("source_file").alias("file"), "rule", "n_rejected", "rows_read", "first_line")
    )


def check_conservation(manifest: pl.DataFrame) -> pl.DataFrame:
    """Files whose rows read are not the rows staged, rejected and superseded together: rows that have been lost."""
    together = pl.col("rows_staged") + pl.col("rows_rejected") + pl.col("rows_superseded")
    return manifest.filter(pl.col("rows_read") != together).select(
        "channel", "file", "rows_read", "rows_staged", "rows_rejected", "rows_superseded"
    )
