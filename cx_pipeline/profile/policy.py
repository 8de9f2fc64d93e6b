"""Policy of the profile room: which source is believed, and for how long."""

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
