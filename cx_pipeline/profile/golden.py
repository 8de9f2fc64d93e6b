"""The golden record: which of several values of an attribute stands, and why. Survivorship with provenance.

Belongs here: values out of records, the order of belief, the wide record. Does not belong here: who a record belongs to (identity).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta

import narwhals as nw
import polars as pl

from cx_pipeline.core.vocabulary import role_column
from cx_pipeline.profile.policy import SurvivorshipPolicy

# Columns of staging.parties that describe the customer; the rest says where a record comes from.
DESCRIBING = (
    "full_name",
    "given_name",
    "middle_name",
    "surname",
    "birth_date",
    "birth_year",
    "birth_place",
    "sex",
    "occupation",
    "organisation_name",
    "organisation_registration_id",
    "email",
    "phone",
    "address_line",
    "address_number",
    "address_street",
    "address_unit",
    "address_city",
    "address_region",
    "address_postcode",
    "address_country",
    "party_status",
)


def values_of_records(parties: nw.LazyFrame, attributes: nw.LazyFrame, present: Sequence[str]) -> nw.LazyFrame:
    """One row per record and value it states: channel, record_id, attribute, value, observed_at.

    Args:
        parties: `staging.parties`.
        attributes: `staging.attributes`.
        present: the describing columns that any contract fills; the others need not be looked at.
    """
    stated = [
        parties.filter(~nw.col(name).is_null()).select(
            "channel",
            "record_id",
            nw.lit(name).alias("attribute"),
            nw.col(name).cast(nw.String).alias("value"),
            nw.col("updated_at").alias("observed_at"),
        )
        for name in present
    ]
    return nw.concat([*stated, attributes.select("channel", "record_id", "attribute", "value", "observed_at")])


def attribute_values(
    values: nw.LazyFrame, owners: nw.LazyFrame, catalogue: nw.LazyFrame, policy: SurvivorshipPolicy, as_of: date
) -> nw.LazyFrame:
    """One row per customer, attribute and record that states a value: winner, loser or stale, with the rule that decided.

    The order of belief: fresh before stale, then trust of the channel, then recency, then how many records agree, then the name of
    channel and record, so that the result never depends on the order of rows.

    Args:
        values: channel, record_id, attribute, value, observed_at.
        owners: channel, record_id, customer_id.
        catalogue: `channels.catalogue`: channel, trust.
        policy: default trust, staleness.
        as_of: the date the results stand for.
    """
    trust = catalogue.select("channel", nw.col("trust").fill_null(policy.default_trust).alias("trust"))
    stale_before = as_of - timedelta(days=policy.stale_after_days) if policy.stale_after_days else date.min
    known = (
        values.join(owners.select("channel", "record_id", "customer_id"), on=["channel", "record_id"], how="inner")
        .join(trust, on="channel", how="left")
        .with_columns(
            nw.col("trust").fill_null(policy.default_trust),
            nw.when(nw.col("observed_at") < nw.lit(stale_before).cast(nw.Datetime("us")))
            .then(0)
            .otherwise(1)
            .alias("freshness"),
            nw.lit(1).alias("one"),
        )
    )
    customer = ["customer_id", "attribute"]
    known = known.with_columns(nw.col("one").sum().over(*customer, "value").alias("n_agree"))
    order = ["freshness", "trust", "observed_at", "n_agree", "channel", "record_id"]
    ranked = known.with_columns(
        nw.col("one").cum_sum().over(*customer, order_by=order).alias("nth"),
        nw.col("one").sum().over(*customer).alias("n"),
    )
    is_winner = nw.col("nth") == nw.col("n")
    ranked = ranked.with_columns(
        nw.when(is_winner).then(nw.col("value")).otherwise(None).max().over(*customer).alias("won_value")
    ).with_columns(
        nw.when(nw.col("value") != nw.col("won_value"))
        .then(nw.col("nth"))
        .otherwise(None)
        .max()
        .over(*customer)
        .alias("rival_nth")
    )
    is_rival = nw.col("nth") == nw.col("rival_nth")
    ranked = ranked.with_columns(
        nw.when(chosen).then(nw.col(name)).otherwise(None).max().over(*customer).alias(f"{whose}_{name}")
        for whose, chosen in (("won", is_winner), ("rival", is_rival))
        for name in order[:4]
    )
    status = (
        nw.when(is_winner)
        .then(nw.lit("winner"))
        .otherwise(
            nw.when(nw.col("freshness") < nw.col("won_freshness")).then(nw.lit("stale")).otherwise(nw.lit("loser"))
        )
    )
    return ranked.select(
        *customer, "value", "channel", "record_id", "observed_at", status.alias("status"), _decided_by().alias("rule")
    )


def _decided_by() -> nw.Expr:
    """What the winner has over the strongest record that says otherwise: the first step of the order of belief that tells them apart."""
    rule: nw.Expr = nw.lit("order_of_channels")
    for name, word in (
        ("n_agree", "frequency"),
        ("observed_at", "recency"),
        ("trust", "trust"),
        ("freshness", "freshness"),
    ):
        won, rival = nw.col(f"won_{name}"), nw.col(f"rival_{name}")
        rule = nw.when((won > rival) | (rival.is_null() & ~won.is_null())).then(nw.lit(word)).otherwise(rule)
    return nw.when(nw.col("rival_nth").is_null()).then(nw.lit("only_value")).otherwise(rule)


def golden_records(winners: pl.DataFrame) -> pl.DataFrame:
    """One row per customer with one column per describing attribute, the rest as JSON in `attributes`.

    Args:
        winners: customer_id, attribute, value: one row per customer and attribute.

    Returns:
        customer_id, the columns of `DESCRIBING`, attributes. A full name that no source has whole is put together from its parts.
    """
    wide = (
        winners.filter(pl.col("attribute").is_in(DESCRIBING)).pivot("attribute", index="customer_id", values="value")
        if winners.height
        else winners.select("customer_id")
    )
    wide = wide.with_columns(
        pl.lit(None, dtype=pl.String).alias(name) for name in DESCRIBING if name not in wide.columns
    )
    parts = pl.concat_str(
        [pl.col(name) for name in ("given_name", "middle_name", "surname")], separator=" ", ignore_nulls=True
    )
    wide = wide.with_columns(pl.coalesce("full_name", pl.when(parts != "").then(parts)).alias("full_name"))
    further = (
        winners.filter(~pl.col("attribute").is_in(DESCRIBING))
        .sort("customer_id", "attribute")
        .group_by("customer_id", maintain_order=True)
        .agg(pl.col("attribute"), pl.col("value"))
    )
    as_json = [
        json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
        for names, values in zip(further["attribute"], further["value"], strict=True)
    ]
    attributes = further.select("customer_id", pl.Series("attributes", as_json, dtype=pl.String))
    return wide.join(attributes, on="customer_id", how="full", coalesce=True).select(
        "customer_id", *DESCRIBING, "attributes"
    )


def consent_by_purpose(consents: pl.DataFrame) -> pl.DataFrame:
    """One row per customer: the latest status of each purpose as a JSON object.

    Args:
        consents: customer_id, at, purpose, status.
    """
    latest = consents.drop_nulls(["customer_id", "purpose", "status"]).sort("customer_id", "purpose", "at", "status")
    latest = latest.group_by("customer_id", "purpose", maintain_order=True).agg(pl.col("status").last())
    grouped = latest.group_by("customer_id", maintain_order=True).agg(pl.col("purpose"), pl.col("status"))
    as_json = [
        json.dumps(dict(zip(p, s, strict=True))) for p, s in zip(grouped["purpose"], grouped["status"], strict=True)
    ]
    return grouped.select("customer_id", pl.Series("consent", as_json, dtype=pl.String))


def present_columns(roles: set[str]) -> list[str]:
    """The describing columns that any of the roles fills, in order."""
    filled = {role_column(role) for role in roles}
    return [name for name in DESCRIBING if name in filled]


def owners_of_records(
    xref: nw.LazyFrame, attributes: nw.LazyFrame, identifiers: nw.LazyFrame, overlay_matches: nw.LazyFrame
) -> nw.LazyFrame:
    """channel, record_id, customer_id of every record that states something.

    Party records belong to whom identity says, third-party data to whom they are matched, others to whom their identifier leads.

    Args:
        xref: `identity.customer_xref`.
        attributes: `staging.attributes`: facts may stand on events too.
        identifiers: `identity.identifier_xref`.
        overlay_matches: `profile.overlay_matches`, every record of third-party data; one that is not matched has no owner.
    """
    record = ["channel", "record_id"]
    own = xref.select(*record, "customer_id")
    third_party = overlay_matches.select(*record, "customer_id")
    names = identifiers.select(
        nw.col("namespace").alias("identifier_namespace"), nw.col("value").alias("identifier_value"), "customer_id"
    )
    others = (
        attributes.select("channel", "record_id", "identifier_namespace", "identifier_value")
        .unique()
        .join(nw.concat([own, third_party]).select(*record), on=record, how="anti")
        .join(names, on=["identifier_namespace", "identifier_value"], how="inner")
        .select(*record, "customer_id")
    )
    return nw.concat([own, third_party.filter(~nw.col("customer_id").is_null()), others])
