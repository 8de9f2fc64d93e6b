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


@table_check("profile.overlay_matches", reads=("profile.overlay_matches", "staging.overlays"))
def every_overlay_record_is_matched_or_says_why(matches: nw.LazyFrame, overlays: nw.LazyFrame) -> nw.LazyFrame:
    """Each staged record of third-party data has its row, with a customer or a reason, and with the keys that staging found in it."""
    record = ["channel", "record_id"]
    together = overlays.select(*record, "identifier_value").join(matches, on=record, how="left")
    is_silent = nw.col("customer_id").is_null() & nw.col("reason").is_null()
    has_lost_keys = ~nw.col("identifier_value").is_null() & (nw.col("n_keys") == 0)
    unknown = matches.join(overlays, on=record, how="anti").select(*record)
    return nw.concat([together.filter(is_silent | has_lost_keys).select(*record), unknown])


@table_check(
    "profile.overlay",
    reads=(
        "profile.overlay",
        "identity.customer_xref",
        "identity.identifier_xref",
        "staging.identifiers",
        "channels.catalogue",
    ),
)
def third_party_data_make_no_customer(
    overlay: nw.LazyFrame,
    records: nw.LazyFrame,
    xref: nw.LazyFrame,
    identifiers: nw.LazyFrame,
    catalogue: nw.LazyFrame,
) -> nw.LazyFrame:
    """Each customer with third-party data is known through a channel of ours: by a record, or by an identifier seen there."""
    ours = catalogue.filter(nw.col("kind") != "overlay").select("channel")
    seen = identifiers.join(ours, on="channel", how="semi").select("namespace", "value")
    known = xref.join(seen, on=["namespace", "value"], how="semi").select("customer_id")
    everybody = nw.concat([records.select("customer_id"), known]).unique()
    return overlay.select("customer_id", "provider").join(everybody, on="customer_id", how="anti")


@table_check("profile.overlay", reads=("profile.overlay", "profile.overlay_matches"))
def the_newest_third_party_record_stands(overlay: nw.LazyFrame, matches: nw.LazyFrame) -> nw.LazyFrame:
    """Each matched customer has a row for each provider, and no matched record of it is newer than the one that stands."""
    matched = matches.filter(~nw.col("customer_id").is_null()).select(
        "customer_id", nw.col("channel").alias("provider"), nw.col("observed_at").alias("matched_at")
    )
    together = matched.join(overlay, on=["customer_id", "provider"], how="left")
    is_newer = nw.col("matched_at") > nw.col("observed_at")
    is_dated = ~nw.col("matched_at").is_null() & nw.col("observed_at").is_null()
    faults = nw.col("record_id").is_null() | is_newer.fill_null(False) | is_dated
    return together.filter(faults).select("customer_id", "provider").unique()


@table_check("profile.attribute_values", reads=("profile.attribute_values", "profile.overlay_matches"))
def third_party_values_stand_at_the_customer_they_are_matched_to(
    values: nw.LazyFrame, matches: nw.LazyFrame
) -> nw.LazyFrame:
    """Golden record and overlay agree about whom a record of third-party data is about."""
    owners = matches.select("channel", "record_id", nw.col("customer_id").alias("matched_customer_id"))
    together = values.join(owners, on=["channel", "record_id"], how="inner")
    differs = (nw.col("customer_id") != nw.col("matched_customer_id")) | nw.col("matched_customer_id").is_null()
    return together.filter(differs).select("customer_id", "channel", "record_id").unique()


@table_check(
    "profile.online_offline_conflicts",
    reads=("profile.online_offline_conflicts", "profile.timeline", "channels.catalogue"),
)
def every_conflict_stands_on_events_of_both_sides(
    conflicts: nw.LazyFrame, timeline: nw.LazyFrame, catalogue: nw.LazyFrame
) -> nw.LazyFrame:
    """Counted anew from the timeline, both sides have the events and the last day that the contradiction says."""
    contradicted = conflicts.select("customer_id", "as_of").unique()
    is_ours = (nw.col("kind") == "interaction") & (nw.col("direction") == "outbound").fill_null(False)
    events = (
        timeline.filter(nw.col("kind").is_in(["order", "interaction"]) & ~is_ours)
        .join(contradicted, on="customer_id", how="inner")
        .filter(nw.col("at").cast(nw.Date) <= nw.col("as_of"))
        .join(catalogue.select("channel", "mode"), on="channel", how="inner")
    )
    sides = ("online", "offline")
    anew = events.group_by("customer_id").agg(
        *(
            nw.when((nw.col("mode") == side).fill_null(False)).then(1).otherwise(0).sum().alias(f"{side}_anew")
            for side in sides
        ),
        *(
            nw.when((nw.col("mode") == side).fill_null(False))
            .then(nw.col("at"))
            .otherwise(None)
            .max()
            .alias(f"last_{side}_anew")
            for side in sides
        ),
    )
    together = conflicts.join(anew, on="customer_id", how="left")
    differs = nw.any_horizontal(
        *(
            (nw.col(f"n_{side}_events") != nw.col(f"{side}_anew").fill_null(0))
            | (nw.col(f"last_{side}_at") != nw.col(f"last_{side}_anew")).fill_null(True)
            for side in sides
        ),
        ignore_nulls=True,
    )
    return together.filter(differs).select("customer_id", "kind")


