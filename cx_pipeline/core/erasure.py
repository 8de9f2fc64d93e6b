"""Erasing from files: records out of extracts of any format, values looked for in everything that lies in a folder.

Belongs here: rewriting a file without some of its records so that all else stays byte for byte, putting a file out of reach, byte search,
tokens of a file, SQLite files without their free pages. Knows no step and no table. Does not belong here: whose records they are.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import os
import re
import shutil
import sqlite3
import sys
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cx_pipeline.core.errors import CxPipelineError, Problem

_CHUNK_BYTES = 1 << 20
_WORK_FILE = ".{name}.erasing"
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Encodings whose line ends are not the bytes of ASCII: such a file is decoded, cut and encoded again.
_WIDE = re.compile(r"^utf[-_]?(16|32)", re.IGNORECASE)
# What a personal value may be made of when it stands in a text: at least six characters without blanks and brackets.
_TOKEN = re.compile(rb"[^\x00-\x20\"'<>()\[\]{},;:|=\\`\x7f]{6,256}")

_MIN_TELLING_CHARACTERS = 6
# Dates and short numbers stand everywhere by chance.
_COMMON = re.compile(r"[\d\s.,:/\-TZ+]{0,10}|\d{4}-\d{2}-\d{2}.*")


class UnsafeRewriteError(CxPipelineError):
    """A file cannot be rewritten without some of its records and be sure that nothing else changes; it is as it was."""


@dataclass(frozen=True)
class Hit:
    """Where something that should be gone was found: a file or table, and how often; never the value itself."""

    where: str
    n: int


def spans(starts: Collection[int], dropped: Collection[int]) -> list[tuple[int, int | None]]:
    """Physical lines that the dropped records take: [first, first of the next record), the last one up to the end of the file.

    Args:
        starts: the first line of every record of the file.
        dropped: the first lines of those that go.
    """
    wanted = set(dropped)
    ordered = sorted({*starts, *wanted})
    ends: list[int | None] = [*ordered[1:], None]
    found: list[tuple[int, int | None]] = []
    for start, end in zip(ordered, ends, strict=True):
        if start not in wanted:
            continue
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def remove_records(path: Path, starts: Collection[int], dropped: Collection[int], encoding: str = "utf-8") -> int:
    """Rewrite a file without some of its records, by one atomic rename; every other byte of its content stays as it is.

    Args:
        path: a .csv, .csv.gz, .jsonl or .parquet file (a link is followed: what it leads to is rewritten).
        starts: the first physical line of every record (of Parquet: the number of every row), the file's first line is 1.
        dropped: those of the records that go.
        encoding: of a text; a byte order mark in the file wins.

    Returns:
        Number of records removed.

    Raises:
        UnsafeRewriteError: if the file cannot be decoded or is not what `starts` says; it stays as it was.
    """
    target = path.resolve()
    wanted = set(dropped)
    if not wanted:
        return 0
    name = path.name.lower()
    try:
        with _replacing(target) as new:
            if name.endswith(".parquet"):
                _copy_parquet(target, new, wanted)
            else:
                _copy_text(target, new, spans(starts, wanted), encoding, is_compressed=name.endswith(".gz"))
    except (UnicodeError, LookupError, OSError, EOFError, zlib.error) as error:
        raise _unsafe(path, f"it cannot be read as {encoding}, or not be written ({type(error).__name__})") from None
    return len(wanted)


def _unsafe(path: Path, why: str) -> UnsafeRewriteError:
    return UnsafeRewriteError(Problem(f"the file cannot be rewritten: {why}", path.name))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new file beside another one, of the same mode, that takes its place when all went well."""
    new = path.with_name(_WORK_FILE.format(name=path.name))
    try:
        new.touch(mode=0o600)
        yield new
        shutil.copymode(path, new)
        flush(new)
        new.replace(path)
        flush(path.parent)
    finally:
        new.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_text(
    source: Path, new: Path, dropped: list[tuple[int, int | None]], encoding: str, *, is_compressed: bool
) -> None:
    with contextlib.ExitStack() as stack:
        raw: BinaryIO = stack.enter_context(source.open("rb"))
        out: BinaryIO = stack.enter_context(new.open("wb"))
        if is_compressed:
            raw = stack.enter_context(gzip.GzipFile(fileobj=raw))  # type: ignore[assignment]
            out = stack.enter_context(gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0))  # type: ignore[assignment]
        chunks = iter(lambda: raw.read(_CHUNK_BYTES), b"")
        first = next(chunks, b"")
        mark, wide = _wide_encoding(first, encoding)
        if not wide:
            _copy_lines(_chain(first, chunks), out.write, dropped)
            return
        out.write(mark)
        decoder = codecs.getincrementaldecoder(wide)("strict")

        def decoded() -> Iterator[bytes]:
            for chunk in _chain(first[len(mark) :], chunks):
                yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
            yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")

        def write_wide(line: bytes) -> None:
            out.write(line.decode("utf-8", "surrogatepass").encode(wide))

        _copy_lines(decoded(), write_wide, dropped)


