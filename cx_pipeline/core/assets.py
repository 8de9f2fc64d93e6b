"""Assets and checks: the two decorators that make a Dagster asset of a pure function and a Dagster check of a statement.

Belongs here: reading inputs, writing with audit, metadata for the UI, errors without personal data. All assets come out alike.
Does not belong here: what any table means.

    @table_asset(TABLES["attrition"], reads=("staging.orders",), plot=plots.attrition)
    def attrition(run: Run, orders: nw.LazyFrame) -> nw.LazyFrame:
        '''One row per period and segment: ...'''
        return pulse.attrition(orders, run.policy(PulsePolicy), run.as_of)
"""

import contextlib
import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg
import duckdb
import narwhals as nw
import polars as pl

from cx_pipeline.core.errors import ContractBrokenError, CxPipelineError, Problem
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.progress import Progress, report
from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Frame, Warehouse, Written, sanitised
from cx_pipeline.core.workspace import Workspace

CONTRACT_CHECK = "contract_holds"
# Assets with this tag train models in the training job, and in the nightly job only where there is no champion.
TRAINS_TAG = "trains_models"
OWNERS = ["team:customer-data"]
MAX_SAMPLE_KEYS = 10
PREVIEW_ROWS = 5

Plot = Callable[[nw.LazyFrame], "str | None"]
Notes = Callable[[nw.LazyFrame], str]


def asset_key(name: str) -> dg.AssetKey:
    """`step.table` -> the asset key `step/table`."""
    return dg.AssetKey(name.split("."))


def contract_check(table: Table) -> dg.AssetCheckSpec:
    """The generated blocking check of a table: its contract, audited by Great Expectations before the write is committed."""
    rules = "\n".join(f"- {rule.name}" for rule in table.rules) or "- columns and types only"
    return dg.AssetCheckSpec(
        CONTRACT_CHECK,
        asset=asset_key(table.full_name),
        blocking=True,
        description=f"Columns and types are the contract's, and over every row:\n{rules}",
    )


def table_asset(
    table: Table,
    *,
    reads: Sequence[str] = (),
    needs: Sequence[str] = (),
    plot: Plot | None = None,
    notes: Notes | None = None,
) -> Callable[[Callable[..., Frame]], dg.AssetsDefinition]:
    """Make an asset of a function that takes the run and one lazy frame per table read, and returns the table's rows.

    Args:
        table: the compiled contract of what is written.
        reads: full names of the tables whose frames are passed, in order.
        needs: full names of tables that must be there first but are not passed.
        plot: makes a small SVG of the written table, or None where there is nothing to show.
        notes: makes Markdown of the written table that says more than its first rows (a model card, a verdict).
    """

    def decorate(function: Callable[..., Frame]) -> dg.AssetsDefinition:
        @dg.asset(
            key=asset_key(table.full_name),
            description=inspect.getdoc(function),
            group_name=table.step,
            owners=OWNERS,
            kinds={"duckdb", "table"},
            deps=[asset_key(name) for name in (*reads, *needs)],
            check_specs=[contract_check(table)],
            metadata={"dagster/column_schema": table.dagster_schema(), "dagster/table_name": table.full_name},
        )
        def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
            run = workspace.run(context)
            yield from written_results(
                table,
                lambda: run.warehouse.write(table, function(run, *(run.warehouse.read(name) for name in reads))),
                run.warehouse,
                plot,
                notes,
            )

        return body

    return decorate


