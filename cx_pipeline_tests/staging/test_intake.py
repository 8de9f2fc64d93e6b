from __future__ import annotations

import gzip
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.core.errors import ContractBrokenError, ContractError
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging import intake, landing
from cx_pipeline.staging.intake import Intake, channel_tables, check_conservation, check_reject_rates, take_in
from cx_pipeline_tests.frames import channel_of, frame_of

MANIFEST = load_step("staging")["load_manifest"]
LANDING_FILES = load_step("staging")["landing_files"]
FIRST_NIGHT = datetime(2024, 1, 1, 2)
CRM = channel_of(
    "crm",
    "party",
    {
        "no": {"role": "record.id", "required": True, "primaryKey": True},
        "value": {"logicalType": "integer", "logicalTypeOptions": {"minimum": 0}},
    },
)
CRM_BY_ROLE = channel_of(
    "crm",
    "party",
    {"no": {"role": "record.id"}, "value": {"logicalType": "integer", "logicalTypeOptions": {"minimum": 0}}},
)
TIMED = channel_of(
    "crm",
    "party",
    {
        "no": {"role": "record.id"},
        "value": {"logicalType": "integer"},
        "changed": {"role": "record.updated_at", "logicalType": "date"},
    },
)
SNAPSHOT = channel_of(
    "crm",
    "party",
    {
        "no": {"role": "record.id", "required": True, "primaryKey": True},
        "value": {"logicalType": "integer"},
        "changed": {"role": "record.updated_at", "logicalType": "date"},
    },
    snapshot=True,
)

Rows = Sequence[tuple[Any, ...]]


class Nights:
    """A channel's landing folder, a warehouse in memory, and the nights that pass."""

    def __init__(self, root: Path, channel: Channel = CRM) -> None:
        self.folder = root / "landing" / "crm"
        self.folder.mkdir(parents=True)
        self.channel = channel
        self.warehouse = Warehouse(None)
        self.n_nights = 0

    def land(self, name: str, rows: Rows, header: str | None = None) -> None:
        """Write an extract; NULL is an empty field."""
        header = header or ",".join(self.channel.table.column_names)
        lines = [header, *(",".join("" if value is None else str(value) for value in row) for row in rows)]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def take_in(self, channel: Channel | None = None, **options: Any) -> Intake:
        self.n_nights += 1
        done = take_in(
            self.warehouse,
            channel or self.channel,
            MANIFEST,
            self.folder,
            **{"company_time_zone": "UTC", "started_at": FIRST_NIGHT + timedelta(days=self.n_nights - 1), **options},
        )
        assert check_conservation(done.manifest).is_empty(), done.manifest
        leftovers = self.warehouse._con.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()
        assert leftovers == []
        return done

    def tables(self) -> dict[str, pl.DataFrame]:
        tables = channel_tables(self.channel)
        found = {
            name: to_polars(self.warehouse.read(table.full_name)).sort("source_file", "source_line")
            for name, table in (("rows", tables.rows), ("rejected", tables.rejected), ("superseded", tables.superseded))
        }
        manifest = to_polars(self.warehouse.read(MANIFEST.full_name)).sort("file", "sha256")
        return found | {"manifest": manifest}

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """Standing rows, by default number and value."""
        return self.tables()["rows"].select(columns or ("no", "value")).sort(pl.all()).rows()

    def manifest(self) -> dict[str, tuple[str, int, int, int, int]]:
        """File -> status, rows read, staged, rejected, superseded (of its last content)."""
        table = self.tables()["manifest"].filter(pl.col("reason").is_null() | (pl.col("reason") != intake._REPLACED))
        return {
            row["file"]: (
                row["status"],
                row["rows_read"],
                row["rows_staged"],
                row["rows_rejected"],
                row["rows_superseded"],
            )
            for row in table.iter_rows(named=True)
        }

    def close(self) -> None:
        self.warehouse.close()


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Nights]:
    opened = Nights(tmp_path)
    yield opened
    opened.close()


