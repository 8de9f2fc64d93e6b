"""Table of contents: every room's assets and checks, in the order of the loop, as one Dagster `Definitions`.

Channels are read from the data directory (`CX_DATA_DIR`) when this loads: one staging asset per channel. A channel whose contract is
broken has an asset that says why and fails; all other channels stay usable, but nothing is published beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import dagster as dg

import cx_pipeline.channels.assets
import cx_pipeline.channels.checks
import cx_pipeline.engagement.assets
import cx_pipeline.engagement.checks
import cx_pipeline.identity.assets
import cx_pipeline.identity.checks
import cx_pipeline.lifecycle.assets
import cx_pipeline.lifecycle.checks
import cx_pipeline.metrics.assets
import cx_pipeline.metrics.checks
import cx_pipeline.profile.assets
import cx_pipeline.profile.checks
import cx_pipeline.propensity.assets
import cx_pipeline.propensity.checks
import cx_pipeline.reporting.assets
import cx_pipeline.reporting.checks
import cx_pipeline.retention.assets
import cx_pipeline.retention.checks
import cx_pipeline.segmentation.assets
import cx_pipeline.segmentation.checks
import cx_pipeline.staging.assets
import cx_pipeline.staging.checks
import cx_pipeline.value.assets
import cx_pipeline.value.checks
from cx_pipeline import automation
from cx_pipeline.core.assets import asset_key
from cx_pipeline.core.contract import BrokenChannel, Channel, load_channels
from cx_pipeline.core.settings import Environment
from cx_pipeline.core.tables import Table
from cx_pipeline.core.workspace import Workspace
from cx_pipeline.staging.intake import channel_tables

# The rooms with fixed assets in the order of the loop. `staging` comes between the first two, made for the channels there are;
# `reporting` publishes what all rooms have made, and its last tables are made after that.
ROOMS: tuple[tuple[ModuleType, ModuleType], ...] = (
    (cx_pipeline.channels.assets, cx_pipeline.channels.checks),
    (cx_pipeline.identity.assets, cx_pipeline.identity.checks),
    (cx_pipeline.profile.assets, cx_pipeline.profile.checks),
    (cx_pipeline.metrics.assets, cx_pipeline.metrics.checks),
    (cx_pipeline.segmentation.assets, cx_pipeline.segmentation.checks),
    (cx_pipeline.retention.assets, cx_pipeline.retention.checks),
    (cx_pipeline.value.assets, cx_pipeline.value.checks),
    (cx_pipeline.propensity.assets, cx_pipeline.propensity.checks),
    (cx_pipeline.lifecycle.assets, cx_pipeline.lifecycle.checks),
    (cx_pipeline.engagement.assets, cx_pipeline.engagement.checks),
    (cx_pipeline.reporting.assets, cx_pipeline.reporting.checks),
)


@dataclass(frozen=True)
class Contents:
    """What the definitions are made of.

    Attributes:
        channels, broken: usable and unusable channels of the data directory.
        tables: every table, in the order of the loop; those made after publishing last.
        assets, checks: Dagster's definitions.
    """

    channels: tuple[Channel, ...]
    broken: tuple[BrokenChannel, ...]
    tables: tuple[Table, ...]
    assets: tuple[dg.AssetsDefinition, ...]
    checks: tuple[dg.AssetChecksDefinition, ...]


def contents(environment: Environment) -> Contents:
    """Assets, checks and tables for the channels of a data directory."""
    channels, broken = load_channels(environment.data.channels)
    staging = cx_pipeline.staging.assets
    reporting = cx_pipeline.reporting.assets
    last = [reporting.TABLES[name] for name in reporting.LAST]
    first, *later = [tuple(table for table in assets.TABLES.values() if table not in last) for assets, _ in ROOMS]
    of_channels = [table for channel in channels for table in _tables_of(channel)]
    tables: list[Table] = [*first, *of_channels, *staging.TABLES.values()]
    tables += [table for room in later for table in room]
    publishing = reporting.publishing_asset(
        tables, [cx_pipeline.staging.assets.channel_table(channel) for channel in broken]
    )
    return Contents(
        channels=tuple(channels),
        broken=tuple(broken),
        tables=(*tables, *last),
        assets=(
            *(asset for assets, _ in ROOMS for asset in assets.ASSETS),
            *(_with_freshness(asset, channels) for asset in staging.build(channels, broken)),
            publishing,
        ),
        checks=(
            *(check for _, checks in ROOMS for check in checks.CHECKS),
            *cx_pipeline.staging.checks.CHECKS,
        ),
    )


def _with_freshness(asset: dg.AssetsDefinition, channels: Sequence[Channel]) -> dg.AssetsDefinition:
    """The asset with the freshness policies that the contracts of its channels ask for."""
    policies = {asset_key(channel.table.full_name): automation.freshness_policy(channel) for channel in channels}

    def judged(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = policies.get(spec.key)
        return dg.apply_freshness_policy(spec, policy) if policy else spec

    return asset.map_asset_specs(judged)


def _tables_of(channel: Channel) -> tuple[Table, ...]:
    tables = channel_tables(channel)
    return (tables.rows, tables.rejected)


def rooms_of_models() -> dict[str, str]:
    """Model -> the room that trains it, in the order of the loop: each room's `assets.MODELS`."""
    return {model: assets.__name__.split(".")[-2] for assets, _ in ROOMS for model in getattr(assets, "MODELS", ())}


def build(environment: Environment) -> dg.Definitions:
    """The Dagster definitions for a data directory.

    Raises:
        ConfigurationError: if settings.yaml cannot be used. (Broken channel contracts do not raise, see above.)
    """
    found = contents(environment)
    return dg.Definitions(
        assets=found.assets,
        asset_checks=found.checks,
        resources={"workspace": Workspace(data_dir=str(environment.data.root))},
        jobs=automation.jobs(),
        schedules=automation.schedules(environment),
        sensors=automation.sensors(environment),
        executor=dg.in_process_executor,
    )


defs = build(Environment.read())
