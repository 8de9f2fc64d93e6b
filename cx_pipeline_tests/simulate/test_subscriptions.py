from __future__ import annotations

import numpy as np

from cx_pipeline.simulate.parameters import SUBSCRIPTIONS
from cx_pipeline.simulate.subscriptions import MONTH_DAYS, cancelled_on


def test_cancelling_when_counted_month_by_month_then_the_hazard_is_the_planted_one_and_higher_at_first() -> None:
    n, monthly = 200_000, 0.05
    days = cancelled_on(np.zeros(n), np.full(n, monthly), np.random.default_rng(1))
    months = days / MONTH_DAYS
    first = np.log(1 / (months >= 3).mean()) / 3
    later = np.log((months >= 3).sum() / (months >= 15).sum()) / 12
    assert abs(first / (monthly * np.exp(SUBSCRIPTIONS.first_quarter)) - 1) < 0.03
    assert abs(later / monthly - 1) < 0.03
