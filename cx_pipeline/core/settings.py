"""Settings: the data directory's layout, the environment, and the overrides of policies in `settings.yaml`.

Belongs here: where things are and what the user chose. Does not belong here: defaults of a step (its `policy.py`).
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from cx_pipeline.core.contract import is_time_zone, nearest, read_strict_yaml
from cx_pipeline.core.errors import ConfigurationError, ContractError, Problem, Problems

PolicyT = TypeVar("PolicyT")
ENGINES = ("duckdb", "spark")
_MEMORY = re.compile(r"^\d+(\.\d+)?\s*[KMGT]i?B$", re.IGNORECASE)


@dataclass(frozen=True)
class CompanyPolicy:
    """What holds for the whole company (`settings.yaml`: `company`).

    Attributes:
        time_zone: IANA zone in which all times of the tables are wall-clock times, and in which nights and months begin.
        currency: ISO 4217 code of amounts without a currency.
        phone_region: two-letter country of phone numbers without a country code; None: only international numbers are understood.
    """

    time_zone: str = "UTC"
    currency: str = "EUR"
    phone_region: str | None = None


@dataclass(frozen=True)
class AlertPolicy:
    """Whom to tell when a run fails (`settings.yaml`: `alerts`).

    Attributes:
        webhook_url: address that gets a POST with a JSON body; None: nobody.
        file: file, relative to the data directory, that gets one JSON line per failure; None: no file.
    """

    webhook_url: str | None = None
    file: str | None = "reports/alerts.jsonl"


@dataclass(frozen=True)
class DataDirectory:
    """Layout of a company's data directory (INTERFACES: layout)."""

    root: Path

    @property
    def channels(self) -> Path:
        """Contracts, one file per channel."""
        return self.root / "channels"

    @property
    def landing(self) -> Path:
        """Extracts, one folder per channel."""
        return self.root / "landing"

    @property
    def labels(self) -> Path:
        """Clerical labels."""
        return self.root / "labels"

    @property
    def decisions(self) -> Path:
        """Decisions of reviewers."""
        return self.root / "decisions"

    @property
    def outbound(self) -> Path:
        """What is made for others to take: the reviewers' queue."""
        return self.root / "outbound"

    @property
    def settings_file(self) -> Path:
        """Overrides of policies."""
        return self.root / "settings.yaml"

    @property
    def warehouse(self) -> Path:
        """The one database file."""
        return self.root / "warehouse" / "cx.duckdb"

    @property
    def hash_key_file(self) -> Path:
        """Key of keyed hashes, where the environment has none."""
        return self.root / "warehouse" / "hash.key"

    @property
    def published(self) -> Path:
        """Published snapshots."""
        return self.root / "published"

    @property
    def models(self) -> Path:
        """Versions of models."""
        return self.root / "models"

    @property
    def reports(self) -> Path:
        """Reports and alerts."""
        return self.root / "reports"

    @property
    def dagster_home(self) -> Path:
        """Dagster's home, where the environment names none."""
        return self.root / ".dagster"


@dataclass(frozen=True)
class Environment:
    """What the environment variables say (INTERFACES: environment)."""

    data: DataDirectory
    engine: str = "duckdb"
    as_of: date | None = None
    memory_limit: str | None = None
    threads: int | None = None
    hash_key: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None) -> Environment:
        """Read `CX_*` from the process environment (or the given variables).

        Raises:
            ConfigurationError: naming every variable that cannot be understood.
        """
        variables = os.environ if variables is None else variables
        problems = Problems()
        engine = variables.get("CX_ENGINE") or "duckdb"
        if engine not in ENGINES:
            problems.add(f"`{engine}` is no engine", "CX_ENGINE", remedy=nearest(engine, ENGINES))
        elif engine == "spark":
            problems.add(
                "the Spark warehouse is not built yet", "CX_ENGINE", remedy="unset CX_ENGINE or set it to duckdb"
            )
        as_of = None
        if variables.get("CX_AS_OF"):
            try:
                as_of = date.fromisoformat(variables["CX_AS_OF"])
            except ValueError:
                problems.add(f"`{variables['CX_AS_OF']}` is no date", "CX_AS_OF", remedy="write it as 2026-01-31")
        threads = None
        if variables.get("CX_THREADS"):
            threads = int(variables["CX_THREADS"]) if variables["CX_THREADS"].isdigit() else 0
            if threads < 1:
                problems.add(f"`{variables['CX_THREADS']}` is no number of threads", "CX_THREADS", remedy="e.g. 2")
        memory_limit = variables.get("CX_MEMORY_LIMIT") or None
        if memory_limit and not _MEMORY.match(memory_limit):
            problems.add(f"`{memory_limit}` is no amount of memory", "CX_MEMORY_LIMIT", remedy="e.g. 4GB")
        problems.raise_if_any(ConfigurationError)
        return cls(
            data=DataDirectory(Path(variables.get("CX_DATA_DIR") or "data").expanduser().resolve()),
            engine=engine,
            as_of=as_of,
            memory_limit=memory_limit,
            threads=threads,
            hash_key=variables.get("CX_HASH_KEY") or None,
        )