def test_intake_when_there_is_no_folder_then_tables_are_empty_and_typed(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.folder.rmdir()
    done = nights.take_in()
    assert (done.n_files_read, done.written.n_rows, done.manifest.height) == (0, 0, 0)
    tables = channel_tables(CRM)
    for table in (tables.rows, tables.rejected, tables.superseded):
        assert nights.warehouse.columns(table.full_name) == table.engine_schema


def test_intake_when_a_file_is_new_then_its_rows_are_typed_and_broken_ones_are_apart(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5), ("2", -1), (None, 3), ("3", "many")])
    done = nights.take_in()
    assert done.n_files_read == 1
    assert nights.rows("no", "value", "source_file", "source_line") == [("1", 5, "a.csv", 2)]
    assert nights.tables()["rejected"].select("source_line", "rule").rows() == [
        (3, "value_is_in_range"),
        (4, "no_is_never_null"),
        (5, "value_is_integer"),
    ]
    assert nights.manifest() == {"a.csv": ("loaded", 4, 1, 3, 0)}


def test_intake_when_nothing_has_changed_then_the_second_run_changes_nothing(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5), ("1", 6), ("2", -1)])
    nights.land("copy.csv", [("1", 5), ("1", 6), ("2", -1)])
    (nights.folder / "broken.parquet").write_bytes(b"PAR1 nothing")
    nights.take_in()
    before = nights.tables()
    done = nights.take_in()
    assert done.n_files_read == 0
    for name, table in nights.tables().items():
        assert_frame_equal(table, before[name])


class Statements:
    """A connection that notes what changes tables."""

    def __init__(self, con: Any) -> None:
        self.con = con
        self.writing: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql.split()[0] in ("CREATE", "INSERT", "DELETE", "UPDATE", "DROP", "ALTER") and "IF EXISTS" not in sql:
            self.writing.append(sql)
        return self.con.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.con, name)


def test_intake_when_nothing_is_new_then_no_file_is_read_no_rule_judged_and_nothing_written(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=10)
    nights.land("a.csv", [("1", 5), ("2", -1)])
    nights.land("copy.csv", [("1", 5), ("2", -1)])
    options: dict[str, Any] = {"started_at": now, "landing_files": LANDING_FILES}
    nights.take_in(**options)
    assert nights.warehouse.n_rows(LANDING_FILES.full_name) == 2
    read: list[str] = []

    def sha256(path: Path) -> str:
        read.append(path.name)
        return "0" * 64

    monkeypatch.setattr(landing, "_sha256", sha256)
    nights.warehouse._audit = lambda table, name, **_: pytest.fail(f"{name} is audited")  # type: ignore[method-assign]
    statements = Statements(nights.warehouse._con)
    nights.warehouse._con = statements  # type: ignore[assignment]
    done = nights.take_in(**options)
    assert (done.n_files_read, done.written.n_rows, done.rejected.n_rows) == (0, 1, 1)
    assert (read, statements.writing) == ([], [])
    # A full refresh relies on nothing.
    del nights.warehouse._audit
    nights.warehouse._con = statements.con
    nights.take_in(**options, full_refresh=True)
    assert read == ["a.csv", "copy.csv"]


