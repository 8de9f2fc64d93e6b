"""The data dictionary: every table's columns, types, rules and meaning as Markdown, written from the contracts.

Belongs here: rendering. Does not belong here: what a table means (`<step>/contract.yaml` says it).
"""

from __future__ import annotations

from collections.abc import Sequence

from cx_pipeline.core.tables import Table

_HEAD = """# Tables

Written by `make docs` from each step's `contract.yaml`; do not edit. Published tables are in `published/current/<step>/<table>.parquet`,
all tables in the warehouse under the same names. *P* marks personal data, *key* the primary key, *!* a column that is never NULL.
Beside these, each channel has `staging.channel_<channel>` (its contract's columns, `source_file`, `source_line`) and
`staging.channel_<channel>_rejected` (`source_file`, `source_line`, `rule`).
"""


def tables_markdown(tables: Sequence[Table]) -> str:
    """The data dictionary of the given tables, step by step in their order."""
    parts = [_HEAD]
    step = ""
    for table in tables:
        if table.step != step:
            step = table.step
            parts.append(f"## {step}\n")
        parts.append(_table(table))
    return "\n".join(parts)


def _table(table: Table) -> str:
    lines = [f"### {table.full_name}", "", table.description + ("" if table.is_published else " Not published."), ""]
    lines += ["| column | type | | meaning |", "| --- | --- | --- | --- |"]
    for column in table.columns:
        marks = [
            mark
            for mark, is_set in (
                ("key", column.primary_key),
                ("!", column.required and not column.primary_key),
                ("P", column.is_personal),
            )
            if is_set
        ]
        meaning = column.description.replace("|", "\\|")
        if column.enum:
            meaning += f" ({', '.join(f'`{value}`' for value in column.enum)})"
        lines.append(f"| `{column.name}` | {column.engine_type.lower()} | {' '.join(marks)} | {meaning} |")
    return "\n".join(lines) + "\n"
