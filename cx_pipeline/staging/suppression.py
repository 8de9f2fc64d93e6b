"""Suppression: rows of erased people are kept out of staging, whatever extract brings them again.

Belongs here: which rows of a channel are suppressed, holding them back at the intake, taking them out of the channel's tables, where they
stand in landing. Does not belong here: how hashes are made (`core/suppressions.py`), whom they are about (identity), how a file is
rewritten (`core/erasure.py`).

A row is suppressed by its record's id, by an identifier it carries or, where it has no id, by its content. It counts as rejected by the
rule `suppressed` and leaves no raw row. A broken row keeps no raw row either if a suppressed value stands anywhere in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

import narwhals as nw
import polars as pl

from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.core.errors import UnreadableExtractError
from cx_pipeline.core.extracts import ExtractFormat, LoadedExtract
from cx_pipeline.core.frames import native, quote_literal, to_polars
from cx_pipeline.core.suppressions import RULE, TABLE, Kind, Suppressions
from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging.canonical import identifier_columns, normalised_identifier
from cx_pipeline.staging.landing import LandedFile
from cx_pipeline.staging.policy import StagingPolicy

if TYPE_CHECKING:
    from cx_pipeline.staging.intake import ChannelTables

_PLACE = ["source_file", "source_line"]
_NULL = "\x1e"
_ESCAPES = r'\\[nrtbf"/\\]'
# Values of a raw row: what stands between quotes, brackets and the usual delimiters, with blanks inside and without.
_TOKENS = (r'[^"\\|,;\t{}\[\]]+', r'[^\s"\\|,;\t{}\[\]:=<>()]+')


def load_suppressions(warehouse: Warehouse, key: str) -> Suppressions:
    """What is suppressed now: nothing where nobody was erased.

    Raises:
        ConfigurationError: if suppressions were made with another key.
    """
    if not warehouse.has(TABLE):
        return Suppressions({}, key)
    return Suppressions.of(to_polars(warehouse.read_or_empty(load_step("identity")["suppressions"])), key)


def record_id(channel: Channel) -> nw.Expr | None:
    """A row's record id as canonical tables have it; None for a channel without ids (there rows are known by their place)."""
    ids = [nw.col(column).cast(nw.String) for column in channel.roles.get("record.id", ())]
    if not ids:
        return None
    return ids[0] if len(ids) == 1 else nw.concat_str(ids, separator=":")


def row_text(channel: Channel) -> nw.Expr:
    """A row's content as one text: what it is known by where it has no id."""
    values = [nw.col(column.name).cast(nw.String).fill_null(_NULL) for column in channel.table.columns]
    return nw.concat_str(values, separator="\x1f")


def suppressed_rows(
    rows: nw.LazyFrame, channel: Channel, suppressions: Suppressions, policy: StagingPolicy
) -> nw.Expr | None:
    """Condition that holds for a channel's rows that are suppressed; None where none is.

    Args:
        rows: with the contract's columns.
        channel: the channel.
        suppressions: what is suppressed.
        policy: for the channel's identifiers.
    """
    conditions = []
    for namespace, column in identifier_columns(channel, policy):
        if namespace in suppressions.scopes("identifier"):
            value = normalised_identifier(nw.col(column), namespace)
            if hits := suppressions.found(rows.select(value.alias("value")), "identifier", namespace):
                conditions.append(value.is_in(hits))
    known_by: list[tuple[Kind, nw.Expr | None]] = [("record", record_id(channel)), ("row", row_text(channel))]
    for kind, text in known_by:
        if text is None or channel.name not in suppressions.scopes(kind):
            continue
        if hits := suppressions.found(rows.select(text.alias("value")), kind, channel.name):
            conditions.append(text.is_in(hits))
    return reduce(or_, [condition.fill_null(False) for condition in conditions]) if conditions else None


def telling_raw_rows(
    rejected: nw.LazyFrame, channel: Channel, suppressions: Suppressions, policy: StagingPolicy
) -> pl.DataFrame:
    """Place of the broken rows in whose raw text a suppressed value stands: source_file, source_line.

    Args:
        rejected: source_file, source_line, raw_row.
        channel: the channel.
        suppressions: what is suppressed.
        policy: for the channel's identifiers.
    """
    raw = rejected.filter(~nw.col("raw_row").is_null()).select(*_PLACE, "raw_row")
    unescaped = raw.with_columns(nw.col("raw_row").str.replace_all(_ESCAPES, " "))
    found = []
    if hits := suppressions.found(raw.select(nw.col("raw_row").alias("value")), "row", channel.name):
        found.append(raw.filter(nw.col("raw_row").is_in(hits)).select(_PLACE))
    namespaces = {namespace for namespace, _ in identifier_columns(channel, policy)} | {"email", "phone"}
    for pattern in _TOKENS:
        tokens = _tokens(unescaped, pattern)
        for namespace in sorted(namespaces & set(suppressions.scopes("identifier"))):
            value = normalised_identifier(nw.col("token"), namespace)
            if hits := suppressions.found(tokens.select(value.alias("value")), "identifier", namespace):
                found.append(tokens.filter(value.is_in(hits)).select(_PLACE))
        ids = tokens.select(nw.col("token").str.strip_chars().alias("value"))
        if hits := suppressions.found(ids, "record", channel.name):
            found.append(tokens.filter(nw.col("token").str.strip_chars().is_in(hits)).select(_PLACE))
    schema = {"source_file": pl.String, "source_line": pl.Int64}
    return pl.concat([pl.DataFrame(schema=schema), *(to_polars(frame) for frame in found)]).unique().sort(_PLACE)


