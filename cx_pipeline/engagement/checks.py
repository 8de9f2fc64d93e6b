"""Business checks of the engagement room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_check


@table_check("engagement.evaluation")
def no_effect_without_a_control_arm(evaluation: nw.LazyFrame) -> nw.LazyFrame:
    """An effect is stated only of campaigns that have a control arm and whose arms' sizes fit their plan."""
    controls = (
        evaluation.filter(nw.col("is_control")).select("campaign").unique().with_columns(nw.lit(1).alias("has_control"))
    )
    stated = evaluation.filter(~nw.col("effect").is_null()).join(controls, on="campaign", how="left")
    return stated.filter(nw.col("has_control").is_null() | (nw.col("sample_ratio_p") < 0.001)).select("campaign", "arm")


@table_check("engagement.evaluation", reads=("engagement.evaluation", "staging.campaign_contacts"), blocking=False)
def every_campaign_is_evaluated(evaluation: nw.LazyFrame, contacts: nw.LazyFrame) -> nw.LazyFrame:
    """Each campaign that contacted an identified customer has a row, whatever can be said of it."""
    known = contacts.filter(~nw.col("campaign_id").is_null() & ~nw.col("identifier_value").is_null())
    campaigns = known.select(nw.col("campaign_id").alias("campaign")).unique()
    return campaigns.join(evaluation, on="campaign", how="anti").select("campaign")


@table_check("engagement.evaluation")
def effects_lie_in_their_intervals(evaluation: nw.LazyFrame) -> nw.LazyFrame:
    """Rates and effects lie between the ends of their intervals."""
    outside = (nw.col("response_rate") < nw.col("rate_low")) | (nw.col("response_rate") > nw.col("rate_high"))
    beside = (nw.col("effect") < nw.col("effect_low")) | (nw.col("effect") > nw.col("effect_high"))
    return evaluation.filter(outside | beside.fill_null(False)).select("campaign", "arm")


@table_check("engagement.sensor_requests")
def promises_are_judged_or_say_why_not(requests: nw.LazyFrame) -> nw.LazyFrame:
    """Each request has a verdict on its promise or the reason for none, and a verdict that its times bear out."""
    is_judged = ~nw.col("promise_met").is_null()
    in_time = (nw.col("response_hours") <= nw.col("promised_hours")).fill_null(False)
    is_wrong = is_judged & (nw.col("promise_met") != in_time).fill_null(False)
    return requests.filter((is_judged == ~nw.col("reason").is_null()) | is_wrong).select("channel", "record_id")


@table_check("engagement.sensor_requests")
def answers_come_after_their_requests(requests: nw.LazyFrame) -> nw.LazyFrame:
    """An answer is not before what it answers and has a channel, and what has a time of answer is answered."""
    has_time = ~nw.col("answered_at").is_null()
    is_early = (nw.col("answered_at") < nw.col("raised_at")).fill_null(False)
    lacks = nw.col("answer_channel").is_null() | ~nw.col("is_answered")
    return requests.filter(has_time & (is_early | lacks)).select("channel", "record_id")


@table_check("engagement.sensor_requests", blocking=False)
def no_promise_to_answer_is_broken(requests: nw.LazyFrame) -> nw.LazyFrame:
    """No request waits beyond the time in which an answer is promised."""
    return requests.filter(nw.col("action") == "answer_now").select("channel", "record_id", "request_type", "raised_at")


CHECKS = (
    no_effect_without_a_control_arm,
    every_campaign_is_evaluated,
    effects_lie_in_their_intervals,
    promises_are_judged_or_say_why_not,
    answers_come_after_their_requests,
    no_promise_to_answer_is_broken,
)
