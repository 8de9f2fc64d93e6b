"""Nights of identity in memory: sources that change from night to night, through the functions the asset calls.

Belongs here: building a night's inputs and passing its tables on to the next one. Does not belong here: what any test expects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.identity.decisions import VERDICT_SCHEMA
from cx_pipeline.identity.evidence import without_hot_values
from cx_pipeline.identity.fields import number_records
from cx_pipeline.identity.ledger import Previous
from cx_pipeline.identity.linkage import EDGE_SCHEMA, link
from cx_pipeline.identity.night import Night, Sightings, resolve_night
from cx_pipeline.identity.policy import CustomerPolicy, LinkagePolicy, ResolutionPolicy
from cx_pipeline.identity.standardise import standardise

Identifier = tuple[str, str]
Tables = dict[str, pl.DataFrame]
PAIR_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(["left_namespace", "left_value", "right_namespace", "right_value"], pl.String()),
        "n_records": pl.Int64(),
        "first_seen_at": pl.Datetime("us"),
        "last_seen_at": pl.Datetime("us"),
    }
)
IDENTIFIER_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(["channel", "namespace", "value", "raw_value"], pl.String()),
        "n_records": pl.Int64(),
        "first_seen_at": pl.Datetime("us"),
        "last_seen_at": pl.Datetime("us"),
    }
)
_ID_SCHEMA = dict.fromkeys(["channel", "record_id", "namespace", "value"], pl.String)


@dataclass
class Sources:
    """What staging delivers on a night.

    Attributes:
        parties: rows in columns of `staging.parties`; channel `crm` where they have none.
        carried: channel, record_id -> identifiers of a record.
        pairs: identifiers seen together in events.
        scores: left and right record_id (of any channel) -> log2 odds; None: the real linkage.
        verdicts: left record_id, right record_id, verdict.
        duplicate_free: channels.
    """

    parties: Sequence[Mapping[str, str | None]] = field(default_factory=list)
    carried: Mapping[str, Sequence[Identifier]] = field(default_factory=dict)
    pairs: Sequence[tuple[Identifier, Identifier]] = field(default_factory=list)
    scores: Mapping[tuple[str, str], float] | None = field(default_factory=dict)
    verdicts: Sequence[tuple[str, str, str]] = field(default_factory=list)
    duplicate_free: frozenset[str] = frozenset()

    def night(
        self,
        day: int = 1,
        before: Tables | None = None,
        policy: CustomerPolicy | None = None,
        resolution: ResolutionPolicy | None = None,
    ) -> Tables:
        """The tables after a night of January 2024."""
        parties = pl.DataFrame([{"channel": "crm", **row} for row in self.parties], infer_schema_length=None)
        # What is given scores is compared no more, so that its spelling need not be standardised.
        is_compared = self.scores is None
        records = number_records(to_polars(standardise(lazy(parties))) if is_compared else _as_standardised(parties))
        policy = policy or CustomerPolicy()
        seen = self._sightings(records)
        if self.scores is None:
            scored = link(without_hot_values(records, policy), LinkagePolicy(), self.duplicate_free).edges
        else:
            scored = self._scored(records)
        night = Night(
            at=datetime(2024, 1, day, 2),
            as_of=date(2024, 1, day),
            key="a key",
            duplicate_free=self.duplicate_free,
            resolution=resolution or ResolutionPolicy(),
            customers=policy,
        )
        return resolve_night(seen, scored, previous(before), night)

    def _sightings(self, records: pl.DataFrame) -> Sightings:
        channel = dict(records.select("record_id", "channel").iter_rows())
        carried = pl.DataFrame(
            [(channel[record], record, *given) for record, all_given in self.carried.items() for given in all_given],
            schema=_ID_SCHEMA,
            orient="row",
        )
        at = datetime(2024, 1, 1)
        pairs = pl.DataFrame(
            [(*left, *right, 1, at, at) for left, right in self.pairs], schema=PAIR_SCHEMA, orient="row"
        )
        seen = {row[2:] for row in carried.rows()} | {end for pair in self.pairs for end in pair}
        identifiers = pl.DataFrame(
            [("web", namespace, value, value, 1, at, at) for namespace, value in sorted(seen)],
            schema=IDENTIFIER_SCHEMA,
            orient="row",
        )
        verdicts = pl.DataFrame(
            [
                (channel.get(a, "crm"), a, channel.get(b, "crm"), b, verdict, at, False, "decisions/a.csv", i)
                for i, (a, b, verdict) in enumerate(self.verdicts, start=2)
            ],
            schema=VERDICT_SCHEMA,
            orient="row",
        )
        return Sightings(records, identifiers, carried, pairs, verdicts)

    def _scored(self, records: pl.DataFrame) -> pl.DataFrame:
        number = dict(records.select("record_id", "record").iter_rows())
        rows = [(*sorted((number[a], number[b])), weight) for (a, b), weight in (self.scores or {}).items()]
        schema = {name: EDGE_SCHEMA[name] for name in ("left", "right", "match_weight")}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _as_standardised(parties: pl.DataFrame) -> pl.DataFrame:
    """Parties whose values are in standard form already."""
    columns = ("full_name", "given_name", "surname", "birth_date", "birth_year", "sex", "organisation_name")
    whole = parties.with_columns(
        pl.lit(None, dtype=pl.String).alias(name) for name in columns if name not in parties.columns
    )
    names = pl.concat_str("given_name", "surname", separator=" ", ignore_nulls=True).replace("", None)
    return whole.with_columns(pl.coalesce("full_name", names).alias("full_name"))


def previous(tables: Tables | None) -> Previous:
    """Last night's tables as the next night reads them."""
    if tables is None:
        return Previous.nothing()
    return Previous(
        tables["customer_xref"].select("channel", "record_id", "customer_id"),
        tables["identifier_xref"].select("namespace", "value", "customer_id"),
        tables["ledger"],
        tables["customer_history"],
    )


def customer(tables: Tables, record: str) -> str:
    """The customer of a record."""
    found: str = tables["customer_xref"].filter(pl.col("record_id") == record)["customer_id"][0]
    return found


def events(tables: Tables, day: int) -> list[tuple[str, str, str | None]]:
    """event, customer_id, from_customer_id of a night's entries."""
    tonight = tables["ledger"].filter(pl.col("as_of") == date(2024, 1, day))
    return tonight.select("event", "customer_id", "from_customer_id").rows()


def contract_schemas() -> dict[str, dict[str, pl.DataType]]:
    """Columns and types of the room's contracts."""
    return {name: dict(table.polars_schema()) for name, table in load_step("identity").items()}
