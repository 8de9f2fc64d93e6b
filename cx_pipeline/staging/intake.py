"""Intake of one channel: new files in, versions of records sorted out, manifest written, all in one transaction.

Belongs here: the order in which a channel's tables change. Does not belong here: which files are new (`landing.py`), which version
stands (`versions.py`), how a file is read (`core/extracts.py`).

A channel has three tables: `channel_<c>` with the rows that stand, `channel_<c>_rejected` with rows that broke the contract, and
`channel_<c>_superseded` with rows that a newer version has replaced (kept, so that a withdrawn correction gives them back).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.contract import Channel
from cx_pipeline.core.errors import ContractError, Problem, UnreadableExtractError
from cx_pipeline.core.extracts import ExtractFormat, LoadedExtract
from cx_pipeline.core.frames import native, quote_identifier, to_polars
from cx_pipeline.core.tables import Column, Rule, Table
from cx_pipeline.core.warehouse import Warehouse, Written
from cx_pipeline.staging.landing import KnownFile, LandedFile, list_files, list_paths, plan_intake
from cx_pipeline.staging.versions import VERDICT, judge_versions

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
        manifest: the channel's rows of the load manifest now.
        n_files_read: files that were read tonight.
    """

    written: Written
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
) -> Intake:
    """Bring a channel's tables and its part of the manifest up to what lies in landing.

    Args:
        warehouse: the open warehouse.
        channel: the channel.
        manifest: contract of `staging.load_manifest`.
        folder: the channel's landing folder; a missing one has no files.
        company_time_zone: zone of the times in the tables.
        started_at: start of the run, for `loaded_at`.
        full_refresh: read everything anew.

    Raises:
        ContractBrokenError: if the channel's rows as a whole break the contract; nothing changes then.
        ContractError: if a required column is missing from every file, or a changed contract cannot be applied.
    """
    tables = channel_tables(channel)
    known = to_polars(warehouse.read_or_empty(manifest).filter(nw.col("channel") == channel.name))
    contract = fingerprint(channel, company_time_zone)
    plan = plan_intake(list_files(folder), _known_files(known), contract, full_refresh=full_refresh)
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
    fmt = extract_format(channel, company_time_zone)
    extracts: list[tuple[LandedFile, LoadedExtract]] = []
    refused = [(file, file.refusal) for file in plan.refused]
    for file in plan.load:
        try:
            extracts.append((file, warehouse.load_extract(file.path, channel.table, fmt, source_file=file.name)))
        except UnreadableExtractError as error:
            refused.append((file, error.problems[0].what))
    try:
        with warehouse.transaction():
            if plan.starts_over:
                for table in (tables.rows, tables.rejected, tables.superseded):
                    warehouse.drop(table.full_name)
            replaced = sorted({*plan.withdrawn, *(name for file, _ in extracts for name in plan.replaced[file.name])})
            if extracts or replaced or plan.starts_over:
                files = {
                    entry.name for entry in _known_files(known) if entry.status == "loaded" and not plan.starts_over
                }
                newest = max([*(files - set(replaced)), *(file.name for file, _ in extracts)], default=None)
                written = _merge(
                    warehouse,
                    channel,
                    tables,
                    [extract for _, extract in extracts],
                    replaced,
                    newest_file=newest if channel.properties.get("snapshot", False) else None,
                    starts_over=plan.starts_over,
                )
            else:
                written = warehouse.audit(tables.rows)
            warehouse.audit(tables.rejected)
            warehouse.audit(tables.superseded)
            rows = _manifest_rows(
                warehouse,
                channel,
                tables,
                manifest,
                [] if plan.starts_over else known.to_dicts(),
                extracts,
                [*refused, *((file, "") for file in plan.repeated)],
                replaced,
                contract,
                started_at,
            )
            warehouse.replace_partition(manifest, rows, channel=channel.name)
    finally:
        for _, extract in extracts:
            warehouse.drop_temporary(extract.typed)
            warehouse.drop_temporary(extract.rejected)
    return Intake(written, rows, len(extracts))


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
    extracts: list[LoadedExtract],
    replaced: list[str],
    *,
    newest_file: str | None,
    starts_over: bool,
) -> Written:
    """Sort new rows in among those that are there; only keys that new or replaced rows touch are looked at again."""
    table = tables.rows
    names = list(table.column_names)
    pending = _union([warehouse.temporary(extract.typed).select(names) for extract in extracts]) or warehouse.empty(
        table
    )
    new_rejects = _union([warehouse.temporary(extract.rejected) for extract in extracts]) or warehouse.empty(
        tables.rejected
    )
    is_first = starts_over or not any(
        warehouse.has(name) and warehouse.n_rows(name) for name in (table.full_name, tables.superseded.full_name)
    )
    current = warehouse.read_or_empty(table)
    past = warehouse.read_or_empty(tables.superseded)
    key, is_declared = record_key(channel)
    updated_at = channel.column_of("record.updated_at")
    if is_first and not replaced:
        pool, touched = pending, None
    elif key and newest_file is None:
        # Where nothing is replaced no row goes: a literal cannot be filtered by, and the file's name is never NULL.
        gone = nw.col("source_file").is_in(replaced) if replaced else nw.col("source_file").is_null()
        touched = warehouse.materialise(
            nw.concat([pending.select(key), current.filter(gone).select(key), past.filter(gone).select(key)]).unique(),
            "touched_keys",
        )
        touched_not_null = touched.drop_nulls()
        kept = [frame.filter(~gone).join(touched_not_null, on=key, how="semi") for frame in (current, past)]
        pool = nw.concat([frame.select(names) for frame in (*kept, pending)])
    else:
        touched = None
        kept = [
            frame.filter(~nw.col("source_file").is_in(replaced)) if replaced else frame for frame in (current, past)
        ]
        pool = nw.concat([frame.select(names) for frame in (*kept, pending)])
    judged = warehouse.materialise(
        judge_versions(pool, key=key, updated_at=updated_at, key_is_declared=is_declared, newest_file=newest_file),
        "judged_rows",
    )
    standing = judged.filter(nw.col(VERDICT) == "current").drop(VERDICT)
    superseded = judged.filter(nw.col(VERDICT) == "superseded").drop(VERDICT)
    rejects = nw.concat(
        [
            new_rejects.select(tables.rejected.column_names),
            _as_rejected(judged.filter(nw.col(VERDICT) == "rejected").drop(VERDICT), channel, key),
        ]
    )
    old_rejects = warehouse.read_or_empty(tables.rejected)
    # What was rejected before stays so, unless its file has been replaced.
    rejects = nw.concat(
        [old_rejects.filter(~nw.col("source_file").is_in(replaced)) if replaced else old_rejects, rejects]
    )
    if touched is None:
        written = warehouse.write(table, standing)
        warehouse.write(tables.superseded, superseded)
    else:
        stale = pl.DataFrame({"source_file": replaced}, schema={"source_file": pl.String})
        for target in (table, tables.superseded):
            warehouse.replace_rows(target, warehouse.empty(target), stale)
        warehouse.replace_rows(tables.superseded, superseded, touched.drop_nulls())
        written = warehouse.replace_rows(table, standing, touched.drop_nulls())
    warehouse.write(tables.rejected, rejects)
    for name in ("touched_keys", "judged_rows"):
        warehouse.drop_temporary(name)
    return written


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
    warehouse: Warehouse,
    channel: Channel,
    tables: ChannelTables,
    manifest: Table,
    known: list[dict[str, Any]],
    extracts: list[tuple[LandedFile, LoadedExtract]],
    not_loaded: list[tuple[LandedFile, str]],
    replaced: list[str],
    contract: str,
    started_at: datetime,
) -> pl.DataFrame:
    """The channel's manifest: files of earlier nights, with their rows counted anew, and tonight's.

    `not_loaded` are files with the reason why they are refused, "" where their content is loaded under another name; `replaced`
    are names whose earlier content is history now.
    """
    counts = {
        column: _rows_per_file(warehouse, table)
        for column, table in (
            ("rows_staged", tables.rows),
            ("rows_rejected", tables.rejected),
            ("rows_superseded", tables.superseded),
        )
    }
    before = {(row["file"], row["sha256"]): row for row in known}
    rows = {
        key: {**row, "reason": _REPLACED} if row["file"] in replaced else row
        for key, row in before.items()
        if row["status"] == "loaded"
    }
    new = {
        "channel": channel.name,
        "reason": None,
        "rows_read": 0,
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
    for row in rows.values():
        is_history = row["reason"] == _REPLACED
        is_current = row["status"] == "loaded" and not is_history
        row.update({column: n.get(row["file"], 0) if is_current else 0 for column, n in counts.items()})
        if is_history:
            row["rows_superseded"] = row["rows_read"]
    return pl.DataFrame(list(rows.values()), schema=manifest.polars_schema())


def _rows_per_file(warehouse: Warehouse, table: Table) -> dict[str, int]:
    counted = to_polars(warehouse.read(table.full_name).group_by("source_file").agg(nw.len().alias("n")))
    if counted.is_empty():
        return {}
    return dict(zip(counted["source_file"].to_list(), counted["n"].to_list(), strict=True))


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