def test_intake_when_a_file_keeps_size_and_time_but_not_its_content_then_it_is_found(nights: Nights) -> None:
    now = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=10)
    nights.land("a.csv", [("1", 5)])
    nights.take_in(started_at=now, landing_files=LANDING_FILES)
    before = (nights.folder / "a.csv").stat()
    nights.land("a.csv", [("1", 6)])
    os.utime(nights.folder / "a.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert nights.take_in(started_at=now, landing_files=LANDING_FILES).n_files_read == 1
    assert nights.rows() == [("1", 6)]


@pytest.mark.parametrize(
    "rows",
    [[("1", 5), ("2", 6), ("3", -1)], [("1", 5), ("2", 6), ("1", 7), (None, 1), ("3", -1), ("2", 8)], []],
    ids=["unique keys", "repeated keys", "no rows"],
)
@pytest.mark.parametrize("channel", [CRM, CRM_BY_ROLE], ids=["declared key", "record id"])
def test_intake_when_the_first_file_is_large_then_its_rows_are_written_once_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel: Channel, rows: Rows
) -> None:
    found = []
    for part, limit in (("copied", 1 << 30), ("at once", 0)):
        monkeypatch.setattr(intake, "LARGE_FILE_BYTES", limit)
        nights = Nights(tmp_path / part, channel)
        nights.land("a.csv", rows)
        nights.land("b.csv", [("2", 9), ("4", 4)])
        nights.take_in()
        found.append(nights.tables())
        assert nights.warehouse.tables("staging") == [
            "channel_crm",
            "channel_crm_rejected",
            "channel_crm_superseded",
            "load_manifest",
        ]
        nights.close()
    for name, table in found[0].items():
        assert_frame_equal(found[1][name], table)


def test_intake_when_a_large_file_breaks_off_then_the_others_are_loaded_and_nothing_is_left_of_it(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "LARGE_FILE_BYTES", 0)
    nights.land("a.csv", [("1", 5)])
    (nights.folder / "b.csv.gz").write_bytes(gzip.compress(random.Random(1).randbytes(9_999))[:-50])
    frame = pl.DataFrame({"no": [str(i) for i in range(50_000)], "value": range(50_000)})
    frame.write_parquet(nights.folder / "c.parquet", compression="uncompressed", use_pyarrow=False)
    data = bytearray((nights.folder / "c.parquet").read_bytes())
    data[200:4000] = b"\xff" * 3800
    (nights.folder / "c.parquet").write_bytes(data)
    nights.take_in()
    assert nights.rows() == [("1", 5)]
    assert {name: found[0] for name, found in nights.manifest().items()} == {
        "a.csv": "loaded",
        "b.csv.gz": "refused",
        "c.parquet": "refused",
    }
    assert "channel_crm__new" not in nights.warehouse.tables("staging")


def test_intake_when_a_night_was_killed_while_a_large_file_was_loaded_then_its_table_is_gone_after_the_next(
    nights: Nights,
) -> None:
    nights.warehouse._con.execute("CREATE SCHEMA staging")
    nights.warehouse._con.execute("CREATE TABLE staging.channel_crm__new (leftover VARCHAR)")
    nights.land("a.csv", [("1", 5)])
    nights.take_in()
    assert nights.rows() == [("1", 5)]
    assert "channel_crm__new" not in nights.warehouse.tables("staging")


def test_intake_when_a_file_is_larger_than_the_policy_allows_then_it_is_refused_before_it_fills_the_disk(
    nights: Nights,
) -> None:
    (nights.folder / "bomb.csv.gz").write_bytes(gzip.compress(b"no,value\n" + bytes(8 << 20)))
    nights.land("a.csv", [("1", 5)])
    nights.take_in(max_extract_bytes=1 << 20)
    refused = nights.tables()["manifest"].filter(pl.col("status") == "refused")
    assert refused["reason"].to_list() == ["the file holds more than 1,048,576 bytes once uncompressed"]
    assert nights.rows() == [("1", 5)]


def test_intake_when_a_file_comes_twice_then_it_counts_once(nights: Nights) -> None:
    nights.land("b.csv", [("1", 5)])
    nights.take_in()
    nights.land("c.csv", [("1", 5)])
    nights.take_in()
    assert nights.manifest() == {"b.csv": ("loaded", 1, 1, 0, 0), "c.csv": ("repeated", 0, 0, 0, 0)}
    assert nights.rows("no", "source_file") == [("1", "b.csv")]
    # A copy under an earlier name takes the rows over: so the order of arrival makes no difference.
    nights.land("a.csv", [("1", 5)])
    nights.take_in()
    assert nights.rows("no", "source_file") == [("1", "a.csv")]
    assert [status for status, *_ in nights.manifest().values()] == ["loaded", "repeated", "repeated"]


