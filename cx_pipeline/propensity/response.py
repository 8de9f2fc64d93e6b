"""`coupon_response`: will a customer respond to a campaign, if contacted?

Belongs here: contacts as moments, what was known at each moment, labels, naive rules, tonight's moments.
Does not belong here: training (`training.py`), whether a contact changes anything (`engagement`).

Everything a row knows happened before its moment: a contact sent at midnight knows the day before and nothing of the day itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.propensity.cards import Description
from cx_pipeline.propensity.policy import PropensityPolicy
from cx_pipeline.propensity.training import Task

MODEL = "coupon_response"
_MONEY = nw.Decimal(38, 4)
_WINDOWS_DAYS = (30, 90, 365)
_USE_DAYS = 180
# Contacts that a customer without contacts is taken to have had, at the rate of all, so that one response is not a rate of 100 %.
_PRIOR_CONTACTS = 10
OTHER = "other"
FEATURES = (
    *(f"{name}_{days}d" for days in _WINDOWS_DAYS for name in ("n_orders", "revenue")),
    "discount_rate",
    "recency_days",
    "mean_order_value",
    "n_contacts",
    "n_contacts_60d",
    "n_contacts_same_offer",
    "n_campaigns_answered",
    "n_campaigns_answered_same_offer",
    "own_response_rate",
    "own_response_rate_same_offer",
    "n_responses",
    "days_since_contact",
    "days_since_response",
    "n_contacted",
    "offer_response_rate",
)
NAIVE = ("own_response_rate", "offer_response_rate")
DESCRIPTION = Description(
    model=MODEL,
    outcome="a response to a campaign within the window after the contact (`response_window_days`).",
    row="A row is a contact of a customer by a campaign, with what was known before it.",
    use="Whom to expect a response from, if contacted by a campaign with the offer named in the settings of the model. Not an "
    "effect: frequent responders may buy without a campaign too.",
    caveats="Learnt from customers who were chosen for campaigns, so it is an extrapolation for the never contacted. Campaigns of "
    "another kind than the past ones respond at other rates: watch the calibration.",
)


def attributed(rows: nw.LazyFrame, xref: nw.LazyFrame) -> nw.LazyFrame:
    """Rows of known customers, with customer_id.

    Args:
        rows: any canonical table with identifier_namespace and identifier_value.
        xref: `identity.identifier_xref`.
    """
    owners = xref.select(
        nw.col("namespace").alias("identifier_namespace"), nw.col("value").alias("identifier_value"), "customer_id"
    )
    return rows.join(owners, on=["identifier_namespace", "identifier_value"])


def contacts(
    sent: nw.LazyFrame, responses: nw.LazyFrame, xref: nw.LazyFrame, as_of: date, policy: PropensityPolicy
) -> pl.DataFrame:
    """One row per customer and campaign: the first contact's moment and offer, and the first response within the window.

    Args:
        sent: `staging.campaign_contacts`; contacts of control arms are told by no role, so all count.
        responses: `staging.campaign_responses`.
        xref: `identity.identifier_xref`.
        as_of: the last day that is known.
        policy: the window.

    Columns: customer_id, campaign, at, offer, responded_at (NULL: none).
    """
    tomorrow = datetime.combine(as_of + timedelta(days=1), time())
    first = (
        attributed(sent, xref)
        .filter(~nw.col("campaign_id").is_null() & (nw.col("campaign_sent_at") < nw.lit(tomorrow)))
        .group_by("customer_id", nw.col("campaign_id").alias("campaign"))
        .agg(nw.col("campaign_sent_at").min().alias("at"), nw.col("campaign_offer").min().alias("offer"))
    )
    closes = nw.col("at").dt.offset_by(f"{policy.response_window_days}d")
    answered = (
        first.join(
            attributed(responses, xref)
            .filter(nw.col("campaign_responded_at") < nw.lit(tomorrow))
            .select("customer_id", nw.col("campaign_id").alias("campaign"), "campaign_responded_at"),
            on=["customer_id", "campaign"],
        )
        .filter((nw.col("campaign_responded_at") >= nw.col("at")) & (nw.col("campaign_responded_at") <= closes))
        .group_by("customer_id", "campaign")
        .agg(nw.col("campaign_responded_at").min().alias("responded_at"))
    )
    found: pl.DataFrame = first.join(answered, on=["customer_id", "campaign"], how="left").collect("polars").to_native()
    return found.select("customer_id", "campaign", "at", "offer", "responded_at").sort("customer_id", "at", "campaign")


def tonight(customers: Sequence[str], as_of: date, settings: Mapping[str, Any]) -> pl.DataFrame:
    """One moment per customer at the end of as_of, for a campaign like those of the training.

    Args:
        customers: who is scored.
        as_of: the last day that is known.
        settings: of the model: `offer` and `n_contacted` of the campaign to be imagined.
    """
    return pl.DataFrame({"customer_id": customers}, schema={"customer_id": pl.String}).with_columns(
        pl.lit(datetime.combine(as_of + timedelta(days=1), time())).cast(pl.Datetime("us")).alias("at"),
        pl.lit(settings["offer"], dtype=pl.String).alias("offer"),
        pl.lit(settings["n_contacted"], dtype=pl.Float64).alias("n_contacted"),
    )


def order_history(moments: nw.LazyFrame, orders: nw.LazyFrame, xref: nw.LazyFrame) -> nw.LazyFrame:
    """One row per customer and moment with orders before it: counts and money in windows, discounts, the last order.

    Args:
        moments: distinct customer_id and at.
        orders: `staging.orders`; only positive amounts count.
        xref: `identity.identifier_xref`.
    """
    before = moments.join(
        attributed(orders.filter(nw.col("order_amount") > 0), xref).select(
            "customer_id", "event_at", "order_amount", "order_discount"
        ),
        on="customer_id",
    ).filter(nw.col("event_at") < nw.col("at"))

    def within(days: int) -> nw.Expr:
        return nw.col("event_at").dt.offset_by(f"{days}d") >= nw.col("at")

    def money(column: str, days: int) -> nw.Expr:
        return nw.when(within(days)).then(nw.col(column).cast(_MONEY)).otherwise(None).sum()

    aggregates = [
        nw.when(within(days)).then(1).otherwise(0).sum().cast(nw.Int64).alias(f"n_orders_{days}d")
        for days in (*_WINDOWS_DAYS, _USE_DAYS)
    ]
    aggregates += [money("order_amount", days).alias(f"revenue_{days}d") for days in _WINDOWS_DAYS]
    aggregates += [
        money("order_discount", _WINDOWS_DAYS[-1]).alias("discount"),
        nw.col("event_at").max().alias("last_order_at"),
    ]
    return before.group_by("customer_id", "at").agg(*aggregates)


def order_uses(
    rows: nw.LazyFrame, record_column: str, column: str, canonical: nw.LazyFrame, xref: nw.LazyFrame
) -> nw.LazyFrame:
    """One row per customer and order time at which a channel's column was not 0: customer_id, event_at.

    Args:
        rows: `staging.channel_<channel>`.
        record_column: its column with the role record.id.
        column: the numeric column.
        canonical: `staging.orders` or `staging.order_lines`, whichever the channel feeds, of that channel only.
        xref: `identity.identifier_xref`.
    """
    used = rows.filter((nw.col(column) != 0) & ~nw.col(column).is_null()).select(
        nw.col(record_column).cast(nw.String).alias("record_id")
    )
    return attributed(canonical.join(used, on="record_id"), xref).select("customer_id", "event_at").unique()


def use_history(moments: nw.LazyFrame, uses: nw.LazyFrame, name: str) -> nw.LazyFrame:
    """One row per customer and moment: how often, in the last 180 days, an order used it (column `n_<name>_180d`)."""
    since = nw.col("event_at").dt.offset_by(f"{_USE_DAYS}d") >= nw.col("at")
    return (
        moments.join(uses, on="customer_id")
        .filter((nw.col("event_at") < nw.col("at")) & since)
        .group_by("customer_id", "at")
        .agg(nw.len().cast(nw.Int64).alias(f"n_{name}_{_USE_DAYS}d"))
    )


def contact_history(moments: pl.DataFrame, known: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """The moments with what was known of earlier contacts and responses.

    Args:
        moments: customer_id, at, offer.
        known: from `contacts`.
        responses: customer_id and responded_at of all responses, in or out of a window.
    """
    keys = ["customer_id", "at", "offer"]
    distinct = moments.select(keys).unique()
    earlier = distinct.join(
        known.select("customer_id", pl.col("at").alias("sent_at"), pl.col("offer").alias("sent_offer"), "responded_at"),
        on="customer_id",
    ).filter(pl.col("sent_at") < pl.col("at"))
    is_answered = (pl.col("responded_at") < pl.col("at")).fill_null(False)
    is_same = pl.col("sent_offer").eq_missing(pl.col("offer"))
    counted = earlier.group_by(keys).agg(
        pl.len().cast(pl.Int64).alias("n_contacts"),
        (pl.col("sent_at") >= pl.col("at") - pl.duration(days=60)).sum().cast(pl.Int64).alias("n_contacts_60d"),
        is_same.sum().cast(pl.Int64).alias("n_contacts_same_offer"),
        is_answered.sum().cast(pl.Int64).alias("n_campaigns_answered"),
        (is_answered & is_same).sum().cast(pl.Int64).alias("n_campaigns_answered_same_offer"),
        pl.col("sent_at").max().alias("last_contact_at"),
    )
    answers = (
        distinct.select("customer_id", "at")
        .unique()
        .join(responses, on="customer_id")
        .filter(pl.col("responded_at") < pl.col("at"))
        .group_by("customer_id", "at")
        .agg(pl.len().cast(pl.Int64).alias("n_responses"), pl.col("responded_at").max().alias("last_response_at"))
    )
    return moments.join(counted, on=keys, how="left", nulls_equal=True).join(
        answers, on=["customer_id", "at"], how="left"
    )


def offer_rates(moments: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """One row per moment's time and offer: the response rate so far of the offer (NULL: new) and of all contacts.

    Args:
        moments: at, offer.
        known: from `contacts`.
    """
    times = moments.select("at", "offer").unique().sort("at", "offer")
    parts = [
        group.with_columns(
            _rate_before(group["at"], known).alias("rate_of_all"),
            _rate_before(group["at"], known.filter(pl.col("offer").eq_missing(pl.lit(offer)))).alias(
                "offer_response_rate"
            ),
        )
        for (offer,), group in times.group_by("offer", maintain_order=True)
    ]
    empty = times.with_columns(rate_of_all=pl.lit(None, pl.Float64), offer_response_rate=pl.lit(None, pl.Float64))
    return pl.concat(parts) if parts else empty


def _rate_before(times: pl.Series, sent: pl.DataFrame) -> pl.Series:
    """Responses before each time over contacts before it; NULL where there were none."""
    n = sent["at"].sort().search_sorted(times, side="left")
    x = sent["responded_at"].drop_nulls().sort().search_sorted(times, side="left")
    counted = pl.DataFrame({"n": n, "x": x})
    return counted.select(pl.when(pl.col("n") > 0).then((pl.col("x") / pl.col("n")).round(9)))["x"]


def rows_of(
    moments: pl.DataFrame,
    known: pl.DataFrame,
    responses: pl.DataFrame,
    orders: pl.DataFrame,
    uses: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """The moments with all features.

    Args:
        moments: customer_id, at (midnight after the last day known, or the time of contact), offer, n_contacted.
        known: from `contacts`.
        responses: customer_id, responded_at of all responses.
        orders: `order_history` of the moments.
        uses: feature name -> `use_history` of the moments.
    """
    found = contact_history(moments, known, responses).join(orders, on=["customer_id", "at"], how="left")
    found = found.join(offer_rates(moments, known), on=["at", "offer"], how="left", nulls_equal=True)
    counts = [c for c in found.columns if c.startswith(("n_", "revenue_"))]
    found = found.with_columns(pl.col(c).fill_null(0) for c in counts)
    found = found.with_columns(
        pl.col(c).cast(pl.Float64) for c in found.columns if c.startswith("revenue_") or c == "discount"
    )

    def days_since(column: str) -> pl.Expr:
        return (pl.col("at").dt.date() - pl.col(column).dt.date()).dt.total_days()

    def rate(answered: str, contacted: str) -> pl.Expr:
        prior = pl.col("rate_of_all").fill_null(0.0)
        return ((pl.col(answered) + prior * _PRIOR_CONTACTS) / (pl.col(contacted) + _PRIOR_CONTACTS)).round(9)

    year = f"{_WINDOWS_DAYS[-1]}d"
    found = found.with_columns(
        days_since("last_order_at").alias("recency_days"),
        days_since("last_contact_at").alias("days_since_contact"),
        days_since("last_response_at").alias("days_since_response"),
        pl.when(pl.col(f"n_orders_{year}") > 0)
        .then((pl.col(f"revenue_{year}") / pl.col(f"n_orders_{year}")).round(6))
        .alias("mean_order_value"),
        (pl.col("discount") / (pl.col("discount") + pl.col(f"revenue_{year}")))
        .round(9)
        .fill_nan(None)
        .alias("discount_rate"),
        rate("n_campaigns_answered", "n_contacts").alias("own_response_rate"),
        rate("n_campaigns_answered_same_offer", "n_contacts_same_offer").alias("own_response_rate_same_offer"),
        pl.max_horizontal("last_order_at", "last_contact_at", "last_response_at").alias("last_known_at"),
    )
    for name, history in uses.items():
        count = f"n_{name}_{_USE_DAYS}d"
        found = found.join(history, on=["customer_id", "at"], how="left").with_columns(pl.col(count).fill_null(0))
        share = (pl.col(count) / (pl.col(f"n_orders_{_USE_DAYS}d") + 1)).round(9)
        found = found.with_columns(share.alias(f"share_{name}_{_USE_DAYS}d"))
    return found


def with_offers(rows: pl.DataFrame, offers: Sequence[str]) -> pl.DataFrame:
    """Add a column `is_offer_<offer>` for each offer that is told apart."""
    return rows.with_columns(
        (pl.col("offer") == offer).fill_null(False).cast(pl.Int8).alias(f"is_offer_{offer}") for offer in offers
    )


def frequent_offers(known: pl.DataFrame, policy: PropensityPolicy) -> list[str]:
    """The offers that are told apart, most frequent first; none where there is only one."""
    counted = known.filter(pl.col("offer").is_not_null()).group_by("offer").agg(pl.len().alias("n"))
    if counted.height < 2:
        return []
    return counted.sort("n", "offer", descending=[True, False]).head(policy.max_offers)["offer"].to_list()


def labelled(rows: pl.DataFrame, as_of: date, policy: PropensityPolicy) -> pl.DataFrame:
    """Rows whose window has closed, with label and dates.

    Args:
        rows: from `rows_of`, of the contacts.
        as_of: the last day that is known.
        policy: the window and the most rows.
    """
    closes_on = (pl.col("at") + pl.duration(days=policy.response_window_days)).dt.date()
    return (
        rows.with_columns(
            closes_on.alias("closes_on"),
            pl.col("responded_at").is_not_null().cast(pl.Int8).alias("label"),
            pl.col("last_known_at").alias("known_until"),
        )
        .filter(pl.col("closes_on") <= as_of)
        .with_columns(pl.col("at").alias("moment"), pl.col("at").dt.date())
        .sort("customer_id", "at", "campaign")
        .head(policy.max_rows)
    )


def settings(known: pl.DataFrame, offers: Sequence[str], uses: Sequence[str]) -> dict[str, Any]:
    """What tonight's scores imagine: a campaign with the most frequent offer, of that offer's median size.

    Args:
        known: contacts, with n_contacted.
        offers: those that are told apart.
        uses: names of the features made of order columns.
    """
    usual = known.filter(pl.col("offer") == offers[0]) if offers else known
    median = usual.unique("campaign")["n_contacted"].median()
    return {
        "offer": offers[0] if offers else None,
        "n_contacted": float(median) if isinstance(median, int | float) else 0.0,
        "offers": list(offers),
        "uses": list(uses),
    }


def task(rows: pl.DataFrame, kept: Mapping[str, Any]) -> Task:
    """The training task of labelled rows; `kept` is from `settings`."""
    names = [f"{kind}_{use}_{_USE_DAYS}d" for use in kept["uses"] for kind in ("n", "share")]
    features = (*FEATURES, *names, *(f"is_offer_{offer}" for offer in kept["offers"]))
    return Task(DESCRIPTION, rows, features, NAIVE, settings=kept)


def folds_from(rows: pl.DataFrame, policy: PropensityPolicy, test_from: date | None = None) -> tuple[date, date] | None:
    """Where test and calibration begin, by shares of the contacts; None where the dates cannot be told apart.

    Args:
        rows: labelled rows.
        policy: the shares.
        test_from: begin the test fold on this date instead.
    """
    test_from = test_from or _date_before_last(rows, policy.test_share)
    if test_from is None:
        return None
    before = rows.filter(pl.col("closes_on") <= test_from)
    calibration_from = _date_before_last(before, policy.calibration_share)
    return (test_from, calibration_from) if calibration_from else None


def _date_before_last(rows: pl.DataFrame, share: float) -> date | None:
    """The earliest date from which on at most about `share` of the rows lie, never the first date of all."""
    by_date = rows.group_by("at").agg(pl.len().alias("n")).sort("at", descending=True)
    if by_date.height < 2:
        return None
    reached = by_date.with_columns(pl.col("n").cum_sum() / rows.height).head(by_date.height - 1)
    inside = reached.filter(pl.col("n") <= share)
    found: date = inside["at"][-1] if inside.height else reached["at"][0]
    return found
