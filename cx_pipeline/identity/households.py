"""Households: a layer above customers. Who lives together is never one person because of it.

Belongs here: what puts customers into one household. Does not belong here: evidence for one person; organisations.

Customers share a household by a household id, by address and surname, or by telephone and surname. What more customers share than a
household has (a block of flats under one name, a call centre) makes none.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.identity.evidence import ID, connected_groups
from cx_pipeline.identity.policy import CustomerPolicy

HOUSEHOLD = "household"
HOUSEHOLD_SCHEMA = {"household_id": pl.String, "customer_id": pl.String, "n_customers": pl.Int64, "known_by": pl.String}


def households(
    records: pl.DataFrame,
    identifier_xref: pl.DataFrame,
    party_identifiers: pl.DataFrame,
    pairs: pl.DataFrame,
    policy: CustomerPolicy,
) -> pl.DataFrame:
    """One row per customer that shares a household with another one: `HOUSEHOLD_SCHEMA`.

    Args:
        records: channel, record_id, customer_id, party_kind (a name), and standardised surname, address columns, phone.
        identifier_xref: namespace, value, customer_id.
        party_identifiers: channel, record_id, namespace, value.
        pairs: identifiers seen together in events.
        policy: how many customers a household has at most.
    """
    people = records.filter(pl.col("party_kind") != "organisation")
    keys = pl.concat([_by_fields(people), _by_ids(people, identifier_xref, party_identifiers, pairs)]).unique()
    plausible = keys.filter(
        pl.col("customer_id").n_unique().over("rule", "key").is_between(2, policy.max_household_customers)
    )
    grouped = _grouped(plausible)
    # Telephones chain neighbours and offices together; addresses and ids stay.
    too_large = grouped.filter(pl.col("n_customers") > policy.max_household_customers)["customer_id"].unique()
    is_chained = pl.col("customer_id").is_in(too_large.implode())
    again = _grouped(plausible.filter(is_chained, pl.col("rule") != "phone_and_surname"))
    both = [
        frame.with_columns(pl.lit(i).alias("round")) for i, frame in enumerate((grouped.filter(~is_chained), again))
    ]
    kept = pl.concat(both).filter(pl.col("n_customers").is_between(2, policy.max_household_customers))
    return kept.select(
        pl.concat_str(pl.lit("H"), pl.col("customer_id").min().over("round", "first").str.slice(1)).alias(
            "household_id"
        ),
        "customer_id",
        "n_customers",
        "known_by",
    ).sort("household_id", "customer_id")


def _by_fields(people: pl.DataFrame) -> pl.DataFrame:
    """rule, key, customer_id by address and surname, and by telephone and surname."""

    def column(name: str) -> pl.Expr:
        return pl.col(name) if name in people.columns else pl.lit(None, dtype=pl.String)

    street = pl.concat_str([column("address_street"), column("address_number")], separator=" ")
    place = pl.coalesce(column("address_postcode"), column("address_city"))
    address = pl.concat_str(
        [pl.coalesce(street, column("address_line")), column("address_unit").fill_null(""), place], separator="\x1f"
    )
    keys = {"address_and_surname": address, "phone_and_surname": column("phone")}
    return pl.concat(
        [
            people.select(
                pl.lit(rule).alias("rule"),
                pl.concat_str([key, column("surname")], separator="\x1f").alias("key"),
                "customer_id",
            ).drop_nulls()
            for rule, key in keys.items()
        ]
    )


def _by_ids(
    people: pl.DataFrame, identifier_xref: pl.DataFrame, party_identifiers: pl.DataFrame, pairs: pl.DataFrame
) -> pl.DataFrame:
    """rule, key, customer_id by household ids, on records and in events."""
    carried = party_identifiers.filter(pl.col("namespace") == HOUSEHOLD).join(
        people.select("channel", "record_id", "customer_id"), on=["channel", "record_id"]
    )
    seen = [
        pairs.filter(pl.col(f"{a}_namespace") == HOUSEHOLD, pl.col(f"{b}_namespace") != HOUSEHOLD)
        .join(identifier_xref.select(*ID, "customer_id"), left_on=[f"{b}_namespace", f"{b}_value"], right_on=ID)
        .select(pl.col(f"{a}_value").alias("value"), "customer_id")
        for a, b in (("left", "right"), ("right", "left"))
    ]
    both = pl.concat([carried.select("value", "customer_id"), *seen])
    return both.select(pl.lit("household_id").alias("rule"), pl.col("value").alias("key"), "customer_id")


def _grouped(keys: pl.DataFrame) -> pl.DataFrame:
    """customer_id, first (number of the group's first customer), n_customers, known_by for customers that keys connect."""
    customers = keys.select("customer_id").unique().sort("customer_id").with_row_index("node")
    keyed = (
        keys.join(customers, on="customer_id")
        .sort("rule", "key", "node")
        .with_columns(pl.col("node").shift(1).over("rule", "key").alias("before"))
        .drop_nulls("before")
    )
    group = connected_groups(
        customers.height, keyed["before"].cast(pl.Int64).to_numpy(), keyed["node"].cast(pl.Int64).to_numpy()
    )
    _, first = np.unique(group, return_index=True)
    by = keys.group_by("customer_id").agg(pl.col("rule").unique().sort().str.join(", ").alias("known_by"))
    return (
        customers.with_columns(pl.Series("first", first[group] if len(group) else group, dtype=pl.Int64))
        .with_columns(pl.len().over("first").cast(pl.Int64).alias("n_customers"))
        .join(by, on="customer_id")
        .select("customer_id", "first", "n_customers", "known_by")
    )
