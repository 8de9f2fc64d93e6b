"""Stages: a table of rules over features, tonight and at past cut-offs, and what follows from their order in time.

Belongs here: reading and applying rules, since when a stage holds, the stage before. Does not belong here: the rules themselves
(`policy.py`), features.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from cx_pipeline.core.contract import nearest
from cx_pipeline.core.errors import ConfigurationError, Problems

STAGES = ("acquisition", "activation", "engagement", "satisfaction", "loyalty", "advocacy", "disengaged")
NOT_MEASURED = "relationship stage and engagement level need surveys and interactions, which are not read yet"
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(<=|>=|<|>|=)\s*(-?\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class Rule:
    """A stage and the conditions that put a customer into it.

    Attributes:
        stage: of `STAGES`.
        conditions: feature, operator, number; all must hold.
        text: the rule as written.
    """

    stage: str
    conditions: tuple[tuple[str, str, float], ...]
    text: str

    def holds(self) -> pl.Expr:
        """Whether all conditions hold; a feature that is NULL fulfils none."""
        tests = [_OPERATORS[sign](pl.col(name), number).fill_null(False) for name, sign, number in self.conditions]
        return pl.all_horizontal(tests) if tests else pl.lit(True)


def read_rules(texts: Sequence[str], features: Sequence[str]) -> list[Rule]:
    """The rules of the policy.

    Args:
        texts: `stage: feature operator number, ...`.
        features: columns that conditions may name.

    Raises:
        ConfigurationError: naming every rule that is not understood.
    """
    problems = Problems()
    rules: list[Rule] = []
    for position, text in enumerate(texts):
        where = f"settings.yaml: lifecycle.rules[{position}]"
        stage, colon, rest = text.partition(":")
        if not colon or stage.strip() not in STAGES:
            problems.add(f"`{stage.strip()}` is no stage", where, remedy=nearest(stage.strip(), STAGES))
            continue
        conditions: list[tuple[str, str, float]] = []
        for part in (part for part in rest.split(",") if part.strip()):
            match = _CONDITION.fullmatch(part)
            if not match:
                problems.add(f"`{part.strip()}` is no condition", where, remedy="write e.g. `n_orders_90d >= 3`")
            elif match[1] not in features:
                problems.add(f"there is no feature `{match[1]}`", where, remedy=nearest(match[1], list(features)))
            else:
                conditions.append((match[1], match[2], float(match[3])))
        rules.append(Rule(stage.strip(), tuple(conditions), text))
    problems.raise_if_any(ConfigurationError)
    return rules


def staged(features: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """One row per customer and cut-off: customer_id, as_of, stage, rule, evidence; NULL where no rule holds.

    Args:
        features: `profile.features`.
        rules: in order; the first that holds decides.
    """
    stage: Any = pl.lit(None, dtype=pl.String)
    rule: Any = pl.lit(None, dtype=pl.String)
    evidence: Any = pl.lit(None, dtype=pl.String)
    for found in reversed(rules):
        holds = found.holds()
        stage = pl.when(holds).then(pl.lit(found.stage)).otherwise(stage)
        rule = pl.when(holds).then(pl.lit(found.text)).otherwise(rule)
        evidence = pl.when(holds).then(_evidence(found)).otherwise(evidence)
    return features.select("customer_id", "as_of", stage.alias("stage"), rule.alias("rule"), evidence.alias("evidence"))


def _evidence(rule: Rule) -> pl.Expr:
    """The values that a rule looked at, e.g. `n_orders_90d 5, recency_days 3`."""
    names = list(dict.fromkeys(name for name, _, _ in rule.conditions))
    if not names:
        return pl.lit("")

    def told(name: str) -> pl.Expr:
        number = pl.col(name).cast(pl.Float64).round(2).cast(pl.String).str.strip_suffix(".0")
        return pl.concat_str(pl.lit(f"{name} "), number)

    return pl.concat_str([told(name) for name in names], separator=", ")


def spells(history: pl.DataFrame) -> pl.DataFrame:
    """One row per customer and unbroken time in a stage: stage, entered_on and left_on (the first cut-offs in it and after it).

    Args:
        history: from `staged`.
    """
    ordered = history.filter(pl.col("stage").is_not_null()).sort("customer_id", "as_of")
    is_new = (pl.col("stage") != pl.col("stage").shift(1).over("customer_id")).fill_null(True)
    numbered = ordered.with_columns(is_new.cast(pl.Int64).cum_sum().over("customer_id").alias("spell"))
    found = (
        numbered.group_by("customer_id", "spell")
        .agg(pl.col("stage").first(), pl.col("as_of").min().alias("entered_on"), pl.len().alias("n_cutoffs"))
        .sort("customer_id", "spell")
    )
    return found.with_columns(
        pl.col("entered_on").shift(-1).over("customer_id").alias("left_on"),
        pl.col("stage").shift(1).over("customer_id").alias("previous_stage"),
    )


def customer_stages(customers: pl.DataFrame, history: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """One row per customer; columns of `lifecycle.customers`.

    A first order, or any event, before the first cut-off seen is not a beginning: then `since` is only the earliest date known.

    Args:
        customers: customer_id of everyone.
        history: from `staged`, tonight and past cut-offs.
        as_of: tonight.
    """
    tonight = history.filter(pl.col("as_of") == as_of).drop("as_of")
    everything = spells(history)
    last = everything.filter(pl.col("left_on").is_null())
    before = (
        everything.filter(pl.col("left_on").is_not_null()).sort("customer_id", "spell").group_by("customer_id").last()
    )
    days = (pl.col("left_on") - pl.col("entered_on")).dt.total_days().cast(pl.Float64)
    # The first spell of all began before the first cut-off, nobody knows when.
    pace = before.select("customer_id", pl.when(pl.col("spell") > 1).then(days).alias("velocity"))
    since = last.select(
        "customer_id",
        pl.col("entered_on").alias("since"),
        "previous_stage",
        (pl.col("spell") - 1).cast(pl.Int64).alias("n_transitions"),
    )
    rows = (
        customers.select("customer_id")
        .join(tonight, on="customer_id", how="left")
        .join(since, on="customer_id", how="left")
        .join(pace, on="customer_id", how="left")
    )
    unknown = pl.when(pl.col("stage").is_null()).then(
        pl.lit("no event of the customer is known, so no rule can decide; ")
    )
    return rows.select(
        "customer_id",
        "stage",
        pl.when(pl.col("stage").is_not_null()).then(pl.col("since")).alias("since"),
        pl.col("previous_stage").is_not_null().alias("is_since_exact"),
        "previous_stage",
        "velocity",
        pl.col("n_transitions").fill_null(0),
        pl.lit(None, dtype=pl.String).alias("relationship_stage"),
        pl.lit(None, dtype=pl.String).alias("engagement_level"),
        "rule",
        "evidence",
        pl.concat_str(unknown.otherwise(pl.lit("")), pl.lit(NOT_MEASURED)).alias("reason"),
        pl.lit(as_of).alias("as_of"),
    )
