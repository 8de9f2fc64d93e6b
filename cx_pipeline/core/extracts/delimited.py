"""CSV: the header, and the grammar of a record as regular expressions over physical lines.

Belongs here: what a record of a CSV is. Does not belong here: walking through a file (`repair.py`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cx_pipeline.core.extracts.formats import ExtractFormat, refusal
from cx_pipeline.core.extracts.structure import MAX_HEADER_BYTES


@dataclass(frozen=True)
class Header:
    """A CSV's column names; the number of physical lines up to its end; whether it is one line and the file's first."""

    names: tuple[str, ...]
    n_lines: int
    is_first_line: bool


def read_csv_header(start: bytes, fmt: ExtractFormat, source_file: str) -> Header:
    """Raises UnreadableExtractError if the first record is no header."""
    lines = start.removeprefix(codecs.BOM_UTF8).splitlines()
    grammar = Grammar.of(fmt)
    n_blank = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    if n_blank == len(lines):
        return Header((), len(lines), False)
    try:
        texts = [line.decode() for line in lines[n_blank : n_blank + 100]]
    except UnicodeDecodeError:
        texts = [line.decode(errors="replace") for line in lines[n_blank : n_blank + 100]]
        if "\ufffd" in texts[0]:
            raise refusal(
                f"the header is not {fmt.encoding}", source_file, "correct the encoding in the contract's servers"
            ) from None
    if "\0" in texts[0]:
        raise refusal(
            "the header holds NUL bytes: the file is no text, or in another encoding",
            source_file,
            "correct the encoding in the contract's servers",
        )
    n_lines = grammar.n_lines_of_record(texts)
    if n_lines is None or (len(start) >= MAX_HEADER_BYTES and n_blank + n_lines >= len(lines)):
        raise refusal("the header's quotes are not closed, or it is longer than 1 MiB", source_file)
    names = tuple(name.strip() for name in grammar.fields("\n".join(texts[:n_lines])))
    return Header(names, n_blank + n_lines, n_blank == 0 and n_lines == 1)


@dataclass(frozen=True)
class Grammar:
    """How one record of a CSV is written, as regular expressions over a physical line.

    Attributes:
        n_columns: fields of a record.
        plain: the line is one record, each field wholly in quotes or without any.
        closed: the line is whole records' worth of fields, all quotes closed.
        opens: the line ends inside quotes.
        stays: a line that begins inside quotes ends inside the same.
        closes: a line that begins inside quotes ends outside.
        closes_and_opens: a line that begins inside quotes ends inside other ones.
        field: one field and what ends it.
    """

    quote: str
    delimiter: str
    n_columns: int
    plain: re.Pattern[str]
    closed: re.Pattern[str]
    opens: re.Pattern[str]
    stays: re.Pattern[str]
    closes: re.Pattern[str]
    closes_and_opens: re.Pattern[str]
    field: re.Pattern[str]

    @classmethod
    def of(cls, fmt: ExtractFormat, n_columns: int = 1) -> Grammar:
        """The grammar of a format, for records of so many fields."""
        # Without quotes, a character that no line has stands in for them.
        quote, delimiter = re.escape(fmt.quote or "\n"), re.escape(fmt.delimiter)
        blanks = "" if fmt.delimiter == " " else " *+"
        inside = f"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+"
        field = f"(?:{blanks}{quote}{inside}{quote}{blanks}|(?!{blanks}{quote})[^{delimiter}]*+)"
        whole = f"(?:{quote}{inside}{quote}|[^{quote}{delimiter}]*+)"
        opening = f"{blanks}{quote}{inside}"
        return cls(
            fmt.quote,
            fmt.delimiter,
            n_columns,
            plain=re.compile(f"{whole}(?:{delimiter}{whole}){{{max(n_columns, 1) - 1}}}"),
            closed=re.compile(f"{field}(?:{delimiter}{field})*+"),
            opens=re.compile(f"(?:{field}{delimiter})*+{opening}"),
            stays=re.compile(inside),
            closes=re.compile(f"{inside}{quote}{blanks}(?:{delimiter}{field})*+"),
            closes_and_opens=re.compile(f"{inside}{quote}{blanks}(?:{delimiter}{field})*?{delimiter}{opening}"),
            field=re.compile(f"({field})({delimiter}|\\Z)"),
        )

    def n_lines_of_record(self, lines: Sequence[str]) -> int | None:
        """How many of the lines the first record takes; None if its quotes are broken or never closed."""
        if not self.quote or self.quote not in lines[0] or self.closed.fullmatch(lines[0]):
            return 1
        if not self.opens.fullmatch(lines[0]):
            return None
        for n, line in enumerate(lines[1:], 2):
            state = self.after(line)
            if state != "open":
                return n if state == "closed" else None
        return None

    def after(self, line: str) -> str:
        """What a line that begins inside quotes comes to: open, closed or broken."""
        if self.quote not in line or self.stays.fullmatch(line) or self.closes_and_opens.fullmatch(line):
            return "open"
        return "closed" if self.closes.fullmatch(line) else "broken"

    def is_plain(self, text: str) -> bool:
        """Whether a line is one record that the engine reads as we do, as it is."""
        return self.plain.fullmatch(text) is not None and self.quote + " " not in text and " " + self.quote not in text

    def has_columns(self, text: str) -> bool:
        """Whether a record without quotes has the header's number of fields; more of them may be there if they are empty."""
        n_more = text.count(self.delimiter) + 1 - self.n_columns
        return n_more == 0 or (n_more > 0 and text.endswith(self.delimiter * n_more))

    def written(self, fields: Sequence[str]) -> str:
        """A record with each field in quotes, as the engine reads it without doubt."""
        quote = self.quote
        return self.delimiter.join(f"{quote}{field.replace(quote, quote * 2)}{quote}" for field in fields)

    def fields(self, record: str) -> list[str]:
        """The fields of a closed record, without their quotes."""
        found: list[str] = []
        for match in self.field.finditer(record):
            text = match[1]
            stripped = text.strip(" ")
            if self.quote and stripped.startswith(self.quote):
                text = stripped[1:-1].replace(self.quote * 2, self.quote)
            found.append(text)
            if not match[2]:
                break
        return found
