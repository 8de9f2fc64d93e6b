"""Assets of the reporting room. The last one publishes: it depends on every table, so that no blocking check can be passed by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import polars as pl

from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.reporting import snapshot
from cx_pipeline.reporting.policy import PublishingPolicy

TABLES = load_step("reporting")


def publishing_asset(tables: Sequence[Table], broken: Sequence[str]) -> dg.AssetsDefinition:
    """The asset that publishes the given tables (and itself) after all of them are there and their blocking checks passed.

    Args:
        tables: every table of every step.
        broken: full names of the assets that stand for channels with a broken contract: nothing is published beside them.
    """
    published = [table for table in tables if table.is_published]
    own = TABLES["published_tables"]

    @table_asset(own, needs=[*(table.full_name for table in tables), *broken])
    def published_tables(run: Run) -> Frame:
        """One row per table of the published snapshot: what analysts find under `published/current/`.

        All tables of a run appear together, after every blocking check has passed; a failed night leaves yesterday's in place.
        """
        rows = [
            (t.step, t.name, run.warehouse.n_rows(t.full_name), len(_public(t).columns), t.description)
            for t in published
        ]
        listing = pl.DataFrame(rows, schema=own.polars_schema(), orient="row")
        folder = run.data.published
        folder.mkdir(parents=True, exist_ok=True)

        def export(table: Table, path: Path) -> int:
            if table.full_name == own.full_name:
                listing.sort(own.primary_key).write_parquet(path)
                return listing.height
            return run.warehouse.export(_public(table), path)

        snapshot.publish(folder, snapshot.run_name(run.started_at, run.run_id), [*published, own], export)
        snapshot.remove_old(folder, run.policy(PublishingPolicy).n_kept_snapshots)
        return listing

    return published_tables


def _public(table: Table) -> Table:
    """The table without the columns that stay in the warehouse."""
    return table.without(table.unpublished_columns)
