"""The load of one file: reading, typing, judging, splitting, as statements on a connection; no row is lost, and that is proved.

Belongs here: the order of statements and the two ways through a text file. Does not belong here: the expressions in them.

How: the file is looked at once as bytes (line ends, quotes, NUL bytes), which also counts its rows independently of the engine. A regular
file is then read by the engine's parallel reader in one scan; its count of rows must agree with the bytes. Where it does not, or where
quotes, line ends or encodings are broken, the file is first rewritten line by line into one that is regular, its broken rows set aside.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from cx_pipeline.core.errors import ConfigurationError, EngineError, Problem, UnreadableExtractError
from cx_pipeline.core.extracts.delimited import Header, read_csv_header
from cx_pipeline.core.extracts.files import literal_path, starting, text_chunks, work_folder
from cx_pipeline.core.extracts.formats import (
    HAS_THE_HEADERS_COLUMNS,
    IS_A_JSON_OBJECT,
    KEPT_RAW_CHARACTERS,
    MAX_ROW_BYTES,
    ExtractFormat,
    check_format,
    kind_of,
)
from cx_pipeline.core.extracts.json_lines import NO_DELIMITER, json_keys
from cx_pipeline.core.extracts.layout import Layout, csv_layout, json_layout, parquet_layout, raw_column, row_rules
from cx_pipeline.core.extracts.parquet import check_magic_of_parquet, parquet_columns
from cx_pipeline.core.extracts.repair import Repaired, repair
from cx_pipeline.core.extracts.structure import MAX_HEADER_BYTES, Structure, as_utf8
from cx_pipeline.core.frames import quote_identifier, quote_literal
from cx_pipeline.core.tables import Table


@dataclass(frozen=True)
class LoadedExtract:
    """What became of one file.

    Attributes:
        typed: name of the table of the contract's columns and types, source_file VARCHAR, source_line BIGINT: a TEMP one, or `into`.
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
    con: duckdb.DuckDBPyConnection,
    path: Path,
    table: Table,
    fmt: ExtractFormat,
    *,
    source_file: str,
    into: str | None = None,
) -> LoadedExtract:
    """Read one landing file into typed and rejected rows.

    Empty and blank values are NULL in every format. Numbers: plain decimal notation, an exponent only where the column is no integer;
    NaN and infinity are no numbers; integers must be whole (`1.0` is); decimals are rounded to their scale. Dates: ISO, YYYYMMDD, or a
    timestamp at midnight, or the column's `format`. Timestamps: ISO, with offset or Z converted, without taken as of the file's zone; the
    result is the company's wall clock. A row is rejected by the first rule it breaks: structure, required columns that the file lacks,
    then column by column in the contract's order its type and its rules.

    Args:
        con: connection that keeps the order of insertion (the engine's default).
        path: the file; its name decides the format (`FORMATS`). The name is taken literally whatever it contains.
        table: the channel's compiled table.
        fmt: how the file is written.
        source_file: what the file is called in tables and messages, e.g. `crm/2024-01-01.csv`.
        into: `schema.table` of the database that the typed rows go to, instead of a TEMP table: saves a large file a second
            writing. The table is made, or replaced, in transactions of its own, so that none may be open.

    Raises:
        UnreadableExtractError: the file as a whole cannot be read. Raised before anything is written, except where a Parquet file turns
            out to be corrupt inside: then the engine has ended an open transaction.
        ContractError: a rule or a format of the contract makes no sense.
        ConfigurationError: an unknown encoding or time zone, a delimiter or quote of several characters.
        EngineError: the engine failed, or rows would have been lost; the transaction has to be rolled back.
    """
    kind = kind_of(path, source_file)
    check_format(fmt)
    if not con.execute("SELECT current_setting('preserve_insertion_order')").fetchall()[0][0]:
        raise ConfigurationError(
            Problem("the engine does not keep rows in order", remedy="leave preserve_insertion_order on")
        )
    load = _Load(con, path, table, fmt, source_file, into)
    try:
        with load.undone_on_failure():
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
    kind = kind_of(path, path.name)
    check_format(fmt)
    if kind == ".parquet":
        check_magic_of_parquet(path, path.name)
        with work_folder(con) as folder:
            return tuple(name for name, _, _ in parquet_columns(con.cursor(), literal_path(path, folder), path.name))
    _, chunks = text_chunks(path, fmt, path.name)
    start = b"".join(starting(chunks, MAX_HEADER_BYTES))
    return json_keys(start) if kind == ".jsonl" else read_csv_header(start, fmt, path.name).names