def test_intake_when_a_file_is_renamed_to_an_earlier_name_then_nothing_is_lost(nights: Nights) -> None:
    nights.land("b.csv", [("1", 5)])
    nights.take_in()
    (nights.folder / "b.csv").rename(nights.folder / "a.csv")
    nights.take_in()
    nights.take_in()
    assert nights.rows("no", "source_file") == [("1", "a.csv")]
    assert nights.manifest() == {"a.csv": ("loaded", 1, 1, 0, 0)}


def test_intake_when_a_file_is_corrected_then_its_old_rows_and_rejects_are_gone(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5), ("2", 5), ("3", -1)])
    nights.take_in()
    nights.land("a.csv", [("1", 6), ("3", 1)])
    nights.take_in()
    assert nights.rows() == [("1", 6), ("3", 1)]
    assert nights.tables()["rejected"].is_empty()
    assert nights.manifest() == {"a.csv": ("loaded", 2, 2, 0, 0)}
    history = nights.tables()["manifest"].filter(pl.col("reason") == intake._REPLACED)
    assert history.select("rows_read", "rows_staged", "rows_superseded").rows() == [(3, 0, 3)]


def test_intake_when_a_correction_is_withdrawn_then_the_older_version_stands_again(nights: Nights) -> None:
    nights.land("1.csv", [("1", 5), ("2", 7)])
    nights.land("2.csv", [("1", 6)])
    nights.take_in()
    assert nights.rows() == [("1", 6), ("2", 7)]
    nights.land("2.csv", [("9", 9)])
    nights.take_in()
    assert nights.rows() == [("1", 5), ("2", 7), ("9", 9)]
    assert nights.manifest() == {"1.csv": ("loaded", 2, 2, 0, 0), "2.csv": ("loaded", 1, 1, 0, 0)}


def test_intake_when_a_file_comes_late_then_it_does_not_overwrite_what_is_newer(nights: Nights) -> None:
    nights.land("2.csv", [("1", 6)])
    nights.take_in()
    nights.land("1.csv", [("1", 5), ("2", 7)])
    nights.take_in()
    assert nights.rows() == [("1", 6), ("2", 7)]
    assert nights.manifest() == {"1.csv": ("loaded", 2, 1, 0, 1), "2.csv": ("loaded", 1, 1, 0, 0)}


def test_intake_when_a_file_is_removed_then_its_rows_stay(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5)])
    nights.take_in()
    (nights.folder / "a.csv").unlink()
    done = nights.take_in()
    assert done.n_files_read == 0
    assert nights.rows() == [("1", 5)]
    assert nights.manifest() == {"a.csv": ("loaded", 1, 1, 0, 0)}


def test_intake_when_a_file_becomes_a_copy_of_another_then_its_own_rows_go(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5)])
    nights.land("b.csv", [("2", 5)])
    nights.take_in()
    nights.land("b.csv", [("1", 5)])
    nights.take_in()
    assert nights.rows() == [("1", 5)]
    assert nights.manifest() == {"a.csv": ("loaded", 1, 1, 0, 0), "b.csv": ("repeated", 0, 0, 0, 0)}


def test_intake_when_the_loaded_copy_is_corrected_then_the_other_copy_is_read(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5)])
    nights.land("b.csv", [("1", 5)])
    nights.take_in()
    nights.land("a.csv", [("2", 5)])
    nights.take_in()
    assert nights.rows() == [("1", 5), ("2", 5)]


def test_intake_when_rows_have_a_time_of_change_then_it_decides_before_the_name_of_the_file(tmp_path: Path) -> None:
    nights = Nights(tmp_path, TIMED)
    nights.land("1.csv", [("1", 5, "2024-02-02"), ("2", 5, None), (None, 1, None)])
    nights.land("2.csv", [("1", 6, "2024-02-01"), ("2", 6, "2024-01-01"), (None, 2, None)])
    nights.take_in()
    assert nights.rows() == [(None, 1), (None, 2), ("1", 5), ("2", 6)]
    nights.land("2.csv", [(None, 3, None)])
    nights.take_in()
    assert nights.rows() == [(None, 1), (None, 3), ("1", 5), ("2", 5)]