def _wide_encoding(first: bytes, encoding: str) -> tuple[bytes, str]:
    """Byte order mark and name of an encoding whose line ends are not single bytes; the name is empty for all others."""
    for mark, name in _BYTE_ORDER_MARKS:
        if first.startswith(mark):
            return mark, name
    if first.startswith(codecs.BOM_UTF8) or not _WIDE.match(encoding):
        return b"", ""
    has_order = encoding.lower().endswith(("le", "be"))
    # Without mark and without order Python takes the machine's, as the intake does.
    return b"", encoding if has_order else f"{encoding}-{'le' if sys.byteorder == 'little' else 'be'}"


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _copy_lines(
    chunks: Iterator[bytes], write: Callable[[bytes], object], dropped: Sequence[tuple[int, int | None]]
) -> None:
    """Write all lines but the dropped ones. Lines end with LF, CRLF or CR; stretches without a dropped line go through as a whole."""
    waiting = deque(dropped)
    number = 1

    def is_dropped(line: int) -> bool:
        while waiting and (end := waiting[0][1]) is not None and end <= line:
            waiting.popleft()
        return bool(waiting) and waiting[0][0] <= line

    for piece in _whole_lines(chunks):
        n_lines = len(piece.splitlines()) if b"\r" in piece else piece.count(b"\n") + (not piece.endswith(b"\n"))
        if not is_dropped(number) and not (waiting and waiting[0][0] < number + n_lines):
            write(piece)
        else:
            for line, data in enumerate(piece.splitlines(keepends=True), number):
                if not is_dropped(line):
                    write(data)
        number += n_lines


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that end with a line end, but for the last one."""
    carried: list[bytes] = []
    for chunk in chunks:
        data = b"".join([*carried, chunk])
        # A CR at the very end may be half of a line end.
        cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1))
        if cut >= 0:
            yield data[: cut + 1]
        carried = [data[cut + 1 :]]
    if carried and carried[0]:
        yield carried[0]


def _copy_parquet(source: Path, new: Path, dropped: set[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source)
        n_rows = file.metadata.num_rows
        if max(dropped) > n_rows or min(dropped) < 1:
            raise _unsafe(source, "it has fewer rows than were read from it")
        codec = file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else "SNAPPY"
        compression = "none" if codec == "UNCOMPRESSED" else codec.lower()
        before = 0
        with pq.ParquetWriter(new, file.schema_arrow, compression=compression) as writer:
            for i in range(file.metadata.num_row_groups):
                group = file.read_row_group(i)
                kept = [r for r in range(group.num_rows) if before + r + 1 not in dropped]
                before += group.num_rows
                if kept:
                    rest = group if len(kept) == group.num_rows else group.take(pa.array(kept, pa.int64()))
                    writer.write_table(rest, row_group_size=len(kept))
        if pq.ParquetFile(new).metadata.num_rows != n_rows - len(dropped):
            raise _unsafe(source, "rows would have been lost")
    except (pa.ArrowException, ValueError, KeyError, NotImplementedError) as error:
        raise _unsafe(source, f"Parquet of a kind that cannot be written again ({type(error).__name__})") from None


def put_out_of_reach(path: Path, folder: Path, name: str) -> Path:
    """Move a file into a folder that nothing reads, for its owner's eyes only (folders 0700, file 0600); return where it is."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    while target.exists():
        target = target.with_name(f"{target.name}.again")
    path.chmod(0o600)
    shutil.move(str(path.resolve()), target)
    path.unlink(missing_ok=True)
    return target


