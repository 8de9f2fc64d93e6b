from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.simulate import writing
from cx_pipeline.simulate.writing import SimulationError, contract, extract_format, write_by_month, write_extract

PEOPLES = (
    "app_registrations", "billing_accounts", "business_accounts", "business_contacts", "call_centre_contacts", "community_members",
    "consents", "crm", "demographics", "identifier_links", "loyalty", "privacy_requests", "web_accounts",
)  # fmt: skip


def members(n: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "card_no": [f"633{i:09d}" for i in range(n)],
            "given_name": ["Zoë"] * n,
            "surname": ["Müller"] * n,
            "date_of_birth": ["01/02/1980"] * n,
            "phone": [None] * n,
            "email": ['a "b"@mail.example'] * n,
            "postcode": ["AB1 2CD"] * n,
            "tier": ["gold"] * n,
            "updated_at": [datetime(2026, 1 + i % 6, 1, 12) for i in range(n)],
            "more": [1] * n,
        },
        schema_overrides={"phone": pl.String},
    )


def test_contracts_when_read_by_the_pipeline_then_all_are_usable_and_promise_freshness() -> None:
    assert set(PEOPLES) <= {path.stem for path in writing.contract_files()}
    assert all(contract(name).freshness_days for name in PEOPLES)
    for path in writing.contract_files():
        channel = contract(path.stem)
        assert {"pillar", "mode", "function", "maturity", "trust"} <= set(channel.properties), path.stem
        assert extract_format(path.stem).suffix in writing.SUFFIXES


def test_extract_when_written_as_text_then_it_has_mark_columns_and_order_of_the_contract(tmp_path: Path) -> None:
    path = write_extract(tmp_path, "loyalty", members(), "2026-01")
    assert path is not None
    assert path == tmp_path / "landing" / "loyalty" / "loyalty_2026-01.csv"
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbfcard_no,given_name,")
    assert b"2026-01-01 12:00:00" in data
    assert b"more" not in data


def test_extract_when_the_system_is_old_then_its_bytes_are_latin_1_with_semicolons(tmp_path: Path) -> None:
    columns = [column.name for column in contract("billing_accounts").table.columns]
    frame = pl.DataFrame({name: ["MÜLLER"] for name in columns})
    path = write_extract(tmp_path, "billing_accounts", frame, "all")
    assert path is not None
    assert path.read_bytes().splitlines()[1].split(b";")[1] == "MÜLLER".encode("latin-1")


@pytest.mark.parametrize("suffix", writing.SUFFIXES)
def test_extract_when_written_twice_then_the_bytes_are_the_same_and_the_rows_come_back(
    suffix: str, tmp_path: Path
) -> None:
    paths = [write_extract(tmp_path / str(i), "loyalty", members(), "x", suffix) for i in range(2)]
    assert paths[0] is not None
    assert paths[1] is not None
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if suffix == "parquet":
        assert pl.read_parquet(paths[0])["surname"].to_list() == ["Müller"] * 3
    else:
        data = paths[0].read_bytes()
        text = (gzip.decompress(data) if suffix == "csv.gz" else data).decode("utf-8-sig")
        assert text.count("Müller") == 3


def test_extract_when_a_column_is_missing_or_nothing_happened_then_it_says_so_or_writes_nothing(
    tmp_path: Path,
) -> None:
    with pytest.raises(SimulationError, match=r"1 columns of the contract are missing.* `surname`"):
        write_extract(tmp_path, "loyalty", members().drop("surname"), "x")
    assert write_extract(tmp_path, "loyalty", members(0), "x") is None
    assert not (tmp_path / "landing").exists()


def test_months_when_written_then_the_master_sorts_first_and_no_row_is_lost(tmp_path: Path) -> None:
    write_by_month(tmp_path, "loyalty", members(12), "updated_at", datetime(2026, 3, 1))
    files = sorted(path.name for path in (tmp_path / "landing" / "loyalty").iterdir())
    assert files[:2] == ["loyalty_0000-master.csv", "loyalty_2026-03.csv"]
    assert len(files) == 5
    rows = sum(len(path.read_text().splitlines()) - 1 for path in (tmp_path / "landing" / "loyalty").iterdir())
    assert rows == 12


def test_contracts_when_copied_then_the_data_directory_has_them_all(tmp_path: Path) -> None:
    writing.write_contracts(tmp_path)
    assert [path.name for path in sorted((tmp_path / "channels").iterdir())] == [
        path.name for path in writing.contract_files()
    ]
