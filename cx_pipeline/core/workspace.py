"""The workspace of a run: what Dagster hands to every asset and check (data directory, settings, open warehouse).

Belongs here: the Dagster resource and the `Run` that pure steps are given their surroundings by.
Does not belong here: reading or writing of tables (`warehouse.py`), assets (`assets.py`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import PrivateAttr

from cx_pipeline.core.contract import Channel, load_channels
from cx_pipeline.core.errors import ConfigurationError, EngineError, Problem
from cx_pipeline.core.extracts import remove_leftovers
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.models import ModelStore
from cx_pipeline.core.settings import DataDirectory, Environment, Settings, hash_key
from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Warehouse

PolicyT = TypeVar("PolicyT")
CLOCK = "staging.clock"
TRAINING_JOB = "training"


@dataclass(frozen=True)
class Run:
    """What a step may know about the run it is part of.

    Attributes:
        run_id: Dagster's id of the run.
        started_at: start of the run, wall clock of the company's time zone; the only "now" there is.
        warehouse: the open warehouse.
        environment, settings: what the user chose.
        channels: the usable channels of the data directory.
        tables: every table that the definitions hold, in the order of the loop.
        full_refresh: whether landing is to be read anew from nothing.
        trains: whether this is the training job, in which models are trained although there are champions.
    """

    run_id: str
    started_at: datetime
    warehouse: Warehouse
    environment: Environment
    settings: Settings
    channels: tuple[Channel, ...]
    tables: tuple[Table, ...] = field(repr=False, default=())
    full_refresh: bool = False
    trains: bool = False

    @cached_property
    def hash_key(self) -> str:
        """Key of keyed hashes (see `settings.hash_key`)."""
        return hash_key(self.environment)

    @property
    def data(self) -> DataDirectory:
        """Layout of the data directory."""
        return self.environment.data

    @property
    def models(self) -> ModelStore:
        """The models of the data directory."""
        return ModelStore(self.data.models)

    @property
    def as_of(self) -> date:
        """The date the results stand for: `staging.clock`, which is derived from the data (INTERFACES: CX_AS_OF)."""
        rows = to_polars(self.warehouse.read(CLOCK))
        as_of: date = rows["as_of"][0]
        return as_of

    def policy(self, policy: type[PolicyT]) -> PolicyT:
        """A step's policy with the overrides of settings.yaml."""
        return self.settings.policy(policy)


class Workspace(dg.ConfigurableResource):
    """The company's data directory and its warehouse, open for the time of a run.

    Attributes:
        data_dir: the data directory; empty: `CX_DATA_DIR`, else `data`.
        as_of: ISO date the results stand for; empty: `CX_AS_OF`, else derived from the data.
        full_refresh: read all landing files anew and forget what was staged before.
    """

    data_dir: str = ""
    as_of: str = ""
    full_refresh: bool = False

    _environment: Environment | None = PrivateAttr(default=None)
    _settings: Settings | None = PrivateAttr(default=None)
    _channels: tuple[Channel, ...] = PrivateAttr(default=())
    _warehouse: Warehouse | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Workspace]:
        """Dagster's hook: read the configuration and hold the warehouse open while a run executes."""
        self._environment = self.environment()
        self._settings = Settings.load(self._environment.data.settings_file, all_policies())
        self._channels = tuple(load_channels(self._environment.data.channels)[0])
        self._warehouse = Warehouse(
            self._environment.data.warehouse,
            memory_limit=self._environment.memory_limit,
            threads=self._environment.threads,
        )
        try:
            remove_leftovers(self._environment.data.warehouse.parent)
            yield self
        finally:
            self._warehouse.close()
            self._warehouse = None

    def environment(self) -> Environment:
        """The environment with this resource's own configuration laid over it."""
        environment = Environment.read()
        if self.data_dir:
            environment = replace(environment, data=DataDirectory(Path(self.data_dir)))
        if self.as_of:
            try:
                environment = replace(environment, as_of=date.fromisoformat(self.as_of))
            except ValueError:
                raise ConfigurationError(
                    Problem(f"`{self.as_of}` is no date", "as_of", remedy="write it as 2026-01-31")
                ) from None
        return environment

    def run(
        self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, tables: tuple[Table, ...] = ()
    ) -> Run:
        """The run that an asset or check is executed in.

        Raises:
            EngineError: outside an execution.
        """
        if self._warehouse is None or self._environment is None or self._settings is None:
            raise EngineError("the workspace is only open while a run executes")
        zone = ZoneInfo(self._settings.company.time_zone)
        return Run(
            run_id=context.run.run_id,
            started_at=_started_at(context, zone),
            warehouse=self._warehouse,
            environment=self._environment,
            settings=self._settings,
            channels=self._channels,
            tables=tables,
            full_refresh=self.full_refresh,
            trains=context.run.job_name == TRAINING_JOB,
        )


def _started_at(context: Any, zone: ZoneInfo) -> datetime:
    """Start of the run as Dagster recorded it, as wall-clock time of the company."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None:
        raise EngineError("the run is not known to its Dagster instance")
    instant: datetime = record.create_timestamp
    return instant.astimezone(zone).replace(tzinfo=None)


@functools.cache
def all_policies() -> tuple[type, ...]:
    """Every policy dataclass of the package's steps, found in `<step>/policy.py`."""
    package = Path(__file__).parents[1]
    found: list[type] = []
    for path in sorted(package.glob("*/policy.py")):
        module = importlib.import_module(f"cx_pipeline.{path.parent.name}.policy")
        found.extend(
            item
            for _, item in inspect.getmembers(module, inspect.isclass)
            if is_dataclass(item) and item.__module__ == module.__name__
        )
    return tuple(found)
