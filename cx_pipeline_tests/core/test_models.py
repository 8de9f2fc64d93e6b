from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cx_pipeline.core.errors import EngineError
from cx_pipeline.core.frames import lazy
from cx_pipeline.core.models import (
    CARD_SECTIONS,
    Metric,
    ModelCard,
    ModelStore,
    TrainedModel,
    champion_cards,
    decide,
    metric_rows,
    version_rows,
)

AS_OF = date(2024, 3, 1)


def trained(
    auc: float | None = 0.8,
    *,
    parameters: dict[str, Any] | None = None,
    is_better: bool = True,
    on: date = AS_OF,
    estimator: Any = None,
) -> TrainedModel:
    return TrainedModel(
        model="purchase",
        trained_on=on,
        parameters={"weights": [0.1, 0.2]} if parameters is None else parameters,
        metrics=[Metric("2024-01-01..2024-03-01", "auc", auc, 0.7)],
        card=ModelCard(**{name: f"about {name}" for name in CARD_SECTIONS}),
        is_better=is_better,
        verdict="better" if is_better else "worse than the naive rule",
        estimator=estimator,
    )


def fitted(max_iter: int = 3) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    features = np.linspace(0, 1, 120).reshape(-1, 2)
    with threadpool_limits(limits=1):
        return HistGradientBoostingClassifier(max_iter=max_iter, random_state=1).fit(features, features[:, 0] > 0.5)


