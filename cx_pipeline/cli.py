"""The `cx` command: a convenience around the same Dagster job, not a second engine.

Belongs here: arguments, exit codes, what is printed. Does not belong here: anything a run does.
Exit codes: 0 done and all blocking checks passed; 1 a blocking check or a step failed; 2 wrong usage or configuration.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table as Grid

from cx_pipeline.core.errors import ConfigurationError, CxPipelineError, Problem
from cx_pipeline.core.progress import Progress, listening
from cx_pipeline.core.settings import DataDirectory, Environment, Settings, hash_key

if TYPE_CHECKING:
    import polars as pl

    from cx_pipeline.channels.proposal import Proposal
    from cx_pipeline.core.contract import BrokenChannel, Channel
    from cx_pipeline.erasure_proof import Proof
    from cx_pipeline.identity.explain import CustomerStory, PairStory
    from cx_pipeline.profile.card import Card
    from cx_pipeline.staging.sampling import FileSample

_PLAIN_WIDTH = 10_000
_MAX_EVIDENCE = 20
_INTERRUPTIONS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")

app = typer.Typer(
    name="cx",
    help="Know your customers: from raw channel extracts to the customer master file and what stands on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Boxes are drawn to a width and so wrapped: only where somebody looks at them.
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={} if sys.stdout.isatty() else {"terminal_width": _PLAIN_WIDTH},
)

review = typer.Typer(help="The clerical queue: pairs of records for a person to decide on.", no_args_is_help=True)
app.add_typer(review, name="review")


def main() -> None:
    """Entry point of the `cx` script: every error is one message and an exit code, never a traceback."""
    if not sys.warnoptions:
        # What libraries have to say to programmers; `python -W default -m cx_pipeline.cli` shows it.
        warnings.simplefilter("ignore")
    try:
        app(prog_name="cx")
    except CxPipelineError as error:
        _errors().print(f"error: {error}", style="red", markup=False)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last line of defence; a message may quote a row, a place cannot
        _errors().print(f"error: {_place_of(error)}", style="red", markup=False)
        sys.exit(CxPipelineError.exit_code)


def _place_of(error: BaseException) -> str:
    """Type of an unexpected error and the line of ours that it came through."""
    trace, place = error.__traceback__, ""
    while trace:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "cx_pipeline" in file.parts:
            place = f" in {'/'.join(file.parts[-2:])}, line {trace.tb_lineno} ({trace.tb_frame.f_code.co_name})"
        trace = trace.tb_next
    system = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{system}{place}. A fault of the program: please report it with this line."


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
        str | None,
        typer.Option(
            metavar="SELECTION", help="Assets to materialise, in Dagster's selection syntax, e.g. 'group:profile'."
        ),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="The date the results stand for; default: from the data.")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Read all landing files anew, forgetting what was staged.")
    ] = False,
) -> None:
    """The nightly job: from landing files to the published snapshot, in this process."""
    began = time.perf_counter()
    environment = Environment.read()
    _check_date(as_of)
    settings, channels = _preflight(environment)
    # Definitions read the data directory from the environment: an option of ours must not be read differently there.
    os.environ["CX_DATA_DIR"] = str(environment.data.root)
    from cx_pipeline.automation import NIGHTLY
    from cx_pipeline.definitions import defs

    job = defs.resolve_job_def(NIGHTLY)
    selection = _selection(select, job)
    config = _run_config(environment.data, as_of, full_refresh)
    for note in _landing_notes(environment.data, [channel.name for channel in channels]):
        _console().print(note, style="yellow", markup=False, highlight=False)
    _execute(environment, settings, _Execution(job, selection, config, "cx run", select), began)


@app.command()
def train(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Train only the rooms that hold these models.")
    ] = None,
) -> None:
    """The training job: a challenger of every model on the tables of the last night; a better one becomes champion."""
    began = time.perf_counter()
    environment = Environment.read()
    settings, _ = _preflight(environment)
    if not environment.data.warehouse.is_file():
        raise ConfigurationError(Problem("no night has run yet", "warehouse", remedy="`cx run` first, it trains too"))
    os.environ["CX_DATA_DIR"] = str(environment.data.root)
    from cx_pipeline.core.workspace import TRAINING_JOB
    from cx_pipeline.definitions import defs, rooms_of_models

    job = defs.resolve_job_def(TRAINING_JOB)
    selection = _training_selection(models or [], rooms_of_models(), job)
    config = _run_config(environment.data, None, False)
    _execute(environment, settings, _Execution(job, selection, config, "cx train", " ".join(models or [])), began)


def _training_selection(models: Sequence[str], rooms: dict[str, str], job: Any) -> list[Any] | None:
    """Keys of the assets that train the given models; None for all.

    Raises:
        ConfigurationError: naming every model that there is not.
    """
    from cx_pipeline.core.contract import nearest

    unknown = [name for name in models if name not in rooms]
    if unknown:
        raise ConfigurationError(
            [Problem(f"there is no model `{name}`", "cx train", remedy=nearest(name, list(rooms))) for name in unknown]
        )
    wanted = {rooms[name] for name in models}
    keys = [key for key in job.asset_layer.asset_graph.materializable_asset_keys if key.path[0] in wanted]
    return sorted(keys) if models else None


@dataclass(frozen=True)
class _Execution:
    """What is to be executed: a job, the selected keys (None: all), its configuration; who started it, and the words of the selection."""

    job: Any
    selection: list[Any] | None
    config: dict[str, Any]
    started_by: str
    select: str | None


def _execute(environment: Environment, settings: Settings, execution: _Execution, began: float) -> None:
    """Execute a job in this process, show its progress and how it ended; exit code 1 where it failed."""
    import dagster as dg

    from cx_pipeline.core import instance as instances
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.reporting.policy import PublishingPolicy

    # Nothing has been written up to here: what is wrong from now on has exit code 1.
    Warehouse(environment.data.warehouse).close()
    os.environ["DAGSTER_HOME"] = str(instances.dagster_home(environment.data))
    # Loaded here and not by the first table that is checked, which would look slow.
    importlib.import_module("great_expectations")
    console = _console()
    shown = _Display(console, _statements(execution.job))
    with instances.quick_event_log(), dg.DagsterInstance.get() as instance:
        instances.fail_dead_runs(instance)
        seconds_loading = time.perf_counter() - began
        with listening(shown), shown:
            result = execution.job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=execution.selection,
                run_config=execution.config,
                tags={"cx/started_by": execution.started_by},
            )
        instances.prune_runs(instance, settings.policy(PublishingPolicy).n_kept_runs)
    seconds = time.perf_counter() - began
    _summary(
        console,
        environment.data,
        shown,
        _Outcome(result.success, result.run_id, _failures(result), seconds, seconds_loading, execution.select),
    )
    if not result.success:
        raise typer.Exit(1)


def _check_date(text: str | None) -> None:
    if text is None:
        return
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(Problem(f"`{text}` is no date", "--as-of", remedy="write it as 2026-01-31")) from None


def _run_config(data: DataDirectory, as_of: str | None, full_refresh: bool) -> dict[str, Any]:
    workspace = {"data_dir": str(data.root), "as_of": as_of or "", "full_refresh": full_refresh}
    return {
        "resources": {"workspace": {"config": workspace}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


@dataclass(frozen=True)
class _Outcome:
    """How a run ended: what `_summary` needs beyond the progress shown."""

    succeeded: bool
    run_id: str
    failures: list[str]
    seconds: float
    seconds_loading: float
    select: str | None


def _statements(job: Any) -> dict[str, tuple[bool, str]]:
    """`step.table: check` -> whether the check blocks, and what it states."""
    graph = job.asset_layer.asset_graph
    nodes = {key: graph.get(key) for key in graph.asset_check_keys}
    return {
        f"{'.'.join(key.asset_key.path)}: {key.name}": (bool(node.blocking), node.description or "")
        for key, node in nodes.items()
    }


def _failures(result: Any) -> list[str]:
    """One line for every step, or the run as a whole, that stopped: the innermost cause."""
    lines: list[str] = []
    for event in result.all_events:
        error = getattr(event.event_specific_data, "error", None)
        if error is None or not (event.is_step_failure or (event.is_run_failure and not lines)):
            continue
        while error.cause is not None:
            error = error.cause
        # `package.module.Class: message`: the message is ours for our errors and dagster's Failure, else it may quote a row.
        _, _, message = error.message.strip().partition(": ")
        is_ours = error.cls_name == "Failure" or error.cls_name in {c.__name__ for c in _all_errors(CxPipelineError)}
        if error.cls_name in _INTERRUPTIONS:
            return ["interrupted; the table at work is as it was before"]
        what = message if is_ours and message else f"{error.cls_name}{_last_line_of_ours(error.stack)}"
        lines.append(f"{event.step_key or 'the run'}: {what}")
    return lines


def _all_errors(root: type[CxPipelineError]) -> Iterable[type[CxPipelineError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _all_errors(kind)


def _last_line_of_ours(stack: Sequence[str]) -> str:
    places = [re.search(r'File ".*?(cx_pipeline/[^"]+)", line (\d+), in (\S+)', frame) for frame in stack]
    found = [place for place in places if place]
    return f" in {found[-1][1]}, line {found[-1][2]} ({found[-1][3]})" if found else ""


def _selection(select: str | None, job: Any) -> list[Any] | None:
    import dagster as dg

    if select is None:
        return None
    graph = job.asset_layer.asset_graph
    try:
        keys = dg.AssetSelection.from_string(select).resolve(graph)
    except dg.DagsterError as error:
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
    # Tables that one asset makes together are made together.
    return sorted({made for key in keys for made in graph.get(key).execution_set_asset_keys})


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
    channels, broken = load_channels(data.channels)
    if not channels and not broken:
        raise ConfigurationError(_no_channels(data))
    _raise_broken(broken)
    if data.hash_key_file.exists():
        hash_key(environment)
    with Warehouse(None, memory_limit=environment.memory_limit, threads=environment.threads) as scratch:
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


def _no_channels(data: DataDirectory) -> Problem:
    what = "there are no channels" if data.root.is_dir() else "there is no such data directory"
    return Problem(
        what, f"{data.root}/channels", remedy="set CX_DATA_DIR, or add one contract per channel (docs/contracts.md)"
    )


def _landing_notes(data: DataDirectory, channels: Sequence[str]) -> list[str]:
    """What a look at the landing folder's names shows: folders that no contract reads, channels that nothing has come for."""
    folders = sorted(path for path in data.landing.iterdir() if path.is_dir()) if data.landing.is_dir() else []
    filled = {path.name for path in folders if any(path.iterdir())}
    unread = [
        f"landing/{path.name}: no contract channels/{path.name}.yaml, its files are not read"
        for path in folders
        if path.name not in channels and not path.name.startswith((".", "_"))
    ]
    return unread + [f"landing/{name}: no files, the channel is empty" for name in channels if name not in filled]


