"""Canonical records: the rows of all channels of one kind in one table, columns by role.

Belongs here: from roles to columns, identifiers out of rows, orders from order lines, the clock. Pure functions over frames.
Does not belong here: files and versions (`intake.py`), who an identifier belongs to (identity).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import combinations, count

import narwhals as nw
import polars as pl

from cx_pipeline.core.contract import Channel
from cx_pipeline.core.frames import keyed_hash, lazy, to_polars, try_cast
from cx_pipeline.core.tables import Table
from cx_pipeline.core.vocabulary import role_column
from cx_pipeline.staging.policy import StagingPolicy

# Roles by which a row, beside `id.<namespace>`, can be attributed to a customer.
CONTACT_ROLES = {"contact.email": "email", "contact.phone": "phone"}
# When a record happened: the first of these roles that its channel has.
TIME_ROLES = (
    "event.at",
    "campaign.responded_at",
    "campaign.sent_at",
    "payment.paid_on",
    "payment.due_on",
    "subscription.started_on",
    "record.updated_at",
)
# Roles whose absence another role makes good.
_DEFAULT_ROLES = {
    "campaign.sent_at": "event.at",
    "campaign.responded_at": "event.at",
}
# What a record of a kind is known by where the channel has no number of its own for it: the record's id.
_KNOWN_BY_RECORD = {("order", "order.id"), ("order_line", "order.id"), ("product", "product.id")}
# Times that say how far the data reach; due, end and sending dates do not.
_CLOCK_ROLES = ("event.at", "campaign.responded_at")


def identifier_columns(channel: Channel, policy: StagingPolicy) -> list[tuple[str, str]]:
    """(namespace, column) of everything in a channel's rows that can name a customer, the strongest first."""
    found = [
        (role.removeprefix("id.") if role.startswith("id.") else CONTACT_ROLES[role], column)
        for role, columns in channel.roles.items()
        if role.startswith("id.") or role in CONTACT_ROLES
        for column in columns
    ]
    weakness = {namespace: i for i, namespace in enumerate(policy.weak_namespaces, start=1)}
    return sorted(found, key=lambda item: weakness.get(item[0], 0))


def normalised_identifier(column: nw.Expr, namespace: str) -> nw.Expr:
    """An identifier in the form in which it is compared: trimmed; e-mail in lower case, phone as digits; empty is NULL."""
    text = column.cast(nw.String).str.strip_chars()
    if namespace == "email":
        text = text.str.to_lowercase()
    elif namespace == "phone":
        text = text.str.replace_all(r"^(\+|00)", "p").str.replace_all(r"[^0-9p]", "").str.replace_all("p", "+")
    return nw.when(text == "").then(None).otherwise(text)


def prepare(rows: nw.LazyFrame, channel: Channel, policy: StagingPolicy, key: str) -> nw.LazyFrame:
    """A channel's rows with `__record_id`, `__at`, and `__raw_<i>`, `__value_<i>` for its i-th identifier.

    `__value_<i>` is the keyed hash of `__raw_<i>` where the contract marks the column as personal. Distinct values are hashed, not rows.
    """
    by_place = nw.concat_str([nw.col("source_file"), nw.col("source_line").cast(nw.String)], separator=":")
    ids = [nw.col(column).cast(nw.String) for column in channel.roles.get("record.id", ())]
    given = [ids[0] if len(ids) == 1 else nw.concat_str(ids, separator=":")] if ids else []
    prepared = _with_times(rows, channel).with_columns(nw.coalesce(*given, by_place).alias("__record_id"))
    for i, (namespace, column) in enumerate(identifier_columns(channel, policy)):
        prepared = prepared.with_columns(normalised_identifier(nw.col(column), namespace).alias(f"__raw_{i}"))
        if channel.table.column(column).is_personal:
            distinct = prepared.select(f"__raw_{i}").filter(~nw.col(f"__raw_{i}").is_null()).unique()
            hashed = keyed_hash(distinct, {f"__value_{i}": f"__raw_{i}"}, key)
            prepared = prepared.join(
                hashed.rename({f"__raw_{i}": "__hashed"}), left_on=f"__raw_{i}", right_on="__hashed", how="left"
            )
        else:
            prepared = prepared.with_columns(nw.col(f"__raw_{i}").alias(f"__value_{i}"))
    return prepared


