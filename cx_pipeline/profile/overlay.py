"""Third-party data: which customer a record of it is about, found by e-mail or phone, and how old it is.

Belongs here: matching overlay records to customers, and the one record per customer and provider that counts. Does not belong here:
which of its attributes stands in the golden record (`golden.py`), how well a provider matches over all (channels).

Overlay never makes a customer: an e-mail or phone that no other channel has seen leads nowhere. A phone with its country's
code and the same one without, as another source writes it, are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import narwhals as nw

from cx_pipeline.core.contract import Channel
from cx_pipeline.core.frames import try_cast
from cx_pipeline.profile.features import day_ordinal
from cx_pipeline.profile.policy import OverlayPolicy

# Role of a column -> namespace of the identifier in it; the first one wins where they lead to different customers.
KEYS: Mapping[str, str] = {"contact.email": "email", "contact.phone": "phone"}
# Lengths of the codes of countries, and the fewest digits of a number without one that are worth comparing.
_CODE_LENGTHS = (1, 2, 3)
_MIN_DIGITS = 7
_LONG_AGO = date(1000, 1, 1)
_RECORD = ("channel", "record_id")


def record_keys(rows: nw.LazyFrame, channel: Channel) -> nw.LazyFrame:
    """One row per record of an overlay channel and e-mail or phone in it: channel, record_id, namespace, key (see `compared`).

    Args:
        rows: `staging.channel_<channel>`.
        channel: its contract.
    """
    found = [
        rows.select(
            nw.lit(channel.name).alias("channel"),
            _record_id(channel).alias("record_id"),
            nw.lit(namespace).alias("namespace"),
            compared(nw.col(column), namespace).alias("key"),
        )
        for role, namespace in KEYS.items()
        for column in channel.roles.get(role, ())
    ]
    return nw.concat(found).filter(nw.col("key") != "").unique()


def compared(column: nw.Expr, namespace: str) -> nw.Expr:
    """An e-mail or phone in the form in which it is compared: lower case without blanks; digits, with + before a country's code."""
    text = column.cast(nw.String).str.strip_chars()
    if namespace == "email":
        return text.str.to_lowercase()
    return text.str.replace_all(r"^(\+|00)", "p").str.replace_all(r"[^0-9p]", "").str.replace_all("p", "+")


def _in_all_forms(keys: nw.LazyFrame, side: str, other: str) -> nw.LazyFrame:
    """Rows of namespace and key, each in all forms in which it may meet the other side's, with the `form`.

    Keys meet as they stand. A phone with its country's code also meets one of the other side that has none: then what is left of
    it without 1, 2 or 3 digits of code equals the other without its leading zeros.
    """
    is_phone, is_international = nw.col("namespace") == "phone", nw.col("key").str.starts_with("+")
    cut = [
        keys.filter(is_phone & is_international).with_columns(
            nw.col("key").str.slice(1 + n).alias("key"), nw.lit(side).alias("form")
        )
        for n in _CODE_LENGTHS
    ]
    national = keys.filter(is_phone & ~is_international).with_columns(
        nw.col("key").str.replace_all(r"^0+", "").alias("key"), nw.lit(other).alias("form")
    )
    met = nw.concat([*cut, national]).filter(nw.col("key").str.len_chars() >= _MIN_DIGITS)
    return nw.concat([keys.with_columns(nw.lit("same").alias("form")), met])


def observations(rows: nw.LazyFrame, channel: Channel) -> nw.LazyFrame:
    """One row per record of an overlay channel: channel, record_id, observed_at (NULL where it says no time).

    Args:
        rows: `staging.channel_<channel>`.
        channel: its contract; of its times the event's counts before the record's.
    """
    columns = [column for role in ("event.at", "record.updated_at") for column in channel.roles.get(role, ())]
    names = [f"__at_{i}" for i, _ in enumerate(columns)]
    timed = try_cast(
        rows.select(
            nw.lit(channel.name).alias("channel"),
            _record_id(channel).alias("record_id"),
            *(nw.col(column).alias(name) for column, name in zip(columns, names, strict=True)),
        ),
        dict.fromkeys(names, "TIMESTAMP"),
    )
    at = nw.coalesce(*map(nw.col, names)) if names else nw.lit(None)
    return timed.select(*_RECORD, at.cast(nw.Datetime("us")).alias("observed_at"))


def _record_id(channel: Channel) -> nw.Expr:
    """The id under which staging knows a row: the contract's, else the row's place."""
    place = nw.concat_str([nw.col("source_file"), nw.col("source_line").cast(nw.String)], separator=":")
    ids = [nw.col(column).cast(nw.String) for column in channel.roles.get("record.id", ())]
    if not ids:
        return place
    return nw.coalesce(ids[0] if len(ids) == 1 else nw.concat_str(ids, separator=":"), place)


