"""Audits: a contract's rules as a Great Expectations suite, run inside DuckDB on a table that is not committed yet.

Belongs here: the translation of rules to expectations, the adapter that lends Great Expectations (GX) a connection of
ours, and the rules in words. Does not belong here: the rules themselves (`tables.py`), types (checked on writing,
`warehouse.py`), what follows from a broken contract (`warehouse.py`, the assets).

Every row rule is one expectation of GX's SQL kind that counts the rows breaking it, not one of its column expectations:
those read the columns' types back, send a query for values even when told to return none, and take four times as long.
So what a NULL, a NaN or an empty table means is said here, in one place: a NULL breaks `not_null` only, a NaN is in no
range, an empty table keeps every row rule and every share.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from cx_pipeline.core.errors import ContractError, EngineError, Problem, Problems
from cx_pipeline.core.frames import quote_identifier, quote_literal
from cx_pipeline.core.tables import Column, Rule, Table

if TYPE_CHECKING:
    # Only here: what GX keeps alive until the process ends must not hold on to DuckDB, which reports that as leaks.
    import duckdb
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.datasource.fluent.sql_datasource import QueryAsset
    from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
    from sqlalchemy.engine.default import DefaultDialect

_BATCH = "{batch}"
_NOT_RUN = "not run, because an earlier statement of the audit failed"
_RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 0}
_NUMERIC_TYPES = ("DOUBLE", "BIGINT", "INTEGER", "SMALLINT", "DECIMAL")
# What these errors say comes from names and SQL; all others may quote a value of the data.
_ERRORS_WITHOUT_VALUES = ("BinderException", "CatalogException", "ParserException")


@dataclass(frozen=True)
class RuleResult:
    """What an audit found about one rule. Holds counts only, never a value of the data.

    Attributes:
        rule: the rule.
        is_kept: whether it holds.
        n_rows: rows of the table.
        n_broken: rows that break it. unique: all rows whose key occurs more than once; share_between: rows that break
            the inner rule, be they tolerated or not; row_count: rows missing or too many.
        observed: what was measured, for table rules (`3 rows`, `0.25 (1 of 4 rows)`); empty for the others.
    """

    rule: Rule
    is_kept: bool
    n_rows: int
    n_broken: int
    observed: str = ""


@dataclass(frozen=True)
class Audit:
    """The results of all rules of a table, in the contract's order, and how many seconds they took."""

    results: tuple[RuleResult, ...]
    seconds: float

    @property
    def is_kept(self) -> bool:
        """Whether every rule holds; True where there is none."""
        return not self.broken

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        """The results of the rules that do not hold."""
        return tuple(result for result in self.results if not result.is_kept)


def audit(con: duckdb.DuckDBPyConnection, table: Table, *, schema: str, name: str) -> Audit:
    """Check all rules of a table on `schema.name`, in the open transaction of `con` and without ending it.

    One audit at a time per process: GX keeps global state. Nothing is written, no row leaves the engine.

    Args:
        con: the connection that has written the table, committed or not. No result of it may be in use.
        table: the compiled contract.
        schema: where the rows are.
        name: where the rows are; need not be the contract's name (`customers__new`).

    Raises:
        ContractError: if a rule does not fit its column (a bound that is no date, a column that is not there).
        EngineError: if a rule could not be checked. DuckDB has aborted the transaction then: roll back.
    """
    started = time.perf_counter()
    if not table.rules:
        return Audit((), time.perf_counter() - started)
    suite = _suite(table.full_name, table.columns, table.rules)
    with _LOCK, _LOAN.of(con):
        found = _validate(suite, table, f"SELECT * FROM {quote_identifier(schema)}.{quote_identifier(name)}")
        failure = str(_LOAN.failure or "")
    _raise_if_unchecked(found, table, failure)
    results = tuple(_result(rule, found[i]) for i, rule in enumerate(table.rules))
    return Audit(results, time.perf_counter() - started)


def describe(table: Table) -> str:
    """The rules of a table as Markdown, one row each, for the UI."""
    if not table.rules:
        return "No rules."
    rows = [f"| {_cell(rule.name)} | {_cell(_sentence(rule))} |" for rule in table.rules]
    return "\n".join(["| rule | what must hold |", "|---|---|", *rows])


