from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from cx_pipeline.simulate.contradictions import SideTally
from cx_pipeline.simulate.latent import CONTRADICTIONS, SCRIPTS
from cx_pipeline_tests.simulate.test_latent import latent_of

DAYS = 548.0


def table_of(tally: SideTally, planted: tuple[int, ...] = ()) -> set[tuple[int, str, bool]]:
    latent = latent_of(4)
    script = np.zeros(4, dtype=np.int64)
    script[list(planted)] = SCRIPTS.index(CONTRADICTIONS[0])
    return set(tally.table(replace(latent, script=script)).iter_rows())


def add(tally: SideTally, person: int, *days_before_end: float, is_online: bool, amount: float = 1.0) -> None:
    at = DAYS - np.array(days_before_end)
    persons = np.full(len(at), person)
    tally.add_orders(persons, at, np.full(len(at), amount > 0), is_online=is_online)


def test_contradictions_when_active_in_stores_and_silent_online_then_they_are_found_with_who_was_planted() -> None:
    tally = SideTally(4, int(DAYS))
    for person in (0, 1):
        add(tally, person, 10, 50, is_online=False)
        add(tally, person, 120, 200, 300, is_online=True)
    add(tally, 2, 10, 50, is_online=False)
    add(tally, 2, 120, 200, is_online=True)  # two events only
    add(tally, 3, 10, 50, is_online=False)
    add(tally, 3, 89, 200, 300, is_online=True)  # one of them too young
    kind = "active_offline_silent_online"
    assert table_of(tally, planted=(0,)) == {(0, kind, True), (1, kind, False)}


def test_contradictions_when_orders_are_returns_then_they_are_events_but_no_activity() -> None:
    tally = SideTally(4, int(DAYS))
    add(tally, 0, 10, 20, is_online=True)
    add(tally, 0, 100, 110, 120, is_online=False)
    add(tally, 1, 10, 20, is_online=True, amount=-1)
    add(tally, 1, 100, 110, 120, is_online=False)
    assert table_of(tally) == {(0, "active_online_silent_offline", False)}


def test_contradictions_when_feelings_differ_between_sides_then_means_and_counts_decide() -> None:
    tally = SideTally(4, int(DAYS))
    recent = DAYS - np.array([10.0, 170.0])
    for person, online, offline in (
        (0, (0.4, 0.2), (-0.5, -0.1)),
        (1, (-0.9, -0.3), (0.3, 0.3)),
        (2, (0.4, 0.1), (-1, -1)),
    ):
        who = np.full(2, person)
        tally.add_interactions(who, recent, is_online=True, sentiment=np.array(online))
        tally.add_interactions(who, recent, is_online=False, sentiment=np.array(offline))
    old = np.array([DAYS - 10, DAYS - 181.0])
    tally.add_interactions(np.full(2, 3), old, is_online=True, sentiment=np.array([0.9, 0.9]))
    tally.add_interactions(np.full(2, 3), recent, is_online=False, sentiment=np.array([-0.9, np.nan]))
    assert table_of(tally) == {
        (0, "satisfied_online_dissatisfied_offline", False),
        (1, "dissatisfied_online_satisfied_offline", False),
    }


def test_contradictions_when_nobody_did_anything_then_the_table_is_empty_and_typed() -> None:
    frame = SideTally(4, int(DAYS)).table(latent_of(4))
    assert frame.schema == {"person_id": pl.Int64, "kind": pl.String, "is_planted": pl.Boolean}
    assert frame.is_empty()
