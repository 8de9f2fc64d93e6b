"""Returns: what gives something back, linked to the sale it comes from.

Belongs here: finding the sale of a return, by name or by rule, as pure functions over frames. Does not belong here: orders derived from
lines (`canonical.py`), what returns say about customers (profile, metrics).
"""

from __future__ import annotations

from datetime import datetime

import narwhals as nw

from cx_pipeline.staging.canonical import delivered_orders, orders_with_lines, with_order_id
from cx_pipeline.staging.policy import StagingPolicy

NOT_IN_THE_DATA = "the sale it names is not in the data"
NO_CUSTOMER = "it names neither sale nor customer"
NO_PRODUCT = "it names neither sale nor product"
NO_TIME = "it names no sale and has no time"
NO_SALE = "this customer has no earlier sale of this product that has not been given back"
TOO_LATE = "the latest earlier sale of this product to this customer lies beyond the window"

_CUSTOMER = ("identifier_namespace", "identifier_value")
_MINUTES_PER_DAY = 1_440
_LONG_AGO = datetime(1900, 1, 1)


def link_returns(lines: nw.LazyFrame, orders: nw.LazyFrame, policy: StagingPolicy) -> nw.LazyFrame:
    """One row per line of negative amount, and per delivered order of negative amount without lines, with the sale it gives back.

    A return that names its sale (role `order.returns_id`) is linked to the order of that number: its own channel's, else the latest one
    sold (`link` is `named`, with a reason where that order is not in the data). Any other is linked by rule (`inferred`): to the latest
    earlier sale of the same product to the same identifier that no other return has given back, each line counting as one piece, if that
    is at most `policy.return_window_days` days ago; else `link` is `none`, with a reason.

    Args:
        lines: `staging.order_lines`.
        orders: `staging.orders`.
        policy: the window.
    """
    units = _units(lines, orders)
    sold = units.filter(nw.col("amount") > 0)
    given_back = units.filter(nw.col("amount") < 0)
    sales = sold.group_by("channel", "order_id").agg(
        nw.col("at").min().alias("sold_at"), nw.col("amount").sum().alias("sold_amount")
    )
    named = _named(given_back.filter(~nw.col("returns_id").is_null()), sales)
    by_name = named.filter(~nw.col("sale_channel").is_null() & ~nw.col("product_id").is_null())
    taken = by_name.select("sale_channel", "sale_order_id", "product_id").unique()
    left = sold.join(
        taken,
        left_on=["channel", "order_id", "product_id"],
        right_on=["sale_channel", "sale_order_id", "product_id"],
        how="anti",
    )
    inferred = _inferred(given_back.filter(nw.col("returns_id").is_null()), left, sales, policy)
    names = inferred.collect_schema().names()
    linked = nw.concat([named.select(names), inferred])
    return linked.select(
        "channel",
        "record_id",
        "order_id",
        "product_id",
        nw.col("sale_channel").alias("returned_channel"),
        nw.coalesce(nw.col("sale_order_id"), nw.col("returns_id")).alias("returned_order_id"),
        nw.col("at").alias("returned_at"),
        "sold_at",
        _days_between(nw.col("sold_at"), nw.col("at")).alias("days_to_return"),
        (nw.lit(0) - nw.col("amount")).alias("amount"),
        "sold_amount",
        "link",
        "reason",
    )


def orders_giving_back_too_much(returns: nw.LazyFrame) -> nw.LazyFrame:
    """Orders of which more money has been given back than they brought: returned_channel, returned_order_id, given_back, sold."""
    per_order = returns.filter(~nw.col("sold_amount").is_null()).group_by("returned_channel", "returned_order_id").agg(
        nw.col("amount").sum().alias("given_back"), nw.col("sold_amount").max().alias("sold")
    )  # fmt: skip
    return per_order.filter(nw.col("given_back") > nw.col("sold"))


def _units(lines: nw.LazyFrame, orders: nw.LazyFrame) -> nw.LazyFrame:
    """Lines, and delivered orders without lines, as pieces that are sold or given back."""
    keyed = with_order_id(lines)
    delivered = delivered_orders(keyed, orders)
    bare = delivered.join(orders_with_lines(keyed, delivered), on=["channel", "record_id"], how="anti")
    columns = [
        nw.col("channel"),
        nw.col("record_id"),
        nw.col("order_id"),
        *(nw.col(name) for name in _CUSTOMER),
        nw.col("event_at").alias("at"),
        nw.col("order_amount").alias("amount"),
        nw.col("order_returns_id").alias("returns_id"),
    ]
    without_product = bare.select(*columns, nw.lit(None).cast(nw.String).alias("product_id"))
    return nw.concat([keyed.select(*columns, "product_id"), without_product])


