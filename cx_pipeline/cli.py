"""The `cx` command: a convenience around the same Dagster job, not a second engine.

Belongs here: arguments, exit codes, what is printed. Does not belong here: anything a run does.
Exit codes: 0 done and all blocking checks passed; 1 a blocking check or a step failed; 2 wrong usage or configuration.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from cx_pipeline.core.errors import ConfigurationError, CxPipelineError, Problem
from cx_pipeline.core.progress import Progress, listening
from cx_pipeline.core.settings import Environment, Settings

if TYPE_CHECKING:
    from cx_pipeline.core.contract import BrokenChannel, Channel
    from cx_pipeline.profile.card import Card

app = typer.Typer(
    name="cx",
    help="Know your customers: from raw channel extracts to the customer master file and what stands on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_PLAIN_WIDTH = 10_000


def main() -> None:
    """Entry point of the `cx` script: our errors are printed and end with their exit code."""
    try:
        app()
    except CxPipelineError as error:
        _errors().print(f"error: {error}", style="red", markup=False)
        sys.exit(error.exit_code)


def _console() -> Console:
    """Standard output; not wrapped when it is no terminal."""
    return (
        Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH, no_color=True, soft_wrap=True)
    )


def _errors() -> Console:
    return Console(stderr=True, soft_wrap=True, no_color=not sys.stderr.isatty(), highlight=False)


@app.command()
def run(
    select: Annotated[
        str | None, typer.Option(help="Assets to materialise, in Dagster's selection syntax, e.g. 'group:profile'.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The date the results stand for; default: from the data."),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Read all landing files anew, forgetting what was staged.")
    ] = False,
) -> None:
    """The nightly job: from landing files to the published snapshot, in this process."""
    environment = Environment.read()
    console = _console()
    settings, channels = _preflight(environment)
    from cx_pipeline.core import instance as instances

    os.environ["DAGSTER_HOME"] = str(instances.dagster_home(environment.data))
    # Definitions read the data directory from the environment: an option of ours must not be read differently there.
    os.environ["CX_DATA_DIR"] = str(environment.data.root)
    import dagster as dg

    from cx_pipeline.automation import NIGHTLY
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.definitions import defs
    from cx_pipeline.reporting.policy import PublishingPolicy

    Warehouse(environment.data.warehouse).close()
    with dg.DagsterInstance.get() as instance:
        instances.fail_dead_runs(instance)
        shown = _Display(console)
        started = time.perf_counter()
        job = defs.resolve_job_def(NIGHTLY)
        selection = _selection(select, job)
        with listening(shown), shown:
            result = job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=selection,
                run_config={
                    "resources": {
                        "workspace": {
                            "config": {
                                "data_dir": str(environment.data.root),
                                "as_of": f"{as_of:%Y-%m-%d}" if as_of else "",
                                "full_refresh": full_refresh,
                            }
                        }
                    },
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                tags={"cx/started_by": "cx run"},
            )
        instances.prune_runs(instance, settings.policy(PublishingPolicy).n_kept_runs)
    failures = [
        (event.step_key or "", event.step_failure_data.error)
        for event in result.get_step_failure_events()
        if event.step_failure_data.error
    ]
    _summary(console, environment, result.success, shown, failures, time.perf_counter() - started, result.run_id)
    if not result.success:
        raise typer.Exit(1)


def _selection(select: str | None, job: Any) -> list[Any] | None:
    import dagster as dg

    if select is None:
        return None
    graph = job.asset_layer.asset_graph
    try:
        keys = dg.AssetSelection.from_string(select).resolve(graph)
    except Exception as error:
        raise ConfigurationError(
            Problem(
                f"the selection is not understood: {str(error).splitlines()[0]}",
                "--select",
                remedy="e.g. group:profile",
            )
        ) from None
    if not keys:
        raise ConfigurationError(
            Problem(
                f"the selection `{select}` finds no asset", "--select", remedy="`cx run` without it runs everything"
            )
        )
    return sorted(keys)


def _preflight(environment: Environment) -> tuple[Settings, list[Channel]]:
    """Everything that must hold before anything is written: settings, contracts, required columns.

    Raises:
        ConfigurationError: with everything that was found.
    """
    from cx_pipeline.core.contract import load_channels
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.core.workspace import all_policies
    from cx_pipeline.staging.intake import missing_required_columns

    data = environment.data
    settings = Settings.load(data.settings_file, all_policies())
    if not data.channels.is_dir():
        raise ConfigurationError(
            Problem(
                "there are no channels",
                f"{data.root.name}/channels",
                remedy="set CX_DATA_DIR, or add one contract per channel (docs/contracts.md)",
            )
        )
    channels, broken = load_channels(data.channels)
    _raise_broken(broken)
    with Warehouse(None) as scratch:
        missing = [
            problem
            for channel in channels
            for problem in missing_required_columns(
                scratch, channel, data.landing / channel.name, settings.company.time_zone
            )
        ]
    if missing:
        raise ConfigurationError(missing)
    return settings, channels


def _raise_broken(broken: Sequence[BrokenChannel]) -> None:
    if broken:
        raise ConfigurationError(
            [problem for channel in broken for problem in channel.error.problems],
            "Contracts cannot be used; nothing was written:",
        )


class _Display:
    """Shows progress events: one line per table and check; on a terminal also the step at work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Any = None
        self.written: dict[str, Progress] = {}
        self.broken: list[Progress] = []
        self.failed: list[Progress] = []
        self.n_checks = 0

    def __enter__(self) -> _Display:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.event == "started":
            if self._status:
                self._status.update(progress.name)
            return
        if progress.event == "written":
            self.written[progress.name] = progress
            self.n_checks += 1
            self._console.print(
                f"  {progress.name:<46} {progress.n_rows or 0:>12,} rows  {progress.seconds or 0:7.2f} s",
                highlight=False,
            )
        elif progress.event == "kept":
            self.n_checks += 1
        elif progress.event == "broken":
            self.broken.append(progress)
            self._console.print(
                f"  {progress.name}: does not hold ({progress.n_rows:,} rows)",
                style="red",
                markup=False,
                highlight=False,
            )
        else:
            self.failed.append(progress)
            self._console.print(f"  {progress.name}: failed", style="red", markup=False, highlight=False)


