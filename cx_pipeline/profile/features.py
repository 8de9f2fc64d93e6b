"""Features: what was known about a customer on a date, as numbers that models are trained on and score with.

Belongs here: features made of what happened up to a cut-off, for tonight and for past cut-offs. Does not belong here: labels (what
happened after a cut-off), models, segments.

Everything is counted by customer and day first. A cut-off sees the days up to its own, so a feature can only know what a night on
that date would have known. Days are proleptic Gregorian ordinals (`date.toordinal`): plain integers on every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.profile.policy import FeaturePolicy
from cx_pipeline.profile.timeline import attributed

WINDOWS_DAYS = (30, 90, 180, 365)

_MONEY = nw.Decimal(18, 4)
_SCORE = nw.Decimal(18, 6)
Measures = Mapping[str, nw.dtypes.DType]
# Measures of a customer's day by where they come from. All may be added over days but the two that say how far something has come:
# `gap_days` (since the last day with an order) and `top_category_spend` (the largest sum spent on one category so far).
SOURCES: Mapping[str, Measures] = {
    "orders": {
        "n_orders": nw.Int64(),
        "revenue": _MONEY,
        "gross": _MONEY,
        "discount": _MONEY,
        "n_discounts_known": nw.Int64(),
        "gap_days": nw.Int64(),
    },
    "lines": {
        "n_lines": nw.Int64(),
        "n_new_categories": nw.Int64(),
        "category_spend": _MONEY,
        "top_category_spend": _MONEY,
    },
    "contacts": {
        "n_interactions": nw.Int64(),
        "sentiment": _SCORE,
        "n_sentiments": nw.Int64(),
        "n_contacts": nw.Int64(),
        "n_responses": nw.Int64(),
    },
    "firsts": {
        "n_new_products": nw.Int64(),
        "n_new_campaigns": nw.Int64(),
        "n_new_answers": nw.Int64(),
        "n_new_channels": nw.Int64(),
    },
}
_WINDOWED: Mapping[str, tuple[int, ...]] = {
    "n_orders": WINDOWS_DAYS,
    "revenue": WINDOWS_DAYS,
    "n_interactions": (90,),
    "sentiment": (90,),
    "n_sentiments": (90,),
    "n_contacts": (90,),
    "n_responses": (90,),
}
_LAST_DAY_OF = ("n_orders", "n_contacts", "n_responses")


def day_ordinal(time: nw.Expr) -> nw.Expr:
    """The day of a date or time as `date.toordinal` counts it: 1 is 0001-01-01."""
    before = time.dt.year().cast(nw.Int64) - 1
    return before * 365 + before // 4 - before // 100 + before // 400 + time.dt.ordinal_day().cast(nw.Int64)


def cutoffs(as_of: date, policy: FeaturePolicy) -> pl.DataFrame:
    """One row per cut-off: as_of, its `cutoff` as ordinal, `is_past`; tonight's first, then one every `cutoff_step_days` back."""
    dates = [as_of - timedelta(days=policy.cutoff_step_days * step) for step in range(policy.n_past_cutoffs + 1)]
    return pl.DataFrame(
        {
            "as_of": dates,
            "cutoff": [day.toordinal() for day in dates],
            "is_past": [step > 0 for step in range(len(dates))],
        },
        schema={"as_of": pl.Date, "cutoff": pl.Int64, "is_past": pl.Boolean},
    )