def _named(returns: nw.LazyFrame, sales: nw.LazyFrame) -> nw.LazyFrame:
    """Returns that name their sale, each with the order of that number."""
    candidates = sales.with_columns(
        nw.col("channel").alias("sale_channel"),
        nw.col("order_id").alias("sale_order_id"),
        # NULL sorts first on one engine and last on another.
        nw.coalesce(nw.col("sold_at"), nw.lit(_LONG_AGO).cast(nw.Datetime("us"))).alias("__sold"),
    ).drop("channel", "order_id")
    found = (
        returns.join(candidates, left_on="returns_id", right_on="sale_order_id", how="left")
        .with_columns(nw.when(~nw.col("sale_channel").is_null()).then(nw.col("returns_id")).alias("sale_order_id"))
        .with_columns(nw.when(nw.col("sale_channel") == nw.col("channel")).then(1).otherwise(0).alias("__is_own"))
        .unique(["channel", "record_id"], keep="last", order_by=["__is_own", "__sold", "sale_channel"])
    )
    is_missing = nw.col("sale_channel").is_null()
    return found.with_columns(
        nw.lit("named").alias("link"),
        nw.when(is_missing).then(nw.lit(NOT_IN_THE_DATA)).alias("reason"),
    ).drop("__is_own", "__sold")


def _inferred(returns: nw.LazyFrame, sold: nw.LazyFrame, sales: nw.LazyFrame, policy: StagingPolicy) -> nw.LazyFrame:
    """Returns that name no sale, each with the latest earlier sale of its product to its customer that is left."""
    partition = [*_CUSTOMER, "product_id"]
    is_complete = ~nw.any_horizontal(
        *(nw.col(name).is_null() for name in ("identifier_value", "product_id", "at")), ignore_nulls=False
    )
    steps = nw.concat(
        [
            sold.filter(is_complete).with_columns(nw.lit(1).alias("__step")),
            returns.filter(is_complete).with_columns(nw.lit(-1).alias("__step")),
        ]
    ).with_columns((nw.lit(0) - nw.col("__step")).alias("__is_return"))
    order = ["at", "__is_return", "channel", "record_id"]
    # A sale opens a bracket and a return closes the latest open one: both are at the same depth then. Returns that find none open
    # do not count.
    depth = nw.col("__step").cum_sum().over(*partition, order_by=order)
    steps = steps.with_columns(depth.alias("__depth"))
    lowest = nw.col("__depth").cum_min().over(*partition, order_by=order)
    steps = steps.with_columns(nw.when(lowest < 0).then(nw.lit(0) - lowest).otherwise(0).alias("__n_without"))
    before = nw.col("__n_without").shift(1).over(*partition, order_by=order)
    is_paired = (nw.col("__step") == 1) | (nw.col("__n_without") == nw.coalesce(before, nw.lit(0)))
    level = nw.col("__depth") + nw.col("__n_without") + nw.when(nw.col("__step") == 1).then(0).otherwise(1)
    steps = steps.with_columns(is_paired.alias("__is_paired"), level.alias("__level"))
    within = [*partition, "__is_paired", "__level"]
    steps = steps.with_columns(
        *(
            nw.col(name).shift(1).over(*within, order_by=order).alias(f"__{name}")
            for name in ("channel", "order_id", "at")
        )
    )
    days = _days_between(nw.col("__at"), nw.col("at"))
    paired = steps.filter((nw.col("__step") == -1) & nw.col("__is_paired")).select(
        "channel",
        "record_id",
        nw.col("__channel").alias("sale_channel"),
        nw.col("__order_id").alias("sale_order_id"),
        (days <= policy.return_window_days).alias("__is_within"),
    )
    linked = returns.join(paired, on=["channel", "record_id"], how="left")
    is_linked = nw.coalesce(nw.col("__is_within"), nw.lit(False))
    reason = (
        nw.when(nw.col("identifier_value").is_null()).then(nw.lit(NO_CUSTOMER))
        .otherwise(nw.when(nw.col("product_id").is_null()).then(nw.lit(NO_PRODUCT))
        .otherwise(nw.when(nw.col("at").is_null()).then(nw.lit(NO_TIME))
        .otherwise(nw.when(nw.col("__is_within").is_null()).then(nw.lit(NO_SALE))
        .otherwise(nw.lit(TOO_LATE)))))
    )  # fmt: skip
    linked = linked.with_columns(
        *(nw.when(is_linked).then(nw.col(name)).alias(name) for name in ("sale_channel", "sale_order_id")),
        nw.when(is_linked).then(nw.lit("inferred")).otherwise(nw.lit("none")).alias("link"),
        nw.when(~is_linked).then(reason).alias("reason"),
    ).drop("__is_within")
    return linked.join(sales, left_on=["sale_channel", "sale_order_id"], right_on=["channel", "order_id"], how="left")


def _days_between(earlier: nw.Expr, later: nw.Expr) -> nw.Expr:
    """Whole days from the day of one time to the day of another."""
    return (later.dt.truncate("1d") - earlier.dt.truncate("1d")).dt.total_minutes().cast(nw.Int64) // _MINUTES_PER_DAY
