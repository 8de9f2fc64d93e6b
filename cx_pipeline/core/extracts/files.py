"""Files as bytes: opened, decompressed, told from other formats, brought to UTF-8; and the private folder for work files.

Belongs here: everything between the file system and a stream of UTF-8. Does not belong here: what the bytes mean.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import duckdb

from cx_pipeline.core.extracts.formats import ExtractFormat, refusal

CHUNK_BYTES = 256 << 10


_WORK_FOLDER_PREFIX = "extract_"


_MAGIC = {
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"%PDF": "PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "a picture",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextlib.contextmanager
def work_folder(con: duckdb.DuckDBPyConnection) -> Iterator[Path]:
    """A folder beside the warehouse that only we can read, gone afterwards; what is in it may hold personal data."""
    found = (
        con.cursor().execute("SELECT path FROM duckdb_databases() WHERE database_name = current_database()").fetchone()
    )
    beside = Path(found[0]).absolute().parent if found and found[0] else None
    # The engine takes a path as a pattern: links to hostile names are made where no name is hostile.
    usable = beside if beside is not None and not _is_pattern(str(beside)) else None
    with tempfile.TemporaryDirectory(prefix=_WORK_FOLDER_PREFIX, dir=usable) as folder:
        yield Path(folder)


def remove_leftovers(beside: Path) -> None:
    """Remove the work folders of runs that were killed; to be called only while the warehouse's lock is held.

    Args:
        beside: the folder of the warehouse's file.
    """
    for folder in beside.glob(f"{_WORK_FOLDER_PREFIX}*"):
        shutil.rmtree(folder)


def _is_pattern(path: str) -> bool:
    return bool(set("*?[]{}\\") & set(path))


def literal_path(path: Path, folder: Path) -> str:
    """A path that the engine takes literally: the file's own, or that of a link to it."""
    if not _is_pattern(str(path.absolute())):
        return str(path.absolute())
    link = folder / "extract"
    link.symlink_to(path.absolute())
    return str(link)


def _chunks(path: Path, source_file: str, max_bytes: int | None) -> Iterator[bytes]:
    """The bytes of a file, decompressed."""
    is_gzip = path.name.lower().endswith(".gz")
    n_bytes = 0
    try:
        with gzip.open(path, "rb") if is_gzip else path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                n_bytes += len(chunk)
                if max_bytes is not None and n_bytes > max_bytes:
                    raise refusal(
                        f"the file holds more than {max_bytes:,} bytes{' once uncompressed' if is_gzip else ''}",
                        source_file,
                        "split it, or raise staging.max_extract_bytes in settings.yaml",
                    )
                yield chunk
    except EOFError:
        raise refusal("the gzip file is cut off", source_file) from None
    except (gzip.BadGzipFile, zlib.error):
        raise refusal("the file is no gzip, or damaged", source_file) from None
    except OSError as error:
        raise refusal(
            f"the file cannot be opened: {error.strerror or type(error).__name__}",
            source_file,
            "check that it is there and may be read",
        ) from None


def text_chunks(path: Path, fmt: ExtractFormat, source_file: str) -> tuple[bool, Iterator[bytes]]:
    """A text file's bytes as UTF-8, and whether they are the file's own.

    What the encoding cannot mean becomes a byte that no UTF-8 has.
    """
    chunks = _chunks(path, source_file, fmt.max_bytes)
    first = next(chunks, b"")
    for magic, name in _MAGIC.items():
        if first.startswith(magic):
            raise refusal(f"the file is {name}, not text", source_file, "name it by what it is, or export it as text")
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if first.startswith(mark)), None)
    encoding = marked or codecs.lookup(fmt.encoding).name
    if encoding in ("utf-8", "ascii", "utf-8-sig"):
        return not path.name.lower().endswith(".gz"), _chain(first, chunks)
    return False, _transcoded(_chain(first, chunks), encoding)


def _transcoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="cx_not_in_encoding")
    for chunk in chunks:
        yield decoder.decode(chunk).encode(errors="surrogateescape")
    yield decoder.decode(b"", final=True).encode(errors="surrogateescape")


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    return "\udcff", getattr(error, "end", 0)


codecs.register_error("cx_not_in_encoding", _mark_undecodable)


def starting(chunks: Iterator[bytes], n_bytes: int) -> Iterator[bytes]:
    """The first chunks, until there are so many bytes."""
    n = 0
    for chunk in chunks:
        yield chunk
        n += len(chunk)
        if n >= n_bytes:
            return
