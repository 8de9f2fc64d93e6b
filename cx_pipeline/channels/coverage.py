"""Coverage: is each channel harvested - how much arrives, how full, how well it finds its customers, how fresh.

Belongs here: counting a channel's rows by month, and the months without any. Pure functions over frames.
Does not belong here: which rows are staged or rejected (staging), whom an identifier belongs to (identity).

The month of a row is that of the first of its times which the canonical table of its kind holds; rows without any time count in the
month of the as-of date.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import reduce

import narwhals as nw
import polars as pl

from cx_pipeline.channels.policy import CoveragePolicy
from cx_pipeline.core.contract import Channel
from cx_pipeline.core.frames import try_cast
from cx_pipeline.core.tables import Table

# When a record happened, in the order in which staging understands it; and the role that stands in for a missing one.
TIME_ROLES = (
    "event.at",
    "campaign.responded_at",
    "campaign.sent_at",
    "payment.paid_on",
    "payment.due_on",
    "subscription.started_on",
    "record.updated_at",
)
DEFAULT_ROLES = {"campaign.sent_at": "event.at", "campaign.responded_at": "event.at"}
# Kinds that describe something; all others tell of something that happened.
DESCRIBING_KINDS = frozenset({"party", "identifier_link", "product", "promise", "overlay"})
OUTBOUND_KINDS = frozenset({"campaign_contact"})
# Kinds in which somebody other than a customer is the subject.
IMPERSONAL_KINDS = frozenset({"product", "promise", "channel_cost"})
_TIME_TYPES = ("VARCHAR", "DATE", "TIMESTAMP")
MONTH_COLUMNS = pl.Schema(
    {
        "month": pl.Date(),
        "n_records": pl.Int64(),
        "n_untimed": pl.Int64(),
        "n_filled": pl.Int64(),
        "n_inbound": pl.Int64(),
        "n_outbound": pl.Int64(),
        "last_event_at": pl.Datetime("us"),
    }
)


def times_of(channel: Channel, canonical: Table | None = None) -> list[str]:
    """The channel's columns with a time, in the order in which they say when a row happened; only those that `canonical` holds.

    Third-party data are matched with all their times (`profile.overlay_matches`), so that all of them count.
    """
    columns: dict[str, None] = {}
    for role in TIME_ROLES:
        if canonical and not any(role in column.roles for column in canonical.columns) and channel.kind != "overlay":
            continue
        for name in channel.roles.get(role, ()) or channel.roles.get(DEFAULT_ROLES.get(role, ""), ()):
            if channel.table.column(name).engine_type in _TIME_TYPES:
                columns[name] = None
    return list(columns)


def with_month(rows: nw.LazyFrame, times: Sequence[str], as_of: date) -> nw.LazyFrame:
    """Rows with `__at` (NULL where no time can be understood) and `__month`, the first day of its month or of as_of's."""
    names = {f"__time_{i}": name for i, name in enumerate(times)}
    timed = try_cast(
        rows.with_columns(nw.col(name).alias(alias) for alias, name in names.items()),
        dict.fromkeys(names, "TIMESTAMP"),
    )
    at = nw.coalesce(*(nw.col(alias).cast(nw.Datetime("us")) for alias in names)) if names else _no_time()
    timed = timed.with_columns(at.alias("__at")).drop(*names)
    untimed = nw.lit(as_of.replace(day=1)).cast(nw.Date)
    return timed.with_columns(
        nw.coalesce(nw.col("__at").dt.truncate("1mo").cast(nw.Date), untimed).alias("__month"),
    )


def _no_time() -> nw.Expr:
    return nw.lit(None).cast(nw.Datetime("us"))


