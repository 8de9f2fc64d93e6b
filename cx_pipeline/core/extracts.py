"""One landing file -> typed rows and rejected rows, inside an open transaction: every row of the file is in exactly one of the two.

Belongs here: how a file of each format is read, cut into rows, typed and judged row by row, from the contract alone.
Does not belong here: which files are new (the load manifest), uniqueness across files, canonical tables (`staging/`), rules as SQL
(`expectations.py`).

How: the file is looked at once as bytes (line ends, quotes, NUL bytes), which also counts its rows independently of the engine. A regular
file is then read by the engine's parallel reader in one scan; its count of rows must agree with the bytes. Where it does not, or where
quotes, line ends or encodings are broken, the file is first rewritten line by line into one that is regular, its broken rows set aside.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import json
import re
import shutil
import tempfile
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zoneinfo import ZoneInfo

import duckdb

from cx_pipeline.core.errors import ConfigurationError, ContractError, EngineError, Problem, UnreadableExtractError
from cx_pipeline.core.expectations import broken_condition
from cx_pipeline.core.frames import quote_identifier, quote_literal
from cx_pipeline.core.tables import Column, Table

FORMATS = (".csv", ".csv.gz", ".jsonl", ".parquet")

MAX_ROW_BYTES = 16 << 20
_KEPT_RAW_CHARACTERS = 64 << 10
_CHUNK_BYTES = 256 << 10
_MAX_HEADER_BYTES = 1 << 20
_HEADER_LINES_OF_JSON = 1_000
_WORK_FOLDER_PREFIX = "extract_"
_NO_DELIMITER = "\x01"
_OBJECT_START = r"^\s*\{"

HAS_THE_HEADERS_COLUMNS = "row_has_the_headers_columns"
QUOTES_ARE_CLOSED = "quotes_are_closed"
HAS_NO_NUL_BYTES = "row_has_no_nul_bytes"
IS_NOT_TOO_LONG = "row_is_at_most_16_mib"
IS_A_JSON_OBJECT = "row_is_a_json_object"

_MAGIC = {
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"%PDF": "PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "a picture",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class ExtractFormat:
    """How an extract is written, by the words of its contract.

    Attributes:
        delimiter: between the fields of a CSV; one character.
        encoding: any encoding Python knows, e.g. utf-8, utf-16, latin-1, cp1252. A byte order mark in the file wins.
        quote: around fields of a CSV; doubled inside; empty for none.
        time_zone: zone of timestamps without offset; None: the company's.
        company_time_zone: zone whose wall clock all typed timestamps are.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    quote: str = '"'
    time_zone: str | None = None
    company_time_zone: str = "UTC"


@dataclass(frozen=True)
class LoadedExtract:
    """What became of one file.

    Attributes:
        typed: name of the TEMP table of the contract's columns and types, source_file VARCHAR, source_line BIGINT.
        rejected: name of the TEMP table of source_file, source_line, rule, raw_row.
        n_read, n_typed, n_rejected: rows; n_read == n_typed + n_rejected, n_read counted from the file, not from the tables.
        columns_missing: in the contract, not in the file (of JSON: in no row). Empty for a file of no bytes.
        columns_extra: in the file, not in the contract (of JSON: seen in the first 1,000 lines).
    """

    typed: str
    rejected: str
    n_read: int
    n_typed: int
    n_rejected: int
    columns_missing: tuple[str, ...]
    columns_extra: tuple[str, ...]


def load_extract(
    con: duckdb.DuckDBPyConnection, path: Path, table: Table, fmt: ExtractFormat, *, source_file: str
) -> LoadedExtract:
    """Read one landing file into typed and rejected rows.

    Empty and blank values are NULL in every format. Numbers: plain decimal notation, an exponent only where the column is no integer;
    NaN and infinity are no numbers; integers must be whole (`1.0` is); decimals are rounded to their scale. Dates: ISO, YYYYMMDD, or a
    timestamp at midnight, or the column's `format`. Timestamps: ISO, with offset or Z converted, without taken as of the file's zone; the
    result is the company's wall clock. A row is rejected by the first rule it breaks: structure, required columns that the file lacks,
    then column by column in the contract's order its type and its rules.

    Args:
        con: connection with an open transaction; it keeps the order of insertion (the engine's default).
        path: the file; its name decides the format (`FORMATS`). The name is taken literally whatever it contains.
        table: the channel's compiled table.
        fmt: how the file is written.
        source_file: what the file is called in tables and messages, e.g. `crm/2024-01-01.csv`.

    Raises:
        UnreadableExtractError: the file as a whole cannot be read. Raised before anything is written, except where a Parquet file turns
            out to be corrupt inside: then the engine has ended the transaction.
        ContractError: a rule or a format of the contract makes no sense.
        ConfigurationError: an unknown encoding or time zone, a delimiter or quote of several characters.
        EngineError: the engine failed, or rows would have been lost; the transaction has to be rolled back.
    """
    kind = _kind(path, source_file)
    _check_format(fmt)
    if not con.execute("SELECT current_setting('preserve_insertion_order')").fetchall()[0][0]:
        raise ConfigurationError(
            Problem("the engine does not keep rows in order", remedy="leave preserve_insertion_order on")
        )
    load = _Load(con, path, table, fmt, source_file)
    try:
        return load.parquet() if kind == ".parquet" else load.text(is_json=kind == ".jsonl")
    except duckdb.OutOfMemoryException:
        raise EngineError(
            Problem("the engine ran out of memory", source_file, remedy="raise CX_MEMORY_LIMIT")
        ) from None
    except duckdb.Error as error:
        if kind == ".parquet":
            raise UnreadableExtractError(
                Problem(
                    f"the Parquet file is corrupt inside ({type(error).__name__})",
                    source_file,
                    remedy="ask the source to send it again",
                )
            ) from None
        raise EngineError(Problem(f"the engine failed while reading ({type(error).__name__})", source_file)) from None


def read_header(con: duckdb.DuckDBPyConnection, path: Path, fmt: ExtractFormat) -> tuple[str, ...]:
    """The column names of a landing file, trimmed, in its order; cheap. Of JSON: the keys of the first 1,000 lines; () for an empty file.

    Raises:
        UnreadableExtractError: as `load_extract`.
    """
    kind = _kind(path, path.name)
    _check_format(fmt)
    if kind == ".parquet":
        _check_magic_of_parquet(path, path.name)
        with _work_folder(con) as folder:
            return tuple(name for name, _, _ in _parquet_columns(con.cursor(), _literal_path(path, folder), path.name))
    _, chunks = _text_chunks(path, fmt, path.name)
    start = b"".join(_starting(chunks, _MAX_HEADER_BYTES))
    return _json_keys(start) if kind == ".jsonl" else _csv_header(start, fmt, path.name).names


