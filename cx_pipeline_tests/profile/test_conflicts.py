from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile import checks
from cx_pipeline.profile.conflicts import online_offline_conflicts, sides
from cx_pipeline.profile.policy import ConflictPolicy
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

PROFILE, CHANNELS = load_step("profile"), load_step("channels")
AS_OF = date(2024, 12, 31)
CATALOGUE = frame_of(CHANNELS["catalogue"], channel=["web", "till", "desk"], mode=["online", "offline", None])
POLICY = ConflictPolicy()
Event = tuple[str, int, dict[str, Any]]


def timeline_of(events: list[Event]) -> pl.DataFrame:
    """Events as (channel, days before the as-of date, further columns); an order of 10 unless it says otherwise."""
    rows = [
        {
            "channel": channel,
            "at": datetime(2024, 12, 31, 12) - timedelta(days=days),
            "kind": "order",
            "value": 10.0,
            **more,
        }
        for channel, days, more in events
    ]
    columns = {
        name: [row.get(name) for row in rows] for name in ("channel", "at", "kind", "value", "direction", "sentiment")
    }
    return frame_of(PROFILE["timeline"], customer_id="A", record_id=[str(i) for i in range(len(rows))], **columns)


def found(events: list[Event], policy: ConflictPolicy = POLICY) -> list[dict[str, Any]]:
    rows = same_on_polars_and_duckdb(
        lambda t, c: online_offline_conflicts(sides(t, c, policy, AS_OF), policy), timeline_of(events), CATALOGUE
    )
    return rows.to_dicts()


def customers_in_conflict(cases: dict[str, list[Event]]) -> set[str]:
    """The names of the cases, each a customer of its own, in which there is a contradiction."""
    timeline = pl.concat(timeline_of(events).with_columns(customer_id=pl.lit(name)) for name, events in cases.items())
    rows = same_on_polars_and_duckdb(
        lambda t, c: online_offline_conflicts(sides(t, c, POLICY, AS_OF), POLICY), timeline, CATALOGUE
    )
    return set(rows["customer_id"])


BUYS_OFFLINE: list[Event] = [("till", 0, {}), ("till", 89, {})]
SILENT_ONLINE: list[Event] = [("web", 90, {}), ("web", 200, {"kind": "interaction"}), ("web", 400, {"value": -5.0})]


def test_conflicts_when_one_side_buys_and_the_other_has_fallen_silent_then_the_silent_side_misleads() -> None:
    (row,) = found(BUYS_OFFLINE + SILENT_ONLINE)
    assert row["kind"] == "active_offline_silent_online"
    assert (row["online_conclusion"], row["offline_conclusion"], row["truth"]) == ("silent", "active", "active")
    assert (row["misleading_side"], row["wrong_conclusion"]) == ("online", "silent")
    assert (row["n_online_events"], row["n_offline_recent_orders"]) == (3, 2)
    assert row["last_online_at"] == datetime(2024, 12, 31, 12) - timedelta(days=90)


def test_conflicts_when_the_sides_are_exchanged_then_the_mirror_image() -> None:
    mirrored = [({"web": "till", "till": "web"}[c], days, more) for c, days, more in BUYS_OFFLINE + SILENT_ONLINE]
    (row,) = found(mirrored)
    assert (row["kind"], row["misleading_side"]) == ("active_online_silent_offline", "offline")


NO_SILENCE: dict[str, list[Event]] = {
    "one order": BUYS_OFFLINE[:1] + SILENT_ONLINE,
    "second order a day too old": [*BUYS_OFFLINE[:1], ("till", 90, {}), *SILENT_ONLINE],
    "a return is no order": [*BUYS_OFFLINE[:1], ("till", 1, {"value": -3.0}), *SILENT_ONLINE],
    "nothing was paid": [*BUYS_OFFLINE[:1], ("till", 1, {"value": 0.0}), *SILENT_ONLINE],
    "never used much": BUYS_OFFLINE + SILENT_ONLINE[:2],
    "not silent": [*BUYS_OFFLINE, *SILENT_ONLINE, ("web", 89, {"kind": "interaction"})],
    "a return breaks the silence": [*BUYS_OFFLINE, *SILENT_ONLINE, ("web", 5, {"value": -1.0})],
    "a channel of no side": [*BUYS_OFFLINE[:1], ("desk", 1, {}), *SILENT_ONLINE],
    "an order of the future": [*BUYS_OFFLINE[:1], ("till", -1, {}), *SILENT_ONLINE],
}