def tables_asset(
    name: str,
    tables: Sequence[Table],
    *,
    descriptions: Mapping[str, str],
    reads: Sequence[str] = (),
    needs: Sequence[str] = (),
    plots: Mapping[str, Plot] | None = None,
    notes: Mapping[str, Notes] | None = None,
    trains: bool = False,
) -> Callable[[Callable[..., Mapping[str, Frame]]], dg.AssetsDefinition]:
    """Make the assets of several tables of one step that are computed together; they become visible together.

    Args:
        name: of the operation, e.g. `identity__customers`.
        tables: the compiled contracts, in the order of writing.
        descriptions: table's own name -> what the UI says; the grain first.
        reads: full names of the tables whose frames are passed, in order.
        needs: full names of tables that must be there first but are not passed.
        plots: by the table's own name (see `table_asset`).
        notes: by the table's own name (see `table_asset`).
        trains: whether the training job runs it too (there `run.trains` is true).

    The function takes the run and one frame per table read, and returns a frame for each table by its own name.
    """

    def decorate(function: Callable[..., Mapping[str, Frame]]) -> dg.AssetsDefinition:
        @dg.multi_asset(
            name=name,
            specs=[
                dg.AssetSpec(
                    asset_key(table.full_name),
                    description=descriptions[table.name],
                    group_name=table.step,
                    owners=OWNERS,
                    kinds={"duckdb", "table"},
                    tags={TRAINS_TAG: ""} if trains else None,
                    deps=[asset_key(other) for other in (*reads, *needs)],
                    metadata={"dagster/column_schema": table.dagster_schema(), "dagster/table_name": table.full_name},
                )
                for table in tables
            ],
            check_specs=[contract_check(table) for table in tables],
            description=inspect.getdoc(function),
        )
        def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
            run = workspace.run(context)
            started = time.perf_counter()
            with failures_as_dagster(name):
                frames = function(run, *(run.warehouse.read(other) for other in reads))
                written, broken = _write_all(run.warehouse, tables, frames)
            seconds = time.perf_counter() - started
            # Where one contract is broken nothing has been written: only that table has something to say.
            for table in [broken[0]] if broken else tables:
                outcome = partial(_raise, broken[1]) if broken else partial(written.__getitem__, table.name)
                yield from written_results(
                    table,
                    outcome,
                    run.warehouse,
                    (plots or {}).get(table.name),
                    (notes or {}).get(table.name),
                    seconds_before=seconds,
                )
                seconds = 0.0

        return body

    return decorate


def _write_all(
    warehouse: Warehouse, tables: Sequence[Table], frames: Mapping[str, Frame]
) -> tuple[dict[str, Written], tuple[Table, ContractBrokenError] | None]:
    """Write all tables in one transaction; the table whose contract is broken, if any, and then none is written."""
    written: dict[str, Written] = {}
    table = tables[0]
    try:
        with warehouse.transaction():
            for table in tables:
                written[table.name] = warehouse.write(table, frames[table.name])
    except ContractBrokenError as error:
        return {}, (table, error)
    return written, None


def _raise(error: Exception) -> Written:
    raise error


def written_results(
    table: Table,
    write: Callable[[], Written],
    warehouse: Warehouse,
    plot: Plot | None = None,
    notes: Notes | None = None,
    *,
    seconds_before: float = 0.0,
) -> Iterator[Any]:
    """Write a table and yield what Dagster wants to hear: the contract's check, then the materialisation.

    A broken contract yields the failed check and no materialisation, because nothing has been written. `seconds_before` is
    time already spent on the table.
    """
    started = time.perf_counter() - seconds_before
    report(Progress("started", table.full_name))
    try:
        with failures_as_dagster(table.full_name):
            written = write()
    except ContractBrokenError as broken:
        report(Progress("failed", table.full_name, seconds=time.perf_counter() - started, message=str(broken)))
        yield dg.AssetCheckResult(
            passed=False,
            check_name=CONTRACT_CHECK,
            asset_key=asset_key(table.full_name),
            metadata={"problems": dg.MetadataValue.md("\n".join(f"- {problem}" for problem in broken.problems))},
        )
        raise dg.Failure(description=str(broken)) from None
    seconds = time.perf_counter() - started
    audit = written.audit
    yield dg.AssetCheckResult(
        passed=True,
        check_name=CONTRACT_CHECK,
        asset_key=asset_key(table.full_name),
        metadata={"n_rules": len(table.rules), "audit_seconds": round(audit.seconds, 3) if audit else 0.0},
    )
    report(Progress("written", table.full_name, written.n_rows, seconds))
    yield dg.MaterializeResult(
        asset_key=asset_key(table.full_name),
        metadata={
            "dagster/row_count": written.n_rows,
            "seconds": round(seconds, 3),
            "preview": dg.MetadataValue.md(preview(table, warehouse.read(table.full_name))),
            **plot_metadata(plot, warehouse.read(table.full_name)),
            **({"notes": dg.MetadataValue.md(notes(warehouse.read(table.full_name)))} if notes else {}),
        },
    )


def plot_metadata(plot: Plot | None, frame: nw.LazyFrame) -> dict[str, dg.MetadataValue]:
    """The plot of a table as inline SVG for the UI; nothing where there is nothing to draw."""
    svg = plot(frame) if plot else None
    if not svg:
        return {}
    from cx_pipeline.core.plots import data_uri

    return {"plot": dg.MetadataValue.md(f"![plot]({data_uri(svg)})")}