# --- one load ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Load:
    """One call of `load_extract`: what it was given, and the statements it runs."""

    con: duckdb.DuckDBPyConnection
    path: Path
    table: Table
    fmt: ExtractFormat
    source_file: str

    @cached_property
    def rejected(self) -> str:
        return f"extract_{hashlib.sha256(self.source_file.encode(errors='surrogatepass')).hexdigest()[:16]}_rejected"

    @cached_property
    def typed(self) -> str:
        return self.rejected.replace("_rejected", "_typed")

    @cached_property
    def _typed_sql(self) -> str:
        return f"temp.{quote_identifier(self.typed)}"

    @cached_property
    def _rejected_sql(self) -> str:
        return f"temp.{quote_identifier(self.rejected)}"

    def text(self, *, is_json: bool) -> LoadedExtract:
        """CSV and JSON lines."""
        with _work_folder(self.con) as folder:
            file, structure = _as_utf8(
                self.path, replace(self.fmt, quote="") if is_json else self.fmt, self.source_file, folder
            )
            header = _Header((), 0, False) if is_json else _csv_header(structure.start, self.fmt, self.source_file)
            if structure.n_lines == 0 or not (is_json or header.names):
                return self._empty()
            layout = (
                _json_layout(structure.start, self.table)
                if is_json
                else _csv_layout(header, self.table, self.source_file)
            )
            # Of a single column the engine cannot tell a blank line from an empty value.
            is_plain = is_json or (header.is_first_line and len(header.names) > 1)
            if structure.is_regular and is_plain:
                # Looking for line ends in all fields takes time: only where they are to be expected, or were what did not agree.
                for counts_newlines in [False, True][structure.has_odd_lines : 1 + structure.has_quotes]:
                    n_read = self._read_regular(file, layout, structure, counts_newlines=counts_newlines)
                    if n_read is not None:
                        return self._split(layout, n_read)
            repaired = _repair(file, folder, self.fmt, layout, header_lines=header.n_lines)
            self._read_repaired(repaired, layout)
            return self._split(layout, repaired.n_read)

    def _empty(self) -> LoadedExtract:
        layout = _Layout(n_columns=1, sources={}, columns_extra=(), raw_row="NULL")
        self._create(layout, f"SELECT NULL::VARCHAR AS {_raw(0)} WHERE FALSE")
        self._place_rows("0")
        self._create_rejected()
        return self._split(layout, 0)

    def parquet(self) -> LoadedExtract:
        with _work_folder(self.con) as folder:
            file = _literal_path(self.path, folder)
            _check_magic_of_parquet(self.path, self.source_file)
            cursor = self.con.cursor()
            columns = _parquet_columns(cursor, file, self.source_file)
            layout = _parquet_layout(columns, self.table, self.source_file)
            counted = cursor.execute(f"SELECT num_rows FROM parquet_file_metadata({quote_literal(file)})").fetchone()
            n_read = int(counted[0]) if counted else 0
            raw = ", ".join(
                f"{quote_identifier(engine)} AS {_raw(i)}" for i, (_, engine, _) in enumerate(layout.engine_columns)
            )
            self._create(
                layout,
                f"SELECT {raw} FROM (SELECT * FROM read_parquet({quote_literal(file)}, hive_partitioning = false))",
            )
            self._place_rows(self._line_from(1))
            self._create_rejected()
            return self._split(layout, n_read)

    # -- reading ---------------------------------------------------------------------------------------------------------

    def _read_regular(self, file: Path, layout: _Layout, structure: _Structure, *, counts_newlines: bool) -> int | None:
        """Read a file that looks regular in one scan; its number of rows, or None (and no tables) where it turned out not to be."""
        errors, scans = (f"{self.rejected}_{part}" for part in ("errors", "scans"))
        source = self._read_csv(
            file,
            layout,
            header=not layout.is_json,
            extra=f", store_rejects = true, rejects_table = {quote_literal(errors)}"
            f", rejects_scan = {quote_literal(scans)}, rejects_limit = 0",
        )
        self._create(layout, source, counts_newlines=counts_newlines)
        n_header = 0 if layout.is_json else 1
        newlines = 'coalesce(sum("~newlines"), 0)' if counts_newlines else "0"
        n_kept, n_newlines = self._one(f"SELECT count(*), {newlines} FROM {self._typed_sql}")
        n_broken, n_other, n_multiline = self._one(
            "SELECT count(DISTINCT line), count(*) FILTER (error_type NOT IN ('TOO MANY COLUMNS', 'MISSING COLUMNS')), "
            f"count(*) FILTER (contains(csv_line, chr(10))) FROM temp.{quote_identifier(errors)}"
        )
        # A blank line of JSON is no row; the engine takes it for one.
        (n_blank,) = self._one(
            f"SELECT count(*) FILTER (\"~rule\" = 1 AND coalesce(trim(\"~raw\"), '') = '') FROM {self._typed_sql}"
            if layout.is_json
            else "SELECT 0"
        )
        n_read = structure.n_lines - n_header - n_newlines
        is_regular = (
            n_read == n_kept + n_broken and not (n_blank or n_other or n_multiline) and not (n_broken and n_newlines)
        )
        if is_regular:
            self._place_rows(self._line_from(n_header + 1))
            self._create_rejected()
            self._run(
                f"INSERT INTO {self._rejected_sql} SELECT ?, line, ?, left(any_value(csv_line), {_KEPT_RAW_CHARACTERS}) "
                f"FROM temp.{quote_identifier(errors)} GROUP BY line",
                [self.source_file, IS_A_JSON_OBJECT if layout.is_json else HAS_THE_HEADERS_COLUMNS],
            )
            if n_broken:
                self._shift_lines(
                    "SELECT line - row_number() OVER (ORDER BY line) + 1 "
                    f"FROM (SELECT DISTINCT line FROM temp.{quote_identifier(errors)})"
                )
            if n_newlines:
                self._shift_lines(
                    "SELECT source_line + 1 FROM "
                    f'(SELECT source_line, unnest(range("~newlines")) FROM {self._typed_sql} WHERE "~newlines" > 0)'
                )
        if counts_newlines and is_regular:
            self._run(f'ALTER TABLE {self._typed_sql} DROP COLUMN "~newlines"')
        for leftover in (errors, scans) if is_regular else (errors, scans, None):
            self._run(f"DROP TABLE {self._typed_sql if leftover is None else 'temp.' + quote_identifier(leftover)}")
        return n_read if is_regular else None

    def _read_repaired(self, repaired: _Repaired, layout: _Layout) -> None:
        source = self._read_csv(
            repaired.rows,
            layout,
            header=False,
            extra=f", new_line = '\\n', max_line_size = {MAX_ROW_BYTES + (1 << 20)}",
            has_line_numbers=True,
        )
        self._create(layout, source, line='"~line"::BIGINT')
        self._place_rows('"~line"')
        self._run(f'ALTER TABLE {self._typed_sql} DROP COLUMN "~line"')
        self._create_rejected()
        self._run(
            f"INSERT INTO {self._rejected_sql} SELECT ?, line, rule, raw "
            f"FROM read_csv({quote_literal(str(repaired.rejects))}, auto_detect = false, header = false, "
            "columns = {'line': 'BIGINT', 'rule': 'VARCHAR', 'raw': 'VARCHAR'}, delim = ',', quote = '\"', escape = '\"', "
            f"new_line = '\\n', max_line_size = {8 * _KEPT_RAW_CHARACTERS + (1 << 20)}, compression = 'none', hive_partitioning = false)",
            [self.source_file],
        )

    def _read_csv(
        self, file: Path, layout: _Layout, *, header: bool, extra: str, has_line_numbers: bool = False
    ) -> str:
        names = (["~line"] if has_line_numbers else []) + [f"~{i}" for i in range(layout.n_columns)]
        columns = ", ".join(f"{quote_literal(name)}: 'VARCHAR'" for name in names)
        delimiter, quote = (_NO_DELIMITER, "") if layout.is_json else (self.fmt.delimiter, self.fmt.quote)
        return (
            f"SELECT * FROM read_csv({quote_literal(str(file))}, auto_detect = false, header = {str(header).lower()}, "
            f"columns = {{{columns}}}, delim = {quote_literal(delimiter)}, quote = {quote_literal(quote)}, "
            f"escape = {quote_literal(quote)}, compression = 'none', hive_partitioning = false{extra})"
        )

    # -- typing ----------------------------------------------------------------------------------------------------------

    def _create(self, layout: _Layout, source: str, *, line: str | None = None, counts_newlines: bool = False) -> None:
        """The table of all rows that have the right structure: typed values, the first rule broken, the raw row where one is."""
        values = layout.values(self.table, self.fmt)
        candidates = "".join(f", {value.candidate} AS {value.candidate_name}" for value in values if value.candidate)
        typed = ", ".join(
            f"{value.sql} AS {quote_identifier(column.name)}"
            for column, value in zip(self.table.columns, values, strict=True)
        )
        rules = _row_rules(self.table, layout, values)
        rule = (
            f"CASE {' '.join(f'WHEN {condition} THEN {number}' for number, (_, condition) in enumerate(rules, 1))} END"
            if rules
            else "NULL"
        )
        newlines = " + ".join(
            f"CASE WHEN contains({_raw(i)}, chr(10)) THEN length({_raw(i)}) - length(replace({_raw(i)}, chr(10), '')) ELSE 0 END"
            for i in range(layout.n_columns)
        )
        kept = [
            *(quote_identifier(column.name) for column in self.table.columns),
            *([f'{line} AS "~line"'] if line else []),
            *([f'({newlines})::BIGINT AS "~newlines"'] if counts_newlines else []),
            '"~rule"',
            f'CASE WHEN "~rule" IS NOT NULL THEN left({layout.raw_row}, {_KEPT_RAW_CHARACTERS}) END AS "~raw"',
        ]
        self._run(
            f"CREATE OR REPLACE TEMP TABLE {self._typed_sql} AS SELECT {', '.join(kept)} FROM ("
            f'SELECT *, CAST({rule} AS USMALLINT) AS "~rule" FROM (SELECT *, {typed} '
            f"FROM (SELECT *{candidates} FROM ({layout.prepared(source)}))))"
        )

    def _place_rows(self, line: str) -> None:
        """Add file and line. The engine adds a constant column in no time, and numbers rows in the order in which they were inserted."""
        self._run(
            f"ALTER TABLE {self._typed_sql} ADD COLUMN source_file VARCHAR DEFAULT {quote_literal(self.source_file)}"
        )
        self._run(f"ALTER TABLE {self._typed_sql} ADD COLUMN source_line BIGINT DEFAULT 0")
        self._run(f"UPDATE {self._typed_sql} SET source_line = {line}")
        for column in ("source_file", "source_line"):
            self._run(f"ALTER TABLE {self._typed_sql} ALTER COLUMN {column} DROP DEFAULT")

    def _line_from(self, first: int) -> str:
        """SQL of the line of a row if each takes one, from the given line on."""
        span, n_rows = self._one(f"SELECT coalesce(max(rowid) - min(rowid) + 1, 0), count(*) FROM {self._typed_sql}")
        if span != n_rows:
            raise EngineError(Problem("the engine did not number the rows without gaps", self.source_file))
        return f"rowid - (SELECT min(rowid) FROM {self._typed_sql}) + {first}"

    def _shift_lines(self, events: str) -> None:
        """Move rows down by one line for each event at or before their number.

        A row finds the events before it through its block of 32 numbers, so that the update is one probe of a small table, no sort.
        """
        (greatest,) = self._one(f"SELECT coalesce(max(source_line), 0) FROM {self._typed_sql}")
        blocks = (
            f"WITH events AS ({events}), "
            "per_block AS (SELECT e // 32 AS block, list(e) AS inside FROM events AS t(e) GROUP BY 1) "
            "SELECT b.block, p.inside, coalesce(sum(len(p.inside)) OVER (ORDER BY b.block "
            "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS n_before "
            f"FROM range(0, {int(greatest) // 32 + 1}) AS b(block) LEFT JOIN per_block AS p ON p.block = b.block"
        )
        self._run(
            f"UPDATE {self._typed_sql} SET source_line = source_line + s.n_before "
            "+ coalesce(len(list_filter(s.inside, lambda e: e <= source_line)), 0) "
            f"FROM ({blocks}) AS s WHERE source_line // 32 = s.block AND (s.n_before > 0 OR s.inside IS NOT NULL)"
        )

    # -- splitting -------------------------------------------------------------------------------------------------------

    def _create_rejected(self) -> None:
        self._run(
            f"CREATE OR REPLACE TEMP TABLE {quote_identifier(self.rejected)} "
            "(source_file VARCHAR, source_line BIGINT, rule VARCHAR, raw_row VARCHAR)"
        )

    def _split(self, layout: _Layout, n_read: int) -> LoadedExtract:
        """Move the rows that broke a rule to the rejected ones, and prove that none is lost."""
        missing = self._columns_missing(layout) if n_read else ()
        rules = [name for name, _ in _row_rules(self.table, layout, layout.values(self.table, self.fmt))]
        if layout.is_json and (required := [name for name in missing if self.table.column(name).required]):
            # Which keys no line has is known only now; without a required one every row was rejected for its NULL.
            rules = [rule if rule == IS_A_JSON_OBJECT else f"{required[0]}_is_in_the_file" for rule in rules]
        (n_broken,) = self._one(f'SELECT count("~rule") FROM {self._typed_sql}')
        if n_broken:
            names = ", ".join(quote_literal(name) for name in rules)
            self._run(
                f'INSERT INTO {self._rejected_sql} SELECT source_file, source_line, [{names}]["~rule"], "~raw" '
                f'FROM {self._typed_sql} WHERE "~rule" IS NOT NULL'
            )
            self._run(f'DELETE FROM {self._typed_sql} WHERE "~rule" IS NOT NULL')
        for helper in ("~rule", "~raw"):
            self._run(f"ALTER TABLE {self._typed_sql} DROP COLUMN {quote_identifier(helper)}")
        (n_typed,) = self._one(f"SELECT count(*) FROM {self._typed_sql}")
        (n_rejected,) = self._one(f"SELECT count(*) FROM {self._rejected_sql}")
        if n_read != n_typed + n_rejected:
            raise EngineError(
                Problem(
                    f"{n_read:,} rows were read, but {n_typed:,} typed and {n_rejected:,} rejected",
                    self.source_file,
                    remedy="report this with the file's format",
                )
            )
        return LoadedExtract(self.typed, self.rejected, n_read, n_typed, n_rejected, missing, layout.columns_extra)

    def _columns_missing(self, layout: _Layout) -> tuple[str, ...]:
        missing = tuple(column.name for column in self.table.columns if column.name not in layout.sources)
        if not layout.is_json:
            return missing
        counts = self._one(
            f"SELECT {', '.join(f'count({quote_identifier(name)})' for name in self.table.column_names)} FROM {self._typed_sql}"
        )
        without = {name for name, count in zip(self.table.column_names, counts, strict=True) if count == 0}
        return tuple(name for name in self.table.column_names if name in without and name not in layout.keys_seen)

    # -- engine ----------------------------------------------------------------------------------------------------------

    def _run(self, sql: str, parameters: Sequence[object] = ()) -> None:
        self.con.execute(sql, list(parameters)).fetchall()

    def _one(self, sql: str) -> tuple[Any, ...]:
        row = self.con.execute(sql).fetchall()[0]
        return tuple(row)


