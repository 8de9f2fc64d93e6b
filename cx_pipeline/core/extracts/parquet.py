"""Parquet: whether a file is one, and its columns. Does not belong here: rows, which the engine reads (`load.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from cx_pipeline.core.extracts.formats import refusal
from cx_pipeline.core.frames import quote_literal


def check_magic_of_parquet(path: Path, source_file: str) -> None:
    """Raises UnreadableExtractError if a file does not begin and end as Parquet does."""
    try:
        with path.open("rb") as file:
            first = file.read(4)
            n_bytes = file.seek(0, 2)
            file.seek(max(n_bytes - 4, 0))
            last = file.read(4)
    except OSError as error:
        raise refusal(
            f"the file cannot be opened: {error.strerror or type(error).__name__}",
            source_file,
            "check that it is there and may be read",
        ) from None
    if first != b"PAR1":
        raise refusal("the file is no Parquet" if n_bytes else "the file is empty, and so no Parquet", source_file)
    if last != b"PAR1" or n_bytes < 12:
        raise refusal("the Parquet file is cut off", source_file)


def parquet_columns(cursor: duckdb.DuckDBPyConnection, file: str, source_file: str) -> list[tuple[str, str, str]]:
    """Per column: its name in the file, trimmed; its name and its type in the engine, which tells repeated names apart."""
    try:
        described = cursor.execute(
            f"DESCRIBE SELECT * FROM read_parquet({quote_literal(file)}, hive_partitioning = false)"
        ).fetchall()
        elements = cursor.execute(
            f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({quote_literal(file)})"
        ).fetchall()
    except duckdb.Error as error:
        raise refusal(f"the Parquet file cannot be read ({type(error).__name__})", source_file) from None
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