@contextlib.contextmanager
def failures_as_dagster(where: str) -> Iterator[None]:
    """Turn errors of a step into `dg.Failure` with our message; values that an engine or a library quotes are left out.

    `ContractBrokenError` passes through: the caller reports it as a check. A fault of the program keeps its stack, as metadata.
    """
    try:
        yield
    except (ContractBrokenError, dg.Failure):
        raise
    except CxPipelineError as error:
        report(Progress("failed", where, message=str(error)))
        raise dg.Failure(description=str(error), allow_retries=False) from None
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        message = str(Problem(f"the engine stopped with {type(error).__name__}: {sanitised(error)}", where))
        report(Progress("failed", where, message=message))
        raise dg.Failure(description=message, metadata=_stack(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, its message may quote a row
        message = str(
            Problem(f"a fault of the program: {type(error).__name__}", where, remedy="its stack is in the run's log")
        )
        report(Progress("failed", where, message=message))
        raise dg.Failure(description=message, metadata=_stack(error)) from None


def _stack(error: Exception) -> dict[str, dg.MetadataValue]:
    """Where an error came from: lines of source, which hold no data."""
    return {"stack": dg.MetadataValue.md(f"```\n{''.join(traceback.format_tb(error.__traceback__))}```")}


def table_check(
    name: str,
    *,
    reads: Sequence[str] = (),
    blocking: bool = True,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> Callable[[Callable[..., Frame]], dg.AssetChecksDefinition]:
    """Make a check of a function that returns the rows that contradict its name, a true statement.

    Args:
        name: full name of the table the check belongs to.
        reads: full names of the tables whose frames are passed, in order; default: the table itself.
        blocking: whether a broken check stops everything downstream.
        severity: how the UI marks a broken check.

    The function returns offending rows with keys first; at most 10 keys are shown, and no personal column may be returned.
    """
    inputs = tuple(reads) or (name,)

    def decorate(function: Callable[..., Frame]) -> dg.AssetChecksDefinition:
        check_name = function.__name__

        @dg.asset_check(
            name=check_name,
            asset=asset_key(name),
            additional_deps=[asset_key(other) for other in inputs if other != name],
            blocking=blocking,
            description=inspect.getdoc(function),
        )
        def body(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
            run = workspace.run(context)
            started = time.perf_counter()
            with failures_as_dagster(f"{name}: {check_name}"):
                takes_run = next(iter(inspect.signature(function).parameters), "") == "run"
                frames = [run.warehouse.read(other) for other in inputs]
                offending = to_polars(function(run, *frames) if takes_run else function(*frames))
            return check_result(name, check_name, offending, time.perf_counter() - started, severity)

        return body

    return decorate


def check_result(
    name: str,
    check_name: str,
    offending: pl.DataFrame,
    seconds: float,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """The result of a check from its offending rows: their number and the first keys."""
    is_kept = offending.height == 0
    event = "kept" if is_kept else "broken"
    sample = markdown_table(offending.head(MAX_SAMPLE_KEYS)) if not is_kept else ""
    report(Progress(event, f"{name}: {check_name}", offending.height, seconds, "" if is_kept else sample))  # type: ignore[arg-type]
    metadata: dict[str, Any] = {"n_offending": offending.height, "seconds": round(seconds, 3)}
    if not is_kept:
        metadata["first_keys"] = dg.MetadataValue.md(sample)
    return dg.AssetCheckResult(
        passed=is_kept, check_name=check_name, asset_key=asset_key(name), severity=severity, metadata=metadata,
        description=None if is_kept else f"{offending.height:,} rows contradict it",
    )  # fmt: skip


def preview(table: Table, frame: nw.LazyFrame) -> str:
    """The first rows as a Markdown table, personal values masked; a sentence for an empty table."""
    rows = to_polars(frame.head(PREVIEW_ROWS))
    if rows.is_empty():
        return "No rows: no channel delivers what this table is made of."
    masked = rows.with_columns(pl.lit("•••").alias(name) for name in rows.columns if name in table.personal_columns)
    return markdown_table(masked.select(rows.columns))


def markdown_table(rows: pl.DataFrame) -> str:
    """A small frame as a Markdown table."""

    def cell(value: object) -> str:
        text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        return text.replace("|", "\\|").replace("\n", " ")[:80]

    lines = ["| " + " | ".join(rows.columns) + " |", "|" + " --- |" * rows.width]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows.iter_rows()]
    return "\n".join(lines)