# --- where the contract's columns are in the file -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """Where the value of a contract's column comes from: an SQL expression and its engine type."""

    sql: str
    engine_type: str = "VARCHAR"


@dataclass(frozen=True)
class _Layout:
    """A file's columns against the contract's.

    Attributes:
        n_columns: how many raw columns (`~0`, `~1`, ...) are read.
        sources: contract column -> where its value comes from; columns the file lacks are not there.
        columns_extra: in the file only.
        raw_row: SQL of a row's raw text.
        structural: rules (name, condition) that come before those of columns.
        keys_seen: JSON only: contract columns seen as keys at the start of the file.
        engine_columns: Parquet only: name in the file, name and type in the engine.
    """

    n_columns: int
    sources: Mapping[str, _Source]
    columns_extra: tuple[str, ...]
    raw_row: str
    structural: tuple[tuple[str, str], ...] = ()
    is_json: bool = False
    keys_seen: frozenset[str] = frozenset()
    json_paths: tuple[str, ...] = ()
    engine_columns: tuple[tuple[str, str, str], ...] = ()

    def prepared(self, source: str) -> str:
        """The select of raw columns; of JSON with one text column (`~1`, `~2`, ...) for each of the contract's."""
        if not self.is_json:
            return source
        paths = ", ".join(quote_literal(path) for path in self.json_paths)
        values = f'SELECT *, TRY(json_extract_string({_raw(0)}, [{paths}])) AS "~values" FROM ({source})'
        columns = ", ".join(f'"~values"[{i}] AS {_raw(i)}' for i in range(1, len(self.json_paths) + 1))
        is_object = f'"~values" IS NOT NULL AND regexp_matches({_raw(0)}, {quote_literal(_OBJECT_START)})'
        return f'SELECT * EXCLUDE ("~values"), {is_object} AS "~is_object", {columns} FROM ({values})'

    def values(self, table: Table, fmt: ExtractFormat) -> list[_Value]:
        """Per contract column: SQL of its typed value and of what is wrong with it."""
        return [
            _value(column, self.sources[column.name], fmt)
            if column.name in self.sources
            else _Value(f"NULL::{column.engine_type}")
            for column in table.columns
        ]