def _with_times(rows: nw.LazyFrame, channel: Channel) -> nw.LazyFrame:
    """`__at`: the first of the roles of time that a row has a value for; a text that is no ISO time counts for nothing."""
    columns = [channel.roles[role][0] for role in TIME_ROLES if role in channel.roles]
    columns = [column for column in columns if _is_castable(channel, column, "TIMESTAMP")]
    if not columns:
        return rows.with_columns(nw.lit(None).cast(nw.Datetime("us")).alias("__at"))
    names = {f"__at_{i}": column for i, column in enumerate(columns)}
    timed = try_cast(
        rows.with_columns(nw.col(column).alias(name) for name, column in names.items()),
        dict.fromkeys(names, "TIMESTAMP"),
    )
    return timed.with_columns(nw.coalesce(*(nw.col(name) for name in names)).alias("__at")).drop(*names)


_TEXT, _NUMBERS, _TIMES = (
    {"VARCHAR", "JSON"},
    {"DOUBLE", "DECIMAL", "BIGINT", "INTEGER", "SMALLINT"},
    {"DATE", "TIMESTAMP"},
)


def _is_castable(channel: Channel, column: str, wanted: str) -> bool:
    """Whether a column's type can be understood as the wanted one; a number is no time, whatever an engine makes of it."""
    found, wanted = (kind.partition("(")[0] for kind in (channel.table.column(column).engine_type, wanted))
    return wanted in _TEXT or found in _TEXT or found == wanted or any({found, wanted} <= f for f in (_NUMBERS, _TIMES))


def records(prepared: nw.LazyFrame, channel: Channel, table: Table, policy: StagingPolicy) -> nw.LazyFrame:
    """A channel's rows as rows of its kind's canonical table: columns by role, NULL where the channel has none.

    A value that does not fit the canonical type (say, a word in a column with a number's role) becomes NULL: a role never rejects.

    Args:
        prepared: from `prepare`.
        channel: the channel.
        table: contract of the canonical table.
        policy: for the order of identifiers.
    """
    identifiers = identifier_columns(channel, policy)
    derived = {
        "channel": nw.lit(channel.name),
        "record_id": nw.col("__record_id"),
        "identifier_value": _first([nw.col(f"__value_{i}") for i in range(len(identifiers))]),
        "identifier_namespace": _namespace(identifiers),
    }
    columns: dict[str, nw.Expr] = {}
    sources: dict[str, str] = {}
    types: dict[str, str] = {}
    for column in table.columns:
        if column.name in derived:
            columns[column.name] = derived[column.name]
            continue
        role = column.roles[0]
        parts: list[str] = []
        for source in channel.roles.get(role, ()) or channel.roles.get(_DEFAULT_ROLES.get(role, ""), ()):
            if _is_castable(channel, source, column.engine_type):
                parts.append(f"__{column.name}_{len(parts)}")
                sources[parts[-1]], types[parts[-1]] = source, column.engine_type
        by_record = [nw.col("__record_id")] if (channel.kind, role) in _KNOWN_BY_RECORD else []
        columns[column.name] = _first([*map(nw.col, parts), *by_record])
    typed = try_cast(prepared.with_columns(nw.col(source).alias(name) for name, source in sources.items()), types)
    schema = lazy(table.empty()).collect_schema()
    return typed.select(expression.cast(schema[name]).alias(name) for name, expression in columns.items())


def _first(expressions: Sequence[nw.Expr]) -> nw.Expr:
    if not expressions:
        return nw.lit(None).cast(nw.String)
    return expressions[0] if len(expressions) == 1 else nw.coalesce(*expressions)


def _namespace(identifiers: Sequence[tuple[str, str]]) -> nw.Expr:
    expression: nw.Expr = nw.lit(None).cast(nw.String)
    for i in reversed(range(len(identifiers))):
        expression = nw.when(~nw.col(f"__value_{i}").is_null()).then(nw.lit(identifiers[i][0])).otherwise(expression)
    return expression


