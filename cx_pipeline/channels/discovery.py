"""Discovery: sources that customers already use and no channel covers.

Belongs here: values of attributes and places that name a source, matched with the catalogue by name, and how their use grows.
Does not belong here: landing folders without a contract and columns without a role (they are no sources; see `drift.py`).

Sources are compared in a plain form: lower case, of an address the host without `www.` and ending (`https://www.StreamTok.com/x` is
`streamtok`). A value that few customers use is never named: it may be free text about a person.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import narwhals as nw
import polars as pl

from cx_pipeline.channels.coverage import IMPERSONAL_KINDS
from cx_pipeline.channels.policy import DiscoveryPolicy
from cx_pipeline.core.contract import Channel

RARE = "(rare)"
_SIMILAR = 0.8
_RECENT_MONTHS = 3
_PERSONAL = re.compile(r"@|(\d[\s./-]?){6,}")
_HOST_PREFIX = r"^((www\d?|m|l|lm|mobile|amp|out)\.)+"
_HOST_ENDING = r"(\.(co|com|org|net|ac|gov))?\.[a-z]{2,12}$"


@dataclass(frozen=True)
class Known:
    """What is no news: names of channels and other words, in plain form.

    Attributes:
        names: plain name -> the channel it is, or "" for a word that is no channel.
        words: channel -> the words of its name.
    """

    names: Mapping[str, str]
    words: Mapping[str, frozenset[str]]


def plain(text: str) -> str:
    """A name as it is compared: letters and digits only, lower case."""
    return re.sub(r"[\W_]+", "", text.lower())


def known_sources(channels: Sequence[Channel], policy: DiscoveryPolicy) -> Known:
    """The catalogue's channels by name and label, the policy's aliases and other known words."""
    names = {plain(word): "" for word in policy.known_sources}
    names |= {plain(alias): channel for alias, channel in policy.source_aliases.items()}
    for channel in channels:
        names |= {plain(label): channel.name for label in (channel.description, channel.name) if plain(label)}
    return Known(names, {channel.name: frozenset(_words(channel.name)) for channel in channels})


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]


def channel_of(source: str, known: Known) -> str | None:
    """The channel that a source is, "" for a known word that is none, None for a source that nobody knows.

    A source whose words all stand in one channel's name is that channel (`store` is `store_till`).
    """
    if plain(source) in known.names:
        return known.names[plain(source)]
    words = frozenset(_words(source))
    return next((name for name, own in known.words.items() if words and words <= own), None)


def with_source(rows: nw.LazyFrame, policy: DiscoveryPolicy) -> nw.LazyFrame:
    """Rows with `source`, the plain form of their `value`; rows without one are dropped, and so are paths (pages of one's own).

    Args:
        rows: value and anything else.
        policy: from what length on a text is no name.
    """
    text = nw.col("value").cast(nw.String).str.strip_chars().str.to_lowercase()
    host = (
        text.str.replace_all(r"^[a-z][a-z0-9+.-]*://", "")
        .str.replace_all(r"[/?#].*$", "")
        .str.replace_all(r":\d+$", "")
        .str.replace_all(_HOST_PREFIX, "")
        .str.replace_all(_HOST_ENDING, "")
        .str.strip_chars()
    )
    is_name = nw.col("source").str.len_chars() <= policy.max_source_length
    return (
        rows.with_columns(host.alias("source"))
        .filter(~nw.col("source").is_null() & (nw.col("source") != ""))
        .with_columns(nw.when(is_name).then(nw.col("source")).otherwise(nw.lit(RARE)).alias("source"))
    )


def mentions_in_attributes(
    attributes: nw.LazyFrame, channels: Sequence[Channel], policy: DiscoveryPolicy
) -> nw.LazyFrame:
    """Sources that records about customers name in attributes.

    Args:
        attributes: `staging.attributes`.
        channels: those of costs, products and promises name no source that a customer uses.
        policy: which attributes hold a source.

    Returns:
        channel, record_id, field, value, identifier_namespace, identifier_value, at.
    """
    impersonal = [channel.name for channel in channels if channel.kind in IMPERSONAL_KINDS]
    return attributes.filter(
        nw.col("attribute").is_in(policy.source_attributes) & ~nw.col("channel").is_in(impersonal or [""])
    ).select(
        "channel",
        "record_id",
        nw.concat_str([nw.lit("attribute."), nw.col("attribute")]).alias("field"),
        "value",
        "identifier_namespace",
        "identifier_value",
        nw.col("observed_at").alias("at"),
    )


def mentions_in_places(
    interactions: nw.LazyFrame, places: Sequence[nw.LazyFrame], channels: Sequence[Channel], policy: DiscoveryPolicy
) -> nw.LazyFrame:
    """Sources that online interactions name as their place; stores, pages and product categories are none.

    Args:
        interactions: `staging.interactions`.
        places: frames with a column `place`: product categories and the like, which are places of one's own.
        channels: only those of mode `online` count, and what is a place of another mode is no source.
        policy: pages of one's own.

    Returns:
        As `mentions_in_attributes`.
    """
    online = [channel.name for channel in channels if channel.properties.get("mode") == "online"]
    # No channel has the empty name: an empty list cannot be asked for.
    is_online = nw.col("channel").is_in(online or [""])
    placed = interactions.filter(~nw.col("event_place").is_null())
    own = nw.concat(
        [
            placed.filter(~is_online).select(nw.col("event_place").alias("place")),
            *(frame.select(nw.col("place").cast(nw.String)) for frame in places),
        ]
    )
    own = own.select(_plain_place(nw.col("place")).alias("place")).unique()
    return (
        placed.filter(is_online)
        .with_columns(_plain_place(nw.col("event_place")).alias("__place"))
        .filter(~nw.col("__place").is_in([place.strip().lower() for place in policy.own_places]))
        .join(own, left_on="__place", right_on="place", how="anti")
        .select(
            "channel",
            "record_id",
            nw.lit("event.place").alias("field"),
            nw.col("event_place").alias("value"),
            "identifier_namespace",
            "identifier_value",
            nw.col("event_at").alias("at"),
        )
    )


def _plain_place(column: nw.Expr) -> nw.Expr:
    return column.str.strip_chars().str.to_lowercase().str.replace_all(r"[\s_-]+", " ")


def with_customer(mentions: nw.LazyFrame, identifiers: nw.LazyFrame, records: nw.LazyFrame) -> nw.LazyFrame:
    """Mentions with `customer_id`, by the row's identifier or the record itself; NULL where neither leads anywhere.

    Args:
        mentions: channel, record_id, identifier_namespace, identifier_value.
        identifiers: `identity.identifier_xref`.
        records: `identity.customer_xref`.
    """
    by_identifier = identifiers.select(
        nw.col("namespace").alias("identifier_namespace"),
        nw.col("value").alias("identifier_value"),
        nw.col("customer_id").alias("__by_identifier"),
    )
    by_record = records.select("channel", "record_id", nw.col("customer_id").alias("__by_record"))
    return (
        mentions.join(by_identifier, on=["identifier_namespace", "identifier_value"], how="left")
        .join(by_record, on=["channel", "record_id"], how="left")
        .with_columns(nw.coalesce(nw.col("__by_record"), nw.col("__by_identifier")).alias("customer_id"))
    )


def unmapped(sources: pl.DataFrame, known: Known) -> pl.DataFrame:
    """The sources that no channel and no known word covers.

    Args:
        sources: source, each once.
        known: the catalogue and other known words.
    """
    found = [source for source in sources["source"] if source == RARE or channel_of(source, known) is None]
    return pl.DataFrame({"source": found}, schema={"source": pl.String})


def customers_per_source(mentions: nw.LazyFrame) -> nw.LazyFrame:
    """One row per source: n_customers_ever, how many customers named it (0 where only unknown people did).

    Args:
        mentions: source, customer_id.
    """
    once = mentions.select("source", "customer_id").unique()
    return once.group_by("source").agg(nw.col("customer_id").count().cast(nw.Int64).alias("n_customers_ever"))


def name_sources(counted: pl.DataFrame, policy: DiscoveryPolicy) -> pl.DataFrame:
    """What sources are shown by: their own name, or `(rare)` for those of few customers and what looks like text about a person.

    Args:
        counted: source, n_customers_ever.
        policy: how many customers make a name.

    Returns:
        source, label.
    """
    labels = [
        (source, RARE if n < policy.min_customers or _PERSONAL.search(source) else source)
        for source, n in counted.select("source", "n_customers_ever").iter_rows()
    ]
    return pl.DataFrame(labels, schema={"source": pl.String, "label": pl.String}, orient="row")


def used_by_month(mentions: nw.LazyFrame, labels: nw.LazyFrame, as_of: date) -> nw.LazyFrame:
    """One row per mention of a reported source: source, month, found_in (channel.field), record (channel:record_id), customer_id.

    Args:
        mentions: channel, record_id, field, source, customer_id, at.
        labels: from `name_sources`.
        as_of: mentions without time count in its month.
    """
    untimed = nw.lit(as_of.replace(day=1)).cast(nw.Date)
    return mentions.join(labels, on="source", how="inner").select(
        nw.col("label").alias("source"),
        nw.coalesce(nw.col("at").dt.truncate("1mo").cast(nw.Date), untimed).alias("month"),
        nw.concat_str([nw.col("channel"), nw.lit("."), nw.col("field")]).alias("found_in"),
        nw.concat_str([nw.col("channel"), nw.lit(":"), nw.col("record_id")]).alias("record"),
        "customer_id",
    )


def monthly_counts(used: nw.LazyFrame) -> nw.LazyFrame:
    """One row per source and month: n_events (records that name it), n_customers.

    Args:
        used: from `used_by_month`.
    """
    key = ["source", "month"]
    records = used.select(*key, "record").unique().group_by(*key).agg(nw.len().cast(nw.Int64).alias("n_events"))
    customers = (
        used.select(*key, "customer_id")
        .unique()
        .group_by(*key)
        .agg(nw.col("customer_id").count().cast(nw.Int64).alias("n_customers"))
    )
    return records.join(customers, on=key, how="inner")


def discovery(
    counts: pl.DataFrame,
    totals: pl.DataFrame,
    places: pl.DataFrame,
    channels: Sequence[Channel],
    as_of: date,
    policy: DiscoveryPolicy,
) -> pl.DataFrame:
    """One row per unmapped source and month in which it was used.

    growth_rate = n_customers / n_customers of the calendar month before - 1; NULL where nobody used it then.
    is_emerging: more customers used it in the last three months than in the three before.

    Args:
        counts: source, month, n_events, n_customers.
        totals: source, n_customers_ever.
        places: source, found_in.
        channels: for names that a source is like.
        as_of: the date the results stand for.
        policy: for the suggestion about rare values.
    """
    found = places.group_by("source").agg(pl.col("found_in").unique().sort().str.join(", "))
    before = counts.select("source", pl.col("month").dt.offset_by("1mo"), pl.col("n_customers").alias("n_before"))
    index = pl.col("month").dt.year() * 12 + pl.col("month").dt.month()
    age = as_of.year * 12 + as_of.month - index
    recent = pl.col("n_customers").filter(age < _RECENT_MONTHS).sum()
    earlier = pl.col("n_customers").filter((age >= _RECENT_MONTHS) & (age < 2 * _RECENT_MONTHS)).sum()
    trend = counts.group_by("source").agg(
        pl.col("month").min().alias("first_seen_month"), (recent > earlier).alias("is_emerging")
    )
    rows = (
        counts.join(before, on=["source", "month"], how="left")
        .join(trend, on="source")
        .join(totals, on="source")
        .join(found, on="source")
    )
    advice = pl.DataFrame(
        [
            (source, suggestion(source, channels, policy, is_emerging=is_emerging))
            for source, is_emerging in trend.select("source", "is_emerging").iter_rows()
        ],
        schema={"source": pl.String, "suggestion": pl.String},
        orient="row",
    )
    return rows.join(advice, on="source").select(
        "source",
        "month",
        "n_events",
        "n_customers",
        "n_customers_ever",
        "first_seen_month",
        pl.when(pl.col("n_before") > 0).then(pl.col("n_customers") / pl.col("n_before") - 1).alias("growth_rate"),
        "is_emerging",
        "found_in",
        "suggestion",
        pl.lit(as_of).alias("as_of"),
    )


def suggestion(source: str, channels: Iterable[Channel], policy: DiscoveryPolicy, *, is_emerging: bool) -> str:
    """What to do about an unmapped source."""
    if source == RARE:
        return f"values of fewer than {policy.min_customers} customers each, or that look like text about a person: nothing to do"
    names = [channel.name for channel in channels]
    like = max(names, key=lambda name: _likeness(source, name), default=None)
    if like and _likeness(source, like) >= _SIMILAR:
        return f"probably the channel {like}: say so in channels.source_aliases"
    growing = "growing: " if is_emerging else ""
    return (
        f"{growing}no channel covers it: get extracts of it and write a contract, or name it in channels.known_sources"
    )


def _likeness(left: str, right: str) -> float:
    return difflib.SequenceMatcher(None, plain(left), plain(right)).ratio()