@dataclass(frozen=True)
class Settings:
    """The overrides of `settings.yaml`, validated: `policy(SomePolicy)` gives the policy in force.

    Attributes:
        overrides: step (or `company`, `alerts`) -> policy field -> value.
    """

    overrides: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, policies: Sequence[type]) -> Settings:
        """Read a settings file and validate it against the policies that exist.

        Args:
            path: `settings.yaml`; a missing or empty file means defaults.
            policies: every policy dataclass (of `<step>/policy.py`); the step is taken from the class's module.

        Raises:
            ConfigurationError: with every unknown section, unknown field and wrong type, and the nearest allowed word.
        """
        if not path.exists():
            return cls()
        try:
            document = read_strict_yaml(path, path.name) or {}
        except ContractError as error:
            raise ConfigurationError(error.problems) from None
        problems = Problems()
        sections: dict[str, dict[str, Any]] = {}
        for policy in (CompanyPolicy, AlertPolicy, *policies):
            hints = typing.get_type_hints(policy)
            sections.setdefault(_section(policy), {}).update(
                {f.name: hints[f.name] for f in dataclasses.fields(policy)}
            )
        if not isinstance(document, dict):
            problems.add(
                "a mapping of steps is expected", path.name, remedy="e.g. `metrics: {active_window_days: 180}`"
            )
            document = {}
        for section, values in document.items():
            if section not in sections:
                problems.add(
                    f"there is no step `{section}`",
                    f"{path.name}: {section}",
                    remedy=nearest(str(section), list(sections)),
                )
                continue
            if not isinstance(values, dict):
                problems.add(
                    "a mapping of policy fields is expected", f"{path.name}: {section}", remedy="e.g. `{field: value}`"
                )
                continue
            for name, value in values.items():
                where = f"{path.name}: {section}.{name}"
                if name not in sections[section]:
                    problems.add(
                        f"there is no setting `{name}`", where, remedy=nearest(str(name), list(sections[section]))
                    )
                elif not _fits(value, sections[section][name]):
                    problems.add(f"a value of type {_type_name(sections[section][name])} is expected", where)
        company = document.get("company")
        zone = company.get("time_zone") if isinstance(company, dict) else None
        if isinstance(zone, str) and not is_time_zone(zone):
            problems.add(
                f"`{zone}` is no time zone",
                f"{path.name}: company.time_zone",
                remedy="an IANA name such as Europe/Berlin",
            )
        problems.raise_if_any(ConfigurationError, f"The settings file {path.name} cannot be used:")
        return cls(document)

    def policy(self, policy: type[PolicyT]) -> PolicyT:
        """The policy with the overrides of its section in force."""
        names = {f.name: f for f in dataclasses.fields(policy)}  # type: ignore[arg-type]
        hints = typing.get_type_hints(policy)
        section = self.overrides.get(_section(policy), {})
        return policy(**{name: _coerce(value, hints[name]) for name, value in section.items() if name in names})

    @cached_property
    def company(self) -> CompanyPolicy:
        """The company's own policy."""
        return self.policy(CompanyPolicy)


def _section(policy: type) -> str:
    if policy is CompanyPolicy:
        return "company"
    if policy is AlertPolicy:
        return "alerts"
    return policy.__module__.split(".")[-2]


def _fits(value: object, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if hint is type(None):
        return value is None
    if origin is tuple:
        inner = arguments[0] if arguments else object
        return isinstance(value, list | tuple) and all(_fits(item, inner) for item in value)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is date:
        return isinstance(value, str) and _is_date(value)
    return not isinstance(hint, type) or isinstance(value, hint)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _coerce(value: Any, hint: Any) -> Any:
    """A value that fits, as what the policy says: lists as tuples, whole numbers as fractions, ISO dates as dates."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if isinstance(value, list):
        inner = next((typing.get_args(kind)[0] for kind in kinds if typing.get_origin(kind) is tuple), object)
        return tuple(_coerce(item, inner) for item in value)
    if float in kinds and int not in kinds and type(value) is int:
        return float(value)
    if date in kinds and str not in kinds and isinstance(value, str):
        return date.fromisoformat(value)
    return value


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint).replace("typing.", "")


def hash_key(environment: Environment) -> str:
    """The key of keyed hashes: `CX_HASH_KEY`, else a random one made once in `warehouse/hash.key` (mode 0600).

    Raises:
        ConfigurationError: if the key file is empty or no text.
    """
    if environment.hash_key:
        return environment.hash_key
    path = environment.data.hash_key_file
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes().decode("ascii", "replace").strip()
        if not key or "\ufffd" in key:
            raise ConfigurationError(
                Problem(
                    "the key file is empty or no text",
                    f"warehouse/{path.name}",
                    remedy="restore it from a backup, or delete it to begin with new hashes",
                )
            ) from None
        return key
    key = secrets.token_hex(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key)
    return key