def monthly_rows(rows: nw.LazyFrame, channel: Channel, canonical: Table, as_of: date) -> nw.LazyFrame:
    """One row per month of a channel: MONTH_COLUMNS.

    Args:
        rows: the channel's staged rows.
        channel: its contract; `n_filled` counts the cells of its columns that hold a value.
        canonical: contract of its kind's canonical table, which decides what times it has.
        as_of: the date the results stand for.
    """
    filled = _total(nw.when(nw.col(column.name).is_null()).then(0).otherwise(1) for column in channel.table.columns)
    inbound, outbound = _directions(channel)
    return (
        with_month(rows, times_of(channel, canonical), as_of)
        .with_columns(filled.alias("__filled"), inbound.alias("__inbound"), outbound.alias("__outbound"))
        .group_by(nw.col("__month").alias("month"))
        .agg(
            nw.len().cast(nw.Int64).alias("n_records"),
            nw.when(nw.col("__at").is_null()).then(1).otherwise(0).sum().cast(nw.Int64).alias("n_untimed"),
            nw.col("__filled").sum().cast(nw.Int64).alias("n_filled"),
            nw.col("__inbound").sum().cast(nw.Int64).alias("n_inbound"),
            nw.col("__outbound").sum().cast(nw.Int64).alias("n_outbound"),
            nw.col("__at").max().alias("last_event_at"),
        )
    )


def _total(terms: Iterable[nw.Expr]) -> nw.Expr:
    return reduce(operator.add, terms, nw.lit(0))


def _directions(channel: Channel) -> tuple[nw.Expr, nw.Expr]:
    """(1 for a row that comes from a customer, 1 for one that goes to a customer); neither for descriptions."""
    column = channel.column_of("event.direction") if channel.kind == "interaction" else None
    if column:
        said = nw.col(column).cast(nw.String).str.strip_chars().str.to_lowercase()
        return (
            nw.when(said == "inbound").then(1).otherwise(0),
            nw.when(said == "outbound").then(1).otherwise(0),
        )
    is_outbound = channel.kind in OUTBOUND_KINDS
    is_silent = channel.kind in DESCRIBING_KINDS | IMPERSONAL_KINDS
    return nw.lit(int(not is_outbound and not is_silent)), nw.lit(int(is_outbound))


def monthly_links(records: nw.LazyFrame, owners: nw.LazyFrame, times: Sequence[str], as_of: date) -> nw.LazyFrame:
    """One row per channel and month: how many records lead to a customer.

    Args:
        records: a canonical table (channel, record_id, identifier_namespace, identifier_value, times).
        owners: `identity.identifier_xref`; for party records `identity.customer_xref`.
        times: its columns with a time, in order.
        as_of: the date the results stand for.

    Returns:
        channel, month, n_linked.
    """
    if "record_id" in owners.collect_schema().names():
        keys = {"channel": "channel", "record_id": "record_id"}
    else:
        keys = {"identifier_namespace": "namespace", "identifier_value": "value"}
    known = owners.select(*keys.values(), nw.lit(1).alias("__is_linked"))
    return (
        with_month(records, times, as_of)
        .join(known, left_on=list(keys), right_on=list(keys.values()), how="left")
        .group_by("channel", nw.col("__month").alias("month"))
        .agg(nw.col("__is_linked").fill_null(0).sum().cast(nw.Int64).alias("n_linked"))
    )


def canonical_times(table: Table) -> list[str]:
    """The canonical table's columns with a time, in the order of TIME_ROLES."""
    return [column.name for role in TIME_ROLES for column in table.columns if role in column.roles]


