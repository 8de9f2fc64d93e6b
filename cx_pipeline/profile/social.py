"""Communities: what customers say about which topic, in public and among members, and who deals with whom.

Belongs here: mentions by customer and topic, relations between customers. Does not belong here: finding topics and sentiment in text,
influence and advocacy (lifecycle).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import narwhals as nw

from cx_pipeline.profile.policy import SocialPolicy
from cx_pipeline.profile.sentiment import SENTIMENT, mean_sentiment
from cx_pipeline.profile.timeline import attributed

NO_TOPIC = "(none)"


def social_insight(
    interactions: nw.LazyFrame, xref: nw.LazyFrame, catalogue: nw.LazyFrame, as_of: date
) -> nw.LazyFrame:
    """One row per customer and topic of what the customer said in communities: how often, how, when last, in public or not.

    Args:
        interactions: `staging.interactions`; what the company itself said does not count.
        xref: `identity.identifier_xref`.
        catalogue: `channels.catalogue`: channel, pillar.
        as_of: the last day that counts.
    """
    pillars = catalogue.filter(nw.col("pillar").is_in(["community_public", "community_private"]))
    said = _said(interactions, xref, as_of).join(pillars.select("channel", "pillar"), on="channel", how="inner")

    def counted(condition: nw.Expr, name: str) -> nw.Expr:
        return nw.when(condition).then(1).otherwise(0).sum().cast(nw.Int64).alias(name)

    topic = nw.col("event_topic").str.strip_chars()
    return (
        said.with_columns(nw.when(topic == "").then(None).otherwise(topic).fill_null(NO_TOPIC).alias("topic"))
        .group_by("customer_id", "topic")
        .agg(
            nw.len().cast(nw.Int64).alias("n_mentions"),
            counted(nw.col("pillar") == "community_public", "n_public_mentions"),
            counted(nw.col("pillar") == "community_private", "n_private_mentions"),
            counted(~nw.col("event_sentiment").is_null(), "n_sentiments"),
            nw.col("event_sentiment").cast(SENTIMENT).sum().alias("total"),
            nw.col("event_at").min().alias("first_at"),
            nw.col("event_at").max().alias("last_at"),
        )
        .select(
            "customer_id",
            "topic",
            "n_mentions",
            "n_public_mentions",
            "n_private_mentions",
            "n_sentiments",
            mean_sentiment(nw.col("total"), nw.col("n_sentiments")).alias("mean_sentiment"),
            "first_at",
            "last_at",
        )
    )


def _said(interactions: nw.LazyFrame, xref: nw.LazyFrame, as_of: date) -> nw.LazyFrame:
    """Interactions of customers up to the as-of date that the company did not begin."""
    end = nw.lit(as_of + timedelta(days=1)).cast(nw.Datetime("us"))
    is_ours = (nw.col("event_direction").str.to_lowercase() == "outbound").fill_null(False)
    return attributed(interactions.filter((nw.col("event_at") < end) & ~is_ours), xref).filter(
        ~nw.col("customer_id").is_null()
    )


def other_parties(interactions: nw.LazyFrame, identifiers: nw.LazyFrame, xref: nw.LazyFrame) -> nw.LazyFrame:
    """One row per channel and other party named in it: channel, event_other_party, other_customer_id (NULL: leads nowhere).

    An other party is an identifier as people write it. It is looked for among the identifiers of the namespaces that the channel
    itself carries, whichever channel has shown them, without regard to case and to a leading `@`; one that would lead to several
    customers leads to none.

    Args:
        interactions: `staging.interactions`.
        identifiers: `staging.identifiers`, with raw values.
        xref: `identity.identifier_xref`.
    """
    named = (
        interactions.filter(~nw.col("event_other_party").is_null())
        .select("channel", "event_other_party")
        .unique()
        .with_columns(_as_written(nw.col("event_other_party")).alias("key"))
    )
    spoken = identifiers.select("channel", "namespace").unique()
    owners = (
        identifiers.select("namespace", "value", _as_written(nw.col("raw_value")).alias("key"))
        .unique()
        .join(xref.select("namespace", "value", "customer_id"), on=["namespace", "value"], how="inner")
        .select("namespace", "key", "customer_id")
        .unique()
    )
    led = (
        named.join(spoken, on="channel", how="inner")
        .join(owners, on=["namespace", "key"], how="inner")
        .group_by("channel", "event_other_party")
        .agg(nw.col("customer_id").min().alias("least"), nw.col("customer_id").max().alias("greatest"))
    )
    only = nw.when(nw.col("least") == nw.col("greatest")).then(nw.col("least")).otherwise(None)
    return (
        named.select("channel", "event_other_party")
        .join(led, on=["channel", "event_other_party"], how="left")
        .select("channel", "event_other_party", only.alias("other_customer_id"))
    )


def _as_written(identifier: nw.Expr) -> nw.Expr:
    return identifier.str.strip_chars().str.to_lowercase().str.replace_all(r"^@", "")


def customer_links(
    interactions: nw.LazyFrame, parties: nw.LazyFrame, xref: nw.LazyFrame, policy: SocialPolicy, as_of: date
) -> nw.LazyFrame:
    """One row per customer, other customer and relation, read from the first to the second: replied_to, helped_by, referred ...

    Args:
        interactions: `staging.interactions`.
        parties: from `other_parties`.
        xref: `identity.identifier_xref`.
        policy: what the types of event mean.
        as_of: the last day that counts.
    """
    known = parties.filter(~nw.col("other_customer_id").is_null())
    said = _said(interactions.filter(~nw.col("event_other_party").is_null()), xref, as_of)
    return (
        said.join(known, on=["channel", "event_other_party"], how="inner")
        .filter(nw.col("customer_id") != nw.col("other_customer_id"))
        .with_columns(_relation(nw.col("event_type"), policy.link_relations).alias("relation"))
        .group_by("customer_id", "other_customer_id", "relation")
        .agg(
            nw.len().cast(nw.Int64).alias("n_events"),
            nw.when(nw.col("event_sentiment").is_null()).then(0).otherwise(1).sum().alias("n_sentiments"),
            nw.col("event_sentiment").cast(SENTIMENT).sum().alias("total"),
            nw.col("event_at").min().alias("first_at"),
            nw.col("event_at").max().alias("last_at"),
        )
        .select(
            "customer_id",
            "other_customer_id",
            "relation",
            "n_events",
            mean_sentiment(nw.col("total"), nw.col("n_sentiments")).alias("mean_sentiment"),
            "first_at",
            "last_at",
        )
    )


def _relation(event_type: nw.Expr, relations: Mapping[str, str]) -> nw.Expr:
    word = event_type.str.strip_chars().str.to_lowercase()
    relation = word.fill_null("mentioned")
    for said, meant in relations.items():
        relation = nw.when((word == said).fill_null(False)).then(nw.lit(meant)).otherwise(relation)
    return relation
