"""Erasure of a person from a data directory, in an order that can be stopped anywhere and begun again.

Belongs here: the order of the steps across rooms, finding and suppressing who is meant. Does not belong here: what is somebody's own
(`identity/erasure.py`), how one place is cleaned (`erasure_places.py`), the proof (`erasure_proof.py`), what is printed (`cli.py`).

    begin    suppressions first; then landing, labels, decisions and every table of the warehouse
    (the nightly job makes every table anew from what is left)
    finish   earlier published runs, the warehouse file without its free blocks, Dagster's storage, a search for the values

Every step depends on the suppressions alone, so what was stopped is finished by doing all of it again. Values are held in memory only.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import narwhals as nw
import polars as pl

from cx_pipeline.core import erasure as files
from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.core.erasure import Hit
from cx_pipeline.core.errors import ConfigurationError, Problem
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.settings import Environment, Settings
from cx_pipeline.core.warehouse import compact
from cx_pipeline.erasure_places import (
    ERASURES,
    Erasure,
    Site,
    clean_decisions,
    clean_landing,
    clean_published,
    clean_tables,
    open_warehouse,
    published_runs,
    site_of,
)
from cx_pipeline.erasure_proof import search, verify
from cx_pipeline.identity import erasure as people
from cx_pipeline.identity.champion import state_folder, write_state
from cx_pipeline.identity.policy import CustomerPolicy
from cx_pipeline.reporting.snapshot import current_run
from cx_pipeline.staging import canonical, suppression
from cx_pipeline.staging.intake import channel_tables

_VALUE_ROLES = re.compile(
    r"person\.(?!birth_date|birth_year|sex|occupation)|contact\.|address\.(line|street)$|organisation\.|id\."
)


@dataclass(frozen=True)
class Wanted:
    """Who is to be erased: a customer id, an e-mail address, a phone number, or all who asked for it; nobody: finish what was begun."""

    customer: str | None = None
    email: str | None = field(default=None, repr=False)
    phone: str | None = field(default=None, repr=False)
    is_requested: bool = False

    @property
    def names_somebody(self) -> bool:
        """Whether somebody is named (else only what was begun is finished)."""
        return bool(self.customer or self.email or self.phone or self.is_requested)


# --- begin ------------------------------------------------------------------------------------------------------------------------


def begin(
    environment: Environment, settings: Settings, channels: Sequence[Channel], wanted: Wanted, requested_at: datetime
) -> Erasure:
    """Suppress a person and take the rows out of landing, labels, decisions and the warehouse's tables.

    Args:
        environment: where things are.
        settings: the user's policies.
        channels: the usable channels.
        wanted: who.
        requested_at: now, wall clock of the company.

    Returns:
        What was done; no customers where there is nothing to do.

    Raises:
        ConfigurationError: if nobody or several are meant, or no night has run yet; nothing is changed then.
    """
    if not environment.data.warehouse.is_file():
        raise ConfigurationError(Problem("no night has run yet", "warehouse", remedy="`cx run` first"))
    with open_warehouse(environment) as warehouse:
        site = site_of(environment, settings, channels, warehouse)
        erasure = Erasure()
        persons = _find(site, wanted, erasure)
        if persons:
            _suppress(site, persons, erasure, requested_at)
        begun = site.table(ERASURES)
        begun = begun.filter(pl.col("status") == "started") if begun.width else begun
        erasure.customers = tuple(sorted(begun["customer_id"])) if begun.width else ()
        suppressions = site.suppressions()
        if suppressions:
            clean_landing(site, suppressions, erasure)
            clean_decisions(site, suppressions, erasure)
            clean_tables(site, suppressions, erasure)
            # What linkage remembers of records is not looked through: the next night compares all of them anew.
            write_state(state_folder(environment.data.warehouse), None)
        return erasure


def _find(site: Site, wanted: Wanted, erasure: Erasure) -> list[people.Person]:
    """The people who are meant and not suppressed yet.

    Raises:
        ConfigurationError: if nobody or several are.
    """
    if not wanted.names_somebody:
        return []
    known = _known(site)
    erased = site.table(ERASURES)
    done = dict(erased.select("customer_id", "status").iter_rows()) if erased.width else {}
    if wanted.is_requested:
        requests = site.table("staging.privacy_requests")
        ids = people.open_requests(requests, known, done) if requests.width else []
        if not ids:
            erasure.notes.append("nobody has asked to be erased who is not")
    else:
        found = _meant(site, wanted, known, done, erasure)
        ids = [found] if found else []
    weak = site.settings.policy(CustomerPolicy).weak_namespaces
    persons = [people.person(known, one, _former_identifiers(site, known, one), weak) for one in ids]
    for one in persons:
        if one.records.is_empty() and one.identifiers.is_empty():
            raise ConfigurationError(
                Problem(
                    f"nothing is known of customer `{one.customer_id}` that others do not share",
                    "identity.identifier_xref",
                    one.n_shared,
                    remedy="take the identifier out at the source: suppressing it would take others' rows along",
                )
            )
    return persons


def _meant(site: Site, wanted: Wanted, known: people.Known, done: dict[str, str], erasure: Erasure) -> str | None:
    """The one customer who is meant; None if that one is erased already.

    Raises:
        ConfigurationError: if it is nobody or several.
    """
    if wanted.customer:
        if people.customer_exists(known, wanted.customer):
            return wanted.customer
        if wanted.customer in done:
            erasure.notes.append(f"customer {wanted.customer} was erased before")
            return None
        alias = _alias(site, wanted.customer)
        if alias and people.customer_exists(known, alias):
            return alias
        raise ConfigurationError(
            Problem(
                f"there is no customer `{wanted.customer}`",
                "identity.customer_xref",
                remedy="give the whole customer_id",
            )
        )
    namespace, text = ("email", wanted.email) if wanted.email else ("phone", wanted.phone)
    value = _normalised(text or "", namespace)
    ids = people.customers_with(known, namespace, value) if value else []
    if len(ids) == 1:
        return ids[0]
    if not ids and value:
        one = nw.from_native(pl.LazyFrame({"value": [value]}))
        if site.suppressions().found(one, "identifier", namespace):
            erasure.notes.append(f"this {namespace} belongs to somebody who was erased before")
            return None
    what = f"several customers have this {namespace}" if ids else f"nobody is known by this {namespace}"
    raise ConfigurationError(
        Problem(
            what,
            "identity.identifier_xref",
            len(ids) or None,
            ", ".join(ids[:5]),
            "name the customer_id, see `cx show`",
        )
    )


def _alias(site: Site, customer: str) -> str | None:
    """The customer whom an id of earlier nights stands for now."""
    aliases = site.table("identity.aliases")
    found = aliases.filter(pl.col("alias") == customer)["customer_id"].to_list() if aliases.width else []
    return str(found[0]) if found else None


def _normalised(text: str, namespace: str) -> str | None:
    frame = nw.from_native(pl.LazyFrame({"value": [text]}))
    value = canonical.normalised_identifier(nw.col("value"), namespace).alias("value")
    found: str | None = to_polars(frame.select(value))["value"][0]
    return found


def _known(site: Site) -> people.Known:
    names = ("identity.customer_xref", "identity.identifier_xref", "staging.party_identifiers", "staging.identifiers",
             "staging.identifier_pairs")  # fmt: skip
    if missing := [name for name in names if not site.warehouse.has(name)]:
        raise ConfigurationError(Problem("the last night did not come that far", missing[0], remedy="`cx run` first"))
    xref, identifier_xref, party_identifiers, identifiers, pairs = (site.table(name) for name in names)
    return people.Known(
        xref.select("channel", "record_id", "customer_id"),
        identifier_xref.select("namespace", "value", "customer_id"),
        party_identifiers,
        identifiers.select("namespace", "value", "raw_value"),
        pairs.select("left_namespace", "left_value", "right_namespace", "right_value"),
    )


def _former_identifiers(site: Site, known: people.Known, customer: str) -> pl.DataFrame:
    """namespace, raw_value of identifiers in superseded versions of a customer's records."""
    found = [pl.DataFrame(schema={"namespace": pl.String, "raw_value": pl.String})]
    for channel, ids in _records_by_channel(known.customer_xref.filter(pl.col("customer_id") == customer)).items():
        for one in (c for c in site.channels if c.name == channel):
            record_id = suppression.record_id(one)
            if record_id is None:
                continue
            rows = site.warehouse.read_or_empty(channel_tables(one).superseded).filter(record_id.is_in(ids))
            for namespace, column in canonical.identifier_columns(one, site.policy):
                value = canonical.normalised_identifier(nw.col(column), namespace).alias("raw_value")
                found.append(to_polars(rows.select(nw.lit(namespace).alias("namespace"), value).unique()))
    return pl.concat(found).drop_nulls().unique()


