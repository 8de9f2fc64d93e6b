from __future__ import annotations

from cx_pipeline.channels.catalogue import catalogue
from cx_pipeline.channels.checks import every_channel_says_how_far_it_is_trusted
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
    rows = catalogue([CRM, MAIL], TABLE)
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
        "trust": 0.9,
        "is_duplicate_free": True,
        "freshness_days": None,
        "n_columns": 3,
        "n_columns_with_role": 2,
        "n_personal_columns": 1,
        "description": "The crm channel.",
    }
    assert (mail["stance"], mail["trust"], mail["is_duplicate_free"]) == ("engage", None, False)


def test_the_catalogue_when_there_are_no_channels_then_it_is_empty_and_typed() -> None:
    assert catalogue([], TABLE).equals(TABLE.empty())


def test_the_catalogue_when_its_contract_lists_facets_then_they_are_those_of_the_vocabulary() -> None:
    assert TABLE.column("pillar").enum == vocabulary.PILLARS
    assert TABLE.column("mode").enum == vocabulary.MODES
    assert TABLE.column("function").enum == vocabulary.FUNCTIONS
    assert TABLE.column("maturity").enum == vocabulary.MATURITIES


def test_trust_when_a_channel_of_parties_says_none_then_it_is_pointed_out() -> None:
    rows = frame_of(TABLE, channel=["a", "b", "c"], kind=["party", "party", "order"], trust=[0.5, None, None])
    assert n_offending(every_channel_says_how_far_it_is_trusted, channels__catalogue=rows) == 1
