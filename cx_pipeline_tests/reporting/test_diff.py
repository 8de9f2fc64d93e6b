from __future__ import annotations

from pathlib import Path

import polars as pl

from cx_pipeline.reporting.diff import compare_runs
from cx_pipeline.reporting.snapshot import find_run


def write(run: Path, table: str, frame: pl.DataFrame) -> None:
    path = run / f"{table.replace('.', '/')}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


def write_records(run: Path, owner_of_record: dict[str, str]) -> None:
    records, owners = list(owner_of_record), list(owner_of_record.values())
    write(
        run,
        "identity.customer_xref",
        pl.DataFrame({"channel": ["crm"] * len(records), "record_id": records, "customer_id": owners}),
    )


def write_identifiers(run: Path, owner_of_cookie: dict[str, str]) -> None:
    values, owners = list(owner_of_cookie), list(owner_of_cookie.values())
    write(
        run,
        "identity.identifier_xref",
        pl.DataFrame({"namespace": ["cookie"] * len(values), "value": values, "customer_id": owners}),
    )


def changes(run_a: Path, run_b: Path) -> dict[str, tuple[int, str]]:
    return {change: (n, ids) for change, n, ids in compare_runs(run_a, run_b).customers.iter_rows()}


def test_compare_runs_when_customers_merge_split_come_and_go_then_each_is_counted_and_named(tmp_path: Path) -> None:
    write_records(
        tmp_path / "a", {"1": "kept", "2": "old", "3": "m1", "4": "m2", "5": "s", "6": "s", "7": "s", "8": "gone"}
    )
    write_records(
        tmp_path / "b", {"1": "kept", "2": "renamed", "3": "m1", "4": "m1", "5": "s", "6": "s", "7": "s2", "9": "new"}
    )
    assert changes(tmp_path / "a", tmp_path / "b") == {
        "kept": (1, ""),
        "renamed": (1, "renamed"),
        "merged": (1, "m1"),
        "split": (1, "s"),
        "new": (1, "new"),
        "gone": (1, "gone"),
    }


def test_compare_runs_when_a_cookie_moves_to_another_customer_then_nobody_split_or_merged(tmp_path: Path) -> None:
    for run, owner in (("a", "one"), ("b", "two")):
        write_records(tmp_path / run, {"1": "one", "2": "two"})
        write_identifiers(tmp_path / run, {"x": owner})
    assert changes(tmp_path / "a", tmp_path / "b") == {
        "kept": (2, ""),
        "renamed": (0, ""),
        "merged": (0, ""),
        "split": (0, ""),
        "new": (0, ""),
        "gone": (0, ""),
    }


def test_compare_runs_when_an_anonymous_visitor_registers_then_it_is_merged_into_the_known_customer(
    tmp_path: Path,
) -> None:
    write_records(tmp_path / "a", {"1": "one"})
    write_identifiers(tmp_path / "a", {"x": "visitor"})
    write_records(tmp_path / "b", {"1": "one"})
    write_identifiers(tmp_path / "b", {"x": "one"})
    found = changes(tmp_path / "a", tmp_path / "b")
    assert found["merged"] == (1, "one")
    assert found["gone"][0] == 0


def test_compare_runs_when_segments_and_scores_differ_then_moves_and_correlation_are_given(tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(4)]
    for run, segments, values in (
        ("a", ["loyal", "loyal", "new", None], [1.0, 2.0, 3.0, 4.0]),
        ("b", ["loyal", "at risk", "new", "new"], [2.0, 4.0, 6.0, None]),
    ):
        write(tmp_path / run, "segmentation.customers", pl.DataFrame({"customer_id": ids, "rfm_segment": segments}))
        value = pl.DataFrame({"customer_id": ids, "horizon_days": [91] * 4, "expected_revenue": values})
        write(tmp_path / run, "value.customers", value)
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert found.states.select("before", "after", "n_customers").rows() == [(None, "new", 1), ("loyal", "at risk", 1)]
    assert found.scores.rows() == [("value.customers", "expected_revenue 91", 3, 2.0, 4.0, 2.0, 1.0)]


def test_compare_runs_when_a_run_is_compared_with_itself_then_nothing_differs(tmp_path: Path) -> None:
    write_records(tmp_path / "a", {"1": "one", "2": "one"})
    found = compare_runs(tmp_path / "a", tmp_path / "a")
    assert (found.states.height, found.scores.height, found.tables.height) == (0, 0, 0)


def test_compare_runs_when_a_table_is_new_then_its_rows_before_are_unknown(tmp_path: Path) -> None:
    write_records(tmp_path / "a", {"1": "one"})
    write_records(tmp_path / "b", {"1": "one"})
    write(tmp_path / "b", "value.customers", pl.DataFrame({"customer_id": ["one"]}))
    assert compare_runs(tmp_path / "a", tmp_path / "b").tables.rows() == [("value.customers", None, 1)]


def test_find_run_when_part_of_a_name_fits_several_then_all_are_returned(tmp_path: Path) -> None:
    for name in ("20260101T020000-aa", "20260102T020000-ab", "x.partial"):
        (tmp_path / name).mkdir()
    assert [path.name for path in find_run(tmp_path, "2026")] == ["20260102T020000-ab", "20260101T020000-aa"]
    assert [path.name for path in find_run(tmp_path, "ab")] == ["20260102T020000-ab"]
    assert find_run(tmp_path, "current") == []
    assert find_run(tmp_path / "nothing", "x") == []