def _records_by_channel(records: pl.DataFrame) -> dict[str, list[str]]:
    grouped = records.group_by("channel").agg("record_id")
    return {row["channel"]: sorted(set(row["record_id"])) for row in grouped.to_dicts()}


def _suppress(site: Site, persons: list[people.Person], erasure: Erasure, now: datetime) -> None:
    """Write who is suppressed, and that the erasure has begun, in one transaction: from now on they cannot come in again."""
    rows: list[tuple[str, str]] = []
    kept: list[people.Person] = []
    values: set[str] = set()
    for one in persons:
        placed, texts, own = _rows_of(site, one)
        rows += texts
        values |= own | set(one.identifiers["raw_value"])
        # A place in a file is taken by another row once the file is rewritten: such rows are known by their content.
        records = one.records.join(placed, on=["channel", "record_id"], how="anti")
        kept.append(people.Person(one.customer_id, records, one.identifiers, one.n_shared))
    tables = load_step("identity")
    new = pl.DataFrame(people.suppressions(kept, rows, now, site.key), schema=tables["suppressions"].polars_schema())
    table = tables["suppressions"]
    begun = pl.DataFrame(
        [
            (one.customer_id, now, "started", None, one.records.height, one.identifiers.height, one.n_shared)
            for one in persons
        ],
        schema=tables["erasures"].polars_schema(),
        orient="row",
    )
    before = to_polars(site.warehouse.read_or_empty(table))
    erased = to_polars(site.warehouse.read_or_empty(tables["erasures"]))
    with site.warehouse.transaction():
        keys = list(table.primary_key)
        site.warehouse.write(table, pl.concat([before, new]).unique(keys, keep="first", maintain_order=True))
        site.warehouse.write(tables["erasures"], pl.concat([erased.join(begun, on="customer_id", how="anti"), begun]))
    erasure.values = _own_values(site, values)
    texts_of_broken = _broken_rows_with(site, erasure.values)
    if texts_of_broken:
        more = pl.DataFrame(people.suppressions([], texts_of_broken, now, site.key), schema=table.polars_schema())
        before = to_polars(site.warehouse.read_or_empty(table))
        site.warehouse.write(table, pl.concat([before, more]).unique(keys, keep="first", maintain_order=True))
    erasure.add("people", len(persons))
    erasure.add("party records", sum(one.records.height for one in persons))
    erasure.add("identifiers suppressed", sum(one.identifiers.height for one in persons))
    erasure.add("identifiers that others have too, which stay", sum(one.n_shared for one in persons))


