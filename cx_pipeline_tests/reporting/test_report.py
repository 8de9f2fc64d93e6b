from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.reporting import page, scorecard, snapshot
from cx_pipeline.reporting.checks import customers_are_those_of_the_master_file, every_figure_has_a_value_or_a_reason
from cx_pipeline.reporting.policy import ScorecardPolicy
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import money, same_on_polars_and_duckdb

AS_OF = date(2024, 12, 31)
NAMES = tuple(dict.fromkeys((*scorecard.SOURCES, *page.SOURCES)))


def contract_of(name: str) -> Any:
    step, _, table = name.partition(".")
    return load_step(step)[table]


def empty() -> dict[str, nw.LazyFrame]:
    return {name: lazy(contract_of(name).empty()) for name in NAMES}


def with_rows(**tables: dict[str, Any]) -> dict[str, nw.LazyFrame]:
    """All tables empty but those given as `step__table={column: values}`."""
    given = {name.replace("__", ".", 1): columns for name, columns in tables.items()}
    return {**empty(), **{name: lazy(frame_of(contract_of(name), **columns)) for name, columns in given.items()}}


def figures(tables: dict[str, nw.LazyFrame]) -> dict[str, dict[str, Any]]:
    rows = scorecard.scorecard(tables, ScorecardPolicy(), AS_OF)
    return {row["figure"]: row for row in rows.to_dicts()}


def company() -> dict[str, nw.LazyFrame]:
    return with_rows(
        profile__customers={
            "customer_id": ["A", "B", "C"],
            "first_seen_at": [datetime(2024, 1, 1), datetime(2024, 12, 3), datetime(2024, 12, 4)],
        },
        profile__timeline={
            "customer_id": ["A", "A", "B", "C"],
            "kind": ["order", "order", "order", "interaction"],
            "at": [datetime(2024, 1, 1), datetime(2024, 9, 15), datetime(2024, 12, 31, 23), datetime(2024, 12, 31)],
            "value": [5.0, 5.0, 5.0, None],
        },
        staging__orders={
            "channel": "shop",
            "record_id": ["1", "2", "3", "4"],
            "event_at": [datetime(2024, 12, 4), datetime(2024, 12, 31, 23, 59), datetime(2024, 12, 3, 23, 59), datetime(2024, 12, 9)],
            "order_amount": money("10.10", "20.20", "7.00", "-3.00"),
        },
        engagement__evaluation={
            "campaign": ["old", "new", "new"],
            "arm": ["all", "control", "mail"],
            "is_control": [False, True, False],
            "first_sent_on": date(2024, 10, 1),
            "last_sent_on": [date(2024, 6, 1), date(2024, 10, 1), date(2024, 10, 1)],
            "n": [100, 50, 50],
            "n_responses": [5, 0, 10],
            "response_rate": [0.05, 0.0, 0.2],
            "rate_low": [0.02, 0.0, 0.1],
            "rate_high": [0.1, 0.1, 0.3],
            "effect": [None, None, 0.2],
            "effect_low": [None, None, 0.1],
            "effect_high": [None, None, 0.3],
            "verdict": ["not_identifiable", "control", "effective"],
        },
    )  # fmt: skip


def test_scorecard_when_everything_is_empty_then_every_figure_is_null_with_a_reason_or_nought() -> None:
    rows = figures(empty())
    assert rows.keys() == {figure.name for figure in scorecard.FIGURES}
    assert rows["customers"]["value"] == 0
    assert all(row["reason"] for row in rows.values() if row["value"] is None)
    assert [name for name, row in rows.items() if row["value"] is not None] == ["customers"]


def test_scorecard_when_there_are_rows_then_values_windows_and_changes_are_right() -> None:
    rows = figures(company())

    def of(name: str) -> tuple[Any, Any]:
        return rows[name]["value"], rows[name]["previous"]

    assert of("customers") == (3, 2)
    assert of("revenue") == (pytest.approx(27.3), pytest.approx(7.0))
    assert of("orders") == (2, 1)
    # A ordered last on 15 September: more than 90 days before the end, within 90 days of 28 days earlier; B had not ordered then.
    assert of("active_share") == (0.5, 1.0)
    assert of("response_rate") == (0.2, 0.05)
    assert of("identifiable_campaigns_share") == (0.5, None)
    assert rows["customers"]["change"] == 1


