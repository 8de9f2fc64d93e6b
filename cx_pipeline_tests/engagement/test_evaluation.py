from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.engagement import evaluation as campaigns
from cx_pipeline.engagement.checks import (
    effects_lie_in_their_intervals,
    every_campaign_is_evaluated,
    no_effect_without_a_control_arm,
)
from cx_pipeline.engagement.plots import effects_or_rates
from cx_pipeline.engagement.policy import EvaluationPolicy
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import money, same_on_polars_and_duckdb

STAGING, IDENTITY, ENGAGEMENT = load_step("staging"), load_step("identity"), load_step("engagement")
AS_OF = date(2024, 12, 31)
SENT = datetime(2024, 3, 1, 9)


def arm(name: str, n: int, n_responses: int, campaign: str = "spring", **more: Any) -> dict[str, Any]:
    return {
        "campaign": campaign,
        "arm": name,
        "first_sent_on": SENT.date(),
        "last_sent_on": SENT.date(),
        "n": n,
        "n_in_several_arms": 0,
        "n_responses": n_responses,
        "value": None,
        "first_offer": None,
        "last_offer": None,
        **more,
    }


def evaluated(
    *arms: dict[str, Any], policy: EvaluationPolicy | None = None, **costs: float
) -> dict[str, dict[str, Any]]:
    rows = campaigns.evaluation(pl.DataFrame(list(arms)), costs, policy or EvaluationPolicy(), AS_OF)
    return {f"{row['campaign']} {row['arm']}": row for row in rows.to_dicts()}


# Arm sizes and visits of the MineThatData e-mail challenge (K. Hillstrom, 2008).
HILLSTROM = (arm("Mens E-Mail", 21_307, 3_894), arm("No E-Mail", 21_306, 2_262), arm("Womens E-Mail", 21_387, 3_238))


def test_evaluation_when_the_challenge_is_read_then_effects_and_sample_ratio_are_the_published_ones() -> None:
    rows = evaluated(*HILLSTROM)
    men, women, control = rows["spring Mens E-Mail"], rows["spring Womens E-Mail"], rows["spring No E-Mail"]
    assert (men["effect"], men["effect_low"], men["effect_high"]) == pytest.approx((0.0766, 0.0699, 0.0832), abs=1e-4)
    assert (women["effect"], women["effect_low"], women["effect_high"]) == pytest.approx(
        (0.0452, 0.0389, 0.0516), abs=1e-4
    )
    assert control["sample_ratio_p"] == pytest.approx(0.904, abs=1e-3)
    assert (men["verdict"], women["verdict"], control["verdict"]) == ("effective", "effective", "control")
    assert control["effect"] is None


def test_evaluation_when_there_is_no_control_arm_then_no_effect_is_stated_and_the_reason_is() -> None:
    row = evaluated(arm("all", 1_000, 190, first_offer="Type A", last_offer="Type A"))["spring all"]
    assert row["verdict"] == "not_identifiable"
    assert "no control arm" in row["reason"]
    assert "Type A" in row["reason"]
    assert [row[name] for name in ("effect", "effect_low", "p_value", "p_adjusted", "incremental_profit")] == [None] * 5
    assert row["rate_low"] < row["response_rate"] < row["rate_high"]


def test_evaluation_when_arms_do_not_fit_any_design_then_nothing_is_read() -> None:
    rows = evaluated(arm("control", 10_000, 1_000), arm("mail", 11_500, 2_000))
    assert {row["verdict"] for row in rows.values()} == {"sample_ratio_broken"}
    assert {row["effect"] for row in rows.values()} == {None}


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [({"control": 0.1, "mail": 0.9}, "effective"), ({"control": 0.5, "mail": 0.5}, "sample_ratio_broken")],
    ids=["as planned", "not as planned"],
)
def test_evaluation_when_shares_are_planned_then_the_plan_is_what_sizes_are_held_against(
    shares: dict[str, float], verdict: str
) -> None:
    policy = EvaluationPolicy(planned_shares={"spring": shares})
    rows = evaluated(arm("control", 1_000, 50), arm("mail", 9_000, 900), policy=policy)
    assert rows["spring mail"]["verdict"] == verdict


def test_evaluation_when_the_response_window_is_open_then_it_is_too_early() -> None:
    late: dict[str, Any] = {"first_sent_on": date(2024, 12, 20), "last_sent_on": date(2024, 12, 20)}
    rows = evaluated(arm("control", 1_000, 10, **late), arm("mail", 1_000, 90, **late))
    assert {row["verdict"] for row in rows.values()} == {"too_early"}


def test_evaluation_when_many_arms_are_read_then_p_is_adjusted_over_all_of_them() -> None:
    arms = [arm("control", 2_000, 200), *(arm(f"mail {i}", 2_000, 240 if i == 0 else 201) for i in range(9))]
    rows = evaluated(*arms)
    best = rows["spring mail 0"]
    assert best["p_value"] < 0.05
    assert best["p_adjusted"] == pytest.approx(min(1.0, 9 * best["p_value"]))
    assert best["verdict"] == "no_effect_shown"


