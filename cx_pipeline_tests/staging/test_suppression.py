from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core.contract import Channel, load_channels, load_step
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.core.suppressions import Suppressions, key_id, suppression_hash
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging import suppression
from cx_pipeline.staging.intake import (
    Intake,
    channel_tables,
    check_conservation,
    check_reject_rates,
    extract_format,
    take_in,
)
from cx_pipeline.staging.landing import list_files
from cx_pipeline.staging.policy import StagingPolicy
from cx_pipeline_tests.tiny_company import contract, write_contract

KEY = "key of a test"
MANIFEST = load_step("staging")["load_manifest"]
REGISTER = contract(
    "register",
    "party",
    {
        "no": {"role": "record.id"},
        "name": {"role": "person.full_name"},
        "mail": {"role": "contact.email", "classification": "personal"},
        "born": {"role": "person.birth_date", "logicalType": "date"},
        "changed": {"role": "record.updated_at", "logicalType": "timestamp"},
    },
)
ROWS = [
    {"no": "1", "name": "Ann", "mail": "ann@x.example", "born": "1980-01-01", "changed": "2024-01-01"},
    {"no": "2", "name": "Ben", "mail": "Ben@x.example", "born": "1981-01-01", "changed": "2024-01-01"},
    {"no": "2", "name": "Benjamin", "mail": "ben@new.example", "born": "1981-01-01", "changed": "2024-02-01"},
    {"no": "3", "name": "Cid", "mail": " BEN@X.example ", "born": "1982-01-01", "changed": "2024-01-01"},
    {"no": "4", "name": "Dan, of\nben@x.example", "mail": "dan@x.example", "born": "none", "changed": "2024-01-01"},
    {"no": "5", "name": "Eve", "mail": "eve@x.example", "born": "none", "changed": "2024-01-01"},
    {"no": None, "name": "Fay", "mail": None, "born": "1983-01-01", "changed": "2024-01-01"},
]


def suppressed(*what: tuple[str, str, str]) -> Suppressions:
    rows = [(kind, scope, suppression_hash(kind, scope, text, KEY), key_id(KEY)) for kind, scope, text in what]  # type: ignore[arg-type]
    return Suppressions.of(pl.DataFrame(rows, schema=["kind", "scope", "hash", "key_id"], orient="row"), KEY)


BEN = suppressed(("record", "register", "2"), ("identifier", "email", "ben@x.example"))


@dataclass
class Company:
    """A channel, its landing folder, and a warehouse."""

    warehouse: Warehouse
    channel: Channel
    folder: Path

    def take(self, suppressions: Suppressions) -> Intake:
        held = partial(suppression.hold_back, self.warehouse, self.channel, suppressions, StagingPolicy())
        return take_in(
            self.warehouse, self.channel, MANIFEST, self.folder,
            company_time_zone="UTC", started_at=datetime(2024, 3, 1), hold_back=held,
        )  # fmt: skip

    def rows(self, *columns: str) -> list[tuple[object, ...]]:
        table = channel_tables(self.channel).rows.full_name
        return sorted(to_polars(self.warehouse.read(table)).select(columns).rows(), key=str)

    def rejected(self) -> list[tuple[object, ...]]:
        table = channel_tables(self.channel).rejected.full_name
        return to_polars(self.warehouse.read(table)).select("source_line", "rule", "raw_row").sort("source_line").rows()

    def landed(self, suppressions: Suppressions) -> list[suppression.LandedRows]:
        manifest = to_polars(self.warehouse.read_or_empty(MANIFEST))
        return list(
            suppression.landed_rows(
                self.warehouse, self.channel, channel_tables(self.channel), list_files(self.folder), manifest,
                extract_format(self.channel, "UTC"), suppressions, StagingPolicy(),
            )
        )  # fmt: skip


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    write_contract(tmp_path, REGISTER)
    (channel,), _ = load_channels(tmp_path / "channels")
    folder = tmp_path / "landing" / "register"
    folder.mkdir(parents=True)
    with Warehouse(None) as warehouse:
        yield Company(warehouse, channel, folder)


def write(folder: Path, name: str) -> Path:
    path = folder / name
    table = pl.DataFrame(ROWS)
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    elif name.endswith(".parquet"):
        table.write_parquet(path)
    else:
        data = table.write_csv().encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_hold_back_when_a_row_is_suppressed_by_id_identifier_or_words_then_rejected_without_raw_row(
    company: Company, name: str
) -> None:
    write(company.folder, name)
    intake = company.take(BEN)
    assert [row[0] for row in company.rows("name")] == ["Ann", "Fay"]
    rules = [(rule, raw is None) for _, rule, raw in company.rejected()]
    assert sorted(rules) == [("born_is_date", False), *[("suppressed", True)] * 4]
    assert check_conservation(intake.manifest).is_empty()
    assert intake.manifest["rows_rejected"].to_list() == [5]
    # One broken row of three that count: what is suppressed says nothing about the extract.
    rejects = company.warehouse.read(channel_tables(company.channel).rejected.full_name)
    seen = suppression.without_suppressed(intake.manifest, rejects)
    assert seen.select("rows_read", "rows_rejected").rows() == [(3, 1)]
    assert check_reject_rates(seen, 0.4).is_empty()


