"""Policy of the engagement room: how campaigns are read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EvaluationPolicy:
    """How a campaign's effect is read.

    Attributes:
        control_arms: names of arms that got no contact, compared without regard to case.
        response_window_days: a response counts up to this many days after the contact; a campaign is read when the window of its
            last contact has closed.
        planned_shares: campaign -> arm -> planned share of the customers; a campaign that is not listed is held against the nearest
            simple design (equal arms, or a control of 5, 10, 20 ... per cent and equal other arms).
        sample_ratio_alarm_p: below this p of the sample-ratio test nothing else of the campaign is read.
        alpha: level of the intervals (1 - alpha) and of the adjusted p.
        margin_rate: share of a response's money that is profit before the campaign's cost; None: not known, no profit is stated.
    """

    control_arms: tuple[str, ...] = (
        "control",
        "holdout",
        "hold-out",
        "no e-mail",
        "no email",
        "no contact",
        "no mail",
        "none",
        "untreated",
    )
    response_window_days: int = 60
    planned_shares: dict[str, dict[str, float]] = field(default_factory=dict)
    sample_ratio_alarm_p: float = 0.001
    alpha: float = 0.05
    margin_rate: float | None = None