def test_conflicts_when_a_condition_is_missing_then_no_conflict() -> None:
    assert customers_in_conflict({**NO_SILENCE, "all there": BUYS_OFFLINE + SILENT_ONLINE}) == {"all there"}


def test_conflicts_when_the_company_speaks_then_the_customer_is_as_silent_as_before() -> None:
    ours: Event = ("web", 3, {"kind": "interaction", "direction": "outbound"})
    (row,) = found([*BUYS_OFFLINE, *SILENT_ONLINE, ours])
    assert row["n_online_events"] == 3


def heard(channel: str, *sentiments: float | None, days: int = 10, **more: Any) -> list[Event]:
    return [(channel, days, {"kind": "interaction", "value": None, "sentiment": s, **more}) for s in sentiments]


@pytest.mark.parametrize(
    ("events", "kind", "truth", "side", "wrong"),
    [
        pytest.param(
            heard("web", 0.2, 0.4) + heard("till", -0.9, -0.9),
            "satisfied_online_dissatisfied_offline",
            "dissatisfied",
            "online",
            "satisfied",
            id="together dissatisfied",
        ),
        pytest.param(
            heard("till", 0.9, 0.9, 0.9, 0.9) + heard("web", -0.3, -0.3),
            "dissatisfied_online_satisfied_offline",
            "satisfied",
            "online",
            "dissatisfied",
            id="together satisfied",
        ),
        pytest.param(
            heard("till", 0.5, 0.5) + heard("web", -0.5, -0.5),
            "dissatisfied_online_satisfied_offline",
            "divided",
            "both",
            "satisfied_or_dissatisfied",
            id="divided",
        ),
    ],
)
def test_conflicts_when_sides_feel_differently_then_the_truth_is_the_mean_of_all(
    events: list[Event], kind: str, truth: str, side: str, wrong: str
) -> None:
    (row,) = found(events)
    assert [row[name] for name in ("kind", "truth", "misleading_side", "wrong_conclusion")] == [
        kind,
        truth,
        side,
        wrong,
    ]


HARDLY_HEARD: dict[str, list[Event]] = {
    "one voice": heard("web", 0.9) + heard("till", -0.9, -0.9),
    "no sentiment is no voice": heard("web", 0.9, None) + heard("till", -0.9, -0.9),
    "too long ago": heard("web", 0.9, 0.9, days=180) + heard("till", -0.9, -0.9),
    "not satisfied enough": heard("web", 0.29, 0.3) + heard("till", -0.9, -0.9),
    "our own words": heard("web", 0.9, 0.9, direction="outbound") + heard("till", -0.9, -0.9),
}


def test_conflicts_when_a_side_was_hardly_heard_then_no_conflict() -> None:
    enough = heard("web", 0.9, 0.9) + heard("till", -0.9, -0.9)
    assert customers_in_conflict({**HARDLY_HEARD, "enough": enough}) == {"enough"}


def test_conflicts_when_there_are_no_events_then_no_rows() -> None:
    empty = frame_of(PROFILE["timeline"]).clear()
    rows = same_on_polars_and_duckdb(
        lambda t, c: online_offline_conflicts(sides(t, c, POLICY, AS_OF), POLICY), empty, CATALOGUE
    )
    assert rows.is_empty()
    assert set(rows.columns) == set(PROFILE["online_offline_conflicts"].column_names) - {"as_of"}


def test_every_conflict_stands_on_events_of_both_sides_when_a_count_is_wrong_then_it_is_broken() -> None:
    timeline = timeline_of(BUYS_OFFLINE + SILENT_ONLINE)
    (row,) = found(BUYS_OFFLINE + SILENT_ONLINE)

    def broken(**changed: Any) -> int:
        columns = {**row, "as_of": AS_OF, **changed}
        return n_offending(
            checks.every_conflict_stands_on_events_of_both_sides,
            profile__online_offline_conflicts=frame_of(PROFILE["online_offline_conflicts"], **columns),
            profile__timeline=timeline,
            channels__catalogue=CATALOGUE,
        )

    assert broken() == 0
    assert broken(n_online_events=4) == broken(last_offline_at=datetime(2024, 1, 1)) == broken(customer_id="B") == 1