def test_scorecard_when_engines_differ_then_the_figures_do_not() -> None:
    tables = {name: frame.collect("polars").to_native() for name, frame in company().items()}

    def scored(*frames: Any) -> Any:
        return lazy(scorecard.scorecard(dict(zip(tables, frames, strict=True)), ScorecardPolicy(), AS_OF))

    assert same_on_polars_and_duckdb(scored, *tables.values()).height == len(scorecard.FIGURES)


def test_scorecard_when_written_then_the_contract_has_its_columns_and_the_checks_hold() -> None:
    table = load_step("reporting")["scorecard"]
    rows = scorecard.scorecard(company(), ScorecardPolicy(), AS_OF).select(table.column_names)
    written = rows.cast(table.polars_schema())
    master = frame_of(load_step("profile")["customers"], customer_id=["A", "B", "C"])
    both = {"reporting__scorecard": written, "profile__customers": master}
    assert n_offending(every_figure_has_a_value_or_a_reason, reporting__scorecard=written) == 0
    assert n_offending(customers_are_those_of_the_master_file, **both) == 0
    assert n_offending(customers_are_those_of_the_master_file, **{**both, "profile__customers": master.head(2)}) == 1
    silent = written.with_columns(pl.lit(None, dtype=pl.String).alias("reason"))
    n_null = written["value"].null_count()
    assert n_offending(every_figure_has_a_value_or_a_reason, reporting__scorecard=silent) == n_null


def page_of(tables: dict[str, nw.LazyFrame]) -> str:
    rows = scorecard.scorecard(tables, ScorecardPolicy(), AS_OF)
    return page.render_page("Customers", AS_OF, "20250101T020000-abcdef12", "EUR", rows, page.sections(tables))


def test_page_when_there_is_nothing_then_it_says_so_in_every_section() -> None:
    text = page_of(empty())
    assert text.count("Nothing to show") == len(page.sections(empty()))
    assert "<svg" not in text


def test_page_when_there_are_rows_then_charts_stand_in_it_and_nothing_is_loaded_from_anywhere() -> None:
    text = page_of(company())
    assert text.count("<svg") >= 1
    assert "Effect against control" in text
    assert not re.findall(r"<(script|link|img|iframe)\b", text)
    addresses = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', text))
    assert all(address.startswith("#") for address in addresses), addresses
    for customer in ("A", "B", "C"):
        assert f"<td>{customer}</td>" not in text


def test_page_when_values_hold_markup_then_it_is_escaped() -> None:
    tables = with_rows(
        profile__attribution_coverage={
            "channel": "<script>alert(1)</script>", "kind": "order", "n_rows": 1, "n_attributed": 1, "n_unattributed": 0,
        }
    )  # fmt: skip
    assert "<script" not in page_of(tables)
    assert "&lt;script&gt;" in page_of(tables)


def test_inline_svg_when_two_stand_in_one_page_then_their_ids_do_not_meet() -> None:
    svg = '<svg><clipPath id="c0"/><g clip-path="url(#c0)"><use href="#c0"/></g></svg>'
    assert page.inline_svg(svg, "pulse") == (
        '<svg><clipPath id="pulse-c0"/><g clip-path="url(#pulse-c0)"><use href="#pulse-c0"/></g></svg>'
    )


def writing(text: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "index.html").write_text(text)

    return fill


def test_publish_folder_when_filling_fails_then_the_page_before_stays(tmp_path: Path) -> None:
    snapshot.publish_folder(tmp_path, "one", writing("1"))

    def fail(folder: Path) -> None:
        (folder / "index.html").write_text("2")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        snapshot.publish_folder(tmp_path, "two", fail)
    assert (tmp_path / "current" / "index.html").read_text() == "1"
    snapshot.publish_folder(tmp_path, "three", writing("3"))
    assert (tmp_path / "current" / "index.html").read_text() == "3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CURRENT_RUN", "current", "one", "three"]
