"""Assets of the staging room, in flow order: one per channel, the manifest, the clock, one per record kind."""

import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg
import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import (
    OWNERS,
    asset_key,
    check_result,
    contract_check,
    failures_as_dagster,
    table_asset,
    written_results,
)
from cx_pipeline.core.contract import BrokenChannel, Channel, load_step
from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run, Workspace
from cx_pipeline.staging import canonical, intake, suppression
from cx_pipeline.staging.policy import StagingPolicy
from cx_pipeline.staging.returns import link_returns

TABLES = load_step("staging")
KIND_TABLES = {str(table.properties["kind"]): table for table in TABLES.values() if "kind" in table.properties}


def channel_asset(channel: Channel) -> dg.AssetsDefinition:
    """The asset that takes a channel's extracts in: its rows and its rejected rows, and its part of the manifest."""
    tables = intake.channel_tables(channel)
    rows = asset_key(tables.rows.full_name)

    @dg.multi_asset(
        name=f"staging__channel_{channel.name}",
        specs=[
            dg.AssetSpec(
                asset_key(table.full_name),
                description=table.description,
                metadata={"dagster/column_schema": table.dagster_schema(), "dagster/table_name": table.full_name},
                deps=deps,
                group_name="staging",
                owners=OWNERS,
                kinds={"duckdb", "table"},
            )
            for table, deps in (
                (tables.rows, [["channels", "catalogue"], ["identity", "suppressions"]]),
                (tables.rejected, None),
            )
        ],
        check_specs=[
            contract_check(tables.rows),
            contract_check(tables.rejected),
            dg.AssetCheckSpec(
                "every_file_can_be_read",
                asset=rows,
                blocking=True,
                description="No file in landing is refused. Mend or remove those that are.",
            ),
            dg.AssetCheckSpec(
                "rejected_rows_are_tolerable",
                asset=rows,
                blocking=True,
                description="The share of rejected rows is within the channel's `tolerated_reject_rate`. Mend extract or contract.",
            ),
            dg.AssetCheckSpec(
                "rows_read_are_staged_rejected_or_superseded",
                asset=rows,
                blocking=True,
                description="No row of any file has been lost.",
            ),
        ],
    )
    def body(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
        yield from _take_in(workspace.run(context), channel, tables)

    return body


def _take_in(run: Run, channel: Channel, tables: intake.ChannelTables) -> Iterator[Any]:
    """Take a channel's files in and yield what Dagster wants to hear about it."""
    done: list[intake.Intake] = []

    def take() -> Any:
        suppressed = suppression.load_suppressions(run.warehouse, run.hash_key)
        done.append(
            intake.take_in(
                run.warehouse,
                channel,
                TABLES["load_manifest"],
                run.data.landing / channel.name,
                company_time_zone=run.settings.company.time_zone,
                started_at=run.started_at,
                full_refresh=run.full_refresh,
                landing_files=TABLES["landing_files"],
                max_extract_bytes=run.policy(StagingPolicy).max_extract_bytes,
                hold_back=partial(suppression.hold_back, run.warehouse, channel, suppressed, run.policy(StagingPolicy)),
            )
        )
        return done[0].written

    yield from written_results(tables.rows, take, run.warehouse)
    yield from written_results(tables.rejected, lambda: done[0].rejected, run.warehouse)
    manifest = done[0].manifest
    policy = run.policy(StagingPolicy)
    tolerated = policy.tolerated_reject_rate if channel.tolerated_reject_rate is None else channel.tolerated_reject_rate
    refused = manifest.filter(pl.col("status") == "refused").select("file", "reason")
    rejects = run.warehouse.read(tables.rejected.full_name)
    for name, offending in (
        ("every_file_can_be_read", refused),
        (
            "rejected_rows_are_tolerable",
            intake.rejects_by_rule(
                rejects, intake.check_reject_rates(suppression.without_suppressed(manifest, rejects), tolerated)
            ),
        ),
        ("rows_read_are_staged_rejected_or_superseded", intake.check_conservation(manifest)),
    ):
        yield check_result(tables.rows.full_name, name, offending, 0.0)


def channel_table(broken: BrokenChannel) -> str:
    """Full name of the table of a broken channel; its file may have a name that no table can have."""
    name = re.sub(r"\W", "_", broken.name, flags=re.ASCII)
    return f"staging.channel_{name if name == broken.name else f'{name}_{zlib.crc32(broken.name.encode()):x}'}"


def broken_channel_asset(broken: BrokenChannel) -> dg.AssetsDefinition:
    """An asset in place of a channel whose contract cannot be used: it says why, and fails when it is materialised."""

    @dg.asset(
        key=asset_key(channel_table(broken)),
        description=f"The contract of this channel cannot be used.\n\n```\n{broken.error}\n```",
        group_name="staging",
        owners=OWNERS,
        kinds={"duckdb", "table"},
        tags={"contract": "broken"},
    )
    def body() -> None:
        with failures_as_dagster(f"channels/{broken.name}.yaml"):
            raise broken.error

    return body


def _prepared(
    run: Run, channels: Sequence[Channel], kinds: Collection[str] = tuple(KIND_TABLES)
) -> Iterator[tuple[Channel, nw.LazyFrame]]:
    """The channels of some kinds with their rows as `canonical.prepare` makes them."""
    policy = run.policy(StagingPolicy)
    for channel in channels:
        if channel.kind in kinds:
            rows = run.warehouse.read(channel.table.full_name)
            yield channel, canonical.prepare(rows, channel, policy, run.hash_key)


def kind_asset(
    kind: str, table: Table, channels: Sequence[Channel], broken: Sequence[BrokenChannel]
) -> dg.AssetsDefinition:
    """The canonical table of one record kind, made of the rows of all channels of that kind."""
    own = [channel for channel in channels if channel.kind == kind]
    waits_for = [channel_table(channel) for channel in broken] if own or kind == "party" else []

    def body(run: Run) -> Frame:
        policy = run.policy(StagingPolicy)
        frames = [canonical.records(rows, channel, table, policy) for channel, rows in _prepared(run, own)]
        delivered = canonical.union(frames, run.warehouse.empty(table))
        if kind != "order":
            return delivered
        derived = canonical.orders_from_lines(run.warehouse.read("staging.order_lines"), delivered, policy)
        return canonical.union([delivered, derived], run.warehouse.empty(table))

    names = ", ".join(channel.name for channel in own) or "none"
    body.__doc__ = f"{table.description}\n\nFrom the channels of kind {kind}: {names}."
    lines = ["staging.order_lines"] if kind == "order" else []
    return table_asset(table, needs=[*(channel.table.full_name for channel in own), *waits_for, *lines])(body)


def kind_assets(channels: Sequence[Channel], broken: Sequence[BrokenChannel]) -> list[dg.AssetsDefinition]:
    """The canonical tables, one per record kind, and what all channels share: manifest, clock, identifiers, attributes."""
    names = [channel.table.full_name for channel in channels]
    waits_for = [channel_table(channel) for channel in broken]

    @table_asset(TABLES["load_manifest"], needs=[*names, *waits_for])
    def load_manifest(run: Run) -> Frame:
        """One row per content of a landing file: what became of its rows.

        Each channel writes its own part when it is taken in; here the whole is audited, and channels that are gone are kept.
        """
        return run.warehouse.read_or_empty(TABLES["load_manifest"])

    @table_asset(TABLES["landing_files"], needs=[*names, *waits_for])
    def landing_files(run: Run) -> Frame:
        """One row per file in landing whose content is known, with what the file system said of it when it was read.

        Each channel writes its own part when it is taken in, as with the manifest.
        """
        return run.warehouse.read_or_empty(TABLES["landing_files"])

    @table_asset(TABLES["returns"], reads=("staging.order_lines", "staging.orders"))
    def returns(run: Run, lines: nw.LazyFrame, orders: nw.LazyFrame) -> Frame:
        """One row per order line that gives something back, with the sale it gives back, by name or by rule."""
        return link_returns(lines, orders, run.policy(StagingPolicy))

    @table_asset(TABLES["clock"], needs=names)
    def clock(run: Run) -> Frame:
        """One row: the date the results stand for: the latest event in the data, unless a date is configured."""
        tables = [(channel, run.warehouse.read(channel.table.full_name)) for channel in channels]
        return canonical.clock(tables, configured=run.environment.as_of, started_at=run.started_at)

    @table_asset(TABLES["identifiers"], needs=names)
    def identifiers(run: Run) -> Frame:
        """One row per channel and identifier: every identifier ever seen, with when and how often."""
        policy = run.policy(StagingPolicy)
        seen = [
            frame
            for channel, rows in _prepared(run, channels)
            for frame in canonical.seen_identifiers(rows, channel, policy)
        ]
        return canonical.identifiers(seen, run.warehouse.empty(TABLES["identifiers"]))

    @table_asset(TABLES["party_identifiers"], needs=names)
    def party_identifiers(run: Run) -> Frame:
        """One row per party record and identifier it carries."""
        policy = run.policy(StagingPolicy)
        frames = [
            frame
            for channel, rows in _prepared(run, channels, ("party",))
            for frame in canonical.record_identifiers(rows, channel, policy)
        ]
        return canonical.union(frames, run.warehouse.empty(TABLES["party_identifiers"])).unique()

    @table_asset(TABLES["identifier_pairs"], needs=names)
    def identifier_pairs(run: Run) -> Frame:
        """One row per pair of identifiers seen together in events: evidence that both belong to one customer."""
        policy = run.policy(StagingPolicy)
        seen = [
            frame
            for channel, rows in _prepared(run, channels, KIND_TABLES.keys() - {"party", "overlay"})
            for frame in canonical.seen_pairs(rows, channel, policy)
        ]
        return canonical.identifier_pairs(seen, run.warehouse.empty(TABLES["identifier_pairs"]))

    @table_asset(TABLES["attributes"], needs=names)
    def attributes(run: Run) -> Frame:
        """One row per record and further fact about the customer; never evidence of identity."""
        policy = run.policy(StagingPolicy)
        frames = [
            frame
            for channel, rows in _prepared(run, channels)
            for frame in canonical.further_attributes(rows, channel, policy)
        ]
        return canonical.union(frames, run.warehouse.empty(TABLES["attributes"]))

    kinds = [kind_asset(kind, table, channels, broken) for kind, table in KIND_TABLES.items()]
    return [
        load_manifest,
        landing_files,
        clock,
        *kinds,
        returns,
        identifiers,
        party_identifiers,
        identifier_pairs,
        attributes,
    ]


def build(channels: Sequence[Channel], broken: Sequence[BrokenChannel]) -> list[dg.AssetsDefinition]:
    """All assets of the staging room for the channels of a data directory."""
    return [
        *(channel_asset(channel) for channel in channels),
        *(broken_channel_asset(channel) for channel in broken),
        *kind_assets(channels, broken),
    ]
