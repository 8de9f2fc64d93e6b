"""Business checks of the profile room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_check

_COUNTED = {"n_orders": "order", "n_contacts": "campaign_contact", "n_responses": "campaign_response"}


@table_check("profile.customers", reads=("profile.customers", "identity.customer_xref", "identity.identifier_xref"))
def every_customer_id_has_one_profile(
    customers: nw.LazyFrame, records: nw.LazyFrame, identifiers: nw.LazyFrame
) -> nw.LazyFrame:
    """Each customer that a record or an identifier leads to has a row, and no other has."""
    known = nw.concat([records.select("customer_id"), identifiers.select("customer_id")]).unique()
    missing = known.join(customers, on="customer_id", how="anti").with_columns(nw.lit("without profile").alias("fault"))
    unknown = (
        customers.select("customer_id")
        .join(known, on="customer_id", how="anti")
        .with_columns(nw.lit("unknown").alias("fault"))
    )
    return nw.concat([missing, unknown])


@table_check("profile.attribute_values")
def every_attribute_has_one_winner(values: nw.LazyFrame) -> nw.LazyFrame:
    """Of all values of a customer's attribute exactly one stands in the golden record."""
    won = nw.when(nw.col("status") == "winner").then(1).otherwise(0).sum().alias("n_winners")
    return values.group_by("customer_id", "attribute").agg(won).filter(nw.col("n_winners") != 1)


@table_check("profile.attribution_coverage", reads=("profile.attribution_coverage", "staging.orders"))
def attributed_and_unattributed_money_is_all_money(coverage: nw.LazyFrame, orders: nw.LazyFrame) -> nw.LazyFrame:
    """Money of customers and money without a customer together are the money of all staged orders, to the cent."""
    staged = orders.group_by("channel").agg(nw.col("order_amount").cast(nw.Decimal(18, 4)).sum().alias("staged_amount"))
    said = coverage.filter(nw.col("kind") == "order").with_columns(
        (nw.col("amount_attributed").fill_null(0) + nw.col("amount_unattributed").fill_null(0)).alias("said_amount")
    )
    together = staged.join(said, on="channel", how="left")
    return together.filter(
        (nw.col("said_amount") != nw.col("staged_amount").fill_null(0)) | nw.col("said_amount").is_null()
    ).select("channel", "staged_amount", "said_amount")


@table_check("profile.timeline", reads=("profile.timeline", "profile.customers"))
def every_event_belongs_to_a_known_customer(timeline: nw.LazyFrame, customers: nw.LazyFrame) -> nw.LazyFrame:
    """No event stands for a customer without a profile."""
    return timeline.select("customer_id").unique().join(customers, on="customer_id", how="anti").select("customer_id")


@table_check("profile.features", reads=("profile.features", "profile.timeline"))
def no_feature_looks_into_the_future(features: nw.LazyFrame, timeline: nw.LazyFrame) -> nw.LazyFrame:
    """Counted anew from the events up to each cut-off, orders, contacts, responses and the last event are those of the features."""

    def counted(kind: str) -> nw.Expr:
        return nw.when(nw.col("kind") == kind).then(1).otherwise(0).sum().cast(nw.Int64)

    happened = timeline.select(
        "customer_id",
        nw.col("at").cast(nw.Date).alias("happened_on"),
        nw.when((nw.col("kind") != "order") | (nw.col("value") > 0)).then(nw.col("kind")).otherwise(None).alias("kind"),
    )
    dates = features.select("customer_id", "as_of", *_COUNTED, "days_since_event")
    anew = (
        dates.select("customer_id", "as_of")
        .join(happened, on="customer_id")
        .filter(nw.col("happened_on") <= nw.col("as_of"))
        .group_by("customer_id", "as_of")
        .agg(*(counted(kind).alias(f"{name}_anew") for name, kind in _COUNTED.items()))
    )
    differs = nw.any_horizontal(
        *(nw.col(name) != nw.col(f"{name}_anew").fill_null(0) for name in _COUNTED),
        nw.col("days_since_event") < 0,
        ignore_nulls=True,
    )
    return dates.join(anew, on=["customer_id", "as_of"], how="left").filter(differs)


CHECKS = (
    every_customer_id_has_one_profile,
    every_attribute_has_one_winner,
    attributed_and_unattributed_money_is_all_money,
    every_event_belongs_to_a_known_customer,
    no_feature_looks_into_the_future,
)
