"""Samples of landing files: their column names, and their first rows as text whatever the contract says.

Belongs here: looking at files. Does not belong here: what is seen in them (`drift.py`, `roles.py`), taking files in (staging).
"""

from __future__ import annotations

import gzip
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from cx_pipeline.core.contract import RESERVED_COLUMNS, Channel
from cx_pipeline.core.errors import CxPipelineError
from cx_pipeline.core.extracts import ExtractFormat
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.tables import Column, Table
from cx_pipeline.core.warehouse import Warehouse

_MAX_SAMPLE_BYTES = 4 << 20


@dataclass(frozen=True)
class LandedColumns:
    """The columns of a landing file.

    Attributes:
        file: its name below the channel's landing folder.
        path: where it is.
        columns: names as in the file.
        loaded_at: when it was taken in; None where it was not, or nobody knows.
    """

    file: str
    path: Path
    columns: tuple[str, ...]
    loaded_at: datetime | None = None


def extract_format(channel: Channel | None, company_time_zone: str) -> ExtractFormat:
    """How a channel's files are written; the defaults where there is no contract."""
    if channel is None:
        return ExtractFormat(company_time_zone=company_time_zone)
    return ExtractFormat(channel.delimiter, channel.encoding, channel.quote, channel.time_zone, company_time_zone)


def read_columns(
    warehouse: Warehouse, path: Path, file: str, fmt: ExtractFormat, loaded_at: datetime | None = None
) -> LandedColumns | None:
    """The column names of a file; None where it is empty or cannot be read (staging says why)."""
    try:
        columns = warehouse.read_header(path, fmt)
    except (CxPipelineError, OSError, EOFError, pl.exceptions.PolarsError):
        return None
    return LandedColumns(file, path, columns, loaded_at) if columns else None


def read_sample(warehouse: Warehouse, landed: LandedColumns, fmt: ExtractFormat, n_rows: int) -> pl.DataFrame:
    """The first rows of a file, every value as text, empty values NULL; no columns where it cannot be read."""
    names = [name for name in landed.columns if name and name not in RESERVED_COLUMNS]
    table = Table("staging", "sample", "One row per row.", tuple(Column(name, "string", "VARCHAR") for name in names))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            head = _head(landed.path, Path(scratch), n_rows)
            loaded = warehouse.load_extract(head, table, fmt, source_file=landed.file)
        except (CxPipelineError, OSError, EOFError, pl.exceptions.PolarsError):
            return pl.DataFrame()
        rows = to_polars(warehouse.temporary(loaded.typed).select(names).head(n_rows))
        for name in (loaded.typed, loaded.rejected):
            warehouse.drop_temporary(name)
    return rows


def _head(path: Path, scratch: Path, n_rows: int) -> Path:
    """A file of the same format with the first rows only."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        target = scratch / "head.parquet"
        pl.scan_parquet(path, glob=False).head(n_rows).collect().write_parquet(target)
        return target
    target = scratch / ("head.jsonl" if name.endswith(".jsonl") else "head.csv")
    with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file, target.open("wb") as out:
        n_bytes = 0
        for line in itertools.islice(file, n_rows + 1):
            out.write(line)
            n_bytes += len(line)
            if n_bytes > _MAX_SAMPLE_BYTES:
                break
    return target


def newest(files: Sequence[LandedColumns]) -> list[LandedColumns]:
    """Files by when they were taken in and by name, the newest first; those not taken in yet are the newest."""
    return sorted(files, key=lambda f: (f.loaded_at is None, f.loaded_at or datetime.min, f.file), reverse=True)