def broken_condition(table: Table, rule: Rule) -> str:
    """SQL condition on a row of the table: true where the row breaks the rule, false or NULL where it keeps it.

    Raises:
        ContractError: if the rule does not fit its columns, or is no row rule.
    """
    problems = Problems()
    condition = _condition(rule, {column.name: column for column in table.columns}, table.full_name, problems)
    problems.raise_if_any(ContractError)
    return condition


# --- rules to SQL -----------------------------------------------------------------------------------------------------


def _condition(rule: Rule, columns: Mapping[str, Column], where: str, problems: Problems) -> str:
    """Condition of a broken row; a problem is noted, and FALSE returned, where the rule makes no sense."""
    write = _CONDITIONS.get(rule.kind)
    try:
        if write is None:
            raise ValueError(f"{rule.kind} is not about single rows")
        _require_columns(rule, columns)
        if len(rule.columns) > 1 and rule.kind != "not_null":
            raise ValueError(f"{rule.kind} is about one column, not {len(rule.columns)}")
        return write(rule, [columns[name] for name in rule.columns])
    except ValueError as error:
        _refuse(rule, error, where, problems)
        return "FALSE"


def _require_columns(rule: Rule, columns: Mapping[str, Column]) -> None:
    missing = [name for name in rule.columns if name not in columns]
    if missing or not rule.columns:
        raise ValueError(f"it is about columns that the table does not have: {', '.join(missing) or 'none is named'}")


def _refuse(rule: Rule, error: ValueError, where: str, problems: Problems) -> None:
    problems.add(f"the rule {rule.name} cannot be checked: {error}", where, remedy="correct it in the contract")


def _null(rule: Rule, columns: Sequence[Column]) -> str:
    return " OR ".join(f"{quote_identifier(column.name)} IS NULL" for column in columns)


def _outside_set(rule: Rule, columns: Sequence[Column]) -> str:
    allowed = [_constant(value, columns[0].engine_type) for value in rule.values if value is not None]
    if not allowed:
        raise ValueError("it allows no value at all")
    return f"{quote_identifier(columns[0].name)} NOT IN ({', '.join(allowed)})"


def _inside_set(rule: Rule, columns: Sequence[Column]) -> str:
    engine_type = columns[0].engine_type
    # An empty string among the forbidden values of a date column is no mistake: it just cannot be there.
    possible = [v for v in rule.values if v is not None and (v != "" or engine_type in ("VARCHAR", "JSON"))]
    forbidden = [_constant(value, engine_type) for value in possible]
    return f"{quote_identifier(columns[0].name)} IN ({', '.join(forbidden)})" if forbidden else "FALSE"


def _out_of_range(rule: Rule, columns: Sequence[Column]) -> str:
    column = columns[0]
    for bound in (rule.minimum, rule.maximum):
        if column.engine_type in ("VARCHAR", "JSON") and bound is not None and not isinstance(bound, str):
            raise ValueError(f"a text column has no range of numbers ({bound})")
    value = quote_identifier(column.name)
    outside = f"NOT ({_within(value, rule, lambda bound: _constant(bound, column.engine_type))})"
    # DuckDB sorts NaN above all numbers, so that a mere minimum would let it pass.
    return f"{outside} OR isnan({value})" if column.engine_type == "DOUBLE" else outside


def _wrong_length(rule: Rule, columns: Sequence[Column]) -> str:
    column = columns[0]
    value = quote_identifier(column.name)
    length = f"len({value})" if column.engine_type.endswith("[]") else f"length(CAST({value} AS VARCHAR))"
    return f"NOT ({_within(length, rule, lambda bound: _constant(bound, 'BIGINT'))})"


def _mismatch(rule: Rule, columns: Sequence[Column]) -> str:
    if rule.pattern is None:
        raise ValueError("it has no pattern")
    if columns[0].engine_type.endswith("[]"):
        raise ValueError("a list has no pattern")
    return f"NOT regexp_full_match(CAST({quote_identifier(columns[0].name)} AS VARCHAR), {quote_literal(rule.pattern)})"


