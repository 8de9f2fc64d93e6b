from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile.card import CONCLUSIONS, conclusions
from cx_pipeline_tests.frames import frame_of


def publish(folder: Path, name: str, frame: pl.DataFrame) -> None:
    path = folder / f"{name.replace('.', '/')}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


def test_conclusions_when_named_then_the_contracts_have_their_columns() -> None:
    for step, table, columns in CONCLUSIONS.values():
        assert set(columns) <= set(load_step(step)[table].column_names), f"{step}.{table}"


def test_conclusions_when_rooms_have_something_to_say_then_only_that_is_shown(tmp_path: Path) -> None:
    scores = load_step("propensity")["scores"]
    stages = load_step("lifecycle")["customers"]
    models = ["purchase_90d", "coupon_response"]
    publish(
        tmp_path,
        "propensity.scores",
        frame_of(
            scores,
            customer_id="A",
            model=models,
            probability=[0.4, None],
            reason=[None, "no model"],
            as_of=date(2024, 1, 1),
        ),
    )
    publish(tmp_path, "lifecycle.customers", frame_of(stages, customer_id="B", stage="loyalty"))
    found = conclusions(tmp_path, "A")
    assert list(found) == ["scores"]
    assert found["scores"].columns == ["model", "probability", "reason"]
    assert found["scores"]["model"].to_list() == sorted(models)
    assert conclusions(tmp_path, "B")["stage"].rows() == [("loyalty",)]