def union(frames: Sequence[nw.LazyFrame], empty: nw.LazyFrame) -> nw.LazyFrame:
    """All frames below one another, with the columns and types of `empty`, which also stands in where there is none."""
    if not frames:
        return empty
    schema = empty.collect_schema()
    return nw.concat([frame.select(nw.col(name).cast(dtype) for name, dtype in schema.items()) for frame in frames])


def orders_from_lines(lines: nw.LazyFrame, orders: nw.LazyFrame, policy: StagingPolicy) -> nw.LazyFrame:
    """One row per order that is known by its lines only: time, money, quantity summed over the lines.

    Args:
        lines: `staging.order_lines`; a line without order id is an order of its own.
        orders: orders that channels deliver themselves; their lines are not counted a second time (see
            `_delivered_orders_of_lines`).
        policy: which identifier speaks for an order whose lines carry several: the strongest.
    """
    order = ["channel", "order_id"]
    keyed = with_order_id(lines)
    unknown = keyed.join(_delivered_orders_of_lines(keyed, orders), on=order, how="anti")
    totals = unknown.group_by(*order).agg(
        nw.col("event_at").min(),
        *(nw.col(name).sum() for name in _SUMMED),
        nw.col("order_currency").min(),
        nw.col("order_returns_id").min(),
        nw.col("event_place").min(),
        *(nw.when(~nw.col(name).is_null()).then(1).otherwise(0).sum().alias(f"__n_{name}") for name in _SUMMED),
    )
    weakness = nw.lit(0)
    for i, namespace in enumerate(policy.weak_namespaces, start=1):
        weakness = nw.when(nw.col("identifier_namespace") == namespace).then(nw.lit(i)).otherwise(weakness)
    named = ["identifier_namespace", "identifier_value"]
    speaking = (
        unknown.filter(~nw.col("identifier_value").is_null())
        .select(*order, *named, weakness.alias("__weakness"))
        .unique(order, keep="first", order_by=["__weakness", *named])
        .drop("__weakness")
    )
    # A sum over nothing is nothing, not zero: whether a source has costs must stay visible.
    known = [nw.when(nw.col(f"__n_{name}") > 0).then(nw.col(name)).otherwise(None).alias(name) for name in _SUMMED]
    return (
        totals.join(speaking, on=order, how="left")
        .with_columns(
            *known,
            nw.col("order_id").alias("record_id"),
            nw.lit(None).cast(nw.String).alias("payment_method"),
            nw.lit(None).cast(nw.String).alias("campaign_id"),
        )
        .drop(*(f"__n_{name}" for name in _SUMMED))
    )


def with_order_id(lines: nw.LazyFrame) -> nw.LazyFrame:
    """Order lines with the order they belong to; a line without order id is an order of its own."""
    return lines.with_columns(nw.coalesce(nw.col("order_id"), nw.col("record_id")).alias("order_id"))


def delivered_orders(keyed_lines: nw.LazyFrame, orders: nw.LazyFrame) -> nw.LazyFrame:
    """The orders of `staging.orders` that channels deliver themselves; the others are derived from a channel's own lines.

    Args:
        keyed_lines: from `with_order_id`.
        orders: `staging.orders`.
    """
    return orders.join(
        keyed_lines.select("channel", "order_id").unique(),
        left_on=["channel", "record_id"],
        right_on=["channel", "order_id"],
        how="anti",
    )


def lines_without_order(lines: nw.LazyFrame, orders: nw.LazyFrame) -> nw.LazyFrame:
    """Lines whose order neither was derived from them nor is delivered by a channel (see `_delivered_orders_of_lines`)."""
    keyed = with_order_id(lines)
    derived = orders.select("channel", nw.col("record_id").alias("order_id"))
    delivered = _delivered_orders_of_lines(keyed, delivered_orders(keyed, orders))
    on = ["channel", "order_id"]
    return keyed.join(derived, on=on, how="anti").join(delivered, on=on, how="anti")


def orders_with_lines(keyed_lines: nw.LazyFrame, delivered: nw.LazyFrame) -> nw.LazyFrame:
    """Channel and record_id of the delivered orders some channel has lines of."""
    return _lines_met(keyed_lines, delivered).select(
        nw.col("__channel").alias("channel"), nw.col("__record_id").alias("record_id")
    ).unique()  # fmt: skip


