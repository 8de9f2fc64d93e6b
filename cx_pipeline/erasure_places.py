"""The places that people are erased from: landing, labels and decisions, the warehouse's tables, published runs.

Belongs here: taking the rows of suppressed people out of one place, so that doing it again changes nothing. Does not belong here: the
order of the places and who is meant (`erasure.py`), looking for what is left (`erasure_proof.py`), which rows of a channel are suppressed
(`staging/suppression.py`), how a file is rewritten (`core/erasure.py`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core import erasure as files
from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.core.erasure import UnsafeRewriteError
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.settings import Environment, Settings, hash_key
from cx_pipeline.core.suppressions import TABLE, Suppressions, Traces
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.staging import canonical, suppression
from cx_pipeline.staging.intake import channel_tables, extract_format
from cx_pipeline.staging.landing import list_files
from cx_pipeline.staging.policy import StagingPolicy

ERASURES = "identity.erasures"
LEDGER = "identity.ledger"
ERASED_EVIDENCE = '{"reason": "erased"}'
QUARANTINE = "quarantine"
# Facts about erasures themselves; the ledger keeps its events and loses its evidence.
KEPT_TABLES = (TABLE, ERASURES, LEDGER)


@dataclass
class Erasure:
    """How far an erasure has come.

    Attributes:
        customers: ids of the customers being erased now.
        counts: what was done, in the order in which it was: words -> number.
        notes: what the user has to know or to do.
        values: the people's own values, which nobody else has; empty where an earlier call had begun.
    """

    customers: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    values: tuple[str, ...] = field(default=(), repr=False)

    def add(self, words: str, n: int) -> None:
        """Count something."""
        self.counts[words] = self.counts.get(words, 0) + n


@dataclass(frozen=True)
class Site:
    """The data directory while it is worked on."""

    environment: Environment
    settings: Settings
    channels: Sequence[Channel]
    warehouse: Warehouse
    key: str = field(repr=False)

    @property
    def policy(self) -> StagingPolicy:
        """Policy of staging."""
        return self.settings.policy(StagingPolicy)

    @property
    def root(self) -> Path:
        """The data directory."""
        return self.environment.data.root

    def suppressions(self) -> Suppressions:
        """What is suppressed now."""
        return suppression.load_suppressions(self.warehouse, self.key)

    def table(self, name: str) -> pl.DataFrame:
        """A table in memory; no rows and no columns where there is none."""
        return to_polars(self.warehouse.read(name)) if self.warehouse.has(name) else pl.DataFrame()


def site_of(environment: Environment, settings: Settings, channels: Sequence[Channel], warehouse: Warehouse) -> Site:
    """A data directory whose warehouse is open."""
    return Site(environment, settings, channels, warehouse, hash_key(environment))


def open_warehouse(environment: Environment) -> Warehouse:
    """The warehouse of a data directory; nobody else can open it meanwhile."""
    return Warehouse(environment.data.warehouse, memory_limit=environment.memory_limit, threads=environment.threads)


# -- landing, labels, decisions ------------------------------------------------------------------------------------------------------


def clean_landing(site: Site, suppressions: Suppressions, erasure: Erasure) -> None:
    """Rewrite every landing file without suppressed rows; put out of reach what cannot be rewritten."""
    manifest = site.warehouse.read_or_empty(load_step("staging")["load_manifest"])
    for channel in site.channels:
        folder = site.environment.data.landing / channel.name
        for leftover in folder.rglob(".*.erasing") if folder.is_dir() else []:
            leftover.unlink()
        fmt = extract_format(channel, site.settings.company.time_zone)
        found = suppression.landed_rows(
            site.warehouse,
            channel,
            channel_tables(channel),
            list_files(folder),
            to_polars(manifest.filter(nw.col("channel") == channel.name)),
            fmt,
            suppressions,
            site.policy,
        )
        for landed in list(found):
            path = landed.file.path
            where = f"landing/{channel.name}/{landed.file.name}"
            if landed.refusal:
                if _tells(site, path, suppressions, erasure.values):
                    _put_away(site, path, where, landed.refusal, erasure)
                continue
            try:
                erasure.add(
                    "rows out of landing",
                    files.remove_records(path, landed.starts, landed.suppressed, channel.encoding),
                )
                erasure.add("landing files rewritten", 1)
            except UnsafeRewriteError as error:
                _put_away(site, path, where, error.problems[0].what, erasure)


def _put_away(site: Site, path: Path, where: str, why: str, erasure: Erasure) -> None:
    target = files.put_out_of_reach(path, site.root / QUARANTINE, where)
    erasure.add("landing files in quarantine", 1)
    place = target.relative_to(site.root)
    erasure.notes.append(
        f"{where}: {why}. It holds rows of an erased person and lies in {place} now: delete it, or deliver it anew without them"
    )


def _tells(site: Site, path: Path, suppressions: Suppressions, values: Sequence[str]) -> bool:
    """Whether a value or a suppressed identifier stands in a file that cannot be read as an extract."""
    if not path.is_file():
        return False
    return bool(files.n_values_in(path, files.spellings(values))) or any(
        suppressed_words(site.warehouse, words, suppressions) for words in files.tokens_of(path)
    )


def suppressed_words(warehouse: Warehouse, words: Iterable[str], suppressions: Suppressions) -> int:
    """How many of some words are suppressed identifiers."""
    frame = warehouse.frame(pl.DataFrame({"word": sorted(words)}, schema={"word": pl.String}))
    return sum(
        len(
            suppressions.found(
                frame.select(canonical.normalised_identifier(nw.col("word"), namespace).alias("value")),
                "identifier",
                namespace,
            )
        )
        for namespace in suppressions.scopes("identifier")
    )


def clean_decisions(site: Site, suppressions: Suppressions, erasure: Erasure) -> None:
    """Take pairs with an erased person's records out of labels, decisions and the reviewers' queue."""
    traces = Traces(suppressions)
    data = site.environment.data
    folders = (data.labels, data.decisions, data.outbound)
    for path in (path for folder in folders for path in sorted(folder.glob("*.csv"))):
        starts, rows = _csv_records(path)
        if not rows or not {"left_channel", "left_record_id", "right_channel", "right_record_id"} <= rows[0].keys():
            continue
        frame = site.warehouse.frame(
            pl.DataFrame({"__row": starts, **{name: [row.get(name) for row in rows] for name in rows[0]}})
        )
        condition = traces.rows_about_them(frame)
        if condition is not None:
            dropped = to_polars(frame.filter(condition).select("__row"))["__row"].to_list()
            erasure.add(
                "pairs out of labels, decisions and the review queue", files.remove_records(path, starts, dropped)
            )


def _csv_records(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """First lines and fields of a CSV's records, the header's names as keys."""
    text = path.read_bytes().decode("utf-8-sig", "replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    starts: list[int] = []
    rows: list[dict[str, Any]] = []
    names = reader.fieldnames or []
    before = reader.line_num
    for row in reader:
        starts.append(before + 1)
        before = reader.line_num
        rows.append({name: row.get(name) for name in names})
    return starts, rows


# -- tables ----------------------------------------------------------------------------------------------------------------------------


def clean_tables(site: Site, suppressions: Suppressions, erasure: Erasure) -> None:
    """Take every row about erased people out of every table of the warehouse, in one transaction."""
    warehouse = site.warehouse
    tables = {channel.name: channel_tables(channel) for channel in site.channels}
    with warehouse.transaction():
        standing = [(channel, warehouse.read_or_empty(tables[channel.name].rows)) for channel in site.channels]
        traces = _traces(
            site, suppressions, standing, lambda name: warehouse.read(name) if warehouse.has(name) else None
        )
        manifest = load_step("staging")["load_manifest"]
        n = sum(
            suppression.purge(warehouse, c, tables[c.name], manifest, suppressions, site.policy) for c in site.channels
        )
        own = {table.full_name for one in tables.values() for table in (one.rows, one.rejected, one.superseded)}
        for name in warehouse.names():
            if name not in own and name not in KEPT_TABLES:
                n += _clean_table(warehouse, name, traces)
        _clean_ledger(site, traces)
    erasure.add("rows out of the warehouse", n)


def _traces(
    site: Site,
    suppressions: Suppressions,
    standing: Iterable[tuple[Channel, nw.LazyFrame]],
    read: Callable[[str], nw.LazyFrame | None],
) -> Traces:
    """By what erased people are known in the tables of one night: their records and the ids they had then.

    Args:
        site: the data directory.
        suppressions: what is suppressed.
        standing: channels with their rows of that night.
        read: a table of that night, None where there was none.
    """
    place = nw.concat_str([nw.col("source_file"), nw.col("source_line").cast(nw.String)], separator=":")
    records: dict[str, list[str]] = {}
    for channel, rows in standing:
        condition = suppression.suppressed_rows(rows, channel, suppressions, site.policy)
        if condition is not None:
            record_id = suppression.record_id(channel)
            own_id = nw.coalesce(record_id, place) if record_id is not None else place
            records[channel.name] = (
                to_polars(rows.filter(condition).select(own_id.alias("id")))["id"].unique().to_list()
            )
    erased = site.table(ERASURES)
    customers = set(erased["customer_id"]) if erased.width else set()
    # Without customers: only records and identifiers say whose ids these were.
    by_evidence = Traces(suppressions, (), records)
    xref = read("identity.customer_xref")
    if xref is not None and (condition := by_evidence.rows_about_them(xref)) is not None:
        customers |= set(to_polars(xref.filter(condition).select("customer_id"))["customer_id"])
    known = read("identity.identifier_xref")
    if xref is not None and known is not None and (condition := by_evidence.rows_about_them(known)) is not None:
        led_to = to_polars(known.filter(condition).select("customer_id").unique())
        with_records = to_polars(
            xref.filter(nw.col("customer_id").is_in(led_to["customer_id"].to_list())).select("customer_id")
        )
        customers |= set(led_to["customer_id"]) - set(with_records["customer_id"])
    return Traces(suppressions, frozenset(customers), records)


def _clean_table(warehouse: Warehouse, name: str, traces: Traces) -> int:
    frame = warehouse.read(name)
    condition = traces.rows_about_them(frame)
    if condition is None:
        return 0
    before = warehouse.n_rows(name)
    n = n_rows(frame.filter(condition))
    if n:
        warehouse.keep_rows(name, frame.filter(~condition))
    return before - warehouse.n_rows(name)


def n_rows(frame: nw.LazyFrame) -> int:
    """Number of rows."""
    return int(to_polars(frame.select(nw.len().alias("n")))["n"][0])


def _clean_ledger(site: Site, traces: Traces) -> None:
    """The ledger keeps that customers came and went, and says of the erased ones no more than that they were."""
    if not site.warehouse.has(LEDGER):
        return
    ledger = site.table(LEDGER)
    if not set(ledger.columns) >= {"entry", "at", "as_of", "event", "customer_id", "evidence"}:
        return
    condition = traces.rows_about_them(nw.from_native(ledger.lazy()))
    if condition is not None:
        evidence = nw.when(condition).then(nw.lit(ERASED_EVIDENCE)).otherwise(nw.col("evidence")).alias("evidence")
        ledger = nw.from_native(ledger).with_columns(evidence).to_native()
    erased = site.table(ERASURES)
    last = ledger.sort("entry").unique("customer_id", keep="last").filter(pl.col("event") == "retired")["customer_id"]
    open_ones = erased.filter(
        pl.col("customer_id").is_in(ledger["customer_id"].implode()), ~pl.col("customer_id").is_in(last.implode())
    )
    as_of = site.table("staging.clock")["as_of"][0]
    retired = open_ones.sort("customer_id").select(
        (pl.int_range(1, pl.len() + 1) + (ledger["entry"].max() or 0)).alias("entry"),
        pl.col("requested_at").alias("at"),
        pl.lit(as_of, pl.Date).alias("as_of"),
        pl.lit("retired").alias("event"),
        "customer_id",
        pl.lit(ERASED_EVIDENCE).alias("evidence"),
    )
    whole = pl.concat([ledger, retired.cast({name: ledger.schema[name] for name in retired.columns})], how="diagonal")
    site.warehouse.keep_rows(LEDGER, whole.sort("entry"))


# -- published runs ---


def published_runs(published: Path) -> list[Path]:
    """Folders of all published runs (or reports), the oldest first."""
    found = published.iterdir() if published.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def clean_published(site: Site, folder: Path, suppressions: Suppressions, erasure: Erasure) -> None:
    """Rewrite the files of a published run that hold rows about erased people, each by one atomic rename."""
    for leftover in folder.glob("*/.*.erasing"):
        leftover.unlink()
    by_table = {f"{path.parent.name}.{path.stem}": path for path in sorted(folder.glob("*/*.parquet"))}
    of_channels = {channel.table.full_name: channel for channel in site.channels}
    standing: list[tuple[Channel, nw.LazyFrame]] = []
    rewritten: dict[str, int] = {}
    for name, channel in of_channels.items():
        if name in by_table:
            rows = site.warehouse.parquet(by_table[name])
            names = set(rows.collect_schema().names())
            if {column.name for column in channel.table.columns} <= names:
                standing.append((channel, rows))
            else:
                # Published under another contract: its columns cannot be understood any more.
                by_table.pop(name).unlink()
                erasure.add("old published tables removed", 1)
    traces = _traces(
        site, suppressions, standing, lambda name: site.warehouse.parquet(by_table[name]) if name in by_table else None
    )
    for channel, rows in standing:
        condition = suppression.suppressed_rows(rows, channel, suppressions, site.policy)
        if condition is not None:
            _rewrite(site.warehouse, by_table[channel.table.full_name], rows, condition, rewritten)
    for name, path in by_table.items():
        if name in of_channels or name in (TABLE, ERASURES):
            continue
        rows = site.warehouse.parquet(path)
        condition = traces.rows_about_them(rows)
        if condition is not None:
            _rewrite(site.warehouse, path, rows, condition, rewritten)
    listing = by_table.get("reporting.published_tables")
    if rewritten and listing:
        _correct_listing(listing, rewritten)
    erasure.add("published tables rewritten", len(rewritten))


def _rewrite(
    warehouse: Warehouse, path: Path, rows: nw.LazyFrame, condition: nw.Expr, rewritten: dict[str, int]
) -> None:
    if not n_rows(rows.filter(condition)):
        return
    new = path.with_name(f".{path.name}.erasing")
    is_ledger = path.stem == "ledger" and "evidence" in rows.collect_schema().names()
    redacted = (
        nw.when(condition).then(nw.lit(ERASED_EVIDENCE)).otherwise(nw.col("evidence")).alias("evidence")
        if is_ledger
        else None
    )
    kept = rows.with_columns(redacted) if redacted is not None else rows.filter(~condition)
    warehouse.write_parquet(kept, new)
    rewritten[f"{path.parent.name}.{path.stem}"] = n_rows(warehouse.parquet(new))
    files.flush(new)
    new.replace(path)


def _correct_listing(path: Path, n_rows: dict[str, int]) -> None:
    """The listing of a published run says how many rows its tables have."""
    listing = pl.read_parquet(path)
    name = pl.col("step") + "." + pl.col("table_name")
    counted = name.replace_strict(n_rows, default=pl.col("n_rows"), return_dtype=pl.Int64)
    new = path.with_name(f".{path.name}.erasing")
    listing.with_columns(counted.cast(listing.schema["n_rows"]).alias("n_rows")).write_parquet(new)
    files.flush(new)
    new.replace(path)