def coverage(
    channels: Sequence[Channel],
    months: Mapping[str, pl.DataFrame],
    links: pl.DataFrame,
    as_of: date,
    policy: CoveragePolicy,
) -> pl.DataFrame:
    """One row per channel and month, months without data included.

    Args:
        channels: every usable channel.
        months: channel -> its rows from `monthly_rows`; missing or empty where nothing has arrived.
        links: channel, month, n_linked from `monthly_links`, for all channels.
        as_of: the date the results stand for.
        policy: how far back silent months are listed.

    Returns:
        The columns of `channels.coverage`; a channel without any row has one, of the as-of month and status `empty`.
    """
    frames = [
        _one_channel(channel, months.get(channel.name, pl.DataFrame(schema=MONTH_COLUMNS)), links, as_of, policy)
        for channel in channels
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def _one_channel(
    channel: Channel, found: pl.DataFrame, links: pl.DataFrame, as_of: date, policy: CoveragePolicy
) -> pl.DataFrame:
    found = found.cast(MONTH_COLUMNS)
    own_links = links.filter(pl.col("channel") == channel.name).select("month", "n_linked")
    grid = pl.DataFrame({"month": _listed_months(found, as_of, policy.max_months)}, schema={"month": pl.Date})
    counts = ("n_records", "n_untimed", "n_filled", "n_inbound", "n_outbound")
    rows = (
        grid.join(found, on="month", how="left")
        .join(own_links, on="month", how="left")
        .sort("month")
        .with_columns(pl.col(*counts).fill_null(0))
    )
    has_customers = channel.kind not in IMPERSONAL_KINDS and (channel.kind == "party" or _has_identifier(channel))
    n_records = pl.col("n_records")
    is_event = channel.kind not in DESCRIBING_KINDS
    rows = rows.with_columns(
        (n_records if is_event else pl.lit(0, pl.Int64)).alias("n_events"),
        pl.lit(len(channel.table.columns), pl.Int64).alias("n_fields"),
        (pl.col("n_linked").fill_null(0) if has_customers else pl.lit(None, pl.Int64)).alias("n_linked"),
        pl.Series("status", _statuses(rows["n_records"].to_list(), rows["month"].to_list(), as_of), pl.String),
    )
    is_there = n_records > 0
    return rows.with_columns(
        pl.lit(channel.name).alias("channel"),
        pl.when(is_there).then(pl.col("n_filled") / (n_records * pl.col("n_fields"))).alias("filled_rate"),
        pl.when(is_there).then(pl.col("n_linked") / n_records).alias("linked_rate"),
        pl.lit(as_of).alias("as_of"),
        *_freshness(rows, channel.freshness_days, as_of),
    ).select(
        "channel", "month", "status", "n_records", "n_events", "n_untimed", "n_inbound", "n_outbound", "n_fields",
        "filled_rate", "n_linked", "linked_rate", "last_event_at", "age_days", "sla_days", "is_fresh", "as_of",
    )  # fmt: skip


def _has_identifier(channel: Channel) -> bool:
    return any(role.startswith("id.") or role in ("contact.email", "contact.phone") for role in channel.roles)


def _listed_months(found: pl.DataFrame, as_of: date, max_months: int) -> list[date]:
    """Months with rows, and those without from the first one (at most `max_months` back) to the as-of month."""
    months = set(found["month"].to_list())
    last = as_of.replace(day=1)
    earliest = _months_before(last, max_months)
    month = max(min(months, default=last), earliest)
    while month <= last:
        months.add(month)
        month = next_month(month)
    return sorted(months)


def next_month(month: date) -> date:
    """The first day of the month after."""
    return (month + timedelta(days=31)).replace(day=1)


def _months_before(month: date, n: int) -> date:
    index = month.year * 12 + month.month - 1 - n
    return date(max(index // 12, 1), index % 12 + 1, 1)


def _statuses(n_records: Sequence[int], months: Sequence[date], as_of: date) -> list[str]:
    """`harvested`, `gap` (none, but later months have some), `silent` (none since), `ahead` (after as_of), `empty` (none ever)."""
    dated = [month for month, n in zip(months, n_records, strict=True) if n and month <= as_of]
    last = max(dated, default=None)

    def status(month: date, n: int) -> str:
        if n:
            return "ahead" if month > as_of else "harvested"
        if last is None:
            return "empty"
        return "gap" if month < last else "silent"

    return [status(month, n) for month, n in zip(months, n_records, strict=True)]


def _freshness(rows: pl.DataFrame, sla_days: float | None, as_of: date) -> list[pl.Series]:
    """last_event_at carried on over months without data, its age in days at the month's end (at as_of), the SLA and whether it is kept."""
    at = rows["last_event_at"].cum_max().fill_null(strategy="forward")
    ages: list[int | None] = []
    for last, month in zip(at.to_list(), rows["month"].to_list(), strict=True):
        until = min(next_month(month) - timedelta(days=1), as_of)
        ages.append(_age(last, until) if month <= as_of else None)
    fresh = [None if age is None or sla_days is None else age <= sla_days for age in ages]
    return [
        at.alias("last_event_at"),
        pl.Series("age_days", ages, pl.Int64),
        pl.Series("sla_days", [sla_days] * rows.height, pl.Float64),
        pl.Series("is_fresh", fresh, pl.Boolean),
    ]


def _age(last: datetime | None, until: date) -> int | None:
    return None if last is None else max((until - last.date()).days, 0)
