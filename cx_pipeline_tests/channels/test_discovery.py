from __future__ import annotations

from datetime import date, datetime

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.channels import discovery
from cx_pipeline.channels.checks import every_source_that_customers_use_has_a_channel
from cx_pipeline.channels.discovery import RARE
from cx_pipeline.channels.policy import DiscoveryPolicy
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import channel_of, frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, IDENTITY, CHANNELS = load_step("staging"), load_step("identity"), load_step("channels")
AS_OF = date(2024, 6, 20)
PROPERTIES = {"no": {"role": "record.id"}, "at": {"role": "event.at", "logicalType": "timestamp"}}
WEB = channel_of("web_shop_events", "interaction", PROPERTIES, mode="online")
TILL = channel_of("store_till", "interaction", PROPERTIES, mode="offline")
ADS = channel_of("display_search_ads", "interaction", PROPERTIES, mode="online")
COSTS = channel_of("costs", "channel_cost", {"no": {"role": "record.id"}, "sum": {"role": "cost.amount"}})
COMPANY = (WEB, TILL, ADS)
POLICY = DiscoveryPolicy(source_aliases={"Newsletter 2": "email"}, min_customers=2)
KNOWN = discovery.known_sources(COMPANY, POLICY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("  StreamTok ", "streamtok", id="case and blanks"),
        pytest.param("https://www.streamtok.com/clip/7?utm=x", "streamtok", id="address"),
        pytest.param("m.streamtok.co.uk:443", "streamtok", id="host with port"),
        pytest.param("the neighbourly app", "the neighbourly app", id="words"),
        pytest.param("/cart/checkout", None, id="a path of one's own"),
        pytest.param("", None, id="nothing"),
        pytest.param("my friend told me about it at length and so I came", RARE, id="a text"),
    ],
)
def test_a_source_when_made_plain_then_it_is_compared_by_name(value: str, expected: str | None) -> None:
    rows = same_on_polars_and_duckdb(lambda f: discovery.with_source(f, POLICY), pl.DataFrame({"value": [value, None]}))
    assert rows["source"].to_list() == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("store till", "store_till", id="name in another spelling"),
        pytest.param("store", "store_till", id="a word of the name"),
        pytest.param("search", "display_search_ads", id="a word of another"),
        pytest.param("the store_till channel.", "store_till", id="label"),
        pytest.param("newsletter 2", "email", id="alias"),
        pytest.param("word-of-mouth", "", id="no channel, but no news"),
        pytest.param("streamtok", None, id="unknown"),
        pytest.param("store of neighbourly", None, id="more than a channel's words"),
    ],
)
def test_a_source_when_looked_up_then_the_catalogue_knows_it_or_not(source: str, expected: str | None) -> None:
    assert discovery.channel_of(source, KNOWN) == expected


def test_mentions_when_taken_from_attributes_then_only_those_of_the_policy() -> None:
    attributes = frame_of(
        STAGING["attributes"],
        channel=["web", "web", "costs"],
        record_id=["1", "2", "3"],
        attribute=["referrer", "tier", "referrer"],
        value=["streamtok", "gold", "streamtok"],
    )
    found = same_on_polars_and_duckdb(
        lambda f: discovery.mentions_in_attributes(f, (*COMPANY, COSTS), POLICY), attributes
    )
    assert found.select("field", "value").rows() == [("attribute.referrer", "streamtok")]


def test_mentions_when_taken_from_places_then_stores_pages_and_categories_are_no_sources() -> None:
    places = [
        ("web_shop_events", "voicemart"),
        ("web_shop_events", "Check-out"),
        ("web_shop_events", "Checkout"),
        ("web_shop_events", "store_12"),
        ("web_shop_events", "Garden tools"),
        ("web_shop_events", None),
        ("store_till", "Store 12"),
        ("call_centre", "unheard"),
    ]
    interactions = frame_of(
        STAGING["interactions"],
        channel=[channel for channel, _ in places],
        record_id=[str(i) for i in range(len(places))],
        event_place=[place for _, place in places],
    )
    categories = pl.DataFrame({"place": ["garden-tools"]})
    found = same_on_polars_and_duckdb(
        lambda f, c: discovery.mentions_in_places(f, [c], COMPANY, POLICY), interactions, categories
    )
    assert sorted(found["value"]) == ["Check-out", "voicemart"]


def test_customers_when_looked_up_then_by_record_first_and_by_identifier_else() -> None:
    mentions = pl.DataFrame(
        {
            "channel": ["crm", "web", "web"],
            "record_id": ["1", "2", "3"],
            "identifier_namespace": ["cookie", "cookie", None],
            "identifier_value": ["k", "k", None],
        },
        schema_overrides={"identifier_namespace": pl.String, "identifier_value": pl.String},
    )
    xref = frame_of(IDENTITY["identifier_xref"], namespace=["cookie"], value=["k"], customer_id=["by cookie"])
    records = frame_of(IDENTITY["customer_xref"], channel=["crm"], record_id=["1"], customer_id=["by record"])
    found = same_on_polars_and_duckdb(discovery.with_customer, mentions, xref, records).sort("record_id")
    assert found["customer_id"].to_list() == ["by record", "by cookie", None]