def bought_products(
    lines: nw.LazyFrame[Any],
    orders: nw.LazyFrame[Any],
    products: nw.LazyFrame[Any],
    xref: nw.LazyFrame[Any],
    as_of: date,
) -> nw.LazyFrame[Any]:
    """One row per customer, day and product of order lines not after as_of: n_lines, and `spent`, which leaves returns out.

    Args:
        lines: `staging.order_lines`; a line without a customer of its own belongs to its order's.
        orders: `staging.orders`.
        products: `staging.products`, for the category of lines that say none.
        xref: `identity.identifier_xref`.
        as_of: the last day that counts.
    """
    columns = ("customer_id", "event_at", "product_id", "product_category", "order_amount")
    attributed_lines = attributed(lines, xref)
    owners = (
        attributed(orders, xref)
        .filter(~nw.col("customer_id").is_null() & ~nw.col("order_id").is_null())
        .group_by("order_id")
        .agg(nw.col("customer_id").min())
    )
    own = attributed_lines.filter(~nw.col("customer_id").is_null()).select(*columns)
    of_orders = (
        attributed_lines.filter(nw.col("customer_id").is_null())
        .drop("customer_id")
        .join(owners, on="order_id")
        .select(*columns)
    )
    catalogue = (
        products.filter(~nw.col("product_id").is_null())
        .group_by("product_id")
        .agg(nw.col("product_category").min().alias("catalogue_category"))
    )
    spent = nw.when(nw.col("order_amount") > 0).then(nw.col("order_amount").cast(_MONEY)).otherwise(None).sum()
    return (
        nw.concat([own, of_orders])
        .filter(~nw.col("event_at").is_null())
        .with_columns(day_ordinal(nw.col("event_at")).alias("day"))
        .filter(nw.col("day") <= as_of.toordinal())
        .group_by("customer_id", "day", "product_id", "product_category")
        .agg(nw.len().cast(nw.Int64).alias("n_lines"), spent.cast(_MONEY).alias("spent"))
        .join(catalogue, on="product_id", how="left")
        .select(
            "customer_id",
            "day",
            "product_id",
            nw.coalesce(nw.col("product_category"), nw.col("catalogue_category")).alias("category"),
            "n_lines",
            nw.col("spent").fill_null(0).cast(_MONEY),
        )
    )


def customer_days(
    timeline: nw.LazyFrame[Any],
    orders: nw.LazyFrame[Any],
    bought: nw.LazyFrame[Any],
    xref: nw.LazyFrame[Any],
    as_of: date,
) -> dict[str, nw.LazyFrame[Any]]:
    """The measures that features are added up from, by `SOURCES`: rows of customer_id and day, not after as_of.

    Of orders, lines and contacts there is one row per customer and day; of firsts (values that a customer shows for the first time)
    one per customer, day and what is first. They stay apart because wide rows of all measures need several times the memory.

    Args:
        timeline: `profile.timeline`.
        orders: `staging.orders`.
        bought: from `bought_products`; it is read several times, so materialise it first.
        xref: `identity.identifier_xref`.
        as_of: the last day that counts.
    """
    last = as_of.toordinal()
    dated_orders = (
        attributed(orders, xref)
        .filter(~nw.col("customer_id").is_null() & ~nw.col("event_at").is_null())
        .with_columns(day_ordinal(nw.col("event_at")).alias("day"))
        .filter(nw.col("day") <= last)
    )
    events = timeline.with_columns(day_ordinal(nw.col("at")).alias("day")).filter(nw.col("day") <= last)
    firsts = [
        _firsts(bought, "product_id", "n_new_products"),
        _firsts(events, "channel", "n_new_channels"),
        *_campaigns(events),
    ]
    return {
        "orders": _typed(_with_gaps(_by_day(dated_orders, _of_orders())), "orders"),
        "lines": _typed(_by_day(_categories(bought), _of_lines()), "lines"),
        "contacts": _typed(_by_day(events.filter(nw.col("kind").is_in(list(_KINDS))), _of_contacts()), "contacts"),
        "firsts": nw.concat([_typed(rows, "firsts") for rows in firsts]),
    }


