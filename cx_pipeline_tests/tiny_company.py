"""A tiny company for tests that run the whole job: three people in two registers, a shop and a newsletter, in four file formats.

Belongs here: contracts and extracts of the company, with personal values that occur nowhere else (`PLANTED`), and running `cx` on it.
Does not belong here: anything that a test expects of the results.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import yaml

N_CUSTOMERS = 12
N_LINES = 36
HASH_KEY = "a key of the tests"
REPOSITORY = Path(__file__).parents[1]
RUN_COLUMNS = ("loaded_at",)

# Syllables that no library, path or log line contains: a byte search for them can only find leaked rows.
_SURNAMES = ("Quorvextil", "Zymbrascht", "Oxquillard", "Wrenzpovac", "Yttrapfeld", "Kvistblurg")
_GIVEN = ("Ainsleyqz", "Brontwyx", "Celdrivox", "Dorvinzka")
_STREETS = ("Plumquartz Lane", "Vexwillow Row", "Jabbergrove Close")


@dataclass(frozen=True)
class Person:
    """One customer, as the company's sources know them."""

    number: int

    @property
    def given_name(self) -> str:
        return _GIVEN[self.number % len(_GIVEN)]

    @property
    def surname(self) -> str:
        return _SURNAMES[self.number % len(_SURNAMES)] + "abcdefghijkl"[self.number % 12]

    @property
    def email(self) -> str:
        return f"{self.given_name}.{self.surname}@plantedmail.example".lower()

    @property
    def phone(self) -> str:
        return f"+4930918273{self.number:02d}"

    @property
    def street(self) -> str:
        return _STREETS[self.number % len(_STREETS)]

    @property
    def birth_date(self) -> str:
        return f"{1950 + self.number}-{1 + self.number % 12:02d}-{1 + self.number % 27:02d}"

    @property
    def card(self) -> str:
        return f"card-planted-{self.number:04d}"


PEOPLE = tuple(Person(number) for number in range(N_CUSTOMERS))
PLANTED: tuple[str, ...] = tuple(
    sorted(
        {
            value
            for person in PEOPLE
            for value in (person.given_name, person.surname, person.email, person.phone, person.street, person.card)
        }
    )
)


