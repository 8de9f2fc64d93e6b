from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl

from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging.sampling import SAMPLE_ROWS, FileSample, sample_channel
from cx_pipeline_tests.frames import channel_of

CRM = channel_of(
    "crm",
    "party",
    {
        "no": {"role": "record.id", "required": True},
        "value": {"logicalType": "integer", "logicalTypeOptions": {"minimum": 0}},
    },
)


def sample(folder: Path) -> dict[str, FileSample]:
    with Warehouse(None) as warehouse:
        return {found.file: found for found in sample_channel(warehouse, CRM, folder, "UTC")}


def test_samples_when_files_are_of_all_formats_then_the_first_rows_of_each_are_judged(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 3 - 1}\n" for i in range(3 * SAMPLE_ROWS))
    (tmp_path / "a.csv").write_text("no,value\n" + rows)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(("no,value\n" + rows).encode()))
    (tmp_path / "c.jsonl").write_text('{"no": "1", "value": -1}\n{"no": "2", "value": 1}\n')
    pl.DataFrame({"no": ["1"] * 5000, "value": [1] * 5000}).write_parquet(tmp_path / "d.parquet")
    found = sample(tmp_path)
    assert {name: (one.n_rows, one.n_rejected) for name, one in found.items()} == {
        "a.csv": (SAMPLE_ROWS, 334),
        "b.csv.gz": (SAMPLE_ROWS, 334),
        "c.jsonl": (2, 1),
        "d.parquet": (SAMPLE_ROWS, 0),
    }
    assert found["a.csv"].broken_rules == (("value_is_in_range", 334),)


def test_samples_when_columns_differ_from_the_contract_then_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("no,colour\n1,red\n")
    found = sample(tmp_path)["a.csv"]
    assert (found.columns_missing, found.columns_extra) == (("value",), ("colour",))


def test_samples_when_a_file_cannot_be_read_then_it_says_why_and_the_others_are_judged(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("no,value\n1,1\n")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "c.csv.gz").write_bytes(b"no gzip")
    found = sample(tmp_path)
    assert found["a.csv"].refusal == ""
    assert found["b.parquet"].refusal
    assert found["c.csv.gz"].refusal
