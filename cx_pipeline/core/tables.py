"""A contract's table once compiled: columns, types, keys and rules as plain data that every other part reads.

Belongs here: the compiled form and its translation to engine types, Polars schema and Dagster column schema.
Does not belong here: reading ODCS YAML (`contract.py`), checking rows (`expectations.py`), storing them (`warehouse.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import dagster as dg
    import polars as pl

LogicalType = Literal["string", "date", "timestamp", "time", "number", "integer", "boolean", "array", "object"]

RuleKind = Literal[
    "not_null", "unique", "in_set", "not_in_set", "between", "length_between", "matches", "row_count", "share_between"
]

_ENGINE_TYPES: dict[str, str] = {
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "time": "TIME",
    "number": "DOUBLE",
    "integer": "BIGINT",
    "boolean": "BOOLEAN",
    "object": "JSON",
    "array": "VARCHAR[]",
}
_MAX_DECIMAL_DIGITS = 38
_PHYSICAL = re.compile(
    r"^(varchar|text|string|date|timestamp|timestamp_ntz|time|double|bigint|integer|int|smallint|boolean|json"
    r"|decimal\(\d{1,2},\s*\d{1,2}\)|varchar\[\])$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for the rows of a table.

    Attributes:
        name: a true statement in snake case, e.g. `customer_id_is_never_null`.
        kind: not_null, unique, in_set, not_in_set, between, length_between, matches (row rules);
            row_count and share_between (table rules: number of rows; share of rows that break `inner`).
        columns: the columns it is about; several for a composite key; empty for row_count.
        values: the allowed (forbidden) values of in_set (not_in_set).
        minimum, maximum: bounds of between, length_between, row_count, share_between; None is open.
        exclusive_minimum, exclusive_maximum: whether the bound itself is forbidden.
        pattern: regular expression (RE2) of matches; the whole value must match.
        inner: the row rule whose breaks share_between counts (a share between 0 and 1).
    """

    name: str
    kind: RuleKind
    columns: tuple[str, ...] = ()
    values: tuple[object, ...] = ()
    minimum: float | str | None = None
    maximum: float | str | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    pattern: str | None = None
    inner: Rule | None = None

    @property
    def is_row_rule(self) -> bool:
        """Whether single rows can break it (and so be rejected at staging)."""
        return self.kind not in ("row_count", "share_between", "unique")


@dataclass(frozen=True)
class Column:
    """One column of a compiled table. `engine_type` is a DuckDB type; `roles` say what the column means."""

    name: str
    logical_type: LogicalType
    engine_type: str
    description: str = ""
    required: bool = False
    primary_key: bool = False
    unique: bool = False
    roles: tuple[str, ...] = ()
    is_personal: bool = False
    enum: tuple[object, ...] = ()
    format: str | None = None


@dataclass(frozen=True)
class Table:
    """A table with its contract, e.g. `identity.customer_xref`.

    Attributes:
        step: the room, which is also the schema, e.g. `identity`.
        name: the table's own name, e.g. `customer_xref`.
        description: begins with the grain: "One row per ...".
        columns: in the order of the contract.
        rules: everything that must hold, incl. those that follow from keys, required columns and enums.
        properties: remaining ODCS `customProperties` of the schema object.
        is_published: whether a snapshot of it goes to `published/`.
    """

    step: str
    name: str
    description: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()
    properties: Mapping[str, object] = field(default_factory=dict)
    is_published: bool = True

    @property
    def full_name(self) -> str:
        """`step.name`, the name in the warehouse."""
        return f"{self.step}.{self.name}"

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Names of the key columns, in order; empty where the table has none."""
        return tuple(column.name for column in self.columns if column.primary_key)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns, in the contract's order."""
        return tuple(column.name for column in self.columns)

    @property
    def engine_schema(self) -> dict[str, str]:
        """Column name -> DuckDB type."""
        return {column.name: column.engine_type for column in self.columns}

    @property
    def personal_columns(self) -> frozenset[str]:
        """Columns whose values must not leave the tables (logs, previews, check samples)."""
        return frozenset(column.name for column in self.columns if column.is_personal)

    @property
    def unpublished_columns(self) -> tuple[str, ...]:
        """Columns that stay in the warehouse."""
        names = self.properties.get("unpublished_columns", ())
        return tuple(names) if isinstance(names, list | tuple) else ()

    def without(self, names: tuple[str, ...]) -> Table:
        """The same table without some columns and without the rules about them."""
        return replace(
            self,
            columns=tuple(column for column in self.columns if column.name not in names),
            rules=tuple(rule for rule in self.rules if not set(rule.columns) & set(names)),
        )

    def column(self, name: str) -> Column:
        """The column of that name; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.full_name} has no column {name}")

    def polars_schema(self) -> pl.Schema:
        """The same columns as Polars types."""
        import polars as pl

        from cx_pipeline.core.frames import polars_type

        return pl.Schema({column.name: polars_type(column.engine_type) for column in self.columns})

    def empty(self) -> pl.DataFrame:
        """A frame of no rows with exactly the contract's columns and types."""
        return self.polars_schema().to_frame()

    def dagster_schema(self) -> dg.TableSchema:
        """For the UI's Columns tab (`dagster/column_schema`), known before the first run."""
        import dagster as dg

        return dg.TableSchema(
            columns=[
                dg.TableColumn(
                    name=column.name,
                    type=column.engine_type.lower(),
                    description=column.description or None,
                    constraints=dg.TableColumnConstraints(nullable=not column.required, unique=column.unique),
                    tags={"personal": ""} if column.is_personal else None,
                )
                for column in self.columns
            ]
        )


def engine_type(logical_type: str, physical_type: str | None = None) -> str:
    """DuckDB type of an ODCS column; a known physicalType wins over the logical one.

    Raises:
        ValueError: if the logical type is unknown, or a decimal has more than 38 digits.
    """
    if physical_type and _PHYSICAL.match(physical_type.strip()):
        text = physical_type.strip().upper()
        digits = [int(number) for number in re.findall(r"\d+", text)]
        if (digits and not 1 <= digits[0] <= _MAX_DECIMAL_DIGITS) or digits[1:] > digits[:1]:
            raise ValueError(f"{physical_type} is no decimal of at most {_MAX_DECIMAL_DIGITS} digits")
        return {"TEXT": "VARCHAR", "STRING": "VARCHAR", "TIMESTAMP_NTZ": "TIMESTAMP", "INT": "INTEGER"}.get(
            text, text.replace(" ", "")
        )
    if logical_type not in _ENGINE_TYPES:
        raise ValueError(f"columns of logicalType `{logical_type}` cannot be staged")
    return _ENGINE_TYPES[logical_type]