def _delivered_orders_of_lines(lines: nw.LazyFrame, orders: nw.LazyFrame) -> nw.LazyFrame:
    """Channel and order_id of the lines whose order a channel delivers itself."""
    return _lines_met(lines, orders).select("channel", "order_id").unique()


def _lines_met(lines: nw.LazyFrame, orders: nw.LazyFrame) -> nw.LazyFrame:
    """Pairs of a line and the delivered order that it belongs to.

    Two systems may number their orders alike, so the same order id is not enough where there is more to see: a line belongs to a
    delivered order of its id if it names nobody, or the same customer, or, where the two cannot be compared, the same day.
    """
    delivered = orders.select(
        "order_id",
        nw.col("channel").alias("__channel"),
        nw.col("record_id").alias("__record_id"),
        nw.col("event_at").cast(nw.Date).alias("__day"),
        nw.col("identifier_namespace").alias("__namespace"),
        nw.col("identifier_value").alias("__value"),
    )
    met = lines.select("channel", "order_id", "event_at", "identifier_namespace", "identifier_value").join(
        delivered, on="order_id", how="inner"
    )
    same_namespace = (nw.col("identifier_namespace") == nw.col("__namespace")).fill_null(False)
    same_value = (nw.col("identifier_value") == nw.col("__value")).fill_null(False)
    same_day = (nw.col("event_at").cast(nw.Date) == nw.col("__day")).fill_null(False)
    belongs = nw.col("identifier_value").is_null() | (same_namespace & same_value) | (~same_namespace & same_day)
    return met.filter(belongs)


_SUMMED = ("order_amount", "order_quantity", "order_discount", "order_cost")


def seen_identifiers(prepared: nw.LazyFrame, channel: Channel, policy: StagingPolicy) -> list[nw.LazyFrame]:
    """One row per identifier that a channel has shown: how often, first and last when."""
    return [
        prepared.filter(~nw.col(f"__value_{i}").is_null())
        .group_by(f"__value_{i}")
        .agg(
            nw.col(f"__raw_{i}").min().alias("raw_value"),
            nw.len().cast(nw.Int64).alias("n_records"),
            nw.col("__at").min().alias("first_seen_at"),
            nw.col("__at").max().alias("last_seen_at"),
        )
        .rename({f"__value_{i}": "value"})
        .with_columns(nw.lit(channel.name).alias("channel"), nw.lit(namespace).alias("namespace"))
        for i, (namespace, _) in enumerate(identifier_columns(channel, policy))
    ]


def identifiers(seen: Sequence[nw.LazyFrame], empty: nw.LazyFrame) -> nw.LazyFrame:
    """One row per channel, namespace and value: columns of one namespace put together."""
    return union(seen, empty).group_by("channel", "namespace", "value").agg(
        nw.col("raw_value").min(),
        nw.col("n_records").sum().cast(nw.Int64),
        nw.col("first_seen_at").min(),
        nw.col("last_seen_at").max(),
    )  # fmt: skip


def record_identifiers(prepared: nw.LazyFrame, channel: Channel, policy: StagingPolicy) -> list[nw.LazyFrame]:
    """One row per record and identifier of it."""
    return [
        prepared.filter(~nw.col(f"__value_{i}").is_null()).select(
            nw.lit(channel.name).alias("channel"),
            nw.col("__record_id").alias("record_id"),
            nw.lit(namespace).alias("namespace"),
            nw.col(f"__value_{i}").alias("value"),
        )
        for i, (namespace, _) in enumerate(identifier_columns(channel, policy))
    ]


