"""Repair: a broken text file cut into rows by us, so that one broken row costs itself only.

Belongs here: walking through physical lines, records over several lines, the two work files for the engine.
Does not belong here: whether a file needs it (`structure.py`, `load.py`).
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cx_pipeline.core.extracts.delimited import Grammar
from cx_pipeline.core.extracts.files import CHUNK_BYTES
from cx_pipeline.core.extracts.formats import (
    HAS_NO_NUL_BYTES,
    HAS_THE_HEADERS_COLUMNS,
    IS_A_JSON_OBJECT,
    IS_NOT_TOO_LONG,
    KEPT_RAW_CHARACTERS,
    MAX_ROW_BYTES,
    QUOTES_ARE_CLOSED,
    ExtractFormat,
)
from cx_pipeline.core.extracts.json_lines import NO_DELIMITER
from cx_pipeline.core.extracts.layout import Layout


@dataclass(frozen=True)
class Repaired:
    """A file cut into rows by us: `rows` (line number, then the row) is regular, `rejects` holds line, rule, raw row."""

    rows: Path
    rejects: Path
    n_read: int


class _Line(NamedTuple):
    """A physical line: its number, its bytes without the line end (their beginning, where it is too long), its line end."""

    number: int
    data: bytes
    end: str
    is_too_long: bool = False


def repair(file: Path, folder: Path, fmt: ExtractFormat, layout: Layout, *, header_lines: int) -> Repaired:
    """Cut a file into rows line by line: one broken row costs itself only, and an open quote one line, not the rest of the file."""
    rows, rejects = folder / "rows.txt", folder / "rejects.csv"
    with rows.open("wb") as good, rejects.open("w", encoding="utf-8", newline="") as bad:
        delimiter = NO_DELIMITER if layout.is_json else fmt.delimiter
        records = _json_records if layout.is_json else _csv_records
        n_read = 0
        for number, text, rule in records(file, fmt, layout.n_columns, header_lines):
            n_read += 1
            if rule is None:
                good.write(f"{number}{delimiter}{text}\n".encode())
            else:
                raw = text[:KEPT_RAW_CHARACTERS].replace("\0", "\\0").replace('"', '""')
                bad.write(f'{number},{rule},"{raw}"\n')
    return Repaired(rows, rejects, n_read)


_Record = tuple[int, str, str | None]


def _json_records(file: Path, fmt: ExtractFormat, n_columns: int, header_lines: int) -> Iterator[_Record]:
    """Line number, text and broken rule (None for none) of each line that is not blank."""
    for line in _physical_lines(file):
        if not line.data.strip():
            continue
        text, rule = _decoded(line, fmt)
        yield line.number, text, rule or (IS_A_JSON_OBJECT if NO_DELIMITER in text else None)


def _csv_records(file: Path, fmt: ExtractFormat, n_columns: int, header_lines: int) -> Iterator[_Record]:
    """Line number, text and broken rule (None for none) of each record after the header that is not a blank line."""
    grammar = Grammar.of(fmt, n_columns)
    lines = _physical_lines(file)
    queue: deque[_Line] = deque()
    while line := queue.popleft() if queue else next(lines, None):
        if line.number <= header_lines or not line.data:
            continue
        text, rule = _decoded(line, fmt)
        if rule is None and grammar.quote and grammar.quote in text:
            text, rule = _quoted_record(text, line.end, queue, lines, fmt, grammar)
        elif rule is None and not grammar.has_columns(text):
            rule = HAS_THE_HEADERS_COLUMNS
        yield line.number, text, rule


def _quoted_record(
    text: str, end: str, queue: deque[_Line], lines: Iterator[_Line], fmt: ExtractFormat, grammar: Grammar
) -> tuple[str, str | None]:
    """Text and broken rule of the record that begins with a line with quotes; lines that continue it are taken."""
    if grammar.is_plain(text):
        return text, None
    if not grammar.closed.fullmatch(text):
        more = _continued(text + end, queue, lines, fmt, grammar) if grammar.opens.fullmatch(text) else None
        if more is None:
            return text, QUOTES_ARE_CLOSED
        text = more
    fields = grammar.fields(text)
    if len(fields) < grammar.n_columns or any(fields[grammar.n_columns :]):
        return text, HAS_THE_HEADERS_COLUMNS
    return grammar.written(fields[: grammar.n_columns]), None


def _continued(
    text: str, queue: deque[_Line], lines: Iterator[_Line], fmt: ExtractFormat, grammar: Grammar
) -> str | None:
    """The record that begins with an open quote; None, with all lines after the first back in the queue, where it is never closed."""
    parts, taken, size = [text], [], len(text)
    while line := queue.popleft() if queue else next(lines, None):
        taken.append(line)
        more, rule = _decoded(line, fmt)
        size += len(line.data)
        state = "broken" if rule or size > MAX_ROW_BYTES else grammar.after(more)
        if state == "closed":
            return "".join([*parts, more])
        parts.append(more + line.end)
        if state == "broken":
            break
    queue.extendleft(reversed(taken))
    return None


def _decoded(line: _Line, fmt: ExtractFormat) -> tuple[str, str | None]:
    """A line's text, and the rule it breaks as a mere text."""
    try:
        text = line.data.decode()
    except UnicodeDecodeError:
        is_cut = line.is_too_long
        rule = IS_NOT_TOO_LONG if is_cut else f"row_is_valid_{re.sub('[^a-z0-9]+', '_', fmt.encoding.lower())}"
        return line.data.decode(errors="replace"), rule
    if line.is_too_long:
        return text, IS_NOT_TOO_LONG
    return text, HAS_NO_NUL_BYTES if "\0" in text else None


def _physical_lines(file: Path) -> Iterator[_Line]:
    """Lines that end with LF, CRLF or CR; of one beyond the greatest length only the beginning is kept in memory."""
    number = 0
    carried: list[bytes] = []
    n_carried = 0
    is_first = True
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            if is_first:
                chunk, is_first = chunk.removeprefix(codecs.BOM_UTF8), False
            # A line end of two bytes must not be cut in two.
            while chunk.endswith(b"\r") and (byte := opened.read(1)):
                chunk += byte
            lines = chunk.splitlines(keepends=True)
            for line in lines:
                data = line.rstrip(b"\r\n")
                if n_carried <= MAX_ROW_BYTES:
                    carried.append(data)
                n_carried += len(data)
                if len(data) < len(line):
                    number += 1
                    yield _line(number, carried, n_carried, line[len(data) :].decode())
                    carried, n_carried = [], 0
    if n_carried:
        yield _line(number + 1, carried, n_carried, "")


def _line(number: int, parts: list[bytes], n_bytes: int, end: str) -> _Line:
    data = b"".join(parts) if len(parts) > 1 else parts[0]
    if n_bytes > MAX_ROW_BYTES:
        return _Line(number, data[:KEPT_RAW_CHARACTERS], end, is_too_long=True)
    return _Line(number, data, end)
