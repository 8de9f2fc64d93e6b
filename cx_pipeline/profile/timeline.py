"""The timeline: everything that happened to a customer, over all channels, in one form.

Belongs here: events out of canonical records, their attribution to customers, and how much stays unattributed.
Does not belong here: sessions, journeys and figures made of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import narwhals as nw


@dataclass(frozen=True)
class EventKind:
    """How the rows of a canonical table become events.

    Attributes:
        kind: the kind of the events.
        at: column with the time; the first of several that is not NULL.
        type, value, sentiment, outcome: columns, None where the table has none.
        direction: a column name, or a fixed direction with `=`.
    """

    kind: str
    at: tuple[str, ...]
    type: str | None = None
    value: str | None = None
    sentiment: str | None = None
    outcome: str | None = None
    direction: str = "=inbound"


EVENT_KINDS: dict[str, EventKind] = {
    "staging.orders": EventKind("order", ("event_at",), value="order_amount"),
    "staging.interactions": EventKind(
        "interaction", ("event_at",), "event_type", "event_value", "event_sentiment", "event_outcome", "event_direction"
    ),
    "staging.campaign_contacts": EventKind(
        "campaign_contact", ("campaign_sent_at",), "campaign_id", direction="=outbound"
    ),
    "staging.campaign_responses": EventKind(
        "campaign_response", ("campaign_responded_at",), "campaign_id", "campaign_value"
    ),
    "staging.survey_responses": EventKind("survey_response", ("event_at",), "survey_instrument", "survey_score"),
    "staging.subscriptions": EventKind(
        "subscription", ("subscription_started_on",), "subscription_plan", "subscription_fee"
    ),
    "staging.payments": EventKind("payment", ("event_at", "payment_paid_on"), "payment_method", "payment_amount"),
    "staging.opportunities": EventKind(
        "opportunity", ("event_at", "updated_at"), "opportunity_stage", "opportunity_amount"
    ),
    "staging.consents": EventKind("consent", ("event_at", "updated_at"), "consent_purpose", outcome="consent_status"),
    "staging.privacy_requests": EventKind("privacy_request", ("event_at",), "request_type"),
    "staging.usage": EventKind("usage", ("event_at",), "usage_metric", "usage_value"),
}


def attributed(rows: nw.LazyFrame, xref: nw.LazyFrame) -> nw.LazyFrame:
    """Rows with the customer that their identifier leads to, NULL where it leads nowhere.

    Args:
        rows: any canonical table with identifier_namespace and identifier_value.
        xref: `identity.identifier_xref`.
    """
    owners = xref.select(
        nw.col("namespace").alias("identifier_namespace"), nw.col("value").alias("identifier_value"), "customer_id"
    )
    return rows.join(owners, on=["identifier_namespace", "identifier_value"], how="left")


def events(rows: nw.LazyFrame, xref: nw.LazyFrame, kind: EventKind) -> nw.LazyFrame:
    """One row per event of a customer; rows without time or without customer are no events.

    Args:
        rows: a canonical table.
        xref: `identity.identifier_xref`.
        kind: how its columns are read.
    """

    def column(name: str | None, dtype: type[nw.String] | type[nw.Float64]) -> nw.Expr:
        return (nw.col(name) if name else nw.lit(None)).cast(dtype)

    at = nw.coalesce(*(nw.col(name).cast(nw.Datetime("us")) for name in kind.at))
    if kind.direction.startswith("="):
        direction: nw.Expr = nw.lit(kind.direction[1:])
    else:
        said = nw.col(kind.direction).str.to_lowercase()
        direction = nw.when(said.is_in(["inbound", "outbound"])).then(said).otherwise(None)
    return (
        attributed(rows, xref)
        .with_columns(at.alias("at"))
        .filter(~nw.col("at").is_null() & ~nw.col("customer_id").is_null())
        .select(
            "customer_id",
            "at",
            "channel",
            nw.lit(kind.kind).alias("kind"),
            "record_id",
            column(kind.type, nw.String).alias("type"),
            direction.alias("direction"),
            column(kind.value, nw.Float64).alias("value"),
            column(kind.sentiment, nw.Float64).alias("sentiment"),
            column(kind.outcome, nw.String).alias("outcome"),
        )
    )


def timeline(tables: Mapping[str, nw.LazyFrame], xref: nw.LazyFrame) -> nw.LazyFrame:
    """One row per event of a customer, over all kinds.

    Args:
        tables: canonical tables by full name, those of `EVENT_KINDS`.
        xref: `identity.identifier_xref`.
    """
    return nw.concat([events(rows, xref, EVENT_KINDS[name]) for name, rows in tables.items()])


def coverage(tables: Mapping[str, nw.LazyFrame], xref: nw.LazyFrame) -> nw.LazyFrame:
    """One row per channel and kind: rows and money with and without a customer.

    Args:
        tables: canonical tables by full name, those of `EVENT_KINDS`.
        xref: `identity.identifier_xref`.
    """
    money = {
        "staging.orders": "order_amount",
        "staging.payments": "payment_amount",
        "staging.campaign_responses": "campaign_value",
    }

    def counted(name: str, rows: nw.LazyFrame) -> nw.LazyFrame:
        amount = (nw.col(money[name]) if name in money else nw.lit(None)).cast(nw.Decimal(18, 4))
        is_known = ~nw.col("customer_id").is_null()
        marked = attributed(rows, xref).with_columns(
            amount.alias("amount"), nw.lit(EVENT_KINDS[name].kind).alias("kind"), is_known.alias("is_known")
        )
        return (
            marked.group_by("channel", "kind")
            .agg(
                nw.len().cast(nw.Int64).alias("n_rows"),
                nw.when(nw.col("is_known")).then(1).otherwise(0).sum().cast(nw.Int64).alias("n_attributed"),
                nw.when(~nw.col("is_known")).then(1).otherwise(0).sum().cast(nw.Int64).alias("n_unattributed"),
                nw.when(nw.col("amount").is_null()).then(0).otherwise(1).sum().alias("n_amounts"),
                nw.col("amount").sum().alias("amount"),
                nw.when(nw.col("is_known")).then(nw.col("amount")).otherwise(None).sum().alias("amount_attributed"),
                nw.when(~nw.col("is_known")).then(nw.col("amount")).otherwise(None).sum().alias("amount_unattributed"),
            )
            # A sum over rows without money is no money known, not zero.
            .with_columns(
                nw.when(nw.col("n_amounts") > 0).then(nw.col(name)).otherwise(None).alias(name)
                for name in ("amount", "amount_attributed", "amount_unattributed")
            )
            .drop("n_amounts")
        )

    return nw.concat([counted(name, rows) for name, rows in tables.items()])