def _summary(
    console: Console,
    environment: Environment,
    succeeded: bool,
    shown: _Display,
    failures: Sequence[tuple[str, Any]],
    seconds: float,
    run_id: str,
) -> None:
    from cx_pipeline.reporting.snapshot import current_run

    data = environment.data

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False)

    n_rows = sum(progress.n_rows or 0 for progress in shown.written.values())
    work = sum(progress.seconds or 0 for progress in shown.written.values())
    say("")
    say(
        f"{len(shown.written)} tables with {n_rows:,} rows, {shown.n_checks} checks kept, in {seconds:.1f} s ({work:.1f} s of it in tables)"
    )
    for progress in shown.broken:
        say(f"does not hold: {progress.name}\n{progress.message}", "red")
    for progress in shown.failed:
        say(f"failed: {progress.name}\n{progress.message}", "red")
    if not succeeded and not shown.broken and not shown.failed:
        for step, error in failures:
            say(
                f"failed: {step}: {error.message.strip().splitlines()[0] if error.message.strip() else error.cls_name}",
                "red",
            )
    published = current_run(data.published)
    if succeeded:
        say(f"done. Run {run_id}", "green")
    else:
        say(
            f"stopped: run {run_id} did not publish; {'the snapshot of the last good night stays' if published else 'no snapshot has been published yet'}",
            "red",
        )
    if published:
        say(f"tables:     {data.published / 'current'}  (run {published.name})")
    say(f"warehouse:  {data.warehouse}")
    say("UI:         make dev, then http://localhost:3000")


