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


@dataclass(frozen=True)
class SensorPolicy:
    """What a product's request for help is, and what answers it. Words are compared without regard to case.

    Attributes:
        request_words: metrics of usage and types of event by which a product, or its user, asks for something to be done.
        request_from_value: a measurement of such a metric is a request from this value up (0 switches an alert off again); one
            without value is.
        answered_words: outcomes by which the source of a request says that it was answered.
        waiting_words: outcomes by which it says that it was not.
        answer_value_hours: hours in one unit of the event's value, by which the source of an answered request says how long it took.
        answer_functions: channels of these functions of the company answer; a newsletter after an alert is no answer.
        visit_words: types of event that are a visit of the service, whatever direction the channel says.
        answer_window_days: what comes later than this after a request does not answer it.
        response_promise_hours: metric of a promise that is about the time to respond -> hours in one unit of its threshold.
    """

    request_words: tuple[str, ...] = (
        "alert",
        "sensor_request",
        "sensor_alert",
        "fault",
        "fault_code",
        "service_request",
    )
    request_from_value: float = 1.0
    answered_words: tuple[str, ...] = ("answered", "resolved", "solved", "done", "closed")
    waiting_words: tuple[str, ...] = ("waiting", "open", "unanswered")
    answer_value_hours: float = 1.0
    answer_functions: tuple[str, ...] = ("service", "product")
    visit_words: tuple[str, ...] = ("visit", "service_visit", "field_visit", "repair", "technician_visit")
    answer_window_days: int = 30
    response_promise_hours: dict[str, float] = field(
        default_factory=lambda: {
            "answer_hours": 1.0,
            "response_time_hours": 1.0,
            "response_hours": 1.0,
            "sensor_response_hours": 1.0,
            "response_time_minutes": 1 / 60,
            "response_minutes": 1 / 60,
            "response_time_days": 24.0,
            "response_days": 24.0,
        }
    )
