"""The customer master file: golden record, consent, and when and where a customer was seen.

Belongs here: putting a customer's row together. Does not belong here: choosing values (`golden.py`), events (`timeline.py`).
"""

from __future__ import annotations

from datetime import date

import narwhals as nw
import polars as pl


def sightings(
    customer_xref: nw.LazyFrame, identifier_xref: nw.LazyFrame, identifiers: nw.LazyFrame, parties: nw.LazyFrame
) -> nw.LazyFrame:
    """One row per customer: numbers of records, channels and identifiers, first and last sight.

    Args:
        customer_xref: `identity.customer_xref`.
        identifier_xref: `identity.identifier_xref`.
        identifiers: `staging.identifiers`.
        parties: `staging.parties`, for the time of records.
    """
    records = customer_xref.join(
        parties.select("channel", "record_id", "updated_at"), on=["channel", "record_id"], how="left"
    )
    owned = identifier_xref.select("namespace", "value", "customer_id").join(
        identifiers.select("namespace", "value", "channel", "first_seen_at", "last_seen_at"),
        on=["namespace", "value"],
        how="left",
    )
    key = nw.concat_str([nw.col("namespace"), nw.col("value")], separator=":")
    nothing = nw.lit(None).cast(nw.String)
    both = nw.concat(
        [
            records.select(
                "customer_id",
                "channel",
                nw.concat_str([nw.col("channel"), nw.col("record_id")], separator=":").alias("record"),
                nothing.alias("identifier"),
                nw.col("updated_at").alias("first_at"),
                nw.col("updated_at").alias("last_at"),
            ),
            owned.select(
                "customer_id",
                "channel",
                nothing.alias("record"),
                key.alias("identifier"),
                nw.col("first_seen_at").alias("first_at"),
                nw.col("last_seen_at").alias("last_at"),
            ),
        ]
    )
    return both.group_by("customer_id").agg(
        _n_distinct("record").alias("n_records"),
        _n_distinct("channel").alias("n_channels"),
        _n_distinct("identifier").alias("n_identifiers"),
        nw.col("first_at").min().alias("first_seen_at"),
        nw.col("last_at").max().alias("last_seen_at"),
    )


def _n_distinct(column: str) -> nw.Expr:
    """Number of distinct values without NULL (n_unique counts NULL as one)."""
    has_null = nw.col(column).is_null().cast(nw.Int64).max()
    return nw.col(column).n_unique().cast(nw.Int64) - has_null


def customer_rows(sighted: pl.DataFrame, golden: pl.DataFrame, consent: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """One row per customer: golden record, consent, sightings.

    Args:
        sighted: from `sightings`; it says which customers there are.
        golden: from `golden.golden_records`.
        consent: from `golden.consent_by_purpose`.
        as_of: the date the rows stand for.
    """
    rows = sighted.join(golden, on="customer_id", how="left").join(consent, on="customer_id", how="left")
    return rows.with_columns(pl.lit(as_of).alias("as_of"))