@dataclass(frozen=True)
class _Load:
    """One call of `load_extract`: what it was given, and the statements it runs."""

    con: duckdb.DuckDBPyConnection
    path: Path
    table: Table
    fmt: ExtractFormat
    source_file: str
    into: str | None = None

    @cached_property
    def rejected(self) -> str:
        return f"extract_{hashlib.sha256(self.source_file.encode(errors='surrogatepass')).hexdigest()[:16]}_rejected"

    @cached_property
    def typed(self) -> str:
        return self.into or self.rejected.replace("_rejected", "_typed")

    @cached_property
    def _typed_sql(self) -> str:
        schema, _, name = (self.into or f"temp.{self.typed}").partition(".")
        return f"{schema if self.into is None else quote_identifier(schema)}.{quote_identifier(name)}"

    @cached_property
    def _rejected_sql(self) -> str:
        return f"temp.{quote_identifier(self.rejected)}"

    @contextlib.contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Leave no table in the database, and no transaction open, where the load fails."""
        try:
            yield
        except BaseException:
            if self.into is not None:
                with contextlib.suppress(duckdb.Error):
                    self._run("ROLLBACK")
                self._run(f"DROP TABLE IF EXISTS {self._typed_sql}")
            raise

    def text(self, *, is_json: bool) -> LoadedExtract:
        """CSV and JSON lines."""
        with work_folder(self.con) as folder:
            file, structure = as_utf8(
                self.path, replace(self.fmt, quote="") if is_json else self.fmt, self.source_file, folder
            )
            header = Header((), 0, False) if is_json else read_csv_header(structure.start, self.fmt, self.source_file)
            if structure.n_lines == 0 or not (is_json or header.names):
                return self._empty()
            layout = (
                json_layout(structure.start, self.table)
                if is_json
                else csv_layout(header, self.table, self.source_file)
            )
            # Of a single column the engine cannot tell a blank line from an empty value.
            is_plain = is_json or (header.is_first_line and len(header.names) > 1)
            if structure.is_regular and is_plain:
                # Looking for line ends in all fields takes time: only where they are to be expected, or were what did not agree.
                for counts_newlines in [False, True][structure.has_odd_lines : 1 + structure.has_quotes]:
                    n_read = self._read_regular(file, layout, structure, counts_newlines=counts_newlines)
                    if n_read is not None:
                        return self._split(layout, n_read)
            repaired = repair(file, folder, self.fmt, layout, header_lines=header.n_lines)
            self._read_repaired(repaired, layout)
            return self._split(layout, repaired.n_read)

    def _empty(self) -> LoadedExtract:
        layout = Layout(n_columns=1, sources={}, columns_extra=(), raw_row="NULL")
        self._create(layout, f"SELECT NULL::VARCHAR AS {raw_column(0)} WHERE FALSE")
        self._place_rows("0")
        self._create_rejected()
        return self._split(layout, 0)

    def parquet(self) -> LoadedExtract:
        with work_folder(self.con) as folder:
            file = literal_path(self.path, folder)
            check_magic_of_parquet(self.path, self.source_file)
            cursor = self.con.cursor()
            columns = parquet_columns(cursor, file, self.source_file)
            layout = parquet_layout(columns, self.table, self.source_file)
            counted = cursor.execute(f"SELECT num_rows FROM parquet_file_metadata({quote_literal(file)})").fetchone()
            n_read = int(counted[0]) if counted else 0
            raw = ", ".join(
                f"{quote_identifier(engine)} AS {raw_column(i)}"
                for i, (_, engine, _) in enumerate(layout.engine_columns)
            )
            self._create(
                layout,
                f"SELECT {raw} FROM (SELECT * FROM read_parquet({quote_literal(file)}, hive_partitioning = false))",
            )
            self._place_rows(self._line_from(1))
            self._create_rejected()
            return self._split(layout, n_read)

    # -- reading ---------------------------------------------------------------------------------------------------------

    def _read_regular(self, file: Path, layout: Layout, structure: Structure, *, counts_newlines: bool) -> int | None:
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
                f"INSERT INTO {self._rejected_sql} SELECT ?, line, ?, left(any_value(csv_line), {KEPT_RAW_CHARACTERS}) "
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
        if not is_regular:
            self._commit()
        return n_read if is_regular else None

    def _read_repaired(self, repaired: Repaired, layout: Layout) -> None:
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
            f"new_line = '\\n', max_line_size = {8 * KEPT_RAW_CHARACTERS + (1 << 20)}, compression = 'none', hive_partitioning = false)",
            [self.source_file],
        )

    def _read_csv(self, file: Path, layout: Layout, *, header: bool, extra: str, has_line_numbers: bool = False) -> str:
        names = (["~line"] if has_line_numbers else []) + [f"~{i}" for i in range(layout.n_columns)]
        columns = ", ".join(f"{quote_literal(name)}: 'VARCHAR'" for name in names)
        delimiter, quote = (NO_DELIMITER, "") if layout.is_json else (self.fmt.delimiter, self.fmt.quote)
        return (
            f"SELECT * FROM read_csv({quote_literal(str(file))}, auto_detect = false, header = {str(header).lower()}, "
            f"columns = {{{columns}}}, delim = {quote_literal(delimiter)}, quote = {quote_literal(quote)}, "
            f"escape = {quote_literal(quote)}, compression = 'none', hive_partitioning = false{extra})"
        )

    # -- typing ----------------------------------------------------------------------------------------------------------

    def _create(self, layout: Layout, source: str, *, line: str | None = None, counts_newlines: bool = False) -> None:
        """The table of all rows that have the right structure: typed values, the first rule broken, the raw row where one is."""
        values = layout.values(self.table, self.fmt)
        candidates = "".join(f", {value.candidate} AS {value.candidate_name}" for value in values if value.candidate)
        typed = ", ".join(
            f"{value.sql} AS {quote_identifier(column.name)}"
            for column, value in zip(self.table.columns, values, strict=True)
        )
        rules = row_rules(self.table, layout, values)
        rule = (
            f"CASE {' '.join(f'WHEN {condition} THEN {number}' for number, (_, condition) in enumerate(rules, 1))} END"
            if rules
            else "NULL"
        )
        newlines = " + ".join(_n_newlines(raw_column(i)) for i in range(layout.n_columns))
        kept = [
            *(quote_identifier(column.name) for column in self.table.columns),
            *([f'{line} AS "~line"'] if line else []),
            *([f'({newlines})::BIGINT AS "~newlines"'] if counts_newlines else []),
            '"~rule"',
            f'CASE WHEN "~rule" IS NOT NULL THEN left({layout.raw_row}, {KEPT_RAW_CHARACTERS}) END AS "~raw"',
        ]
        self._run(
            f"CREATE OR REPLACE{' TEMP' if self.into is None else ''} TABLE {self._typed_sql} AS SELECT {', '.join(kept)} FROM ("
            f'SELECT *, CAST({rule} AS USMALLINT) AS "~rule" FROM (SELECT *, {typed} '
            f"FROM (SELECT *{candidates} FROM ({layout.prepared(source)}))))"
        )
        self._begin()

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

    def _split(self, layout: Layout, n_read: int) -> LoadedExtract:
        """Move the rows that broke a rule to the rejected ones, and prove that none is lost."""
        missing = self._columns_missing(layout) if n_read else ()
        rules = [name for name, _ in row_rules(self.table, layout, layout.values(self.table, self.fmt))]
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
        self._commit()
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

    def _columns_missing(self, layout: Layout) -> tuple[str, ...]:
        missing = tuple(column.name for column in self.table.columns if column.name not in layout.sources)
        if not layout.is_json:
            return missing
        counts = self._one(
            f"SELECT {', '.join(f'count({quote_identifier(name)})' for name in self.table.column_names)} FROM {self._typed_sql}"
        )
        without = {name for name, count in zip(self.table.column_names, counts, strict=True) if count == 0}
        return tuple(name for name in self.table.column_names if name in without and name not in layout.keys_seen)

    # -- engine ----------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Rows written to the database must be committed before some are taken away again: else the engine writes them all twice."""
        if self.into is not None:
            self._run("BEGIN")

    def _commit(self) -> None:
        if self.into is not None:
            self._run("COMMIT")

    def _run(self, sql: str, parameters: Sequence[object] = ()) -> None:
        self.con.execute(sql, list(parameters)).fetchall()

    def _one(self, sql: str) -> tuple[Any, ...]:
        row = self.con.execute(sql).fetchall()[0]
        return tuple(row)


def _n_newlines(text: str) -> str:
    """SQL of the number of line ends in a text; most have none."""
    return f"CASE WHEN contains({text}, chr(10)) THEN length({text}) - length(replace({text}, chr(10), '')) ELSE 0 END"
