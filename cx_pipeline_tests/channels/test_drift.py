from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.channels import drift, samples
from cx_pipeline.channels.assets import CANONICAL, TABLES
from cx_pipeline.channels.drift import Drift
from cx_pipeline.channels.policy import DriftPolicy
from cx_pipeline.core.extracts import ExtractFormat
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline_tests.frames import channel_of

CRM = channel_of(
    "crm",
    "party",
    {
        "no": {"role": "record.id", "required": True},
        "mail": {"role": "contact.email", "classification": "personal"},
        "town": {"role": "address.city"},
        "visits": {"logicalType": "integer"},
        "changed": {"role": "record.updated_at", "logicalType": "timestamp"},
    },
)
FMT = ExtractFormat()
TOWNS = ["Ulm", "Bern", "Graz", "Metz", "Brno", "Pisa"]


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    with Warehouse(None) as opened:
        yield opened


def rows(**columns: list[object]) -> pl.DataFrame:
    n = len(TOWNS)
    usual: dict[str, list[object]] = {
        "no": [str(i) for i in range(n)],
        "mail": [f"p{i}@mail.example" for i in range(n)],
        "town": list(TOWNS),
        "visits": [str(i) for i in range(n)],
        "changed": ["2024-01-01 10:00:00"] * n,
    }
    return pl.DataFrame({name: values for name, values in {**usual, **columns}.items() if values})


def compared(warehouse: Warehouse, folder: Path, **files: pl.DataFrame) -> list[Drift]:
    """What differs in files, named by the day on which each was taken in."""
    landed = []
    for i, (name, frame) in enumerate(files.items(), start=1):
        path = folder / f"{name}.csv"
        frame.write_csv(path)
        found = samples.read_columns(warehouse, path, path.name, FMT, datetime(2024, 1, i))
        landed += [found] if found else []
    return drift.compare(
        CRM, landed, lambda f: samples.read_sample(warehouse, f, FMT, 100), CANONICAL["party"], DriftPolicy()
    )


def test_drift_when_files_fit_then_there_is_none(warehouse: Warehouse, tmp_path: Path) -> None:
    assert compared(warehouse, tmp_path, a=rows()) == []
    assert compared(warehouse, tmp_path, b=rows().rename({"town": " TOWN"})) == [], "case and blanks do not matter"


def test_drift_when_a_column_is_new_then_type_role_and_privacy_are_suggested(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    new = rows(phone2=["+49 30 1234567"] * 6, seconds=[str(i) for i in range(6)], born=["1970-01-01"] * 6)
    found = {d.column: d for d in compared(warehouse, tmp_path, a=rows(), b=new)}
    assert {name: (d.change, d.found_type, d.role, d.is_personal) for name, d in found.items()} == {
        "phone2": ("new", "string", "contact.phone", True),
        "seconds": ("new", "integer", None, False),
        "born": ("new", "date", "person.birth_date", True),
    }
    assert [file.file for file in found["born"].files] == ["b.csv"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("mail", "email", id="a name like it"),
        pytest.param("mail", "kontaktadresse", id="a role like it"),
        pytest.param("town", "place_of_residence", id="values like it"),
        pytest.param("changed", "last_changed", id="a word more"),
    ],
)
def test_drift_when_a_column_is_renamed_then_it_is_recognised(
    warehouse: Warehouse, tmp_path: Path, old: str, new: str
) -> None:
    (found,) = compared(warehouse, tmp_path, a=rows(), b=rows().rename({old: new}))
    assert (found.column, found.change, found.found_as) == (old, "renamed", new)
    assert (found.similarity or 0) >= DriftPolicy().renamed_similarity


def test_drift_when_a_missing_column_is_unlike_the_new_one_then_they_are_two_changes(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    found = compared(warehouse, tmp_path, a=rows(), b=rows(town=[], tier=["gold"] * 6))
    assert {(d.column, d.change) for d in found} == {("town", "missing"), ("tier", "new")}


def test_drift_when_values_are_of_another_type_then_the_column_is_retyped(warehouse: Warehouse, tmp_path: Path) -> None:
    (found,) = compared(warehouse, tmp_path, a=rows(visits=["often", "never", "1", "often", "never", "often"]))
    assert (found.column, found.change, found.contract_type, found.found_type) == (
        "visits",
        "retyped",
        "integer",
        "string",
    )
    assert compared(warehouse, tmp_path, b=rows(visits=["often", "2", "1", "3", "4", "5"])) == [], (
        "one bad value is none"
    )


def test_drift_when_a_fault_is_mended_then_only_the_newest_file_counts_for_missing_columns(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    assert compared(warehouse, tmp_path, a=rows(town=[]), b=rows()) == []


def test_drift_when_the_first_row_is_no_header_then_its_values_are_not_told(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    headless = pl.DataFrame({"17": ["18"], "Jane": ["Joe"], "jane@mail.example": ["joe@mail.example"]})
    assert compared(warehouse, tmp_path, a=headless) == []


def test_the_table_when_written_then_it_says_the_file_and_the_night(warehouse: Warehouse, tmp_path: Path) -> None:
    found = compared(warehouse, tmp_path, a=rows(), b=rows(born=["1970-01-01"] * 6), c=rows(born=["1970-01-01"] * 6))
    table = drift.schema_drift({"crm": (found, 3), "calls": ([], 1)}, TABLES["schema_drift"], date(2024, 6, 30))
    row = table.row(0, named=True)
    assert table.height == 1
    assert (row["column"], row["n_files"], row["n_files_compared"]) == ("born", 2, 3)
    assert (row["first_file"], row["first_night"]) == ("b.csv", date(2024, 1, 2))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet"])
def test_a_sample_when_read_then_all_formats_give_text(warehouse: Warehouse, tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"n": [1, 2, 3], "at": [datetime(2024, 1, 1, 10)] * 3, "t": ["x", None, "y"]})
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    elif suffix == "csv.gz":
        import gzip

        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    else:
        frame.write_csv(path)
    landed = samples.read_columns(warehouse, path, path.name, FMT)
    assert landed is not None
    found = samples.read_sample(warehouse, landed, FMT, 2)
    assert found.columns == ["n", "at", "t"]
    assert found["n"].to_list() == ["1", "2"]
    assert found["at"].dtype == pl.String
    assert found["t"].to_list() == ["x", None]


def test_a_sample_when_a_file_cannot_be_read_then_there_is_none(warehouse: Warehouse, tmp_path: Path) -> None:
    broken = tmp_path / "a.parquet"
    broken.write_bytes(b"no parquet")
    assert samples.read_columns(warehouse, broken, broken.name, FMT) is None


def test_newest_files_when_the_manifest_names_some_then_those_that_still_lie_there(tmp_path: Path) -> None:
    (tmp_path / "b.csv").touch()
    (tmp_path / "c.csv").touch()
    loaded = pl.DataFrame(
        {"file": ["a.csv", "b.csv", "b.csv", "c.csv"], "loaded_at": [datetime(2024, 1, day) for day in (9, 1, 3, 2)]}
    )
    assert [(name, at.day) for name, _, at in drift.newest_files(loaded, tmp_path, 5)] == [("b.csv", 3), ("c.csv", 2)]
    assert len(drift.newest_files(loaded, tmp_path, 1)) == 1
