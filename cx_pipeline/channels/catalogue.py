"""The channel catalogue: what the contracts say about each channel, as a table.

Belongs here: deriving the catalogue from compiled contracts. Does not belong here: what arrived through a channel (staging).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from cx_pipeline.core.contract import Channel
from cx_pipeline.core.tables import Table

# What a channel mostly does, by the kind of its rows: the company acts, or the customer is heard.
ENGAGE_KINDS = frozenset({"campaign_contact", "channel_cost", "promise", "product"})


def catalogue(channels: Sequence[Channel], table: Table) -> pl.DataFrame:
    """One row per channel with a usable contract.

    Args:
        channels: compiled contracts.
        table: contract of the catalogue, for its columns and types.
    """
    rows = [
        {
            "channel": channel.name,
            "kind": channel.kind,
            "pillar": channel.properties.get("pillar"),
            "mode": channel.properties.get("mode"),
            "function": channel.properties.get("function"),
            "stance": "engage" if channel.kind in ENGAGE_KINDS else "listen",
            "maturity": channel.properties.get("maturity"),
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
