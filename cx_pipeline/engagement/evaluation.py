"""Evaluation of campaigns: sample ratio first, then the effect against the control arm, its interval, and a verdict.

Belongs here: counting assigned customers and their responses, tests and intervals of proportions, verdicts.
Does not belong here: who responds (`propensity`), which campaign comes next.

Sources: Newcombe 1998 (interval of a difference, method 10), Wilson 1927, Holm 1979; sample ratio: Fabijan et al. 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.engagement.policy import EvaluationPolicy

ALL = "all"
_SIMPLE_CONTROL_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5)
_FISHER_BELOW = 5
_MONEY = nw.Decimal(38, 4)


def _person(rows: nw.LazyFrame, xref: nw.LazyFrame) -> nw.LazyFrame:
    """Rows with `person`: the customer, else the identifier itself; rows without any identifier are dropped."""
    owners = xref.select(
        nw.col("namespace").alias("identifier_namespace"), nw.col("value").alias("identifier_value"), "customer_id"
    )
    identifier = nw.concat_str([nw.col("identifier_namespace"), nw.col("identifier_value")], separator=":")
    return (
        rows.filter(~nw.col("identifier_value").is_null())
        .join(owners, on=["identifier_namespace", "identifier_value"], how="left")
        .with_columns(nw.coalesce(nw.col("customer_id"), identifier).alias("person"))
    )


def assigned(contacts: nw.LazyFrame, responses: nw.LazyFrame, xref: nw.LazyFrame, window_days: int) -> nw.LazyFrame:
    """One row per campaign and customer: arm, number of arms, first contact, whether and for how much the customer responded.

    Args:
        contacts: `staging.campaign_contacts`.
        responses: `staging.campaign_responses`; one without a time counts.
        xref: `identity.identifier_xref`.
        window_days: a response counts from the contact up to this many days later.
    """
    people = (
        _person(contacts.filter(~nw.col("campaign_id").is_null()), xref)
        .with_columns(nw.coalesce(nw.col("campaign_arm"), nw.lit(ALL)).alias("arm"))
        .group_by(nw.col("campaign_id").alias("campaign"), "person")
        .agg(
            nw.col("arm").min().alias("arm"),
            (nw.col("arm").min() != nw.col("arm").max()).alias("is_in_several_arms"),
            nw.col("campaign_sent_at").min().alias("sent_at"),
            nw.col("campaign_offer").min().alias("offer"),
        )
    )
    answers = _person(responses, xref).select(
        nw.col("campaign_id").alias("campaign"),
        "person",
        nw.col("campaign_responded_at").alias("responded_at"),
        nw.col("campaign_value").cast(_MONEY).alias("value"),
    )
    closes_at = nw.col("sent_at").dt.offset_by(f"{window_days}d")
    in_time = (
        nw.col("responded_at").is_null()
        | nw.col("sent_at").is_null()
        | ((nw.col("responded_at") >= nw.col("sent_at")) & (nw.col("responded_at") <= closes_at))
    )
    answered = (
        people.select("campaign", "person", "sent_at")
        .join(answers, on=["campaign", "person"])
        .filter(in_time)
        .group_by("campaign", "person")
        .agg(
            nw.when(nw.len() > 0).then(1).otherwise(0).cast(nw.Int64).alias("has_responded"),
            nw.col("value").sum().alias("value"),
        )
    )
    return people.join(answered, on=["campaign", "person"], how="left").with_columns(
        nw.col("has_responded").fill_null(0)
    )


def arms(people: nw.LazyFrame) -> nw.LazyFrame:
    """One row per campaign and arm: sizes, responses and money, from `assigned`."""
    read = nw.when(~nw.col("is_in_several_arms"))
    return (
        people.group_by("campaign", "arm")
        .agg(
            nw.col("sent_at").min().cast(nw.Date).alias("first_sent_on"),
            nw.col("sent_at").max().cast(nw.Date).alias("last_sent_on"),
            read.then(1).otherwise(0).sum().cast(nw.Int64).alias("n"),
            nw.when(nw.col("is_in_several_arms")).then(1).otherwise(0).sum().cast(nw.Int64).alias("n_in_several_arms"),
            read.then(nw.col("has_responded")).otherwise(0).sum().cast(nw.Int64).alias("n_responses"),
            read.then(nw.col("value")).otherwise(None).sum().alias("value"),
            nw.col("value").max().alias("largest_value"),
            nw.col("offer").min().alias("first_offer"),
            nw.col("offer").max().alias("last_offer"),
        )
        .with_columns(nw.when(~nw.col("largest_value").is_null()).then(nw.col("value")).otherwise(None).alias("value"))
    )


def evaluation(
    counted: pl.DataFrame, costs: Mapping[str, float], policy: EvaluationPolicy, as_of: date
) -> pl.DataFrame:
    """One row per campaign and arm with effect, interval, adjusted p and verdict; columns of the contract.

    Args:
        counted: from `arms`.
        costs: campaign -> its cost, shared by its treated arms by number of customers; campaigns without are free.
        policy: control arms, window, levels, margin.
        as_of: the date the rows stand for.
    """
    rows: list[dict[str, Any]] = []
    for (campaign,), group in counted.sort("campaign", "arm").group_by("campaign", maintain_order=True):
        rows += _campaign(str(campaign), group.to_dicts(), costs.get(str(campaign), 0.0), policy, as_of)
    _adjust(rows, policy.alpha)
    for row in rows:
        row.setdefault("p_adjusted", None)
        row["as_of"] = as_of
    return pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame()


def _campaign(
    campaign: str, arms_: Sequence[dict[str, Any]], cost: float, policy: EvaluationPolicy, as_of: date
) -> list[dict[str, Any]]:
    """The rows of one campaign, before the adjustment of p over all campaigns."""
    arms_ = [arm for arm in arms_ if arm["n"]]
    names = {name.lower() for name in policy.control_arms}
    control = next((arm for arm in arms_ if arm["arm"].strip().lower() in names), None)
    n_several = sum(arm["n_in_several_arms"] for arm in arms_)
    rows = [_described(campaign, arm, arm is control, n_several, policy.alpha) for arm in arms_]
    treated = [row for row in rows if not row["is_control"]]
    if control is None or not treated:
        for row, arm in zip(rows, arms_, strict=True):
            row |= _no_effect("not_identifiable", _unidentifiable(arm, control is not None))
        return rows
    ratio_p = sample_ratio_p([arm["n"] for arm in arms_], _planned(campaign, arms_, control, policy))
    sent = [arm["last_sent_on"] for arm in arms_ if arm["last_sent_on"] is not None]
    closes_on = max(sent) + timedelta(days=policy.response_window_days) if sent else as_of
    n_treated = sum(row["n"] for row in treated)
    for row, arm in zip(rows, arms_, strict=True):
        row["sample_ratio_p"] = ratio_p
        if ratio_p < policy.sample_ratio_alarm_p:
            why = f"the arms' sizes do not fit the plan (p {ratio_p:.1g}): assignment or records are broken"
            row |= _no_effect("sample_ratio_broken", why)
        elif closes_on > as_of:
            row |= _no_effect("too_early", f"responses count until {closes_on}")
        elif row["is_control"]:
            row |= _no_effect("control", "the arm that the others are held against")
        else:
            row |= _effect(arm, control, cost * row["n"] / n_treated, policy)
    return rows


def _described(campaign: str, arm: Mapping[str, Any], is_control: bool, n_several: int, alpha: float) -> dict[str, Any]:
    low, high = wilson(arm["n_responses"], arm["n"], alpha)
    return {
        "campaign": campaign,
        "arm": arm["arm"],
        "is_control": is_control,
        "first_sent_on": arm["first_sent_on"],
        "last_sent_on": arm["last_sent_on"],
        "n": arm["n"],
        "n_in_several_arms": n_several,
        "n_responses": arm["n_responses"],
        "response_rate": arm["n_responses"] / arm["n"],
        "rate_low": low,
        "rate_high": high,
        "sample_ratio_p": None,
    }


def _no_effect(verdict: str, reason: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("effect", "effect_low", "effect_high", "p_value", "incremental_profit"))
    return {**nothing, "verdict": verdict, "reason": reason}


def _unidentifiable(arm: Mapping[str, Any], has_control: bool) -> str:
    if has_control:
        return "there is a control arm but no arm that got a contact"
    offers = {arm["first_offer"], arm["last_offer"]} - {None}
    chosen = f" ({'an offer' if len(offers) > 1 else offers.pop()})" if offers else ""
    return (
        f"no control arm: the {arm['n']:,} customers were chosen for the campaign{chosen}, "
        "so their rate tells who was chosen, not what the campaign changed"
    )


def _effect(
    arm: Mapping[str, Any], control: Mapping[str, Any], cost: float, policy: EvaluationPolicy
) -> dict[str, Any]:
    x, n, x0, n0 = arm["n_responses"], arm["n"], control["n_responses"], control["n"]
    low, high = newcombe(x, n, x0, n0, policy.alpha)
    profit = None
    reason = ""
    if arm["value"] is None and control["value"] is None:
        reason = "; responses carry no money"
    elif policy.margin_rate is None:
        reason = "; no margin rate is set (engagement.margin_rate), so no profit is stated"
    else:
        extra = float(arm["value"] or 0) / n - float(control["value"] or 0) / n0
        profit = extra * n * policy.margin_rate - cost
    return {
        "effect": x / n - x0 / n0,
        "effect_low": low,
        "effect_high": high,
        "p_value": proportions_p(x, n, x0, n0),
        "incremental_profit": profit,
        "verdict": "no_effect_shown",
        "reason": reason,
    }


def _adjust(rows: Sequence[dict[str, Any]], alpha: float) -> None:
    """Holm's adjustment over all rows with a p, and the verdicts that follow from it."""
    read = [row for row in rows if row["p_value"] is not None]
    for row, adjusted in zip(read, holm([row["p_value"] for row in read]), strict=True):
        row["p_adjusted"] = adjusted
        if adjusted < alpha:
            row["verdict"] = "effective" if row["effect"] > 0 else "harmful"
        said = {
            "effective": "more responses than without the contact",
            "harmful": "fewer responses than without the contact",
            "no_effect_shown": "no difference to the control arm is shown",
        }[row["verdict"]]
        row["reason"] = (
            f"{said}: {row['effect']:+.2%} [{row['effect_low']:+.2%}, {row['effect_high']:+.2%}]{row['reason']}"
        )