def test_intake_when_one_file_has_a_declared_key_twice_then_the_second_row_is_rejected_with_its_content(
    nights: Nights,
) -> None:
    nights.land("a.csv", [("1", 5), ("1", 6), ("2", 1)])
    nights.take_in()
    assert nights.rows() == [("1", 5), ("2", 1)]
    assert nights.tables()["rejected"].rows() == [("a.csv", 3, "no_is_unique", '{"no":"1","value":6}')]


def test_intake_when_the_channel_is_a_snapshot_then_the_greatest_name_stands_alone(tmp_path: Path) -> None:
    nights = Nights(tmp_path, SNAPSHOT)
    nights.land("2024-01-02.csv", [("1", 5, "2024-09-09"), ("2", 5, "2024-01-01")])
    nights.take_in()
    nights.land("2024-01-03.csv", [("1", 6, "2024-01-01"), ("3", 6, None)])
    nights.take_in()
    assert nights.rows() == [("1", 6), ("3", 6)]
    nights.land("2024-01-01.csv", [("9", 9, None)])
    nights.take_in()
    assert nights.rows() == [("1", 6), ("3", 6)]
    nights.land("2024-01-04.csv", [])
    nights.take_in()
    assert nights.rows() == []
    nights.land("2024-01-04.csv", [("4", 4, None)])
    nights.take_in()
    assert nights.rows() == [("4", 4)]


def test_intake_when_the_newest_snapshot_cannot_be_read_then_the_one_before_stands(tmp_path: Path) -> None:
    nights = Nights(tmp_path, SNAPSHOT)
    nights.land("1.csv", [("1", 5, None)])
    nights.land("2.csv", [("2", 5, None)])
    (nights.folder / "3.parquet").write_bytes(b"PAR1 nothing")
    nights.take_in()
    assert nights.rows() == [("2", 5)]


def test_intake_when_files_cannot_be_taken_then_they_are_refused_with_reasons_and_the_others_are_loaded(
    nights: Nights, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.csv"
    outside.write_text("no,value\nJane,1\n")
    nights.land("a.csv", [("1", 5)])
    (nights.folder / "link.csv").symlink_to(outside)
    (nights.folder / "notes.txt").write_text("x")
    (nights.folder / "broken.parquet").write_bytes(b"PAR1 nothing")
    (nights.folder / "packed.csv.gz").write_bytes(b"no gzip")
    manifest = nights.take_in().manifest
    refused = {row["file"]: row["reason"] for row in manifest.iter_rows(named=True) if row["status"] == "refused"}
    assert set(refused) == {"link.csv", "notes.txt", "broken.parquet", "packed.csv.gz"}
    assert refused["link.csv"] == "a link that leads out of the landing folder"
    assert all(refused.values())
    assert nights.rows() == [("1", 5)]


def test_intake_when_a_correction_cannot_be_read_then_the_old_rows_stay_until_it_can(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5)])
    nights.take_in()
    (nights.folder / "a.csv").write_bytes(b"PAR1\0\0\0\0 no text")
    nights.take_in()
    assert nights.rows() == [("1", 5)]
    assert sorted(nights.tables()["manifest"]["status"]) == ["loaded", "refused"]
    nights.land("a.csv", [("1", 6)])
    nights.take_in()
    assert nights.rows() == [("1", 6)]
    assert nights.manifest() == {"a.csv": ("loaded", 1, 1, 0, 0)}


def changed(**words: Any) -> Channel:
    return channel_of(
        "crm", "party", {"no": {"role": "record.id", "required": True, "primaryKey": True}, "value": words}
    )


