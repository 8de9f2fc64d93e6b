"""Drivers in words: what makes a customer more likely to leave than the average one.

Belongs here: choice and wording. Does not belong here: the hazards' contributions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.retention.subjects import Array

N_DRIVERS = 3
# Contributions to the log odds below this are not worth a sentence.
_MIN_CONTRIBUTION = 0.05


def drivers(rows: pl.DataFrame, names: tuple[str, ...], contributions: Array) -> pl.DataFrame:
    """driver_1 to driver_3 of each subject: the covariates that raise the risk most, in words; NULL where fewer do.

    Args:
        rows: of the subjects, with their facts.
        names: of the covariates.
        contributions: to the log odds of leaving, shape (n, k).
    """
    order = np.argsort(-np.round(contributions, 10), axis=1, kind="stable")
    sentences = []
    for facts, ranked, added in zip(rows.iter_rows(named=True), order, contributions, strict=True):
        told = [sentence(names[i], facts) for i in ranked[:N_DRIVERS] if added[i] >= _MIN_CONTRIBUTION]
        sentences.append(told + [None] * (N_DRIVERS - len(told)))
    return pl.DataFrame(sentences, schema={f"driver_{i}": pl.String for i in range(1, N_DRIVERS + 1)}, orient="row")


def sentence(name: str, facts: Mapping[str, Any]) -> str:
    """One covariate of a customer, in words."""
    if name.startswith("plan="):
        plan, mine = name.removeprefix("plan="), facts["plan"]
        return f"plan {plan}" if mine == plan else f"not on plan {plan}"
    if name == "recency":
        return f"last order {_days(facts['elapsed_days'])} ago"
    if name == "overdue":
        return f"usually orders every {_days(max(round(facts['usual_gap_days']), 1))}, last {_days(facts['elapsed_days'])} ago"
    if name == "frequency":
        return f"{_orders(facts['n_orders_91d'])} in the last 13 weeks"
    if name == "slowing":
        before = facts["n_orders_91d"] * 28 / 91
        return (
            f"{_orders(facts['n_orders_28d'])} in the last 4 weeks, {before:.1f} in an average 4 weeks of the last 13"
        )
    if name == "tenure":
        return f"customer for {_days(facts['tenure_days'])}"
    if name == "order_value":
        return f"orders of {facts['mean_order_value']:.2f} on average"
    return "no fee is known" if facts["fee"] is None else f"fee {facts['fee']:.2f}"


def _days(n: int) -> str:
    return f"{n} day" if n == 1 else f"{n} days"


def _orders(n: int) -> str:
    return {0: "no order", 1: "1 order"}.get(n, f"{n} orders")