def _raise_broken(broken: Sequence[BrokenChannel]) -> None:
    if broken:
        raise ConfigurationError(
            [problem for channel in broken for problem in channel.error.problems],
            "Contracts cannot be used; nothing was written:",
        )


class _Display:
    """Shows progress events: one line per table and check; on a terminal also the step at work."""

    def __init__(self, console: Console, statements: dict[str, tuple[bool, str]]) -> None:
        self._console = console
        self._statements = statements
        self._status: Any = None
        self.written: dict[str, Progress] = {}
        self.broken: list[Progress] = []
        self.suspicious: list[Progress] = []
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

    def statement(self, progress: Progress) -> str:
        """What a check states, in words."""
        return self._statements.get(progress.name, (True, ""))[1]

    def __call__(self, progress: Progress) -> None:
        if progress.event == "started":
            if self._status:
                self._status.update(progress.name)
            return
        if progress.event == "written":
            self.written[progress.name] = progress
            self.n_checks += 1
            self._say(f"  {progress.name:<46} {progress.n_rows or 0:>12,} rows  {progress.seconds or 0:7.2f} s")
        elif progress.event == "kept":
            self.n_checks += 1
        elif progress.event == "broken":
            is_blocking = self._statements.get(progress.name, (True, ""))[0]
            (self.broken if is_blocking else self.suspicious).append(progress)
            style = "red" if is_blocking else "yellow"
            self._say(f"  {progress.name}: does not hold ({progress.n_rows:,} offending)", style)
        else:
            self.failed.append(progress)
            self._say(f"  {progress.name}: failed", "red")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False)


