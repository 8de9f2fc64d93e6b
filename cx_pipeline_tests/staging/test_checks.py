from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.staging import checks
from cx_pipeline.staging.policy import StagingPolicy
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of

TABLES = load_step("staging")
MANIFEST = TABLES["load_manifest"]


def test_rows_when_a_file_lost_one_then_it_offends() -> None:
    manifest = frame_of(
        MANIFEST, file=["a", "b"], rows_read=5, rows_staged=[3, 3], rows_rejected=1, rows_superseded=[1, 0]
    )
    assert n_offending(checks.no_row_has_been_lost, staging__load_manifest=manifest) == 1


def test_files_when_mostly_rejected_then_they_are_pointed_out() -> None:
    manifest = frame_of(MANIFEST, file=["a", "b", "c"], rows_read=[10, 10, 0], rows_rejected=[5, 6, 0])
    body = cast(Any, checks.no_file_is_mostly_rejected.node_def).compute_fn.decorated_fn
    run = SimpleNamespace(
        warehouse=SimpleNamespace(read=lambda _: lazy(manifest)), policy=lambda policy: StagingPolicy()
    )
    result = body(None, SimpleNamespace(run=lambda _: run))
    assert "| b | 10 | 6 |" in str(result.metadata["first_keys"].value)
    assert result.metadata["n_offending"].value == 1


def test_lines_when_their_order_is_missing_then_their_channel_offends_once() -> None:
    lines = frame_of(
        TABLES["order_lines"], channel=["till", "till", "web"], record_id=["1", "2", "3"], order_id=["A", "B", None]
    )
    orders = frame_of(TABLES["orders"], order_id=["A", "3"])
    tables = {"staging__order_lines": lines, "staging__orders": orders}
    assert n_offending(checks.every_order_line_is_part_of_an_order, **tables) == 1
    complete = frame_of(TABLES["orders"], order_id=["A", "B", "3"])
    assert n_offending(checks.every_order_line_is_part_of_an_order, **tables | {"staging__orders": complete}) == 0
