from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.core.models import ModelStore, TrainedModel
from cx_pipeline.retention import checks, cohorts, evaluation, kaplan_meier, scoring, training
from cx_pipeline.retention.drivers import drivers, sentence
from cx_pipeline.retention.policy import RetentionPolicy
from cx_pipeline.retention.subjects import Subjects, activity_facts, activity_subjects, contract_subjects
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.retention.leavers import FIRST_DAY, buyers, contracts, days_of

POLICY = RetentionPolicy()
AS_OF = FIRST_DAY + timedelta(days=599)
W = 90
DAYS = days_of(buyers(), AS_OF)
TABLES = load_step("retention")


def activity_cohorts(days: pl.DataFrame = DAYS) -> training.Cohorts:
    return cohorts.activity_cohorts(lazy(days), W, POLICY)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    found = training.train(activity_cohorts(), AS_OF, POLICY)
    assert found is not None
    return found


def now(days: pl.DataFrame = DAYS) -> Subjects:
    return activity_subjects(to_polars(activity_facts(lazy(days), AS_OF)), AS_OF, W)


def table(model: TrainedModel | None, days: pl.DataFrame = DAYS, extra: tuple[str, ...] = ()) -> pl.DataFrame:
    hazard = training.hazard_of(model.parameters) if model else None
    facts = to_polars(activity_facts(lazy(days), AS_OF))
    parts = [
        scoring.scored("activity", hazard, now(days), POLICY.max_residual_days),
        scoring.gone("activity", cohorts.activity_gone(facts, W, AS_OF)),
    ]
    everyone = pl.DataFrame({"customer_id": sorted({*facts["customer_id"], *extra})}, schema={"customer_id": pl.String})
    return scoring.customer_rows(everyone, parts, AS_OF)


def test_train_when_history_is_long_then_judged_out_of_time_beside_the_naive_rule(model: TrainedModel) -> None:
    figures = {metric.metric: metric for metric in model.metrics}
    for name in ("auc_90d", "brier_90d", "calibration_error_90d", "concordance_90d", "auc_180d", "brier_30d"):
        assert figures[name].value is not None
        assert figures[name].baseline is not None
    assert figures["auc_90d"].window == f"{AS_OF - timedelta(days=89)}..{AS_OF}"
    assert {"auc_90d_cox", "auc_90d_discrete_hazard"} & set(figures)
    assert {"choice_calibration_error_cox", "choice_calibration_error_discrete_hazard"} <= set(figures)


def test_train_when_customers_have_rhythms_of_their_own_then_better_than_recency(model: TrainedModel) -> None:
    assert model.is_better, model.verdict


def test_train_when_run_twice_then_the_same_version(model: TrainedModel, tmp_path: Path) -> None:
    again = training.train(activity_cohorts(), AS_OF, POLICY)
    assert again is not None
    store = ModelStore(tmp_path)
    assert store.save(again).version == store.save(model).version


@pytest.mark.parametrize("n", [0, 30], ids=["nobody", "too few"])
def test_train_when_customers_are_few_then_no_model(n: int) -> None:
    assert training.train(activity_cohorts(days_of(buyers(n), AS_OF)), AS_OF, POLICY) is None


def test_train_when_history_is_short_then_a_model_that_says_so_or_none() -> None:
    soon = FIRST_DAY + timedelta(days=230)
    model = training.train(activity_cohorts(days_of(buyers(), soon)), soon, POLICY)
    assert model is not None
    assert not model.is_better
    assert "too short" in model.verdict


def test_train_on_contracts_when_hazards_are_planted_then_calibrated_and_conditional_on_tenure() -> None:
    rows = contracts()
    at = FIRST_DAY + timedelta(days=900)
    found = cohorts.contract_cohorts(rows, POLICY)
    model = training.train(found, at, POLICY)
    assert model is not None
    figures = {metric.metric: metric for metric in model.metrics}
    error = figures["calibration_error_90d"].value
    assert error is not None
    assert error < 0.05
    assert (figures["auc_90d"].value or 0) > (figures["auc_90d"].baseline or 1)
    hazard = training.hazard_of(model.parameters)
    plans = tuple(model.parameters["plans"])
    subjects = contract_subjects(rows, plans, at, from_start=False)
    scored = scoring.scored("contract", hazard, subjects, POLICY.max_residual_days)
    mean = (
        scored.join(rows.select("customer_id", "plan"), on="customer_id")
        .group_by("plan")
        .agg(pl.col("survival_365d").mean())
    )
    by_plan = dict(mean.iter_rows())
    assert by_plan["yearly"] > by_plan["monthly"] + 0.2
    told = scored.join(rows, on="customer_id").filter(pl.col("plan") == "monthly")["driver_1"].drop_nulls()
    assert set(told) <= {"fee 10.00", "plan monthly", "not on plan yearly"}
    assert len(told) > 0