@app.command()
def validate() -> None:
    """Check contracts, settings and a sample of every landing file; change nothing."""
    from cx_pipeline.core.contract import load_channels
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.core.workspace import all_policies
    from cx_pipeline.staging.sampling import sample_channel

    environment = Environment.read()
    data = environment.data
    console = _console()
    problems: list[Problem] = []
    settings = Settings()
    try:
        settings = Settings.load(data.settings_file, all_policies())
    except ConfigurationError as error:
        problems += error.problems
    channels, broken = load_channels(data.channels)
    problems += [problem for channel in broken for problem in channel.error.problems]
    if not channels and not broken:
        problems.append(
            Problem(
                "there are no channels",
                f"{data.root.name}/channels",
                remedy="set CX_DATA_DIR, or add one contract per channel",
            )
        )
    n_files = n_suspicious = 0
    with Warehouse(None) as scratch:
        from cx_pipeline.staging.intake import missing_required_columns

        for channel in channels:
            folder = data.landing / channel.name
            problems += missing_required_columns(scratch, channel, folder, settings.company.time_zone)
            for sample in sample_channel(scratch, channel, folder, settings.company.time_zone):
                n_files += 1
                notes = []
                if sample.refusal:
                    notes.append(f"refused: {sample.refusal}")
                if sample.n_rejected:
                    rules = ", ".join(f"{rule} ({n})" for rule, n in sample.broken_rules[:3])
                    notes.append(f"{sample.n_rejected} of the first {sample.n_rows} rows break the contract: {rules}")
                if sample.columns_missing:
                    notes.append(f"columns missing: {', '.join(sample.columns_missing)}")
                if sample.columns_extra:
                    notes.append(f"columns not in the contract: {', '.join(sample.columns_extra)}")
                n_suspicious += bool(notes)
                for note in notes:
                    console.print(f"landing/{channel.name}/{sample.file}: {note}", markup=False, highlight=False)
    unknown = (
        sorted(
            p.name
            for p in data.landing.iterdir()
            if p.is_dir() and p.name not in {c.name for c in channels} | {b.name for b in broken}
        )
        if data.landing.is_dir()
        else []
    )
    for name in unknown:
        console.print(
            f"landing/{name}: no contract channels/{name}.yaml, its files are not read", markup=False, highlight=False
        )
    if problems:
        raise ConfigurationError(problems, "Not usable as it is:")
    console.print(
        f"{len(channels)} contracts and the settings are good; {n_files} files looked at, {n_suspicious} with something to see",
        highlight=False,
    )


@app.command()
def show(customer: Annotated[str, typer.Argument(help="A customer_id, or the beginning of one.")]) -> None:
    """One customer: golden record, where each value came from, petals, timeline."""
    from cx_pipeline.profile.card import customer_card, find_customer
    from cx_pipeline.reporting.snapshot import current_run

    published = current_run(Environment.read().data.published)
    if published is None:
        raise ConfigurationError(Problem("no snapshot has been published yet", "published", remedy="`cx run` first"))
    found = find_customer(published, customer)
    if len(found) != 1:
        what = f"{len(found)} customers begin with `{customer}`" if found else f"there is no customer `{customer}`"
        raise ConfigurationError(
            Problem(what, "profile.customers", example=", ".join(found), remedy="give the whole customer_id")
        )
    _print_card(_console(), customer_card(published, found[0]), published)


def _print_card(console: Console, card: Card, published: Path) -> None:
    console.print(f"customer {card.customer_id}  (run {published.name})", style="bold", highlight=False)
    for name, value in card.facts.items():
        if value is not None:
            console.print(f"  {name}: {value}", markup=False, highlight=False)
    grid = Grid("attribute", "value", "from", "decided by", "others say", title="golden record", title_justify="left")
    for attribute, (value, channel, record_id, rule) in sorted(card.golden.items()):
        others = "; ".join(f"{v} ({c})" for v, c in card.others.get(attribute, [])[:3])
        grid.add_row(attribute, value, f"{channel} {record_id}", rule, others)
    sections: list[tuple[str, Any, Callable[[Any], str]]] = [
        ("records", card.records, str),
        ("identifiers", card.identifiers, str),
        (f"timeline: the last {card.events.height} of {card.n_events} events", card.events, str),
    ]
    if card.golden:
        console.print(grid)
    for title, frame, text in sections:
        if frame.is_empty():
            continue
        rows = Grid(*frame.columns, title=title, title_justify="left")
        for row in frame.iter_rows():
            rows.add_row(*("" if value is None else text(value) for value in row))
        console.print(rows)


@app.command()
def home() -> None:
    """Print DAGSTER_HOME of the data directory, made and seeded with the project's settings where it is new."""
    from cx_pipeline.core.instance import dagster_home

    typer.echo(dagster_home(Environment.read().data))


@app.command()
def docs(
    check: Annotated[bool, typer.Option("--check", help="Only say whether docs/tables.md is up to date.")] = False,
) -> None:
    """Write docs/tables.md, the data dictionary, from the contracts."""
    from cx_pipeline.core.contract import load_step
    from cx_pipeline.core.docs import tables_markdown
    from cx_pipeline.core.steps import STEPS

    path = Path("docs/tables.md")
    text = tables_markdown([table for step in STEPS for table in load_step(step).values()])
    if check:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            raise CxPipelineError(Problem("the data dictionary is not up to date", str(path), remedy="make docs"))
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {path}")


logging.getLogger("dagster").setLevel(logging.CRITICAL)

if __name__ == "__main__":
    main()