def _raw(i: int) -> str:
    return f'"~{i}"'


def _csv_layout(header: _Header, table: Table, source_file: str) -> _Layout:
    places = _matched(header.names, table, source_file)
    fields = ", ".join(f"{quote_literal(name)}, {_raw(i)}" for i, name in enumerate(header.names))
    return _Layout(
        n_columns=len(header.names),
        sources={name: _Source(_raw(i)) for name, i in places.items()},
        columns_extra=tuple(name for i, name in enumerate(header.names) if i not in places.values()),
        raw_row=f"CAST(json_object({fields}) AS VARCHAR)",
    )


def _json_layout(start: bytes, table: Table) -> _Layout:
    keys = _json_keys(start)
    by_folded = {key.strip().casefold(): key for key in reversed(keys)}
    names = {name: name if name in keys else by_folded.get(name.casefold(), name) for name in table.column_names}
    return _Layout(
        n_columns=1,
        sources={name: _Source(_raw(i)) for i, name in enumerate(names, 1)},
        columns_extra=tuple(key for key in keys if key not in names.values()),
        raw_row=_raw(0),
        structural=((IS_A_JSON_OBJECT, 'NOT "~is_object"'),),
        is_json=True,
        keys_seen=frozenset(name for name, key in names.items() if key in keys),
        json_paths=tuple("/" + key.replace("~", "~0").replace("/", "~1") for key in names.values()),
    )


def _parquet_layout(columns: Sequence[tuple[str, str, str]], table: Table, source_file: str) -> _Layout:
    names = [name for name, _, _ in columns]
    places = _matched(names, table, source_file)
    fields = ", ".join(f"{quote_literal(name)}, {_raw(i)}" for i, name in enumerate(names))
    return _Layout(
        n_columns=len(columns),
        sources={name: _Source(_raw(i), columns[i][2]) for name, i in places.items()},
        columns_extra=tuple(name for i, name in enumerate(names) if i not in places.values()),
        raw_row=f"CAST(json_object({fields}) AS VARCHAR)",
        engine_columns=tuple(columns),
    )


def _matched(names: Sequence[str], table: Table, source_file: str) -> dict[str, int]:
    """Contract column -> position in the file: the same name, else the same but for case and blanks around it.

    Raises:
        UnreadableExtractError: if a name is there twice, or two names fit one column.
    """
    repeated = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    if repeated:
        raise UnreadableExtractError(
            Problem(
                "the header names a column twice",
                source_file,
                count=len(repeated),
                example=f"`{repeated[0][:60]}`",
                remedy="ask the source for unique names",
            )
        )
    exact = {name: i for i, name in enumerate(names)}
    folded: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        folded.setdefault(name.casefold(), []).append(i)
    places: dict[str, int] = {}
    for column in table.column_names:
        candidates = [exact[column]] if column in exact else folded.get(column.strip().casefold(), [])
        if len(candidates) > 1:
            raise UnreadableExtractError(
                Problem(
                    f"{len(candidates)} columns of the header could be `{column}`",
                    source_file,
                    remedy="ask the source for unique names",
                )
            )
        places.update({column: candidates[0]} if candidates else {})
    return places


# --- rules ----------------------------------------------------------------------------------------------------------------


def _row_rules(table: Table, layout: _Layout, values: Sequence[_Value]) -> list[tuple[str, str]]:
    """Name and SQL condition of breaking, in the order in which a row's first broken rule is looked for."""
    found = list(layout.structural)
    found += [
        (f"{column.name}_is_in_the_file", "TRUE")
        for column in table.columns
        if column.required and column.name not in layout.sources
    ]
    positions = {name: i for i, name in enumerate(table.column_names)}
    rules = [rule for rule in table.rules if rule.is_row_rule]
    never_null = {rule.columns[0] for rule in rules if rule.kind == "not_null" and len(rule.columns) == 1}
    for column, value in zip(table.columns, values, strict=True):
        found += [(f"{column.name}_{suffix}", condition) for suffix, condition in value.broken]
        if column.required and column.name not in never_null:
            found.append((f"{column.name}_is_never_null", f"{quote_identifier(column.name)} IS NULL"))
        about = [
            rule
            for rule in rules
            if max((positions.get(name, 0) for name in rule.columns), default=0) == positions[column.name]
        ]
        # NULL is the first thing to say about a value that is not there.
        for rule in sorted(about, key=lambda rule: rule.kind != "not_null"):
            found.append((rule.name, broken_condition(table, rule)))
    return found


# --- values: text or a native type -> the contract's type ---------------------------------------------------------------------

_BLANKS = r"[ \t\r\n]*"
_INTEGER = rf"{_BLANKS}[+-]?[\d_]+(\.0*)?{_BLANKS}"
_NUMBER = rf"{_BLANKS}[+-]?([\d_]+\.?[\d_]*|\.[\d_]+)([eE][+-]?\d+)?{_BLANKS}"
_ISO_DATE = rf"{_BLANKS}\d{{4}}[-/ \\]\d{{1,2}}[-/ \\]\d{{1,2}}{_BLANKS}"
_SHORT_DATE = rf"{_BLANKS}\d{{8}}{_BLANKS}"
_CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
_OFFSET = r"(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
_MIDNIGHT = rf"{_BLANKS}\d{{4}}-\d{{2}}-\d{{2}}[T ]00:00(:00(\.0+)?)?{_OFFSET}?{_BLANKS}"
_NAIVE_TIMESTAMP = rf"{_BLANKS}\d{{4}}-\d{{2}}-\d{{2}}([T ]{_CLOCK})?{_BLANKS}"
_ZONED_TIMESTAMP = rf"{_BLANKS}\d{{4}}-\d{{2}}-\d{{2}}[T ]{_CLOCK}{_OFFSET}{_BLANKS}"
_TIME = rf"{_BLANKS}\d{{1,2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?{_BLANKS}"

_WHOLE_TYPES = ("BIGINT", "INTEGER", "SMALLINT")
_SMALLER_WHOLE_TYPES = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "HUGEINT",
    "UHUGEINT",
)
_FLOATS = ("DOUBLE", "FLOAT")
_NAIVE_TYPES = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
_ZONED_TYPES = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS WITH TIME ZONE")


@dataclass(frozen=True)
class _Value:
    """SQL of a typed value (NULL where it cannot be typed), and of what is then wrong: suffix of the rule's name, condition.

    `candidate` is SQL of a first, lenient reading that `sql` refers to as `candidate_name`, so that it is computed once.
    """

    sql: str
    broken: tuple[tuple[str, str], ...] = ()
    candidate: str | None = None
    candidate_name: str = ""


def _value(column: Column, source: _Source, fmt: ExtractFormat) -> _Value:
    name, kind = quote_identifier(column.name), source.engine_type
    article = f"is_{column.logical_type}"
    native = _from_native(column, source, fmt)
    if native is not None:
        suffix = "fits_decimal" if column.engine_type.startswith("DECIMAL") else article
        return _Value(native, ((suffix, f"{name} IS NULL AND {source.sql} IS NOT NULL"),))
    text = source.sql if kind == "VARCHAR" else _as_text(source, fmt)
    if column.engine_type == "VARCHAR":
        # Nearly all texts begin with a visible character: only the others need the slower look.
        return _Value(f"CASE WHEN {text} >= '!' THEN {text} WHEN regexp_matches({text}, '\\S') THEN {text} END")
    is_lost = f"CASE WHEN {name} IS NULL AND {source.sql} IS NOT NULL THEN regexp_matches({text}, '\\S') ELSE FALSE END"
    broken = [(article, is_lost)]
    if column.engine_type.startswith("DECIMAL"):
        broken = [
            (article, f"CASE WHEN {is_lost} THEN NOT {_is(text, _NUMBER)} ELSE FALSE END"),
            ("fits_decimal", is_lost),
        ]
    if not column.format and (
        is_exact := _exactly_read(column.engine_type, text, candidate := quote_identifier(f"~{column.name}"))
    ):
        value = f"CASE WHEN {is_exact} THEN {_from_candidate(column, candidate, fmt)} ELSE {_from_text(column, text, fmt)} END"
        return _Value(value, tuple(broken), f"TRY_CAST({text} AS {column.engine_type})", candidate)
    return _Value(_from_text(column, text, fmt), tuple(broken))


