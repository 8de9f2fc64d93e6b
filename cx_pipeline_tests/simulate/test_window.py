from __future__ import annotations

from datetime import date, datetime

import numpy as np

from cx_pipeline.simulate.window import Window

WINDOW = Window(date(2026, 6, 30), 60)


def test_months_when_the_window_begins_inside_one_then_they_cover_every_day_once() -> None:
    assert WINDOW.start == date(2026, 5, 2)
    assert [(m.label, m.begins, m.ends, m.number) for m in WINDOW.months] == [
        ("2026-05", 0, 30, 5),
        ("2026-06", 30, 60, 6),
    ]


def test_times_when_converted_there_and_back_then_they_are_the_same_and_unknown_stays_unknown() -> None:
    at = np.array([0.0, 30.5, np.nan, np.inf])
    times = WINDOW.times(at)
    assert times.to_list() == [datetime(2026, 5, 2), datetime(2026, 6, 1, 12), None, None]
    back = WINDOW.day_numbers(times)
    assert back[:2].tolist() == [0.0, 30.5]
    assert np.isnan(back[2:]).all()


def test_calendar_when_asked_then_it_knows_weekdays_and_months_at_their_borders() -> None:
    at = np.array([0.0, 29.999, 30.0, 59.9])
    assert WINDOW.month_index(at).tolist() == [0, 0, 1, 1]
    assert WINDOW.weekdays(at).tolist() == [date(2026, 5, 2).weekday(), 6, 0, date(2026, 6, 30).weekday()]
    assert WINDOW.dates(at, "on").to_list()[-1] == date(2026, 6, 30)