@table_check("profile.sessions")
def visits_of_a_visitor_do_not_overlap(sessions: nw.LazyFrame) -> nw.LazyFrame:
    """A visit begins after the visitor's last one has ended, and none ends before it begins."""
    key = nw.concat_str([nw.col("identifier_namespace"), nw.col("identifier_value")], separator=":")
    named = sessions.with_columns(nw.coalesce(nw.col("customer_id"), key).alias("visitor"))
    before = nw.col("ended_at").shift(1).over("visitor", order_by=["started_at", "session_id"]).alias("before")
    overlaps = (nw.col("started_at") <= nw.col("before")).fill_null(False) | (nw.col("ended_at") < nw.col("started_at"))
    return named.with_columns(before).filter(overlaps).select("session_id")


@table_check("profile.sessions", reads=("profile.sessions", "staging.interactions"))
def no_event_is_counted_in_two_visits(sessions: nw.LazyFrame, interactions: nw.LazyFrame) -> nw.LazyFrame:
    """Visits have no more events than interactions were staged."""
    staged = interactions.select(nw.len().cast(nw.Int64).alias("n_staged"), nw.lit(1).alias("one"))
    counted = sessions.select(nw.col("n_events").sum().cast(nw.Int64).alias("n_in_visits"), nw.lit(1).alias("one"))
    return counted.join(staged, on="one").filter(nw.col("n_in_visits") > nw.col("n_staged")).drop("one")


@table_check("profile.cart_abandonment", reads=("profile.cart_abandonment", "profile.sessions"))
def every_cart_has_one_outcome_and_its_times_agree(carts: nw.LazyFrame, sessions: nw.LazyFrame) -> nw.LazyFrame:
    """Each visit with a cart has one, and only such visits; bought, recovered and abandoned carts have the times that say so."""
    has = {name: ~nw.col(name).is_null() for name in ("bought_at", "abandoned_at", "recovered_at")}
    fits = (
        ((nw.col("outcome") == "bought") & has["bought_at"] & ~has["abandoned_at"] & ~has["recovered_at"])
        | ((nw.col("outcome") == "recovered") & has["abandoned_at"] & has["recovered_at"])
        | (nw.col("outcome").is_in(["abandoned", "open"]) & has["abandoned_at"] & ~has["recovered_at"])
    )
    in_order = (nw.col("bought_at") >= nw.col("started_at")).fill_null(True) & (
        nw.col("recovered_at") > nw.col("abandoned_at")
    ).fill_null(True)
    visits = sessions.filter(nw.col("has_cart")).select(nw.col("session_id").alias("cart_id"))
    return nw.concat(
        [
            carts.filter(~(fits & in_order)).select("cart_id"),
            carts.select("cart_id").join(visits, on="cart_id", how="anti"),
            visits.join(carts, on="cart_id", how="anti"),
        ]
    )


@table_check("profile.social_insight")
def every_mention_is_public_or_private(insight: nw.LazyFrame) -> nw.LazyFrame:
    """Public and private mentions together are all mentions, and no more of them have a sentiment than there are."""
    differs = nw.col("n_public_mentions") + nw.col("n_private_mentions") != nw.col("n_mentions")
    return insight.filter(differs | (nw.col("n_sentiments") > nw.col("n_mentions"))).select("customer_id", "topic")


@table_check("profile.customer_links", reads=("profile.customer_links", "profile.customers"))
def every_link_joins_two_known_customers(links: nw.LazyFrame, customers: nw.LazyFrame) -> nw.LazyFrame:
    """Both ends of a link are customers, and not the same one."""
    ends = ["customer_id", "other_customer_id", "relation"]
    known = customers.select(nw.col("customer_id").alias("other_customer_id"))
    return nw.concat(
        [
            links.select(*ends).join(customers, on="customer_id", how="anti"),
            links.select(*ends).join(known, on="other_customer_id", how="anti"),
            links.filter(nw.col("customer_id") == nw.col("other_customer_id")).select(*ends),
        ]
    )


@table_check("profile.product_usage", reads=("profile.product_usage", "profile.timeline"))
def measurements_of_a_customer_are_those_of_the_timeline(usage: nw.LazyFrame, timeline: nw.LazyFrame) -> nw.LazyFrame:
    """Customer by customer and day by day, usage adds up as many measurements as the timeline has."""
    day = ["customer_id", "used_on"]
    dates = usage.select("as_of").unique()
    happened = (
        timeline.filter((nw.col("kind") == "usage") & ~nw.col("value").is_null())
        .with_columns(nw.col("at").cast(nw.Date).alias("used_on"))
        .join(dates, how="cross")
        .filter(nw.col("used_on") <= nw.col("as_of"))
        .group_by(*day)
        .agg(nw.len().cast(nw.Int64).alias("n_anew"))
    )
    counted = usage.group_by(*day).agg(nw.col("n_measurements").sum().cast(nw.Int64).alias("n"))
    lost = happened.join(counted, on=day, how="anti").select(*day)
    differs = counted.join(happened, on=day, how="left").filter(nw.col("n") != nw.col("n_anew").fill_null(0))
    return nw.concat([lost, differs.select(*day)])


CHECKS = (
    every_customer_id_has_one_profile,
    every_attribute_has_one_winner,
    attributed_and_unattributed_money_is_all_money,
    every_event_belongs_to_a_known_customer,
    no_feature_looks_into_the_future,
    every_overlay_record_is_matched_or_says_why,
    third_party_data_make_no_customer,
    the_newest_third_party_record_stands,
    third_party_values_stand_at_the_customer_they_are_matched_to,
    every_conflict_stands_on_events_of_both_sides,
    visits_of_a_visitor_do_not_overlap,
    no_event_is_counted_in_two_visits,
    every_cart_has_one_outcome_and_its_times_agree,
    every_mention_is_public_or_private,
    every_link_joins_two_known_customers,
    measurements_of_a_customer_are_those_of_the_timeline,
)
