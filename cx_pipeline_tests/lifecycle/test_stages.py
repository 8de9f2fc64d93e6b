from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.errors import ConfigurationError
from cx_pipeline.core.frames import lazy
from cx_pipeline.lifecycle.checks import every_customer_has_one_stage, stages_begin_before_tonight
from cx_pipeline.lifecycle.plots import stage_mix
from cx_pipeline.lifecycle.policy import LifecyclePolicy
from cx_pipeline.lifecycle.stages import customer_stages, read_rules, spells, staged
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of

FEATURES, LIFECYCLE, PROFILE = (
    load_step("profile")["features"],
    load_step("lifecycle")["customers"],
    load_step("profile"),
)
TONIGHT = date(2024, 12, 31)
EARLIER = [date(2024, 10, 8), date(2024, 11, 5), date(2024, 12, 3)]


def features(**columns: Any) -> pl.DataFrame:
    """Rows of `profile.features`; a customer at rest unless told otherwise."""
    defaults: dict[str, Any] = {"customer_id": "A", "as_of": TONIGHT, "n_orders": 0, "tenure_days": 10}
    return frame_of(FEATURES, **{**defaults, **columns})


@pytest.mark.parametrize(
    ("known", "stage"),
    [
        ({}, "acquisition"),
        ({"n_orders": 1, "n_orders_90d": 1, "recency_days": 3}, "activation"),
        ({"n_orders": 4, "n_orders_90d": 3, "recency_days": 3}, "engagement"),
        ({"n_orders": 1, "n_orders_90d": 1, "recency_days": 3, "mean_sentiment_90d": 0.4}, "satisfaction"),
        (
            {
                "n_orders": 9,
                "n_orders_180d": 9,
                "n_orders_90d": 4,
                "tenure_days": 200,
                "recency_days": 5,
                "days_over_median_gap": 1.0,
            },
            "loyalty",
        ),
        (
            {
                "n_orders": 9,
                "n_orders_180d": 9,
                "tenure_days": 200,
                "n_interactions_90d": 3,
                "mean_sentiment_90d": 0.8,
                "recency_days": 5,
            },
            "advocacy",
        ),
        ({"n_orders": 9, "recency_days": 70, "days_over_median_gap": 7.0}, "disengaged"),
        ({"n_orders": 1, "recency_days": 180}, "disengaged"),
        ({"n_orders": 1, "recency_days": 179}, "activation"),
    ],
    ids=[
        "no order",
        "first order",
        "regular",
        "content",
        "loyal",
        "speaks well",
        "out of rhythm",
        "gone",
        "not yet gone",
    ],
)
def test_stage_when_features_are_known_then_the_first_rule_that_holds_decides(
    known: dict[str, Any], stage: str
) -> None:
    rules = read_rules(LifecyclePolicy().rules, FEATURES.column_names)
    row = staged(features(**known), rules).to_dicts()[0]
    assert row["stage"] == stage
    assert row["rule"].startswith(stage)
    assert row["evidence"]


def test_rules_when_written_wrongly_then_every_fault_is_named_with_a_remedy() -> None:
    with pytest.raises(ConfigurationError) as raised:
        read_rules(("loyality: n_orders > 1", "loyalty: n_order > 1", "loyalty: n_orders many"), FEATURES.column_names)
    text = str(raised.value)
    assert "did you mean `loyalty`?" in text
    assert "did you mean `n_orders`?" in text
    assert "`n_orders many` is no condition" in text


def test_rules_when_the_policy_is_overridden_then_the_order_of_the_rules_decides() -> None:
    rules = read_rules(("loyalty:", "activation: n_orders >= 0"), FEATURES.column_names)
    assert staged(features(), rules)["stage"].to_list() == ["loyalty"]


def history() -> pl.DataFrame:
    """A: activation, engagement, engagement, disengaged; B: loyalty all the time; tonight is the last."""
    return pl.DataFrame(
        {
            "customer_id": ["A"] * 4 + ["B"] * 4,
            "as_of": [*EARLIER, TONIGHT] * 2,
            "stage": ["activation", "engagement", "engagement", "disengaged", *["loyalty"] * 4],
            "rule": "r",
            "evidence": "e",
        }
    )


def test_spells_when_stages_follow_then_each_unbroken_time_is_one_row() -> None:
    found = spells(history()).filter(pl.col("customer_id") == "A")
    assert found.select("stage", "entered_on", "left_on").rows() == [
        ("activation", EARLIER[0], EARLIER[1]),
        ("engagement", EARLIER[1], TONIGHT),
        ("disengaged", TONIGHT, None),
    ]


def test_customers_when_stages_are_known_then_since_previous_and_velocity_follow() -> None:
    everyone = pl.DataFrame({"customer_id": ["A", "B", "C"]})
    rows = {row["customer_id"]: row for row in customer_stages(everyone, history(), TONIGHT).to_dicts()}
    a, b, c = rows["A"], rows["B"], rows["C"]
    assert (a["stage"], a["since"], a["previous_stage"], a["velocity"], a["n_transitions"]) == (
        "disengaged",
        TONIGHT,
        "engagement",
        56.0,
        2,
    )
    assert (b["since"], b["is_since_exact"], b["previous_stage"], b["velocity"]) == (EARLIER[0], False, None, None)
    assert c["stage"] is None
    assert "no event of the customer is known" in c["reason"]


def test_customers_when_the_first_stage_began_unseen_then_its_length_is_not_made_up() -> None:
    early = history().filter((pl.col("customer_id") == "A") & (pl.col("as_of") <= EARLIER[1]))
    row = customer_stages(pl.DataFrame({"customer_id": ["A"]}), early, EARLIER[1]).to_dicts()[0]
    assert (row["previous_stage"], row["velocity"]) == ("activation", None)


def test_checks_when_customers_lack_a_stage_then_they_offend() -> None:
    rows = customer_stages(pl.DataFrame({"customer_id": ["A", "B"]}), history(), TONIGHT)
    written = rows.select(LIFECYCLE.column_names).cast(LIFECYCLE.polars_schema())
    master = frame_of(PROFILE["customers"], customer_id=["A", "B", "C"])
    assert n_offending(every_customer_has_one_stage, lifecycle__customers=written, profile__customers=master) == 1
    assert (
        n_offending(every_customer_has_one_stage, lifecycle__customers=written, profile__customers=master.head(2)) == 0
    )
    assert n_offending(stages_begin_before_tonight, lifecycle__customers=written) == 0
    late = written.with_columns(pl.lit(date(2025, 1, 1)).alias("since"))
    assert n_offending(stages_begin_before_tonight, lifecycle__customers=late) == 2


def test_customers_when_nobody_is_known_then_there_is_no_row_and_no_plot() -> None:
    rules = read_rules(LifecyclePolicy().rules, FEATURES.column_names)
    rows = customer_stages(
        pl.DataFrame({"customer_id": []}, schema={"customer_id": pl.String}), staged(FEATURES.empty(), rules), TONIGHT
    )
    assert rows.is_empty()
    assert rows.columns == list(LIFECYCLE.column_names)
    assert stage_mix(lazy(LIFECYCLE.empty())) is None
