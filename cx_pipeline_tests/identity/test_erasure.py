from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from cx_pipeline.core.suppressions import suppression_hash
from cx_pipeline.identity.erasure import Known, customers_with, open_requests, person, suppressions
from cx_pipeline.identity.policy import CustomerPolicy

WEAK = CustomerPolicy().weak_namespaces
NONE = pl.DataFrame(schema={"namespace": pl.String, "raw_value": pl.String})
FAMILY_MAILBOX = ("email", "h:family@x.example")


@pytest.fixture
def known() -> Known:
    """Anna and Ben share a mailbox and a tablet; Anna has a card, a phone and a browser of her own."""
    carried = [
        ("crm", "1", "loyalty", "A7"),
        ("crm", "1", *FAMILY_MAILBOX),
        ("crm", "1", "phone", "h:+491"),
        ("crm", "2", "loyalty", "B7"),
        ("crm", "2", *FAMILY_MAILBOX),
    ]
    led_to = {
        ("loyalty", "A7"): "Anna",
        ("loyalty", "B7"): "Ben",
        FAMILY_MAILBOX: "Anna",
        ("phone", "h:+491"): "Anna",
        ("cookie", "own"): "Anna",
        ("cookie", "tablet"): "Anna",
        ("email", "h:old@x.example"): "Nobody",
    }
    met = [
        ("loyalty", "A7", "cookie", "own"),
        ("cookie", "tablet", "loyalty", "A7"),
        ("loyalty", "B7", "cookie", "tablet"),
    ]
    return Known(
        pl.DataFrame(
            [("crm", "1", "Anna"), ("crm", "2", "Ben")], schema=["channel", "record_id", "customer_id"], orient="row"
        ),
        pl.DataFrame(
            [(*one, who) for one, who in led_to.items()], schema=["namespace", "value", "customer_id"], orient="row"
        ),
        pl.DataFrame(carried, schema=["channel", "record_id", "namespace", "value"], orient="row"),
        pl.DataFrame(
            [(ns, value, value.removeprefix("h:")) for ns, value in led_to],
            schema=["namespace", "value", "raw_value"],
            orient="row",
        ),
        pl.DataFrame(met, schema=["left_namespace", "left_value", "right_namespace", "right_value"], orient="row"),
    )


def test_person_when_a_family_shares_mailbox_and_tablet_then_only_what_is_her_own_is_hers(known: Known) -> None:
    anna = person(known, "Anna", NONE, WEAK)
    assert anna.records.rows() == [("crm", "1")]
    assert anna.identifiers.rows() == [("cookie", "own"), ("loyalty", "A7"), ("phone", "+491")]
    assert anna.n_shared == 2
    ben = person(known, "Ben", NONE, WEAK)
    assert ben.identifiers.rows() == [("loyalty", "B7")]
    assert ben.n_shared == 1


def test_person_when_earlier_versions_carried_identifiers_then_they_go_too_unless_somebody_else_has_them(
    known: Known,
) -> None:
    former = pl.DataFrame(
        [("email", "old@x.example"), ("email", "gone@x.example"), ("email", "family@x.example"), ("loyalty", "B7")],
        schema=NONE.schema,
        orient="row",
    )
    anna = person(known, "Anna", former, WEAK)
    assert {("email", "old@x.example"), ("email", "gone@x.example")} <= set(anna.identifiers.rows())
    assert not {("email", "family@x.example"), ("loyalty", "B7")} & set(anna.identifiers.rows())


def test_customers_with_when_a_mailbox_is_shared_then_all_who_carry_it_are_named(known: Known) -> None:
    assert customers_with(known, "email", "family@x.example") == ["Anna", "Ben"]
    assert customers_with(known, "phone", "+491") == ["Anna"]
    # Known by the identifier alone: no record carries it.
    assert customers_with(known, "email", "old@x.example") == ["Nobody"]
    assert customers_with(known, "email", "stranger@x.example") == []


def test_open_requests_when_others_ask_for_access_then_only_erasures_that_are_not_done(known: Known) -> None:
    requests = pl.DataFrame(
        [
            ("Erasure", "loyalty", "A7"),
            ("access", "loyalty", "B7"),
            ("right to be forgotten", "email", "h:old@x.example"),
            ("delete", None, None),
        ],
        schema=["request_type", "identifier_namespace", "identifier_value"],
        orient="row",
    )
    assert open_requests(requests, known, []) == ["Anna", "Nobody"]
    assert open_requests(requests, known, ["Anna"]) == ["Nobody"]


def test_suppressions_when_made_then_hashes_only(known: Known) -> None:
    rows = suppressions([person(known, "Anna", NONE, WEAK)], [("crm", "a row")], datetime(2024, 1, 1), "key")
    assert {(row["kind"], row["scope"]) for row in rows} == {
        ("record", "crm"),
        ("identifier", "cookie"),
        ("identifier", "loyalty"),
        ("identifier", "phone"),
        ("row", "crm"),
    }
    assert suppression_hash("identifier", "phone", "+491", "key") in {row["hash"] for row in rows}
    assert "+491" not in str(rows)