def _summary(console: Console, data: DataDirectory, shown: _Display, outcome: _Outcome) -> None:
    from cx_pipeline.reporting.snapshot import current_run

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False)

    n_rows = sum(progress.n_rows or 0 for progress in shown.written.values())
    seconds_work = sum(progress.seconds or 0 for progress in shown.written.values())
    seconds_rest = max(outcome.seconds - outcome.seconds_loading - seconds_work, 0)
    say("")
    say(
        f"{len(shown.written)} tables with {n_rows:,} rows, {shown.n_checks} checks kept, in {outcome.seconds:.1f} s:"
        f" {outcome.seconds_loading:.1f} s to load, {seconds_work:.1f} s for tables and their contracts,"
        f" {seconds_rest:.1f} s for Dagster and other checks"
    )
    for name, progress in shown.written.items():
        if name.endswith("_rejected") and progress.n_rows:
            say(f"rejected:   {progress.n_rows:,} rows, see {name}", "yellow")
    for progress in shown.suspicious:
        say(f"look at:    {progress.name}: {shown.statement(progress)}\n{progress.message}", "yellow")
    for progress in shown.broken:
        say(f"does not hold: {progress.name}: {shown.statement(progress)}\n{progress.message}", "red")
    for progress in shown.failed:
        say(f"failed: {progress.name}\n{progress.message}", "red")
    said = "\n".join(progress.message for progress in (*shown.broken, *shown.failed))
    for failure in outcome.failures if not said else []:
        say(f"failed: {failure}", "red")
    published = current_run(data.published)
    if outcome.succeeded:
        say(f"done. Run {outcome.run_id}", "green")
    else:
        stays = "the snapshot of the last good night stays" if published else "no snapshot has been published yet"
        say(f"stopped: run {outcome.run_id} did not publish; {stays}", "red")
    if published:
        is_new = published.name.endswith(outcome.run_id[:8])
        note = "" if is_new or not outcome.succeeded else ", unchanged: publishing was not selected"
        say(f"tables:     {data.published / 'current'}  (run {published.name}{note})")
    report = current_run(data.reports)
    if report:
        say(f"report:     {data.reports / 'current' / 'index.html'}")
    say(f"warehouse:  {data.warehouse}")
    say("UI:         make dev, then http://localhost:3000")


