"""The words of an extract's format, the names of structural rules, and refusals. Does not belong here: reading a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from cx_pipeline.core.errors import ConfigurationError, Problem, UnreadableExtractError

FORMATS = (".csv", ".csv.gz", ".jsonl", ".parquet")


MAX_ROW_BYTES = 16 << 20
KEPT_RAW_CHARACTERS = 64 << 10


HAS_THE_HEADERS_COLUMNS = "row_has_the_headers_columns"
QUOTES_ARE_CLOSED = "quotes_are_closed"
HAS_NO_NUL_BYTES = "row_has_no_nul_bytes"
IS_NOT_TOO_LONG = "row_is_at_most_16_mib"
IS_A_JSON_OBJECT = "row_is_a_json_object"


@dataclass(frozen=True)
class ExtractFormat:
    """How an extract is written, by the words of its contract.

    Attributes:
        delimiter: between the fields of a CSV; one character.
        encoding: any encoding Python knows, e.g. utf-8, utf-16, latin-1, cp1252. A byte order mark in the file wins.
        quote: around fields of a CSV; doubled inside; empty for none.
        time_zone: zone of timestamps without offset; None: the company's.
        company_time_zone: zone whose wall clock all typed timestamps are.
        max_bytes: of the file, uncompressed; beyond it the file is refused (a gzip bomb would fill the disk). None: no limit.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    quote: str = '"'
    time_zone: str | None = None
    company_time_zone: str = "UTC"
    max_bytes: int | None = None


def kind_of(path: Path, source_file: str) -> str:
    """The format that a file's name says, one of `FORMATS`.

    Raises:
        UnreadableExtractError: if it says none, or the file is no regular one.
    """
    if path.exists() and not path.is_file():
        raise refusal("it is no regular file", source_file, "put a file there")
    for kind in sorted(FORMATS, key=len, reverse=True):
        if path.name.lower().endswith(kind):
            return kind
    raise UnreadableExtractError(
        Problem("the name says no format that can be read", source_file, remedy=f"use one of {', '.join(FORMATS)}")
    )


def check_format(fmt: ExtractFormat) -> None:
    """Raises ConfigurationError for an unknown encoding or time zone, or a delimiter or quote of several characters."""
    try:
        # A codec that is no text encoding (hex, rot13) is found, but refuses text.
        "a".encode(fmt.encoding)
    except (LookupError, ValueError):
        raise ConfigurationError(
            Problem(
                f"the encoding `{fmt.encoding}` is unknown", remedy="use a name such as utf-8, utf-16, latin-1, cp1252"
            )
        ) from None
    for zone in (fmt.time_zone or "UTC", fmt.company_time_zone):
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ConfigurationError(
                Problem(f"the time zone `{zone}` is unknown", remedy="use a name such as Europe/Berlin")
            ) from None
    if len(fmt.delimiter) != 1 or len(fmt.quote) > 1 or fmt.delimiter in ("\r", "\n", "\0", fmt.quote):
        raise ConfigurationError(Problem("delimiter and quote have to be one character each, and different ones"))


def refusal(what: str, source_file: str, remedy: str = "ask the source to send it again") -> UnreadableExtractError:
    """The error of a file that cannot be read."""
    return UnreadableExtractError(Problem(what, source_file, remedy=remedy))