def _planned(
    campaign: str, arms_: Sequence[Mapping[str, Any]], control: Mapping[str, Any], policy: EvaluationPolicy
) -> list[list[float]]:
    """The designs that the arms' sizes are held against: the planned one, else all simple ones."""
    planned = policy.planned_shares.get(campaign)
    if planned:
        shares = [float(planned.get(arm["arm"], 0.0)) for arm in arms_]
        return [[share / sum(shares) for share in shares]] if all(shares) else [[1.0] + [0.0] * (len(arms_) - 1)]
    k = len(arms_)
    simple = ([share if arm is control else (1 - share) / (k - 1) for arm in arms_] for share in _SIMPLE_CONTROL_SHARES)
    return [[1 / k] * k, *simple]


def sample_ratio_p(sizes: Sequence[int], designs: Sequence[Sequence[float]]) -> float:
    """The p of the arms' sizes under the design they fit best (chi-square).

    Args:
        sizes: customers per arm.
        designs: candidate shares per arm; a share of 0 for an arm that is there gives p 0.
    """
    from scipy.stats import chi2

    n = sum(sizes)
    best = 0.0
    for shares in designs:
        if min(shares) <= 0:
            continue
        statistic = sum((size - n * share) ** 2 / (n * share) for size, share in zip(sizes, shares, strict=True))
        best = max(best, float(chi2.sf(statistic, len(sizes) - 1)))
    return best


