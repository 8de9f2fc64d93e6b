"""The warehouse: the only way to tables, and one of two places that open an engine.

Belongs here: opening the DuckDB file, `read`, `write` (write, audit, commit or roll back), exports, transactions.
Does not belong here: what a table means, which rules it has (`contract.py`), how rules are checked (`expectations.py`).

A write is one transaction: the new rows go to `<table>__new` with the contract's types, are audited against the contract inside the
engine, and take the old table's place only when every rule holds. The checkpoint afterwards keeps the file from growing without end.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import narwhals as nw
import polars as pl

from cx_pipeline.core.errors import ContractBrokenError, EngineError, Problem, Problems, WarehouseLockedError
from cx_pipeline.core.frames import quote_identifier, quote_literal
from cx_pipeline.core.tables import Table

if TYPE_CHECKING:
    from cx_pipeline.core.expectations import Audit
    from cx_pipeline.core.extracts import ExtractFormat, LoadedExtract

Frame = nw.LazyFrame | pl.DataFrame | pl.LazyFrame
_LOCK_HOLDER = re.compile(r"PID (\d+)")
_FAMILIES = (
    {
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "UHUGEINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL",
    },
    {"DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "TIMESTAMP WITH TIME ZONE"},
    {"VARCHAR", "JSON", "ENUM", "UUID"},
)


@dataclass(frozen=True)
class Written:
    """What a write left behind: number of rows and the audit that let it pass."""

    table: Table
    n_rows: int
    audit: Audit | None


class Warehouse:
    """One DuckDB database with one connection.

    Args:
        path: the database file; None for one in memory (tests).
        memory_limit: DuckDB's, e.g. "4GB"; None: DuckDB's default.
        threads: DuckDB's; None: all cores.

    Raises:
        WarehouseLockedError: if another process has the file open.
        EngineError: if the file is no database of a readable version.
    """

    def __init__(self, path: Path | None, *, memory_limit: str | None = None, threads: int | None = None) -> None:
        self.path = path
        config: dict[str, Any] = {}
        if memory_limit:
            config["memory_limit"] = memory_limit
        if threads:
            config["threads"] = threads
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._con = _connect(path, config)
        self._con.execute("SET TimeZone = 'UTC'")
        self._con.execute("SET enable_progress_bar = false")
        self._is_open = self._is_doomed = False

    def close(self) -> None:
        """Close the connection; the lock on the file is given back."""
        self._con.close()

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading -----------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the table `step.name` exists."""
        step, _, table = name.partition(".")
        found = self._con.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", [step, table]
        ).fetchall()
        return bool(found[0][0])

    def read(self, name: str) -> nw.LazyFrame:
        """A table as a lazy frame that stays inside the engine.

        Raises:
            EngineError: if there is no such table.
        """
        if not self.has(name):
            raise EngineError(Problem(f"there is no table {name} yet", remedy="run the step that makes it first"))
        return nw.from_native(self._con.table(qualified(name)))

    def read_or_empty(self, table: Table) -> nw.LazyFrame:
        """The table, or no rows of its contract's columns where it does not exist yet or has other columns by now."""
        if self.has(table.full_name) and self.columns(table.full_name) == table.engine_schema:
            return self.read(table.full_name)
        return self.empty(table)

    def empty(self, table: Table) -> nw.LazyFrame:
        """No rows of the contract's columns and types, inside the engine."""
        columns = ", ".join(f"NULL::{kind} AS {quote_identifier(name)}" for name, kind in table.engine_schema.items())
        return nw.from_native(self._con.sql(f"SELECT {columns} WHERE false"))

    def columns(self, name: str) -> dict[str, str]:
        """Column name -> engine type of an existing table."""
        rows = self._con.execute(f"DESCRIBE {qualified(name)}").fetchall()
        return {row[0]: row[1] for row in rows}

    def n_rows(self, name: str) -> int:
        """Number of rows of a table."""
        return int(self._con.execute(f"SELECT count(*) FROM {qualified(name)}").fetchall()[0][0])

    def tables(self, step: str) -> list[str]:
        """Names (without the step) of the tables of a step, sorted."""
        rows = self._con.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY 1", [step]
        ).fetchall()
        return [row[0] for row in rows]

    def names(self) -> list[str]:
        """`step.table` of every table there is, sorted."""
        rows = self._con.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema NOT IN ('main', 'temp') "
            "AND table_type = 'BASE TABLE' ORDER BY 1"
        ).fetchall()
        return [row[0] for row in rows]

    def parquet(self, path: Path) -> nw.LazyFrame:
        """A Parquet file as a lazy frame inside the engine; its name is taken literally but for wildcards."""
        return nw.from_native(
            self._con.sql(f"SELECT * FROM read_parquet({quote_literal(str(path))}, hive_partitioning = false)")
        )

    def frame(self, data: pl.DataFrame) -> nw.LazyFrame:
        """A Polars frame as a relation of this warehouse (zero copy, through Arrow), to be joined with its tables."""
        return nw.from_native(self._con.from_arrow(data.to_arrow()))

    def load_extract(
        self, path: Path, table: Table, fmt: ExtractFormat, *, source_file: str, into: Table | None = None
    ) -> LoadedExtract:
        """Read one landing file into temporary tables of typed and rejected rows (see `extracts.load_extract`).

        With `into`, outside of any transaction, the typed rows of a large file are written to the database at once, for `adopt`.
        """
        from cx_pipeline.core.extracts import load_extract

        if into is None:
            return load_extract(self._con, path, table, fmt, source_file=source_file)
        self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(into.step)}")
        return load_extract(self._con, path, table, fmt, source_file=source_file, into=f"{into.full_name}__new")

    def read_header(self, path: Path, fmt: ExtractFormat) -> tuple[str, ...]:
        """Column names of a landing file (see `extracts.read_header`)."""
        from cx_pipeline.core.extracts import read_header

        return read_header(self._con, path, fmt)

    def temporary(self, name: str) -> nw.LazyFrame:
        """A temporary table, e.g. one that `load_extract` made."""
        return nw.from_native(self._con.table(quote_identifier(name)))

    def drop_temporary(self, name: str) -> None:
        """Drop a temporary table."""
        self._con.execute(f"DROP TABLE IF EXISTS temp.{quote_identifier(name)}")

    # -- writing -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become visible together or not at all; nested transactions join the outer one.

        Raises:
            EngineError: at the end of the outer one, if the error of an inner one was caught on the way: half of its writes
                would be there. Nothing is written then.
        """
        if self._is_open:
            try:
                yield
            except BaseException:
                self._is_doomed = True
                raise
            return
        self._con.execute("BEGIN")
        self._is_open, self._is_doomed = True, False
        try:
            yield
            if self._is_doomed:
                raise EngineError("a write inside this transaction failed, so that the whole is taken back")
        except BaseException:
            # After an engine error the transaction is gone already; there is nothing left to roll back then.
            with contextlib.suppress(duckdb.Error):
                self._con.execute("ROLLBACK")
            raise
        else:
            self._con.execute("COMMIT")
            self._con.execute("CHECKPOINT")
        finally:
            self._is_open = False

    def write(self, table: Table, frame: Frame) -> Written:
        """Replace a table by the frame's rows, ordered by key, if they keep the contract.

        Raises:
            ContractBrokenError: if columns, types or rules do not hold; the old table stays.
        """
        with self.transaction():
            new = f"{table.name}__new"
            self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(table.step)}")
            self._con.execute(f"DROP TABLE IF EXISTS {_name(table.step, new)}")
            self._create(table, new)
            self._insert(table, new, frame)
            audit = self._audit(table, new)
            self._con.execute(f"DROP TABLE IF EXISTS {_name(table.step, table.name)}")
            self._con.execute(f"ALTER TABLE {_name(table.step, new)} RENAME TO {quote_identifier(table.name)}")
        return Written(table, self.n_rows(table.full_name), audit)

    def adopt(
        self,
        table: Table,
        frames: Sequence[Frame],
        *,
        removed: Frame | None = None,
        added: Frame | None = None,
        proven: Collection[str] = (),
    ) -> Written:
        """Replace a table by the rows that `load_extract` has written for it (if any) and further ones, in their order.

        Args:
            table: the table, whatever stands in it.
            frames: further rows of the contract's columns, inserted one frame after the other.
            removed: keys (any subset of the columns, NULL equal to NULL) whose rows go.
            added: rows that come in place of the removed ones.
            proven: names of rules that the caller has proved, so that they are not looked at again.

        Raises:
            ContractBrokenError: if columns, types or rules do not hold; the old table stays.
        """
        with self.transaction():
            new = f"{table.name}__new"
            self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(table.step)}")
            if not self.has(f"{table.step}.{new}"):
                self._create(table, new)
            for frame in frames:
                self._insert(table, new, frame, is_sorted=False)
            if removed is not None:
                self._materialise(removed, "adopt__removed")
                self._delete(_name(table.step, new), "adopt__removed")
                self.drop_temporary("adopt__removed")
            if added is not None:
                self._insert(table, new, added, is_sorted=False)
            rules = tuple(rule for rule in table.rules if rule.name not in proven)
            audit = self._audit(replace(table, rules=rules), new)
            self._con.execute(f"DROP TABLE IF EXISTS {_name(table.step, table.name)}")
            self._con.execute(f"ALTER TABLE {_name(table.step, new)} RENAME TO {quote_identifier(table.name)}")
        return Written(table, self.n_rows(table.full_name), audit)

    def replace_partition(self, table: Table, frame: Frame, **partition: str) -> Written:
        """Replace only the rows whose columns equal the given values; the rest of the table stays.

        The frame may be made of the table itself: it is read before anything is deleted.

        Raises:
            ContractBrokenError: if the table as a whole would break its contract; nothing changes then.
        """
        with self.transaction():
            self._ensure(table)
            rows = self.materialise(frame, "replace_partition__new")
            conditions = " AND ".join(f"{quote_identifier(column)} = ?" for column in partition)
            self._con.execute(
                f"DELETE FROM {_name(table.step, table.name)} WHERE {conditions}", list(partition.values())
            )
            self._insert(table, table.name, rows)
            self.drop_temporary("replace_partition__new")
            audit = self._audit(table, table.name)
        return Written(table, self.n_rows(table.full_name), audit)

    def replace_rows(self, table: Table, frame: Frame, keys: Frame, *, audits_all: bool = True) -> Written:
        """Delete the rows that stand in `keys` (equal in all of its columns, NULL equal to NULL), then insert the frame's.

        Args:
            table: a table that exists or will be made.
            frame: rows to insert, of the contract's columns; read before anything is deleted.
            keys: rows to delete, by any subset of the table's columns.
            audits_all: False where the rows that stay have been audited by the same rules, and no inserted row has a key outside
                of `keys`: then single rows, and uniqueness of the columns of `keys`, are judged on the inserted rows alone.

        Raises:
            ContractBrokenError: if the table as a whole would break its contract; nothing changes then.
        """
        with self.transaction():
            self._ensure(table)
            self._materialise(frame, "replace_rows__new")
            self._materialise(keys, "replace_rows__keys")
            names = self._delete(_name(table.step, table.name), "replace_rows__keys")
            self._insert(table, table.name, self.temporary("replace_rows__new"))
            if audits_all:
                audit = self._audit(table, table.name)
            else:
                of_inserted = tuple(
                    rule
                    for rule in table.rules
                    if rule.is_row_rule or (rule.kind == "unique" and rule.columns == names)
                )
                of_all = tuple(rule for rule in table.rules if rule not in of_inserted)
                self._audit(replace(table, rules=of_inserted), "replace_rows__new", schema="temp")
                audit = self._audit(replace(table, rules=of_all), table.name)
            for name in ("replace_rows__new", "replace_rows__keys"):
                self.drop_temporary(name)
        return Written(table, self.n_rows(table.full_name), audit)

    def is_unique(self, frame: Frame, columns: Sequence[str]) -> bool:
        """Whether no two rows agree in all of the columns; rows with a NULL in one of them aside.

        Cheap for one column that ascends, as the ids of most extracts do: the order of rows is looked at before they are grouped.
        """
        relation = self._relation(frame)  # noqa: F841 - DuckDB finds it by its name
        names = [quote_identifier(name) for name in columns]
        steps = f"SELECT {names[0]} AS k, lag({names[0]}) OVER () AS previous FROM"
        descends = "SELECT 1 FROM ({}) WHERE k IS NULL OR k <= previous LIMIT 1"
        # Where the first rows do not ascend, the others need no look.
        for source in (f"{steps} (SELECT * FROM relation LIMIT 4096)", f"{steps} relation") if len(names) == 1 else ():
            if self._con.execute(descends.format(source)).fetchall():
                break
        else:
            if len(names) == 1:
                return True
        complete = " AND ".join(f"{name} IS NOT NULL" for name in names)
        repeated = f"SELECT 1 FROM relation WHERE {complete} GROUP BY {', '.join(names)} HAVING count(*) > 1 LIMIT 1"
        return not self._con.execute(repeated).fetchall()

    def audit(self, table: Table) -> Written:
        """Check a table that stands against its contract, making an empty one where there is none.

        Raises:
            ContractBrokenError: naming every rule that does not hold.
        """
        with self.transaction():
            self._ensure(table)
            audit = self._audit(table, table.name)
        return Written(table, self.n_rows(table.full_name), audit)

    def drop(self, name: str) -> None:
        """Drop a table if it exists."""
        with self.transaction():
            self._con.execute(f"DROP TABLE IF EXISTS {qualified(name)}")

    def move_rows(self, source: str, keys: pl.DataFrame, target: str, rows: pl.DataFrame) -> None:
        """Delete from one of `load_extract`'s tables the rows that stand in `keys`, then insert `rows` into one of them (without audit)."""
        matches = " AND ".join(f"t.{quote_identifier(name)} = k.{quote_identifier(name)}" for name in keys.columns)
        self._materialise(keys, "move_rows__keys")
        self._materialise(rows, "move_rows__new")
        self._con.execute(f"DELETE FROM {_loose(source)} AS t USING move_rows__keys AS k WHERE {matches}").fetchall()
        self._con.execute(f"INSERT INTO {_loose(target)} BY NAME SELECT * FROM move_rows__new").fetchall()
        for name in ("move_rows__keys", "move_rows__new"):
            self.drop_temporary(name)

    def keep_rows(self, name: str, frame: Frame) -> None:
        """Replace a table's rows by some of them, without audit: for rows that have to go whatever a contract says."""
        with self.transaction():
            self._materialise(frame, "kept_rows")
            self._con.execute(f"DELETE FROM {qualified(name)}")
            self._con.execute(f"INSERT INTO {qualified(name)} BY NAME SELECT * FROM kept_rows").fetchall()
            self.drop_temporary("kept_rows")

    def materialise(self, frame: Frame, name: str) -> nw.LazyFrame:
        """Compute a frame once into a temporary table and read on from there (replacing one of the same name)."""
        self._materialise(frame, name)
        return self.temporary(name)

    def write_parquet(self, frame: Frame, path: Path) -> None:
        """Write a frame to a Parquet file as it is."""
        relation = self._relation(frame)
        self._con.execute(
            f"COPY (SELECT * FROM relation) TO {quote_literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
        ).fetchall()
        del relation

    def export(self, table: Table, path: Path) -> int:
        """Write a table to a Parquet file with the contract's columns; return the number of rows."""
        columns = ", ".join(quote_identifier(name) for name in table.column_names)
        source = f"SELECT {columns} FROM {_name(table.step, table.name)}"
        self._con.execute(
            f"COPY ({source}) TO {quote_literal(str(path))} (FORMAT parquet, COMPRESSION zstd)"
        ).fetchall()
        return self.n_rows(table.full_name)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _ensure(self, table: Table) -> None:
        """Make an empty table where there is none, or where the contract's columns have changed since."""
        self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(table.step)}")
        if self.has(table.full_name) and self.columns(table.full_name) != table.engine_schema:
            self._con.execute(f"DROP TABLE {_name(table.step, table.name)}")
        if not self.has(table.full_name):
            self._create(table, table.name)

    def _create(self, table: Table, name: str) -> None:
        columns = ", ".join(f"{quote_identifier(column)} {kind}" for column, kind in table.engine_schema.items())
        self._con.execute(f"CREATE TABLE {_name(table.step, name)} ({columns})")

    def _materialise(self, frame: Frame, name: str) -> None:
        relation = self._relation(frame)
        self._con.execute(f"CREATE OR REPLACE TEMP TABLE {quote_identifier(name)} AS SELECT * FROM relation")
        del relation

    def _delete(self, target: str, keys: str) -> tuple[str, ...]:
        """Delete from a table what stands in a temporary one; the columns of that."""
        names = tuple(row[0] for row in self._con.execute(f"DESCRIBE {quote_identifier(keys)}").fetchall())
        matches = " AND ".join(f"t.{quote_identifier(n)} IS NOT DISTINCT FROM k.{quote_identifier(n)}" for n in names)
        self._con.execute(f"DELETE FROM {target} AS t USING {quote_identifier(keys)} AS k WHERE {matches}")
        return names

    def _insert(self, table: Table, name: str, frame: Frame, *, is_sorted: bool = True) -> None:
        relation = self._relation(frame)
        _check_columns(table, dict(zip(relation.columns, (str(t) for t in relation.types), strict=True)))
        order = ", ".join(quote_identifier(column) for column in table.primary_key) if is_sorted else ""
        self._con.execute(
            f"INSERT INTO {_name(table.step, name)} BY NAME SELECT * FROM relation{' ORDER BY ' + order if order else ''}"
        ).fetchall()
        del relation

    def _relation(self, frame: Frame) -> duckdb.DuckDBPyRelation:
        if isinstance(frame, nw.LazyFrame):
            unwrapped: Any = nw.to_native(frame)
            if isinstance(unwrapped, duckdb.DuckDBPyRelation):
                return unwrapped
            frame = unwrapped
        data = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
        return self._con.from_arrow(data.to_arrow())  # type: ignore[union-attr]

    def _audit(self, table: Table, name: str, *, schema: str | None = None) -> Audit | None:
        from cx_pipeline.core.expectations import audit

        result = audit(self._con, table, schema=schema or table.step, name=name)
        if not result.is_kept:
            raise ContractBrokenError(
                [
                    Problem(
                        f"the rule {broken.rule.name} does not hold",
                        table.full_name,
                        broken.n_broken or None,
                        remedy="the table was left as it was; look at the step's input",
                    )
                    for broken in result.broken
                ]
            )
        return result