def _exactly_read(engine_type: str, text: str, candidate: str) -> str | None:
    """A cheap condition under which the engine's own reading of a text is surely right; None: there is none for the type.

    The engine rounds 1.5 to an integer, forgets offsets and knows infinite dates. What it writes back as it read it has none of these;
    nor has a number with all its decimals, or a date of ten characters within the calendar.
    """
    if engine_type.startswith("DECIMAL") and (scale := _scale(engine_type)):
        return f"{text} LIKE '%.{'_' * scale}'"
    if engine_type == "DATE":
        return f"strlen({text}) = 10 AND {candidate} BETWEEN DATE '0001-01-01' AND DATE '9999-12-30'"
    if engine_type == "TIMESTAMP":
        return f"CAST({candidate} AS VARCHAR) = {text} AND {candidate} BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-30'"
    return (
        f"CAST({candidate} AS VARCHAR) = {text}"
        if engine_type in _WHOLE_TYPES or engine_type.startswith("DECIMAL")
        else None
    )


def _from_candidate(column: Column, candidate: str, fmt: ExtractFormat) -> str:
    return _in_company_zone(candidate, fmt) if column.engine_type == "TIMESTAMP" else candidate


def _is(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {quote_literal(pattern)})"


def _from_text(column: Column, text: str, fmt: ExtractFormat) -> str:
    kind = column.engine_type
    if kind in _WHOLE_TYPES:
        return f"CASE WHEN {_is(text, _INTEGER)} THEN TRY_CAST({text} AS {kind}) END"
    if kind == "DOUBLE":
        number = f"TRY_CAST({text} AS DOUBLE)"
        return f"CASE WHEN {_is(text, _NUMBER)} THEN CASE WHEN isfinite({number}) THEN {number} END END"
    if kind.startswith("DECIMAL"):
        return _decimal_from_text(kind, text)
    if kind == "BOOLEAN":
        return f"coalesce(TRY_CAST({text} AS BOOLEAN), TRY_CAST(trim({text}) AS BOOLEAN))"
    if kind == "JSON":
        return f"CASE WHEN json_valid({text}) THEN {text}::JSON END"
    if kind.endswith("[]"):
        items = f"TRY_CAST(json_extract_string({text}, '$[*]') AS {kind})"
        return f"CASE WHEN json_valid({text}) THEN CASE WHEN json_type({text}) = 'ARRAY' THEN {items} END END"
    if column.format:
        return _from_formatted_text(column, text, fmt)
    if kind == "DATE":
        return (
            f"CASE WHEN {_is(text, _ISO_DATE)} THEN TRY_CAST({text} AS DATE) "
            f"WHEN {_is(text, _SHORT_DATE)} THEN CAST(try_strptime(trim({text}), '%Y%m%d') AS DATE) "
            f"WHEN {_is(text, _MIDNIGHT)} THEN TRY_CAST(left(ltrim({text}), 10) AS DATE) END"
        )
    if kind == "TIMESTAMP":
        naive = _in_company_zone(f"TRY_CAST({text} AS TIMESTAMP)", fmt)
        zoned = f"timezone({quote_literal(fmt.company_time_zone)}, TRY_CAST({text} AS TIMESTAMPTZ))"
        return (
            f"CASE WHEN {_is(text, _NAIVE_TIMESTAMP)} THEN {naive} WHEN {_is(text, _ZONED_TIMESTAMP)} THEN {zoned} END"
        )
    if kind == "TIME":
        return f"CASE WHEN {_is(text, _TIME)} THEN TRY_CAST({text} AS TIME) END"
    raise ContractError(
        Problem(f"the type {kind} of `{column.name}` cannot be read from a file", remedy="choose another physicalType")
    )


def _decimal_from_text(kind: str, text: str) -> str:
    """A number, rounded half away from zero to the decimal's scale: sums made of floats end in 0.30000000000000004."""
    exponent = f"TRY_CAST(TRY_CAST({text} AS DOUBLE) AS {kind})"
    number = f"CASE WHEN contains(lower({text}), 'e') THEN {exponent} ELSE TRY_CAST({text} AS {kind}) END"
    return f"CASE WHEN {_is(text, _NUMBER)} THEN {number} END"


def _from_formatted_text(column: Column, text: str, fmt: ExtractFormat) -> str:
    pattern = strptime_pattern(column.format or "", column.name)
    moment = f"try_strptime(trim({text}), {quote_literal(pattern)})"
    has_offset = "%z" in pattern
    if column.engine_type == "TIMESTAMP":
        return (
            f"timezone({quote_literal(fmt.company_time_zone)}, {moment})"
            if has_offset
            else _in_company_zone(moment, fmt)
        )
    if has_offset:
        moment = f"timezone('UTC', {moment})"
    return f"CAST({moment} AS {column.engine_type})"


def _in_company_zone(moment: str, fmt: ExtractFormat) -> str:
    """A timestamp without offset, from the file's wall clock to the company's."""
    zone, company = fmt.time_zone or fmt.company_time_zone, fmt.company_time_zone
    return (
        moment if zone == company else f"timezone({quote_literal(company)}, timezone({quote_literal(zone)}, {moment}))"
    )


def _from_native(column: Column, source: _Source, fmt: ExtractFormat) -> str | None:
    """A value of Parquet that needs no way through text; None where it takes that way."""
    wanted, found, sql = column.engine_type, source.engine_type, source.sql
    if wanted in _WHOLE_TYPES and found in _SMALLER_WHOLE_TYPES:
        return f"TRY_CAST({sql} AS {wanted})"
    if wanted in _WHOLE_TYPES and found in _FLOATS:
        return f"CASE WHEN {sql} = trunc({sql}) THEN TRY_CAST({sql} AS {wanted}) END"
    if wanted == "DOUBLE" and (found in _SMALLER_WHOLE_TYPES or found.startswith("DECIMAL")):
        return f"CAST({sql} AS DOUBLE)"
    if wanted == "DOUBLE" and found in _FLOATS:
        return f"CASE WHEN isfinite({sql}) THEN CAST({sql} AS DOUBLE) END"
    if wanted.startswith("DECIMAL") and (
        found in _SMALLER_WHOLE_TYPES or found in _FLOATS or found.startswith("DECIMAL")
    ):
        return f"TRY_CAST({sql} AS {wanted})"
    if wanted == found == "BOOLEAN" or wanted == found == "TIME":
        return sql
    if wanted == "DATE" and found == "DATE":
        return f"CASE WHEN isfinite({sql}) THEN {sql} END"
    if wanted in ("DATE", "TIMESTAMP") and found in _ZONED_TYPES:
        return _moment_as(wanted, f"timezone({quote_literal(fmt.company_time_zone)}, TRY_CAST({sql} AS TIMESTAMPTZ))")
    if wanted in ("DATE", "TIMESTAMP") and found in _NAIVE_TYPES:
        moment = f"TRY_CAST({sql} AS TIMESTAMP)"
        return _moment_as(wanted, moment if wanted == "DATE" else _in_company_zone(moment, fmt))
    if wanted == "TIMESTAMP" and found == "DATE":
        return f"CASE WHEN isfinite({sql}) THEN {_in_company_zone(f'CAST({sql} AS TIMESTAMP)', fmt)} END"
    if wanted.endswith("[]") and found.endswith("[]"):
        return f"TRY_CAST({sql} AS {wanted})"
    return None


def _moment_as(wanted: str, moment: str) -> str:
    if wanted == "TIMESTAMP":
        return f"CASE WHEN isfinite({moment}) THEN {moment} END"
    return f"CASE WHEN date_trunc('day', {moment}) = {moment} THEN CAST({moment} AS DATE) END"


def _scale(decimal: str) -> int:
    return int(decimal[8:-1].split(",")[1])