@app.command()
def validate(
    propose: Annotated[
        bool,
        typer.Option("--propose", help="Also show how contracts would have to change to fit what lies in landing."),
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --propose: write the proposed contracts into this folder."),
    ] = None,
) -> None:
    """Check contracts, settings and a sample of every landing file; change nothing."""
    from cx_pipeline.core.contract import load_channels
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.core.workspace import all_policies
    from cx_pipeline.staging.intake import missing_required_columns
    from cx_pipeline.staging.landing import list_refusals
    from cx_pipeline.staging.sampling import FileSample, sample_channel

    if write and not propose:
        raise ConfigurationError(Problem("there is nothing to write", "--write", remedy="use it with --propose"))
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
        problems.append(_no_channels(data))
    n_files = n_suspicious = n_refused = 0
    with Warehouse(None) as scratch:
        for channel in channels:
            folder = data.landing / channel.name
            problems += missing_required_columns(scratch, channel, folder, settings.company.time_zone)
            samples = sample_channel(scratch, channel, folder, settings.company.time_zone)
            samples += [FileSample(channel.name, name, refusal=reason) for name, reason in list_refusals(folder)]
            for sample in samples:
                n_files += 1
                notes = _sample_notes(sample)
                n_refused += bool(sample.refusal)
                n_suspicious += bool(notes)
                for note in notes:
                    console.print(f"landing/{channel.name}/{sample.file}: {note}", markup=False, highlight=False)
    for note in _landing_notes(data, [*(c.name for c in channels), *(b.name for b in broken)]):
        console.print(note, markup=False, highlight=False)
    if propose:
        _print_proposals(console, _proposals(data, settings, channels, broken), write)
    if problems:
        raise ConfigurationError(problems, "Not usable as it is:")
    console.print(
        f"{len(channels)} contracts and the settings are good; {n_files} files looked at, {n_suspicious} with something to see",
        highlight=False,
    )
    if n_refused:
        raise CxPipelineError(
            Problem(
                "files cannot be read, so that a run would stop", "landing", n_refused, remedy="mend or remove them"
            )
        )


def _proposals(
    data: DataDirectory, settings: Settings, channels: Sequence[Channel], broken: Sequence[BrokenChannel]
) -> list[Proposal]:
    """Changes of contracts that drifted from what lies in landing, then drafts for folders without one."""
    from cx_pipeline.channels.policy import DriftPolicy
    from cx_pipeline.channels.proposal import draft, propose_changes
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.staging.landing import list_paths

    policy, zone = settings.policy(DriftPolicy), settings.company.time_zone
    names = {channel.name for channel in channels} | {channel.name for channel in broken}

    def files(name: str) -> dict[str, Path]:
        folder = data.landing / name
        return {path.relative_to(folder).as_posix(): path for path in list_paths(folder)}

    with Warehouse(None) as scratch:
        found = [
            propose_changes(
                scratch,
                channel,
                _contract_file(data, channel.name).read_text("utf-8"),
                files(channel.name),
                zone,
                policy,
            )
            for channel in channels
        ]
        new = [name for name in _folders(data) if name not in names and not name.startswith((".", "_")) and files(name)]
        drafts = [draft(scratch, name, files(name), zone, policy) for name in new]
    return [*(proposal for proposal in found if proposal), *drafts]


def _contract_file(data: DataDirectory, channel: str) -> Path:
    return next(path for suffix in (".yaml", ".yml") if (path := data.channels / f"{channel}{suffix}").exists())