def test_evaluation_when_the_margin_is_known_then_profit_is_incremental_and_costs_are_taken_off() -> None:
    arms = (arm("control", 1_000, 50, value=money("500.00")[0]), arm("mail", 1_000, 150, value=money("2500.00")[0]))
    rows = evaluated(*arms, policy=EvaluationPolicy(margin_rate=0.5), spring=300.0)
    assert rows["spring mail"]["incremental_profit"] == pytest.approx((2.5 - 0.5) * 1_000 * 0.5 - 300)
    assert evaluated(*arms)["spring mail"]["incremental_profit"] is None


def test_holm_when_values_are_given_then_they_are_those_of_the_procedure() -> None:
    # Worked by hand: 4 x .005, 3 x .01, 2 x .03, then the running maximum.
    assert campaigns.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_newcombe_when_the_example_of_the_paper_is_given_then_the_interval_is_its() -> None:
    # Newcombe 1998, table II: 56/70 against 48/80, method 10: .0524 to .3339.
    assert campaigns.newcombe(56, 70, 48, 80, 0.05) == pytest.approx((0.0524, 0.3339), abs=1e-4)


@pytest.mark.parametrize(("x", "n"), [(0, 10), (10, 10), (0, 1), (3, 7)])
def test_wilson_when_rates_are_extreme_then_the_interval_holds_the_rate_and_stays_within_bounds(x: int, n: int) -> None:
    low, high = campaigns.wilson(x, n, 0.05)
    assert 0 <= low <= x / n <= high <= 1


def tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Four cards: a and b of one customer, c and d of others; e has no customer. b is in both arms' way: customer A is in two arms."""
    cards = ["a", "b", "c", "d", "e"]
    contacts = frame_of(
        STAGING["campaign_contacts"],
        channel="mail",
        record_id=[f"m{i}" for i in range(6)],
        identifier_namespace="card",
        identifier_value=[*cards, None],
        campaign_id="spring",
        campaign_arm=["mail", "control", "mail", "control", "mail", "mail"],
        campaign_sent_at=SENT,
    )
    responses = frame_of(
        STAGING["campaign_responses"],
        channel="desk",
        record_id=[f"r{i}" for i in range(5)],
        identifier_namespace="card",
        identifier_value=["a", "c", "c", "d", "e"],
        campaign_id="spring",
        campaign_responded_at=[
            SENT,
            datetime(2024, 3, 5),
            datetime(2024, 3, 6),
            datetime(2024, 9, 1),
            datetime(2024, 2, 1),
        ],
        campaign_value=money("1.00", "2.50", "2.50", "9.00", None),
    )
    xref = frame_of(IDENTITY["identifier_xref"], namespace="card", value=cards[:4], customer_id=["A", "A", "C", "D"])
    return contacts, responses, xref


def test_arms_when_counted_then_customers_count_once_and_only_timely_responses_do() -> None:
    contacts, responses, xref = tables()
    counted = same_on_polars_and_duckdb(
        lambda c, r, x: campaigns.arms(campaigns.assigned(c, r, x, 60)), contacts, responses, xref
    )
    rows = {row["arm"]: row for row in counted.to_dicts()}
    # A is in two arms and left out; D responded after the window; e, without a customer, before the contact.
    assert (rows["mail"]["n"], rows["mail"]["n_responses"], float(rows["mail"]["value"])) == (2, 1, 5.0)
    assert (rows["control"]["n"], rows["control"]["n_responses"]) == (1, 0)
    assert sum(row["n_in_several_arms"] for row in rows.values()) == 1


def test_evaluation_when_there_are_no_campaigns_then_there_is_no_row() -> None:
    empty = [
        STAGING["campaign_contacts"].empty(),
        STAGING["campaign_responses"].empty(),
        IDENTITY["identifier_xref"].empty(),
    ]
    counted = same_on_polars_and_duckdb(lambda c, r, x: campaigns.arms(campaigns.assigned(c, r, x, 60)), *empty)
    assert campaigns.evaluation(counted, {}, EvaluationPolicy(), AS_OF).is_empty()


def table_of(*arms: dict[str, Any]) -> pl.DataFrame:
    table = ENGAGEMENT["evaluation"]
    rows = campaigns.evaluation(pl.DataFrame(list(arms)), {}, EvaluationPolicy(), AS_OF)
    return rows.select(table.column_names).cast(table.polars_schema())


def test_checks_when_the_table_is_right_then_nothing_offends_and_else_it_does() -> None:
    right = table_of(*HILLSTROM)
    assert n_offending(no_effect_without_a_control_arm, engagement__evaluation=right) == 0
    assert n_offending(effects_lie_in_their_intervals, engagement__evaluation=right) == 0
    without_control = right.filter(~pl.col("is_control"))
    assert n_offending(no_effect_without_a_control_arm, engagement__evaluation=without_control) == 2
    shifted = right.with_columns(pl.col("effect") + 0.1)
    assert n_offending(effects_lie_in_their_intervals, engagement__evaluation=shifted) == 2
    contacts, _, _ = tables()
    missing = {"engagement__evaluation": right.clear(), "staging__campaign_contacts": contacts}
    assert n_offending(every_campaign_is_evaluated, **missing) == 1


def test_plot_when_there_are_effects_then_it_draws_and_without_rows_it_does_not() -> None:
    from cx_pipeline.core.frames import lazy

    assert "Effect of campaigns" in (effects_or_rates(lazy(table_of(*HILLSTROM))) or "")
    assert effects_or_rates(lazy(table_of(*HILLSTROM).clear())) is None
