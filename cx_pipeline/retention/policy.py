"""Policy of the retention room: what counts as leaving, and how much evidence a model needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetentionPolicy:
    """How leaving is defined and modelled.

    Attributes:
        inactive_after_days: W: a customer without a contract has left when so many days have passed since the last order; 0: the
            window that `metrics.attrition` counts with.
        default_inactive_after_days: W where that table does not say one.
        landmark_every_days: distance of the past dates that the model learns from.
        max_landmarks: most of them, latest first.
        period_days: length of the periods of the discrete-time hazard.
        min_customers: with fewer customers at risk, or
        min_events: fewer that left, no model is trained.
        max_train_customers: most customers that a model is trained on; beyond, every k-th in the order of their ids.
        max_cox_rows: most rows that Cox is fitted on.
        max_residual_days: a longer median time left is not told.
        max_calibration_error: largest mean distance (0-1) of predicted from observed shares, over tenths of customers, that counts
            as calibrated, beyond what chance alone would show.
    """

    inactive_after_days: int = 0
    default_inactive_after_days: int = 90
    landmark_every_days: int = 28
    max_landmarks: int = 12
    period_days: int = 30
    min_customers: int = 50
    min_events: int = 20
    max_train_customers: int = 20_000
    max_cox_rows: int = 20_000
    max_residual_days: int = 1_095
    max_calibration_error: float = 0.05