def _folders(data: DataDirectory) -> list[str]:
    return sorted(path.name for path in data.landing.iterdir() if path.is_dir()) if data.landing.is_dir() else []


def _print_proposals(console: Console, proposals: Sequence[Proposal], folder: Path | None) -> None:
    """What was found, and the change as a diff; into a folder as whole contracts where one is given."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    if not proposals:
        say("every contract fits what lies in landing: nothing to propose")
    for proposal in proposals:
        for note in proposal.notes:
            say(f"{proposal.channel}: {note}")
        if proposal.problem:
            say(f"{proposal.channel}: no contract can be proposed: {proposal.problem}")
        elif not proposal.is_change:
            say(f"{proposal.channel}: nothing to change in the contract itself")
        elif folder is None:
            say(proposal.diff())
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{proposal.channel}.yaml"
            path.write_text(proposal.after, encoding="utf-8")
            say(f"{proposal.channel}: wrote {path}")


def _sample_notes(sample: FileSample) -> list[str]:
    """What there is to see in the first rows of a file, a sentence each."""
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
    return notes


@app.command()
def show(
    customer: Annotated[str, typer.Argument(help="A customer_id, old or new, or the beginning of a new one.")],
) -> None:
    """One customer: golden record, where each value came from, stage, segment, retention, value, scores, timeline."""
    from cx_pipeline.identity.lookup import current_id
    from cx_pipeline.profile.card import customer_card, find_customer
    from cx_pipeline.reporting.snapshot import current_run

    published = current_run(Environment.read().data.published)
    if published is None:
        raise ConfigurationError(Problem("no snapshot has been published yet", "published", remedy="`cx run` first"))
    found = find_customer(published, customer)
    if not found and (heir := current_id(published, customer)):
        _console().print(f"{customer} was absorbed: it stands for {heir} now", style="yellow", highlight=False)
        found = [heir]
    if len(found) != 1:
        what = f"several customers begin with `{customer}`" if found else f"there is no customer `{customer}`"
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
        *((title, frame, _number) for title, frame in card.conclusions.items()),
        ("records", card.records, str),
        ("identifiers", card.identifiers, str),
        (f"timeline: the last {card.events.height} of {card.n_events} events", card.events, str),
    ]
    if card.golden:
        console.print(grid)
    for title, frame, text in sections:
        if frame.is_empty():
            continue
        console.print(_grid(title, frame, text))


@app.command()
def explain(
    left: Annotated[
        str, typer.Argument(metavar="CUSTOMER|LEFT", help="A customer_id, or a record: channel:record_id.")
    ],
    right: Annotated[str | None, typer.Argument(metavar="[RIGHT]", help="Another customer or record.")] = None,
    chart: Annotated[
        Path | None, typer.Option("--chart", metavar="FILE", help="Draw the parts of the match weight, as SVG.")
    ] = None,
) -> None:
    """Why records are (not) one customer: the path of evidence and the match weight, without a value of a person."""
    from cx_pipeline.identity import explain as explaining
    from cx_pipeline.reporting.snapshot import current_run

    environment = Environment.read()
    published = current_run(environment.data.published)
    if published is None:
        raise ConfigurationError(Problem("no snapshot has been published yet", "published", remedy="`cx run` first"))
    if chart and not right:
        raise ConfigurationError(Problem("a chart is of two records", "--chart", remedy="give LEFT and RIGHT"))
    subject = explaining.find_subject(published, left)
    if right is None:
        _print_customer_story(_console(), explaining.customer_story(published, subject), published)
        return
    story = explaining.pair_story(published, subject, explaining.find_subject(published, right))
    _print_pair_story(_console(), story, published)
    if story.pair:
        _print_waterfall(_console(), environment, story.pair, chart)


def _print_customer_story(console: Console, story: CustomerStory, published: Path) -> None:
    from cx_pipeline.identity.explain import describe

    console.print(f"customer {story.customer_id}  (run {published.name})", style="bold", highlight=False)
    console.print(f"  {story.n_records} records, {story.n_identifiers} identifiers", highlight=False)
    for name, value in story.figures.items():
        if value is not None and name not in ("customer_id", "n_records"):
            console.print(f"  {name}: {_number(value)}", markup=False, highlight=False)
    console.print(
        f"held together by {len(story.path)} of {story.n_edges} pieces of evidence, the strongest there are:",
        highlight=False,
    )
    for row in story.path:
        console.print(f"  {describe(row)}", markup=False, highlight=False)
    for title, frame in (("records", story.records), ("refused evidence", story.refused), ("ledger", story.ledger)):
        if not frame.is_empty():
            console.print(_grid(title, frame, _number))


def _print_pair_story(console: Console, story: PairStory, published: Path) -> None:
    from cx_pipeline.identity.explain import describe

    def say(text: str, rows: Sequence[dict[str, Any]] = ()) -> None:
        for line in (text, *(f"  {describe(row)}" for row in rows[:_MAX_EVIDENCE])):
            console.print(line, markup=False, highlight=False)
        if len(rows) > _MAX_EVIDENCE:
            say(f"  and {len(rows) - _MAX_EVIDENCE} more")

    say(f"{story.left.name} and {story.right.name}  (run {published.name})")
    if story.is_one:
        say(f"are one customer, {story.left.customer_id}")
        if story.path:
            say(f"path of evidence, {len(story.path)} steps:", story.path)
        elif story.path is None:
            say("no path of strong evidence leads from one to the other: a weak identifier leads to the customer")
    else:
        say(f"are two customers, {story.left.customer_id} and {story.right.customer_id}")
    if story.parted:
        say("a reviewer has parted them:", story.parted)
    if story.refused:
        say("evidence between them that was refused:", story.refused)
    if not (story.is_one or story.parted or story.refused):
        say("no evidence between them: not compared, or far from a match")


def _print_waterfall(
    console: Console, environment: Environment, pair: tuple[tuple[str, str], tuple[str, str]], chart: Path | None
) -> None:
    from cx_pipeline.core.models import ModelStore
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.identity import waterfall
    from cx_pipeline.identity.policy import ResolutionPolicy

    settings, channels = _preflight(environment)
    if not environment.data.warehouse.is_file():
        raise ConfigurationError(
            Problem("there is no warehouse to compare records in", "warehouse", remedy="`cx run` first")
        )
    with Warehouse(
        environment.data.warehouse, memory_limit=environment.memory_limit, threads=environment.threads
    ) as warehouse:
        compared, model = waterfall.compare_again(
            pair, warehouse, ModelStore(environment.data.models), settings, channels, hash_key(environment)
        )
    steps = waterfall.waterfall(compared, model)
    names = " and ".join(f"{channel}:{record_id}" for channel, record_id in pair)
    console.print(f"match weight of {names}, in bits (log2 of the odds):", markup=False, highlight=False)
    for row in steps.to_dicts():
        console.print(f"  {row['bits']:>+8.2f}  {row['sum_bits']:>+8.2f}  {row['part']}", markup=False, highlight=False)
    needed = settings.policy(ResolutionPolicy).min_merge_log_odds / math.log(2)
    weight = steps["bits"][-1]
    verdict = "enough alone, at least" if weight >= needed else "too little alone, below"
    console.print(f"{weight:+.2f} is {verdict} {needed:+.2f}", highlight=False)
    if not compared.is_possible:
        console.print(
            "not scored at night: two kinds of party, or two records of a duplicate-free channel", highlight=False
        )
    if chart:
        chart.write_text(waterfall.chart(steps, names), encoding="utf-8")
        console.print(f"wrote {chart}", markup=False, highlight=False)


@review.command("export")
def review_export(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The CSV to write; default: outbound/review.csv of the data directory."),
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", min=1, help="At most so many pairs.")] = 200,
) -> None:
    """The pairs of records that are worth most to look at, values side by side. Personal data: only you may read the file."""
    from cx_pipeline.core.frames import to_polars
    from cx_pipeline.core.warehouse import Warehouse
    from cx_pipeline.identity.review import review_queue, with_values, write_private

    environment = Environment.read()
    if not environment.data.warehouse.is_file():
        raise ConfigurationError(Problem("no night has run yet", "warehouse", remedy="`cx run` first"))
    with Warehouse(
        environment.data.warehouse, memory_limit=environment.memory_limit, threads=environment.threads
    ) as warehouse:
        edges, rejected, xref, clusters = (
            to_polars(warehouse.read(f"identity.{name}"))
            for name in ("edges", "rejected_edges", "customer_xref", "clusters")
        )
        queue = with_values(
            review_queue(edges, rejected, xref, clusters, pairs), to_polars(warehouse.read("staging.parties"))
        )
    path = file or environment.data.outbound / "review.csv"
    write_private(queue, path)
    console = _console()
    console.print(f"wrote {queue.height} pairs to {path}", markup=False, highlight=False)
    console.print(
        "fill in decision (must_link, cannot_link), decided_by and decided_at, then `cx review import`; it holds personal"
        " data: delete it afterwards",
        style="yellow", markup=False, highlight=False,
    )  # fmt: skip


@review.command("import")
def review_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV that was exported, filled in.")],
) -> None:
    """Add a clerk's verdicts to decisions/decisions.csv; the next night carries them out. A second time nothing is added."""
    import polars as pl

    from cx_pipeline.identity.review import import_verdicts
    from cx_pipeline.reporting.snapshot import current_run

    data = Environment.read().data
    published = current_run(data.published)
    if published is None:
        raise ConfigurationError(Problem("no snapshot has been published yet", "published", remedy="`cx run` first"))
    xref = pl.read_parquet(published / "identity" / "customer_xref.parquet", columns=["channel", "record_id"])
    done = import_verdicts(file, data.decisions, xref)
    _console().print(
        f"{done.n_new} verdicts added, {done.n_known} were known, {done.n_open} pairs are open", highlight=False
    )


