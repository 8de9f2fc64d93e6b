from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cx_pipeline.core.errors import EngineError
from cx_pipeline.core.frames import (
    keyed_hash,
    lazy,
    native,
    polars_type,
    quote_identifier,
    quote_literal,
    to_polars,
    try_cast,
)
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

CASTS = {
    "text to decimal": (["1.50", " 2 ", "-3", "x", "", None], "DECIMAL(18,4)", [Decimal("1.5"), Decimal(2), Decimal(-3), None, None, None]),
    "text to double": (["1.5", "1e3", " 2", "x", None], "DOUBLE", [1.5, 1000.0, 2.0, None, None]),
    "text to whole number": (["12", " 7 ", "-3", "x", "", None], "BIGINT", [12, 7, -3, None, None, None]),
    "text to date": (["2024-01-31", "31.1.2024", "x", None], "DATE", [date(2024, 1, 31), None, None, None]),
    "text to time": (
        ["2024-01-31 10:00:00", "2024-01-31T10:00:00", "2024-01-31 10:00:00.123456", "2024-01-31", "soon", "", None],
        "TIMESTAMP",
        [
            datetime(2024, 1, 31, 10), datetime(2024, 1, 31, 10), datetime(2024, 1, 31, 10, 0, 0, 123456),
            datetime(2024, 1, 31), None, None, None,
        ],
    ),
    "whole number to decimal": ([1, -2, None], "DECIMAL(18,4)", [Decimal(1), Decimal(-2), None]),
    "number to decimal": ([1.25, 1e30, None], "DECIMAL(18,4)", [Decimal("1.25"), None, None]),
    "whole number to double": ([1, None], "DOUBLE", [1.0, None]),
    "whole number to text": ([1, None], "VARCHAR", ["1", None]),
    "date to time": ([date(2024, 1, 31), None], "TIMESTAMP", [datetime(2024, 1, 31), None]),
    "time to date": ([datetime(2024, 1, 31, 23, 59), None], "DATE", [date(2024, 1, 31), None]),
    "time to text": (
        [datetime(2024, 1, 31, 10), datetime(2024, 1, 31, 10, 0, 0, 500_000), datetime(2024, 1, 31, 10, 0, 0, 20), None],
        "VARCHAR",
        ["2024-01-31 10:00:00", "2024-01-31 10:00:00.5", "2024-01-31 10:00:00.00002", None],
    ),
    "date to text": ([date(2024, 1, 31), None], "VARCHAR", ["2024-01-31", None]),
}  # fmt: skip


@pytest.mark.parametrize(("values", "kind", "expected"), CASTS.values(), ids=CASTS.keys())
def test_try_cast_when_a_value_does_not_fit_then_it_is_null_on_both_engines(
    values: list[object], kind: str, expected: list[object]
) -> None:
    frame = pl.DataFrame({"n": range(len(values)), "x": values, "kept": "it's"})
    found = same_on_polars_and_duckdb(lambda rows: try_cast(rows, {"x": kind}), frame).sort("n")
    assert found["x"].to_list() == expected
    assert found["kept"].unique().to_list() == ["it's"]


def test_try_cast_when_nothing_is_to_be_cast_then_the_frame_stays() -> None:
    frame = lazy(pl.DataFrame({"x": [1]}))
    assert try_cast(frame, {}) is frame


def test_keyed_hash_when_made_then_it_is_nested_sha256_on_both_engines_and_null_stays_null() -> None:
    frame = pl.DataFrame({"x": ["jane@example.com", "", None, "Zürich – 東京"]})
    found = same_on_polars_and_duckdb(lambda rows: keyed_hash(rows, {"h": "x"}, "it's a key"), frame)

    def digest(text: str) -> str:
        return hashlib.sha256(("it's a key" + text).encode()).hexdigest()

    expected = {text: digest(digest(text)) for text in frame["x"].drop_nulls()} | {None: None}
    assert dict(found.select("x", "h").iter_rows()) == expected


def test_keyed_hash_when_the_key_or_the_text_differs_then_the_hash_does() -> None:
    rows = lazy(pl.DataFrame({"x": ["a", "b"]}))
    hashes = [h for key in ("k", "l") for h in to_polars(keyed_hash(rows, {"x": "x"}, key))["x"]]
    assert len(set(hashes)) == 4
    assert keyed_hash(rows, {}, "k") is rows


def test_native_when_an_engine_has_no_form_then_it_says_so() -> None:
    import pyarrow as pa

    table = nw.from_native(pa.table({"x": [1]})).lazy()
    with pytest.raises(EngineError, match="no form for the engine"):
        native(table, duckdb=lambda r: r, polars=lambda r: r)


def test_to_polars_when_given_any_frame_then_it_is_in_memory() -> None:
    data = pl.DataFrame({"x": [1]})
    with Warehouse(None) as warehouse:
        frames: list[Any] = [data, data.lazy(), lazy(data), nw.from_native(data), warehouse.frame(data)]
        assert all(to_polars(frame).equals(data) for frame in frames)


def test_polars_types_when_asked_then_they_are_those_of_the_engine() -> None:
    kinds = [
        "VARCHAR",
        "JSON",
        "DATE",
        "TIMESTAMP",
        "TIME",
        "DOUBLE",
        "BIGINT",
        "INTEGER",
        "SMALLINT",
        "BOOLEAN",
        "VARCHAR[]",
        "DECIMAL(18,4)",
    ]
    with Warehouse(None) as warehouse:
        from cx_pipeline.core.tables import Column, Table

        table = Table("room", "kinds", "", tuple(Column(f"c{i}", "string", kind) for i, kind in enumerate(kinds)))
        found = to_polars(warehouse.empty(table)).schema
    assert list(found.values()) == [polars_type(kind) for kind in kinds]


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_quoting_when_a_name_or_text_is_anything_then_the_engine_gives_it_back(text: str) -> None:
    with Warehouse(None) as warehouse:
        found = warehouse._con.sql(f"SELECT {quote_literal(text)} AS {quote_identifier(text)}")
        assert (found.columns, found.fetchall()) == ([text], [(text,)])


def test_a_frame_of_the_warehouse_when_times_have_no_zone_then_they_stay_as_they_are() -> None:
    with Warehouse(None) as warehouse:
        data = pl.DataFrame({"at": [datetime(2024, 3, 31, 2, 30), datetime.fromtimestamp(0, UTC).replace(tzinfo=None)]})
        assert to_polars(warehouse.frame(data)).equals(data)
