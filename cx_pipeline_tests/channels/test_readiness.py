from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest

from cx_pipeline.channels.policy import LandingPolicy
from cx_pipeline.channels.readiness import LOADED_COLUMNS, LandedExtract, readiness
from cx_pipeline_tests.frames import channel_of

NOW = datetime(2024, 6, 20, 1, 0)
PLAIN = {"no": {"role": "record.id"}, "at": {"role": "event.at"}}
DAILY = replace(channel_of("daily", "interaction", PLAIN), freshness_days=1.0)
WEEKLY = replace(channel_of("weekly", "interaction", PLAIN), freshness_days=7.0)
WHENEVER = channel_of("whenever", "interaction", PLAIN)
CHANNELS = (DAILY, WEEKLY, WHENEVER)


def landed(channel: str, file: str = "a.csv", hours_ago: float = 2, content: str = "new") -> LandedExtract:
    changed = NOW - timedelta(hours=hours_ago)
    return LandedExtract(channel, file, changed, f"{content} {changed}", lambda: content)


def loaded(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    """Rows of (channel, file, content, days ago)."""
    data = [(channel, file, content, NOW - timedelta(days=days)) for channel, file, content, days in rows]
    return pl.DataFrame(data, schema=LOADED_COLUMNS, orient="row")


LAST_NIGHT = loaded(("daily", "a.csv", "old", 1), ("weekly", "a.csv", "old", 1))


@pytest.mark.parametrize(
    ("files", "past", "policy", "reason"),
    [
        pytest.param([], LAST_NIGHT, {}, "nothing new", id="nothing landed"),
        pytest.param([landed("daily"), landed("weekly")], loaded(), {}, "", id="the first night"),
        pytest.param([landed("daily")], loaded(), {}, "waiting for weekly", id="the first night, one is missing"),
        pytest.param([landed("daily", "b.csv")], LAST_NIGHT, {}, "", id="the weekly one is not due"),
        pytest.param(
            [landed("daily", "b.csv")],
            loaded(("daily", "a.csv", "old", 1), ("weekly", "a.csv", "old", 6)),
            {},
            "waiting for weekly",
            id="the weekly one is due",
        ),
        pytest.param(
            [landed("daily", "b.csv")], LAST_NIGHT, {"cadence_days": {"weekly": 1}}, "waiting for weekly", id="cadence"
        ),
        pytest.param(
            [landed("weekly", "b.csv")],
            LAST_NIGHT,
            {"does_not_wait_for": ("daily",)},
            "no channel is",
            id="not waited for",
        ),
        pytest.param([landed("whenever")], LAST_NIGHT, {}, "waiting for daily", id="only one that nobody waits for"),
        pytest.param([landed("daily", content="new")], LAST_NIGHT, {}, "", id="a corrected file"),
        pytest.param([landed("daily", content="old")], LAST_NIGHT, {}, "nothing new", id="touched, not changed"),
        pytest.param([landed("daily", hours_ago=30)], LAST_NIGHT, {}, "nothing new", id="older than the last night"),
        pytest.param([landed("daily", "b.csv", hours_ago=0)], LAST_NIGHT, {}, "on their way", id="still being copied"),
    ],
)
def test_readiness_when_extracts_land_then_the_night_starts_once_all_that_are_expected_are_there(
    files: list[LandedExtract], past: pl.DataFrame, policy: dict[str, object], reason: str
) -> None:
    found = readiness(files, past, CHANNELS, NOW, LandingPolicy(**policy))  # type: ignore[arg-type]
    assert found.is_complete is (reason == "")
    assert reason in found.reason


def test_the_key_when_the_set_is_the_same_then_it_is_the_same_and_another_for_any_change() -> None:
    def key(*files: LandedExtract) -> str:
        return readiness(files, LAST_NIGHT, CHANNELS, NOW, LandingPolicy()).key

    first, second = landed("daily", "b.csv"), landed("weekly", "b.csv")
    assert key(first, second) == key(second, first)
    assert len({key(first), key(first, second), key(landed("daily", "b.csv", content="other"))}) == 3
