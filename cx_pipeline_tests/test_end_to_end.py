"""The whole job on a tiny company: five nights in a row, run once for the module; each test looks at what a night left behind."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.steps import STEPS
from cx_pipeline_tests.tiny_company import (
    N_CUSTOMERS,
    N_LINES,
    PLANTED,
    REGISTER,
    comparable,
    cx,
    published,
    register_rows,
    run_with_fault,
    shop_rows,
    write_company,
    write_contract,
)

# Five nights in processes of their own: a minute on an idle machine.
pytestmark = pytest.mark.timeout(900)

Ended = subprocess.CompletedProcess[str]


@dataclass
class Nights:
    """What each night left behind.

    Attributes:
        root: the data directory after the last night.
        ended: name of the night -> how `cx run` ended.
        tables: name of the night -> published tables after it.
        files: name of the night -> bytes of the published folder after it.
        manifest: load manifest in the warehouse after the broken night.
        rejected: file, line, rule of the rejected rows in the warehouse after the broken night.
    """

    root: Path
    ended: dict[str, Ended] = field(default_factory=dict)
    tables: dict[str, dict[str, pl.DataFrame]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    manifest: pl.DataFrame = field(default_factory=pl.DataFrame)
    rejected: pl.DataFrame = field(default_factory=pl.DataFrame)

    def keep(self, night: str, ended: Ended) -> None:
        self.ended[night] = ended
        self.tables[night] = published(self.root)
        self.files[night] = {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else os.fsencode(path.readlink())
            for path in sorted((self.root / "published").rglob("*"))
            if path.is_file() or path.is_symlink()
        }


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    root = write_company(tmp_path_factory.mktemp("company"))
    found = Nights(root)
    found.keep("first", cx(root, "run"))
    found.keep("second", cx(root, "run"))
    register, parquet = root / "landing" / "register" / "2024-04-01.csv", root / "landing" / "shop" / "march.parquet"
    late = shop_rows().tail(4).with_columns(pl.col("line") + "x", pl.col("basket") + "x")
    late.write_parquet(parquet)
    good = parquet.read_bytes()
    parquet.write_bytes(good[: len(good) // 2])
    register_rows().head(6).with_columns(pl.lit("platinum").alias("tier")).write_csv(register)
    found.keep("broken", cx(root, "run"))
    with duckdb.connect(str(root / "warehouse" / "cx.duckdb"), read_only=True) as warehouse:
        found.manifest = warehouse.sql("SELECT * FROM staging.load_manifest").pl()
        found.rejected = warehouse.sql("SELECT * FROM staging.channel_register_rejected").pl()
    parquet.write_bytes(good)
    register_rows().head(6).write_csv(register)
    found.keep("mended", cx(root, "run", "--as-of", "2024-02-20"))
    found.keep(
        "fault", run_with_fault(root, "cx_pipeline.profile.timeline", "timeline", "run", "--select", "profile/timeline")
    )
    yield found
    shutil.rmtree(root)


def test_first_night_when_all_is_well_then_every_table_is_published(nights: Nights) -> None:
    ended, tables = nights.ended["first"], nights.tables["first"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    expected = {t.full_name for step in STEPS for t in load_step(step).values() if t.is_published}
    assert expected <= set(tables)
    listed = {
        f"{row['step']}.{row['table_name']}": row["n_rows"] for row in tables["reporting.published_tables"].to_dicts()
    }
    assert listed == {n: t.height for n, t in tables.items() if n != "reporting.published_tables"}


def test_first_night_when_extracts_repeat_rows_then_each_is_staged_once_and_none_is_lost(nights: Nights) -> None:
    tables = nights.tables["first"]
    manifest = tables["staging.load_manifest"]
    assert tables["staging.order_lines"].height == N_LINES
    assert manifest["rows_read"].sum() == 24 + 24 + 15 + 12
    assert manifest["rows_superseded"].sum() == 12
    together = manifest["rows_staged"] + manifest["rows_rejected"] + manifest["rows_superseded"]
    assert together.to_list() == manifest["rows_read"].to_list()


def test_first_night_when_money_is_added_up_then_equal_to_the_extracts_to_the_cent(nights: Nights) -> None:
    tables = nights.tables["first"]
    expected = shop_rows()["amount"].sum()
    assert tables["staging.orders"]["order_amount"].sum() == expected
    coverage = tables["profile.attribution_coverage"].filter(pl.col("kind") == "order").to_dicts()[0]
    without_card = shop_rows().filter(pl.col("card").is_null())["amount"].sum()
    assert coverage["amount"] == expected
    assert coverage["amount_unattributed"] == without_card > 0
    assert coverage["n_unattributed"] == 3


def test_first_night_when_records_carry_one_card_then_one_customer_each(nights: Nights) -> None:
    tables = nights.tables["first"]
    xref = tables["identity.customer_xref"]
    assert xref.height == register_rows().height
    assert tables["profile.customers"].height == N_CUSTOMERS
    owners = dict(zip(xref["record_id"], xref["customer_id"], strict=True))
    assert all(owners[f"R{n:03d}"] == owners[f"R{n:03d}b"] for n in range(3))


def test_first_night_when_published_then_no_identifier_and_no_rejected_row_in_clear(nights: Nights) -> None:
    tables = nights.tables["first"]
    in_clear = {"loyalty", "email", "phone"} & set(tables["identity.identifier_xref"]["namespace"])
    assert in_clear
    assert not set(PLANTED) & set(tables["identity.identifier_xref"]["value"])
    assert "raw_row" not in tables["staging.channel_register_rejected"].columns


def test_second_night_when_nothing_has_changed_then_identical_tables(nights: Nights) -> None:
    first, second = nights.tables["first"], nights.tables["second"]
    assert nights.ended["second"].returncode == 0
    assert first.keys() == second.keys()
    for name in first:
        try:
            assert_frame_equal(comparable(first[name]), comparable(second[name]))
        except AssertionError as difference:
            raise AssertionError(f"{name}: {difference}") from None


def test_broken_night_when_an_extract_is_cut_off_then_it_says_why_and_ends_with_1(nights: Nights) -> None:
    ended = nights.ended["broken"]
    assert ended.returncode == 1
    assert "does not hold: staging.channel_shop: every_file_can_be_read" in ended.stdout
    assert "| march.parquet | the Parquet file is cut off |" in ended.stdout
    assert "did not publish; the snapshot of the last good night stays" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_broken_night_when_too_many_rows_are_rejected_then_file_rule_and_numbers_are_named(nights: Nights) -> None:
    ended = nights.ended["broken"]
    assert "does not hold: staging.channel_register: rejected_rows_are_tolerable" in ended.stdout
    assert "| 2024-04-01.csv | tier_is_an_allowed_value | 6 | 6 | 2 |" in ended.stdout


def test_broken_night_when_it_stops_then_nothing_downstream_is_made_and_the_snapshot_is_the_same_bytes(
    nights: Nights,
) -> None:
    assert "identity.customer_xref" not in nights.ended["broken"].stdout
    assert nights.files["broken"] == nights.files["second"]


def test_broken_night_when_it_stops_then_manifest_and_rejected_rows_are_committed_all_the_same(nights: Nights) -> None:
    status = {(row["channel"], row["file"]): row for row in nights.manifest.to_dicts()}
    assert status["shop", "march.parquet"]["status"] == "refused"
    assert "cut off" in status["shop", "march.parquet"]["reason"]
    assert status["register", "2024-04-01.csv"]["rows_rejected"] == 6
    rows = nights.rejected.sort("source_line").select("source_file", "source_line", "rule").rows()
    assert rows == [("2024-04-01.csv", line, "tier_is_an_allowed_value") for line in range(2, 8)]
    assert nights.rejected["raw_row"].str.contains("platinum").all()


def test_mended_night_when_the_files_are_whole_again_then_published_with_their_rows(nights: Nights) -> None:
    ended, tables = nights.ended["mended"], nights.tables["mended"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert tables["staging.order_lines"].height == N_LINES + 4
    assert tables["staging.channel_register_rejected"].is_empty()
    assert set(tables["staging.load_manifest"]["status"]) <= {"loaded", "repeated"}
    assert nights.files["mended"] != nights.files["second"]


def test_mended_night_when_a_date_is_asked_for_then_results_stand_for_it(nights: Nights) -> None:
    tables = nights.tables["mended"]
    assert tables["staging.clock"].rows() == [(date(2024, 2, 20), "configured")]
    assert set(tables["profile.customers"]["as_of"]) == {date(2024, 2, 20)}
    assert set(nights.tables["first"]["profile.customers"]["as_of"]) == {date(2024, 2, 28)}


def test_night_when_the_program_has_a_fault_then_the_table_is_named_and_the_quoted_value_is_not(nights: Nights) -> None:
    ended = nights.ended["fault"]
    assert ended.returncode == 1
    assert "profile.timeline" in ended.stdout
    assert "ValueError" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
    assert nights.files["fault"] == nights.files["mended"]


def test_all_nights_when_searched_for_personal_values_then_none_in_what_was_said(nights: Nights) -> None:
    said = "".join(ended.stdout + ended.stderr for ended in nights.ended.values()).lower()
    assert "customer_xref" in said
    assert [value for value in PLANTED if value.lower() in said] == []


def test_all_nights_when_searched_for_personal_values_then_none_in_dagsters_storage(nights: Nights) -> None:
    places = [nights.root / ".dagster", nights.root / "reports", nights.root / "models"]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert any(path.name == "index.db" for path in files)
    haystack = b"".join(path.read_bytes() for path in files).lower()
    # The search can find: names of tables stand there in clear, and so does the fault.
    assert b"customer_xref" in haystack
    assert b"valueerror" in haystack
    assert [value for value in PLANTED if value.lower().encode() in haystack] == []


def test_all_nights_when_dagster_is_asked_then_every_run_is_on_record(nights: Nights) -> None:
    with sqlite3.connect(nights.root / ".dagster" / "history" / "runs.db") as runs:
        statuses = [row[0] for row in runs.execute("SELECT status FROM runs ORDER BY id").fetchall()]
    assert statuses == ["SUCCESS", "SUCCESS", "FAILURE", "SUCCESS", "FAILURE"]


def test_one_party_channel_when_run_then_every_other_table_is_empty_and_well_typed(tmp_path: Path) -> None:
    write_contract(tmp_path, REGISTER)
    (tmp_path / "landing" / "register").mkdir(parents=True)
    register_rows().write_csv(tmp_path / "landing" / "register" / "all.csv")
    ended = cx(tmp_path, "run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    tables = published(tmp_path)
    assert tables["profile.customers"].height == N_CUSTOMERS
    contracts = {t.full_name: t for step in STEPS for t in load_step(step).values() if t.is_published}
    for name, table in contracts.items():
        expected = table.without(table.unpublished_columns).polars_schema()
        assert {k: v.base_type() for k, v in tables[name].schema.items()} == {
            k: v.base_type() for k, v in expected.items()
        }, name
    for kind in ("orders", "order_lines", "interactions", "campaign_contacts", "subscriptions", "usage"):
        assert tables[f"staging.{kind}"].is_empty()
    assert tables["profile.timeline"].is_empty()