_CONDITIONS: Mapping[str, Callable[[Rule, Sequence[Column]], str]] = {
    "not_null": _null,
    "in_set": _outside_set,
    "not_in_set": _inside_set,
    "between": _out_of_range,
    "length_between": _wrong_length,
    "matches": _mismatch,
}


def _within(value: str, rule: Rule, constant: Callable[[object], str]) -> str:
    parts = []
    if rule.minimum is not None:
        parts.append(f"{value} {'>' if rule.exclusive_minimum else '>='} {constant(rule.minimum)}")
    if rule.maximum is not None:
        parts.append(f"{value} {'<' if rule.exclusive_maximum else '<='} {constant(rule.maximum)}")
    if not parts:
        raise ValueError("it has neither minimum nor maximum")
    return " AND ".join(parts)


def _constant(value: object, engine_type: str) -> str:
    """A contract's value as an SQL constant of the column's type.

    Raises:
        ValueError: if the value cannot be of that type.
    """
    if engine_type.startswith(_NUMERIC_TYPES) and not engine_type.endswith("[]"):
        return _number(value)
    if engine_type in ("DATE", "TIMESTAMP"):
        return _moment(value, engine_type)
    if engine_type == "TIME":
        moment = value if isinstance(value, time_of_day) else time_of_day.fromisoformat(str(value))
        return f"CAST({quote_literal(moment.isoformat())} AS TIME)"
    if engine_type == "BOOLEAN":
        if str(value).lower() not in ("true", "false"):
            raise ValueError(f"{value} is neither true nor false")
        return str(value).upper()
    if engine_type.endswith("[]"):
        raise ValueError(f"{engine_type} has no single values")
    if isinstance(value, bool):
        return quote_literal(str(value).lower())
    return quote_literal(value.isoformat() if isinstance(value, date | time_of_day) else str(value))


def _number(value: object) -> str:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value} is no number") from None
    if not number.is_finite():
        raise ValueError(f"{value} is no number")
    if number == number.to_integral_value() and number.adjusted() < 18:
        return f"{number.to_integral_value():f}"
    return str(number)


def _moment(value: object, engine_type: str) -> str:
    moment = datetime.fromisoformat(value.isoformat() if isinstance(value, date) else str(value))
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    if engine_type == "DATE" and moment.time() == time_of_day():
        return f"CAST({quote_literal(moment.date().isoformat())} AS DATE)"
    return f"CAST({quote_literal(moment.isoformat(sep=' '))} AS TIMESTAMP)"


def _broken_rows(rule: Rule, columns: Mapping[str, Column], where: str, problems: Problems) -> str:
    """Query in GX's notation with one row of the constant 1 per broken row, so that no value can be fetched."""
    if rule.kind != "unique":
        condition = _condition(rule, columns, where, problems)
        return f"SELECT 1 AS broken FROM {_BATCH} WHERE {_gx_text(condition)}"
    try:
        _require_columns(rule, columns)
    except ValueError as error:
        _refuse(rule, error, where, problems)
    names = [quote_identifier(name) for name in rule.columns]
    complete = _gx_text(" AND ".join(f"{name} IS NOT NULL" for name in names))
    repeated = (
        f"SELECT count(*) AS n FROM {_BATCH} WHERE {complete} GROUP BY {_gx_text(', '.join(names))} HAVING count(*) > 1"
    )
    return f"SELECT unnest(range(n)) AS broken FROM ({repeated}) AS repeated"


def _gx_text(sql: str) -> str:
    """SQL as GX and SQLAlchemy must see it: GX formats braces, SQLAlchemy takes `:word` for a parameter."""
    return sql.replace("{", "{{").replace("}", "}}").replace(":", r"\:")


# --- rules to expectations --------------------------------------------------------------------------------------------


