"""One landing file -> typed and rejected rows: what each kind of value, row and file comes to, and that no row is ever lost."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cx_pipeline.core import extracts
from cx_pipeline.core.errors import ConfigurationError, ContractError, EngineError, UnreadableExtractError
from cx_pipeline.core.extracts import ExtractFormat, LoadedExtract, load_extract, read_header, strptime_pattern, values
from cx_pipeline.core.extracts import load as load_module
from cx_pipeline.core.tables import Column, LogicalType, Rule, Table

SOURCE_FILE = "shop/extract"

ENGINE_TYPES: dict[LogicalType, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "time": "TIME",
    "object": "JSON",
    "array": "VARCHAR[]",
}

ABC = "a,b,c\n"


def table(*columns: Column, rules: Sequence[Rule] = ()) -> Table:
    return Table("staging", "channel_shop", "One row per thing.", columns, tuple(rules))


def column(
    name: str,
    logical_type: LogicalType = "string",
    engine_type: str | None = None,
    *,
    required: bool = False,
    form: str | None = None,
) -> Column:
    return Column(name, logical_type, engine_type or ENGINE_TYPES[logical_type], required=required, format=form)


TEXTS = table(column("a"), column("b"), column("c"))


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute("BEGIN")
    yield connection
    connection.close()


def load(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    data: bytes | str,
    contract: Table = TEXTS,
    fmt: ExtractFormat = ExtractFormat(),  # noqa: B008 - immutable
    name: str = "extract.csv",
) -> LoadedExtract:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return load_extract(con, path, contract, fmt, source_file=SOURCE_FILE)


def typed(con: duckdb.DuckDBPyConnection, loaded: LoadedExtract) -> list[tuple[object, ...]]:
    """Typed rows in the order of the file: (line, values...)."""
    return con.execute(
        f"SELECT source_line, * EXCLUDE (source_file, source_line) FROM {loaded.typed} ORDER BY source_line"
    ).fetchall()


def rejected(con: duckdb.DuckDBPyConnection, loaded: LoadedExtract) -> list[tuple[int, str]]:
    return con.execute(f"SELECT source_line, rule FROM {loaded.rejected} ORDER BY source_line, rule").fetchall()


def as_parquet(data: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(data, sink)
    return sink.getvalue()


# --- the corpus of bad extracts -----------------------------------------------------------------------------------------------

GOOD = (2, "1", "2", "3")
RAGGED = extracts.HAS_THE_HEADERS_COLUMNS
OPEN = extracts.QUOTES_ARE_CLOSED
HUGE = b"y" * (17 << 20)

STRUCTURES: dict[str, tuple[bytes | str, list[tuple[object, ...]], list[tuple[int, str]]]] = {
    "regular rows": (ABC + "1,2,3\n4,5,6\n", [GOOD, (3, "4", "5", "6")], []),
    "no line end at the end": (ABC + "1,2,3\n4,5,6", [GOOD, (3, "4", "5", "6")], []),
    "crlf line ends": ("a,b,c\r\n1,2,3\r\n4,5,6\r\n", [GOOD, (3, "4", "5", "6")], []),
    "lone cr line ends": ("a,b,c\r1,2,3\r4,5,6\r", [GOOD, (3, "4", "5", "6")], []),
    "mixed line ends": ("a,b,c\r\n1,2,3\n4,5,6\r7,8,9\r\n", [GOOD, (3, "4", "5", "6"), (4, "7", "8", "9")], []),
    "a stray cr in a field": (ABC + "1,2,3\n4,5\r,6\n", [GOOD], [(3, RAGGED), (4, RAGGED)]),
    "a byte order mark": (b"\xef\xbb\xbf" + b"a,b,c\n1,2,3\n", [GOOD], []),
    "a byte order mark before a quoted name": (b"\xef\xbb\xbf" + b'"a",b,c\n1,2,3\n', [GOOD], []),
    "blank lines": (ABC + "\n1,2,3\n\n\n4,5,6\n\n", [(3, "1", "2", "3"), (6, "4", "5", "6")], []),
    "blank lines before the header": ("\n\na,b,c\n1,2,3\n", [(4, "1", "2", "3")], []),
    "a line of blanks": (ABC + "1,2,3\n \n", [GOOD], [(3, RAGGED)]),
    "rows too short": (ABC + "1,2,3\n4,5\n6\n7,8,9\n", [GOOD, (5, "7", "8", "9")], [(3, RAGGED), (4, RAGGED)]),
    "rows too long": (
        ABC + "1,2,3\n4,5,6,7\n8,9,10,11,12\n13,14,15\n",
        [GOOD, (5, "13", "14", "15")],
        [(3, RAGGED), (4, RAGGED)],
    ),
    "empty cells too many": (ABC + "1,2,3,\n4,5,6,,,\n", [GOOD, (3, "4", "5", "6")], []),
    "ragged rows among blank lines": (ABC + "1,2,3\n\n4,5\n\n6,7,8\n", [GOOD, (6, "6", "7", "8")], [(4, RAGGED)]),
    "ragged rows among multi-line fields": (
        ABC + '1,"x\ny",3\n4,5\n6,"7\n\n7",8\n9,9,9,9\n',
        [(2, "1", "x\ny", "3"), (5, "6", "7\n\n7", "8")],
        [(4, RAGGED), (8, RAGGED)],
    ),
    "multi-line fields": (ABC + '1,"x\ny",3\n4,5,6\n', [(2, "1", "x\ny", "3"), (4, "4", "5", "6")], []),
    "multi-line fields in crlf": ('a,b,c\r\n1,"x\ny",3\r\n4,5,6\r\n', [(2, "1", "x\ny", "3"), (4, "4", "5", "6")], []),
    "crlf inside quotes": ('a,b,c\r\n1,"x\r\ny",3\r\n4,5,6\r\n', [(2, "1", "x\r\ny", "3"), (4, "4", "5", "6")], []),
    "all line ends inside quotes of a broken file": (
        'a,b,c\n"v\rw\r\nx\ny",2,3\r1,"2,3\n4,5,6\r\n',
        [(2, "v\rw\r\nx\ny", "2", "3"), (7, "4", "5", "6")],
        [(6, OPEN)],
    ),
    "all line ends in a rejected row": (
        'a,b,c\r\n"v\rw\r\nx\ny"\r\n4,5,6\r\n',
        [(6, "4", "5", "6")],
        [(2, RAGGED)],
    ),
    "doubled quotes": (ABC + '1,"say ""hi"" now",3\n', [(2, "1", 'say "hi" now', "3")], []),
    "quotes inside a bare field": (
        ABC + '1,6" pipe,3\n4,a "b" c,6\n',
        [(2, "1", '6" pipe', "3"), (3, "4", 'a "b" c', "6")],
        [],
    ),
    "delimiters in quotes": (ABC + '1,"x,y",3\n', [(2, "1", "x,y", "3")], []),
    "blanks around quotes": (ABC + '1, "x" ,3\n', [(2, "1", "x", "3")], []),
    "text after a closing quote": (ABC + '1,"x"y,3\n1,2,3\n', [(3, "1", "2", "3")], [(2, OPEN)]),
    "two quoted parts in one field": (ABC + '1,"x" "y",3\n1,2,3\n', [(3, "1", "2", "3")], [(2, OPEN)]),
    "backslash before a quote": (ABC + '1,"x\\"y",3\n1,2,3\n', [(3, "1", "2", "3")], [(2, OPEN)]),
    "a quote never closed": (
        ABC + '1,2,3\n4,"x,6\n7,8,9\n1,2,3\n',
        [GOOD, (4, "7", "8", "9"), (5, "1", "2", "3")],
        [(3, OPEN)],
    ),
    "a quote never closed before a quoted row": (
        ABC + '1,"x,3\n4,5,6\n7,"8",9\n',
        [(3, "4", "5", "6"), (4, "7", "8", "9")],
        [(2, OPEN)],
    ),
    "a quote open at the last byte": (ABC + '1,2,3\n4,5,"', [GOOD], [(3, OPEN)]),
    "nul bytes": (ABC + "1,x\0y,3\n4,5,6\n", [(3, "4", "5", "6")], [(2, extracts.HAS_NO_NUL_BYTES)]),
    "bytes that are no utf-8": (b"a,b,c\n1,\xff\xfe,3\n4,5,6\n", [(3, "4", "5", "6")], [(2, "row_is_valid_utf_8")]),
    "latin-1 in a utf-8 file": (
        "a,b,c\n1,Zürich,3\n4,5,6\n".encode("latin-1"),
        [(3, "4", "5", "6")],
        [(2, "row_is_valid_utf_8")],
    ),
    "overlong utf-8": (b"a,b,c\n1,\xc0\x80,3\n4,5,6\n", [(3, "4", "5", "6")], [(2, "row_is_valid_utf_8")]),
    "surrogates in utf-8": (b"a,b,c\n1,\xed\xa0\x80,3\n4,5,6\n", [(3, "4", "5", "6")], [(2, "row_is_valid_utf_8")]),
    "a field of 3 MiB": (
        ABC.encode() + b"1," + b"x" * (3 << 20) + b",3\n4,5,6\n",
        [(2, "1", "x" * (3 << 20), "3"), (3, "4", "5", "6")],
        [],
    ),
    "a field of 17 MiB": (
        ABC.encode() + b"1," + HUGE + b",3\n4,5,6\n",
        [(3, "4", "5", "6")],
        [(2, extracts.IS_NOT_TOO_LONG)],
    ),
    "a quote open over 17 MiB": (
        ABC.encode() + b'1,"' + b"x\n" * 20 + HUGE + b"\n4,5,6\n",
        [(23, "4", "5", "6")],
        [(2, OPEN), *[(line, RAGGED) for line in range(3, 22)], (22, extracts.IS_NOT_TOO_LONG)],
    ),
    "formulas of a spreadsheet": (
        ABC + "=1+1,+cmd|' /C calc'!A0,@SUM(A1)\n",
        [(2, "=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)")],
        [],
    ),
    "sql in a value": (ABC + "1,'); DROP TABLE x; --,3\n", [(2, "1", "'); DROP TABLE x; --", "3")], []),
    "an empty file": ("", [], []),
    "nothing but line ends": ("\n\n\n", [], []),
    "a header only": (ABC, [], []),
    "a header only without line end": ("a,b,c", [], []),
    "columns in another order": ("c,a,b\n3,1,2\n", [GOOD], []),
    "a header in other letters and with blanks": (" A ,B,c \n1,2,3\n", [GOOD], []),
    "a header over two lines": ('a,"b",c,"d\nd"\n1,2,3,4\n', [(3, "1", "2", "3")], []),
    "an extra column": ("a,x,b,c\n1,9,2,3\n", [GOOD], []),
    "a missing column": ("a,c\n1,3\n", [(2, "1", None, "3")], []),
    "another delimiter than the contract says": ("a;b;c\n1;2;3\n", [(2, None, None, None)], []),
    "empty and blank values": (ABC + '1,"",  \n,,\n', [(2, "1", None, None), (3, None, None, None)], []),
    "values kept untrimmed": (ABC + " 1, 2 ,3\n", [(2, " 1", " 2 ", "3")], []),
    "words for nothing are words": (ABC + "NULL,NA,None\n", [(2, "NULL", "NA", "None")], []),
}


@pytest.mark.parametrize(("data", "rows", "broken"), STRUCTURES.values(), ids=STRUCTURES)
def test_csv_when_its_structure_is_unusual_then_each_row_is_typed_or_rejected_alone(
    con: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    data: bytes | str,
    rows: list[tuple[object, ...]],
    broken: list[tuple[int, str]],
) -> None:
    loaded = load(con, tmp_path, data)
    assert typed(con, loaded) == rows
    assert rejected(con, loaded) == broken
    assert (loaded.n_read, loaded.n_typed, loaded.n_rejected) == (len(rows) + len(broken), len(rows), len(broken))


@pytest.mark.parametrize(("data", "rows", "broken"), STRUCTURES.values(), ids=STRUCTURES)
def test_csv_gz_when_its_structure_is_unusual_then_it_comes_to_the_same(
    con: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    data: bytes | str,
    rows: list[tuple[object, ...]],
    broken: list[tuple[int, str]],
) -> None:
    packed = gzip.compress(data.encode() if isinstance(data, str) else data, compresslevel=1)
    loaded = load(con, tmp_path, packed, name="extract.csv.gz")
    assert (typed(con, loaded), rejected(con, loaded)) == (rows, broken)


REFUSALS: dict[str, tuple[str, bytes, str]] = {
    "gzip cut off": ("x.csv.gz", gzip.compress(b"a,b,c\n" + random.Random(1).randbytes(200_000))[:-5_000], "cut off"),
    "gzip with a broken middle": ("x.csv.gz", gzip.compress(b"a,b,c\n" * 99_999)[:60] + b"\0" * 200, "damaged|cut off"),
    "no gzip at all": ("x.csv.gz", b"a,b,c\n1,2,3\n", "no gzip"),
    "an empty gzip name with text": ("x.csv.gz", b"x", "no gzip|cut off"),
    "parquet named csv": ("x.csv", as_parquet(pa.table({"a": [1]})), "is Parquet"),
    "gzip named csv": ("x.csv", gzip.compress(b"a,b,c\n1,2,3\n"), "is gzip"),
    "a spreadsheet named csv": ("x.csv", b"PK\x03\x04" + bytes(100), "spreadsheet"),
    "pdf named csv": ("x.csv", b"%PDF-1.7\n...", "PDF"),
    "a database named jsonl": ("x.jsonl", b"SQLite format 3\0" + bytes(100), "SQLite"),
    "binary named csv": ("x.csv", bytes(range(256)) * 40, "NUL|not utf-8"),
    "utf-16 without mark": ("x.csv", "a,b,c\n1,2,3\n".encode("utf-16-le"), "NUL"),
    "a header of another encoding": ("x.csv", "a,b,größe\n1,2,3\n".encode("latin-1"), "header is not utf-8"),
    "a header with an open quote": ("x.csv", b'a,"b,c\n1,2,3\n', "not closed"),
    "a header beyond all measure": ("x.csv", b"a" * (2 << 20), "longer than 1 MiB"),
    "a column twice": ("x.csv", b"a,b,b\n1,2,3\n", "twice"),
    "parquet cut off": ("x.parquet", as_parquet(pa.table({"a": list(range(9999))}))[:-900], "cut off"),
    "parquet without its middle": ("x.parquet", b"PAR1" + bytes(200) + b"PAR1", "cannot be read"),
    "csv named parquet": ("x.parquet", b"a,b,c\n1,2,3\n", "no Parquet"),
    "an empty parquet": ("x.parquet", b"", "empty"),
    "a parquet of four bytes": ("x.parquet", b"PAR1", "cut off"),
    "a format that nobody reads": ("x.xlsx", b"PK\x03\x04", "no format"),
    "no extension": ("x", b"a,b,c\n", "no format"),
}


@pytest.mark.parametrize(("name", "data", "what"), REFUSALS.values(), ids=REFUSALS)
def test_file_when_it_cannot_be_read_then_it_is_refused_by_name_and_the_transaction_lives(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    with pytest.raises(UnreadableExtractError, match=what) as refusal:
        load(con, tmp_path, data, name=name)
    assert SOURCE_FILE in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)
    assert con.execute("SELECT 1").fetchall() == [(1,)]


# --- values -------------------------------------------------------------------------------------------------------------------

WINTER = dt.datetime(2024, 1, 5, 10, 0)
BERLIN = ExtractFormat(company_time_zone="Europe/Berlin")
NEW_YORK_IN_BERLIN = ExtractFormat(time_zone="America/New_York", company_time_zone="Europe/Berlin")

VALUES: dict[str, tuple[Column, str, object]] = {
    "an integer": (column("v", "integer"), "12", 12),
    "an integer with sign": (column("v", "integer"), "-12", -12),
    "an integer with plus": (column("v", "integer"), "+12", 12),
    "an integer with blanks": (column("v", "integer"), " 12 ", 12),
    "an integer with leading zeros": (column("v", "integer"), "0012", 12),
    "an integer written with a zero fraction": (column("v", "integer"), "12.0", 12),
    "the greatest integer": (column("v", "integer"), "9223372036854775807", 9223372036854775807),
    "an integer beyond range": (column("v", "integer"), "9223372036854775808", "v_is_integer"),
    "a small integer beyond range": (column("v", "integer", "SMALLINT"), "40000", "v_is_integer"),
    "a fraction for an integer": (column("v", "integer"), "1.5", "v_is_integer"),
    "an exponent for an integer": (column("v", "integer"), "1e3", "v_is_integer"),
    "a hexadecimal for an integer": (column("v", "integer"), "0xFFFFFFFF", "v_is_integer"),
    "a word for an integer": (column("v", "integer"), "many", "v_is_integer"),
    "a number": (column("v", "number"), "1.5", 1.5),
    "a number with exponent": (column("v", "number"), "-1.5e3", -1500.0),
    "a number without leading zero": (column("v", "number"), ".5", 0.5),
    "not a number": (column("v", "number"), "NaN", "v_is_number"),
    "infinity": (column("v", "number"), "-Infinity", "v_is_number"),
    "a number beyond range": (column("v", "number"), "1e999", "v_is_number"),
    "a decimal comma": (column("v", "number"), '"1,5"', "v_is_number"),
    "a currency sign": (column("v", "number"), "$5", "v_is_number"),
    "a decimal": (column("v", "number", "DECIMAL(6,2)"), "1234.56", Decimal("1234.56")),
    "a decimal without fraction": (column("v", "number", "DECIMAL(6,2)"), "12", Decimal("12.00")),
    "a decimal of one digit": (column("v", "number", "DECIMAL(6,2)"), "-.5", Decimal("-0.50")),
    "a decimal with zeros beyond its scale": (column("v", "number", "DECIMAL(6,2)"), "12.34000", Decimal("12.34")),
    "a decimal with digits beyond its scale": (column("v", "number", "DECIMAL(6,2)"), "1.005", Decimal("1.01")),
    "a decimal too large": (column("v", "number", "DECIMAL(6,2)"), "12345.67", "v_fits_decimal"),
    "a decimal with exponent": (column("v", "number", "DECIMAL(6,2)"), "1.5e2", Decimal("150.00")),
    "a decimal with an exponent beyond its scale": (column("v", "number", "DECIMAL(6,2)"), "15e-4", Decimal("0.00")),
    "no number for a decimal": (column("v", "number", "DECIMAL(6,2)"), "n/a", "v_is_number"),
    "not a number for a decimal": (column("v", "number", "DECIMAL(6,2)"), "nan", "v_is_number"),
    "a decimal of scale zero": (column("v", "number", "DECIMAL(6,0)"), "12.0", Decimal("12")),
    "a fraction for scale zero": (column("v", "number", "DECIMAL(6,0)"), "12.5", Decimal("13")),
    "true": (column("v", "boolean"), "TRUE", True),
    "yes": (column("v", "boolean"), "yes", True),
    "n": (column("v", "boolean"), " n ", False),
    "zero": (column("v", "boolean"), "0", False),
    "two for a boolean": (column("v", "boolean"), "2", "v_is_boolean"),
    "a date": (column("v", "date"), "2024-02-29", dt.date(2024, 2, 29)),
    "a date with short parts": (column("v", "date"), "2024-2-9", dt.date(2024, 2, 9)),
    "a date without separators": (column("v", "date"), "20240229", dt.date(2024, 2, 29)),
    "a timestamp at midnight for a date": (column("v", "date"), "2024-02-29T00:00:00.000Z", dt.date(2024, 2, 29)),
    "a timestamp by day for a date": (column("v", "date"), "2024-02-29 10:00:00", "v_is_date"),
    "a day that is not in the calendar": (column("v", "date"), "2023-02-29", "v_is_date"),
    "a month that is not in the calendar": (column("v", "date"), "20241301", "v_is_date"),
    "day first without a format": (column("v", "date"), "29.02.2024", "v_is_date"),
    "the infinite date": (column("v", "date"), "infinity", "v_is_date"),
    "a date before our era": (column("v", "date"), "4-1-1 (BC)", "v_is_date"),
    "zeros for a date": (column("v", "date"), "0000-00-00", "v_is_date"),
    "a date in the format of Java": (column("v", "date", form="dd.MM.yyyy"), "29.02.2024", dt.date(2024, 2, 29)),
    "a date in the format of strptime": (column("v", "date", form="%d/%m/%y"), "29/02/24", dt.date(2024, 2, 29)),
    "an iso date for another format": (column("v", "date", form="dd.MM.yyyy"), "2024-02-29", "v_is_date"),
    "a timestamp": (column("v", "timestamp"), "2024-01-05 10:00:00", WINTER),
    "a timestamp with T": (column("v", "timestamp"), "2024-01-05T10:00:00", WINTER),
    "a timestamp without seconds": (column("v", "timestamp"), "2024-01-05 10:00", WINTER),
    "a timestamp with microseconds": (
        column("v", "timestamp"),
        "2024-01-05 10:00:00.000001",
        WINTER.replace(microsecond=1),
    ),
    "a date for a timestamp": (column("v", "timestamp"), "2024-01-05", WINTER.replace(hour=0)),
    "a timestamp in UTC": (column("v", "timestamp"), "2024-01-05T10:00:00Z", WINTER),
    "a timestamp with offset": (column("v", "timestamp"), "2024-01-05T12:30:00+02:30", WINTER),
    "a timestamp with a short offset": (column("v", "timestamp"), "2024-01-05 05:00:00-05", WINTER),
    "one digit of seconds and an offset": (column("v", "timestamp"), "2024-01-05 10:00:0Z", "v_is_timestamp"),
    "an offset that nobody has": (column("v", "timestamp"), "2024-01-05 10:00:00+25:00", "v_is_timestamp"),
    "a timestamp of no calendar": (column("v", "timestamp"), "2024-02-30 10:00:00", "v_is_timestamp"),
    "an hour of no clock": (column("v", "timestamp"), "2024-01-05 25:00:00", "v_is_timestamp"),
    "an infinite timestamp": (column("v", "timestamp"), "infinity", "v_is_timestamp"),
    "seconds since 1970": (column("v", "timestamp"), "1704448800", "v_is_timestamp"),
    "a timestamp in a format": (column("v", "timestamp", form="dd.MM.yyyy HH:mm"), "05.01.2024 10:00", WINTER),
    "a timestamp in a format with offset": (
        column("v", "timestamp", form="dd.MM.yyyy HH:mm XXX"),
        "05.01.2024 12:00 +0200",
        WINTER,
    ),
    "a time": (column("v", "time"), "10:30", dt.time(10, 30)),
    "a time of no clock": (column("v", "time"), "24:30", "v_is_time"),
    "a json object": (column("v", "object"), '"{""a"": [1]}"', '{"a": [1]}'),
    "broken json": (column("v", "object"), '"{""a"": "', "v_is_object"),
    "an array": (column("v", "array"), '"[""x"", ""y""]"', ["x", "y"]),
    "no array": (column("v", "array"), "x", "v_is_array"),
    "blank for an integer": (column("v", "integer"), "   ", None),
    "blank for a date": (column("v", "date"), " ", None),
    "nothing for a timestamp": (column("v", "timestamp"), "", None),
}


@pytest.mark.parametrize(("about", "text", "expected"), VALUES.values(), ids=VALUES)
def test_value_when_read_as_text_then_it_is_typed_exactly_or_its_row_rejected(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, about: Column, text: str, expected: object
) -> None:
    loaded = load(con, tmp_path, f"k,v\n1,{text}\n", table(column("k"), about))
    if isinstance(expected, str) and expected.startswith("v_"):
        assert rejected(con, loaded) == [(2, expected)]
    else:
        assert typed(con, loaded) == [(2, "1", expected)]
    types = dict(con.execute(f"SELECT column_name, column_type FROM (DESCRIBE {loaded.typed})").fetchall())
    assert types == {"k": "VARCHAR", "v": about.engine_type, "source_file": "VARCHAR", "source_line": "BIGINT"}


ZONES: dict[str, tuple[str, ExtractFormat, dt.datetime]] = {
    "naive is the company's clock": ("2024-07-05 10:00:00", BERLIN, dt.datetime(2024, 7, 5, 10)),
    "naive with a zone of the file": ("2024-07-05 10:00:00", NEW_YORK_IN_BERLIN, dt.datetime(2024, 7, 5, 16)),
    "naive with T and a zone of the file": ("2024-07-05T10:00:00", NEW_YORK_IN_BERLIN, dt.datetime(2024, 7, 5, 16)),
    "utc in summer": ("2024-07-05T10:00:00Z", BERLIN, dt.datetime(2024, 7, 5, 12)),
    "utc in winter": ("2024-01-05T10:00:00Z", BERLIN, dt.datetime(2024, 1, 5, 11)),
    "an offset beats the zone of the file": (
        "2024-07-05T10:00:00+00:00",
        NEW_YORK_IN_BERLIN,
        dt.datetime(2024, 7, 5, 12),
    ),
    "an hour that the clocks skip": ("2024-03-10 02:30:00", NEW_YORK_IN_BERLIN, dt.datetime(2024, 3, 10, 8, 30)),
}


@pytest.mark.parametrize(("text", "fmt", "expected"), ZONES.values(), ids=ZONES)
def test_timestamp_when_zones_are_mixed_then_it_becomes_the_companys_wall_clock(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, text: str, fmt: ExtractFormat, expected: dt.datetime
) -> None:
    contract = table(column("k"), column("v", "timestamp"))
    assert typed(con, load(con, tmp_path, f"k,v\n1,{text}\n", contract, fmt)) == [(2, "1", expected)]
    row = json.dumps({"k": 1, "v": text})
    assert typed(con, load(con, tmp_path, row, contract, fmt, "extract.jsonl")) == [(1, "1", expected)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("yyyy-MM-dd", "%Y-%m-%d"),
        ("dd.MM.yy HH:mm:ss", "%d.%m.%y %H:%M:%S"),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "%Y-%m-%dT%H:%M:%S.%g%z"),
        ("%Y%m%d", "%Y%m%d"),
    ],
)
def test_strptime_pattern_when_a_contract_says_java_or_strptime_then_the_engine_understands(
    pattern: str, expected: str
) -> None:
    assert strptime_pattern(pattern, "v") == expected


@pytest.mark.parametrize("pattern", ["whenever", "%Q", "yyyy-QQ", ""])
def test_strptime_pattern_when_it_is_no_date_format_then_the_contract_is_refused(pattern: str) -> None:
    with pytest.raises(ContractError, match="date format"):
        strptime_pattern(pattern, "v")


# --- rules --------------------------------------------------------------------------------------------------------------------

RULED = table(
    column("id", required=True),
    column("state"),
    column("age", "integer"),
    column("code"),
    rules=[
        Rule("state_is_known", "in_set", ("state",), values=("new", "old")),
        Rule("age_is_human", "between", ("age",), minimum=0, maximum=120),
        Rule("code_is_short", "length_between", ("code",), maximum=3),
        Rule("code_is_of_digits", "matches", ("code",), pattern="[0-9]+"),
        Rule("id_is_unique", "unique", ("id",)),
        Rule("id_is_never_null", "not_null", ("id",)),
        Rule("rows_are_there", "row_count", minimum=1000),
    ],
)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("1,new,30,123", None),
        ("1,,,", None),
        (",new,30,123", "id_is_never_null"),
        ("1,lost,30,123", "state_is_known"),
        ("1,new,130,123", "age_is_human"),
        ("1,new,old,123", "age_is_integer"),
        ("1,new,30,1234", "code_is_short"),
        ("1,new,30,12x", "code_is_of_digits"),
        (",lost,old,wrong", "id_is_never_null"),
        ("1,lost,old,wrong", "state_is_known"),
        ("1,new,old,wrong", "age_is_integer"),
        ("1,new,30", RAGGED),
    ],
)
def test_row_when_it_breaks_rules_then_the_first_in_the_contracts_order_is_named(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, row: str, rule: str | None
) -> None:
    loaded = load(con, tmp_path, f"id,state,age,code\n{row}\n", RULED)
    assert [name for _, name in rejected(con, loaded)] == ([rule] if rule else [])


def test_row_when_a_key_repeats_then_it_stays_for_staging_to_decide(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    assert load(con, tmp_path, "id,state,age,code\n1,new,1,1\n1,new,1,1\n", RULED).n_typed == 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.csv", b"state,age\nnew,1\nlost,x\n1,2,3\n"),
        ("x.jsonl", b'{"state":"new"}\n{"state":"lost","age":"x"}\n[]\n'),
    ],
)
def test_file_when_a_required_column_is_missing_then_all_its_rows_are_rejected_for_that(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, name: str, data: bytes
) -> None:
    loaded = load(con, tmp_path, data, RULED, name=name)
    assert [rule for _, rule in rejected(con, loaded)][:2] == ["id_is_in_the_file"] * 2
    assert (loaded.n_read, loaded.n_typed) == (3, 0)
    assert "id" in loaded.columns_missing


def test_rejected_rows_when_a_value_is_wrong_then_the_raw_row_is_kept_with_its_file(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    loaded = load(con, tmp_path, "k,v\nx,one\ny,2\nz\n", table(column("v", "integer")))
    rows = con.execute(
        f"SELECT source_file, source_line, raw_row FROM {loaded.rejected} ORDER BY source_line"
    ).fetchall()
    assert rows == [(SOURCE_FILE, 2, '{"k":"x","v":"one"}'), (SOURCE_FILE, 4, "z")]


def test_columns_when_they_differ_from_the_contract_then_both_sides_are_reported(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    loaded = load(con, tmp_path, "A,z,y\n1,2,3\n")
    assert (loaded.columns_missing, loaded.columns_extra) == (("b", "c"), ("z", "y"))


def test_header_when_two_names_fit_one_column_then_the_file_is_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableExtractError, match="could be `email`"):
        load(con, tmp_path, "EMAIL,Email\n1,2\n", table(column("email")))
    assert load(con, tmp_path, "EMAIL,email\n1,2\n", table(column("email"))).columns_extra == ("EMAIL",)


def test_load_when_a_rule_makes_no_sense_then_the_contract_is_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match="b_is_big"):
        load(con, tmp_path, ABC, table(column("b"), rules=[Rule("b_is_big", "between", ("b",), minimum=5)]))


# --- formats, encodings, names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "encoding"),
    [
        (ExtractFormat(), "utf-8-sig"),
        (ExtractFormat(encoding="utf-16"), "utf-16"),
        (ExtractFormat(), "utf-16"),
        (ExtractFormat(encoding="utf-16-le"), "utf-16-le"),
        (ExtractFormat(encoding="latin-1"), "latin-1"),
        (ExtractFormat(encoding="cp1252"), "cp1252"),
        (ExtractFormat(encoding="utf-8"), "utf-8"),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_csv_when_written_in_an_encoding_then_its_letters_arrive(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, fmt: ExtractFormat, encoding: str, name: str
) -> None:
    data = "a,b,c\nZürich,Ångström,ß\n".encode(encoding)
    loaded = load(con, tmp_path, gzip.compress(data) if name.endswith("gz") else data, fmt=fmt, name=name)
    assert typed(con, loaded) == [(2, "Zürich", "Ångström", "ß")]


def test_csv_when_bytes_are_not_in_its_encoding_then_only_their_row_is_rejected(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    loaded = load(con, tmp_path, b"a,b,c\n1,\x81,3\n1,2,3\n", fmt=ExtractFormat(encoding="cp1252"))
    assert (rejected(con, loaded), typed(con, loaded)) == ([(2, "row_is_valid_cp1252")], [(3, "1", "2", "3")])


@pytest.mark.parametrize(
    ("fmt", "data"),
    [
        (ExtractFormat(delimiter=";"), 'a;b;c\n1;"x;y";3\n'),
        (ExtractFormat(delimiter="\t"), 'a\tb\tc\n1\t"x;y"\t3\n'),
        (ExtractFormat(delimiter="|", quote="'"), "a|b|c\n1|'x;y'|3\n"),
        (ExtractFormat(quote=""), "a,b,c\n1,x;y,3\n"),
        (ExtractFormat(delimiter="§"), "a§b§c\n1§x;y§3\n"),
    ],
)
def test_csv_when_the_contract_names_delimiter_and_quote_then_they_are_used(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, fmt: ExtractFormat, data: str
) -> None:
    assert typed(con, load(con, tmp_path, data, fmt=fmt)) == [(2, "1", "x;y", "3")]
    assert typed(con, load(con, tmp_path, data + "\0\n", fmt=fmt)) == [(2, "1", "x;y", "3")]


def test_csv_when_it_has_no_quotes_by_contract_then_a_quote_is_a_letter(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    assert typed(con, load(con, tmp_path, ABC + '1,"x,3\n', fmt=ExtractFormat(quote=""))) == [(2, "1", '"x', "3")]


@pytest.mark.parametrize(
    "fmt",
    [
        ExtractFormat(encoding="klingon"),
        ExtractFormat(encoding="hex"),
        ExtractFormat(delimiter=";;"),
        ExtractFormat(delimiter=""),
        ExtractFormat(quote=","),
        ExtractFormat(time_zone="Mars/Olympus"),
        ExtractFormat(company_time_zone="../etc/passwd"),
    ],
)
def test_load_when_the_format_makes_no_sense_then_the_configuration_is_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, fmt: ExtractFormat
) -> None:
    with pytest.raises(ConfigurationError):
        load(con, tmp_path, ABC, fmt=fmt)


@pytest.mark.parametrize(
    "stem",
    [
        "it's",
        "*",
        "a[bc]",
        "?",
        "x{1,2}",
        "new\nline",
        'a"b',
        "; drop",
        "~",
        "k=v",
        "$HOME",
        "back\\slash",
        "ünï",
        "%20",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".jsonl"])
def test_file_when_its_name_is_hostile_then_it_is_read_literally(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, stem: str, suffix: str
) -> None:
    data = {
        ".csv": b"a,b,c\n1,2,3\n",
        ".csv.gz": gzip.compress(b"a,b,c\n1,2,3\n"),
        ".parquet": as_parquet(pa.table({"a": ["1"], "b": ["2"], "c": ["3"]})),
        ".jsonl": b'{"a":1,"b":2,"c":3}\n',
    }[suffix]
    (tmp_path / f"abc{suffix}").write_bytes(b"a decoy")
    folder = tmp_path / stem
    folder.mkdir()
    loaded = load(con, folder, data, name=stem + suffix)
    assert [row[1:] for row in typed(con, loaded)] == [("1", "2", "3")]
    assert read_header(con, folder / (stem + suffix), ExtractFormat()) == ("a", "b", "c")


def test_file_when_it_is_not_there_then_it_is_refused_without_the_machines_path(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for name in ("x.csv", "x.csv.gz", "x.jsonl", "x.parquet"):
        with pytest.raises(UnreadableExtractError, match="cannot be opened") as refusal:
            load_extract(con, tmp_path / name, TEXTS, ExtractFormat(), source_file=SOURCE_FILE)
        assert str(tmp_path) not in str(refusal.value)


def test_file_when_it_is_a_folder_or_a_pipe_then_it_is_refused_and_nothing_hangs(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "pipe.csv"):
        with pytest.raises(UnreadableExtractError, match="no regular file"):
            load_extract(con, tmp_path / name, TEXTS, ExtractFormat(), source_file=SOURCE_FILE)


def test_load_when_the_engine_does_not_keep_order_then_it_is_refused(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    con.execute("SET preserve_insertion_order = false")
    with pytest.raises(ConfigurationError, match="in order"):
        load(con, tmp_path, ABC)


def test_file_when_the_warehouse_is_a_file_then_nothing_is_left_beside_it(tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    warehouse.mkdir()
    con = duckdb.connect(str(warehouse / "cx.duckdb"))
    con.execute("BEGIN")
    load(con, tmp_path, ABC + '1,"x,3\n', name="x.csv")
    assert {path.name for path in warehouse.iterdir()} <= {"cx.duckdb", "cx.duckdb.wal", "cx.duckdb.tmp"}
    con.close()


def test_load_when_called_twice_in_a_transaction_then_each_file_has_its_own_tables(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "1.csv").write_text(ABC + "1,2,3\n1,2\n")
    (tmp_path / "2.csv").write_text(ABC + "4,5,6\n")
    first = load_extract(con, tmp_path / "1.csv", TEXTS, ExtractFormat(), source_file="shop/1.csv")
    second = load_extract(con, tmp_path / "2.csv", TEXTS, ExtractFormat(), source_file="shop/2.csv")
    again = load_extract(con, tmp_path / "1.csv", TEXTS, ExtractFormat(), source_file="shop/1.csv")
    assert first == again
    assert {first.typed, first.rejected}.isdisjoint({second.typed, second.rejected})
    assert typed(con, second) == [(2, "4", "5", "6")]
    left = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()}
    assert left == {first.typed, first.rejected, second.typed, second.rejected}


def test_read_header_when_asked_then_names_alone_are_read(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    cases = {
        "x.csv": '﻿ a ,"b,b",C\n1,2,3\n'.encode(),
        "y.csv": b"",
        "z.jsonl": b'{"a":1}\n\nbroken\n{"C":1,"a":2}\n',
        "w.parquet": as_parquet(pa.table({"a": [1], "n": [{"x": 1, "y": [2]}], "C": [1]})),
    }
    found = {}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        found[name] = read_header(con, tmp_path / name, ExtractFormat())
    assert found == {"x.csv": ("a", "b,b", "C"), "y.csv": (), "z.jsonl": ("a", "C"), "w.parquet": ("a", "n", "C")}


def test_timestamps_when_the_quick_reading_is_taken_then_it_is_that_of_the_careful_one() -> None:
    chance = random.Random(1)
    plain = ["2024-01-05T10:00:00Z", "2024-01-05 10:00:00", "9999-12-31T23:59:59Z", "0999-01-05T10:00:00Z"]
    texts = set(plain)
    for _ in range(20_000):
        text = list(chance.choice(plain))
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(text))
            text[place : place + chance.randint(0, 1)] = chance.choice("0123456789-: +TZz./é")
        texts.add("".join(text))
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("CREATE TABLE texts AS SELECT unnest(?) AS t", [sorted(texts)])
    for zone in (None, "America/New_York"):
        fmt = ExtractFormat(time_zone=zone, company_time_zone="Europe/Berlin")
        value = values.typed_value(column("v", "timestamp"), values.Source("t"), fmt)
        slow = values._from_text(column("v", "timestamp"), "t", fmt)
        found = con.execute(
            f"SELECT t, quick, slow FROM (SELECT t, {value.sql} AS quick, {slow} AS slow "
            f"FROM (SELECT t, {value.candidate} AS {value.candidate_name} FROM texts))"
        ).fetchall()
        assert [row for row in found if row[1] != row[2]] == []
        assert sum(row[2] is not None for row in found) > 100


# --- JSON lines ---------------------------------------------------------------------------------------------------------------

EVENTS = table(column("id"), column("n", "integer"), column("at", "timestamp"), column("x"))

JSON_LINES: dict[str, tuple[str, tuple[object, ...] | str]] = {
    "values of all kinds": ('{"id":"1","n":2,"at":"2024-01-05T10:00:00Z","x":true}', ("1", 2, WINTER, "true")),
    "numbers as texts": ('{"id":1,"n":"2","at":null}', ("1", 2, None, None)),
    "keys in other letters": ('{"ID":1,"N":3}', (None, None, None, None)),
    "an object for a text": ('{"id":1,"x":{"a":[1,2]}}', ("1", None, None, '{"a":[1,2]}')),
    "a list for a text": ('{"id":1,"x":["a"]}', ("1", None, None, '["a"]')),
    "an empty text": ('{"id":1,"x":" "}', ("1", None, None, None)),
    "unknown keys": ('{"id":1,"zzz":2}', ("1", None, None, None)),
    "an empty object": ("{}", (None, None, None, None)),
    "blanks around": ('  {"id":1}  ', ("1", None, None, None)),
    "line ends in a text": ('{"id":"a\\nb"}', ("a\nb", None, None, None)),
    "quotes and commas": ('{"id":"a,\\"b\\""}', ('a,"b"', None, None, None)),
    "a wrong value": ('{"id":1,"n":1.5}', "n_is_integer"),
    "an object for an integer": ('{"id":1,"n":{}}', "n_is_integer"),
    "a line cut off": ('{"id":1,"n"', extracts.IS_A_JSON_OBJECT),
    "a list": ("[1,2]", extracts.IS_A_JSON_OBJECT),
    "a number": ("7", extracts.IS_A_JSON_OBJECT),
    "null": ("null", extracts.IS_A_JSON_OBJECT),
    "no json": ("id=1", extracts.IS_A_JSON_OBJECT),
    "half a surrogate": ('{"id":"\\ud800"}', extracts.IS_A_JSON_OBJECT),
    "a control character": ('{"id":"\x01"}', extracts.IS_A_JSON_OBJECT),
    "a nul byte": ('{"id":"\0"}', extracts.HAS_NO_NUL_BYTES),
    "two objects": ('{"id":1}{"id":2}', extracts.IS_A_JSON_OBJECT),
    "deep lists": (
        '{"id":1,"x":' + "[" * 200_000 + "]" * 200_000 + "}",
        ("1", None, None, "[" * 200_000 + "]" * 200_000),
    ),
    "deep lists never closed": ('{"id":1,"x":' + "[" * 200_000, extracts.IS_A_JSON_OBJECT),
}


@pytest.mark.parametrize(("line", "expected"), JSON_LINES.values(), ids=JSON_LINES)
def test_json_line_when_it_is_unusual_then_it_is_typed_or_rejected_alone(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, line: str, expected: tuple[object, ...] | str
) -> None:
    neighbours = '{"id":"first","n":1,"at":null,"x":"y"}\n%s\n{"id":"last"}\n'
    loaded = load(con, tmp_path, neighbours.replace("%s", line), EVENTS, name="x.jsonl")
    rows, broken = typed(con, loaded), rejected(con, loaded)
    assert rows[0] == (1, "first", 1, None, "y")
    assert rows[-1] == (3, "last", None, None, None)
    assert (broken if isinstance(expected, str) else rows[1:-1]) == [
        (2, expected) if isinstance(expected, str) else (2, *expected)
    ]
    assert loaded.n_read == 3


def test_json_lines_when_bytes_blank_lines_and_ends_are_odd_then_lines_keep_their_numbers(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    data = b'\xef\xbb\xbf{"id":1}\r\n\r\n{"id":2}\n\n{"id":"\xff"}\n{"id":3}'
    loaded = load(con, tmp_path, data, EVENTS, name="x.jsonl")
    assert [(row[0], row[1]) for row in typed(con, loaded)] == [(1, "1"), (3, "2"), (6, "3")]
    assert rejected(con, loaded) == [(5, "row_is_valid_utf_8")]


def test_json_lines_when_keys_are_missing_or_extra_then_they_are_reported(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    loaded = load(con, tmp_path, '{"ID":1,"z":1}\n' * 1500 + '{"x":1}\n', EVENTS, name="x.jsonl")
    assert (loaded.columns_missing, loaded.columns_extra) == (("n", "at"), ("z",))
    assert typed(con, loaded)[0][1] == "1"


# --- Parquet ------------------------------------------------------------------------------------------------------------------

UTC_MOMENT = dt.datetime(2024, 7, 5, 10, tzinfo=dt.UTC)
NATIVE: dict[str, tuple[Column, pa.Array, object]] = {
    "an integer": (column("v", "integer"), pa.array([7], pa.int32()), 7),
    "an integer beyond range": (column("v", "integer", "SMALLINT"), pa.array([70_000]), "v_is_integer"),
    "an unsigned integer": (column("v", "integer"), pa.array([2**64 - 1], pa.uint64()), "v_is_integer"),
    "a whole float for an integer": (column("v", "integer"), pa.array([7.0]), 7),
    "a fraction for an integer": (column("v", "integer"), pa.array([7.5]), "v_is_integer"),
    "an integer for a text": (column("v"), pa.array([7]), "7"),
    "a text for an integer": (column("v", "integer"), pa.array(["7"]), 7),
    "a word for an integer": (column("v", "integer"), pa.array(["x"]), "v_is_integer"),
    "not a number": (column("v", "number"), pa.array([float("nan")]), "v_is_number"),
    "infinity": (column("v", "number"), pa.array([float("inf")]), "v_is_number"),
    "a float for a decimal": (column("v", "number", "DECIMAL(6,2)"), pa.array([1.25]), Decimal("1.25")),
    "a float with noise beyond a decimal's scale": (
        column("v", "number", "DECIMAL(6,2)"),
        pa.array([0.1 + 0.2]),
        Decimal("0.30"),
    ),
    "a decimal of more digits": (column("v", "number", "DECIMAL(6,2)"), pa.array([Decimal("1.005")]), Decimal("1.01")),
    "a decimal of fewer digits": (column("v", "number", "DECIMAL(6,2)"), pa.array([Decimal("1.5")]), Decimal("1.50")),
    "a boolean": (column("v", "boolean"), pa.array([True]), True),
    "an integer for a boolean": (column("v", "boolean"), pa.array([1]), True),
    "a naive timestamp": (
        column("v", "timestamp"),
        pa.array([dt.datetime(2024, 7, 5, 10)]),
        dt.datetime(2024, 7, 5, 10),
    ),
    "a zoned timestamp": (column("v", "timestamp"), pa.array([UTC_MOMENT]), dt.datetime(2024, 7, 5, 12)),
    "nanoseconds": (
        column("v", "timestamp"),
        pa.array([dt.datetime(2024, 7, 5, 10)], pa.timestamp("ns")),
        dt.datetime(2024, 7, 5, 10),
    ),
    "zoned nanoseconds": (
        column("v", "timestamp"),
        pa.array([UTC_MOMENT], pa.timestamp("ns", "UTC")),
        dt.datetime(2024, 7, 5, 12),
    ),
    "a zoned timestamp for a text": (column("v"), pa.array([UTC_MOMENT]), "2024-07-05 12:00:00"),
    "a date for a timestamp": (column("v", "timestamp"), pa.array([dt.date(2024, 7, 5)]), dt.datetime(2024, 7, 5)),
    "a timestamp by day for a date": (column("v", "date"), pa.array([dt.datetime(2024, 7, 5, 10)]), "v_is_date"),
    "a timestamp at midnight for a date": (
        column("v", "date"),
        pa.array([dt.datetime(2024, 7, 5)]),
        dt.date(2024, 7, 5),
    ),
    "a text for a date": (column("v", "date"), pa.array(["2023-02-29"]), "v_is_date"),
    "bytes for a text": (column("v"), pa.array(["Zürich".encode()]), "Zürich"),
    "a dictionary": (column("v"), pa.array(["x"]).dictionary_encode(), "x"),
    "a list for a text": (column("v"), pa.array([[1, 2]]), "[1,2]"),
    "a struct for json": (column("v", "object"), pa.array([{"a": 1}]), '{"a":1}'),
    "a list for an array": (column("v", "array"), pa.array([["x"]]), ["x"]),
    "an empty text": (column("v"), pa.array([" "]), None),
    "nothing": (column("v", "integer"), pa.array([None], pa.null()), None),
}


@pytest.mark.parametrize(("about", "values", "expected"), NATIVE.values(), ids=NATIVE)
def test_parquet_value_when_it_has_a_native_type_then_the_same_rules_hold(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, about: Column, values: pa.Array, expected: object
) -> None:
    data = as_parquet(pa.table({"k": ["1"], "V ": values}))
    loaded = load(con, tmp_path, data, table(column("k"), about), BERLIN, "x.parquet")
    if isinstance(expected, str) and expected.startswith("v_"):
        assert rejected(con, loaded) == [(1, expected)]
    else:
        assert typed(con, loaded) == [(1, "1", expected)]


def test_parquet_when_columns_repeat_or_differ_then_it_says_so(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    twice = as_parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(UnreadableExtractError, match="twice"):
        load(con, tmp_path, twice, name="x.parquet")
    loaded = load(con, tmp_path, as_parquet(pa.table({"a": [1], "A": [2], "z": [3]})), name="y.parquet")
    assert (loaded.columns_missing, loaded.columns_extra, typed(con, loaded)) == (
        ("b", "c"),
        ("A", "z"),
        [(1, "1", None, None)],
    )


def test_parquet_when_a_page_is_corrupt_then_it_is_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    data = bytearray(
        as_parquet(pa.table({"a": [f"text {i}" for i in range(50_000)], "b": ["x"] * 50_000, "c": ["y"] * 50_000}))
    )
    data[200:4000] = b"\xff" * 3800
    with pytest.raises(UnreadableExtractError, match="corrupt inside"):
        load(con, tmp_path, bytes(data), name="x.parquet")


# --- many rows, and nothing lost ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quoted", [False, True], ids=["bare", "with multi-line fields"])
def test_lines_when_a_large_file_has_broken_rows_everywhere_then_each_row_knows_its_line(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, quoted: bool
) -> None:
    chance = random.Random(7)
    lines = ["a,b,c"]
    good: list[int] = []
    bad: list[int] = []
    number = 2
    for i in range(60_000):
        row, numbers = f"{i},{'x' * chance.randint(0, 100)},z", good
        if chance.random() < 0.02:
            row, numbers = (f'{i},"x\n{"y" * chance.randint(0, 50)}\n",z', good) if quoted else (f"{i},x", bad)
        lines.append(row)
        numbers.append(number)
        number += 1 + row.count("\n")
    loaded = load(con, tmp_path, "\n".join(lines) + "\n")
    assert [row[0] for row in typed(con, loaded)] == good
    assert [row[0] for row in rejected(con, loaded)] == bad


def test_lines_when_multi_line_fields_come_late_in_a_large_file_then_they_are_found_too(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    data = ABC + '1,"2",3\n' * 200_000 + '4,"x\ny",6\n7,"8",9\n'
    loaded = load(con, tmp_path, data)
    rows = con.execute(f"SELECT source_line, a FROM {loaded.typed} WHERE a <> '1' ORDER BY 1").fetchall()
    assert rows == [(200_002, "4"), (200_004, "7")]
    assert loaded.n_read == 200_002


CELLS = st.text(alphabet='ab1",\n\r\0 é=', max_size=6) | st.sampled_from(
    ["1", "2.5", "2024-01-05", "x" * 40, '"', '""', "NULL"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), max_size=8).map("\n".join),
    raw=st.binary(max_size=60),
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_when_a_file_is_arbitrary_then_read_equals_typed_plus_rejected(suffix: str, body: str, raw: bytes) -> None:
    contract = table(column("a", "integer"), column("b", "date"), column("c"))
    con = duckdb.connect()
    con.execute("BEGIN")
    with tempfile.TemporaryDirectory() as folder:
        data = (ABC if suffix == ".csv" else "").encode() + body.encode() + raw
        try:
            loaded = load(con, Path(folder), data, contract, name="x" + suffix)
        except UnreadableExtractError:
            assert suffix == ".jsonl"  # bytes that are the beginning of another format
            return
        lines = [line for line in data.removeprefix(ABC.encode() if suffix == ".csv" else b"").splitlines() if line]
        n_lines = len([line for line in lines if line.strip()])
        assert loaded.n_read == loaded.n_typed + loaded.n_rejected <= len(lines)
        assert loaded.n_read == n_lines or suffix == ".csv"
        assert loaded.n_read == len(typed(con, loaded)) + len(rejected(con, loaded))
        assert loaded.n_read > 0 or n_lines == 0
    con.close()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 30)),
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1),
        ),
        max_size=30,
    )
)
def test_rows_when_they_are_good_then_csv_and_jsonl_and_parquet_give_them_back(
    rows: list[tuple[int, dt.date, str]],
) -> None:
    import csv

    contract = table(column("a", "integer"), column("b", "date"), column("c"))
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([("a", "b", "c"), *[(a, b.isoformat(), c) for a, b, c in rows]])
    lines = "".join(json.dumps({"a": a, "b": b.isoformat(), "c": c}) + "\n" for a, b, c in rows)
    frame = pa.table(
        {
            "a": pa.array([r[0] for r in rows], pa.int64()),
            "b": pa.array([r[1] for r in rows], pa.date32()),
            "c": pa.array([r[2] for r in rows], pa.string()),
        }
    )
    con = duckdb.connect()
    con.execute("BEGIN")
    expected = [(a, b, c if c.strip(" \t\n\f") else None) for a, b, c in rows]
    with tempfile.TemporaryDirectory() as folder:
        for name, data in {
            "x.csv": sink.getvalue().encode(),
            "x.jsonl": lines.encode(),
            "x.parquet": as_parquet(frame),
        }.items():
            loaded = load(con, Path(folder), data, contract, name=name)
            assert loaded.n_rejected == 0, name
            assert [row[1:] for row in typed(con, loaded)] == expected, name
    con.close()


def test_load_when_the_engine_would_lose_a_row_then_it_fails_loudly(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = load_module.repair  # type: ignore[attr-defined]

    def losing(*args: object, **kwargs: object) -> object:
        repaired = honest(*args, **kwargs)  # type: ignore[arg-type]
        repaired.rows.write_bytes(b"".join(repaired.rows.read_bytes().splitlines(keepends=True)[1:]))
        return repaired

    monkeypatch.setattr(load_module, "repair", losing)
    with pytest.raises(EngineError, match="2 rows were read, but 1 typed and 0 rejected"):
        load(con, tmp_path, ABC + "1,2,3\n\n4,5,6\n")


def test_leftovers_when_a_run_was_killed_then_only_its_work_folders_go(tmp_path: Path) -> None:
    (tmp_path / "extract_abc").mkdir()
    (tmp_path / "extract_abc" / "rows.csv").write_text("personal\n", encoding="utf-8")
    (tmp_path / "cx.duckdb").write_bytes(b"kept")
    (tmp_path / "hash.key").write_text("kept", encoding="ascii")
    extracts.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cx.duckdb", "hash.key"]