def panel(
    days: Mapping[str, nw.LazyFrame[Any]], cutoffs: nw.LazyFrame[Any], policy: FeaturePolicy
) -> nw.LazyFrame[Any]:
    """One row per customer and cut-off that gets features: tonight all customers, in the past those of the sample, once seen.

    Args:
        days: from `customer_days`, materialised.
        cutoffs: from `cutoffs`, as a frame of the same engine.
        policy: for the size of the sample. Customer ids are hashes, so the first ones in their order are a random sample that
            stays the same from night to night.
    """
    seen = [rows.group_by("customer_id").agg(nw.col("day").min()) for rows in days.values()]
    first = nw.concat(seen).group_by("customer_id").agg(nw.col("day").min().alias("first_day"))
    sample = (
        first.select("customer_id")
        .sort("customer_id")
        .head(policy.max_sampled_customers)
        .with_columns(nw.lit(value=True).alias("is_sampled"))
    )
    is_due = ~nw.col("is_past") | nw.col("is_sampled").fill_null(value=False)
    return (
        first.join(sample, on="customer_id", how="left")
        .join(cutoffs, how="cross")
        .filter(is_due & (nw.col("first_day") <= nw.col("cutoff")))
        .select("customer_id", "as_of", "cutoff", "first_day")
    )


