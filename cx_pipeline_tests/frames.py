"""Frames and channels for tests, made from contracts, with only the columns that matter."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cx_pipeline.core.contract import Channel, load_channel, nearest
from cx_pipeline.core.tables import Table
from cx_pipeline_tests.tiny_company import contract, write_contract


def frame_of(table: Table, **columns: Any) -> pl.DataFrame:
    """Rows of a contract's table: columns that are not given are NULL, a single value stands in every row.

    Args:
        table: the contract.
        columns: column -> list of values, or one value for all rows.
    """
    if unknown := [name for name in columns if name not in table.column_names]:
        raise KeyError(f"{table.full_name} has no column {unknown[0]}; {nearest(unknown[0], table.column_names)}")
    n_rows = max((len(values) for values in columns.values() if isinstance(values, list)), default=1)
    return pl.DataFrame(
        {
            name: pl.Series(name, _values(columns.get(name), n_rows), dtype=dtype, strict=False)
            for name, dtype in table.polars_schema().items()
        }
    )


def _values(given: Any, n_rows: int) -> list[Any]:
    return given if isinstance(given, list) else [given] * n_rows


def channel_of(
    name: str,
    kind: str,
    properties: Mapping[str, Mapping[str, Any]],
    server: Mapping[str, str] | None = None,
    **words: object,
) -> Channel:
    """A compiled channel; a property is text unless it says otherwise, and `role` is its role."""
    with tempfile.TemporaryDirectory() as folder:
        return load_channel(write_contract(Path(folder), contract(name, kind, properties, words, server)))