def _tokens(raw: nw.LazyFrame, pattern: str) -> nw.LazyFrame:
    """One row per word of a raw row: source_file, source_line, token."""
    split = native(
        raw,
        duckdb=lambda relation: relation.project(
            f"source_file, source_line, regexp_extract_all(raw_row, {quote_literal(pattern)}) AS token"
        ),
        polars=lambda data: data.select(*_PLACE, pl.col("raw_row").str.extract_all(pattern).alias("token")),
    )
    return split.explode("token").filter(~nw.col("token").is_null())


def hold_back(
    warehouse: Warehouse, channel: Channel, suppressions: Suppressions, policy: StagingPolicy, extract: LoadedExtract
) -> LoadedExtract:
    """Move the suppressed rows of a loaded extract to its rejected ones, without raw row; no cost where nothing is suppressed.

    Every row stays in exactly one of the extract's two tables.
    """
    if not suppressions:
        return extract
    # The largest file of a first load may stand in the database already.
    typed = warehouse.read(extract.typed) if "." in extract.typed else warehouse.temporary(extract.typed)
    rejected = warehouse.temporary(extract.rejected)
    condition = suppressed_rows(typed, channel, suppressions, policy)
    held = to_polars(typed.filter(condition).select(_PLACE)) if condition is not None else None
    telling = telling_raw_rows(rejected, channel, suppressions, policy)
    if telling.height:
        warehouse.move_rows(extract.rejected, telling, extract.rejected, _as_rejected(telling))
    if held is None or held.is_empty():
        return extract
    warehouse.move_rows(extract.typed, held, extract.rejected, _as_rejected(held))
    return replace(extract, n_typed=extract.n_typed - held.height, n_rejected=extract.n_rejected + held.height)


def _as_rejected(places: pl.DataFrame) -> pl.DataFrame:
    return places.select(*_PLACE, pl.lit(RULE).alias("rule"), pl.lit(None, pl.String).alias("raw_row"))


def without_suppressed(manifest: pl.DataFrame, rejected: nw.LazyFrame) -> pl.DataFrame:
    """The manifest as if suppressed rows had never been delivered: they say nothing about the quality of an extract."""
    counted = to_polars(
        rejected.filter(nw.col("rule") == RULE).group_by("source_file").agg(nw.len().cast(nw.Int64).alias("__n"))
    )
    n = pl.col("__n").fill_null(0)
    is_current = pl.col("rows_rejected") > 0
    return (
        manifest.join(counted, left_on="file", right_on="source_file", how="left")
        .with_columns(
            pl.when(is_current).then(pl.col(name) - n).otherwise(pl.col(name))
            for name in ("rows_read", "rows_rejected")
        )
        .drop("__n")
    )


# --- what is staged already -----------------------------------------------------------------------------------------------------


def purge(
    warehouse: Warehouse,
    channel: Channel,
    tables: ChannelTables,
    manifest: Table,
    suppressions: Suppressions,
    policy: StagingPolicy,
) -> int:
    """Take suppressed rows out of a channel's tables: they become rejected rows without raw row; return how many.

    To be called inside a transaction. Rows read stay the sum of those staged, rejected and superseded, in the manifest too.
    """
    held = []
    for table in (tables.rows, tables.superseded):
        current = warehouse.read_or_empty(table)
        if (condition := suppressed_rows(current, channel, suppressions, policy)) is not None:
            held.append(to_polars(current.filter(condition).select(_PLACE)))
            warehouse.replace_rows(table, warehouse.empty(table), held[-1])
    telling = telling_raw_rows(warehouse.read_or_empty(tables.rejected), channel, suppressions, policy)
    gone = pl.concat([telling, *held])
    if gone.height:
        warehouse.replace_rows(tables.rejected, _as_rejected(gone), gone)
        _count_anew(warehouse, channel, tables, manifest)
    return gone.height


def _count_anew(warehouse: Warehouse, channel: Channel, tables: ChannelTables, manifest: Table) -> None:
    """The manifest's numbers of rows of a channel's files, from its tables."""
    rows = to_polars(warehouse.read_or_empty(manifest).filter(nw.col("channel") == channel.name))
    is_current = (pl.col("status") == "loaded") & pl.col("reason").is_null()
    for column, table in (
        ("rows_staged", tables.rows),
        ("rows_rejected", tables.rejected),
        ("rows_superseded", tables.superseded),
    ):
        per_file = warehouse.read_or_empty(table).group_by("source_file").agg(nw.len().cast(nw.Int64).alias("__n"))
        counted = rows.join(to_polars(per_file), left_on="file", right_on="source_file", how="left")
        n = pl.when(is_current).then(pl.col("__n").fill_null(0)).otherwise(pl.col(column)).alias(column)
        rows = counted.with_columns(n).drop("__n")
    warehouse.replace_partition(manifest, rows, channel=channel.name)