@functools.cache
def _expectation_type() -> type[UnexpectedRowsExpectation]:
    """GX's SQL expectation, with the share of broken rows as a second way to judge and without fetching the rows."""
    from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation

    class ExpectBrokenRowsToBeTolerable(UnexpectedRowsExpectation):
        is_share: bool = False
        minimum: float | None = None
        maximum: float | None = None
        exclusive_minimum: bool = False
        exclusive_maximum: bool = False

        metric_dependencies = ("unexpected_rows_query.row_count", "table.row_count")

        def _validate(
            self,
            metrics: dict[str, Any],
            runtime_configuration: dict[str, Any] | None = None,
            execution_engine: Any = None,
        ) -> dict[str, Any]:
            n_broken, n_rows = metrics["unexpected_rows_query.row_count"], metrics["table.row_count"]
            is_kept = n_rows == 0 or _is_within(n_broken / n_rows, self) if self.is_share else n_broken == 0
            return {"success": is_kept, "result": {"observed_value": n_broken, "element_count": n_rows}}

    return ExpectBrokenRowsToBeTolerable


def _is_within(value: float, bounds: Any) -> bool:
    is_high_enough = bounds.minimum is None or (
        value > bounds.minimum if bounds.exclusive_minimum else value >= bounds.minimum
    )
    is_low_enough = bounds.maximum is None or (
        value < bounds.maximum if bounds.exclusive_maximum else value <= bounds.maximum
    )
    return is_high_enough and is_low_enough


@functools.lru_cache(maxsize=1024)
def _suite(full_name: str, columns: tuple[Column, ...], rules: tuple[Rule, ...]) -> ExpectationSuite:
    """The rules as a suite; each expectation carries its rule's position, as GX returns failed ones out of order."""
    problems = Problems()
    by_name = {column.name: column for column in columns}
    arguments = [_arguments(rule, by_name, full_name, problems) for rule in rules]
    problems.raise_if_any(ContractError, f"{full_name} has rules that cannot be checked")

    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween

    kinds = [ExpectTableRowCountToBeBetween if rule.kind == "row_count" else _expectation_type() for rule in rules]
    return ExpectationSuite(
        name=full_name,
        expectations=[
            kind(**words, meta={"position": i}) for i, (kind, words) in enumerate(zip(kinds, arguments, strict=True))
        ],
    )


def _arguments(rule: Rule, columns: Mapping[str, Column], where: str, problems: Problems) -> dict[str, Any]:
    """Arguments of the rule's expectation."""
    if rule.kind not in ("row_count", "share_between"):
        return {"unexpected_rows_query": _broken_rows(rule, columns, where, problems)}
    try:
        minimum, maximum = _bound(rule.minimum), _bound(rule.maximum)
        if minimum is None and maximum is None:
            raise ValueError("it has neither minimum nor maximum")
        if rule.kind == "row_count":
            return {
                "min_value": _least_count(minimum, rule.exclusive_minimum),
                "max_value": _greatest_count(maximum, rule.exclusive_maximum),
            }
        if rule.inner is None or rule.inner.kind in ("row_count", "share_between"):
            raise ValueError("a share needs an inner rule about rows")
    except ValueError as error:
        _refuse(rule, error, where, problems)
        return {}
    return {
        "unexpected_rows_query": _broken_rows(rule.inner, columns, where, problems),
        "is_share": True,
        "minimum": minimum,
        "maximum": maximum,
        "exclusive_minimum": rule.exclusive_minimum,
        "exclusive_maximum": rule.exclusive_maximum,
    }


def _bound(value: float | str | None) -> float | None:
    if value is None:
        return None
    if not math.isfinite(float(value)):
        raise ValueError(f"{value} is no bound")
    return float(value)


def _least_count(minimum: float | None, is_exclusive: bool) -> int | None:
    if minimum is None:
        return None
    return math.floor(minimum) + 1 if is_exclusive else math.ceil(minimum)


def _greatest_count(maximum: float | None, is_exclusive: bool) -> int | None:
    if maximum is None:
        return None
    return math.ceil(maximum) - 1 if is_exclusive else math.floor(maximum)


# --- running a suite on a connection of ours --------------------------------------------------------------------------


class _StatementError(Exception):
    """A statement that DuckDB refused, or that was not run after such a one. Its text is free of values."""