def _rows_of(site: Site, one: people.Person) -> tuple[pl.DataFrame, list[tuple[str, str]], set[str]]:
    """Of a person's party records: those known by their place (channel, record_id), (channel, text) of these, and personal values."""
    placed = [one.records.clear()]
    texts: list[tuple[str, str]] = []
    values: set[str] = set()
    place = nw.concat_str([nw.col("source_file"), nw.col("source_line").cast(nw.String)], separator=":")
    for name, ids in _records_by_channel(one.records).items():
        for channel in (c for c in site.channels if c.name == name):
            record_id = suppression.record_id(channel)
            own_id = nw.coalesce(record_id, place) if record_id is not None else place
            has_none = record_id.is_null() if record_id is not None else nw.lit(True)
            tables = channel_tables(channel)
            for table in (tables.rows, tables.superseded):
                rows = site.warehouse.read_or_empty(table).filter(own_id.is_in(ids))
                columns = _telling_columns(channel)
                found = to_polars(
                    rows.select(
                        own_id.alias("__id"),
                        has_none.alias("__none"),
                        suppression.row_text(channel).alias("__text"),
                        *columns,
                    )
                )
                by_place = found.filter(pl.col("__none"))
                placed.append(by_place.select(pl.lit(name).alias("channel"), pl.col("__id").alias("record_id")))
                texts += [(name, text) for text in by_place["__text"]]
                for column in columns:
                    values.update(found[column].cast(pl.String).drop_nulls().to_list())
    return pl.concat(placed).unique(), texts, values


def _telling_columns(channel: Channel) -> list[str]:
    """Columns whose values may name a person: of such a role, or personal without a role."""
    return [
        column.name
        for column in channel.table.columns
        if any(_VALUE_ROLES.match(role) for role in column.roles)
        or (column.is_personal and not column.roles and column.engine_type == "VARCHAR")
    ]


def _own_values(site: Site, values: Iterable[str]) -> tuple[str, ...]:
    """Values that stand in no row of anybody else, long enough to be told from chance."""
    stripped = sorted({value.strip() for value in values})
    wanted = [value for value in stripped if files.is_telling(value)]
    suppressions = site.suppressions()
    for channel in site.channels:
        if not wanted:
            break
        tables = channel_tables(channel)
        for table in (tables.rows, tables.superseded):
            rows = site.warehouse.read_or_empty(table)
            condition = suppression.suppressed_rows(rows, channel, suppressions, site.policy)
            others = rows if condition is None else rows.filter(~condition)
            texts = [column.name for column in channel.table.columns if column.engine_type == "VARCHAR"]
            if texts:
                wanted = _absent(others, texts, wanted)
    return tuple(wanted)