def test_save_when_trained_twice_on_the_same_then_one_version(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    first, second = store.save(trained(estimator=fitted())), store.save(trained(estimator=fitted()))
    assert first.version == second.version
    assert [version.version for version in store.versions("purchase")] == [first.version]


@pytest.mark.parametrize(
    "other",
    [
        trained(parameters={"weights": [0.1, 0.3]}, estimator=fitted()),
        trained(estimator=fitted(4)),
        trained(on=date(2024, 3, 2), estimator=fitted()),
        trained(),
    ],
    ids=["other parameters", "other trees", "another date", "no estimator"],
)
def test_save_when_anything_differs_then_another_version(tmp_path: Path, other: TrainedModel) -> None:
    store = ModelStore(tmp_path)
    assert store.save(trained(estimator=fitted())).version != store.save(other).version


def test_save_when_the_version_exists_then_its_card_is_renewed_and_the_folder_stays(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    version = store.save(trained(0.8))
    inode = version.folder.stat().st_ino
    assert store.save(trained(0.9)).metric("auc") == 0.9
    assert version.folder.stat().st_ino == inode


def test_save_when_interrupted_before_then_the_torn_version_is_neither_listed_nor_kept(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    torn = tmp_path / "purchase" / f"{store.save(trained()).version}x.partial"
    torn.mkdir()
    assert len(store.versions("purchase")) == 1
    assert list(tmp_path.glob("purchase/*.new")) == []


@pytest.mark.parametrize("parameters", [{"w": float("nan")}, {"w": object()}], ids=["not a number", "an object"])
def test_save_when_parameters_are_no_json_then_error_and_nothing_stored(tmp_path: Path, parameters: Any) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(EngineError, match="JSON"):
        store.save(trained(parameters=parameters))
    assert store.versions("purchase") == []


def test_save_when_parameters_are_numpy_scalars_then_numbers_come_back(tmp_path: Path) -> None:
    stored = ModelStore(tmp_path).save(trained(parameters={"n": np.int64(3), "w": np.array([1.5]), "on": AS_OF}))
    assert stored.parameters == {"n": 3, "w": [1.5], "on": "2024-03-01"}


def test_load_estimator_when_stored_then_it_predicts_the_same(tmp_path: Path) -> None:
    model = fitted()
    features = np.linspace(0, 1, 20).reshape(-1, 2)
    version = ModelStore(tmp_path).save(trained(estimator=model))
    again = version.load_estimator()
    assert again.predict_proba(features).tolist() == model.predict_proba(features).tolist()
    assert not list(tmp_path.rglob("*.pkl"))


def test_load_estimator_when_there_is_none_then_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no estimator"):
        ModelStore(tmp_path).save(trained()).load_estimator()


def test_save_when_estimator_holds_foreign_types_then_refused(tmp_path: Path) -> None:
    from sklearn.preprocessing import FunctionTransformer

    with pytest.raises(EngineError, match="foreign types"):
        ModelStore(tmp_path).save(trained(estimator=FunctionTransformer(json.loads)))


def test_load_estimator_when_file_was_exchanged_for_foreign_types_then_refused(tmp_path: Path) -> None:
    from sklearn.preprocessing import FunctionTransformer
    from skops.io import dumps

    version = ModelStore(tmp_path).save(trained(estimator=fitted()))
    (version.folder / "estimator.skops").write_bytes(dumps(FunctionTransformer(json.loads)))
    with pytest.raises(EngineError, match="foreign types"):
        version.load_estimator()


def test_load_when_version_is_unknown_then_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such model version"):
        ModelStore(tmp_path).load("purchase", "2024-01-01-abcdef12")


def test_champion_when_nothing_was_trained_then_none(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "missing")
    assert store.champion("purchase") is None
    assert store.versions("purchase") == []
    assert metric_rows(store, ["purchase"], AS_OF).is_empty()
    assert champion_cards(lazy(version_rows(store, ["purchase"], AS_OF))).startswith("No model")


def test_submit_when_challengers_follow_then_only_better_ones_become_champion(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    first = store.submit(trained(0.80, parameters={"w": 1}), "auc", higher_is_better=True)
    worse = store.submit(trained(0.79, parameters={"w": 2}), "auc", higher_is_better=True)
    assert store.champion("purchase") == first
    better = store.submit(trained(0.81, parameters={"w": 3}), "auc", higher_is_better=True)
    assert store.champion("purchase") == better
    assert [v.decision.split(":")[0] for v in (first, worse, better)] == ["promoted", "not promoted", "promoted"]
    table = version_rows(store, ["purchase"], AS_OF)
    assert table.filter("is_champion")["version"].to_list() == [better.version]
    assert "about caveats_and_recommendations" in champion_cards(lazy(table))


def test_submit_when_the_champion_is_trained_again_then_nothing_changes(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.submit(trained(), "auc", higher_is_better=True)
    before = version_rows(store, ["purchase"], AS_OF)
    store.submit(trained(), "auc", higher_is_better=True)
    assert version_rows(store, ["purchase"], AS_OF).equals(before)
    assert metric_rows(store, ["purchase"], AS_OF).rows() == [
        ("purchase", before["version"][0], "2024-01-01..2024-03-01", "auc", 0.8, 0.7, AS_OF)
    ]


@pytest.mark.parametrize(
    ("challenger", "champion", "higher_is_better", "expected"),
    [
        (trained(0.8), None, True, True),
        (trained(0.8, is_better=False), None, True, True),
        (trained(0.9, is_better=False), trained(0.8), True, False),
        (trained(0.8), trained(0.9, is_better=False), True, True),
        (trained(0.8), trained(0.8), True, True),
        (trained(0.7), trained(0.8), True, False),
        (trained(0.7), trained(0.8), False, True),
        (trained(None), trained(0.8), True, False),
        (trained(0.8), trained(None), True, True),
    ],
    ids=[
        "the first",
        "the first, though not better than naive",
        "not better than naive",
        "champion not better than naive",
        "a tie",
        "worse",
        "lower is better",
        "challenger never judged",
        "champion never judged",
    ],
)
def test_decide_when_compared_then_promotes_only_what_proved_itself(
    tmp_path: Path, challenger: TrainedModel, champion: TrainedModel | None, higher_is_better: bool, expected: bool
) -> None:
    new = ModelStore(tmp_path / "new").save(challenger)
    old = ModelStore(tmp_path / "old").save(champion) if champion else None
    is_promoted, why = decide(new, old, "auc", higher_is_better=higher_is_better)
    assert is_promoted is expected
    assert why
