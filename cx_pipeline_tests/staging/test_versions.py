from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.staging.versions import VERDICT, judge_versions
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

SCHEMA = {"key": pl.String, "part": pl.String, "changed": pl.Int64, "source_file": pl.String, "source_line": pl.Int64}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["k1", "k2", None]),
        st.sampled_from(["p", None]),
        st.sampled_from([1, 2, None]),
        st.sampled_from(["a.csv", "b.csv", "c.csv"]),
    ),
    max_size=14,
).map(lambda rows: [(*row, line) for line, row in enumerate(rows, start=1)])


def frame(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def verdicts(rows: Sequence[tuple[Any, ...]], **options: Any) -> dict[tuple[str, int], str]:
    judged = to_polars(judge_versions(lazy(frame(rows)), **options))
    assert set(judged.columns) == {*SCHEMA, VERDICT}
    assert judged.height == len(rows)
    return {(row["source_file"], row["source_line"]): row[VERDICT] for row in judged.iter_rows(named=True)}


def oracle(
    rows: Sequence[tuple[Any, ...]], *, key: Sequence[str], is_declared: bool, has_times: bool, newest_file: str | None
) -> dict[tuple[str, int], str]:
    """The rule of the docstring, row by row."""
    found: dict[tuple[str, int], str] = {}
    named = [dict(zip(SCHEMA, row, strict=True)) for row in rows]
    for row in named:
        place = (row["source_file"], row["source_line"])
        keys = tuple(row[name] for name in key)
        same = [other for other in named if tuple(other[name] for name in key) == keys]

        def time(row: dict[str, Any]) -> int:
            return (-1 if row["changed"] is None else row["changed"]) if has_times else 0

        def contradicts(row: dict[str, Any], same: list[dict[str, Any]] = same, keys: tuple[Any, ...] = keys) -> bool:
            return (
                is_declared
                and bool(key)
                and None not in keys
                and any(
                    other["source_file"] == row["source_file"]
                    and time(other) == time(row)
                    and other["source_line"] < row["source_line"]
                    for other in same
                )
            )

        if contradicts(row):
            found[place] = "rejected"
        elif newest_file is not None and row["source_file"] != newest_file:
            found[place] = "superseded"
        elif None in keys or not key:
            found[place] = "current"
        else:
            rivals = [
                o for o in same if not contradicts(o) and (newest_file is None or o["source_file"] == newest_file)
            ]
            best = max(rivals, key=lambda o: (time(o), o["source_file"], o["source_line"]))
            found[place] = "current" if best is row else "superseded"
    return found


@given(
    ROWS,
    st.sampled_from([["key"], ["key", "part"], []]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "b.csv", "c.csv"]),
    st.randoms(use_true_random=False),
)
def test_judging_when_rows_come_in_any_order_then_the_verdicts_are_those_of_the_rule(
    rows: list[tuple[Any, ...]],
    key: list[str],
    is_declared: bool,
    has_times: bool,
    newest_file: str | None,
    chance: random.Random,
) -> None:
    shuffled = chance.sample(rows, len(rows))
    found = verdicts(
        shuffled,
        key=key,
        updated_at="changed" if has_times else None,
        key_is_declared=is_declared,
        newest_file=newest_file,
    )
    assert found == oracle(rows, key=key, is_declared=is_declared, has_times=has_times, newest_file=newest_file)


CASES = {
    "a correction in a later file stands": (
        [("k", None, None, "1.csv", 2), ("k", None, None, "2.csv", 2)],
        {"key": ["key"], "updated_at": None, "key_is_declared": True},
        ["superseded", "current"],
    ),
    "the time of change beats the name of the file": (
        [("k", None, 5, "1.csv", 2), ("k", None, 4, "2.csv", 2)],
        {"key": ["key"], "updated_at": "changed", "key_is_declared": True},
        ["current", "superseded"],
    ),
    "a row without time of change is the oldest": (
        [("k", None, 1, "1.csv", 2), ("k", None, None, "2.csv", 2)],
        {"key": ["key"], "updated_at": "changed", "key_is_declared": True},
        ["current", "superseded"],
    ),
    "a declared key twice in one file is a contradiction": (
        [("k", None, None, "1.csv", 2), ("k", None, None, "1.csv", 3), ("k", None, None, "0.csv", 2)],
        {"key": ["key"], "updated_at": None, "key_is_declared": True},
        ["current", "rejected", "superseded"],
    ),
    "a record id twice in one file is a version": (
        [("k", None, None, "1.csv", 2), ("k", None, None, "1.csv", 3)],
        {"key": ["key"], "updated_at": None, "key_is_declared": False},
        ["superseded", "current"],
    ),
    "rows without key stand for themselves": (
        [(None, None, None, "1.csv", 2), (None, None, None, "1.csv", 3)],
        {"key": ["key"], "updated_at": None, "key_is_declared": True},
        ["current", "current"],
    ),
    "a snapshot replaces even what was changed later": (
        [("k", None, 9, "1.csv", 2), ("k", None, 1, "2.csv", 2), ("l", None, 9, "1.csv", 3)],
        {"key": ["key"], "updated_at": "changed", "key_is_declared": True, "newest_file": "2.csv"},
        ["superseded", "current", "superseded"],
    ),
}


@pytest.mark.parametrize(("rows", "options", "expected"), CASES.values(), ids=CASES.keys())
def test_judging_when_versions_meet_then_the_newest_stands_on_both_engines(
    rows: list[tuple[Any, ...]], options: dict[str, Any], expected: list[str]
) -> None:
    judged = same_on_polars_and_duckdb(lambda frame: judge_versions(frame, **options), frame(rows))
    found = {(row["source_file"], row["source_line"]): row[VERDICT] for row in judged.iter_rows(named=True)}
    assert [found[row[3], row[4]] for row in rows] == expected


@pytest.mark.parametrize("seed", range(6))
def test_judging_when_many_rows_meet_then_both_engines_agree(seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        (
            chance.choice(["a", "b", "c", None]),
            chance.choice(["p", "q", None]),
            chance.choice([1, 2, None]),
            chance.choice("xyz"),
            i,
        )
        for i in range(200)
    ]
    options: dict[str, Any] = {
        "key": chance.choice([["key"], ["key", "part"]]),
        "updated_at": chance.choice(["changed", None]),
        "key_is_declared": chance.choice([True, False]),
        "newest_file": chance.choice([None, "y"]),
    }
    same_on_polars_and_duckdb(lambda frame: judge_versions(frame, **options), frame(rows))