# --- searching ------------------------------------------------------------------------------------------------------------------


def files_below(folders: Iterable[Path], skipped: Sequence[Path] = ()) -> Iterator[Path]:
    """Every regular file below some folders, once, hidden ones too; links are not followed out of their place."""
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            is_skipped = any(path.is_relative_to(other) for other in skipped)
            if path.is_symlink() or not path.is_file() or is_skipped or path in seen:
                continue
            seen.add(path)
            yield path


def n_values_in(path: Path, values: Sequence[bytes]) -> int:
    """How many of the values occur in a file's bytes, and for .gz in what it unpacks to as well; letters count as they are."""
    missing = set(values)
    longest = max((len(value) for value in values), default=0)
    for chunks in _readings(path):
        last = b""
        for chunk in chunks:
            data = last + chunk
            missing -= {value for value in missing if value in data}
            if not missing:
                return len(values)
            last = data[-longest:]
    return len(set(values)) - len(missing)


def is_telling(value: str) -> bool:
    """Whether finding a value somewhere says something: six characters at least, no date and no number of ten digits or less."""
    return len(value) >= _MIN_TELLING_CHARACTERS and not _COMMON.fullmatch(value)


def tokens_of(path: Path) -> Iterator[set[str]]:
    """Telling words of a file's bytes as text, piece by piece: what stands between blanks, quotes and brackets."""
    for chunks in _readings(path):
        carried = b""
        for chunk in chunks:
            data = carried + chunk
            words = (match[0].decode("utf-8", "replace").strip(".!?") for match in _TOKEN.finditer(data))
            yield {word for word in words if is_telling(word)}
            # A word may be cut in two by the end of a piece.
            carried = data[-256:]


def _readings(path: Path) -> Iterator[Iterator[bytes]]:
    """The file's bytes in pieces; then, where it is gzip, what it unpacks to, as far as it can be unpacked."""
    try:
        with path.open("rb") as file:
            yield iter(lambda: file.read(_CHUNK_BYTES), b"")
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as unpacked:
                yield _readable(lambda: unpacked.read(_CHUNK_BYTES))
    except FileNotFoundError:
        return


def _readable(read: Callable[[], bytes]) -> Iterator[bytes]:
    with contextlib.suppress(OSError, EOFError, zlib.error):
        while chunk := read():
            yield chunk


def spellings(values: Iterable[str]) -> list[bytes]:
    """The bytes by which values are looked for: as they are, in lower and upper case, in UTF-8 and Latin-1."""
    found = {
        text.encode(encoding)
        for value in values
        for text in (value, value.lower(), value.upper())
        for encoding in ("utf-8", "latin-1")
        if encoding == "utf-8" or text.encode("latin-1", "ignore").decode("latin-1") == text
    }
    return sorted(found)


def vacuum(folder: Path) -> int:
    """Rewrite every SQLite file below a folder without its free pages, which keep what was deleted; return how many."""
    n = 0
    for path in files_below([folder]):
        with path.open("rb") as file:
            if file.read(15) != b"SQLite format 3":
                continue
        connection = sqlite3.connect(path, timeout=60)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
        n += 1
    return n
