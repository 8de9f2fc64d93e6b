"""A file's columns against the contract's: where each value comes from, and the rules in the order in which a row is judged.

Belongs here: matching names, SQL of raw rows. Does not belong here: SQL of a typed value (`values.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cx_pipeline.core.errors import Problem, UnreadableExtractError
from cx_pipeline.core.expectations import broken_condition
from cx_pipeline.core.extracts.delimited import Header
from cx_pipeline.core.extracts.formats import IS_A_JSON_OBJECT, ExtractFormat
from cx_pipeline.core.extracts.json_lines import OBJECT_START, json_keys
from cx_pipeline.core.extracts.values import Source, Value, typed_value
from cx_pipeline.core.frames import quote_identifier, quote_literal
from cx_pipeline.core.tables import Table


@dataclass(frozen=True)
class Layout:
    """A file's columns against the contract's.

    Attributes:
        n_columns: how many raw columns (`~0`, `~1`, ...) are read.
        sources: contract column -> where its value comes from; columns the file lacks are not there.
        columns_extra: in the file only.
        raw_row: SQL of a row's raw text.
        structural: rules (name, condition) that come before those of columns.
        keys_seen: JSON only: contract columns seen as keys at the start of the file.
        engine_columns: Parquet only: name in the file, name and type in the engine.
    """

    n_columns: int
    sources: Mapping[str, Source]
    columns_extra: tuple[str, ...]
    raw_row: str
    structural: tuple[tuple[str, str], ...] = ()
    is_json: bool = False
    keys_seen: frozenset[str] = frozenset()
    json_paths: tuple[str, ...] = ()
    engine_columns: tuple[tuple[str, str, str], ...] = ()

    def prepared(self, source: str) -> str:
        """The select of raw columns; of JSON with one text column (`~1`, `~2`, ...) for each of the contract's."""
        if not self.is_json:
            return source
        paths = ", ".join(quote_literal(path) for path in self.json_paths)
        values = f'SELECT *, TRY(json_extract_string({raw_column(0)}, [{paths}])) AS "~values" FROM ({source})'
        columns = ", ".join(f'"~values"[{i}] AS {raw_column(i)}' for i in range(1, len(self.json_paths) + 1))
        is_object = f'"~values" IS NOT NULL AND regexp_matches({raw_column(0)}, {quote_literal(OBJECT_START)})'
        return f'SELECT * EXCLUDE ("~values"), {is_object} AS "~is_object", {columns} FROM ({values})'

    def values(self, table: Table, fmt: ExtractFormat) -> list[Value]:
        """Per contract column: SQL of its typed value and of what is wrong with it."""
        return [
            typed_value(column, self.sources[column.name], fmt)
            if column.name in self.sources
            else Value(f"NULL::{column.engine_type}")
            for column in table.columns
        ]


def raw_column(i: int) -> str:
    """The i-th raw column of a row, quoted."""
    return f'"~{i}"'


def csv_layout(header: Header, table: Table, source_file: str) -> Layout:
    """The layout of a CSV; raises UnreadableExtractError where names are ambiguous."""
    places = _matched(header.names, table, source_file)
    fields = ", ".join(f"{quote_literal(name)}, {raw_column(i)}" for i, name in enumerate(header.names))
    return Layout(
        n_columns=len(header.names),
        sources={name: Source(raw_column(i)) for name, i in places.items()},
        columns_extra=tuple(name for i, name in enumerate(header.names) if i not in places.values()),
        raw_row=f"CAST(json_object({fields}) AS VARCHAR)",
    )


def json_layout(start: bytes, table: Table) -> Layout:
    """The layout of JSON lines, by the keys of the first of them."""
    keys = json_keys(start)
    by_folded = {key.strip().casefold(): key for key in reversed(keys)}
    names = {name: name if name in keys else by_folded.get(name.casefold(), name) for name in table.column_names}
    return Layout(
        n_columns=1,
        sources={name: Source(raw_column(i)) for i, name in enumerate(names, 1)},
        columns_extra=tuple(key for key in keys if key not in names.values()),
        raw_row=raw_column(0),
        structural=((IS_A_JSON_OBJECT, 'NOT "~is_object"'),),
        is_json=True,
        keys_seen=frozenset(name for name, key in names.items() if key in keys),
        json_paths=tuple("/" + key.replace("~", "~0").replace("/", "~1") for key in names.values()),
    )


def parquet_layout(columns: Sequence[tuple[str, str, str]], table: Table, source_file: str) -> Layout:
    """The layout of a Parquet file; raises UnreadableExtractError where names are ambiguous."""
    names = [name for name, _, _ in columns]
    places = _matched(names, table, source_file)
    fields = ", ".join(f"{quote_literal(name)}, {raw_column(i)}" for i, name in enumerate(names))
    return Layout(
        n_columns=len(columns),
        sources={name: Source(raw_column(i), columns[i][2]) for name, i in places.items()},
        columns_extra=tuple(name for i, name in enumerate(names) if i not in places.values()),
        raw_row=f"CAST(json_object({fields}) AS VARCHAR)",
        engine_columns=tuple(columns),
    )


def _matched(names: Sequence[str], table: Table, source_file: str) -> dict[str, int]:
    """Contract column -> position in the file: the same name, else the same but for case and blanks around it.

    Raises:
        UnreadableExtractError: if a name is there twice, or two names fit one column.
    """
    repeated = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    if repeated:
        raise UnreadableExtractError(
            Problem(
                "the header names a column twice",
                source_file,
                count=len(repeated),
                example=f"`{repeated[0][:60]}`",
                remedy="ask the source for unique names",
            )
        )
    exact = {name: i for i, name in enumerate(names)}
    folded: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        folded.setdefault(name.casefold(), []).append(i)
    places: dict[str, int] = {}
    for column in table.column_names:
        candidates = [exact[column]] if column in exact else folded.get(column.strip().casefold(), [])
        if len(candidates) > 1:
            raise UnreadableExtractError(
                Problem(
                    f"{len(candidates)} columns of the header could be `{column}`",
                    source_file,
                    remedy="ask the source for unique names",
                )
            )
        places.update({column: candidates[0]} if candidates else {})
    return places


def row_rules(table: Table, layout: Layout, values: Sequence[Value]) -> list[tuple[str, str]]:
    """Name and SQL condition of breaking, in the order in which a row's first broken rule is looked for."""
    found = list(layout.structural)
    found += [
        (f"{column.name}_is_in_the_file", "TRUE")
        for column in table.columns
        if column.required and column.name not in layout.sources
    ]
    positions = {name: i for i, name in enumerate(table.column_names)}
    rules = [rule for rule in table.rules if rule.is_row_rule]
    never_null = {rule.columns[0] for rule in rules if rule.kind == "not_null" and len(rule.columns) == 1}
    for column, value in zip(table.columns, values, strict=True):
        found += [(f"{column.name}_{suffix}", condition) for suffix, condition in value.broken]
        if column.required and column.name not in never_null:
            found.append((f"{column.name}_is_never_null", f"{quote_identifier(column.name)} IS NULL"))
        about = [
            rule
            for rule in rules
            if max((positions.get(name, 0) for name in rule.columns), default=0) == positions[column.name]
        ]
        # NULL is the first thing to say about a value that is not there.
        for rule in sorted(about, key=lambda rule: rule.kind != "not_null"):
            found.append((rule.name, broken_condition(table, rule)))
    return found