def _as_text(source: _Source, fmt: ExtractFormat) -> str:
    """A value of Parquet as the text it would have in a CSV."""
    found, sql = source.engine_type, source.sql
    if found in _ZONED_TYPES:
        return f"CAST(timezone({quote_literal(fmt.company_time_zone)}, TRY_CAST({sql} AS TIMESTAMPTZ)) AS VARCHAR)"
    if found == "BLOB":
        return f"TRY(decode({sql}))"
    if found.endswith("]") or found.startswith(("STRUCT", "MAP", "UNION")):
        return f"CAST(to_json({sql}) AS VARCHAR)"
    return f"CAST({sql} AS VARCHAR)"


_JAVA_TOKENS = {
    "yyyy": "%Y",
    "uuuu": "%Y",
    "yy": "%y",
    "MMMM": "%B",
    "MMM": "%b",
    "MM": "%m",
    "M": "%-m",
    "dd": "%d",
    "d": "%-d",
    "HH": "%H",
    "H": "%-H",
    "hh": "%I",
    "h": "%-I",
    "mm": "%M",
    "m": "%-M",
    "ss": "%S",
    "s": "%-S",
    "a": "%p",
    "SSSSSSSSS": "%n",
    "SSSSSS": "%f",
    "SSS": "%g",
    "EEEE": "%A",
    "EEE": "%a",
    "DDD": "%j",
    "D": "%-j",
    "T": "T",
    "XXX": "%z",
    "XX": "%z",
    "X": "%z",
    "Z": "%z",
    "xxx": "%z",
}
_STRPTIME = re.compile(r"(?:[^%]|%-?[aAbBcdfgHIjmMnpSUVWxXyYzZ%])+")


def strptime_pattern(pattern: str, column: str) -> str:
    """A date format of a contract, strptime (`%d.%m.%Y`) or ODCS/Java style (`dd.MM.yyyy`), as the engine's strptime pattern.

    Raises:
        ContractError: if it is neither.
    """
    if "%" in pattern:
        if _STRPTIME.fullmatch(pattern):
            return pattern
    else:
        parts = _java_parts(pattern)
        if pattern and None not in parts:
            return "".join(part or "" for part in parts)
    raise ContractError(
        Problem(
            f"the format `{pattern}` of `{column}` is no date format", remedy="write it like yyyy-MM-dd or %Y-%m-%d"
        )
    )


def _java_parts(pattern: str) -> list[str | None]:
    parts: list[str | None] = []
    for match in re.finditer(r"'(?P<quoted>[^']*)'|(?P<letters>([A-Za-z])\3*)|(?P<other>.)", pattern, re.DOTALL):
        if match["letters"]:
            parts.append(_JAVA_TOKENS.get(match["letters"]))
        else:
            parts.append((match["quoted"] or "'") if match["other"] is None else match["other"])
    return parts


# --- files ------------------------------------------------------------------------------------------------------------------


def _kind(path: Path, source_file: str) -> str:
    if path.exists() and not path.is_file():
        raise _refusal("it is no regular file", source_file, "put a file there")
    for kind in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith(kind):
            return kind
    raise UnreadableExtractError(
        Problem("the name says no format that can be read", source_file, remedy=f"use one of {', '.join(FORMATS)}")
    )


def _check_format(fmt: ExtractFormat) -> None:
    try:
        # A codec that is no text encoding (hex, rot13) is found, but refuses text.
        "a".encode(fmt.encoding)
    except (LookupError, ValueError):
        raise ConfigurationError(
            Problem(
                f"the encoding `{fmt.encoding}` is unknown", remedy="use a name such as utf-8, utf-16, latin-1, cp1252"
            )
        ) from None
    for zone in (fmt.time_zone or "UTC", fmt.company_time_zone):
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ConfigurationError(
                Problem(f"the time zone `{zone}` is unknown", remedy="use a name such as Europe/Berlin")
            ) from None
    if len(fmt.delimiter) != 1 or len(fmt.quote) > 1 or fmt.delimiter in ("\r", "\n", "\0", fmt.quote):
        raise ConfigurationError(Problem("delimiter and quote have to be one character each, and different ones"))


@contextlib.contextmanager
def _work_folder(con: duckdb.DuckDBPyConnection) -> Iterator[Path]:
    """A folder beside the warehouse that only we can read, gone afterwards; what is in it may hold personal data."""
    found = (
        con.cursor().execute("SELECT path FROM duckdb_databases() WHERE database_name = current_database()").fetchone()
    )
    beside = Path(found[0]).absolute().parent if found and found[0] else None
    # The engine takes a path as a pattern: links to hostile names are made where no name is hostile.
    usable = beside if beside is not None and not _is_pattern(str(beside)) else None
    with tempfile.TemporaryDirectory(prefix=_WORK_FOLDER_PREFIX, dir=usable) as folder:
        yield Path(folder)


def remove_leftovers(beside: Path) -> None:
    """Remove the work folders of runs that were killed; to be called only while the warehouse's lock is held.

    Args:
        beside: the folder of the warehouse's file.
    """
    for folder in beside.glob(f"{_WORK_FOLDER_PREFIX}*"):
        shutil.rmtree(folder)


def _is_pattern(path: str) -> bool:
    return bool(set("*?[]{}\\") & set(path))


def _literal_path(path: Path, folder: Path) -> str:
    """A path that the engine takes literally: the file's own, or that of a link to it."""
    if not _is_pattern(str(path.absolute())):
        return str(path.absolute())
    link = folder / "extract"
    link.symlink_to(path.absolute())
    return str(link)


def _refusal(what: str, source_file: str, remedy: str = "ask the source to send it again") -> UnreadableExtractError:
    return UnreadableExtractError(Problem(what, source_file, remedy=remedy))


def _chunks(path: Path, source_file: str) -> Iterator[bytes]:
    """The bytes of a file, decompressed."""
    is_gzip = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if is_gzip else path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except EOFError:
        raise _refusal("the gzip file is cut off", source_file) from None
    except (gzip.BadGzipFile, zlib.error):
        raise _refusal("the file is no gzip, or damaged", source_file) from None
    except OSError as error:
        raise _refusal(
            f"the file cannot be opened: {error.strerror or type(error).__name__}",
            source_file,
            "check that it is there and may be read",
        ) from None


def _text_chunks(path: Path, fmt: ExtractFormat, source_file: str) -> tuple[bool, Iterator[bytes]]:
    """A text file's bytes as UTF-8, and whether they are the file's own.

    What the encoding cannot mean becomes a byte that no UTF-8 has.
    """
    chunks = _chunks(path, source_file)
    first = next(chunks, b"")
    for magic, name in _MAGIC.items():
        if first.startswith(magic):
            raise _refusal(f"the file is {name}, not text", source_file, "name it by what it is, or export it as text")
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if first.startswith(mark)), None)
    encoding = marked or codecs.lookup(fmt.encoding).name
    if encoding in ("utf-8", "ascii", "utf-8-sig"):
        return not path.name.lower().endswith(".gz"), _chain(first, chunks)
    return False, _transcoded(_chain(first, chunks), encoding)


def _transcoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="cx_not_in_encoding")
    for chunk in chunks:
        yield decoder.decode(chunk).encode(errors="surrogateescape")
    yield decoder.decode(b"", final=True).encode(errors="surrogateescape")


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    return "\udcff", getattr(error, "end", 0)


codecs.register_error("cx_not_in_encoding", _mark_undecodable)


def _starting(chunks: Iterator[bytes], n_bytes: int) -> Iterator[bytes]:
    n = 0
    for chunk in chunks:
        yield chunk
        n += len(chunk)
        if n >= n_bytes:
            return


# --- structure ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Structure:
    """What the bytes of a text file say.

    Attributes:
        start: its first megabyte.
        n_lines: physical lines.
        has_quotes: whether the quote character is anywhere.
        has_odd_lines: whether some of the first lines hold an odd number of quotes, so that fields go over several lines.
        is_regular: one kind of line end (LF or CRLF), no NUL bytes, no line that is far too long, no quote beside a blank (the engine
            reads `"a" "b"` as one value, and fails on some mixtures).
    """

    start: bytes
    n_lines: int
    has_quotes: bool
    has_odd_lines: bool
    is_regular: bool


