from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cx_pipeline.core.models import CARD_SECTIONS, ModelStore, TrainedModel
from cx_pipeline.propensity import scoring
from cx_pipeline.propensity.cards import Description
from cx_pipeline.propensity.drivers import deciles, in_words
from cx_pipeline.propensity.policy import PropensityPolicy
from cx_pipeline.propensity.training import Refusal, Task, sentinel, split, train

POLICY = PropensityPolicy(min_rows=100, min_events=10)
START = date(2024, 1, 1)
TEST_FROM, CALIBRATION_FROM = START + timedelta(days=80), START + timedelta(days=50)
AS_OF = date(2024, 6, 30)
WORDS = Description("purchase_90d", "something.", "A row.", "Use.", "Caveats.")


def rows(n: int = 4_000, seed: int = 3, strength: float = 1.5) -> pl.DataFrame:
    """Rows over 100 days whose outcome depends on `recency_days` and `n_orders_90d`; `noise` means nothing."""
    random = np.random.default_rng(seed)
    recency = random.integers(0, 90, n)
    orders = random.poisson(3, n)
    logit = strength * (-(recency - 45) / 30 + (orders - 3) / 2) - 1
    label = (random.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    at = [START + timedelta(days=int(d)) for d in random.integers(0, 100, n)]
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(n)],
            "at": at,
            "moment": at,
            "known_until": [day - timedelta(days=1) for day in at],
            "closes_on": at,
            "label": label,
            "recency_days": recency,
            "n_orders_90d": orders,
            "noise": random.random(n),
            "constant": 1,
            "naive": random.random(n),
        }
    )


def task(data: pl.DataFrame, *features: str) -> Task:
    return Task(WORDS, data, features or ("recency_days", "n_orders_90d", "noise", "constant"), ("naive",), {})


def trained(data: pl.DataFrame) -> TrainedModel:
    found = train(task(data), TEST_FROM, CALIBRATION_FROM, POLICY, AS_OF)
    assert isinstance(found, TrainedModel)
    return found


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return trained(rows())


def test_train_when_features_tell_then_the_model_is_better_than_the_naive_rule_and_calibrated(
    model: TrainedModel,
) -> None:
    figures = {metric.metric: metric for metric in model.metrics}
    assert model.is_better, model.verdict
    assert figures["auc"].value is not None
    assert figures["auc"].value > 0.8
    assert figures["auc"].baseline == pytest.approx(0.5, abs=0.06)
    assert figures["ece"].value is not None
    assert figures["ece"].value < 0.05
    assert "constant" not in model.parameters["features"]
    assert figures["auc"].window == f"{TEST_FROM}..{START + timedelta(days=99)}"


def test_train_when_features_tell_nothing_then_the_model_is_not_used() -> None:
    data = rows().with_columns(pl.col("noise").alias("recency_days"), pl.col("noise").alias("n_orders_90d"))
    found = trained(data)
    assert not found.is_better
    assert "naive rule" in found.verdict