@app.command()
def erase(
    customer: Annotated[str | None, typer.Argument(help="The customer_id of the person to erase.")] = None,
    email: Annotated[str | None, typer.Option(help="Erase the one customer who has this e-mail address.")] = None,
    phone: Annotated[str | None, typer.Option(help="Erase the one customer who has this phone number.")] = None,
    requested: Annotated[
        bool, typer.Option("--requested", help="Erase everyone who asked for it (staging.privacy_requests).")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Prove that nothing of erased people is left; change nothing.")
    ] = False,
) -> None:
    """The right to erasure, now: out of landing, warehouse, snapshots, logs; what was begun is finished by calling it again."""
    from cx_pipeline import erasure, erasure_proof
    from cx_pipeline.core import instance as instances

    began = time.perf_counter()
    environment = Environment.read()
    wanted = erasure.Wanted(customer, email, phone, requested)
    if sum(map(bool, (customer, email, phone, requested, verify))) > 1:
        raise ConfigurationError(
            Problem("more than one way to say who is meant", "cx erase", remedy="give one of them")
        )
    settings, channels = _preflight(environment)
    os.environ["DAGSTER_HOME"] = home = str(instances.dagster_home(environment.data))
    zone = ZoneInfo(settings.company.time_zone)

    def now() -> datetime:
        return datetime.now(zone).replace(tzinfo=None)

    console = _console()
    if verify:
        _print_proof(console, erasure_proof.verify(environment, settings, channels, Path(home), now()))
        return
    begun = erasure.begin(environment, settings, channels, wanted, now())
    if not begun.customers:
        _print_counts(console, begun.counts, begun.notes or ["nothing to erase"])
        return
    # Whatever stops this from here on: the erasure is on record as begun, and calling `cx erase` again finishes it.
    os.environ["CX_DATA_DIR"] = str(environment.data.root)
    from cx_pipeline.automation import NIGHTLY
    from cx_pipeline.definitions import defs

    job = _Execution(defs.resolve_job_def(NIGHTLY), None, _run_config(environment.data, None, False), "cx erase", None)
    _execute(environment, settings, job, began)
    hits = erasure.finish(environment, settings, channels, begun, now(), Path(home), _forget_runs)
    _print_counts(console, begun.counts, begun.notes)
    if hits:
        raise CxPipelineError(
            [Problem("a value of an erased person is still there", hit.where, hit.n) for hit in hits],
            "Not done: take these away by hand, then call `cx erase` again.",
        )
    console.print(f"erased: {', '.join(begun.customers)}", style="green", highlight=False)