def _as_utf8(path: Path, fmt: ExtractFormat, source_file: str, folder: Path) -> tuple[Path, _Structure]:
    """The file as UTF-8 text without compression (itself, or a copy) and its structure."""
    is_itself, chunks = _text_chunks(path, fmt, source_file)
    if is_itself:
        return Path(_literal_path(path, folder)), _structure(chunks, fmt.quote)
    copy = folder / "extract.txt"
    with copy.open("wb") as file:
        return copy, _structure(_copied(chunks, file), fmt.quote)


def _copied(chunks: Iterator[bytes], file: BinaryIO) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        yield chunk


def _structure(chunks: Iterator[bytes], quote: str) -> _Structure:
    start = bytearray()
    quote_bytes = quote.encode()
    odd_quotes = (quote_bytes + b" ", b" " + quote_bytes) if quote else ()
    has_odd_quotes = False
    n_lines = n_carriage_returns = n_pairs = 0
    has_quotes = has_nul = False
    position = last_newline = 0
    longest = 0
    last = b""
    for chunk in chunks:
        if len(start) < _MAX_HEADER_BYTES:
            start += chunk
        n_lines += chunk.count(b"\n")
        has_quotes = has_quotes or (bool(quote_bytes) and quote_bytes in chunk)
        has_odd_quotes = has_odd_quotes or (has_quotes and any(odd in last + chunk for odd in odd_quotes))
        has_nul = has_nul or b"\0" in chunk
        if b"\r" in chunk or last == b"\r":
            n_carriage_returns += chunk.count(b"\r")
            n_pairs += (last + chunk).count(b"\r\n")
        first_newline = chunk.find(b"\n")
        longest = max(longest, position + (first_newline if first_newline >= 0 else len(chunk)) - last_newline)
        last_newline = position + chunk.rfind(b"\n") if first_newline >= 0 else last_newline
        position += len(chunk)
        last = chunk[-1:]
    is_uniform = not n_carriage_returns or n_carriage_returns == n_pairs == n_lines
    n_lines += last not in (b"", b"\n")
    return _Structure(
        bytes(start),
        n_lines,
        has_quotes,
        has_quotes and any(line.count(quote_bytes) % 2 for line in start.splitlines()),
        is_uniform and not has_nul and not has_odd_quotes and longest < _MAX_HEADER_BYTES,
    )


@dataclass(frozen=True)
class _Header:
    """A CSV's column names; the number of physical lines up to its end; whether it is one line and the file's first."""

    names: tuple[str, ...]
    n_lines: int
    is_first_line: bool


def _csv_header(start: bytes, fmt: ExtractFormat, source_file: str) -> _Header:
    """Raises UnreadableExtractError if the first record is no header."""
    lines = start.removeprefix(codecs.BOM_UTF8).splitlines()
    grammar = _Grammar.of(fmt)
    n_blank = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    if n_blank == len(lines):
        return _Header((), len(lines), False)
    try:
        texts = [line.decode() for line in lines[n_blank : n_blank + 100]]
    except UnicodeDecodeError:
        texts = [line.decode(errors="replace") for line in lines[n_blank : n_blank + 100]]
        if "\ufffd" in texts[0]:
            raise _refusal(
                f"the header is not {fmt.encoding}", source_file, "correct the encoding in the contract's servers"
            ) from None
    if "\0" in texts[0]:
        raise _refusal(
            "the header holds NUL bytes: the file is no text, or in another encoding",
            source_file,
            "correct the encoding in the contract's servers",
        )
    n_lines = grammar.n_lines_of_record(texts)
    if n_lines is None or (len(start) >= _MAX_HEADER_BYTES and n_blank + n_lines >= len(lines)):
        raise _refusal("the header's quotes are not closed, or it is longer than 1 MiB", source_file)
    names = tuple(name.strip() for name in grammar.fields("\n".join(texts[:n_lines])))
    return _Header(names, n_blank + n_lines, n_blank == 0 and n_lines == 1)


def _json_keys(start: bytes) -> tuple[str, ...]:
    """Keys of the objects among the first lines, in order of appearance."""
    keys: dict[str, None] = {}
    for line in start.removeprefix(codecs.BOM_UTF8).splitlines()[:_HEADER_LINES_OF_JSON]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        keys.update(dict.fromkeys(row) if isinstance(row, dict) else {})
    return tuple(keys)


@dataclass(frozen=True)
class _Grammar:
    """How one record of a CSV is written, as regular expressions over a physical line.

    Attributes:
        n_columns: fields of a record.
        plain: the line is one record, each field wholly in quotes or without any.
        closed: the line is whole records' worth of fields, all quotes closed.
        opens: the line ends inside quotes.
        stays: a line that begins inside quotes ends inside the same.
        closes: a line that begins inside quotes ends outside.
        closes_and_opens: a line that begins inside quotes ends inside other ones.
        field: one field and what ends it.
    """

    quote: str
    delimiter: str
    n_columns: int
    plain: re.Pattern[str]
    closed: re.Pattern[str]
    opens: re.Pattern[str]
    stays: re.Pattern[str]
    closes: re.Pattern[str]
    closes_and_opens: re.Pattern[str]
    field: re.Pattern[str]

    @classmethod
    def of(cls, fmt: ExtractFormat, n_columns: int = 1) -> _Grammar:
        # Without quotes, a character that no line has stands in for them.
        quote, delimiter = re.escape(fmt.quote or "\n"), re.escape(fmt.delimiter)
        blanks = "" if fmt.delimiter == " " else " *+"
        inside = f"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+"
        field = f"(?:{blanks}{quote}{inside}{quote}{blanks}|(?!{blanks}{quote})[^{delimiter}]*+)"
        whole = f"(?:{quote}{inside}{quote}|[^{quote}{delimiter}]*+)"
        opening = f"{blanks}{quote}{inside}"
        return cls(
            fmt.quote,
            fmt.delimiter,
            n_columns,
            plain=re.compile(f"{whole}(?:{delimiter}{whole}){{{max(n_columns, 1) - 1}}}"),
            closed=re.compile(f"{field}(?:{delimiter}{field})*+"),
            opens=re.compile(f"(?:{field}{delimiter})*+{opening}"),
            stays=re.compile(inside),
            closes=re.compile(f"{inside}{quote}{blanks}(?:{delimiter}{field})*+"),
            closes_and_opens=re.compile(f"{inside}{quote}{blanks}(?:{delimiter}{field})*?{delimiter}{opening}"),
            field=re.compile(f"({field})({delimiter}|\\Z)"),
        )

    def n_lines_of_record(self, lines: Sequence[str]) -> int | None:
        """How many of the lines the first record takes; None if its quotes are broken or never closed."""
        if not self.quote or self.quote not in lines[0] or self.closed.fullmatch(lines[0]):
            return 1
        if not self.opens.fullmatch(lines[0]):
            return None
        for n, line in enumerate(lines[1:], 2):
            state = self.after(line)
            if state != "open":
                return n if state == "closed" else None
        return None

    def after(self, line: str) -> str:
        """What a line that begins inside quotes comes to: open, closed or broken."""
        if self.quote not in line or self.stays.fullmatch(line) or self.closes_and_opens.fullmatch(line):
            return "open"
        return "closed" if self.closes.fullmatch(line) else "broken"

    def is_plain(self, text: str) -> bool:
        """Whether a line is one record that the engine reads as we do, as it is."""
        return self.plain.fullmatch(text) is not None and self.quote + " " not in text and " " + self.quote not in text

    def has_columns(self, text: str) -> bool:
        """Whether a record without quotes has the header's number of fields; more of them may be there if they are empty."""
        n_more = text.count(self.delimiter) + 1 - self.n_columns
        return n_more == 0 or (n_more > 0 and text.endswith(self.delimiter * n_more))

    def written(self, fields: Sequence[str]) -> str:
        """A record with each field in quotes, as the engine reads it without doubt."""
        quote = self.quote
        return self.delimiter.join(f"{quote}{field.replace(quote, quote * 2)}{quote}" for field in fields)

    def fields(self, record: str) -> list[str]:
        """The fields of a closed record, without their quotes."""
        found: list[str] = []
        for match in self.field.finditer(record):
            text = match[1]
            stripped = text.strip(" ")
            if self.quote and stripped.startswith(self.quote):
                text = stripped[1:-1].replace(self.quote * 2, self.quote)
            found.append(text)
            if not match[2]:
                break
        return found


