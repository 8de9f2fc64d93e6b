"""The corpus of bad extracts: what the real intake makes of each kind, beside a good file of the same channel.

Every kind ends in rejected rows that name their rule, in rows that stand, or in a refusal that names the file and says why; nothing is
lost, nothing takes long, and no message is a traceback or names a place on the machine.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_channels, load_step
from cx_pipeline.core.extracts import (
    HAS_NO_NUL_BYTES,
    HAS_THE_HEADERS_COLUMNS,
    IS_A_JSON_OBJECT,
    IS_NOT_TOO_LONG,
    QUOTES_ARE_CLOSED,
)
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging.intake import channel_tables, check_conservation, take_in
from cx_pipeline.staging.landing import list_files
from cx_pipeline.staging.sampling import sample_channel
from cx_pipeline_tests.frames import channel_of

MANIFEST = load_step("staging")["load_manifest"]
SHOP = channel_of(
    "shop",
    "interaction",
    {
        "no": {"role": "record.id", "required": True, "primaryKey": True},
        "at": {"role": "event.at", "logicalType": "timestamp"},
        "paid": {
            "role": "event.value",
            "logicalType": "number",
            "physicalType": "decimal(8,2)",
            "logicalTypeOptions": {"minimum": 0},
        },
        "kind": {"role": "event.type", "enum": [{"value": "view"}, {"value": "buy"}]},
        "born": {"logicalType": "date"},
        "pieces": {"logicalType": "integer"},
        "note": {},
    },
)
HEADER = "no,at,paid,kind,born,pieces,note\n"
GOOD = "1,2024-01-31 10:00:00,5.00,buy,1990-02-28,1,fine\n"
SECONDS = 20
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Staged:
    """A file that can be read: how many rows stand, and how many rows break which rule first."""

    n: int
    rules: Mapping[str, int] = field(default_factory=dict)
    n_superseded: int = 0


@dataclass(frozen=True)
class Refused:
    """A file that cannot be read, and what the reason says."""

    reason: str


Outcome = Staged | Refused


def row(**values: str) -> str:
    """A CSV row: a good one, but for some values."""
    fields = {"no": "2", "at": "", "paid": "1.00", "kind": "view", "born": "", "pieces": "", "note": ""} | values
    return ",".join(fields.values()) + "\n"


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pl.DataFrame({"no": ["1"], **columns}).write_parquet(sink)
    return sink.getvalue()


def note_of(text: bytes) -> bytes:
    """A CSV of a good row and one whose note is these bytes."""
    return (HEADER + GOOD).encode() + row(note="@").encode().replace(b"@", text)


def broken(rule: str, **values: str) -> tuple[str, str, Outcome]:
    """A CSV of a good row and one with a value that breaks a rule."""
    return "x.csv", HEADER + GOOD + row(**values), Staged(1, {rule: 1})


BOMB_IN_GZIP = gzip.compress(HEADER.encode() + bytes(MAX_BYTES + (1 << 20)), 1)
MANY_IN_GZIP = gzip.compress((HEADER + GOOD * 9_999).encode())
CORPUS: dict[str, tuple[str, str | bytes, Outcome]] = {
    # -- structure
    "ragged: too few fields": ("x.csv", HEADER + GOOD + "2,3\n", Staged(1, {HAS_THE_HEADERS_COLUMNS: 1})),
    "ragged: too many fields": (
        "x.csv",
        HEADER + GOOD + row()[:-1] + ",9,9\n",
        Staged(1, {HAS_THE_HEADERS_COLUMNS: 1}),
    ),
    "a delimiter that is not quoted": (
        "x.csv",
        HEADER + GOOD + row(note="a,b"),
        Staged(1, {HAS_THE_HEADERS_COLUMNS: 1}),
    ),
    "a quote never closed": ("x.csv", HEADER + '2,,,,,,"open\n' + GOOD, Staged(1, {QUOTES_ARE_CLOSED: 1})),
    "a quote closed too early": ("x.csv", HEADER + '2,,,,,,"a"b"\n' + GOOD, Staged(1, {QUOTES_ARE_CLOSED: 1})),
    "a quote escaped by a backslash": ("x.csv", HEADER + '2,,,,,,"a\\"b"\n' + GOOD, Staged(1, {QUOTES_ARE_CLOSED: 1})),
    "a quote open at the end of the file": ("x.csv", HEADER + GOOD + '2,,,,,,"', Staged(1, {QUOTES_ARE_CLOSED: 1})),
    "a field over several lines": ("x.csv", HEADER + GOOD + '2,,,,,,"a\n\nb"\n', Staged(2)),
    "nul bytes": ("x.csv", HEADER + GOOD + row(note="a\0b"), Staged(1, {HAS_NO_NUL_BYTES: 1})),
    "nothing but nul bytes": ("x.csv", bytes(4096), Refused("NUL bytes")),
    "crlf": ("x.csv", (HEADER + GOOD + row()).replace("\n", "\r\n"), Staged(2)),
    "lone cr": ("x.csv", (HEADER + GOOD + row()).replace("\n", "\r"), Staged(2)),
    "mixed line ends": (
        "x.csv",
        HEADER + GOOD.replace("\n", "\r\n") + row() + row(no="3").replace("\n", "\r"),
        Staged(3),
    ),
    "no line end at the end": ("x.csv", HEADER + GOOD[:-1], Staged(1)),
    "blank lines": ("x.csv", "\n" + HEADER + "\n" + GOOD + "\n\n", Staged(1)),
    "a row repeated as its header": (
        "x.csv",
        HEADER + GOOD + HEADER,
        Staged(1, {"at_is_timestamp": 1}),
    ),
    "a huge field": ("x.csv", HEADER + GOOD + row(note="x" * (3 << 20)), Staged(2)),
    "a field beyond all measure": (
        "x.csv",
        HEADER + GOOD + row(note="x" * (17 << 20)),
        Staged(1, {IS_NOT_TOO_LONG: 1}),
    ),
    "thousands of columns": (
        "x.csv",
        HEADER[:-1] + "".join(f",c{i}" for i in range(2000)) + "\n" + GOOD[:-1] + "," * 2000 + "\n",
        Staged(1),
    ),
    "an empty file": ("x.csv", "", Staged(0)),
    "nothing but line ends": ("x.csv", "\n\r\n\n", Staged(0)),
    "a header only": ("x.csv", HEADER, Staged(0)),
    "a header only, without line end": ("x.csv", HEADER[:-1], Staged(0)),
    # -- columns
    "a missing column": ("x.csv", "no,at\n1,2024-01-31\n", Staged(1)),
    "a missing required column": ("x.csv", "at,note\n2024-01-31,x\n", Staged(0, {"no_is_in_the_file": 1})),
    "an extra column": ("x.csv", "no,colour\n1,red\n", Staged(1)),
    "columns in another order": ("x.csv", "note,no\nx,1\n", Staged(1)),
    "a column twice": ("x.csv", "no,note,note\n1,a,b\n", Refused("names a column twice")),
    "two columns that could be one": ("x.csv", "no,Note,NOTE\n1,a,b\n", Refused("could be `note`")),
    "a header with an open quote": ("x.csv", 'no,"note\n1,x\n', Refused("quotes are not closed")),
    "a header beyond all measure": ("x.csv", "a" * (2 << 20), Refused("longer than 1 MiB")),
    "another delimiter": (
        "x.csv",
        HEADER.replace(",", ";") + GOOD.replace(",", ";"),
        Staged(0, {"no_is_in_the_file": 1}),
    ),
    # -- encodings
    "a byte order mark": ("x.csv", b"\xef\xbb\xbf" + (HEADER + GOOD).encode(), Staged(1)),
    "utf-16 with a mark": ("x.csv", (HEADER + GOOD).encode("utf-16"), Staged(1)),
    "utf-16 without a mark": ("x.csv", (HEADER + GOOD).encode("utf-16-le"), Refused("NUL bytes")),
    "latin-1 in a utf-8 file": (
        "x.csv",
        (HEADER + GOOD + row(note="Zürich")).encode("latin-1"),
        Staged(1, {"row_is_valid_utf_8": 1}),
    ),
    "overlong utf-8": (
        "x.csv",
        note_of(b"\xc0\x80"),
        Staged(1, {"row_is_valid_utf_8": 1}),
    ),
    "half a surrogate": (
        "x.csv",
        note_of(b"\xed\xa0\x80"),
        Staged(1, {"row_is_valid_utf_8": 1}),
    ),
    "a header of another encoding": ("x.csv", b"no,gr\xf6\xdfe\n1,2\n", Refused("header is not utf-8")),
    # -- values
    "a required value missing": broken("no_is_never_null", no=""),
    "a required value of blanks": broken("no_is_never_null", no="  "),
    "a number out of range": broken("paid_is_in_range", paid="-0.01"),
    "a number too large for its type": broken("paid_fits_decimal", paid="12345678.00"),
    "an integer too large for its type": broken("pieces_is_integer", pieces="9223372036854775808"),
    "a fraction for an integer": broken("pieces_is_integer", pieces="1.5"),
    "a word for a number": broken("paid_is_number", paid="five"),
    "a decimal comma": broken("paid_is_number", paid='"1,5"'),
    "a currency sign": broken("paid_is_number", paid="€5"),
    "not a number": broken("paid_is_number", paid="NaN"),
    "infinity": broken("paid_is_number", paid="inf"),
    "digits of another script": broken("pieces_is_integer", pieces="٣"),
    "an impossible date": broken("born_is_date", born="2023-02-29"),
    "a date of zeros": broken("born_is_date", born="0000-00-00"),
    "a date of another order": broken("born_is_date", born="31.01.2024"),
    "a date without end": broken("born_is_date", born="infinity"),
    "an impossible time": broken("at_is_timestamp", at="2024-01-31 25:00:00"),
    "a zone with a name": broken("at_is_timestamp", at="2024-01-31 10:00:00 Europe/Berlin"),
    "an impossible offset": broken("at_is_timestamp", at="2024-01-31T10:00:00+25:00"),
    "mixed zones": (
        "x.csv",
        HEADER
        + row(at="2024-01-31T10:00:00Z")
        + row(no="3", at="2024-01-31T12:00:00+02:00")
        + row(no="4", at="2024-01-31 10:00:00"),
        Staged(3),
    ),
    "a word that is not in the list": broken("kind_is_an_allowed_value", kind="return"),
    "a key twice": ("x.csv", HEADER + GOOD + GOOD.replace("fine", "again"), Staged(1, {"no_is_unique": 1})),
    "a formula of a spreadsheet": ("x.csv", HEADER + row(note="=cmd|' /C calc'!A0") + row(no="@SUM(A1)"), Staged(2)),
    "sql in a value": ("x.csv", HEADER + row(note="'); DROP TABLE staging.load_manifest; --"), Staged(1)),
    # -- JSON
    "json cut off": ("x.jsonl", '{"no":"1"}\n{"no":"2"', Staged(1, {IS_A_JSON_OBJECT: 1})),
    "json that is a list": ("x.jsonl", '[{"no":"1"}]\n{"no":"2"}\n', Staged(1, {IS_A_JSON_OBJECT: 1})),
    "json over several lines": ("x.jsonl", '{\n"no":"1"\n}\n', Staged(0, {IS_A_JSON_OBJECT: 3})),
    "two objects in a line": ("x.jsonl", '{"no":"1"}{"no":"2"}\n{"no":"3"}\n', Staged(1, {IS_A_JSON_OBJECT: 1})),
    "deep json": ("x.jsonl", '{"no":"1","note":' + "[" * 100_000 + "]" * 100_000 + "}\n", Staged(1)),
    "deep json that never ends": (
        "x.jsonl",
        '{"no":"1"}\n{"no":"2","note":' + "[" * 100_000,
        Staged(1, {IS_A_JSON_OBJECT: 1}),
    ),
    "an object for a number": ("x.jsonl", '{"no":"1"}\n{"no":"2","paid":{}}\n', Staged(1, {"paid_is_number": 1})),
    "csv named jsonl": ("x.jsonl", HEADER + GOOD, Staged(0, {IS_A_JSON_OBJECT: 2})),
    # -- gzip
    "gzip cut off": (
        "x.csv.gz",
        gzip.compress(HEADER.encode() + random.Random(1).randbytes(99_999))[:-5_000],
        Refused("cut off"),
    ),
    "gzip with a broken middle": (
        "x.csv.gz",
        MANY_IN_GZIP[:60] + bytes(200),
        Refused("damaged|cut off"),
    ),
    "gzip whose checksum is wrong": (
        "x.csv.gz",
        gzip.compress((HEADER + GOOD).encode())[:-8] + bytes(8),
        Refused("damaged|cut off"),
    ),
    "no gzip at all": ("x.csv.gz", HEADER + GOOD, Refused("no gzip")),
    "an empty gzip": ("x.csv.gz", gzip.compress(b""), Staged(0)),
    "a gzip bomb": (
        "x.csv.gz",
        BOMB_IN_GZIP,
        Refused("more than 67,108,864 bytes once uncompressed"),
    ),
    # -- Parquet
    "parquet cut off": ("x.parquet", parquet(paid=[1.0])[:-9], Refused("cut off")),
    "parquet without its middle": ("x.parquet", b"PAR1" + bytes(200) + b"PAR1", Refused("cannot be read")),
    "an empty parquet": ("x.parquet", b"", Refused("empty")),
    "csv named parquet": ("x.parquet", HEADER + GOOD, Refused("no Parquet")),
    "parquet with a value that does not fit": ("x.parquet", parquet(paid=["many"]), Staged(0, {"paid_is_number": 1})),
    "parquet of lists and structs": ("x.parquet", parquet(note=[{"a": [1, 2]}]), Staged(1)),
    # -- other things
    "parquet named csv": ("x.csv", parquet(), Refused("is Parquet")),
    "gzip named csv": ("x.csv", gzip.compress(b"no\n1\n"), Refused("is gzip")),
    "a spreadsheet named csv": ("x.csv", b"PK\x03\x04" + bytes(100), Refused("spreadsheet")),
    "a picture named csv": ("x.csv", b"\x89PNG\r\n\x1a\n" + bytes(100), Refused("picture")),
    "a page of the web named csv": (
        "x.csv",
        "<!doctype html>\n<html>503</html>\n",
        Staged(0, {"no_is_in_the_file": 1}),
    ),
    "a spreadsheet": ("x.xlsx", b"PK\x03\x04", Refused("not a file type")),
    "no extension": ("extract", HEADER, Refused("not a file type")),
    # -- names
    "a name with sql": ("'; DROP TABLE x; --.csv", HEADER + GOOD, Staged(1)),
    "a name with patterns": ("[a-z]*?{x,y}.csv", HEADER + GOOD, Staged(1)),
    "a name with quotes": ("\"quoted\" 'name'.csv", HEADER + GOOD, Staged(1)),
    "a name with a line end": ("two\nlines.csv", HEADER + GOOD, Staged(1)),
    "a name with a backslash": ("back\\slash.csv", HEADER + GOOD, Staged(1)),
    "a name for a shell": ("$(touch hacked) -rf.csv", HEADER + GOOD, Staged(1)),
    "a name in another script": ("выгрузка 2024 é.csv", HEADER + GOOD, Staged(1)),
    "a name like a partition": ("kind=buy/x.csv", HEADER + GOOD, Staged(1)),
    "a very long name": ("x" * 240 + ".csv", HEADER + GOOD, Staged(1)),
}


class Shop:
    """A channel's landing folder and a warehouse, without the audit, which has its own tests."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "landing" / "shop"
        self.folder.mkdir(parents=True)
        self.warehouse = Warehouse(None)
        self.warehouse._audit = lambda table, name, **_: None  # type: ignore[method-assign]

    def land(self, name: str, data: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)

    def take_in(self) -> pl.DataFrame:
        manifest = take_in(
            self.warehouse,
            SHOP,
            MANIFEST,
            self.folder,
            company_time_zone="Europe/Berlin",
            started_at=datetime(2024, 1, 1),
            max_extract_bytes=MAX_BYTES,
        ).manifest
        assert check_conservation(manifest).is_empty()
        return manifest

    def rows(self, table: str = "rows") -> pl.DataFrame:
        tables = channel_tables(SHOP)
        return to_polars(self.warehouse.read(getattr(tables, table).full_name))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    opened = Shop(tmp_path)
    yield opened
    opened.warehouse.close()


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """No kind may hang."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def is_clean(message: str, root: Path) -> bool:
    return not any(word in message for word in ("Traceback", "Error:", "<class", "0x", str(root), "site-packages"))


def test_corpus_when_counted_then_it_has_more_than_sixty_kinds() -> None:
    assert len(CORPUS) > 90


@pytest.mark.parametrize(("name", "data", "expected"), CORPUS.values(), ids=CORPUS)
def test_extract_when_it_is_bad_then_its_rows_or_the_file_are_set_apart_with_a_reason_and_nothing_is_lost(
    shop: Shop, tmp_path: Path, name: str, data: str | bytes, expected: Outcome
) -> None:
    shop.land("good.csv", HEADER + row(no="good"))
    shop.land(name, data)
    manifest = {entry["file"]: entry for entry in shop.take_in().iter_rows(named=True)}
    assert set(manifest) == {"good.csv", name}
    assert shop.rows().filter(pl.col("source_file") == "good.csv")["no"].to_list() == ["good"]
    found = manifest[name]
    rejected = shop.rows("rejected")
    assert Counter(rejected["rule"].to_list()) == (expected.rules if isinstance(expected, Staged) else {})
    assert set(rejected["source_file"]) <= {name}
    if isinstance(expected, Refused):
        assert (found["status"], found["rows_read"]) == ("refused", 0)
        assert pl.Series([found["reason"]]).str.contains(expected.reason)[0], found["reason"]
        assert is_clean(found["reason"], tmp_path)
        return
    n_rejected = sum(expected.rules.values())
    counts = (found["rows_read"], found["rows_staged"], found["rows_rejected"], found["rows_superseded"])
    assert (found["status"], counts) == ("loaded", (expected.n + n_rejected, expected.n, n_rejected, 0))
    assert shop.rows().filter(pl.col("source_file") == name).height == expected.n


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [case for case in CORPUS.values() if isinstance(case[2], Refused) and "bytes once" not in case[2].reason],
    ids=[kind for kind, case in CORPUS.items() if isinstance(case[2], Refused) and "bytes once" not in case[2].reason],
)
def test_sample_when_a_file_cannot_be_read_then_it_is_refused_in_the_words_of_the_run(
    shop: Shop, tmp_path: Path, name: str, data: str | bytes, expected: Refused
) -> None:
    shop.land(name, data)
    if "not a file type" in expected.reason:
        assert sample_channel(shop.warehouse, SHOP, shop.folder, "UTC") == []
        return
    (found,) = sample_channel(shop.warehouse, SHOP, shop.folder, "UTC")
    # Of a file whose fault lies beyond the first rows a sample knows nothing.
    if found.refusal:
        assert pl.Series([found.refusal]).str.contains(expected.reason)[0], found.refusal
        assert is_clean(found.refusal, tmp_path)
    else:
        assert name.endswith(".gz")


def link_out(folder: Path) -> None:
    (folder.parent.parent / "secret.csv").write_text(HEADER + row(no="secret"))
    (folder / "x.csv").symlink_to(folder.parent.parent / "secret.csv")


def link_up(folder: Path) -> None:
    link_out(folder)
    (folder / "x.csv").unlink()
    (folder / "x.csv").symlink_to("../../secret.csv")


def folder_out(folder: Path) -> None:
    (folder.parent.parent / "other").mkdir()
    (folder.parent.parent / "other" / "secret.csv").write_text(HEADER + row(no="secret"))
    (folder / "x").symlink_to(folder.parent.parent / "other")


ODD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link out of landing": (link_out, "out of the landing folder"),
    "a linked folder out of landing": (folder_out, "out of the landing folder"),
    "a link through the folder above": (link_up, "out of the landing folder"),
    "a link to nowhere": (lambda f: (f / "x.csv").symlink_to(f / "gone.csv"), "leads nowhere"),
    "a link to itself": (lambda f: (f / "x.csv").symlink_to(f / "x.csv"), "leads nowhere"),
    "a link to a device": (lambda f: (f / "x.csv").symlink_to("/dev/zero"), "out of the landing folder"),
    "a pipe": (lambda f: os.mkfifo(f / "x.csv"), "not a regular file"),
    "a name that is no utf-8": (lambda f: (f / os.fsdecode(b"caf\xe9.csv")).write_text(HEADER), "not valid UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), ODD_FILES.values(), ids=ODD_FILES)
def test_file_when_it_must_not_be_opened_then_it_is_refused_unread(
    shop: Shop, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    shop.land("good.csv", HEADER + row(no="good"))
    make(shop.folder)
    refused = shop.take_in().filter(pl.col("status") == "refused")
    assert refused.height == 1
    assert reason in refused["reason"][0]
    assert is_clean(refused["reason"][0], tmp_path)
    assert shop.rows()["no"].to_list() == ["good"]
    assert [file.refusal for file in list_files(shop.folder) if file.refusal] == refused["reason"].to_list()


def test_formulas_when_they_are_staged_then_they_stay_text_in_the_published_file(shop: Shop, tmp_path: Path) -> None:
    formulas = ["=1+1", "+1", "-1+1", "@SUM(A1)", '=HYPERLINK("http://x")']
    shop.land("x.jsonl", "".join(json.dumps({"no": str(i), "note": text}) + "\n" for i, text in enumerate(formulas)))
    shop.take_in()
    shop.warehouse.export(channel_tables(SHOP).rows, tmp_path / "rows.parquet")
    published = pl.read_parquet(tmp_path / "rows.parquet").sort("no")
    assert (published.schema["note"], published["note"].to_list()) == (pl.String(), formulas)


BOMB = "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))
CONTRACTS = {
    "yaml that explodes": (BOMB, "aliases"),
    "yaml that contains itself": ("a: &a [*a]\nschema: *a\n", "channels/x.yaml"),
    "deep yaml": ("a: " + "[" * 5_000, "not readable as YAML"),
    "yaml that calls python": ('!!python/object/apply:os.system ["true"]', "not readable as YAML"),
    "yaml with nul bytes": ("a: \0", "not readable as YAML"),
    "bytes": (b"\xff\xfe\x00\x80", "UTF-8"),
}


@pytest.mark.parametrize(("text", "reason"), CONTRACTS.values(), ids=CONTRACTS)
def test_contract_when_it_is_hostile_then_it_is_broken_with_a_reason(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    (tmp_path / "channels").mkdir()
    (tmp_path / "channels" / "x.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    channels, (found,) = load_channels(tmp_path / "channels")
    assert channels == []
    assert reason in str(found.error)
    assert is_clean(str(found.error), tmp_path)