def _forget_runs() -> int:
    import dagster as dg

    from cx_pipeline.core.instance import forget_runs

    with dg.DagsterInstance.get() as instance:
        return forget_runs(instance)


def _print_counts(console: Console, counts: dict[str, int], notes: Sequence[str]) -> None:
    for words, n in counts.items():
        console.print(f"  {words:<46} {n:>12,}", markup=False, highlight=False)
    for note in notes:
        console.print(note, style="yellow", markup=False, highlight=False)


def _print_proof(console: Console, proof: Proof) -> None:
    """What the verification looked at and found; exit code 1 where something is left."""
    _print_counts(console, proof.counts, proof.notes)
    if proof.hits:
        raise CxPipelineError(
            [Problem("something of an erased person is left", hit.where, hit.n) for hit in proof.hits],
            "Not proven:",
        )
    console.print("proven: nothing of erased people is left", style="green", highlight=False)


@app.command()
def diff(
    run_a: Annotated[
        str, typer.Argument(metavar="RUN_A", help="A published run: its name, a unique part, or `current`.")
    ],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The run to compare it with.")],
) -> None:
    """What changed between two published runs: customers merged and split, segments, stages, scores, tables."""
    from cx_pipeline.reporting.diff import compare_runs

    before, after = (_published_run(text) for text in (run_a, run_b))
    found = compare_runs(before, after)
    console = _console()
    console.print(f"{before.name} -> {after.name}", style="bold", highlight=False)
    for title, frame, nothing in (
        ("customers", found.customers, ""),
        ("states of customers that both runs know", found.states, "no customer changed segment, stage or level"),
        ("scores of customers that both runs know", found.scores, "no scores in both runs"),
        ("tables with another number of rows", found.tables, "every table has as many rows as before"),
    ):
        if frame.is_empty():
            console.print(nothing, highlight=False)
        else:
            console.print(_grid(title, frame, _number))