def test_names_when_few_customers_use_a_source_or_it_looks_personal_then_they_are_not_told() -> None:
    counted = pl.DataFrame(
        {
            "source": ["streamtok", "jane", "jane@mail.example", "030 1234567", RARE],
            "n_customers_ever": [2, 1, 9, 9, 9],
        }
    )
    labels = dict(discovery.name_sources(counted, POLICY).iter_rows())
    assert labels == {
        "streamtok": "streamtok",
        "jane": RARE,
        "jane@mail.example": RARE,
        "030 1234567": RARE,
        RARE: RARE,
    }


def mentions() -> pl.DataFrame:
    """streamtok: one customer in April, two in May (one twice, one event of nobody), three in June; jane: one customer."""
    rows = [
        ("1", "streamtok", "a", datetime(2024, 4, 1)),
        ("2", "streamtok", "a", datetime(2024, 5, 1)),
        ("3", "streamtok", "a", datetime(2024, 5, 31)),
        ("4", "streamtok", "b", datetime(2024, 5, 2)),
        ("5", "streamtok", None, datetime(2024, 5, 3)),
        ("6", "streamtok", "a", datetime(2024, 6, 1)),
        ("7", "streamtok", "b", datetime(2024, 6, 1)),
        ("8", "streamtok", "c", None),
        ("9", "jane", "a", datetime(2024, 5, 1)),
    ]
    return pl.DataFrame(
        [("web", record, "attribute.referrer", *rest) for record, *rest in rows],
        schema=["channel", "record_id", "field", "source", "customer_id", "at"],
        orient="row",
    )


def discovered() -> pl.DataFrame:
    counted = to_polars(discovery.customers_per_source(lazy(mentions())))
    labels = discovery.name_sources(counted, POLICY)

    def used(rows: nw.LazyFrame, names: nw.LazyFrame) -> nw.LazyFrame:
        return discovery.used_by_month(rows, names, AS_OF)

    rows = same_on_polars_and_duckdb(used, mentions(), labels)
    counts = same_on_polars_and_duckdb(discovery.monthly_counts, rows)
    totals = same_on_polars_and_duckdb(discovery.customers_per_source, rows)
    places = rows.select("source", "found_in").unique()
    return discovery.discovery(counts, totals, places, COMPANY, AS_OF, POLICY).sort("source", "month")


def test_discovery_when_a_source_grows_then_each_month_says_by_how_much() -> None:
    rows = discovered()
    assert set(rows.columns) == set(CHANNELS["discovery"].column_names)
    shown = rows.select("source", "month", "n_events", "n_customers", "n_customers_ever", "growth_rate")
    assert shown.rows() == [
        (RARE, date(2024, 5, 1), 1, 1, 1, None),
        ("streamtok", date(2024, 4, 1), 1, 1, 3, None),
        ("streamtok", date(2024, 5, 1), 4, 2, 3, 1.0),
        ("streamtok", date(2024, 6, 1), 3, 3, 3, 0.5),
    ]
    last = rows.row(-1, named=True)
    assert (last["first_seen_month"], last["found_in"]) == (date(2024, 4, 1), "web.attribute.referrer")
    assert (last["is_emerging"], last["suggestion"][:7]) == (True, "growing")
    assert not rows.row(0, named=True)["source"].startswith("jane")
    assert n_offending(every_source_that_customers_use_has_a_channel, channels__discovery=rows) == 1


def test_discovery_when_no_source_is_unmapped_then_it_is_empty_and_typed() -> None:
    nobody = mentions().clear()
    labels = discovery.name_sources(to_polars(discovery.customers_per_source(lazy(nobody))), POLICY)
    used = discovery.used_by_month(lazy(nobody), lazy(labels), AS_OF)
    counts, totals = to_polars(discovery.monthly_counts(used)), to_polars(discovery.customers_per_source(used))
    rows = discovery.discovery(counts, totals, to_polars(used.select("source", "found_in")), COMPANY, AS_OF, POLICY)
    assert rows.is_empty()
    assert set(rows.columns) == set(CHANNELS["discovery"].column_names)


def test_a_suggestion_when_the_source_is_like_a_channel_then_it_names_it() -> None:
    assert "store_till" in discovery.suggestion("store-tills", COMPANY, POLICY, is_emerging=False)
    assert "contract" in discovery.suggestion("voicemart", COMPANY, POLICY, is_emerging=False)
