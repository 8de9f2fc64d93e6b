"""Policy of the metrics room: who counts as a customer at a moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PulsePolicy:
    """When a customer without a contract is active, and how sure an interval is.

    Attributes:
        active_window_days: a customer is active at the beginning of a day who ordered for a positive amount in so many days before it.
        confidence: probability that the intervals of rates are made for, between 0 and 1.
    """

    active_window_days: int = 90
    confidence: float = 0.95