def compact(path: Path, *, memory_limit: str | None = None, threads: int | None = None) -> None:
    """Copy a database into a new file and put it in its place by one atomic rename, so that no freed block holds what was deleted.

    Needs as much room on disk as the tables take. A kill at any moment leaves the old file or the new one.

    Raises:
        WarehouseLockedError: if another process has the file open.
        EngineError: if the file cannot be read or the copy not be written.
    """
    new = path.with_name(f".{path.name}.compact")
    for leftover in (new, new.with_name(f"{new.name}.wal")):
        leftover.unlink(missing_ok=True)
    con = _connect(None, {})
    try:
        if memory_limit:
            con.execute(f"SET memory_limit = {quote_literal(memory_limit)}")
        if threads:
            con.execute(f"SET threads = {int(threads)}")
        # The lock on the old file is held until the new one stands in its place.
        con.execute(f"ATTACH {quote_literal(str(path))} AS old_file")
        con.execute("CHECKPOINT old_file")
        con.execute(f"ATTACH {quote_literal(str(new))} AS new_file")
        con.execute("COPY FROM DATABASE old_file TO new_file").fetchall()
        con.execute("DETACH new_file")
        new.chmod(path.stat().st_mode & 0o777)
        _flush(new)
        new.replace(path)
        _flush(path.parent)
    except duckdb.Error as error:
        if "could not set lock" in str(error).lower():
            raise WarehouseLockedError(
                Problem("another process has the database open", f"warehouse/{path.name}", remedy="wait for it to end")
            ) from None
        raise EngineError(
            Problem(
                f"the file could not be copied ({type(error).__name__}: {sanitised(error)})", f"warehouse/{path.name}"
            )
        ) from None
    finally:
        con.close()
        new.unlink(missing_ok=True)
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def qualified(name: str) -> str:
    """`step.table` quoted for SQL."""
    step, _, table = name.partition(".")
    return _name(step, table)


