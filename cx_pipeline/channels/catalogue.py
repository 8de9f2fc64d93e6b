"""The channel catalogue: what the contracts say about each channel, as a table.

Belongs here: deriving the catalogue from compiled contracts. Does not belong here: what arrived through a channel (`coverage.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from cx_pipeline.channels.policy import CataloguePolicy
from cx_pipeline.core import vocabulary
from cx_pipeline.core.contract import Channel
from cx_pipeline.core.tables import Table

LISTEN, ENGAGE, BOTH = "listen", "engage", "both"
# What a channel carries, by the kind of its rows: the company speaks, or the customer is heard.
ENGAGE_KINDS = frozenset({"campaign_contact", "channel_cost", "promise", "product"})
_STANCE_OF_DIRECTION = {"inbound": LISTEN, "outbound": ENGAGE}


def catalogue(channels: Sequence[Channel], table: Table, policy: CataloguePolicy) -> pl.DataFrame:
    """One row per channel with a usable contract.

    Args:
        channels: compiled contracts.
        table: contract of the catalogue, for its columns and types.
        policy: maturity of channels whose contract gives none.
    """
    rows = [
        {
            "channel": channel.name,
            "kind": channel.kind,
            "pillar": channel.properties.get("pillar"),
            "mode": channel.properties.get("mode"),
            "function": channel.properties.get("function"),
            "stance": stance(channel),
            "maturity": channel.properties.get("maturity") or usual_maturity(channel.name, policy.maturity_by_type),
            "maturity_source": _maturity_source(channel, policy),
            "trust": channel.properties.get("trust"),
            "is_duplicate_free": channel.duplicate_free,
            "freshness_days": channel.freshness_days,
            "n_columns": len(channel.table.columns),
            "n_columns_with_role": sum(bool(column.roles) for column in channel.table.columns),
            "n_personal_columns": len(channel.table.personal_columns),
            "description": channel.description or None,
        }
        for channel in channels
    ]
    return pl.DataFrame(rows, schema=table.polars_schema())


def stance(channel: Channel) -> str:
    """Whether customers are heard through a channel (`listen`), spoken to (`engage`), or both.

    Interactions say so by `event.direction`: its allowed values where the contract lists them, both where it does not; a channel
    of interactions without directions is taken to carry what customers do.
    """
    if channel.kind in ENGAGE_KINDS:
        return ENGAGE
    direction = channel.column_of("event.direction")
    if channel.kind != "interaction" or direction is None:
        return LISTEN
    allowed = {str(value).strip().lower() for value in channel.table.column(direction).enum}
    stances = {_STANCE_OF_DIRECTION[value] for value in allowed & _STANCE_OF_DIRECTION.keys()}
    return stances.pop() if len(stances) == 1 else BOTH


def usual_maturity(name: str, maturity_by_type: Mapping[str, str]) -> str | None:
    """Maturity of channels of a type that the name tells, the lowest of several; None where it tells none."""
    words = f" {re.sub(r'[^a-z0-9]+', ' ', name.lower())} ".replace(" e mail ", " email ")
    found = {
        maturity
        for type_name, maturity in maturity_by_type.items()
        if f" {re.sub(r'[^a-z0-9]+', ' ', type_name.lower()).strip()} " in words
    }
    return next((maturity for maturity in vocabulary.MATURITIES if maturity in found), None)


def _maturity_source(channel: Channel, policy: CataloguePolicy) -> str | None:
    if channel.properties.get("maturity"):
        return "contract"
    return "type" if usual_maturity(channel.name, policy.maturity_by_type) else None
