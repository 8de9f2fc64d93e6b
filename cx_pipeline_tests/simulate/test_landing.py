from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.simulate.landing import Landing, as_utc

MONTHS = tuple(f"2025-{month:02d}" for month in range(1, 13))


def payments(n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "invoice_no": [f"I{i}" for i in range(n)],
            "billing_no": ["B1"] * n,
            "subscription_no": ["S1"] * n,
            "due_on": [datetime(2025, 8, 1).date()] * n,
            "paid_on": pl.Series([None] * n, dtype=pl.Date),
            "amount": [9.5] * n,
            "method": ["autopay"] * n,
        }
    )


def tills(n: int, month: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "line_id": [f"T{month}-{i}" for i in range(n)],
            "order_no": [f"O{i}" for i in range(n)],
            "sold_at": [datetime(2025, month, 1) + timedelta(hours=i % 600) for i in range(n)],
            "product_no": ["P0001"] * n,
            "category": ["books"] * n,
            "pieces": [1] * n,
            "amount": [1.0] * n,
            "discount": [0.0] * n,
            "cost_of_goods": [0.5] * n,
            "returns_order_no": pl.Series([None] * n, dtype=pl.String),
            "store": ["store_01"] * n,
            "loyalty_no": ["633"] * n,
            "card_token": pl.Series([None] * n, dtype=pl.String),
        }
    )


def read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, separator=";")


def test_corrected_files_when_written_then_the_wrong_rows_stand_in_the_first_file_only(tmp_path: Path) -> None:
    landing = Landing(tmp_path, 1, 30_000, MONTHS)
    landing.add("payments", payments(500), "2025-08")
    landing.flush()
    folder = tmp_path / "landing" / "payments"
    original = pl.read_csv(folder / "payments_2025-08.csv.gz")
    corrected = pl.read_csv(folder / "payments_2025-08_corrected.csv.gz")
    wrong = original.drop_nulls("due_on").filter(pl.col("amount") != 9.5)
    assert sorted(wrong["invoice_no"]) == sorted(corrected["invoice_no"])
    assert (corrected["amount"] == 9.5).all()
    noted = landing.dirt_table().filter(pl.col("kind") == "corrected_original")
    assert noted["n_superseded"].to_list() == [wrong.height]
    assert original["due_on"].null_count() == landing.dirt_table()["n_rejected"].sum()


def test_faults_of_deliveries_when_written_then_each_is_noted_and_no_true_row_is_lost(tmp_path: Path) -> None:
    landing = Landing(tmp_path, 1, 30_000, MONTHS)
    for month in (6, 12):
        landing.add("store_till", tills(3_000, month), f"2025-{month:02d}")
    landing.flush()
    folder = tmp_path / "landing" / "store_till"
    assert (folder / "store_till_2025-06_again.csv.gz").read_bytes() == (
        folder / "store_till_2025-06.csv.gz"
    ).read_bytes()
    late, rest = read(folder / "store_till_2025-12_late.csv.gz"), read(folder / "store_till_2025-12.csv.gz")
    assert (late["sold_at"] < "2025-12-04").all()
    assert (rest["sold_at"].drop_nulls() >= "2025-12-04").all()
    assert late.height + rest.drop_nulls("sold_at").height == 3_000
    dirt = {(row["file"], row["kind"]): row for row in landing.dirt_table().to_dicts()}
    assert dirt["store_till_2025-06_again.csv.gz", "repeated"]["status"] == "repeated"
    broken = dirt["store_till_2025-12.csv.gz", "broken_rows"]["n_rejected"]
    assert broken == rest["sold_at"].null_count() > 0
    assert landing.monthly["store_till"].tolist() == [0] * 5 + [3_000] + [0] * 5 + [3_000]


def test_files_when_the_company_is_small_then_quiet_channels_send_one_a_quarter(tmp_path: Path) -> None:
    landing = Landing(tmp_path, 1, 500, MONTHS)
    for month in ("2025-04", "2025-05"):
        landing.add("payments", payments(3), month)
        landing.flush(month=month)
    assert not (tmp_path / "landing").exists()
    landing.flush(month="2025-06")
    assert [path.name for path in (tmp_path / "landing" / "payments").iterdir()] == ["payments_2025-Q2.csv.gz"]


@pytest.mark.parametrize(
    ("wall_clock", "utc"),
    [
        (datetime(2026, 1, 1, 12), datetime(2026, 1, 1, 12)),
        (datetime(2026, 7, 1, 12), datetime(2026, 7, 1, 11)),
        (datetime(2026, 3, 29, 1, 30), datetime(2026, 3, 29, 1, 30)),  # the hour that does not exist
        (datetime(2025, 10, 26, 1, 30), datetime(2025, 10, 26, 0, 30)),  # the first of the two
    ],
)
def test_times_when_written_in_utc_then_summer_and_its_changes_count(wall_clock: datetime, utc: datetime) -> None:
    frame = pl.DataFrame({"at": pl.Series([wall_clock], dtype=pl.Datetime("us"))})
    assert frame.select(as_utc(pl.col("at")))["at"].to_list() == [utc]


def test_files_when_more_rows_come_after_they_were_written_then_that_is_an_error_and_not_a_lost_file(
    tmp_path: Path,
) -> None:
    landing = Landing(tmp_path, 1, 30_000, MONTHS)
    landing.add("payments", payments(3), "2025-04")
    landing.flush(frozenset({"payments"}))
    landing.add("payments", payments(3), "2025-04")
    with pytest.raises(RuntimeError, match="payments 2025-04"):
        landing.flush()