def _loose(name: str) -> str:
    """A temporary table's name, or `step.table`, quoted for SQL."""
    return qualified(name) if "." in name else quote_identifier(name)


def _name(step: str, table: str) -> str:
    return f"{quote_identifier(step)}.{quote_identifier(table)}"


def _connect(path: Path | None, config: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(path) if path else ":memory:", config=dict(config))
    except duckdb.Error as error:
        name = path.name if path else "memory"
        holder = _LOCK_HOLDER.search(str(error))
        if "could not set lock" in str(error).lower():
            raise WarehouseLockedError(
                Problem(
                    f"another process{f' (PID {holder.group(1)})' if holder else ''} has the database open",
                    f"warehouse/{name}",
                    remedy="wait for the other run to end, or stop it; to look at tables meanwhile read published/current",
                )
            ) from None
        raise EngineError(
            Problem("the file cannot be opened as a DuckDB database", f"warehouse/{name}", remedy=_first_line(error))
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


def sanitised(error: Exception) -> str:
    """An engine's message without quoted values and long numbers, which may be personal data."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d{4,}", "'...'", line)[:300]


def _check_columns(table: Table, found: Mapping[str, str]) -> None:
    problems = Problems()
    for name in table.column_names:
        if name not in found:
            problems.add(
                f"the column {name} is missing",
                table.full_name,
                remedy="the function must return every column of the contract",
            )
    for name, kind in found.items():
        if name not in table.engine_schema:
            problems.add(
                f"the column {name} is not in the contract",
                table.full_name,
                remedy="describe it in contract.yaml or drop it",
            )
        elif not _is_castable(kind, table.engine_schema[name]):
            problems.add(f"the column {name} is {kind}, the contract says {table.engine_schema[name]}", table.full_name)
    problems.raise_if_any(ContractBrokenError)


def _is_castable(found: str, wanted: str) -> bool:
    """Whether types are of one family, so that a cast changes the width and not the meaning."""

    def base(kind: str) -> str:
        return kind.split("(")[0].upper()

    if base(found) == base(wanted) or found.upper() in ('"NULL"', "NULL"):
        return True
    return any(base(found) in family and base(wanted) in family for family in _FAMILIES)