@dataclass(eq=False)
class _Loan:
    """The DB-API connection that SQLAlchemy and GX are given: our current connection, which they cannot end.

    After a first error nothing else is sent (DuckDB has aborted the transaction), so that only the guilty statement,
    which GX tries again, is reported as failed; all others are reported as not run.
    """

    con: duckdb.DuckDBPyConnection | None = None
    failure: _StatementError | None = None
    failed_statement: str = ""

    @contextmanager
    def of(self, con: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Lend `con` for one audit; no reference to it is left behind."""
        self.con, self.failure, self.failed_statement = con, None, ""
        try:
            yield
        finally:
            self.con, self.failure = None, None

    def run(self, statement: str, parameters: Sequence[object]) -> tuple[list[tuple[Any, ...]], list[str]]:
        """All rows of a statement and the names of its columns.

        Fetched at once: GX reads after it has given the connection back, and an open result would block ours.
        """
        import duckdb

        if self.con is None:
            raise _StatementError("a statement outside of an audit")
        if self.failure is not None:
            raise self.failure if statement == self.failed_statement else _StatementError(_NOT_RUN)
        try:
            self.con.execute(statement, list(parameters))
            return self.con.fetchall(), [column[0] for column in self.con.description or []]
        except duckdb.Error as error:
            self.failure, self.failed_statement = _StatementError(_reason(error)), statement
            raise self.failure from None

    def cursor(self) -> _Cursor:
        return _Cursor(self)

    def begin(self) -> None:
        """Ours to do."""

    def commit(self) -> None:
        """Ours to do."""

    def rollback(self) -> None:
        """Ours to do."""

    def close(self) -> None:
        """Ours to do."""


def _reason(error: duckdb.Error) -> str:
    name = type(error).__name__
    return f"{name}: {str(error).partition(chr(10))[0]}" if name in _ERRORS_WITHOUT_VALUES else name


@dataclass(eq=False)
class _Cursor:
    """As much of a DB-API cursor as SQLAlchemy uses to read."""

    loan: _Loan
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    description: list[tuple[str, None, None, None, None, None, None]] = field(default_factory=list)
    rowcount: int = -1
    arraysize: int = 1

    def execute(self, statement: str, parameters: Sequence[object] = (), context: object = None) -> None:
        self.rows, names = self.loan.run(statement, parameters)
        self.description = [(name, None, None, None, None, None, None) for name in names]

    def fetchone(self) -> tuple[Any, ...] | None:
        return self.rows.pop(0) if self.rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        wanted = size or self.arraysize
        taken, self.rows = self.rows[:wanted], self.rows[wanted:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.fetchmany(len(self.rows) or 1)

    def close(self) -> None:
        self.rows = []


_LOCK = threading.Lock()
_LOAN = _Loan()


class _Driver:
    """As much of a DB-API module as SQLAlchemy asks for."""

    paramstyle = "numeric_dollar"
    Error = _StatementError


@functools.cache
def _dialect() -> type[DefaultDialect]:
    """A dialect for SQL that GX has been given as text: it sends nothing of its own, not even on connecting."""
    from sqlalchemy.engine.default import DefaultDialect

    class LoanDialect(DefaultDialect):
        name = "duckdb"
        driver = "loan"
        default_paramstyle = "numeric_dollar"
        supports_native_boolean = True
        supports_statement_cache = False

        @classmethod
        def import_dbapi(cls) -> Any:
            return _Driver

        def initialize(self, connection: Any) -> None:
            self.default_schema_name = "main"

    return LoanDialect


@functools.cache
def _asset() -> QueryAsset:
    """The one asset of the one data source of the one context; each audit sets its query. Needs a loan to connect."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    # GX logs failed statements and tracebacks at length; what matters is in the error raised here.
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL + 1)

    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from sqlalchemy.dialects import registry

    registry.impls["duckdb.loan"] = _dialect
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_sql(
        "warehouse",
        connection_string="duckdb+loan://",
        kwargs={"creator": lambda: _LOAN, "hide_parameters": True},  # type: ignore[call-arg]
    )
    return source.add_query_asset("table_under_audit", query="SELECT 1")


def _validate(suite: ExpectationSuite, table: Table, query: str) -> dict[int, Any]:
    """Run the suite on what the query selects; GX's results by position of their rule."""
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        asset = _asset()
        asset.query = query
        batch = asset.get_batch(asset.build_batch_request())
        results = batch.validate(suite, result_format=_RESULT_FORMAT).results
    except (GreatExpectationsError, SQLAlchemyError, ConnectionError) as error:
        what = f"Great Expectations could not audit the table ({type(error).__name__})"
        raise EngineError(Problem(what, table.full_name, remedy=_REMEDY)) from None
    configurations = [result.expectation_config for result in results]
    found = {c.meta["position"]: r for c, r in zip(configurations, results, strict=True) if c is not None and c.meta}
    if len(found) != len(table.rules):
        what = f"Great Expectations returned {len(found)} results for {len(table.rules)} rules"
        raise EngineError(Problem(what, table.full_name, remedy=_REMEDY))
    return found


