"""Business checks run by themselves: tables in memory in, the check's result out.

Belongs here: calling what `table_check` makes, without Dagster's machinery. Does not belong here: any single check's test.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import polars as pl

from cx_pipeline.core.warehouse import Warehouse


def n_offending(check: dg.AssetChecksDefinition, **tables: pl.DataFrame) -> int:
    """How many rows contradict a check, over tables given as `step__table=frame`."""
    named = {name.replace("__", ".", 1): frame for name, frame in tables.items()}
    with Warehouse(None) as warehouse:
        frames = {name: warehouse.materialise(frame, name.replace(".", "__")) for name, frame in named.items()}
        run = SimpleNamespace(warehouse=SimpleNamespace(read=frames.__getitem__))
        body = cast(Any, check.node_def).compute_fn.decorated_fn
        result: dg.AssetCheckResult = body(None, SimpleNamespace(run=lambda _: run))
    return int(cast(int, result.metadata["n_offending"].value))
