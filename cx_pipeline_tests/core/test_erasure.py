from __future__ import annotations

import gzip
import random
import sqlite3
import stat
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core import erasure
from cx_pipeline.core.contract import load_channels
from cx_pipeline.core.erasure import UnsafeRewriteError, put_out_of_reach, remove_records, spans
from cx_pipeline.core.extracts import ExtractFormat
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline_tests.tiny_company import contract, write_contract


def test_spans_when_records_take_several_lines_then_each_ends_where_the_next_begins() -> None:
    assert spans([2, 3, 6, 7], [3, 7]) == [(3, 6), (7, None)]
    assert spans([2, 3, 6, 7], [3, 6]) == [(3, 7)]
    assert spans([2], []) == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl"])
def test_remove_records_when_a_text_is_rewritten_then_all_other_bytes_stay(
    tmp_path: Path, name: str, encoding: str, end: str
) -> None:
    lines = ["no;name", "1;Müller", '2;"two', 'lines"', "3;Ödön", "4;last"]
    path = tmp_path / name

    def packed(kept: list[str]) -> bytes:
        return end.join(kept).encode(encoding)

    def write(data: bytes) -> None:
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    def read() -> bytes:
        return gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()

    write(packed(lines))
    path.chmod(0o640)
    assert remove_records(path, [2, 3, 5, 6], [3], encoding) == 1
    assert read() == packed([*lines[:2], *lines[4:]])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    # The last record goes with everything up to the end of the file.
    remove_records(path, [2, 3, 4], [4], encoding)
    assert read() == packed([*lines[:2], lines[4], ""])
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_remove_records_when_pieces_of_a_large_file_are_cut_anywhere_then_equal_to_cutting_it_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(7)
    path = tmp_path / "a.csv"
    for n_bytes in (1, 2, 3, 7, 64):
        monkeypatch.setattr(erasure, "_CHUNK_BYTES", n_bytes)
        for _ in range(40):
            lines = ["x" * draw.randrange(4) + draw.choice(["\n", "\r\n", "\r"]) for _ in range(draw.randrange(1, 12))]
            # A CR before a lone LF would be one line end.
            lines = [line.replace("\r", "\r\n") if line == "\r" or line.endswith("x\r") else line for line in lines]
            starts = sorted(draw.sample(range(1, len(lines) + 1), draw.randrange(1, len(lines) + 1)))
            dropped = draw.sample(starts, draw.randrange(1, len(starts) + 1))
            path.write_bytes("".join(lines).encode())
            remove_records(path, starts, dropped)
            taken = {line for first, end in spans(starts, dropped) for line in range(first, end or len(lines) + 1)}
            assert path.read_bytes() == "".join(t for i, t in enumerate(lines, 1) if i not in taken).encode()


