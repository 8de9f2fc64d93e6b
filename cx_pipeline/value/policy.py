"""Policy of the value room: horizon of the proof, discounting, and how much evidence a model needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ValuePolicy:
    """How customer value is estimated.

    Attributes:
        holdout_days: length of the windows that models are chosen and judged on, and of the horizon that is learnt.
        annual_discount_rate: rate by which money to come is discounted in `clv`, per year.
        margin_rate: share of revenue that counts in `clv`; 1 counts revenue whole, until the company says its margin.
        min_customers: with fewer customers that have ordered no model is trained.
        max_fit_rows: most distinct histories a fit looks at; beyond, a stratified sample stands for all.
        max_train_rows: most customers per past cut-off that the boosted challenger is trained on.
        tie_gini: a more complex model must rank better than a simpler one (normalised Gini) by more than this to be chosen.
        max_abs_bias: a model whose total misses the holdout's by a larger share is not calibrated.
        target_coverage: share of outcomes that should lie between revenue_low and revenue_high.
        max_coverage_gap: distance from that share up to which the interval counts as calibrated.
    """

    holdout_days: int = 91
    annual_discount_rate: float = 0.10
    margin_rate: float = 1.0
    min_customers: int = 50
    max_fit_rows: int = 100_000
    max_train_rows: int = 100_000
    tie_gini: float = 0.003
    max_abs_bias: float = 0.25
    target_coverage: float = 0.80
    max_coverage_gap: float = 0.10