# --- where they stand in landing ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LandedRows:
    """The rows of one landing file.

    Attributes:
        file: the file.
        starts: first line of every row.
        suppressed: first lines of the rows that are suppressed.
        refusal: why it cannot be said; empty where it can.
    """

    file: LandedFile
    starts: tuple[int, ...] = ()
    suppressed: tuple[int, ...] = ()
    refusal: str = ""


def landed_rows(
    warehouse: Warehouse,
    channel: Channel,
    tables: ChannelTables,
    files: list[LandedFile],
    manifest: pl.DataFrame,
    fmt: ExtractFormat,
    suppressions: Suppressions,
    policy: StagingPolicy,
) -> Iterator[LandedRows]:
    """For each file of a channel's landing folder that holds suppressed rows, or cannot be read: where they stand in it.

    Files whose content is staged are known from the channel's tables; others are read.

    Args:
        warehouse: the open warehouse, as the last night left it.
        channel: the channel.
        tables: its tables.
        files: what lies in its landing folder.
        manifest: the channel's rows of the load manifest.
        fmt: how its files are written.
        suppressions: what is suppressed.
        policy: for the channel's identifiers.
    """
    current = manifest.filter(pl.col("status") == "loaded", pl.col("reason").is_null())
    staged_as = {sha256: (name, n) for sha256, name, n in current.select("sha256", "file", "rows_read").iter_rows()}
    places = suppressed_places(warehouse, channel, tables, suppressions, policy)
    by_file = {
        row["source_file"]: row["source_line"] for row in places.group_by("source_file").agg("source_line").to_dicts()
    }
    for file in files:
        if file.refusal:
            yield LandedRows(file, refusal=file.refusal)
            continue
        name, n_rows = staged_as.get(file.sha256, ("", 0))
        # The same content under another suffix is read in another way.
        if name and Path(name).suffix.lower() == file.path.suffix.lower():
            lines = by_file.get(name)
            starts = _starts(warehouse, tables, name) if lines else ()
            if lines and len(starts) == n_rows:
                yield LandedRows(file, starts, tuple(sorted(set(lines))))
            if not lines or len(starts) == n_rows:
                continue
        found = _read_anew(warehouse, channel, file, fmt, suppressions, policy)
        if found.suppressed or found.refusal:
            yield found


def suppressed_places(
    warehouse: Warehouse, channel: Channel, tables: ChannelTables, suppressions: Suppressions, policy: StagingPolicy
) -> pl.DataFrame:
    """source_file, source_line of a channel's suppressed rows: staged, superseded or rejected."""
    found = [pl.DataFrame(schema={"source_file": pl.String, "source_line": pl.Int64})]
    for table in (tables.rows, tables.superseded):
        current = warehouse.read_or_empty(table)
        if (condition := suppressed_rows(current, channel, suppressions, policy)) is not None:
            found.append(to_polars(current.filter(condition).select(_PLACE)))
    rejected = warehouse.read_or_empty(tables.rejected)
    found.append(to_polars(rejected.filter(nw.col("rule") == RULE).select(_PLACE)))
    found.append(telling_raw_rows(rejected, channel, suppressions, policy))
    return pl.concat(found).unique()


def _starts(warehouse: Warehouse, tables: ChannelTables, name: str) -> tuple[int, ...]:
    lines: set[int] = set()
    for table in (tables.rows, tables.superseded, tables.rejected):
        of_file = warehouse.read_or_empty(table).filter(nw.col("source_file") == name)
        lines.update(to_polars(of_file.select("source_line"))["source_line"].to_list())
    return tuple(sorted(lines))


def _read_anew(
    warehouse: Warehouse,
    channel: Channel,
    file: LandedFile,
    fmt: ExtractFormat,
    suppressions: Suppressions,
    policy: StagingPolicy,
) -> LandedRows:
    try:
        extract = warehouse.load_extract(file.path, channel.table, fmt, source_file=file.name)
    except UnreadableExtractError as error:
        return LandedRows(file, refusal=error.problems[0].what)
    try:
        typed, rejected = warehouse.temporary(extract.typed), warehouse.temporary(extract.rejected)
        condition = suppressed_rows(typed, channel, suppressions, policy)
        lines = telling_raw_rows(rejected, channel, suppressions, policy)["source_line"].to_list()
        if condition is not None:
            lines += to_polars(typed.filter(condition).select("source_line"))["source_line"].to_list()
        starts = (
            [
                line
                for frame in (typed, rejected)
                for line in to_polars(frame.select("source_line"))["source_line"].to_list()
            ]
            if lines
            else []
        )
        return LandedRows(file, tuple(sorted(set(starts))), tuple(sorted(set(lines))))
    finally:
        for name in (extract.typed, extract.rejected):
            warehouse.drop_temporary(name)