def contract(
    name: str,
    kind: str,
    properties: Mapping[str, Mapping[str, Any]],
    words: Mapping[str, object] | None = None,
    server: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A channel's contract as a document; a property's `role` is written as the standard wants it."""
    listed = []
    for column, given in properties.items():
        described: dict[str, Any] = {"name": column, "logicalType": "string", **given}
        role = described.pop("role", None)
        if role:
            described["customProperties"] = [{"property": "role", "value": role}]
        listed.append(described)
    schema = {
        "name": name,
        "logicalType": "object",
        "description": f"The {name} channel.",
        "customProperties": [{"property": k, "value": v} for k, v in {"kind": kind, **(words or {})}.items()],
        "properties": listed,
    }
    document: dict[str, Any] = {
        "version": "1.0.0",
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": f"test-{name}",
        "name": name,
        "status": "active",
        "schema": [schema],
    }
    if server:
        document["servers"] = [
            {"server": "landing", "type": "local", "path": f"landing/{name}/*", "format": "csv", **server}
        ]
    return document


def personal(role: str, **more: object) -> dict[str, object]:
    """A text property that is personal data."""
    return {"classification": "personal", "role": role, **more}


REGISTER = contract(
    "register",
    "party",
    {
        "entry": {"role": "record.id", "required": True},
        "first_name": personal("person.given_name"),
        "last_name": personal("person.surname"),
        "born": personal("person.birth_date"),
        "mail": personal("contact.email"),
        "phone": personal("contact.phone"),
        "street": personal("address.street"),
        "card": personal("id.loyalty"),
        "tier": {"role": "attribute.tier", "enum": [{"value": "gold"}, {"value": "basic"}]},
        "changed": {"role": "record.updated_at", "logicalType": "timestamp"},
    },
    {"pillar": "community_private", "mode": "offline", "function": "marketing", "maturity": "high", "trust": 0.8},
)
SHOP = contract(
    "shop",
    "order_line",
    {
        "line": {"role": "record.id", "required": True, "primaryKey": True},
        "basket": {"role": "order.id", "required": True},
        "bought_at": {"role": "event.at", "logicalType": "timestamp", "required": True},
        "amount": {
            "role": "order.amount",
            "logicalType": "number",
            "physicalType": "decimal(18,2)",
            "required": True,
            "logicalTypeOptions": {"minimum": -1000, "maximum": 1000},
        },
        "card": personal("id.loyalty"),
    },
    {"pillar": "ecommerce", "mode": "online", "function": "sales", "maturity": "medium"},
)
NEWSLETTER = contract(
    "newsletter",
    "campaign_contact",
    {
        "sending": {"role": "record.id", "required": True},
        "campaign": {"role": "campaign.id", "required": True},
        "sent_at": {"role": "campaign.sent_at", "logicalType": "timestamp", "required": True},
        "mail": personal("contact.email"),
    },
    {"pillar": "ecommerce", "mode": "online", "function": "marketing", "maturity": "low"},
)


def write_contract(root: Path, document: Mapping[str, Any]) -> Path:
    """Write a contract as `channels/<name>.yaml` of a data directory."""
    path = root / "channels" / f"{document['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(document), sort_keys=False), encoding="utf-8")
    return path


def register_rows(people: Sequence[Person] = PEOPLE) -> pl.DataFrame:
    """The register: everyone once; the first three a second time, with another spelling of the name and the same card."""
    rows = [
        {
            "entry": f"R{person.number:03d}",
            "first_name": person.given_name,
            "last_name": person.surname,
            "born": person.birth_date,
            "mail": person.email,
            "phone": person.phone,
            "street": person.street,
            "card": person.card,
            "tier": "gold" if person.number % 3 == 0 else "basic",
            "changed": f"2024-01-{1 + person.number:02d} 10:00:00",
        }
        for person in people
    ]
    again = [
        {**row, "entry": f"{row['entry']}b", "first_name": row["first_name"][:1], "changed": "2024-03-01 09:00:00"}
        for row in rows[:3]
    ]
    return pl.DataFrame(rows + again)


def shop_rows() -> pl.DataFrame:
    """Two baskets a customer, one with two lines; three of the baskets are of nobody known; one return."""
    rows = []
    for i in range(N_LINES):
        person = None if i in (12, 13, 14) else PEOPLE[i % N_CUSTOMERS]
        rows.append(
            {
                "line": f"L{i:03d}",
                "basket": f"B{i % 24:03d}",
                "bought_at": datetime(2024, 2, 1 + i % 28, 12, i),
                "amount": Decimal(1999 + 10 * i) / 100 * (-1 if i == 20 else 1),
                "card": person.card if person else None,
            }
        )
    return pl.DataFrame(rows, schema_overrides={"amount": pl.Decimal(18, 2), "card": pl.String})


def newsletter_rows() -> list[dict[str, str]]:
    """One campaign to everyone, by e-mail address."""
    return [
        {"sending": f"N{p.number}", "campaign": "spring", "sent_at": "2024-03-05T08:00:00", "mail": p.email}
        for p in PEOPLE
    ]


def write_company(root: Path) -> Path:
    """Write the company's contracts and extracts into a data directory and return it."""
    for document in (REGISTER, SHOP, NEWSLETTER):
        write_contract(root, document)
        (root / "landing" / document["name"]).mkdir(parents=True, exist_ok=True)
    landing = root / "landing"
    register_rows().write_csv(landing / "register" / "2024-03-01.csv")
    shop_rows().head(24).write_parquet(landing / "shop" / "february.parquet")
    shop_rows().tail(24).write_csv(landing / "shop" / "late.csv")
    (landing / "newsletter" / "spring.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in newsletter_rows()), encoding="utf-8"
    )
    return root


def environment(root: Path, **variables: str) -> dict[str, str]:
    """The process environment for a data directory, without `CX_*` and Dagster settings of the caller."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CX_", "DAGSTER_"))}
    return {
        **kept,
        "CX_DATA_DIR": str(root),
        "CX_HASH_KEY": HASH_KEY,
        "PYTHONPATH": str(REPOSITORY),
        "DAGSTER_HOME": str(root / ".dagster"),
        **variables,
    }


def benchmark(name: str) -> ModuleType:
    """A file of `benchmarks/` as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_of_{name}", REPOSITORY / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def cx(root: Path, *arguments: str, timeout: float = 240, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `cx` in a process of its own on a data directory."""
    return subprocess.run(
        [sys.executable, "-m", "cx_pipeline.cli", *arguments],
        env=environment(root, **variables),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def published(root: Path) -> dict[str, pl.DataFrame]:
    """Every table of the current snapshot by its full name."""
    current = (root / "published" / "current").resolve()
    return {f"{path.parent.name}.{path.stem}": pl.read_parquet(path) for path in sorted(current.glob("*/*.parquet"))}


def run_with_fault(root: Path, module: str, function: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cx run` with a function of the package replaced by one that raises an error quoting a planted value."""
    code = f"""
import sys
import {module} as module
def fail(*args, **kwargs):
    raise ValueError("cannot make sense of {PLANTED[0]}")
module.{function} = fail
from cx_pipeline.cli import main
sys.argv = ["cx", *{list(arguments)!r}]
main()
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment(root),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def comparable(table: pl.DataFrame) -> pl.DataFrame:
    """A table without what differs from run to run, in one order of rows."""
    of_the_ledger = ("at",) if {"entry", "event", "from_customer_id"} <= set(table.columns) else ()
    kept = table.drop([name for name in (*RUN_COLUMNS, *of_the_ledger) if name in table.columns])
    return kept.sort(kept.columns) if kept.width else kept
