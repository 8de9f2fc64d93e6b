"""Values: from text or a native type of Parquet to the contract's type, as SQL expressions.

Belongs here: what is a number, a date, a time; how a value is read exactly and fast. Does not belong here: rules (`layout.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cx_pipeline.core.errors import ContractError, Problem
from cx_pipeline.core.extracts.dates import strptime_pattern
from cx_pipeline.core.extracts.formats import ExtractFormat
from cx_pipeline.core.frames import quote_identifier, quote_literal
from cx_pipeline.core.tables import Column


@dataclass(frozen=True)
class Source:
    """Where the value of a contract's column comes from: an SQL expression and its engine type."""

    sql: str
    engine_type: str = "VARCHAR"


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
class Value:
    """SQL of a typed value (NULL where it cannot be typed), and of what is then wrong: suffix of the rule's name, condition.

    `candidate` is SQL of a first, lenient reading that `sql` refers to as `candidate_name`, so that it is computed once.
    """

    sql: str
    broken: tuple[tuple[str, str], ...] = ()
    candidate: str | None = None
    candidate_name: str = ""


def typed_value(column: Column, source: Source, fmt: ExtractFormat) -> Value:
    """SQL of a column's typed value, and of what is wrong where there is none."""
    name, kind = quote_identifier(column.name), source.engine_type
    article = f"is_{column.logical_type}"
    native = _from_native(column, source, fmt)
    if native is not None:
        suffix = "fits_decimal" if column.engine_type.startswith("DECIMAL") else article
        return Value(native, ((suffix, f"{name} IS NULL AND {source.sql} IS NOT NULL"),))
    text = source.sql if kind == "VARCHAR" else _as_text(source, fmt)
    if column.engine_type == "VARCHAR":
        # Nearly all texts begin with a visible character: only the others need the slower look.
        return Value(f"CASE WHEN {text} >= '!' THEN {text} WHEN regexp_matches({text}, '\\S') THEN {text} END")
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
        slow = _from_text(column, text, fmt)
        value = f"CASE WHEN {is_exact} THEN {_from_candidate(column, candidate, fmt)} ELSE {slow} END"
        if column.engine_type == "TIMESTAMP":
            utc = _in_company_zone(candidate, replace(fmt, time_zone="UTC"))
            fast = f"CASE WHEN {_is_plain_utc(text, candidate)} THEN {utc} ELSE {slow} END"
            value = f"CASE WHEN ends_with({text}, 'Z') THEN {fast} ELSE {value} END"
        return Value(value, tuple(broken), f"TRY_CAST({text} AS {column.engine_type})", candidate)
    return Value(_from_text(column, text, fmt), tuple(broken))


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


def _is_plain_utc(text: str, candidate: str) -> str:
    """Whether a text that the engine could read as a timestamp surely is `2024-01-31T10:00:00Z`; what it read is the time in UTC then."""
    years = f"{candidate} BETWEEN TIMESTAMP '1000-01-01' AND TIMESTAMP '9999-12-30'"
    odd = f"contains({text}, '.') OR contains({text}, ' ')"
    return f"{text} LIKE '____-__-__T__:__:__Z' AND {years} AND NOT ({odd})"


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


def _from_native(column: Column, source: Source, fmt: ExtractFormat) -> str | None:
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


def _as_text(source: Source, fmt: ExtractFormat) -> str:
    """A value of Parquet as the text it would have in a CSV."""
    found, sql = source.engine_type, source.sql
    if found in _ZONED_TYPES:
        return f"CAST(timezone({quote_literal(fmt.company_time_zone)}, TRY_CAST({sql} AS TIMESTAMPTZ)) AS VARCHAR)"
    if found == "BLOB":
        return f"TRY(decode({sql}))"
    if found.endswith("]") or found.startswith(("STRUCT", "MAP", "UNION")):
        return f"CAST(to_json({sql}) AS VARCHAR)"
    return f"CAST({sql} AS VARCHAR)"
