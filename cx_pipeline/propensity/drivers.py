"""Drivers: what moved a customer's score, in words.

Belongs here: the effect of each feature on a score, and its wording. Does not belong here: the model.

The effect of a feature is the change of the score's logit when the feature alone is put to the median of the training rows
(occlusion). It says what the model looked at, not what causes the outcome.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.propensity.estimators import Matrix, numbers, score
from cx_pipeline.propensity.evaluation import Vector, logit

N_DRIVERS = 3
# An effect on the logit below this changes a probability by less than half a point: not worth a word.
MIN_EFFECT = 0.02

# Features made of the columns that `propensity.order_columns` names.
_USE = re.compile(r"(n|share)_(.+)_(\d+)d")

# Feature -> words for a value, and for a missing one.
WORDS: dict[str, tuple[str, str]] = {
    "n_orders": ("{:.0f} orders so far", ""),
    "n_orders_30d": ("{:.0f} orders in 30 days", ""),
    "n_orders_90d": ("{:.0f} orders in 90 days", ""),
    "n_orders_180d": ("{:.0f} orders in 180 days", ""),
    "n_orders_365d": ("{:.0f} orders in a year", ""),
    "revenue": ("spent {:,.0f} so far", ""),
    "revenue_30d": ("spent {:,.0f} in 30 days", ""),
    "revenue_90d": ("spent {:,.0f} in 90 days", ""),
    "revenue_180d": ("spent {:,.0f} in 180 days", ""),
    "revenue_365d": ("spent {:,.0f} in a year", ""),
    "recency_days": ("last order {:.0f} days ago", "no order yet"),
    "tenure_days": ("known for {:.0f} days", ""),
    "mean_order_value": ("{:,.2f} per order", "no order yet"),
    "median_gap_days": ("usually {:.0f} days between orders", "too few orders for a rhythm"),
    "std_gap_days": ("gaps between orders vary by {:.0f} days", "too few orders for a rhythm"),
    "days_over_median_gap": ("{:.1f} usual gaps since the last order", "too few orders for a rhythm"),
    "n_active_days": ("{:.0f} days with an order", ""),
    "discount_rate": ("{:.0%} of prices taken off", "no discount known"),
    "n_categories": ("{:.0f} categories bought", "no categories known"),
    "n_products": ("{:.0f} products bought", "no products known"),
    "share_top_category": ("{:.0%} of the money in one category", "no categories known"),
    "n_interactions_90d": ("{:.0f} interactions in 90 days", ""),
    "mean_sentiment_90d": ("mean sentiment {:+.1f}", "no sentiment known"),
    "n_contacts": ("{:.0f} campaign contacts so far", ""),
    "n_contacts_60d": ("{:.0f} campaign contacts in 60 days", ""),
    "n_contacts_90d": ("{:.0f} campaign contacts in 90 days", ""),
    "n_contacts_same_offer": ("{:.0f} contacts with this offer so far", ""),
    "n_campaigns_answered": ("answered {:.0f} campaigns", ""),
    "n_campaigns_answered_same_offer": ("answered {:.0f} campaigns with this offer", ""),
    "own_response_rate": ("own response rate {:.0%}", "never contacted"),
    "own_response_rate_same_offer": ("own response rate to this offer {:.0%}", "never contacted with this offer"),
    "response_rate": ("own response rate {:.0%}", "never contacted"),
    "n_responses": ("{:.0f} campaign responses so far", ""),
    "n_responses_90d": ("{:.0f} campaign responses in 90 days", ""),
    "days_since_contact": ("last contacted {:.0f} days ago", "never contacted"),
    "days_since_response": ("last response {:.0f} days ago", "never responded"),
    "n_channels": ("{:.0f} channels used", ""),
    "days_since_event": ("last event {:.0f} days ago", ""),
    "n_contacted": ("campaign of {:,.0f} contacts", ""),
    "offer_response_rate": ("the offer's response rate {:.1%}", "the offer is new"),
}


def effects(estimator: Any, parameters: Mapping[str, Any], frame: pl.DataFrame) -> Matrix:
    """Effect of each feature on the logit of each row's score; shape (rows, features)."""
    names = parameters["features"]
    fill = [parameters["medians"][name] for name in names]
    values = numbers(frame, names)
    whole = logit(score(estimator, parameters["kind"], values, fill))
    found = np.zeros_like(values)
    for position in range(len(names)):
        neutral = values.copy()
        neutral[:, position] = fill[position]
        changed = np.flatnonzero(~(values[:, position] == fill[position]))
        if changed.size:
            found[changed, position] = whole[changed] - logit(
                score(estimator, parameters["kind"], neutral[changed], fill)
            )
    return np.round(found, 6)


def drivers(estimator: Any, parameters: Mapping[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
    """Columns driver_1 .. driver_3: the features with the greatest effect on each row's score, in words; NULL where there is none."""
    names = list(parameters["features"])
    found = effects(estimator, parameters, frame)
    values = numbers(frame, names)
    order = np.argsort(-np.abs(found), axis=1, kind="stable")[:, :N_DRIVERS]
    columns: dict[str, list[str | None]] = {f"driver_{place + 1}": [] for place in range(N_DRIVERS)}
    for row in range(len(values)):
        for place in range(N_DRIVERS):
            position = int(order[row, place]) if place < order.shape[1] else -1
            effect = found[row, position] if position >= 0 else 0.0
            said = None if abs(effect) < MIN_EFFECT else in_words(names[position], values[row, position], effect)
            columns[f"driver_{place + 1}"].append(said)
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def in_words(feature: str, value: float, effect: float) -> str:
    """A feature's value and the direction of its effect, e.g. `last order 12 days ago (raises)`."""
    direction = "raises" if effect > 0 else "lowers"
    known, missing = WORDS.get(feature, ("", ""))
    use = _USE.fullmatch(feature)
    if use and not known:
        said = f"{value:.0f} orders" if use[1] == "n" else f"{value:.0%} of orders"
        text = f"{said} in {use[3]} days with {use[2].replace('_', ' ')}"
    elif feature.startswith("is_offer_"):
        text = f"{'offer' if value else 'another offer than'} {feature.removeprefix('is_offer_')}"
    elif np.isnan(value):
        text = missing or f"{feature.replace('_', ' ')} not known"
    else:
        text = known.format(value) if known else f"{feature.replace('_', ' ')} {value:.3g}"
    return f"{text} ({direction})"


def deciles(score_: Vector, keys: pl.Series) -> list[int]:
    """Tenth of each row by score, 1 the most probable; ties in the order of the keys.

    Args:
        score_: shape (n,).
        keys: unique key of each row.
    """
    ranked = (
        pl.DataFrame({"score": score_, "key": keys})
        .with_row_index("row")
        .sort("score", "key", descending=[True, False])
    )
    n = ranked.height
    placed = ranked.with_row_index("rank").with_columns(
        (pl.col("rank").cast(pl.Int64) * 10 // max(n, 1) + 1).alias("decile")
    )
    return placed.sort("row")["decile"].to_list()
