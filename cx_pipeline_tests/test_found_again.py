"""The committed company, as a user's first night: every kind is staged, nothing is lost, what was planted is found again."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cx_pipeline.core.vocabulary import KINDS, PILLARS
from cx_pipeline_tests.tiny_company import REPOSITORY, benchmark, cx, published

pytestmark = pytest.mark.slow
AT_LEAST = 0.95


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of data/ after one night."""
    root = tmp_path_factory.mktemp("first") / "company"
    for name in ("channels", "landing", "truth"):
        shutil.copytree(REPOSITORY / "data" / name, root / name)
    shutil.copy(REPOSITORY / "data" / "settings.yaml", root)
    done = cx(root, "run", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_first_night_when_every_kind_and_pillar_has_a_channel_then_each_has_rows(root: Path) -> None:
    tables = published(root)
    catalogue = tables["channels.catalogue"]
    assert set(catalogue["kind"]) == set(KINDS)
    assert set(catalogue["pillar"]) == set(PILLARS)
    assert catalogue.height >= 16
    staged = tables["staging.load_manifest"].group_by("channel").agg(pl.col("rows_staged").sum())
    assert set(staged.filter(pl.col("rows_staged") > 0)["channel"]) == set(catalogue["channel"])


def test_first_night_when_rows_are_counted_then_read_is_staged_rejected_or_superseded(root: Path) -> None:
    manifest = published(root)["staging.load_manifest"]
    lost = pl.col("rows_read") - pl.col("rows_staged") - pl.col("rows_rejected") - pl.col("rows_superseded")
    assert manifest.filter(lost != 0).is_empty()
    assert {"loaded", "repeated"} <= set(manifest["status"])
    assert manifest["rows_rejected"].sum() > 0
    assert manifest["rows_superseded"].sum() > 0


def test_first_night_when_compared_with_the_truth_then_what_was_planted_is_found_again(root: Path) -> None:
    figures = benchmark("simulated").found_again(root)
    assert figures.height >= 7
    assert figures.filter(pl.min_horizontal("precision", "recall") < AT_LEAST).rows() == []


def test_responses_when_they_come_back_as_extracts_then_the_next_night_stages_them(root: Path) -> None:
    tables = published(root)
    customers = tables["identity.customer_xref"]["customer_id"].unique().sort().head(200)
    plan = pl.DataFrame(
        {
            "customer_id": customers,
            "campaign": "spring",
            "arm": "offer_a",
            "channel": "email",
            "send_at": pl.Series([tables["staging.clock"]["as_of"][0]] * len(customers)).cast(pl.Datetime("us")),
            "message": "hello",
            "offer": "ten_percent",
            "reason": "test",
            "expected_margin": 1.0,
        }
    )
    run = (root / "published" / "CURRENT_RUN").read_text().strip()
    path = root / "published" / run / "engagement" / "contact_plan.parquet"
    plan.write_parquet(path)
    done = cx(root, "simulate", str(root), "--respond")
    assert done.returncode == 0, done.stdout + done.stderr
    done = cx(root, "run", "--select", "group:staging", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pl.read_parquet(root / "truth" / "responses.parquet").height > 0
    with duckdb.connect(str(root / "warehouse" / "cx.duckdb"), read_only=True) as con:
        contacts = con.sql("SELECT count(*) FROM staging.campaign_contacts WHERE campaign_id = 'spring'").fetchall()
    assert contacts[0][0] > 100
