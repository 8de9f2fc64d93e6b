"""Frames: the seam between Narwhals and what it cannot say.

Belongs here: `native`, which dispatches to the engine's own expression, and small engine-independent helpers on frames.
Does not belong here: SQL of a step, reading or writing tables (`warehouse.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.errors import EngineError


def native(
    frame: nw.LazyFrame,
    *,
    duckdb: Callable[[Any], Any],
    polars: Callable[[pl.LazyFrame], pl.LazyFrame],
    pyspark: Callable[[Any], Any] | None = None,
) -> nw.LazyFrame:
    """Apply the engine's own operation where Narwhals has none, and come back to Narwhals.

    Args:
        frame: any lazy frame.
        duckdb: DuckDB relation -> relation (stays lazy).
        polars: Polars lazy frame -> lazy frame.
        pyspark: Spark DataFrame -> DataFrame; None where the operation has no Spark form yet.

    Raises:
        EngineError: if the frame's engine has no form of the operation.
    """
    implementation = frame.implementation
    form: Callable[[Any], Any] | None = None
    if implementation.is_duckdb():
        form = duckdb
    elif implementation.is_polars():
        form = polars
    elif implementation.is_pyspark():
        form = pyspark
    if form is None:
        raise EngineError(f"this operation has no form for the engine {implementation}")
    result: nw.LazyFrame = nw.from_native(form(nw.to_native(frame)))
    return result


def try_cast(frame: nw.LazyFrame, types: Mapping[str, str]) -> nw.LazyFrame:
    """Cast columns to engine types; a value that does not fit becomes NULL instead of stopping the query.

    Text is understood without the blanks around it: plain numbers, ISO dates, ISO times without offset. (What engines make of
    other notations, and of broken numbers cast to whole ones, differs: nothing should rely on it.)

    Args:
        frame: any lazy frame.
        types: column -> DuckDB type as in `Table.engine_schema`.
    """
    if not types:
        return frame

    def cast_duckdb(relation: Any) -> Any:
        return relation.project(
            ", ".join(
                f"TRY_CAST({quote_identifier(name)} AS {types[name]}) AS {quote_identifier(name)}"
                if name in types
                else quote_identifier(name)
                for name in relation.columns
            )
        )

    def cast_polars(data: pl.LazyFrame) -> pl.LazyFrame:
        schema = data.collect_schema()
        return data.with_columns(_cast_polars(name, schema[name], polars_type(kind)) for name, kind in types.items())

    def cast_pyspark(data: Any) -> Any:
        from pyspark.sql import functions

        spark = {"VARCHAR": "string", "BIGINT": "bigint", "TIMESTAMP": "timestamp_ntz"}
        return data.withColumns(
            {
                name: functions.expr(f"try_cast(`{name}` AS {spark.get(kind, kind.lower())})")
                for name, kind in types.items()
            }
        )

    return native(frame, duckdb=cast_duckdb, polars=cast_polars, pyspark=cast_pyspark)


def _cast_polars(name: str, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if wanted == pl.String and isinstance(found, pl.Datetime):
        return column.dt.to_string("%Y-%m-%d %H:%M:%S%.f").str.replace(r"(\.\d*?)0+$", "${1}")
    if found != pl.String or wanted == pl.String:
        return column.cast(wanted, strict=False)
    text = column.str.strip_chars()
    if wanted not in (pl.Date, pl.Datetime("us")):
        return text.cast(wanted, strict=False)
    spaced = text.str.replace("T", " ", literal=True)
    forms = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    times = [spaced.str.to_datetime(form, time_unit="us", strict=False) for form in forms]
    return pl.coalesce(*times, text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))).cast(wanted)


def keyed_hash(frame: nw.LazyFrame, columns: Mapping[str, str], key: str) -> nw.LazyFrame:
    """Replace text columns by their keyed SHA-256 as hexadecimal digits; NULL stays NULL.

    hash = sha256(key + sha256(key + text)): nested as in HMAC, so that a hash cannot be extended without the key.

    Args:
        frame: any lazy frame.
        columns: new column -> text column it is made of (they may be the same).
        key: secret of the data directory.
    """
    if not columns:
        return frame
    secret = quote_literal(key)

    def hash_duckdb(relation: Any) -> Any:
        kept = [quote_identifier(name) for name in relation.columns if name not in columns]
        made = [
            f"sha256({secret} || sha256({secret} || {quote_identifier(source)})) AS {quote_identifier(name)}"
            for name, source in columns.items()
        ]
        return relation.project(", ".join(kept + made))

    def hash_text(text: str) -> str:
        inner = hashlib.sha256((key + text).encode()).hexdigest()
        return hashlib.sha256((key + inner).encode()).hexdigest()

    def hash_polars(data: pl.LazyFrame) -> pl.LazyFrame:
        return data.with_columns(
            pl.col(source).map_elements(hash_text, return_dtype=pl.String).alias(name)
            for name, source in columns.items()
        )

    def hash_pyspark(data: Any) -> Any:
        from pyspark.sql import functions as f

        def digest(column: Any) -> Any:
            return f.sha2(f.concat(f.lit(key), f.sha2(f.concat(f.lit(key), column), 256)), 256)

        return data.withColumns({name: digest(f.col(source)) for name, source in columns.items()})

    return native(frame, duckdb=hash_duckdb, polars=hash_polars, pyspark=hash_pyspark)


def polars_type(engine: str) -> pl.DataType:
    """The Polars type of a DuckDB type that contracts use."""
    if engine.startswith("DECIMAL("):
        precision, scale = engine[8:-1].split(",")
        return pl.Decimal(int(precision), int(scale))
    if engine.endswith("[]"):
        return pl.List(polars_type(engine[:-2]))
    return {
        "VARCHAR": pl.String(),
        "JSON": pl.String(),
        "DATE": pl.Date(),
        "TIMESTAMP": pl.Datetime("us"),
        "TIME": pl.Time(),
        "DOUBLE": pl.Float64(),
        "BIGINT": pl.Int64(),
        "INTEGER": pl.Int32(),
        "SMALLINT": pl.Int16(),
        "BOOLEAN": pl.Boolean(),
    }[engine]


def to_polars(frame: nw.LazyFrame | nw.DataFrame[Any] | pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Collect any frame into memory as Polars."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, nw.LazyFrame):
        collected: pl.DataFrame = frame.collect("polars").to_native()
        return collected
    return frame.to_polars()


def lazy(frame: pl.DataFrame | pl.LazyFrame) -> nw.LazyFrame:
    """A Polars frame as a Narwhals lazy frame."""
    return nw.from_native(frame.lazy())


def quote_identifier(name: str) -> str:
    """A column or table name for SQL, quoted, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str) -> str:
    """A string literal for SQL, escaped. For names and settings, never for values that come from data."""
    return "'" + value.replace("'", "''") + "'"
