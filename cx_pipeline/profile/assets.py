"""Assets of the profile room, in flow order."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_asset, tables_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.profile import conflicts, golden, plots, sessions, social
from cx_pipeline.profile import customers as master
from cx_pipeline.profile import features as known
from cx_pipeline.profile import overlay as third_party
from cx_pipeline.profile import timeline as events
from cx_pipeline.profile import usage as products
from cx_pipeline.profile.policy import (
    ConflictPolicy,
    FeaturePolicy,
    OverlayPolicy,
    SessionPolicy,
    SocialPolicy,
    SurvivorshipPolicy,
)

TABLES = load_step("profile")
EVENT_TABLES = tuple(events.EVENT_KINDS)
_VISIT_TABLES = {
    "sessions": "One row per visit to on-line channels: when, through which channel, what was searched for, put into the cart, bought.",
    "cart_abandonment": "One row per cart: bought in the visit, left behind, or recovered by a later order on whichever channel.",
}


@table_asset(
    TABLES["overlay_matches"],
    reads=("staging.identifiers", "identity.identifier_xref", "channels.catalogue"),
    needs=("staging.clock", "staging.overlays"),
    plot=plots.overlay_by_match,
)
def overlay_matches(run: Run, identifiers: nw.LazyFrame, xref: nw.LazyFrame, catalogue: nw.LazyFrame) -> Frame:
    """One row per record of third-party data: the customer that its e-mail or phone leads to, or why there is none."""
    providers = [channel for channel in run.channels if channel.kind == "overlay"]
    if not providers:
        return TABLES["overlay_matches"].empty()
    rows = [(run.warehouse.read(channel.table.full_name), channel) for channel in providers]
    keys = nw.concat([third_party.record_keys(read, channel) for read, channel in rows])
    observed = nw.concat([third_party.observations(read, channel) for read, channel in rows])
    found = third_party.overlay_matches(observed, keys, identifiers, xref, catalogue)
    return found.with_columns(nw.lit(run.as_of).alias("as_of"))


@table_asset(
    TABLES["overlay"], reads=("profile.overlay_matches",), needs=("staging.clock",), plot=plots.age_of_overlays
)
def overlay(run: Run, matches: nw.LazyFrame) -> Frame:
    """One row per customer and provider of third-party data: the newest record about the customer, and how old it is."""
    newest = third_party.overlay(matches, run.policy(OverlayPolicy), run.as_of)
    return newest.with_columns(nw.lit(run.as_of).alias("as_of"))


@table_asset(
    TABLES["attribute_values"],
    reads=(
        "staging.parties",
        "staging.attributes",
        "identity.customer_xref",
        "identity.identifier_xref",
        "profile.overlay_matches",
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
    matches: nw.LazyFrame,
    catalogue: nw.LazyFrame,
) -> Frame:
    """One row per customer, attribute and record that states a value: winners, losers and the rule that decided.

    Every value of the golden record can be traced to the staged record that says so.
    """
    roles = {role for channel in run.channels if channel.kind == "party" for role in channel.roles}
    present = golden.present_columns(roles)
    stated = golden.values_of_records(parties, attributes, present)
    owners = golden.owners_of_records(xref, attributes, identifiers, matches)
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


@table_asset(
    TABLES["online_offline_conflicts"],
    reads=("profile.timeline", "channels.catalogue"),
    needs=("staging.clock",),
    plot=plots.conflicts_by_kind,
)
def online_offline_conflicts(run: Run, timeline: nw.LazyFrame, catalogue: nw.LazyFrame) -> Frame:
    """One row per customer and contradiction between on-line and off-line: what each side concludes, and what both together say."""
    policy = run.policy(ConflictPolicy)
    sides = run.warehouse.materialise(conflicts.sides(timeline, catalogue, policy, run.as_of), "profile_sides")
    found = conflicts.online_offline_conflicts(sides, policy)
    return found.with_columns(nw.lit(run.as_of).alias("as_of"))


@tables_asset(
    "profile__visits",
    [TABLES[name] for name in _VISIT_TABLES],
    descriptions=_VISIT_TABLES,
    reads=("staging.interactions", "staging.orders", "identity.identifier_xref", "channels.catalogue"),
    needs=("staging.clock",),
    plots={"sessions": plots.sessions_by_month, "cart_abandonment": plots.carts_by_outcome},
)
def visits(
    run: Run, interactions: nw.LazyFrame, orders: nw.LazyFrame, xref: nw.LazyFrame, catalogue: nw.LazyFrame
) -> dict[str, Frame]:
    """Visits to on-line channels, by pauses, and the carts in them."""
    policy, as_of = run.policy(SessionPolicy), nw.lit(run.as_of).alias("as_of")
    rows = run.warehouse.materialise(
        sessions.session_rows(interactions, orders, xref, catalogue, policy, run.as_of), "profile_session_rows"
    )
    carts = sessions.cart_abandonment(rows, orders, xref, policy, run.as_of)
    return {"sessions": sessions.sessions(rows).with_columns(as_of), "cart_abandonment": carts.with_columns(as_of)}


@table_asset(
    TABLES["social_insight"],
    reads=("staging.interactions", "identity.identifier_xref", "channels.catalogue"),
    needs=("staging.clock",),
    plot=plots.sentiment_by_topic,
)
def social_insight(run: Run, interactions: nw.LazyFrame, xref: nw.LazyFrame, catalogue: nw.LazyFrame) -> Frame:
    """One row per customer and topic of what the customer said in public and private communities."""
    said = social.social_insight(interactions, xref, catalogue, run.as_of)
    return said.with_columns(nw.lit(run.as_of).alias("as_of"))


@table_asset(
    TABLES["customer_links"],
    reads=("staging.interactions", "staging.identifiers", "identity.identifier_xref"),
    needs=("staging.clock",),
    plot=plots.links_by_relation,
)
def customer_links(run: Run, interactions: nw.LazyFrame, identifiers: nw.LazyFrame, xref: nw.LazyFrame) -> Frame:
    """One row per customer, other customer and relation between them: who replies to, is helped by and refers whom."""
    parties = social.other_parties(interactions, identifiers, xref)
    links = social.customer_links(interactions, parties, xref, run.policy(SocialPolicy), run.as_of)
    return links.with_columns(nw.lit(run.as_of).alias("as_of"))


@table_asset(
    TABLES["product_usage"],
    reads=("staging.usage", "identity.identifier_xref"),
    needs=("staging.clock",),
    plot=plots.usage_by_day,
)
def product_usage(run: Run, usage: nw.LazyFrame, xref: nw.LazyFrame) -> Frame:
    """One row per customer, product, day and metric with a measurement of usage."""
    return products.product_usage(usage, xref, run.as_of).with_columns(nw.lit(run.as_of).alias("as_of"))


ASSETS = (
    overlay_matches,
    overlay,
    attribute_values,
    customers,
    timeline,
    attribution_coverage,
    online_offline_conflicts,
    visits,
    social_insight,
    customer_links,
    product_usage,
    features,
)