def _published_run(text: str) -> Path:
    """The one published run that a text names.

    Raises:
        ConfigurationError: naming the runs there are.
    """
    from cx_pipeline.reporting.snapshot import find_run

    folder = Environment.read().data.published
    found = find_run(folder, text)
    if len(found) == 1:
        return found[0]
    runs = ", ".join(path.name for path in found or find_run(folder, ""))
    what = f"several published runs are called `{text}`" if found else f"there is no published run `{text}`"
    raise ConfigurationError(Problem(what, "published", example=runs, remedy="name one of the folders of published/"))


def _grid(title: str, frame: pl.DataFrame, text: Callable[[Any], str]) -> Grid:
    """A frame as a table to print."""
    grid = Grid(*frame.columns, title=title, title_justify="left")
    for row in frame.iter_rows():
        grid.add_row(*("" if value is None else text(value) for value in row))
    return grid


def _number(value: object) -> str:
    """A value for people: doubles with four digits that count."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"


@app.command()
def simulate(
    out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="A new folder, or one with a simulated company.")],
    customers: Annotated[int | None, typer.Option("--customers", metavar="N", help="Number of people; 2,000.")] = None,
    days: Annotated[int | None, typer.Option("--days", metavar="N", help="Length of the window; 548.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="S", help="The same seed, the same company; 7.")] = None,
    respond: Annotated[
        bool, typer.Option("--respond", help="Answer the contact plan of the last run, as extracts for the next one.")
    ] = False,
) -> None:
    """A company's extracts with known truth beside them; afterwards `CX_DATA_DIR=OUT_DIR cx run`."""
    if respond:
        _answer_plan(out_dir, [customers, days, seed])
        return
    from cx_pipeline.simulate.company import simulate as write_company

    n_rows = write_company(
        out_dir,
        2_000 if customers is None else customers,
        548 if days is None else days,
        7 if seed is None else seed,
    )
    console = _console()
    console.print(
        f"{sum(n_rows.values()):,} events in {len(n_rows)} channels, people and records in others", highlight=False
    )
    console.print(f"truth:      {out_dir / 'truth' / 'README.md'}", highlight=False)
    console.print(f"next:       CX_DATA_DIR={out_dir} cx run", highlight=False)


def _answer_plan(out_dir: Path, options: Sequence[int | None]) -> None:
    """Answers to the contact plan of the last run on a simulated company.

    Raises:
        ConfigurationError: options that say what the company is like: it exists already.
    """
    from cx_pipeline.simulate.respond import respond

    if any(option is not None for option in options):
        raise ConfigurationError(
            Problem(
                "--respond answers the plan of a company that exists: it takes no --customers, --days or --seed",
                "cx simulate",
                remedy="leave them out",
            )
        )
    answers = respond(out_dir)
    console = _console()
    console.print(
        f"{answers.n_traced:,} of {answers.n_planned:,} planned contacts traced to people: {answers.n_contacts:,} contacts,"
        f" {answers.n_responses:,} responses, {answers.n_orders:,} orders",
        highlight=False,
    )
    console.print(f"next:       CX_DATA_DIR={out_dir} cx run", highlight=False)


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


@app.command()
def bench(name: Annotated[str, typer.Argument(help="A file of benchmarks/, without .py.")]) -> None:
    """A benchmark of `benchmarks/`: ours and the peers in one run, as one table. Needs the source checkout."""
    import runpy

    from cx_pipeline.core.contract import nearest

    folder = Path(__file__).parents[1] / "benchmarks"
    names = sorted(path.stem for path in folder.glob("*.py"))
    if name not in names:
        raise ConfigurationError(Problem(f"there is no benchmark `{name}`", "benchmarks", remedy=nearest(name, names)))
    runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")


logging.getLogger("dagster").setLevel(logging.CRITICAL)

if __name__ == "__main__":
    main()