def test_train_when_repeated_then_the_version_is_the_same(model: TrainedModel, tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    first = store.submit(model, "auc", higher_is_better=True)
    again = store.submit(trained(rows()), "auc", higher_is_better=True)
    assert first.version == again.version
    assert all(getattr(first.card, name) for name in CARD_SECTIONS)


def test_train_when_a_feature_knows_the_outcome_then_it_is_refused_by_name() -> None:
    data = rows().with_columns((pl.col("label") + pl.col("noise") / 10).alias("after_the_fact"))
    found = train(task(data, "recency_days", "after_the_fact"), TEST_FROM, CALIBRATION_FROM, POLICY, AS_OF)
    assert isinstance(found, Refusal)
    assert "leak: the feature after_the_fact alone" in found.reason


def test_train_when_only_absence_of_a_feature_knows_the_outcome_then_it_is_refused() -> None:
    data = rows().with_columns(pl.when(pl.col("label") == 1).then(pl.lit(1.0)).alias("reason_for_leaving"))
    assert "reason_for_leaving" in (sentinel(task(data, "reason_for_leaving"), 0.95) or "")


def test_train_when_a_row_knows_its_own_future_then_it_is_refused_with_the_number_of_rows() -> None:
    late = pl.when(pl.col("customer_id") < "C00007").then(pl.col("at")).otherwise(pl.col("known_until"))
    found = train(task(rows().with_columns(late.alias("known_until"))), TEST_FROM, CALIBRATION_FROM, POLICY, AS_OF)
    assert isinstance(found, Refusal)
    assert "7 rows know events that are later" in found.reason


@pytest.mark.parametrize("n", [0, 200], ids=["nothing", "little"])
def test_train_when_there_is_too_little_then_it_is_refused_and_says_what_is_needed(n: int) -> None:
    found = train(task(rows(4_000).head(n)), TEST_FROM, CALIBRATION_FROM, POLICY, AS_OF)
    assert isinstance(found, Refusal)
    assert "too little to" in found.reason
    assert "are needed" in found.reason


def test_split_when_outcomes_are_known_late_then_no_fold_before_the_test_holds_them() -> None:
    data = rows().with_columns((pl.col("at") + pl.duration(days=20)).alias("closes_on"))
    folds = split(data, TEST_FROM, CALIBRATION_FROM)
    assert folds.calibration["closes_on"].max() <= TEST_FROM  # type: ignore[operator]
    assert folds.fitting["closes_on"].max() <= CALIBRATION_FROM  # type: ignore[operator]
    assert folds.test["at"].min() >= TEST_FROM  # type: ignore[operator]


def test_scores_when_the_champion_is_loaded_from_disk_then_they_are_those_of_the_model_in_memory(
    model: TrainedModel, tmp_path: Path
) -> None:
    version = ModelStore(tmp_path).submit(model, "auc", higher_is_better=True)
    champion, reason = scoring.usable(version, None)
    assert reason is None
    assert champion is not None
    data = rows(300, seed=9)
    found = scoring.scored("purchase_90d", data, champion, AS_OF)
    in_memory = scoring.scored(
        "purchase_90d", data, scoring.Champion(version.version, model.parameters, model.estimator), AS_OF
    )
    assert found.equals(in_memory)
    assert found["probability"].is_between(0, 1).all()
    assert found["driver_1"].drop_nulls().str.contains(r"\((raises|lowers)\)$").all()
    assert sorted(found["decile"].unique()) == list(range(1, 11))


def test_scores_when_rows_come_alone_then_they_are_as_among_others(model: TrainedModel) -> None:
    champion = scoring.Champion("v", model.parameters, model.estimator)
    data = rows(50, seed=5)
    together = scoring.scored("purchase_90d", data, champion, AS_OF).drop("decile")
    alone = pl.concat(
        [scoring.scored("purchase_90d", data[i : i + 1], champion, AS_OF).drop("decile") for i in range(50)]
    )
    assert together.equals(alone.sort("customer_id"))


def test_usable_when_there_is_no_model_or_a_poor_one_then_the_reason_is_told(
    model: TrainedModel, tmp_path: Path
) -> None:
    assert scoring.usable(None, "too little to fit on") == (None, "no model: too little to fit on")
    poor = ModelStore(tmp_path).save(replace(model, is_better=False, verdict="no better than the naive rule"))
    champion, reason = scoring.usable(poor, None)
    assert champion is None
    assert reason == "the model is not used: no better than the naive rule"


def test_deciles_when_scores_tie_then_keys_decide_and_tenths_are_of_equal_size() -> None:
    found = deciles(np.zeros(20), pl.Series([f"C{i:02d}" for i in range(20)]))
    assert found == [1 + i // 2 for i in range(20)]


@pytest.mark.parametrize(
    ("feature", "value", "effect", "words"),
    [
        ("recency_days", 12.0, 0.4, "last order 12 days ago (raises)"),
        ("recency_days", float("nan"), -0.4, "no order yet (lowers)"),
        ("is_offer_Type A", 0.0, -0.4, "another offer than Type A (lowers)"),
        ("n_till_coupon_disc_180d", 3.0, 0.4, "3 orders in 180 days with till coupon disc (raises)"),
        ("unheard_of", 2.5, 0.4, "unheard of 2.5 (raises)"),
    ],
)
def test_words_when_a_feature_moves_the_score_then_they_say_value_and_direction(
    feature: str, value: float, effect: float, words: str
) -> None:
    assert in_words(feature, value, effect) == words
