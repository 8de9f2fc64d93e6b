from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from cx_pipeline.retention.cox import Cox, fit_cox
from cx_pipeline.retention.discrete_hazard import Clock, DiscreteHazard, fit_discrete_hazard
from cx_pipeline.retention.kaplan_meier import survival_curve
from cx_pipeline.retention.subjects import Subjects, contract_subjects, plans_of
from cx_pipeline.retention.training import survival
from cx_pipeline_tests.retention.leavers import FIRST_DAY, contracts

AT = FIRST_DAY + timedelta(days=900)
MONTHS = Clock(30, 30, is_point=False)


@pytest.fixture(scope="module")
def learnt() -> Subjects:
    rows = contracts()
    return contract_subjects(rows, plans_of(rows), AT, from_start=True, known_until=AT)


@pytest.fixture(scope="module")
def hazard(learnt: Subjects) -> DiscreteHazard:
    return fit_discrete_hazard(learnt, MONTHS)


@pytest.mark.parametrize("method", ["discrete_hazard", "cox"])
def test_hazard_when_plans_leave_at_planted_rates_then_survival_as_kaplan_and_meier_say(
    method: str, learnt: Subjects, hazard: DiscreteHazard
) -> None:
    model = hazard if method == "discrete_hazard" else fit_cox(learnt, 10_000)
    for plan in ("monthly", "yearly"):
        group = learnt.take((learnt.rows["plan"] == plan).to_numpy())
        curve = survival_curve("contract", plan, group.days("exit_days"), group.is_event.astype(np.float64))
        by_day = dict(zip(curve["t_days"], curve["survival"], strict=True))
        one = group.take(np.array([0]))
        for days in (91, 364):
            assert survival(model, one, days)[0] == pytest.approx(by_day[days], abs=0.04)


def test_survival_when_time_has_passed_already_then_conditional_on_it(hazard: DiscreteHazard, learnt: Subjects) -> None:
    new = learnt.take(np.arange(50))
    old = Subjects(new.rows.with_columns(elapsed_days=100), new.covariates, new.names)
    assert survival(hazard, old, 60) == pytest.approx(survival(hazard, new, 160) / survival(hazard, new, 100))


def test_cumulative_hazard_when_time_goes_on_then_it_never_falls(hazard: DiscreteHazard, learnt: Subjects) -> None:
    some = learnt.covariates[:5]
    for model in (hazard, fit_cox(learnt, 10_000)):
        path = model.path(some, 1500.0)
        grown = np.array([path.at(np.full(5, float(day))) for day in range(0, 1500, 25)])
        assert (np.diff(grown, axis=0) >= 0).all()
        # Beyond what was seen the hazard goes on.
        assert (grown[-1] > grown[-20]).all()


def test_hazards_when_stored_as_json_then_the_same(hazard: DiscreteHazard, learnt: Subjects) -> None:
    import json

    cox = fit_cox(learnt, 10_000)
    for model in (hazard, cox):
        assert type(model).from_parameters(json.loads(json.dumps(model.parameters()))) == model


def test_cox_when_hazards_are_proportional_then_the_planted_ratio(learnt: Subjects) -> None:
    immortal = learnt.rows.with_row_index("i").filter(~learnt.rows["is_event"])["i"].to_numpy()
    assert len(immortal) > 0
    cox = fit_cox(learnt, 10_000)
    assert isinstance(cox, Cox)
    assert cox.schoenfeld_p is not None
    x = learnt.covariates[[int((learnt.rows["plan"] == plan).arg_max() or 0) for plan in ("monthly", "yearly")]]
    added = cox.contributions(x, np.zeros(2)).sum(axis=1)
    assert 3.5 < np.exp(added[0] - added[1]) < 6.5


def test_cox_when_a_covariate_never_varies_then_it_counts_for_nothing(learnt: Subjects) -> None:
    flat = Subjects(
        learnt.rows, np.column_stack([learnt.covariates, np.ones(len(learnt.covariates))]), (*learnt.names, "one")
    )
    assert fit_cox(flat, 10_000).coefficients[-1] == 0.0


@pytest.mark.parametrize(
    ("days", "period"), [(0, 1), (89, 1), (90, 1), (91, 2), (120, 2), (121, 3)],
    ids=["begin", "before W", "at W", "after W", "end of the second", "third"],
)  # fmt: skip
def test_clock_when_w_has_passed_then_periods_of_a_month(days: float, period: int) -> None:
    assert Clock(90, 30, is_point=True).period(np.array([float(days)])).tolist() == [period]


def test_point_clock_when_w_has_not_passed_then_nobody_can_have_left(learnt: Subjects) -> None:
    late = Subjects(
        learnt.rows.with_columns(exit_days=learnt.rows["exit_days"].clip(90)), learnt.covariates, learnt.names
    )
    model = fit_discrete_hazard(late, Clock(90, 30, is_point=True))
    path = model.path(learnt.covariates[:1], 90.0)
    assert path.at(np.array([89.0]))[0] == 0
    assert path.at(np.array([90.0]))[0] > 0


def test_contributions_when_a_customer_is_average_then_nothing_speaks(hazard: DiscreteHazard) -> None:
    average = np.array([hazard.centre])
    assert hazard.contributions(average, np.array([45.0])) == pytest.approx(np.zeros((1, len(hazard.names))))


def test_survival_curve_when_all_are_counted_then_the_textbook_estimate() -> None:
    curve = survival_curve("activity", "all", np.array([7.0, 14, 14, 28]), np.array([1.0, 1, 0, 0]))
    assert curve["t_days"].to_list() == [0, 7, 14, 21, 28]
    assert curve["survival"].to_list() == [1.0, 0.75, 0.5, 0.5, 0.5]
    assert curve["n_at_risk"].to_list() == [4, 4, 3, 1, 1]
    assert (curve["low"] <= curve["survival"]).all()
