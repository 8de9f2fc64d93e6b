"""Writing extracts: a frame in the format, encoding and delimiter that its channel's contract says.

Belongs here: file formats of landing, the contracts that ship with the simulator. Does not belong here: what the rows say.
The same frame gives the same bytes: no time stamps in archives, one order of rows and columns.
"""

from __future__ import annotations

import functools
import gzip
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from cx_pipeline.core.contract import Channel, load_channel, read_strict_yaml
from cx_pipeline.core.errors import CxPipelineError, Problem

CONTRACTS = Path(__file__).parent / "channels"
SUFFIXES = ("csv", "csv.gz", "jsonl", "parquet")
# Times in text files; Parquet keeps its own type.
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"


class SimulationError(CxPipelineError):
    """The simulator was asked for something it cannot write."""


@dataclass(frozen=True)
class ExtractFormat:
    """How a channel's files are written.

    Attributes:
        suffix: one of SUFFIXES.
        delimiter, encoding, quote: of text files.
        has_byte_order_mark: whether text begins with one.
    """

    suffix: str
    delimiter: str = ","
    encoding: str = "utf-8"
    quote: str = '"'
    has_byte_order_mark: bool = False


@functools.cache
def contract(channel: str) -> Channel:
    """The contract of a simulated channel, as the pipeline reads it."""
    return load_channel(CONTRACTS / f"{channel}.yaml")


@functools.cache
def extract_format(channel: str) -> ExtractFormat:
    """The format that a simulated channel's contract states.

    The path of the contract's server says which kind of file lands (`landing/crm/*.csv.gz`); its custom property `byteOrderMark` says
    whether a text file begins with one.
    """
    document = read_strict_yaml(CONTRACTS / f"{channel}.yaml", f"channels/{channel}.yaml")
    server = document["servers"][0]
    name = str(server["path"]).rpartition("/")[2]
    suffix = name.partition(".")[2]
    if suffix not in SUFFIXES:
        raise SimulationError(
            Problem(
                f"`{suffix}` is no format of extracts",
                f"channels/{channel}.yaml: servers[0].path",
                remedy=f"one of {', '.join(SUFFIXES)}",
            )
        )
    words = {item["property"]: item["value"] for item in server.get("customProperties", [])}
    compiled = contract(channel)
    return ExtractFormat(
        suffix, compiled.delimiter, compiled.encoding, compiled.quote, bool(words.get("byteOrderMark", False))
    )


def contract_files() -> list[Path]:
    """The contracts of all simulated channels, in order of name."""
    return sorted(CONTRACTS.glob("*.yaml"))


def write_contracts(out: Path) -> None:
    """Copy the contracts of all simulated channels to `out/channels/`."""
    folder = out / "channels"
    folder.mkdir(parents=True, exist_ok=True)
    for path in contract_files():
        shutil.copyfile(path, folder / path.name)


def write_extract(out: Path, channel: str, frame: pl.DataFrame, part: str, suffix: str | None = None) -> Path | None:
    """Write one file `out/landing/<channel>/<channel>_<part>.<suffix>` with the contract's columns in its order.

    Args:
        out: the data directory.
        channel: its name; its contract ships with the simulator.
        frame: at least the contract's columns; more are left out.
        part: what distinguishes this file, e.g. `2025-03`; file names sort as time does.
        suffix: one of SUFFIXES; None: the contract's own.

    Returns:
        The file, or None where the frame has no row: a system with nothing to report sends nothing.

    Raises:
        SimulationError: the frame lacks a column of the contract.
    """
    columns = [column.name for column in contract(channel).table.columns]
    if missing := [name for name in columns if name not in frame.columns]:
        raise SimulationError(
            Problem(f"{len(missing)} columns of the contract are missing, e.g. `{missing[0]}`", f"channel {channel}")
        )
    if frame.is_empty():
        return None
    written = extract_format(channel)
    suffix = suffix or written.suffix
    folder = out / "landing" / channel
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{channel}_{part}.{suffix}"
    rows = frame.select(columns)
    if suffix == "parquet":
        rows.write_parquet(path, compression="zstd", statistics=False, row_group_size=250_000)
    elif suffix == "jsonl":
        _texts_of_times(rows).write_ndjson(path)
    else:
        _write_csv(rows, path, written)
    return path


def write_by_month(
    out: Path, channel: str, frame: pl.DataFrame, time_column: str, master_before: datetime | None = None
) -> None:
    """Write one file per calendar month of `time_column`; what lies before `master_before` goes to one master file, the first by name."""
    part = pl.col(time_column).dt.strftime("%Y-%m")
    if master_before is not None:
        part = pl.when(pl.col(time_column) < master_before).then(pl.lit("0000-master")).otherwise(part)
    for (name,), rows in frame.with_columns(part.alias("__part")).partition_by(
        "__part", as_dict=True, maintain_order=True
    ).items():  # fmt: skip
        write_extract(out, channel, rows.drop("__part"), str(name))


def _texts_of_times(rows: pl.DataFrame) -> pl.DataFrame:
    times = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
    return rows.with_columns(pl.col(times).dt.strftime(_TIME_FORMAT)) if times else rows


def _write_csv(rows: pl.DataFrame, path: Path, written: ExtractFormat) -> None:
    """CSV, compressed where the file's name says so, in blocks so that memory does not grow with the file."""
    with _opened(path) as file:
        if written.has_byte_order_mark:
            file.write(b"\xef\xbb\xbf")
        for start in range(0, rows.height, 200_000):
            block = rows[start : start + 200_000]
            text = io.BytesIO()
            block.write_csv(
                text,
                include_header=start == 0,
                separator=written.delimiter,
                quote_char=written.quote,
                datetime_format=_TIME_FORMAT,
            )
            data = text.getvalue()
            if written.encoding not in ("utf-8", "ascii"):
                data = data.decode("utf-8").encode(written.encoding, errors="strict")
            file.write(data)


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    with path.open("wb") as plain:
        if path.suffix == ".gz":
            # Without name and time the archive depends on its content only.
            with gzip.GzipFile(filename="", mode="wb", fileobj=plain, compresslevel=4, mtime=0) as packed:
                yield packed
        else:
            yield plain
