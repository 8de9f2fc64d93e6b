"""Assets of the reporting room.

The scorecard is a table like others. Then everything is published, by an asset that depends on every table, so that no blocking check
can be passed by; and last the report page is written: a failed night leaves yesterday's snapshot and yesterday's page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.reporting import page, snapshot
from cx_pipeline.reporting import scorecard as figures
from cx_pipeline.reporting.policy import PublishingPolicy, ScorecardPolicy

TABLES = load_step("reporting")
# Tables made after all others are there: the listing of what is published, and the page.
LAST = ("published_tables", "report_pages")
PAGE = "index.html"


@table_asset(TABLES["scorecard"], reads=figures.SOURCES, needs=("staging.clock",))
def scorecard(run: Run, *tables: nw.LazyFrame) -> Frame:
    """One row per figure that everyone sees: customers, money, rates, value, coverage; with what it was before, or why it is not known."""
    sources = dict(zip(figures.SOURCES, tables, strict=True))
    return figures.scorecard(sources, run.policy(ScorecardPolicy), run.as_of)


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


@table_asset(
    TABLES["report_pages"],
    reads=("reporting.scorecard", *page.SOURCES),
    needs=("reporting.published_tables", "staging.clock"),
)
def report_pages(run: Run, scores: nw.LazyFrame, *tables: nw.LazyFrame) -> Frame:
    """One row per section of the report page, `reports/current/index.html`: charts and sums, without any customer's row.

    The page is one file that opens from disk and loads nothing from anywhere; it is switched like the snapshot.
    """
    parts = page.sections(dict(zip(page.SOURCES, tables, strict=True)))
    name = snapshot.run_name(run.started_at, run.run_id)
    text = page.render_page("Customers", run.as_of, name, run.settings.company.currency, to_polars(scores), parts)
    run.data.reports.mkdir(parents=True, exist_ok=True)
    snapshot.publish_folder(run.data.reports, name, lambda folder: _write(folder / PAGE, text))
    snapshot.remove_old(run.data.reports, run.policy(PublishingPolicy).n_kept_snapshots)
    rows = [
        (i, part.name, f"{name}/{PAGE}", part.chart is not None, part.rows.height, run.as_of)
        for i, part in enumerate(parts, 1)
    ]
    return pl.DataFrame(rows, schema=TABLES["report_pages"].polars_schema(), orient="row")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


ASSETS = (scorecard, report_pages)


def _public(table: Table) -> Table:
    """The table without the columns that stay in the warehouse."""
    return table.without(table.unpublished_columns)