def test_remove_records_when_the_file_is_parquet_then_rows_go_and_types_groups_and_metadata_stay(
    tmp_path: Path,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    table = pa.table(
        {"no": pa.array(range(10), pa.int16()), "name": pa.array([f"n{i}" for i in range(10)]).dictionary_encode()},
    ).replace_schema_metadata({"source": "till 4"})
    pq.write_table(table, path, row_group_size=4, compression="gzip")
    assert remove_records(path, range(1, 11), [1, 5, 6, 7, 8, 10]) == 6
    found = pq.ParquetFile(path)
    assert found.read().equals(table.take([1, 2, 3, 8]).replace_schema_metadata(found.schema_arrow.metadata))
    assert found.schema_arrow.metadata[b"source"] == b"till 4"
    assert found.schema_arrow.types == table.schema.types
    assert found.metadata.row_group(0).column(0).compression == "GZIP"
    with pytest.raises(UnsafeRewriteError, match="fewer rows"):
        remove_records(path, [1, 9], [9])
    assert pq.ParquetFile(path).metadata.num_rows == 4


def test_remove_records_when_a_file_cannot_be_decoded_then_it_stays_as_it_was(tmp_path: Path) -> None:
    wide = tmp_path / "a.csv"
    wide.write_bytes("no\n1\n2\n".encode("utf-16") + b"\xd8")
    cut = tmp_path / "b.csv.gz"
    cut.write_bytes(gzip.compress(b"no\n1\n2\n" * 1000)[:-20])
    for path in (wide, cut):
        before = path.read_bytes()
        with pytest.raises(UnsafeRewriteError):
            remove_records(path, [2, 3], [2], "utf-16" if path == wide else "utf-8")
        assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("odd", [False, True])
def test_remove_records_when_lines_come_from_the_intake_then_what_is_left_is_what_was_not_dropped(
    tmp_path: Path, odd: bool
) -> None:
    write_contract(tmp_path, contract("notes", "party", {"no": {"role": "record.id"}, "text": {}}))
    (channel,), _ = load_channels(tmp_path / "channels")
    path = tmp_path / "a.csv"
    broken = 'x "odd,"never closed\n' if odd else ""
    path.write_text(f'no,text\n1,a\n2,"b\nb, ""b"""\n{broken}3,c\n\n4,"d\r\nd"\n5,e\n')

    def load() -> tuple[list[tuple[str, int]], list[int]]:
        with Warehouse(None) as warehouse, warehouse.transaction():
            done = warehouse.load_extract(path, channel.table, ExtractFormat(), source_file="a.csv")
            typed = to_polars(warehouse.temporary(done.typed).select("no", "source_line"))
            rejected = to_polars(warehouse.temporary(done.rejected).select("source_line"))
            return sorted(typed.rows()), rejected["source_line"].to_list()

    rows, rejected = load()
    lines = dict(rows)
    remove_records(path, [*lines.values(), *rejected], [lines["2"], lines["4"]])
    assert [no for no, _ in load()[0]] == [no for no, _ in rows if no not in ("2", "4")]
    assert len(load()[1]) == len(rejected)


def test_put_out_of_reach_when_a_file_is_moved_then_only_its_owner_can_read_it(tmp_path: Path) -> None:
    quarantine = tmp_path / "quarantine"
    places = []
    for _ in range(2):
        path = tmp_path / "a.csv"
        path.write_text("x")
        places.append(put_out_of_reach(path, quarantine, "landing/crm/a.csv"))
        assert not path.exists()
    assert len(set(places)) == 2
    assert [stat.S_IMODE(place.stat().st_mode) for place in places] == [0o600, 0o600]
    assert stat.S_IMODE(quarantine.stat().st_mode) == 0o700


def test_search_when_values_are_packed_or_cut_by_pieces_then_they_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_CHUNK_BYTES", 16)
    needles = erasure.spellings(["Jörg.Quorv@x.example"])
    hidden = tmp_path / ".hidden"
    hidden.mkdir()
    (hidden / "log.txt").write_bytes(b"." * 11 + "jörg.quorv@x.example".encode("latin-1") + b"." * 50)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,J\xc3\xb6rg.Quorv@x.example\n"))
    (tmp_path / "none.txt").write_text("Jörg.Quorv@y.example")
    (tmp_path / "link.txt").symlink_to(tmp_path / "none.txt")
    found = {p.name: erasure.n_values_in(p, needles) for p in erasure.files_below([tmp_path, hidden])}
    assert {name for name, n in found.items() if n} == {"log.txt", "a.csv.gz"}
    assert list(found) == ["log.txt", "a.csv.gz", "none.txt"]
    words = {word for part in erasure.tokens_of(hidden / "log.txt") for word in part}
    assert any("rg.quorv@x.example" in word for word in words)


def test_is_telling_when_values_are_short_dates_or_numbers_then_they_are_not() -> None:
    assert [erasure.is_telling(v) for v in ("Müller", "a@b.cd", "+493055512345", "4711-0815-99")] == [True] * 4
    assert not any(
        erasure.is_telling(v) for v in ("Meier", "2024-01-31", "2024-01-31 10:00:00", "1234567890", "12.50", "")
    )


def test_vacuum_when_rows_were_deleted_then_no_byte_of_them_is_left(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "index.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA secure_delete = off")
        connection.execute("CREATE TABLE events (body TEXT)")
        connection.executemany("INSERT INTO events VALUES (?)", [(f"Zymbrascht {i}",) for i in range(500)])
        connection.commit()
        connection.execute("DELETE FROM events")
        connection.commit()
    connection.close()
    assert any(b"Zymbrascht" in found.read_bytes() for found in path.parent.iterdir())
    assert erasure.vacuum(tmp_path) == 1
    assert not any(b"Zymbrascht" in found.read_bytes() for found in path.parent.iterdir())


def test_compact_when_rows_were_deleted_then_no_byte_of_them_is_left_and_tables_are_the_same(tmp_path: Path) -> None:
    from cx_pipeline.core.warehouse import compact

    path = tmp_path / "cx.duckdb"
    table = pl.DataFrame({"no": range(20_000), "text": [f"Zymbrascht-{i * 7919 % 20_000:05d}" for i in range(20_000)]})
    with Warehouse(path) as warehouse:
        warehouse.materialise(table, "rows")
        warehouse._con.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT * FROM rows")
    assert b"Zymbrascht-" in path.read_bytes()
    with Warehouse(path) as warehouse:
        warehouse.keep_rows("s.t", warehouse.read("s.t").filter(nw.col("no") < 0))
    # What has been deleted is there still.
    assert b"Zymbrascht-" in path.read_bytes()
    path.chmod(0o600)
    compact(path)
    assert b"Zymbrascht-" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(found.name for found in tmp_path.iterdir()) == ["cx.duckdb"]
    with Warehouse(path) as warehouse:
        assert warehouse.names() == ["s.t"]
        assert warehouse.columns("s.t") == {"no": "BIGINT", "text": "VARCHAR"}