def wilson(x: int, n: int, alpha: float) -> tuple[float, float]:
    """Wilson's interval of a proportion x/n at level 1 - alpha."""
    from scipy.stats import norm

    z = float(norm.ppf(1 - alpha / 2))
    p = x / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At x = 0 and x = n the ends are exact; rounding must not push them past 0 and 1.
    return max(0.0, centre - half) if x else 0.0, min(1.0, centre + half) if x < n else 1.0


def newcombe(x: int, n: int, x0: int, n0: int, alpha: float) -> tuple[float, float]:
    """Newcombe's interval (method 10) of the difference x/n - x0/n0 at level 1 - alpha."""
    p, p0 = x / n, x0 / n0
    low, high = wilson(x, n, alpha)
    low0, high0 = wilson(x0, n0, alpha)
    difference = p - p0
    return difference - math.hypot(p - low, high0 - p0), difference + math.hypot(high - p, p0 - low0)


def proportions_p(x: int, n: int, x0: int, n0: int) -> float:
    """Two-sided p of equal proportions: pooled z, or Fisher's exact test where an expected count is below 5."""
    from scipy.stats import fisher_exact, norm

    pooled = (x + x0) / (n + n0)
    if min(pooled, 1 - pooled) * min(n, n0) < _FISHER_BELOW:
        return float(fisher_exact([[x, n - x], [x0, n0 - x0]]).pvalue)
    z = (x / n - x0 / n0) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n0))
    return float(2 * norm.sf(abs(z)))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    adjusted = [0.0] * len(values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted
