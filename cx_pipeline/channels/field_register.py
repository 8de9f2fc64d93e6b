"""The register of fields: every field of every contract, and the decision it feeds - or why it feeds none.

Belongs here: from a field's role to the canonical column, the tables that read it and the decision; how full it is.
Does not belong here: the uses themselves (`uses.py`), what a field's values are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import narwhals as nw
import polars as pl

from cx_pipeline.channels.uses import USES, Use
from cx_pipeline.core.contract import Channel
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.tables import Column, Table

# Roles that find a customer or describe one have tables of their own, beside that of their kind.
_FAMILIES = {"id": "staging.identifiers.value", "attribute": "staging.attributes.value"}
_CONTACT = ("contact.email", "contact.phone")
# Times for which `event.at` stands in where a channel has no other.
_DEFAULTED = frozenset({"campaign.sent_at", "campaign.responded_at"})


@dataclass(frozen=True)
class Filled:
    """How full a channel's columns are: rows, and rows with a value by column."""

    n_rows: int
    n_filled: Mapping[str, int]


def filled(rows: nw.LazyFrame, channel: Channel) -> Filled:
    """Count a channel's rows and, by column, those that hold a value."""
    counted = to_polars(
        rows.select(
            nw.len().cast(nw.Int64).alias("__n_rows"),
            *(
                nw.col(column.name).count().cast(nw.Int64).alias(f"__n_{i}")
                for i, column in enumerate(channel.table.columns)
            ),
        )
    ).row(0)
    names = [column.name for column in channel.table.columns]
    return Filled(counted[0], dict(zip(names, counted[1:], strict=True)))


def field_register(
    channels: Sequence[Channel],
    fills: Mapping[str, Filled],
    canonical: Mapping[str, Table],
    known_tables: Collection[str],
    as_of: date,
    uses: Sequence[Use] = USES,
) -> list[dict[str, object]]:
    """One row per channel and field, with the columns of `channels.field_register`.

    Args:
        channels: every usable channel.
        fills: channel -> how full its columns are.
        canonical: kind -> contract of its canonical table.
        known_tables: full names of the tables there are; a use by any other does not count.
        as_of: the date the results stand for.
        uses: what roles are used for.
    """
    return [
        {
            "channel": channel.name,
            "field": column.name,
            "position": position,
            "logical_type": column.logical_type,
            "role": _listed(column.roles),
            "is_personal": column.is_personal,
            "is_required": column.required,
            "n_rows": fills[channel.name].n_rows,
            "filled_rate": _share(fills[channel.name], column.name),
            **_use(channel, column, canonical[channel.kind], known_tables, uses),
            "as_of": as_of,
        }
        for channel in channels
        for position, column in enumerate(channel.table.columns, start=1)
    ]


def _share(fill: Filled, column: str) -> float | None:
    return fill.n_filled[column] / fill.n_rows if fill.n_rows else None


def _use(
    channel: Channel, column: Column, canonical: Table, known_tables: Collection[str], uses: Sequence[Use]
) -> dict[str, str | None]:
    """What a field feeds: `feeds` (canonical columns), `used_by` (tables), `decision`, `reason` (where it feeds none)."""
    feeds = [name for role in column.roles for name in canonical_columns(role, channel.kind, canonical)]
    found = [
        use
        for use in uses
        for role in column.roles
        if use.covers(role, channel.kind) and canonical_columns(role, channel.kind, canonical)
    ]
    tables = [table for use in found for table in use.tables if table in known_tables]
    decisions = [use.decision for use in found if any(table in known_tables for table in use.tables)]
    return {
        "feeds": _listed(feeds),
        "used_by": _listed(sorted(set(tables))),
        "decision": _listed(decisions, "; "),
        "reason": None if tables else _reason(column, channel.kind, feeds),
    }


def canonical_columns(role: str, kind: str, canonical: Table) -> list[str]:
    """Full names of the canonical columns that a role's values go to, for records of a kind; empty where there is none."""
    own = [f"{canonical.full_name}.{column.name}" for column in canonical.columns if role in column.roles]
    if role == "record.id":
        own = [f"{canonical.full_name}.record_id"]
    family = role.partition(".")[0]
    if role in _CONTACT:
        return [*own, _FAMILIES["id"]]
    if role == "event.at" and kind == "overlay":
        return ["profile.overlay_matches.observed_at"]
    if role == "event.at" and not own:
        own = [
            f"{canonical.full_name}.{column.name}"
            for column in canonical.columns
            if _DEFAULTED.intersection(column.roles)
        ]
    return [*own, _FAMILIES[family]] if family in _FAMILIES else own


def _reason(column: Column, kind: str, feeds: Sequence[str]) -> str:
    if not column.roles:
        return "it has no role: staged and kept, nothing more"
    if not feeds:
        return f"records of kind {kind} have no use for the role {column.roles[0]}"
    return f"no step reads {feeds[0]} yet"


def _listed(words: Iterable[str], separator: str = ", ") -> str | None:
    """Words once each, in order; None for none."""
    return separator.join(dict.fromkeys(words)) or None


def unused_fields(register: pl.DataFrame) -> pl.DataFrame:
    """Fields that feed nothing: channel, field, reason; personal ones first."""
    return (
        register.filter(pl.col("used_by").is_null())
        .sort(pl.col("is_personal"), "channel", "position", descending=[True, False, False])
        .select("channel", "field", "is_personal", "reason")
    )