# --- repair -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Repaired:
    """A file cut into rows by us: `rows` (line number, then the row) is regular, `rejects` holds line, rule, raw row."""

    rows: Path
    rejects: Path
    n_read: int


class _Line(NamedTuple):
    """A physical line: its number, its bytes without the line end (their beginning, where it is too long), its line end."""

    number: int
    data: bytes
    end: str
    is_too_long: bool = False


def _repair(file: Path, folder: Path, fmt: ExtractFormat, layout: _Layout, *, header_lines: int) -> _Repaired:
    """Cut a file into rows line by line: one broken row costs itself only, and an open quote one line, not the rest of the file."""
    rows, rejects = folder / "rows.txt", folder / "rejects.csv"
    with rows.open("wb") as good, rejects.open("w", encoding="utf-8", newline="") as bad:
        delimiter = _NO_DELIMITER if layout.is_json else fmt.delimiter
        records = _json_records if layout.is_json else _csv_records
        n_read = 0
        for number, text, rule in records(file, fmt, layout.n_columns, header_lines):
            n_read += 1
            if rule is None:
                good.write(f"{number}{delimiter}{text}\n".encode())
            else:
                raw = text[:_KEPT_RAW_CHARACTERS].replace("\0", "\\0").replace('"', '""')
                bad.write(f'{number},{rule},"{raw}"\n')
    return _Repaired(rows, rejects, n_read)


_Record = tuple[int, str, str | None]


def _json_records(file: Path, fmt: ExtractFormat, n_columns: int, header_lines: int) -> Iterator[_Record]:
    """Line number, text and broken rule (None for none) of each line that is not blank."""
    for line in _physical_lines(file):
        if not line.data.strip():
            continue
        text, rule = _decoded(line, fmt)
        yield line.number, text, rule or (IS_A_JSON_OBJECT if _NO_DELIMITER in text else None)


def _csv_records(file: Path, fmt: ExtractFormat, n_columns: int, header_lines: int) -> Iterator[_Record]:
    """Line number, text and broken rule (None for none) of each record after the header that is not a blank line."""
    grammar = _Grammar.of(fmt, n_columns)
    lines = _physical_lines(file)
    queue: deque[_Line] = deque()
    while line := queue.popleft() if queue else next(lines, None):
        if line.number <= header_lines or not line.data:
            continue
        text, rule = _decoded(line, fmt)
        if rule is None and grammar.quote and grammar.quote in text:
            text, rule = _quoted_record(text, line.end, queue, lines, fmt, grammar)
        elif rule is None and not grammar.has_columns(text):
            rule = HAS_THE_HEADERS_COLUMNS
        yield line.number, text, rule


def _quoted_record(
    text: str, end: str, queue: deque[_Line], lines: Iterator[_Line], fmt: ExtractFormat, grammar: _Grammar
) -> tuple[str, str | None]:
    """Text and broken rule of the record that begins with a line with quotes; lines that continue it are taken."""
    if grammar.is_plain(text):
        return text, None
    if not grammar.closed.fullmatch(text):
        more = _continued(text + end, queue, lines, fmt, grammar) if grammar.opens.fullmatch(text) else None
        if more is None:
            return text, QUOTES_ARE_CLOSED
        text = more
    fields = grammar.fields(text)
    if len(fields) < grammar.n_columns or any(fields[grammar.n_columns :]):
        return text, HAS_THE_HEADERS_COLUMNS
    return grammar.written(fields[: grammar.n_columns]), None


def _continued(
    text: str, queue: deque[_Line], lines: Iterator[_Line], fmt: ExtractFormat, grammar: _Grammar
) -> str | None:
    """The record that begins with an open quote; None, with all lines after the first back in the queue, where it is never closed."""
    parts, taken, size = [text], [], len(text)
    while line := queue.popleft() if queue else next(lines, None):
        taken.append(line)
        more, rule = _decoded(line, fmt)
        size += len(line.data)
        state = "broken" if rule or size > MAX_ROW_BYTES else grammar.after(more)
        if state == "closed":
            return "".join([*parts, more])
        parts.append(more + line.end)
        if state == "broken":
            break
    queue.extendleft(reversed(taken))
    return None


def _decoded(line: _Line, fmt: ExtractFormat) -> tuple[str, str | None]:
    """A line's text, and the rule it breaks as a mere text."""
    try:
        text = line.data.decode()
    except UnicodeDecodeError:
        is_cut = line.is_too_long
        rule = IS_NOT_TOO_LONG if is_cut else f"row_is_valid_{re.sub('[^a-z0-9]+', '_', fmt.encoding.lower())}"
        return line.data.decode(errors="replace"), rule
    if line.is_too_long:
        return text, IS_NOT_TOO_LONG
    return text, HAS_NO_NUL_BYTES if "\0" in text else None


def _physical_lines(file: Path) -> Iterator[_Line]:
    """Lines that end with LF, CRLF or CR; of one beyond the greatest length only the beginning is kept in memory."""
    number = 0
    carried: list[bytes] = []
    n_carried = 0
    is_first = True
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            if is_first:
                chunk, is_first = chunk.removeprefix(codecs.BOM_UTF8), False
            # A line end of two bytes must not be cut in two.
            while chunk.endswith(b"\r") and (byte := opened.read(1)):
                chunk += byte
            lines = chunk.splitlines(keepends=True)
            for line in lines:
                data = line.rstrip(b"\r\n")
                if n_carried <= MAX_ROW_BYTES:
                    carried.append(data)
                n_carried += len(data)
                if len(data) < len(line):
                    number += 1
                    yield _line(number, carried, n_carried, line[len(data) :].decode())
                    carried, n_carried = [], 0
    if n_carried:
        yield _line(number + 1, carried, n_carried, "")


def _line(number: int, parts: list[bytes], n_bytes: int, end: str) -> _Line:
    data = b"".join(parts) if len(parts) > 1 else parts[0]
    if n_bytes > MAX_ROW_BYTES:
        return _Line(number, data[:_KEPT_RAW_CHARACTERS], end, is_too_long=True)
    return _Line(number, data, end)


# --- Parquet ------------------------------------------------------------------------------------------------------------------


def _check_magic_of_parquet(path: Path, source_file: str) -> None:
    try:
        with path.open("rb") as file:
            first = file.read(4)
            n_bytes = file.seek(0, 2)
            file.seek(max(n_bytes - 4, 0))
            last = file.read(4)
    except OSError as error:
        raise _refusal(
            f"the file cannot be opened: {error.strerror or type(error).__name__}",
            source_file,
            "check that it is there and may be read",
        ) from None
    if first != b"PAR1":
        raise _refusal("the file is no Parquet" if n_bytes else "the file is empty, and so no Parquet", source_file)
    if last != b"PAR1" or n_bytes < 12:
        raise _refusal("the Parquet file is cut off", source_file)


def _parquet_columns(cursor: duckdb.DuckDBPyConnection, file: str, source_file: str) -> list[tuple[str, str, str]]:
    """Per column: its name in the file, trimmed; its name and its type in the engine, which tells repeated names apart."""
    try:
        described = cursor.execute(
            f"DESCRIBE SELECT * FROM read_parquet({quote_literal(file)}, hive_partitioning = false)"
        ).fetchall()
        elements = cursor.execute(
            f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({quote_literal(file)})"
        ).fetchall()
    except duckdb.Error as error:
        raise _refusal(f"the Parquet file cannot be read ({type(error).__name__})", source_file) from None
    names: list[str] = []
    place = 1
    while place < len(elements):
        names.append(str(elements[place][0]).strip())
        place = _after_element(elements, place)
    return [(name, str(row[0]), str(row[1])) for name, row in zip(names, described, strict=True)]


def _after_element(elements: Sequence[tuple[Any, ...]], place: int) -> int:
    """Place of the element after this one and all that is nested in it."""
    n_children = int(elements[place][1])
    place += 1
    for _ in range(n_children):
        place = _after_element(elements, place)
    return place