def test_hold_back_when_nothing_is_suppressed_then_the_extract_is_not_touched(company: Company) -> None:
    write(company.folder, "a.csv")
    company.take(suppressed())
    assert [row[0] for row in company.rows("no")] == ["1", "2", "3", None]
    path = company.folder / "a.csv"
    with company.warehouse.transaction():
        fmt = extract_format(company.channel, "UTC")
        extract = company.warehouse.load_extract(path, company.channel.table, fmt, source_file="a.csv")
        nobody = suppressed(("identifier", "email", "nobody@x.example"))
        assert suppression.hold_back(company.warehouse, company.channel, nobody, StagingPolicy(), extract) is extract


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("is_staged", [True, False])
def test_landed_rows_when_removed_from_the_file_then_the_intake_finds_only_the_others(
    company: Company, name: str, is_staged: bool
) -> None:
    from cx_pipeline.core.erasure import remove_records

    path = write(company.folder, name)
    if is_staged:
        company.take(suppressed())
    (found,) = company.landed(BEN)
    assert len(found.suppressed) == 4
    assert len(found.starts) == len(ROWS)
    remove_records(path, found.starts, found.suppressed)
    assert company.landed(BEN) == []
    intake = company.take(suppressed())
    assert [row[0] for row in company.rows("name")] == ["Ann", "Fay"]
    assert [rule for _, rule, _ in company.rejected()] == ["born_is_date"]
    assert intake.manifest.filter(pl.col("reason").is_null())["rows_read"].to_list() == [3]


def test_purge_when_the_file_lies_in_landing_no_more_then_rows_and_manifest_agree(company: Company) -> None:
    path = write(company.folder, "a.csv")
    company.take(suppressed())
    path.unlink()
    tables = channel_tables(company.channel)
    with company.warehouse.transaction():
        n = suppression.purge(company.warehouse, company.channel, tables, MANIFEST, BEN, StagingPolicy())
    assert n == 4
    assert [row[0] for row in company.rows("name")] == ["Ann", "Fay"]
    assert to_polars(company.warehouse.read(tables.superseded.full_name)).is_empty()
    assert [(rule, raw is None) for _, rule, raw in company.rejected()].count(("suppressed", True)) == 4
    manifest = to_polars(company.warehouse.read(MANIFEST.full_name))
    assert check_conservation(manifest).is_empty()
    assert manifest.select("rows_read", "rows_staged", "rows_rejected", "rows_superseded").rows() == [(7, 2, 5, 0)]
    intake = company.take(BEN)
    assert check_conservation(intake.manifest).is_empty()


def test_suppressed_rows_when_a_row_has_no_id_then_known_by_its_content(company: Company) -> None:
    write(company.folder, "a.csv")
    company.take(suppressed())
    table = channel_tables(company.channel).rows.full_name
    rows = company.warehouse.read(table).filter(nw.col("no").is_null())
    (text,) = to_polars(rows.select(suppression.row_text(company.channel).alias("text")))["text"]
    fay = suppressed(("row", "register", text))
    (found,) = company.landed(fay)
    assert len(found.suppressed) == 1
    intake = company.take(fay)
    assert intake.n_files_read == 0
    (company.folder / "b.csv").write_bytes(b"\n".join((company.folder / "a.csv").read_bytes().splitlines()) + b"\n\n")
    company.take(fay)
    names = [name for name, file in company.rows("name", "source_file") if file == "b.csv"]
    assert "Fay" not in names
    assert "Ann" in names


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_telling_raw_rows_when_values_stand_in_raw_text_then_found_on_every_engine(
    company: Company, engine: str
) -> None:
    raw = pl.DataFrame(
        {
            "source_file": ["a"] * 6,
            "source_line": range(6),
            "raw_row": [
                '{"no":"9","mail":"BEN@x.example"}',
                "2;Ben;whatever",
                "text with <ben@x.example> and more",
                "22;Benno;benno@x.example",
                None,
                "0;xben@x.example",
            ],
        }
    )
    with Warehouse(None) as warehouse:
        frame = lazy(raw) if engine == "polars" else warehouse.frame(raw)
        found = suppression.telling_raw_rows(frame, company.channel, BEN, StagingPolicy())
    assert found["source_line"].to_list() == [0, 1, 2]
