from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.models import ModelStore, TrainedModel
from cx_pipeline.value import checks, learners, scoring
from cx_pipeline.value.buying import Buying, fit_buying
from cx_pipeline.value.policy import ValuePolicy
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.value.buyers import FIRST_DAY, as_timeline, summary, timeline, trained

POLICY = ValuePolicy()
AS_OF = FIRST_DAY + timedelta(days=539)
ORDERS = timeline()
CUSTOMERS = load_step("value")["customers"]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    found = trained(ORDERS, AS_OF)
    assert found is not None
    return found


def scores(orders: pl.DataFrame, as_of: date, model: TrainedModel | None, extra: tuple[str, ...] = ()) -> pl.DataFrame:
    rows = summary(orders, as_of)
    everyone = pl.DataFrame(
        {"customer_id": sorted({*orders["customer_id"], *extra})}, schema={"customer_id": pl.String}
    )
    return scoring.score(
        everyone, rows, model.parameters if model else None, model.estimator if model else None, as_of, POLICY
    )


def test_train_when_history_is_long_then_judged_out_of_time_beside_naive_rules(model: TrainedModel) -> None:
    figures = {metric.metric: metric for metric in model.metrics}
    assert figures["spearman"].window == f"{AS_OF - timedelta(days=90)}..{AS_OF}"
    for name in ("bias", "spearman", "normalised_gini", "top_10_percent_share", "mae"):
        assert figures[name].value is not None
        assert figures[name].baseline is not None
        assert f"{name}_naive_rate" in figures
    assert {f"choice_normalised_gini_{name}" for name in ("buying_model", "recency_blend")} <= set(figures)
    assert all(model.card.__dict__.values())


def test_train_when_run_twice_then_the_same_version(model: TrainedModel, tmp_path: Path) -> None:
    again = trained(ORDERS, AS_OF)
    assert again is not None
    store = ModelStore(tmp_path)
    assert store.save(model).version == store.save(again).version


def test_train_when_customers_are_few_then_no_model() -> None:
    assert trained(timeline(n=POLICY.min_customers - 1), AS_OF) is None


def test_train_without_orders_then_no_model() -> None:
    assert trained(as_timeline([]), AS_OF) is None


def test_train_when_history_is_short_then_a_model_that_says_so() -> None:
    short = timeline(n=120, n_days=60)
    model = trained(short, FIRST_DAY + timedelta(days=59))
    assert model is not None
    assert not model.is_better
    assert "too short" in model.verdict
    assert model.metrics == []
    table = scores(short, FIRST_DAY + timedelta(days=59), model)
    assert table["expected_revenue"].null_count() == 0


def test_score_when_customer_never_ordered_then_null_with_a_reason(model: TrainedModel) -> None:
    table = scores(ORDERS, AS_OF, model, extra=("Z",))
    nobody = table.filter(pl.col("customer_id") == "Z")
    assert nobody["reason"].to_list() == [scoring.NO_ORDERS] * 3
    assert nobody.select(scoring.FIGURES).null_count().row(0) == (3,) * len(scoring.FIGURES)
    assert table.filter(pl.col("customer_id") != "Z")["reason"].null_count() == table.height - 3


def test_score_without_model_then_null_with_a_reason() -> None:
    table = scores(ORDERS, AS_OF, None)
    assert set(table["reason"]) == {scoring.NO_MODEL}


def test_score_of_nobody_then_an_empty_table_of_the_contracts_columns() -> None:
    table = scores(as_timeline([]), AS_OF, None)
    assert table.height == 0
    assert set(table.columns) == set(CUSTOMERS.column_names)
    assert table.schema == {name: CUSTOMERS.polars_schema()[name] for name in table.columns}


def test_score_when_others_change_then_an_unchanged_customer_keeps_its_scores(model: TrainedModel) -> None:
    kept = ORDERS.filter(pl.col("customer_id") < "C00100")
    some, everyone = scores(kept, AS_OF, model), scores(ORDERS, AS_OF, model)
    assert some.equals(everyone.filter(pl.col("customer_id") < "C00100"))


@pytest.mark.parametrize("learner", ["gradient_boosting", "recent_spend", "recency_blend", "buying_model"])
def test_score_with_any_learner_then_all_checks_are_kept(learner: str, model: TrainedModel) -> None:
    rows = summary(ORDERS, AS_OF)
    moments = Buying.from_parameters(model.parameters["buying"]).moments(rows, AS_OF, POLICY.holdout_days)
    features = learners.boosting_features(rows, moments, AS_OF, POLICY.holdout_days)
    trees = learners.fit_boosting(features, moments.revenue, 10_000) if learner == "gradient_boosting" else None
    stored = {**model.parameters, "learner": learner, "weights": [0.5, 0.2, 0.2, 0.1]}
    table = scoring.score(rows.select("customer_id"), rows, stored, trees, AS_OF, POLICY)
    kept(table, rows.select("customer_id"))


