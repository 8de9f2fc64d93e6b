from __future__ import annotations

from pathlib import Path

import pytest

from cx_pipeline.definitions import rooms_of_models
from cx_pipeline_tests.tiny_company import cx, write_company


def test_rooms_of_models_when_listed_then_every_model_has_its_room() -> None:
    rooms = rooms_of_models()
    assert rooms["purchase_90d"] == rooms["coupon_response"] == "propensity"
    assert {"retention", "value", "propensity"} <= set(rooms.values())


@pytest.mark.parametrize(
    ("has_run", "arguments", "said"),
    [
        (True, ["purchase_9d", "coupon_response"], "did you mean `purchase_90d`?"),
        (False, [], "no night has run yet"),
    ],
    ids=["unknown model", "nothing to train on"],
)
def test_train_when_called_wrongly_then_it_says_what_to_do_and_trains_nothing(
    tmp_path: Path, has_run: bool, arguments: list[str], said: str
) -> None:
    write_company(tmp_path)
    if has_run:
        (tmp_path / "warehouse").mkdir()
        (tmp_path / "warehouse" / "cx.duckdb").touch()
    done = cx(tmp_path, "train", *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "models").exists()
