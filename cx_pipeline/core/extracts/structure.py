"""What the bytes of a text file say before the engine reads it: lines, line ends, quotes, NUL bytes.

Belongs here: one pass over the bytes. Does not belong here: single records (`delimited.py`, `repair.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cx_pipeline.core.extracts.files import literal_path, text_chunks
from cx_pipeline.core.extracts.formats import ExtractFormat

MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Structure:
    """What the bytes of a text file say.

    Attributes:
        start: its first megabyte.
        n_lines: physical lines.
        has_quotes: whether the quote character is anywhere.
        has_odd_lines: whether some of the first lines hold an odd number of quotes, so that fields go over several lines.
        is_regular: one kind of line end (LF or CRLF), no NUL bytes, no line that is far too long, no quote beside a blank (the engine
            reads `"a" "b"` as one value, and fails on some mixtures).
    """

    start: bytes
    n_lines: int
    has_quotes: bool
    has_odd_lines: bool
    is_regular: bool


def as_utf8(path: Path, fmt: ExtractFormat, source_file: str, folder: Path) -> tuple[Path, Structure]:
    """The file as UTF-8 text without compression (itself, or a copy) and its structure."""
    is_itself, chunks = text_chunks(path, fmt, source_file)
    if is_itself:
        return Path(literal_path(path, folder)), _structure(chunks, fmt.quote)
    copy = folder / "extract.txt"
    with copy.open("wb") as file:
        return copy, _structure(_copied(chunks, file), fmt.quote)


def _copied(chunks: Iterator[bytes], file: BinaryIO) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        yield chunk


def _structure(chunks: Iterator[bytes], quote: str) -> Structure:
    start = bytearray()
    quote_bytes = quote.encode()
    odd_quotes = (quote_bytes + b" ", b" " + quote_bytes) if quote else ()
    has_odd_quotes = False
    n_lines = n_carriage_returns = n_pairs = 0
    has_quotes = has_nul = False
    position = last_newline = 0
    longest = 0
    last = b""
    for chunk in chunks:
        if len(start) < MAX_HEADER_BYTES:
            start += chunk
        n_lines += chunk.count(b"\n")
        has_quotes = has_quotes or (bool(quote_bytes) and quote_bytes in chunk)
        has_odd_quotes = has_odd_quotes or (has_quotes and any(odd in last + chunk for odd in odd_quotes))
        has_nul = has_nul or b"\0" in chunk
        if b"\r" in chunk or last == b"\r":
            n_carriage_returns += chunk.count(b"\r")
            n_pairs += (last + chunk).count(b"\r\n")
        first_newline = chunk.find(b"\n")
        longest = max(longest, position + (first_newline if first_newline >= 0 else len(chunk)) - last_newline)
        last_newline = position + chunk.rfind(b"\n") if first_newline >= 0 else last_newline
        position += len(chunk)
        last = chunk[-1:]
    is_uniform = not n_carriage_returns or n_carriage_returns == n_pairs == n_lines
    n_lines += last not in (b"", b"\n")
    # The beginning of a longer file ends within a line.
    whole_lines = start.splitlines()[: -1 if position > len(start) else None]
    return Structure(
        bytes(start),
        n_lines,
        has_quotes,
        has_quotes and any(line.count(quote_bytes) % 2 for line in whole_lines),
        is_uniform and not has_nul and not has_odd_quotes and longest < MAX_HEADER_BYTES,
    )
