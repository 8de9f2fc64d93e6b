"""Parity: the same pure function over the same small input on several engines gives equal rows of equal types."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.core.warehouse import Warehouse

Transformation = Callable[..., nw.LazyFrame]
_SPARK_TYPES = {
    pl.String: "string",
    pl.Int64: "bigint",
    pl.Int32: "int",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.Date: "date",
    pl.Datetime: "timestamp_ntz",
}


def same_on_polars_and_duckdb(function: Transformation, *frames: pl.DataFrame) -> pl.DataFrame:
    """Run a function over the frames on both engines, compare, and return the rows (columns and rows sorted)."""
    on_polars = _comparable(to_polars(function(*(lazy(frame) for frame in frames))))
    with Warehouse(None) as warehouse:
        on_duckdb = _comparable(to_polars(function(*(warehouse.frame(frame) for frame in frames))))
    assert_frame_equal(on_polars, on_duckdb, rel_tol=1e-12)
    return on_polars


def same_on_polars_and_spark(session: Any, function: Transformation, *frames: pl.DataFrame) -> pl.DataFrame:
    """The same for Polars and a local Spark."""
    on_polars = _comparable(to_polars(function(*(lazy(frame) for frame in frames))))
    on_spark = _comparable(to_polars(function(*(spark_frame(session, frame) for frame in frames))))
    assert_frame_equal(on_polars, on_spark, rel_tol=1e-12)
    return on_polars


def _comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns and rows in one order; integers and decimals of one width, as `Warehouse.write` makes them by the contract."""
    kinds = {
        name: pl.Int64 if dtype.is_integer() else pl.Decimal(38, 6) if dtype.is_decimal() else dtype
        for name, dtype in frame.schema.items()
    }
    widened = frame.select(pl.col(name).cast(kinds[name]) for name in sorted(frame.columns))
    return widened.sort(pl.struct(pl.all().cast(pl.String))) if widened.width else widened


def spark_frame(session: Any, frame: pl.DataFrame) -> nw.LazyFrame:
    """A Polars frame as a Spark one."""
    columns = ", ".join(f"`{name}` {_spark_type(dtype)}" for name, dtype in frame.schema.items())
    made: nw.LazyFrame = nw.from_native(session.createDataFrame(frame.rows(), schema=columns))
    return made


def _spark_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision},{dtype.scale})"
    return _SPARK_TYPES[dtype.base_type()]


@contextmanager
def spark_session() -> Iterator[Any]:
    """A local Spark bound to 127.0.0.1; skips the test where Java or pyspark is missing."""
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        pytest.skip("no Java on this machine, which Spark needs")
    pyspark_sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed (make test-slow installs it)")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    session = (
        pyspark_sql.SparkSession.builder.master("local[2]")
        .appName("parity")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    try:
        yield session
    finally:
        session.stop()


def money(*amounts: str | None) -> list[Decimal | None]:
    """Amounts of money as decimals."""
    return [None if amount is None else Decimal(amount) for amount in amounts]
