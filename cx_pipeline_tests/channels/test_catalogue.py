from __future__ import annotations

import pytest

from cx_pipeline.channels.catalogue import catalogue, stance, usual_maturity
from cx_pipeline.channels.checks import (
    every_channel_has_its_place_in_the_catalogue,
    every_channel_says_how_far_it_is_trusted,
)
from cx_pipeline.channels.policy import CataloguePolicy
from cx_pipeline.core import vocabulary
from cx_pipeline.core.contract import load_step
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import channel_of, frame_of

TABLE = load_step("channels")["catalogue"]
CRM = channel_of(
    "crm",
    "party",
    {"no": {"role": "record.id"}, "mail": {"role": "contact.email", "classification": "personal"}, "note": {}},
    pillar="traditional",
    mode="offline",
    function="sales",
    maturity="high",
    trust=0.9,
    duplicate_free=True,
)
MAIL = channel_of("mail", "campaign_contact", {"no": {"role": "record.id"}, "c": {"role": "campaign.id"}})


def test_the_catalogue_when_channels_are_there_then_one_row_each_with_what_the_contract_says() -> None:
    rows = catalogue([CRM, MAIL], TABLE, CataloguePolicy())
    assert rows.schema == TABLE.polars_schema()
    crm, mail = rows.iter_rows(named=True)
    assert crm == {
        "channel": "crm",
        "kind": "party",
        "pillar": "traditional",
        "mode": "offline",
        "function": "sales",
        "stance": "listen",
        "maturity": "high",
        "maturity_source": "contract",
        "trust": 0.9,
        "is_duplicate_free": True,
        "freshness_days": None,
        "n_columns": 3,
        "n_columns_with_role": 2,
        "n_personal_columns": 1,
        "description": "The crm channel.",
    }
    assert (mail["stance"], mail["trust"], mail["is_duplicate_free"]) == ("engage", None, False)
    assert (mail["maturity"], mail["maturity_source"]) == (None, None)


def test_the_catalogue_when_there_are_no_channels_then_it_is_empty_and_typed() -> None:
    assert catalogue([], TABLE, CataloguePolicy()).equals(TABLE.empty())


def test_the_catalogue_when_its_contract_lists_facets_then_they_are_those_of_the_vocabulary() -> None:
    assert TABLE.column("pillar").enum == vocabulary.PILLARS
    assert TABLE.column("mode").enum == vocabulary.MODES
    assert TABLE.column("function").enum == vocabulary.FUNCTIONS
    assert TABLE.column("maturity").enum == vocabulary.MATURITIES


def test_trust_when_a_channel_of_parties_says_none_then_it_is_pointed_out() -> None:
    rows = frame_of(TABLE, channel=["a", "b", "c"], kind=["party", "party", "order"], trust=[0.5, None, None])
    assert n_offending(every_channel_says_how_far_it_is_trusted, channels__catalogue=rows) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("direct_mail", "high", id="direct mail"),
        pytest.param("e_mail_responses", "low", id="email in two words"),
        pytest.param("display_search_ads", "low", id="the lowest of several"),
        pytest.param("display_ads", "high", id="display"),
        pytest.param("iot_telemetry", "low", id="IoT"),
        pytest.param("public_social", "low", id="social"),
        pytest.param("webinar", None, id="a word that only begins so"),
        pytest.param("store_till", None, id="a type that nothing is known of"),
    ],
)
def test_maturity_when_the_contract_gives_none_then_it_is_what_is_usual_for_the_type(
    name: str, expected: str | None
) -> None:
    assert usual_maturity(name, CataloguePolicy().maturity_by_type) == expected


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        pytest.param(None, "listen", id="no directions"),
        pytest.param([], "both", id="any direction"),
        pytest.param(["inbound"], "listen", id="inbound only"),
        pytest.param(["Outbound"], "engage", id="outbound only"),
        pytest.param(["inbound", "outbound"], "both", id="both"),
    ],
)
def test_the_stance_when_a_channel_carries_interactions_then_their_directions_decide(
    direction: list[str] | None, expected: str
) -> None:
    properties: dict[str, dict[str, object]] = {"no": {"role": "record.id"}, "at": {"role": "event.at"}}
    if direction is not None:
        enum = {"enum": [{"value": value} for value in direction]} if direction else {}
        properties["way"] = {"role": "event.direction", **enum}
    assert stance(channel_of("calls", "interaction", properties)) == expected


def test_its_place_when_a_channel_of_events_has_none_then_it_is_pointed_out() -> None:
    rows = frame_of(
        TABLE,
        channel=["a", "b", "c"],
        kind=["interaction", "product", "order"],
        pillar=["traditional", None, "ecommerce"],
        mode=["offline", None, None],
        function=["service", None, "sales"],
    )
    assert n_offending(every_channel_has_its_place_in_the_catalogue, channels__catalogue=rows) == 1
