"""Inputs of `coupon_response`: the frames it is made of, and the columns of order channels that the settings name.

Belongs here: asking the engine for point-in-time history of a set of moments. Does not belong here: what a feature means (`response.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import narwhals as nw
import polars as pl

from cx_pipeline.core.contract import Channel, nearest
from cx_pipeline.core.errors import ConfigurationError, Problem, Problems
from cx_pipeline.core.frames import to_polars
from cx_pipeline.propensity import response

ORDER_KINDS = {"order": "staging.orders", "order_line": "staging.order_lines"}
_NUMBERS = ("number", "integer", "boolean")


@dataclass(frozen=True)
class OrderColumn:
    """A numeric column of an order channel whose use becomes a feature.

    Attributes:
        channel, column: where it stands.
        record_column: the channel's column with the role record.id.
        canonical: the canonical table that the channel feeds.
    """

    channel: str
    column: str
    record_column: str
    canonical: str

    @property
    def name(self) -> str:
        """The feature's name."""
        return f"{self.channel}_{self.column}"


def order_columns(wanted: Sequence[str], channels: Sequence[Channel]) -> list[OrderColumn]:
    """The columns that `propensity.order_columns` of the settings names.

    Raises:
        ConfigurationError: naming every one that is no numeric column of an order channel.
    """
    known = {
        f"{channel.name}.{column.name}": OrderColumn(
            channel.name, column.name, channel.column_of("record.id") or "", ORDER_KINDS[channel.kind]
        )
        for channel in channels
        if channel.kind in ORDER_KINDS
        for column in channel.table.columns
        if column.logical_type in _NUMBERS
    }
    missing = [
        Problem(
            f"`{name}` is no numeric column of an order channel",
            "settings.yaml: propensity.order_columns",
            remedy=nearest(name, list(known)),
        )
        for name in wanted
        if name not in known
    ]
    if missing:
        problems = Problems(missing)
        problems.raise_if_any(ConfigurationError)
    return [known[name] for name in wanted]


@dataclass(frozen=True)
class Sources:
    """The tables behind `coupon_response`, and the engine.

    Attributes:
        orders, responses, xref: canonical tables and `identity.identifier_xref`.
        uses: feature name -> customer_id and event_at of the orders that used it.
        frame: brings a Polars frame into the engine.
    """

    orders: nw.LazyFrame
    responses: nw.LazyFrame
    xref: nw.LazyFrame
    uses: Mapping[str, nw.LazyFrame]
    frame: Callable[[pl.DataFrame], nw.LazyFrame]

    def rows_of(self, moments: pl.DataFrame, known: pl.DataFrame, uses: Sequence[str]) -> pl.DataFrame:
        """The moments with everything that was known before them (see `response.rows_of`).

        Args:
            moments: customer_id, at, offer, n_contacted.
            known: from `response.contacts`.
            uses: names of the order columns that the model knows; one that is gone counts as never used.
        """
        distinct = moments.select("customer_id", "at").unique().sort("customer_id", "at")
        engine_moments = self.frame(distinct)
        answers = response.attributed(self.responses, self.xref).filter(~nw.col("campaign_responded_at").is_null())
        none = pl.DataFrame(schema={"customer_id": pl.String, "at": pl.Datetime("us")})
        histories = {
            name: to_polars(response.use_history(engine_moments, self.uses[name], name))
            if name in self.uses
            else none.with_columns(pl.lit(0, dtype=pl.Int64).alias(f"n_{name}_180d"))
            for name in uses
        }
        return response.rows_of(
            moments,
            known,
            to_polars(answers.select("customer_id", nw.col("campaign_responded_at").alias("responded_at"))),
            to_polars(response.order_history(engine_moments, self.orders, self.xref)),
            histories,
        )