def overlay_matches(
    observed: nw.LazyFrame,
    keys: nw.LazyFrame,
    identifiers: nw.LazyFrame,
    xref: nw.LazyFrame,
    catalogue: nw.LazyFrame,
) -> nw.LazyFrame:
    """One row per overlay record: the customer it is about, or why there is none.

    Args:
        observed: channel, record_id, observed_at of every record, from `observations`.
        keys: channel, record_id, namespace, key of every e-mail and phone, from `record_keys`.
        identifiers: `staging.identifiers`, for the e-mails and phones that channels other than overlays have seen.
        xref: `identity.identifier_xref`.
        catalogue: `channels.catalogue`: channel, kind.

    Returns:
        channel, record_id, observed_at, customer_id, matched_by (email, phone, both), is_ambiguous (its e-mails and phones lead
        to different customers; the e-mail's stands, of several of one kind the smallest id), n_keys, reason.
    """
    ours = catalogue.filter(nw.col("kind") != "overlay").select("channel")
    known = nw.concat(
        [
            identifiers.filter(nw.col("namespace") == namespace)
            .join(ours, on="channel", how="semi")
            .select("namespace", "value", compared(nw.col("raw_value"), namespace).alias("key"))
            for namespace in KEYS.values()
        ]
    ).unique()
    owners = known.join(xref.select("namespace", "value", "customer_id"), on=["namespace", "value"], how="inner")
    ours_in_all = _in_all_forms(owners.select("namespace", "key", "customer_id"), "ours", "theirs").unique()
    led = _in_all_forms(keys, "theirs", "ours").join(ours_in_all, on=["namespace", "form", "key"], how="left")
    by = {name: nw.when(nw.col("namespace") == name).then(nw.col("customer_id")) for name in KEYS.values()}
    counted = keys.group_by(*_RECORD).agg(nw.len().cast(nw.Int64).alias("n_keys"))
    found = led.group_by(*_RECORD).agg(
        *(expression.min().alias(f"{name}_customer") for name, expression in by.items()),
        nw.col("customer_id").min().alias("least"),
        nw.col("customer_id").max().alias("greatest"),
    )
    email, phone = nw.col("email_customer"), nw.col("phone_customer")
    customer = nw.coalesce(email, phone)
    matched_by = (
        nw.when((email == phone).fill_null(False))
        .then(nw.lit("both"))
        .otherwise(
            nw.when(~email.is_null())
            .then(nw.lit("email"))
            .otherwise(nw.when(~phone.is_null()).then(nw.lit("phone")).otherwise(None))
        )
    )
    reason = nw.when(nw.col("n_keys").fill_null(0) == 0).then(nw.lit("no_key")).otherwise(nw.lit("unknown_key"))
    return (
        observed.join(counted, on=list(_RECORD), how="left")
        .join(found, on=list(_RECORD), how="left")
        .select(
            *_RECORD,
            "observed_at",
            customer.alias("customer_id"),
            matched_by.alias("matched_by"),
            (nw.col("least") != nw.col("greatest")).fill_null(False).alias("is_ambiguous"),
            nw.col("n_keys").fill_null(0).cast(nw.Int64).alias("n_keys"),
            nw.when(customer.is_null()).then(reason).otherwise(None).alias("reason"),
        )
    )


def overlay(matches: nw.LazyFrame, policy: OverlayPolicy, as_of: date) -> nw.LazyFrame:
    """One row per customer and provider: the newest record that is about the customer.

    Of records of the same time the one matched without ambiguity stands, then the one with the greatest id, so that the order of
    rows never decides.

    Args:
        matches: from `overlay_matches`.
        policy: when a record is stale.
        as_of: the date the results stand for.
    """
    matched = matches.filter(~nw.col("customer_id").is_null())
    owner = ["customer_id", "channel"]
    # Ascending, last one wins: NULL times come first on every engine only when they are made the least of all times.
    ranked = matched.with_columns(
        nw.col("observed_at").fill_null(nw.lit(_LONG_AGO).cast(nw.Datetime("us"))).alias("__at"),
        nw.when(nw.col("is_ambiguous")).then(0).otherwise(1).alias("__clear"),
        nw.lit(1).alias("__one"),
    ).with_columns(
        nw.col("__one").cum_sum().over(*owner, order_by=["__at", "__clear", "record_id"]).alias("__nth"),
        nw.col("__one").sum().over(*owner).cast(nw.Int64).alias("n_records"),
    )
    age = nw.lit(as_of.toordinal()) - day_ordinal(nw.col("observed_at"))
    stale_before = nw.lit(as_of - timedelta(days=policy.overlay_stale_after_days)).cast(nw.Datetime("us"))
    return ranked.filter(nw.col("__nth") == nw.col("n_records")).select(
        "customer_id",
        nw.col("channel").alias("provider"),
        "record_id",
        "matched_by",
        "is_ambiguous",
        "n_records",
        "observed_at",
        nw.when(age < 0).then(0).otherwise(age).cast(nw.Int64).alias("age_days"),
        (nw.col("observed_at") < stale_before).alias("is_stale"),
    )
