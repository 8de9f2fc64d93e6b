"""Policy of the profile room: which source is believed and for how long, and for which dates features are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SurvivorshipPolicy:
    """Which of several values of an attribute stands in the golden record.

    Attributes:
        default_trust: trust (0-1) of channels whose contract gives none.
        stale_after_days: a value observed longer before the as-of date than this is considered only if nothing fresher is known;
            0: values never grow stale.
    """

    default_trust: float = 0.5
    stale_after_days: int = 0


@dataclass(frozen=True)
class FeaturePolicy:
    """The dates on which a customer's features are looked at, beside tonight's.

    Attributes:
        cutoff_step_days: days between two cut-offs.
        n_past_cutoffs: cut-offs before tonight's; models learn from them.
        max_sampled_customers: customers that get features at past cut-offs, the first ones in the order of their hashed ids.
    """

    cutoff_step_days: int = 28
    n_past_cutoffs: int = 12
    max_sampled_customers: int = 50_000
