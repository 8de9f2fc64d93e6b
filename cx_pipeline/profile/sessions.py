"""Visits and carts: what a customer did on-line in one go, what was put into a cart, and whether it was bought after all.

Belongs here: sessions by pauses, searches, carts, abandonment and recovery. Does not belong here: journeys over weeks, attribution.

A visitor is a customer, whatever cookie or account the events carry (they change when somebody signs in), else the identifier itself.
"""

from __future__ import annotations

from datetime import date, timedelta

import narwhals as nw

from cx_pipeline.profile.features import day_ordinal
from cx_pipeline.profile.policy import SessionPolicy
from cx_pipeline.profile.timeline import attributed

_VISIT = ("visitor", "nth")
_ORDER = ("at", "channel", "record_id")
_MONEY = nw.Decimal(18, 4)


def session_rows(
    interactions: nw.LazyFrame,
    orders: nw.LazyFrame,
    xref: nw.LazyFrame,
    catalogue: nw.LazyFrame,
    policy: SessionPolicy,
    as_of: date,
) -> nw.LazyFrame:
    """One row per session: all that sessions and carts are made of.

    A session ends where the visitor pauses for longer than the policy's gap. Orders of the same on-line channels belong to the
    session they fall into; orders alone make no session.

    Args:
        interactions: `staging.interactions`.
        orders: `staging.orders`.
        xref: `identity.identifier_xref`.
        catalogue: `channels.catalogue`: channel, mode, pillar.
        policy: gap, pillars, words.
        as_of: the last day that counts.
    """
    events = nw.concat(
        [
            _seen(_online(interactions, catalogue, policy), xref, policy, as_of),
            _bought(_online(orders, catalogue, policy), xref, as_of)
            .drop("amount")
            .with_columns(
                **dict.fromkeys(("is_search", "is_cart", "is_checkout"), nw.lit(False)),
                is_bought=nw.lit(True),
                is_event=nw.lit(False),
                cart_value=nw.lit(None).cast(_MONEY),
            ),
        ]
    )
    before = nw.col("at").shift(1).over("visitor", order_by=list(_ORDER))
    begins = before.is_null() | (nw.col("at") > before.dt.offset_by(f"{policy.session_gap_minutes}m"))
    numbered = events.with_columns(nw.when(begins).then(1).otherwise(0).alias("begins")).with_columns(
        nw.col("begins").cum_sum().over("visitor", order_by=list(_ORDER)).alias("nth")
    )
    n_events = nw.when(nw.col("is_event")).then(1).otherwise(0).sum().cast(nw.Int64).alias("n_events")
    return (
        numbered.group_by(*_VISIT)
        .agg(
            nw.col("customer_id").max(),
            *(_of_first(name) for name in ("identifier_namespace", "identifier_value", "channel", "record_id")),
            nw.col("at").min().alias("started_at"),
            nw.col("at").max().alias("ended_at"),
            n_events,
            *(
                nw.when(nw.col(f"is_{what}")).then(1).otherwise(0).sum().cast(nw.Int64).alias(f"n_{what}")
                for what in ("search", "cart", "checkout", "bought")
            ),
            _time_of("is_cart").min().alias("cart_at"),
            nw.col("cart_value").sum().cast(_MONEY),
            nw.when(nw.col("cart_value").is_null()).then(0).otherwise(1).sum().alias("n_cart_values"),
            _time_of("is_bought").max().alias("bought_at"),
        )
        .filter(nw.col("n_events") > 0)
        .with_columns(
            nw.concat_str([nw.col("channel"), nw.col("record_id")], separator=":").alias("session_id"),
            nw.when(nw.col("bought_at") >= nw.col("cart_at"))
            .then(nw.col("bought_at"))
            .otherwise(None)
            .alias("cart_bought_at"),
            nw.when(nw.col("n_cart_values") > 0).then(nw.col("cart_value")).otherwise(None).alias("cart_value"),
        )
    )


def _time_of(flag: str) -> nw.Expr:
    return nw.when(nw.col(flag)).then(nw.col("at")).otherwise(None)


def _of_first(name: str) -> nw.Expr:
    """A column's value in the event that begins the session."""
    return nw.when(nw.col("begins") == 1).then(nw.col(name)).otherwise(None).max().alias(name)


def _seen(interactions: nw.LazyFrame, xref: nw.LazyFrame, policy: SessionPolicy, as_of: date) -> nw.LazyFrame:
    """Interactions that neither the company nor a device by itself began, with what they are by the policy's words."""
    word = nw.col("event_type").str.strip_chars().str.to_lowercase()

    def is_one_of(words: tuple[str, ...]) -> nw.Expr:
        return word.is_in(list(words)).fill_null(False)

    is_ours = (nw.col("event_direction").str.to_lowercase() == "outbound").fill_null(False)
    is_cart = is_one_of(policy.cart_words)
    return _visitors(interactions.filter(~is_ours & ~is_one_of(policy.machine_words)), xref, as_of).select(
        *_COLUMNS,
        is_one_of(policy.search_words).alias("is_search"),
        is_cart.alias("is_cart"),
        is_one_of(policy.checkout_words).alias("is_checkout"),
        is_one_of(policy.purchase_words).alias("is_bought"),
        nw.lit(True).alias("is_event"),
        nw.when(is_cart).then(nw.col("event_value")).otherwise(None).cast(_MONEY).alias("cart_value"),
    )


_COLUMNS = ("visitor", "customer_id", "identifier_namespace", "identifier_value", "at", "channel", "record_id")