def _absent(rows: nw.LazyFrame, columns: list[str], values: list[str]) -> list[str]:
    """Those of the values that stand in none of the columns."""
    lowered = [nw.col(name).str.to_lowercase().fill_null("") for name in columns]
    seen = rows.select(
        nw.any_horizontal(*(text.str.contains(value.lower(), literal=True) for text in lowered), ignore_nulls=True)
        .cast(nw.Int64)
        .max()
        .alias(f"v{i}")
        for i, value in enumerate(values)
    )
    found = to_polars(seen).row(0)
    return [value for value, is_seen in zip(values, found, strict=True) if not is_seen]


def _broken_rows_with(site: Site, values: Sequence[str]) -> list[tuple[str, str]]:
    """(channel, raw row) of broken rows in which a value stands: they have no id that could be suppressed."""
    found: list[tuple[str, str]] = []
    if not values:
        return found
    for channel in site.channels:
        rejected = site.warehouse.read_or_empty(channel_tables(channel).rejected)
        text = nw.col("raw_row").str.to_lowercase()
        holds = nw.any_horizontal(*(text.str.contains(v.lower(), literal=True) for v in values), ignore_nulls=True)
        raw = to_polars(rejected.filter(~nw.col("raw_row").is_null()).filter(holds).select("raw_row"))
        found += [(channel.name, row) for row in raw["raw_row"]]
    return found


# --- finish ---------------------------------------------------------------------------------------------------------------------------


def finish(
    environment: Environment,
    settings: Settings,
    channels: Sequence[Channel],
    erasure: Erasure,
    finished_at: datetime,
    dagster_home: Path,
    forget_runs: Callable[[], int],
) -> list[Hit]:
    """After the night that made every table anew: earlier published runs, free blocks of files, and the search for the values.

    Args:
        environment: where things are.
        settings: the user's policies.
        channels: the usable channels.
        erasure: what `begin` returned; counts are added.
        finished_at: now, wall clock of the company.
        dagster_home: folder of Dagster's storage.
        forget_runs: deletes all of Dagster's runs but the last.

    Returns:
        Where values of erased people are still found; only if there are none the erasure is done.
    """
    data = environment.data
    with open_warehouse(environment) as warehouse:
        site = site_of(environment, settings, channels, warehouse)
        suppressions = site.suppressions()
        clean_tables(site, suppressions, Erasure())
        for folder in published_runs(data.published):
            clean_published(site, folder, suppressions, erasure)
    spilled = data.warehouse.with_name(f"{data.warehouse.name}.tmp")
    if spilled.is_dir():
        shutil.rmtree(spilled)
    before = data.warehouse.stat().st_size
    compact(data.warehouse, memory_limit=environment.memory_limit, threads=environment.threads)
    erasure.add("bytes of freed blocks given back", max(before - data.warehouse.stat().st_size, 0))
    if not erasure.values:
        # Begun by an earlier call, which knew the values: hashes are left to search for, and logs cannot be told.
        erasure.add("runs out of Dagster's storage", forget_runs())
        files.vacuum(dagster_home)
        proof = verify(environment, settings, channels, dagster_home, finished_at)
        erasure.counts |= proof.counts
        hits = [hit for hit in proof.hits if not hit.where.startswith(ERASURES)]
    else:
        hits = search(environment, dagster_home, erasure)
    if hits and erasure.values:
        _remove_old(data.published, data.reports, hits, erasure, data.root)
        if any(hit.where.startswith("dagster") for hit in hits):
            erasure.add("runs out of Dagster's storage", forget_runs())
            files.vacuum(dagster_home)
        hits = search(environment, dagster_home, erasure)
    if not hits:
        _mark_done(environment, erasure, finished_at)
    return hits


def _remove_old(published: Path, reports: Path, hits: Sequence[Hit], erasure: Erasure, root: Path) -> None:
    """Published runs and reports of earlier nights in which a value is left go as a whole."""
    for folder in (published, reports):
        current = current_run(folder)
        for run in published_runs(folder):
            inside = f"{run.relative_to(root)}/"
            if run != current and any(hit.where.startswith(inside) for hit in hits):
                shutil.rmtree(run)
                erasure.add("old published runs and reports removed", 1)


def _mark_done(environment: Environment, erasure: Erasure, finished_at: datetime) -> None:
    """Every erasure that was begun is done; the snapshot of tonight says so too."""
    table = load_step("identity")["erasures"]
    with open_warehouse(environment) as warehouse:
        erased = to_polars(warehouse.read_or_empty(table))
        is_open = pl.col("status") == "started"
        done = erased.with_columns(
            pl.when(is_open).then(pl.lit(finished_at)).otherwise(pl.col("finished_at")).alias("finished_at"),
            pl.lit("done").alias("status"),
        )
        warehouse.write(table, done)
        current = current_run(environment.data.published)
        if current is not None and (current / "identity").is_dir():
            new = current / "identity" / ".erasures.parquet.erasing"
            warehouse.export(table, new)
            files.flush(new)
            new.replace(current / "identity" / "erasures.parquet")