def test_score_when_scored_then_every_check_is_kept(model: TrainedModel) -> None:
    found = table(model, extra=("Z",))
    master = found.select("customer_id")
    for check in (
        checks.survival_falls_with_the_horizon,
        checks.a_missing_survival_has_a_reason,
        checks.who_has_left_does_not_survive,
    ):
        assert n_offending(check, retention__customers=found) == 0
    assert n_offending(checks.every_customer_has_one_row, retention__customers=found, profile__customers=master) == 0
    assert found.filter(pl.col("customer_id") == "Z")["reason"].to_list() == [scoring.NO_ORDERS]
    assert found["driver_1"].drop_nulls().len() > 0


def test_score_when_silent_for_the_window_then_gone_since_a_day(model: TrainedModel) -> None:
    gone = table(model).filter(pl.col("status") == "inactive")
    assert gone.height > 0
    assert gone["survival_30d"].unique().to_list() == [0.0]
    assert gone["driver_1"].str.contains(r"^no order for \d+ days: inactive since \d{4}-\d\d-\d\d$").all()


def test_score_when_others_change_then_an_unchanged_customer_keeps_its_row(model: TrainedModel) -> None:
    some = DAYS.filter(pl.col("customer_id") < "C00080")
    assert table(model, some).equals(table(model).filter(pl.col("customer_id") < "C00080"))


def test_score_without_model_then_null_with_a_reason() -> None:
    found = table(None).filter(pl.col("status") == "active")
    assert set(found["reason"]) == {scoring.NO_MODEL}
    assert found["survival_90d"].null_count() == found.height


def test_score_of_nobody_then_an_empty_table_of_the_contracts_columns() -> None:
    found = table(None, DAYS.clear())
    assert found.height == 0
    assert found.schema == {name: TABLES["customers"].polars_schema()[name] for name in found.columns}
    assert set(found.columns) == set(TABLES["customers"].column_names)


def test_curves_of_nobody_then_an_empty_table_of_the_contracts_columns() -> None:
    lived = pl.DataFrame(schema={"segment": pl.String, "days": pl.Int64, "is_event": pl.Boolean})
    found = kaplan_meier.curves("activity", lived, 50)
    kinds = TABLES["survival_curves"].polars_schema()
    assert found.schema == {name: kinds[name] for name in found.columns}


def test_median_residual_when_half_have_left_then_the_day(model: TrainedModel) -> None:
    hazard, subjects = training.hazard_of(model.parameters), now()
    median = scoring.median_residual(hazard, subjects, 3_000)
    known = ~np.isnan(median)
    assert known.any()
    part = subjects.take(known)
    for i in range(0, int(known.sum()), 20):
        one, day = part.take(np.array([i])), median[known][i]
        assert training.survival(hazard, one, day)[0] <= 0.5 + 1e-6
        assert training.survival(hazard, one, day - 1)[0] >= 0.5 - 1e-6


def test_naive_probability_when_the_clock_tells_all_then_the_share_of_its_tenth() -> None:
    rows = pl.DataFrame(
        {"customer_id": [str(i) for i in range(100)], "elapsed_days": list(range(100)), "exit_days": [200] * 100}
    ).with_columns(is_event=pl.col("elapsed_days") >= 50)
    before = Subjects(
        rows.with_columns(pl.when("is_event").then(pl.col("elapsed_days") + 5).otherwise(200).alias("exit_days")),
        np.zeros((100, 0)),
        (),
    )
    found = training.naive_probability(before, before, 30)
    assert found[:40].tolist() == [0.0] * 40
    assert found[60:].tolist() == [1.0] * 40


@pytest.mark.parametrize(
    ("left", "risk", "expected"),
    [
        ([True, False], [0.9, 0.1], 1.0),
        ([True, False], [0.1, 0.9], 0.0),
        ([True, False], [0.5, 0.5], 0.5),
        ([True, True], [0.5, 0.5], None),
    ],
    ids=["right", "wrong", "tied", "all left"],
)
def test_auc_when_ranked_then_the_share_of_pairs(left: list[bool], risk: list[float], expected: float | None) -> None:
    assert evaluation.auc(np.array(left), np.array(risk)) == expected