def _bought(orders: nw.LazyFrame, xref: nw.LazyFrame, as_of: date) -> nw.LazyFrame:
    """Orders of a positive amount."""
    return _visitors(orders.filter(nw.col("order_amount") > 0), xref, as_of).select(
        *_COLUMNS, nw.col("order_amount").cast(_MONEY).alias("amount")
    )


def _visitors(rows: nw.LazyFrame, xref: nw.LazyFrame, as_of: date) -> nw.LazyFrame:
    """Rows with time and identifier up to the as-of date, with customer_id and visitor."""
    end = nw.lit(as_of + timedelta(days=1)).cast(nw.Datetime("us"))
    key = nw.concat_str([nw.col("identifier_namespace"), nw.col("identifier_value")], separator=":")
    return (
        attributed(rows.filter(~nw.col("identifier_value").is_null() & (nw.col("event_at") < end)), xref)
        .with_columns(nw.coalesce(nw.col("customer_id"), key).alias("visitor"))
        .rename({"event_at": "at"})
    )


def _online(rows: nw.LazyFrame, catalogue: nw.LazyFrame, policy: SessionPolicy) -> nw.LazyFrame:
    """Rows of on-line channels of the policy's pillars."""
    visited = catalogue.filter(
        (nw.col("mode") == "online") & nw.col("pillar").is_in(list(policy.session_pillars))
    ).select("channel")
    return rows.join(visited, on="channel", how="semi")


def sessions(rows: nw.LazyFrame) -> nw.LazyFrame:
    """One row per session: who, when, through which channel it began, what was done.

    Args:
        rows: from `session_rows`.
    """
    return rows.select(
        "session_id",
        "customer_id",
        "identifier_namespace",
        "identifier_value",
        nw.col("channel").alias("entry_channel"),
        "started_at",
        "ended_at",
        (seconds(nw.col("ended_at")) - seconds(nw.col("started_at"))).alias("duration_s"),
        "n_events",
        nw.col("n_search").alias("n_searches"),
        (nw.col("n_cart") > 0).alias("has_cart"),
        (nw.col("n_checkout") > 0).alias("has_checkout"),
        (nw.col("n_bought") > 0).alias("has_order"),
    )


def seconds(time: nw.Expr) -> nw.Expr:
    """Whole seconds of a time since the beginning of the calendar; the engines' own durations differ."""
    clock = (
        time.dt.hour().cast(nw.Int64) * 3600 + time.dt.minute().cast(nw.Int64) * 60 + time.dt.second().cast(nw.Int64)
    )
    return day_ordinal(time) * 86_400 + clock


def cart_abandonment(
    rows: nw.LazyFrame, orders: nw.LazyFrame, xref: nw.LazyFrame, policy: SessionPolicy, as_of: date
) -> nw.LazyFrame:
    """One row per cart, which is a session in which something was put into one: bought, left behind, recovered.

    A cart is left behind where no order follows it in its session. The visitor's first order after the session, on
    whichever channel, recovers it if it comes within the policy's window; one order may recover several carts.

    Args:
        rows: from `session_rows`.
        orders: `staging.orders`, of all channels.
        xref: `identity.identifier_xref`.
        policy: the window.
        as_of: the last day that counts.
    """
    end = nw.lit(as_of + timedelta(days=1)).cast(nw.Datetime("us"))
    carts = rows.filter(nw.col("n_cart") > 0).with_columns(
        nw.col("ended_at").dt.offset_by(f"{policy.recovery_window_days}d").alias("until")
    )
    left = carts.filter(nw.col("cart_bought_at").is_null()).select("session_id", "visitor", "ended_at", "until")
    later = _bought(orders, xref, as_of).select("visitor", "at", "channel", "record_id", "amount")
    recovered = (
        left.join(later, on="visitor", how="inner")
        .filter((nw.col("at") > nw.col("ended_at")) & (nw.col("at") <= nw.col("until")))
        .unique(["session_id"], keep="first", order_by=list(_ORDER))
        .select(
            "session_id",
            nw.col("at").alias("recovered_at"),
            nw.col("channel").alias("recovery_channel"),
            nw.col("amount").alias("recovery_amount"),
        )
    )
    is_bought, is_recovered = ~nw.col("cart_bought_at").is_null(), ~nw.col("recovered_at").is_null()
    waiting = nw.when(nw.col("until") >= end).then(nw.lit("open")).otherwise(nw.lit("abandoned"))
    outcome = nw.when(is_bought).then(nw.lit("bought")).otherwise(
        nw.when(is_recovered).then(nw.lit("recovered")).otherwise(waiting)
    )  # fmt: skip
    elapsed = seconds(nw.col("recovered_at")) - seconds(nw.col("ended_at"))
    return carts.join(recovered, on="session_id", how="left").select(
        nw.col("session_id").alias("cart_id"),
        "customer_id",
        nw.col("channel").alias("entry_channel"),
        nw.col("cart_at").alias("started_at"),
        nw.col("n_cart").alias("n_added"),
        nw.col("cart_value").alias("value"),
        (nw.col("n_checkout") > 0).alias("has_checkout"),
        outcome.alias("outcome"),
        nw.col("cart_bought_at").alias("bought_at"),
        nw.when(is_bought).then(None).otherwise(nw.col("ended_at")).alias("abandoned_at"),
        "recovered_at",
        "recovery_channel",
        "recovery_amount",
        (elapsed.cast(nw.Float64) / 3600).round(6).alias("recovery_hours"),
    )
