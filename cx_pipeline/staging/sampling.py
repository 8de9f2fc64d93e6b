"""Samples of landing files: what would become of their first rows, without writing anything.

Belongs here: taking the first rows of a file and judging them by the contract, for `cx validate`.
Does not belong here: taking files in (`intake.py`).
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cx_pipeline.core.contract import Channel
from cx_pipeline.core.errors import CxPipelineError, UnreadableExtractError
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging.intake import extract_format
from cx_pipeline.staging.landing import list_paths

SAMPLE_ROWS = 1_000
_MAX_SAMPLE_BYTES = 4 << 20


@dataclass(frozen=True)
class FileSample:
    """What the first rows of a landing file show.

    Attributes:
        channel, file: where it lies.
        n_rows, n_rejected: rows looked at, and rows of them that break the contract.
        broken_rules: rule -> number of rows that break it first.
        columns_missing, columns_extra: of the contract but not in the file, and the other way round.
        refusal: why the file cannot be read at all; empty where it can.
    """

    channel: str
    file: str
    n_rows: int = 0
    n_rejected: int = 0
    broken_rules: tuple[tuple[str, int], ...] = ()
    columns_missing: tuple[str, ...] = ()
    columns_extra: tuple[str, ...] = ()
    refusal: str = ""


def sample_channel(warehouse: Warehouse, channel: Channel, folder: Path, company_time_zone: str) -> list[FileSample]:
    """Judge the first 1,000 rows of each file of a channel's landing folder by its contract."""
    return [
        _sample(warehouse, channel, path, path.relative_to(folder).as_posix(), company_time_zone)
        for path in list_paths(folder)
    ]


def _sample(warehouse: Warehouse, channel: Channel, path: Path, name: str, company_time_zone: str) -> FileSample:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fmt = extract_format(channel, company_time_zone)
            # What a header tells is told in the same words as in a run.
            warehouse.read_header(path, fmt)
            head = _head(path, Path(scratch))
            loaded = warehouse.load_extract(head, channel.table, fmt, source_file=name)
        except UnreadableExtractError as error:
            return FileSample(channel.name, name, refusal=error.problems[0].what)
        except EOFError:
            return FileSample(channel.name, name, refusal="the gzip file is cut off")
        except (gzip.BadGzipFile, zlib.error):
            return FileSample(channel.name, name, refusal="the file is no gzip, or damaged")
        except pl.exceptions.PolarsError as error:
            return FileSample(
                channel.name, name, refusal=f"the Parquet file is corrupt inside ({type(error).__name__})"
            )
        except (CxPipelineError, OSError) as error:
            return FileSample(channel.name, name, refusal=f"cannot be read ({type(error).__name__})")
        rules = to_polars(warehouse.temporary(loaded.rejected).select("rule"))["rule"].value_counts(sort=True)
        for table in (loaded.typed, loaded.rejected):
            warehouse.drop_temporary(table)
    return FileSample(
        channel.name,
        name,
        loaded.n_read,
        loaded.n_rejected,
        tuple((row[0], row[1]) for row in rules.iter_rows()),
        loaded.columns_missing,
        loaded.columns_extra,
    )


def _head(path: Path, scratch: Path) -> Path:
    """A file of the same format with the first rows only."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        target = scratch / "head.parquet"
        pl.scan_parquet(path, glob=False).head(SAMPLE_ROWS).collect().write_parquet(target)
        return target
    target = scratch / ("head.jsonl" if name.endswith(".jsonl") else "head.csv")
    with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as file, target.open("wb") as out:
        n_bytes = 0
        for _ in range(SAMPLE_ROWS + 1):
            # Never the whole of a line without end.
            line = file.readline(_MAX_SAMPLE_BYTES)
            out.write(line)
            n_bytes += len(line)
            if not line or n_bytes > _MAX_SAMPLE_BYTES:
                break
    return target