def test_intake_when_the_contract_changes_then_everything_is_read_with_the_new_one(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5), ("2", -1)])
    nights.take_in()
    nights.channel = changed(logicalType="number")
    assert nights.take_in().n_files_read == 1
    assert nights.rows() == [("1", 5.0), ("2", -1.0)]
    assert nights.tables()["rejected"].is_empty()


def test_intake_when_only_words_about_the_data_change_then_nothing_is_read_anew(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5)])
    nights.take_in()
    options = {"minimum": 0}
    nights.channel = changed(
        logicalType="integer", logicalTypeOptions=options, description="Better", classification="personal"
    )
    assert nights.take_in().n_files_read == 0
    assert nights.take_in(company_time_zone="Asia/Tokyo").n_files_read == 1


def test_intake_when_the_contract_changes_and_a_file_is_gone_then_it_says_so_and_changes_nothing(
    nights: Nights,
) -> None:
    nights.land("a.csv", [("1", 5)])
    nights.land("b.csv", [("2", 5)])
    nights.take_in()
    (nights.folder / "a.csv").unlink()
    nights.channel = changed(logicalType="number")
    with pytest.raises(ContractError, match=r"landing/crm: the contract has changed.*a\.csv.*--full-refresh"):
        nights.take_in()
    assert nights.warehouse.n_rows("staging.channel_crm") == 2
    assert nights.take_in(full_refresh=True).n_files_read == 1
    assert nights.rows() == [("2", 5.0)]


def test_intake_when_refreshed_in_full_then_files_that_are_gone_are_forgotten(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5), ("2", -1)])
    nights.land("b.csv", [("1", 6)])
    nights.take_in()
    (nights.folder / "b.csv").unlink()
    nights.take_in(full_refresh=True)
    assert nights.rows() == [("1", 5)]
    assert nights.manifest() == {"a.csv": ("loaded", 2, 1, 1, 0)}
    (nights.folder / "a.csv").unlink()
    nights.take_in(full_refresh=True)
    assert (nights.rows(), nights.manifest()) == ([], {})


def test_intake_when_a_required_column_is_missing_from_some_files_then_their_rows_are_rejected(nights: Nights) -> None:
    nights.land("a.csv", [("1", 5)])
    nights.land("b.csv", [(5,), (6,)], header="value")
    nights.take_in()
    assert nights.rows() == [("1", 5)]
    assert nights.tables()["rejected"]["rule"].unique().to_list() == ["no_is_in_the_file"]
    assert nights.manifest()["b.csv"] == ("loaded", 2, 0, 2, 0)


def test_intake_when_a_required_column_is_missing_from_all_files_then_nothing_is_written(nights: Nights) -> None:
    nights.land("a.csv", [(5,)], header="value")
    nights.land("b.csv", [(5, 6)], header="value,number")
    with pytest.raises(ContractError) as raised:
        nights.take_in()
    (problem,) = raised.value.problems
    assert (problem.where, problem.count) == ("landing/crm", 2)
    assert "the required column `no` is missing from every file" in problem.what
    assert nights.warehouse.tables("staging") == []


def test_intake_when_the_channel_as_a_whole_breaks_its_contract_then_nothing_changes(nights: Nights) -> None:
    rule = [{"metric": "rowCount", "mustBeLessThan": 3}]
    nights.channel = channel_of("crm", "party", {"no": {"role": "record.id", "quality": rule}, "value": {}})
    nights.land("a.csv", [("1", 5), ("2", 5)])
    nights.take_in()
    before = nights.tables()
    nights.land("b.csv", [("3", 5)])
    with pytest.raises(ContractBrokenError):
        nights.take_in()
    for name, table in nights.tables().items():
        assert_frame_equal(table, before[name])