def seen_pairs(prepared: nw.LazyFrame, channel: Channel, policy: StagingPolicy) -> list[nw.LazyFrame]:
    """One row per pair of different identifiers that a channel shows in one record, with how often and when."""
    found = identifier_columns(channel, policy)
    return [
        prepared.filter(
            ~nw.col(f"__value_{i}").is_null()
            & ~nw.col(f"__value_{j}").is_null()
            & ((nw.col(f"__value_{i}") != nw.col(f"__value_{j}")) | nw.lit(found[i][0] != found[j][0]))
        )
        .group_by(f"__value_{i}", f"__value_{j}")
        .agg(
            nw.len().cast(nw.Int64).alias("n_records"),
            nw.col("__at").min().alias("first_seen_at"),
            nw.col("__at").max().alias("last_seen_at"),
        )
        .rename({f"__value_{i}": "left_value", f"__value_{j}": "right_value"})
        .with_columns(
            nw.lit(channel.name).alias("channel"),
            nw.lit(found[i][0]).alias("left_namespace"),
            nw.lit(found[j][0]).alias("right_namespace"),
        )
        for i, j in combinations(range(len(found)), 2)
    ]


def identifier_pairs(seen: Sequence[nw.LazyFrame], empty: nw.LazyFrame) -> nw.LazyFrame:
    """One row per channel and pair: several columns of one namespace put together."""
    return union(seen, empty).group_by("channel", "left_namespace", "left_value", "right_namespace", "right_value").agg(
        nw.col("n_records").sum().cast(nw.Int64),
        nw.col("first_seen_at").min(),
        nw.col("last_seen_at").max(),
    )  # fmt: skip


def further_attributes(prepared: nw.LazyFrame, channel: Channel, policy: StagingPolicy) -> list[nw.LazyFrame]:
    """One row per record and fact with a role `attribute.<name>`, and per second value of a personal role (`phone_2`)."""
    found = {
        role.removeprefix("attribute."): cols[0]
        for role, cols in channel.roles.items()
        if role.startswith("attribute.")
    }
    for role, columns in channel.roles.items():
        if role.split(".")[0] in ("attribute", "person", "contact", "address"):
            name = role.removeprefix("attribute.") if role.startswith("attribute.") else role_column(role)
            for n, column in enumerate(columns[1:], start=2):
                # The contract may have an attribute of that very name; it keeps it.
                free = next(f"{name}_{i}" for i in count(n) if f"{name}_{i}" not in found)
                found[free] = column
    names = identifier_columns(channel, policy)
    return [
        prepared.filter(~nw.col(column).is_null()).select(
            nw.lit(channel.name).alias("channel"),
            nw.col("__record_id").alias("record_id"),
            nw.lit(name).alias("attribute"),
            nw.col(column).cast(nw.String).alias("value"),
            _namespace(names).alias("identifier_namespace"),
            _first([nw.col(f"__value_{i}") for i in range(len(names))]).alias("identifier_value"),
            nw.col("__at").alias("observed_at"),
        )
        for name, column in found.items()
    ]


def clock(
    tables: Mapping[Channel, nw.LazyFrame] | Sequence[tuple[Channel, nw.LazyFrame]],
    *,
    configured: date | None,
    started_at: datetime,
) -> pl.DataFrame:
    """One row: the date the results stand for, and its basis (INTERFACES: CX_AS_OF).

    Args:
        tables: channels with their staged rows.
        configured: date the user asked for; it wins.
        started_at: start of the run; later times in the data are mistakes or plans.
    """
    if configured:
        return pl.DataFrame({"as_of": [configured], "basis": ["configured"]})
    pairs = list(tables.items()) if isinstance(tables, Mapping) else list(tables)
    for basis, roles in (("events", _CLOCK_ROLES), ("updated_at", ("record.updated_at",))):
        latest = [
            _latest(rows, column, started_at)
            for channel, rows in pairs
            for role in roles
            for column in channel.roles.get(role, ())
            if _is_castable(channel, column, "TIMESTAMP")
        ]
        times = [time for time in latest if time is not None]
        if times:
            return pl.DataFrame({"as_of": [max(times).date()], "basis": [basis]})
    return pl.DataFrame({"as_of": [started_at.date()], "basis": ["run"]})


def _latest(rows: nw.LazyFrame, column: str, until: datetime) -> datetime | None:
    times = try_cast(rows.select(nw.col(column).alias("time")), {"time": "TIMESTAMP"})
    found = to_polars(times.filter(nw.col("time") <= until).select(nw.col("time").max()))["time"]
    latest: datetime | None = found[0]
    return latest