def test_calibration_error_when_probabilities_are_shares_then_zero() -> None:
    left = np.tile([True, False], 50)
    assert evaluation.calibration_error(left, np.full(100, 0.5)) == pytest.approx(0.0)
    assert evaluation.calibration_error(left, np.full(100, 0.8)) == pytest.approx(0.3)
    assert evaluation.brier(left, np.full(100, 0.5)) == 0.25


def test_calibration_noise_when_simulated_then_the_error_of_a_calibrated_probability() -> None:
    random = np.random.default_rng(1)
    probability = random.uniform(0.05, 0.6, 200)
    errors = [evaluation.calibration_error(random.random(200) < probability, probability) for _ in range(400)]
    assert evaluation.calibration_noise(probability) == pytest.approx(np.mean(errors), rel=0.1)


def test_drivers_when_three_raise_the_risk_then_told_the_strongest_first() -> None:
    facts = pl.DataFrame(
        {
            "elapsed_days": [1],
            "usual_gap_days": [5.2],
            "n_orders_91d": [1],
            "n_orders_28d": [0],
            "tenure_days": [40],
            "mean_order_value": [12.0],
        }
    )
    names = ("recency", "overdue", "frequency", "slowing", "tenure", "order_value")
    found = drivers(facts, names, np.array([[0.5, 0.01, 0.9, -2.0, 0.6, 0.2]]))
    assert found.row(0) == ("1 order in the last 13 weeks", "customer for 40 days", "last order 1 day ago")
    assert drivers(facts, names, np.zeros((1, 6))).row(0) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("plan=a", {"plan": "a"}, "plan a"),
        ("plan=a", {"plan": None}, "not on plan a"),
        ("fee", {"fee": 9.5}, "fee 9.50"),
        ("fee", {"fee": None}, "no fee is known"),
        ("overdue", {"usual_gap_days": 0.4, "elapsed_days": 9}, "usually orders every 1 day, last 9 days ago"),
        ("slowing", {"n_orders_91d": 13, "n_orders_28d": 0}, "no order in the last 4 weeks, 4.0 in an average 4 weeks of the last 13"),
    ],
    ids=["plan", "another plan", "fee", "no fee", "overdue", "slowing"],
)  # fmt: skip
def test_sentence_when_told_then_facts_in_words(name: str, facts: dict[str, object], expected: str) -> None:
    assert sentence(name, facts) == expected


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (checks.survival_falls_with_the_horizon, {"survival_365d": 0.95}),
        (checks.a_missing_survival_has_a_reason, {"survival_30d": None}),
        (checks.a_missing_survival_has_a_reason, {"reason": "no model"}),
        (checks.who_has_left_does_not_survive, {"status": "inactive"}),
    ],
    ids=["rises", "half missing", "a reason too many", "gone but staying"],
)
def test_checks_when_a_row_contradicts_them_then_found(check: object, broken: dict[str, object]) -> None:
    right: dict[str, object] = {"customer_id": "a", "basis": "activity", "status": "active"}
    right |= {"survival_30d": 0.9, "survival_90d": 0.8, "survival_180d": 0.7, "survival_365d": 0.6}
    assert n_offending(check, retention__customers=frame_of(TABLES["customers"], **right)) == 0  # type: ignore[arg-type]
    assert n_offending(check, retention__customers=frame_of(TABLES["customers"], **{**right, **broken})) > 0  # type: ignore[arg-type]


def test_curves_never_rise_when_one_does_then_found() -> None:
    rows = {"basis": "activity", "segment": "all", "t_days": [0, 7], "low": 0.0, "high": 1.0, "n_at_risk": 5}
    falls = frame_of(TABLES["survival_curves"], survival=[1.0, 0.9], **rows)
    rises = frame_of(TABLES["survival_curves"], survival=[0.9, 1.0], **rows)
    assert n_offending(checks.curves_never_rise, retention__survival_curves=falls) == 0
    assert n_offending(checks.curves_never_rise, retention__survival_curves=rises) == 1


def test_contract_gone_when_a_contract_has_ended_then_since_when() -> None:
    rows = contracts(100)
    at = date(2024, 1, 1)
    found = cohorts.contract_gone(rows, at)
    assert found.height == rows.filter(pl.col("ended_on") <= at).height > 0
    assert found["status"].unique().to_list() == ["ended"]