def test_intake_when_a_record_is_identified_by_two_columns_then_both_tell_it_apart(tmp_path: Path) -> None:
    two = channel_of(
        "crm",
        "order_line",
        {
            "no": {"role": "record.id"},
            "value": {"role": "record.id"},
            "at": {"role": "event.at"},
            "x": {"role": "order.amount"},
        },
    )
    nights = Nights(tmp_path, two)
    nights.land("a.csv", [("1", 1, None, 1), ("1", 2, None, 1), ("1", 2, None, 2)])
    nights.take_in()
    assert nights.rows("no", "value", "x") == [("1", "1", "1"), ("1", "2", "2")]


def test_reject_rates_when_within_tolerance_then_no_file_offends_else_those_with_rejects() -> None:
    manifest = frame_of(
        MANIFEST,
        file=["a", "b", "c", "d"],
        status=["loaded", "loaded", "refused", "loaded"],
        reason=[None, None, "x", intake._REPLACED],
        rows_read=[90, 10, 0, 5],
        rows_rejected=[0, 5, 0, 5],
    )
    assert check_reject_rates(manifest, 0.05).is_empty()
    assert check_reject_rates(manifest, 0.049).rows() == [("b", 10, 5)]
    assert check_reject_rates(manifest.clear(), 0.0).is_empty()


def test_conservation_when_a_row_is_lost_then_its_file_is_named() -> None:
    manifest = frame_of(
        MANIFEST,
        channel="crm",
        file=["a", "b"],
        rows_read=[3, 3],
        rows_staged=[1, 1],
        rows_rejected=1,
        rows_superseded=[1, 0],
    )
    assert check_conservation(manifest)["file"].to_list() == ["b"]


# --- whatever happens in landing ------------------------------------------------------------------------------------------

FILES = ("a.csv", "b.csv", "c.csv")
CONTENT = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", None]),
        st.sampled_from([1, 2, -5, "x"]),
        st.sampled_from([None, "2024-01-01", "2024-01-02"]),
    ),
    max_size=4,
).map(tuple)
LANDING = st.dictionaries(st.sampled_from(FILES), CONTENT, min_size=1)


@contextmanager
def unaudited(folder: Path, channel: Channel) -> Iterator[Nights]:
    """Nights without the audit, which has its own tests and costs most of the time."""
    nights = Nights(folder, channel)
    nights.warehouse._audit = lambda table, name, **_: None  # type: ignore[method-assign]
    try:
        yield nights
    finally:
        nights.close()


def land_all(nights: Nights, files: Mapping[str, Rows]) -> None:
    width = len(nights.channel.table.column_names)
    for name, rows in files.items():
        nights.land(name, [row[:width] for row in rows])


def current(tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    manifest = tables["manifest"].filter(pl.col("reason").is_null() | (pl.col("reason") != intake._REPLACED))
    return {**tables, "manifest": manifest.drop("loaded_at")}


@pytest.mark.parametrize("channel", [CRM, TIMED, SNAPSHOT], ids=["declared key", "time of change", "snapshot"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), final=LANDING, chance=st.randoms(use_true_random=False))
def test_intake_when_files_arrive_over_several_nights_in_any_order_then_the_tables_are_those_of_one_night(
    tmp_path_factory: pytest.TempPathFactory,
    channel: Channel,
    data: st.DataObject,
    final: dict[str, Rows],
    chance: random.Random,
) -> None:
    with unaudited(tmp_path_factory.mktemp("once"), channel) as once:
        land_all(once, final)
        once.take_in()
        expected = current(once.tables())
    with unaudited(tmp_path_factory.mktemp("many"), channel) as many, pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "LARGE_FILE_BYTES", 0)
        for name in chance.sample(list(final), len(final)):
            # Some files come with other content first, and are corrected on a later night.
            draft = data.draw(st.one_of(st.none(), CONTENT), label=f"first version of {name}")
            if draft is not None:
                land_all(many, {name: draft})
                if chance.random() < 0.7:
                    many.take_in()
        for name in chance.sample(list(final), len(final)):
            land_all(many, {name: final[name]})
            if chance.random() < 0.7:
                many.take_in()
        many.take_in()
        found = current(many.tables())
    for name, table in expected.items():
        assert_frame_equal(found[name], table)
