"""Assets of the profile room, in flow order."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.profile import customers as master
from cx_pipeline.profile import features as known
from cx_pipeline.profile import golden, plots
from cx_pipeline.profile import timeline as events
from cx_pipeline.profile.policy import FeaturePolicy, SurvivorshipPolicy

TABLES = load_step("profile")
EVENT_TABLES = tuple(events.EVENT_KINDS)


@table_asset(
    TABLES["attribute_values"],
    reads=(
        "staging.parties",
        "staging.attributes",
        "identity.customer_xref",
        "identity.identifier_xref",
        "channels.catalogue",
    ),
    needs=("staging.clock",),
    plot=plots.values_by_status,
)
def attribute_values(
    run: Run,
    parties: nw.LazyFrame,
    attributes: nw.LazyFrame,
    xref: nw.LazyFrame,
    identifiers: nw.LazyFrame,
    catalogue: nw.LazyFrame,
) -> Frame:
    """One row per customer, attribute and record that states a value: winners, losers and the rule that decided.

    Every value of the golden record can be traced to the staged record that says so.
    """
    roles = {role for channel in run.channels if channel.kind == "party" for role in channel.roles}
    present = golden.present_columns(roles)
    stated = golden.values_of_records(parties, attributes, present)
    owners = golden.owners_of_records(xref, attributes, identifiers)
    values = golden.attribute_values(stated, owners, catalogue, run.policy(SurvivorshipPolicy), run.as_of)
    return values.with_columns(nw.lit(run.as_of).alias("as_of"))


@table_asset(
    TABLES["customers"],
    reads=(
        "identity.customer_xref",
        "identity.identifier_xref",
        "staging.identifiers",
        "staging.parties",
        "profile.attribute_values",
        "staging.consents",
    ),
    needs=("staging.clock",),
    plot=plots.customers_by_channels,
)
def customers(
    run: Run,
    xref: nw.LazyFrame,
    identifier_xref: nw.LazyFrame,
    identifiers: nw.LazyFrame,
    parties: nw.LazyFrame,
    values: nw.LazyFrame,
    consents: nw.LazyFrame,
) -> Frame:
    """One row per customer: the golden record, with first and last sight. The customer master file."""
    winners = to_polars(values.filter(nw.col("status") == "winner").select("customer_id", "attribute", "value"))
    given = events.attributed(consents, identifier_xref).select(
        "customer_id",
        nw.col("event_at").alias("at"),
        nw.col("consent_purpose").alias("purpose"),
        nw.col("consent_status").alias("status"),
    )
    return master.customer_rows(
        to_polars(master.sightings(xref, identifier_xref, identifiers, parties)),
        golden.golden_records(winners),
        golden.consent_by_purpose(to_polars(given)),
        run.as_of,
    )


@table_asset(TABLES["timeline"], reads=("identity.identifier_xref", *EVENT_TABLES), plot=plots.events_by_month)
def timeline(run: Run, xref: nw.LazyFrame, *tables: nw.LazyFrame) -> Frame:
    """One row per event of a customer, over all channels: orders, interactions, contacts, responses, payments, answers, usage."""
    return events.timeline(dict(zip(EVENT_TABLES, tables, strict=True)), xref)


@table_asset(
    TABLES["attribution_coverage"],
    reads=("identity.identifier_xref", *EVENT_TABLES),
    needs=("staging.clock",),
)
def attribution_coverage(run: Run, xref: nw.LazyFrame, *tables: nw.LazyFrame) -> Frame:
    """One row per channel and kind: how many rows, and how much money, are attributed to a customer."""
    counted = events.coverage(dict(zip(EVENT_TABLES, tables, strict=True)), xref)
    return counted.with_columns(nw.lit(run.as_of).alias("as_of"))


@table_asset(
    TABLES["features"],
    reads=(
        "profile.timeline",
        "staging.orders",
        "staging.order_lines",
        "staging.products",
        "identity.identifier_xref",
    ),
    needs=("staging.clock",),
    plot=plots.recency_at_cutoffs,
)
def features(
    run: Run,
    events_of_customers: nw.LazyFrame,
    orders: nw.LazyFrame,
    lines: nw.LazyFrame,
    products: nw.LazyFrame,
    xref: nw.LazyFrame,
) -> Frame:
    """One row per customer and cut-off: what was known of the customer on that day, as numbers for models.

    Tonight's rows are scored; those at past cut-offs, of a fixed sample of customers, are what models learn from.
    """
    policy, kept = run.policy(FeaturePolicy), run.warehouse.materialise
    bought = kept(known.bought_products(lines, orders, products, xref, run.as_of), "profile_bought_products")
    counted = known.customer_days(events_of_customers, orders, bought, xref, run.as_of)
    days = {source: kept(rows, f"profile_days_of_{source}") for source, rows in counted.items()}
    run.warehouse.drop_temporary("profile_bought_products")
    cutoffs = run.warehouse.frame(known.cutoffs(run.as_of, policy))
    return known.features(days, kept(known.panel(days, cutoffs, policy), "profile_panel"))


ASSETS = (attribute_values, customers, timeline, attribution_coverage, features)
