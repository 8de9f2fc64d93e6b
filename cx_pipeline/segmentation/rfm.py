"""Recency, frequency, money: each customer's rank among all, as fifths, and the name of the cell.

Belongs here: scores by rank and the rule table of names. Does not belong here: clusters, profiles of segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import product
from typing import Any

import narwhals as nw

from cx_pipeline.core.errors import ConfigurationError, Problems
from cx_pipeline.segmentation.policy import RfmPolicy

N_FIFTHS = 5
FIFTHS = range(1, N_FIFTHS + 1)
NO_ORDERS = "no order of a positive amount so far"
NO_CLUSTERS = "behavioural clusters are not part of this version"


def buying_score(frequency: int, monetary: int) -> int:
    """Mean of frequency and monetary score, halves rounded up."""
    return (frequency + monetary + 1) // 2


def segment_names(policy: RfmPolicy) -> dict[tuple[int, int], str]:
    """(recency score, buying score) -> name, for all 25 pairs, and so for all 125 cells of three scores.

    Raises:
        ConfigurationError: naming every rule that is no range of scores, and every cell without a name.
    """
    problems = Problems()
    for name, bounds in policy.segments.items():
        if not _is_rule(bounds):
            problems.add(
                f"{bounds} are no two ranges of scores from 1 to {N_FIFTHS}",
                f"settings.yaml: segmentation.segments.{name}",
                remedy="lowest and highest recency score, lowest and highest buying score, e.g. [4, 5, 4, 5]",
            )
    problems.raise_if_any(ConfigurationError)
    names = {}
    for recency, buying in product(FIFTHS, FIFTHS):
        fitting = [name for name, rule in policy.segments.items() if _fits(rule, recency, buying)]
        if fitting:
            names[recency, buying] = fitting[0]
        else:
            problems.add(
                f"recency score {recency} with buying score {buying} has no name",
                "settings.yaml: segmentation.segments",
                remedy="add it to the range of a segment",
            )
    problems.raise_if_any(ConfigurationError)
    return names


def _is_rule(bounds: object) -> bool:
    """Whether it is a list of four scores, two ranges; a settings file may say anything."""
    if not isinstance(bounds, list | tuple) or len(bounds) != 4 or any(bound not in FIFTHS for bound in bounds):
        return False
    return bool(bounds[0] <= bounds[1] and bounds[2] <= bounds[3])


def _fits(rule: Sequence[int], recency: int, buying: int) -> bool:
    return rule[0] <= recency <= rule[1] and rule[2] <= buying <= rule[3]


def customers(
    everyone: nw.LazyFrame[Any], features: nw.LazyFrame[Any], policy: RfmPolicy, as_of: date
) -> nw.LazyFrame[Any]:
    """One row per customer: the columns of `segmentation.customers`. Customers without orders have no scores, and a reason.

    Args:
        everyone: `profile.customers`.
        features: `profile.features`; the rows of as_of count.
        policy: names of the cells.
        as_of: the snapshot date, from which days since the last order are counted.

    Raises:
        ConfigurationError: if the policy leaves a cell without a name.
    """
    names = segment_names(policy)
    buyers = features.filter((nw.col("as_of") == as_of) & (nw.col("n_orders") > 0)).select(
        "customer_id",
        "recency_days",
        "n_orders",
        # Whatever is ranked is rounded first: two engines must not disagree about the last bit.
        nw.col("revenue").round(2).alias("revenue"),
    )
    scored = everyone.select("customer_id").join(scores(buyers), on="customer_id", how="left")
    has_scores = ~nw.col("recency_score").is_null()
    nothing = nw.lit(None).cast(nw.String)
    return scored.select(
        "customer_id",
        "recency_days",
        "n_orders",
        "revenue",
        "recency_score",
        "frequency_score",
        "monetary_score",
        _name_of(names).alias("rfm_segment"),
        nw.when(has_scores).then(nothing).otherwise(nw.lit(NO_ORDERS)).alias("rfm_reason"),
        nw.lit(None).cast(nw.Int64).alias("cluster"),
        nothing.alias("cluster_name"),
        nw.lit(NO_CLUSTERS).alias("cluster_reason"),
        nw.lit(as_of).alias("as_of"),
    )


def scores(buyers: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Fifths 1 to 5 by rank; ties are broken by customer_id, else a value shared by many would leave fifths empty.

    Args:
        buyers: customer_id, recency_days (fewer are better: 5), n_orders, revenue.
    """
    ranked = buyers.with_columns(nw.lit(1).alias("one"), (-nw.col("recency_days")).alias("freshness"))
    total = nw.col("one").sum().over("one")
    for column, score in (("freshness", "recency"), ("n_orders", "frequency"), ("revenue", "monetary")):
        position = nw.col("one").cum_sum().over("one", order_by=(column, "customer_id"))
        fifth = ((position - 1) * N_FIFTHS // total + 1).cast(nw.Int64)
        ranked = ranked.with_columns(fifth.alias(f"{score}_score"))
    return ranked.drop("one", "freshness")


def _name_of(names: Mapping[tuple[int, int], str]) -> nw.Expr:
    buying = (nw.col("frequency_score") + nw.col("monetary_score") + 1) // 2
    name: nw.Expr = nw.lit(None).cast(nw.String)
    for (recency, score), segment in names.items():
        is_cell = (nw.col("recency_score") == recency) & (buying == score)
        name = nw.when(is_cell).then(nw.lit(segment)).otherwise(name)
    return name