_REMEDY = "roll back; the data have not been judged. Correct the rule, or check the version of great-expectations"


def _raise_if_unchecked(found: Mapping[int, Any], table: Table, failure: str) -> None:
    """Raise for the rules whose expectation ended in an exception, without repeating what it says about the data."""
    problems = []
    for i, rule in enumerate(table.rules):
        messages = _exceptions(found[i].exception_info or {})
        if messages and not all(_NOT_RUN in message for message in messages):
            reason = failure or messages[0].partition("\n")[0][:200]
            problems.append(
                Problem(f"the rule {rule.name} could not be checked: {reason}", table.full_name, remedy=_REMEDY)
            )
    if problems:
        raise EngineError(problems)


def _exceptions(info: Mapping[str, Any]) -> list[str]:
    """Messages in GX's `exception_info`, which is either one exception or a mapping of metrics to exceptions."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return [str(entry.get("exception_message")) for entry in entries if entry.get("raised_exception")]


def _result(rule: Rule, found: Any) -> RuleResult:
    counts = found.result
    if rule.kind == "row_count":
        n_rows = int(counts["observed_value"])
        least = _least_count(_bound(rule.minimum), rule.exclusive_minimum)
        greatest = _greatest_count(_bound(rule.maximum), rule.exclusive_maximum)
        n_missing = max(0, least - n_rows) if least is not None else 0
        n_too_many = max(0, n_rows - greatest) if greatest is not None else 0
        return RuleResult(rule, bool(found.success), n_rows, n_missing + n_too_many, _rows(n_rows))
    n_broken, n_rows = int(counts["observed_value"]), int(counts["element_count"])
    observed = ""
    if rule.kind == "share_between":
        observed = f"{n_broken / n_rows:.4g} ({n_broken:,} of {_rows(n_rows)})" if n_rows else "no rows"
    return RuleResult(rule, bool(found.success), n_rows, n_broken, observed)


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


# --- rules to words ---------------------------------------------------------------------------------------------------


def _sentence(rule: Rule) -> str:
    names = ", ".join(f"`{name}`" for name in rule.columns)
    if rule.kind == "not_null":
        return f"{names} {'is' if len(rule.columns) == 1 else 'are'} never null"
    if rule.kind == "unique":
        return f"{names} is unique" if len(rule.columns) == 1 else f"{names} are unique together"
    if rule.kind in ("in_set", "not_in_set"):
        return f"{names} is {'one' if rule.kind == 'in_set' else 'none'} of {_listed(rule.values)}"
    if rule.kind == "between":
        return f"{names} is {_range(rule)}"
    if rule.kind == "length_between":
        return f"the length of {names} is {_range(rule)}"
    if rule.kind == "matches":
        return f"{names} as a whole matches `{rule.pattern}`"
    if rule.kind == "row_count":
        return f"the number of rows is {_range(rule)}"
    inner = _sentence(rule.inner) if rule.inner is not None else "?"
    return f"the share of rows that break “{inner}” is {_range(rule)}"


def _range(rule: Rule) -> str:
    if rule.minimum == rule.maximum and not (rule.exclusive_minimum or rule.exclusive_maximum):
        return f"exactly {rule.minimum}"
    parts = []
    if rule.minimum is not None:
        parts.append(f"{'more than' if rule.exclusive_minimum else 'at least'} {rule.minimum}")
    if rule.maximum is not None:
        parts.append(f"{'less than' if rule.exclusive_maximum else 'at most'} {rule.maximum}")
    return " and ".join(parts)


def _listed(values: Sequence[object], limit: int = 10) -> str:
    shown = ", ".join(f"`{value}`" for value in values[:limit])
    return f"{shown} and {len(values) - limit} more" if len(values) > limit else shown


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
