from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile import checks
from cx_pipeline.profile.policy import SocialPolicy
from cx_pipeline.profile.social import customer_links, other_parties, social_insight
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, IDENTITY, PROFILE, CHANNELS = (load_step(step) for step in ("staging", "identity", "profile", "channels"))
AS_OF = date(2024, 6, 30)
CATALOGUE = frame_of(
    CHANNELS["catalogue"],
    channel=["social", "forum", "web"],
    pillar=["community_public", "community_private", "ecommerce"],
)
XREF = frame_of(
    IDENTITY["identifier_xref"],
    namespace=["social_handle"] * 3 + ["crm"],
    value=["#ann", "#bob", "#cy", "bob"],
    customer_id=["A", "B", "C", "D"],
)
IDENTIFIERS = frame_of(
    STAGING["identifiers"],
    channel=["social", "members", "members", "crm", "forum", "members"],
    namespace=["social_handle", "social_handle", "social_handle", "crm", "social_handle", "social_handle"],
    value=["#ann", "#bob", "#cy", "bob", "#ann", "#ann"],
    raw_value=["Ann", "Bob", "cy", "bob", "Ann", "Ann"],
)


def said(**columns: Any) -> pl.DataFrame:
    given = {
        "channel": "forum",
        "identifier_namespace": "social_handle",
        "identifier_value": "#ann",
        "event_at": datetime(2024, 5, 1),
        **columns,
    }
    n = max((len(v) for v in given.values() if isinstance(v, list)), default=1)
    return frame_of(STAGING["interactions"], **{"record_id": [str(i) for i in range(n)], **given})


def insight(interactions: pl.DataFrame) -> list[dict[str, Any]]:
    found = same_on_polars_and_duckdb(lambda i, x, c: social_insight(i, x, c, AS_OF), interactions, XREF, CATALOGUE)
    return found.sort("customer_id", "topic").to_dicts()


def test_social_insight_when_a_customer_speaks_in_both_communities_then_one_row_for_the_topic() -> None:
    (row,) = insight(
        said(
            channel=["social", "forum", "forum"],
            event_topic=["price", " price ", "price"],
            event_sentiment=[0.5, -0.2, None],
            event_at=[datetime(2024, 5, 1), datetime(2024, 5, 3), datetime(2024, 5, 2)],
        )
    )
    assert (row["n_mentions"], row["n_public_mentions"], row["n_private_mentions"], row["n_sentiments"]) == (3, 1, 2, 2)
    assert row["mean_sentiment"] == pytest.approx(0.15)
    assert (row["first_at"], row["last_at"]) == (datetime(2024, 5, 1), datetime(2024, 5, 3))


def test_social_insight_when_no_topic_or_sentiment_is_said_then_the_mention_counts_all_the_same() -> None:
    (row,) = insight(said(event_topic=[None, " "]))
    assert (row["topic"], row["n_mentions"], row["mean_sentiment"]) == ("(none)", 2, None)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"channel": "web"}, id="no community"),
        pytest.param({"event_direction": "outbound"}, id="the company's own words"),
        pytest.param({"identifier_value": "#nobody"}, id="nobody's"),
        pytest.param({"event_at": datetime(2024, 7, 1)}, id="the future"),
    ],
)
def test_social_insight_when_a_row_is_no_mention_then_nothing(columns: dict[str, Any]) -> None:
    assert insight(said(**columns)) == []


@pytest.mark.parametrize(
    ("written", "customer"),
    [
        pytest.param("Bob", "B", id="as it stands"),
        pytest.param(" @bob ", "B", id="as people write"),
        pytest.param("nobody", None, id="nobody"),
        pytest.param("cy", "C", id="a handle that another channel has shown"),
    ],
)
def test_other_parties_when_a_handle_is_named_then_its_customer_in_the_namespaces_of_the_channel(
    written: str, customer: str | None
) -> None:
    found = same_on_polars_and_duckdb(other_parties, said(event_other_party=written), IDENTIFIERS, XREF)
    assert found["other_customer_id"].to_list() == [customer]


def test_other_parties_when_a_name_would_lead_to_several_customers_then_to_none() -> None:
    more = frame_of(STAGING["identifiers"], channel="members", namespace="social_handle", value="#cy", raw_value="BOB")
    found = same_on_polars_and_duckdb(
        other_parties, said(event_other_party="bob"), pl.concat([IDENTIFIERS, more]), XREF
    )
    assert found["other_customer_id"].to_list() == [None]


def links(interactions: pl.DataFrame) -> list[dict[str, Any]]:
    found = same_on_polars_and_duckdb(
        lambda i, n, x: customer_links(i, other_parties(i, n, x), x, SocialPolicy(), AS_OF),
        interactions,
        IDENTIFIERS,
        XREF,
    )
    return found.sort("customer_id", "other_customer_id", "relation").to_dicts()


def test_customer_links_when_customers_deal_with_one_another_then_one_row_a_relation() -> None:
    found = links(
        said(
            event_other_party=["bob", "Bob", "cy", "bob", "ann", "nobody", None],
            event_type=["Reply", "comment", "helped_by", None, "reply", "reply", "reply"],
            event_sentiment=[0.5, 0.1, None, None, None, None, None],
        )
    )
    assert [(row["other_customer_id"], row["relation"], row["n_events"]) for row in found] == [
        ("B", "mentioned", 1),
        ("B", "replied_to", 2),
        ("C", "helped_by", 1),
    ]
    assert found[1]["mean_sentiment"] == pytest.approx(0.3)
    assert {row["customer_id"] for row in found} == {"A"}


def test_customer_links_when_a_type_is_unknown_then_the_relation_bears_its_name() -> None:
    (row,) = links(said(event_other_party="bob", event_type=" Gifted "))
    assert row["relation"] == "gifted"


def test_every_link_joins_two_known_customers_when_one_is_not_then_it_is_broken() -> None:
    customers = frame_of(PROFILE["customers"], customer_id=["A", "B"])

    def broken(one: str, other: str) -> int:
        rows = frame_of(PROFILE["customer_links"], customer_id=one, other_customer_id=other, relation="referred")
        check = checks.every_link_joins_two_known_customers
        return n_offending(check, profile__customer_links=rows, profile__customers=customers)

    assert [broken("A", "B"), broken("A", "Z"), broken("Z", "B"), broken("A", "A")] == [0, 1, 1, 1]


def test_every_mention_is_public_or_private_when_one_is_neither_then_it_is_broken() -> None:
    def broken(n: int) -> int:
        rows = frame_of(
            PROFILE["social_insight"], n_mentions=n, n_public_mentions=1, n_private_mentions=1, n_sentiments=0
        )
        return n_offending(checks.every_mention_is_public_or_private, profile__social_insight=rows)

    assert [broken(2), broken(3)] == [0, 1]