def kept(table: pl.DataFrame, everyone: pl.DataFrame) -> None:
    ids = everyone.select("customer_id")
    for check in (
        checks.no_value_is_negative_or_nan,
        checks.quantiles_are_in_order,
        checks.expectations_grow_with_the_horizon,
    ):
        assert n_offending(check, value__customers=table) == 0
    assert n_offending(checks.every_customer_has_every_horizon, value__customers=table, profile__customers=ids) == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), tail=st.sampled_from([0.3, 1.5, 3.0]), n=st.integers(60, 90))
def test_values_when_amounts_are_heavy_tailed_then_never_negative_nor_nan(seed: int, tail: float, n: int) -> None:
    orders = timeline(n=n, n_days=200, seed=seed, tail=tail)
    as_of = FIRST_DAY + timedelta(days=199)
    rows = summary(orders, as_of)
    buying = fit_buying(rows, as_of, max_rows=50)
    stored = {
        "buying": buying.parameters(), "learner": "recency_blend", "weights": [0.4, 0.2, 0.2, 0.2], "horizon_days": 91,
        "method": buying.method, "calibration": {"dispersion": 3.0, "none_slope": 0.7, "none_ratio": -1.0},
    }  # fmt: skip
    table = scoring.score(rows.select("customer_id"), rows, stored, None, as_of, POLICY)
    assert table["expected_revenue"].null_count() == 0
    kept(table, rows)


def test_fit_buying_when_gamma_gamma_has_no_mean_then_log_normal_and_the_method_says_so() -> None:
    orders = timeline(n=200, tail=3.0)
    buying = fit_buying(summary(orders, AS_OF), AS_OF, max_rows=10_000)
    assert buying.method == "pareto_nbd+lognormal_shrinkage"
    assert Buying.from_parameters(buying.parameters()) == buying


def test_clv_when_discounted_then_below_revenue_and_in_proportion_to_margin(model: TrainedModel) -> None:
    rows = summary(ORDERS, AS_OF)
    arguments = (rows.select("customer_id"), rows, model.parameters, model.estimator, AS_OF)
    whole = scoring.score(*arguments, ValuePolicy(annual_discount_rate=0.0, margin_rate=1.0))
    half = scoring.score(*arguments, ValuePolicy(annual_discount_rate=0.1, margin_rate=0.5))
    assert np.allclose(whole["clv"], whole["expected_revenue"], rtol=1e-6, atol=1e-3)
    ratio = half["clv"].to_numpy().sum() / whole["clv"].to_numpy().sum() / 0.5
    assert 0.9 < ratio < 1.0


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (checks.no_value_is_negative_or_nan, {"expected_revenue": -1.0}),
        (checks.no_value_is_negative_or_nan, {"clv": float("nan")}),
        (checks.no_value_is_negative_or_nan, {"clv": None}),
        (checks.no_value_is_negative_or_nan, {"reason": "no orders"}),
        (checks.quantiles_are_in_order, {"revenue_low": 99.0}),
        (checks.expectations_grow_with_the_horizon, {"expected_orders": [3.0, 2.0, 4.0]}),
    ],
    ids=["negative", "not a number", "half missing", "a reason too many", "low above median", "orders fall"],
)  # fmt: skip
def test_checks_when_a_row_contradicts_them_then_found(check: object, broken: dict[str, object]) -> None:
    right = dict.fromkeys(scoring.FIGURES, 10.0) | {"customer_id": "a", "horizon_days": [91, 182, 365]}
    assert n_offending(check, value__customers=frame_of(CUSTOMERS, **right)) == 0  # type: ignore[arg-type]
    assert n_offending(check, value__customers=frame_of(CUSTOMERS, **{**right, **broken})) > 0  # type: ignore[arg-type]


def test_every_customer_has_every_horizon_when_one_is_missing_then_found() -> None:
    table = frame_of(CUSTOMERS, customer_id="a", horizon_days=[91, 182])
    everyone = pl.DataFrame({"customer_id": ["a", "b"]})
    check = checks.every_customer_has_every_horizon
    assert n_offending(check, value__customers=table, profile__customers=everyone) == 2