def features(days: Mapping[str, nw.LazyFrame[Any]], panel: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """One row per customer and cut-off: the columns of `profile.features`.

    Args:
        days: from `customer_days`, materialised.
        panel: from `panel`, materialised.
    """
    totals = panel
    for source in SOURCES:
        totals = totals.join(_totals(days[source], panel, source), on=["customer_id", "as_of"], how="left")
    added = [
        name
        for measures in SOURCES.values()
        for measure in measures
        for name in (measure, *(f"{measure}_{days_back}d" for days_back in _WINDOWED.get(measure, ())))
    ]
    # A customer without any row of a source has nothing of it.
    counts = [nw.col(name).fill_null(0) for name in (*added, "n_active_days", "n_gaps", "sum_squared_gaps")]
    return _ratios(totals.with_columns(*counts))


def _totals(rows: nw.LazyFrame[Any], panel: nw.LazyFrame[Any], source: str) -> nw.LazyFrame[Any]:
    """What a cut-off sees of a source, added up: one row per customer and cut-off with any.

    One join of days with cut-offs: the sample limits how many past cut-offs there are, so this stays linear in the events.
    """
    measures = SOURCES[source]
    totals = {name: nw.col(name).sum().cast(dtype) for name, dtype in measures.items()}
    for name in measures:
        for days_back in _WINDOWED.get(name, ()):
            is_within = nw.col("day") > nw.col("cutoff") - days_back
            within = nw.when(is_within).then(nw.col(name)).otherwise(None)
            totals[f"{name}_{days_back}d"] = within.sum().cast(measures[name])
        if name in _LAST_DAY_OF:
            totals[f"last_{name}"] = nw.when(nw.col(name) > 0).then(nw.col("day")).otherwise(None).max()
    totals[f"last_day_of_{source}"] = nw.col("day").max()
    if source == "orders":
        has_gap = nw.col("gap_days") > 0
        totals |= {
            "n_active_days": nw.when(nw.col("n_orders") > 0).then(1).otherwise(0).sum().cast(nw.Int64),
            "n_gaps": nw.when(has_gap).then(1).otherwise(0).sum().cast(nw.Int64),
            "sum_squared_gaps": (nw.col("gap_days") * nw.col("gap_days")).sum().cast(nw.Int64),
            "median_gap_days": nw.when(has_gap).then(nw.col("gap_days")).otherwise(None).median().cast(nw.Float64),
        }
    if source == "lines":
        totals["top_category_spend"] = nw.col("top_category_spend").max()
    seen = panel.join(rows, on="customer_id").filter(nw.col("day") <= nw.col("cutoff"))
    return seen.group_by("customer_id", "as_of").agg(*(total.alias(name) for name, total in totals.items()))


def _ratios(totals: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Features out of totals: NULL where what they divide by is not there."""

    def number(name: str) -> nw.Expr:
        return nw.col(name).cast(nw.Float64)

    def where(condition: nw.Expr, value: nw.Expr) -> nw.Expr:
        return nw.when(condition).then(value).otherwise(None)

    def per(numerator: nw.Expr, denominator: str) -> nw.Expr:
        return where(nw.col(denominator) > 0, numerator / number(denominator))

    def days_since(last: str) -> nw.Expr:
        return nw.col("cutoff") - nw.col(last)

    # From integer sums, because an engine's own deviation depends on the order in which its threads meet.
    variance = (number("sum_squared_gaps") - number("gap_days") * number("gap_days") / number("n_gaps")) / (
        number("n_gaps") - 1
    )
    kept = ("customer_id", "as_of", "n_orders", "n_active_days", "median_gap_days", "n_contacts", "n_responses")
    return totals.select(
        *kept,
        *(f"n_orders_{days}d" for days in WINDOWS_DAYS),
        *(number(name).alias(name) for name in ("revenue", *(f"revenue_{days}d" for days in WINDOWS_DAYS))),
        days_since("last_n_orders").alias("recency_days"),
        days_since("first_day").alias("tenure_days"),
        per(number("gross"), "n_orders").alias("mean_order_value"),
        where(nw.col("n_gaps") > 1, nw.max_horizontal(variance, nw.lit(0.0)).sqrt()).alias("std_gap_days"),
        (days_since("last_n_orders").cast(nw.Float64) / nw.col("median_gap_days")).alias("days_over_median_gap"),
        where(
            (nw.col("n_discounts_known") > 0) & (nw.col("gross") + nw.col("discount") > 0),
            number("discount") / (number("gross") + number("discount")),
        ).alias("discount_rate"),
        where(nw.col("n_new_categories") > 0, nw.col("n_new_categories")).alias("n_categories"),
        where(nw.col("n_lines") > 0, nw.col("n_new_products")).alias("n_products"),
        per(number("top_category_spend"), "category_spend").alias("share_top_category"),
        "n_interactions_90d",
        per(number("sentiment_90d"), "n_sentiments_90d").alias("mean_sentiment_90d"),
        "n_contacts_90d",
        "n_responses_90d",
        per(number("n_new_answers"), "n_new_campaigns").alias("response_rate"),
        days_since("last_n_contacts").alias("days_since_contact"),
        days_since("last_n_responses").alias("days_since_response"),
        nw.col("n_new_channels").alias("n_channels"),
        (nw.col("cutoff") - nw.max_horizontal(*(f"last_day_of_{source}" for source in SOURCES))).alias(
            "days_since_event"
        ),
    )


def _by_day(rows: nw.LazyFrame[Any], measures: Mapping[str, nw.Expr]) -> nw.LazyFrame[Any]:
    return rows.group_by("customer_id", "day").agg(*(measure.alias(name) for name, measure in measures.items()))


def _of_orders() -> dict[str, nw.Expr]:
    amount, discount = nw.col("order_amount").cast(_MONEY), nw.col("order_discount").cast(_MONEY)
    is_sale = nw.col("order_amount") > 0
    return {
        "n_orders": nw.when(is_sale).then(1).otherwise(0).sum(),
        "revenue": amount.sum(),
        "gross": nw.when(is_sale).then(amount).otherwise(None).sum(),
        "discount": nw.when(is_sale).then(discount).otherwise(None).sum(),
        "n_discounts_known": nw.when(is_sale & ~nw.col("order_discount").is_null()).then(1).otherwise(0).sum(),
    }


_KINDS = ("interaction", "campaign_contact", "campaign_response")


def _of_contacts() -> dict[str, nw.Expr]:
    def is_kind(kind: str) -> nw.Expr:
        return nw.col("kind") == kind

    is_felt = is_kind("interaction") & ~nw.col("sentiment").is_null()
    return {
        "n_interactions": nw.when(is_kind("interaction")).then(1).otherwise(0).sum(),
        "sentiment": nw.when(is_felt).then(nw.col("sentiment").cast(_SCORE)).otherwise(None).sum(),
        "n_sentiments": nw.when(is_felt).then(1).otherwise(0).sum(),
        "n_contacts": nw.when(is_kind("campaign_contact")).then(1).otherwise(0).sum(),
        "n_responses": nw.when(is_kind("campaign_response")).then(1).otherwise(0).sum(),
    }


def _of_lines() -> dict[str, nw.Expr]:
    is_known = ~nw.col("category").is_null()
    return {
        "n_lines": nw.col("n_lines").sum(),
        "n_new_categories": nw.when(is_known & (nw.col("n_days_so_far") == 1)).then(1).otherwise(0).sum(),
        "category_spend": nw.when(is_known).then(nw.col("spent")).otherwise(None).sum(),
        "top_category_spend": nw.when(is_known).then(nw.col("spent_so_far")).otherwise(None).max(),
    }


def _with_gaps(by_day: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Days since the last day with an order, on each day with an order but the first; days with returns alone lie in between."""
    # A running maximum is NULL where its column is: 0 stands for days without an order.
    active = nw.when(nw.col("n_orders") > 0).then(nw.col("day")).otherwise(0).alias("active_day")
    latest = nw.col("active_day").cum_max().over("customer_id", order_by="day").alias("latest_day")
    before = nw.col("latest_day").shift(1).over("customer_id", order_by="day").fill_null(0).alias("day_before")
    has_gap = (nw.col("active_day") > 0) & (nw.col("day_before") > 0)
    gap = nw.when(has_gap).then(nw.col("active_day") - nw.col("day_before")).otherwise(0).alias("gap_days")
    return by_day.with_columns(active).with_columns(latest).with_columns(before).with_columns(gap)


def _firsts(rows: nw.LazyFrame[Any], column: str, measure: str) -> nw.LazyFrame[Any]:
    """How many values of a column a customer shows on a day for the first time; their sum is the number of distinct values."""
    first = (
        rows.filter(~nw.col(column).is_null())
        .group_by("customer_id", column)
        .agg(nw.col("day").min().alias("first_day"))
        .rename({"first_day": "day"})
    )
    return _by_day(first, {measure: nw.len()})


def _categories(bought: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """One row per customer, category (NULL: unknown) and day: lines, money spent, and both money and days so far.

    Without returns sums only grow, so the largest sum up to a cut-off is the largest one seen.
    """

    def so_far(name: str) -> nw.Expr:
        return nw.col(name).cum_sum().over("customer_id", "category", order_by="day")

    return (
        bought.group_by("customer_id", "category", "day")
        .agg(nw.col("n_lines").sum().cast(nw.Int64), nw.col("spent").sum().cast(_MONEY))
        .with_columns(nw.lit(1).alias("one"))
        .with_columns(so_far("spent").alias("spent_so_far"), so_far("one").alias("n_days_so_far"))
    )


def _campaigns(events: nw.LazyFrame[Any]) -> list[nw.LazyFrame[Any]]:
    """New campaigns of a day, and campaigns of which on that day both a contact and a response are known for the first time."""

    def day_of(kind: str) -> nw.Expr:
        return nw.when(nw.col("kind") == kind).then(nw.col("day")).otherwise(None).min()

    campaigns = (
        events.filter(nw.col("kind").is_in(["campaign_contact", "campaign_response"]))
        .with_columns(nw.col("type").fill_null("").alias("campaign"))
        .group_by("customer_id", "campaign")
        .agg(day_of("campaign_contact").alias("contacted_on"), day_of("campaign_response").alias("answered_on"))
        .filter(~nw.col("contacted_on").is_null())
    )
    answered = campaigns.filter(~nw.col("answered_on").is_null())
    return [
        _by_day(campaigns.with_columns(nw.col("contacted_on").alias("day")), {"n_new_campaigns": nw.len()}),
        _by_day(
            answered.with_columns(nw.max_horizontal("contacted_on", "answered_on").alias("day")),
            {"n_new_answers": nw.len()},
        ),
    ]


def _typed(rows: nw.LazyFrame[Any], source: str) -> nw.LazyFrame[Any]:
    """Rows with exactly the measures of a source, zero where there is none."""
    present = set(rows.collect_schema().names())
    return rows.select(
        "customer_id",
        nw.col("day").cast(nw.Int64),
        *(
            (nw.col(name).fill_null(0) if name in present else nw.lit(0)).cast(dtype).alias(name)
            for name, dtype in SOURCES[source].items()
        ),
    )
