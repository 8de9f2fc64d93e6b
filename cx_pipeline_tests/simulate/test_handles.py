from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl

from cx_pipeline.simulate.handles import index_identifiers
from cx_pipeline.simulate.randomness import stream
from cx_pipeline.simulate.window import Window

WINDOW = Window(date(2026, 6, 30), 100)


def handles_of(rows: list[tuple[int, str, str, datetime | None, datetime | None, bool]]):
    schema = ["person_id", "namespace", "value", "from_at", "to_at", "is_kiosk"]
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("from_at", "to_at").cast(pl.Datetime("us"))
    )
    return index_identifiers(frame, 3, ("cookie", "account"), WINDOW)


def test_an_identifier_when_it_has_been_replaced_then_later_events_carry_the_new_one() -> None:
    change = datetime(2026, 5, 1)
    handles = handles_of([(0, "cookie", "old", None, change, False), (0, "cookie", "new", change, None, False)])
    persons, change_day = np.zeros(400, dtype=np.int64), WINDOW.day_numbers(pl.Series([change]))[0]
    at = np.repeat([change_day - 1, change_day + 1], 200)
    found = handles.pick("cookie", persons, stream(1, "x"), at)
    assert set(found[:200]) == {"old"}
    assert set(found[200:]) == {"new"}


def test_an_identifier_when_the_person_has_none_or_it_is_not_kept_then_it_is_null() -> None:
    handles = handles_of([(1, "account", "u1", None, None, False)])
    persons = np.array([0, 1, 1])
    found = handles.pick("account", persons, stream(1, "x"), keep=np.array([True, True, False]))
    assert found.to_list() == [None, "u1", None]
    assert handles["cookie"].text(np.array([-1, -1]), "cookie").to_list() == [None, None]
    assert handles["account"].has.tolist() == [False, True, False]
    assert handles["account"].first(persons).tolist() == [-1, 0, 0]


def test_a_kiosk_when_the_person_has_a_browser_too_then_it_is_rare() -> None:
    handles = handles_of([(0, "cookie", "kiosk", None, None, True), (0, "cookie", "own", None, None, False)])
    found = handles.pick("cookie", np.zeros(4_000, dtype=np.int64), stream(1, "x"))
    assert 0.01 < (found == "kiosk").mean() < 0.12
