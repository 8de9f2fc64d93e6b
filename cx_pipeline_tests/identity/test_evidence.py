from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import polars as pl
import pytest

from cx_pipeline.identity import evidence
from cx_pipeline.identity.policy import CustomerPolicy
from cx_pipeline_tests.identity.nights import PAIR_SCHEMA, Identifier

POLICY = CustomerPolicy()
ID = {"namespace": pl.String, "value": pl.String}


def judge(
    records: Mapping[str, tuple[str, str | None]],
    carried: Mapping[str, Sequence[Identifier]],
    pairs: list[tuple[Identifier, Identifier]] | None = None,
    policy: CustomerPolicy = POLICY,
) -> evidence.IdentifierEvidence:
    """Records are given name and year of birth by record id."""
    rows = [("crm", record, given, born) for record, (given, born) in records.items()]
    frame = pl.DataFrame(
        rows, schema=dict.fromkeys(["channel", "record_id", "given_name", "birth_year"], pl.String), orient="row"
    )
    held = pl.DataFrame(
        [("crm", record, *identifier) for record, given in carried.items() for identifier in given],
        schema={"channel": pl.String, "record_id": pl.String, **ID},
        orient="row",
    )
    met = pl.DataFrame([(*a, *b, 1, None, None) for a, b in pairs or []], schema=PAIR_SCHEMA, orient="row")
    seen = {row[2:] for row in held.rows()} | {end for pair in pairs or [] for end in pair}
    identifiers = pl.DataFrame([(*i, i[1]) for i in sorted(seen)], schema={**ID, "raw_value": pl.String}, orient="row")
    return evidence.judge_identifiers(frame, identifiers, held, met, policy)


def rank(said: evidence.IdentifierEvidence, namespace: str) -> int:
    found: int = said.strengths.filter(pl.col("namespace") == namespace)["rank"][0]
    return found


def reasons(said: evidence.IdentifierEvidence) -> dict[tuple[str, str], str]:
    return {(row[0], row[1]): row[2] for row in said.refused.rows()}


PEOPLE = [
    ("anna", "1950"),
    ("boris", "1961"),
    ("clara", "1972"),
    ("david", "1983"),
    ("elena", "1994"),
    ("felix", "1965"),
]


def test_strong_identifier_when_one_persons_records_are_full_of_errors_then_it_still_joins_them() -> None:
    records = {
        "1": ("robert", "1950"),
        "2": ("bob", "1950"),
        "3": ("r", None),
        "4": ("robret", "1905"),
        "5": ("robert", "1950"),
    }
    said = judge(records, {record: [("loyalty", "7")] for record in records})
    assert said.refused.is_empty()
    assert said.groups.height == 1


def test_strong_identifier_when_many_people_carry_it_then_hot_and_in_no_group() -> None:
    records = {str(i): person for i, person in enumerate(PEOPLE)}
    said = judge(records, {record: [("loyalty", "shop")] for record in records})
    assert reasons(said) == {("loyalty", "shop"): "hot_identifier"}
    assert said.groups.is_empty()


@pytest.mark.parametrize(
    "identifier",
    [
        ("phone", "0000"),
        ("crm", "null"),
        ("cookie", "user_null"),
        ("loyalty", "N/A"),
        ("email", "noreply@shop.example"),
    ],
)
def test_placeholder_when_carried_then_blocked_and_it_leads_to_nobody(identifier: Identifier) -> None:
    records = {"1": PEOPLE[0], "2": PEOPLE[0]}
    said = judge(records, {record: [identifier] for record in records})
    assert reasons(said) == {identifier: "blocked_value"}
    assert said.nobodys["value"].to_list() == [identifier[1]]


@pytest.mark.parametrize(
    "identifier", [("crm", "1"), ("crm", "1111"), ("account", "0000"), ("email", "testa@x.example"), ("crm", "notnull")]
)
def test_value_when_it_may_be_a_real_one_then_not_blocked(identifier: Identifier) -> None:
    assert judge({"1": PEOPLE[0]}, {"1": [identifier]}).refused.is_empty()


def test_unlisted_namespace_when_its_values_are_one_persons_each_then_strong() -> None:
    records = {f"{i}{copy}": PEOPLE[i] for i in range(6) for copy in "ab"}
    said = judge(records, {record: [("passport", record[0])] for record in records})
    assert rank(said, "passport") == 0
    assert said.groups.height == 6


def test_unlisted_namespace_when_different_people_share_its_values_then_weak_and_it_joins_nobody() -> None:
    records = {f"{i}{copy}": PEOPLE[(i + (copy == "b")) % 6] for i in range(6) for copy in "ab"}
    said = judge(records, {record: [("terminal", record[0]), ("crm", record)] for record in records})
    assert rank(said, "terminal") > max(rank(said, "crm"), 0)
    assert set(said.groups["namespace"]) == {"crm"}
    listed = CustomerPolicy(strong_namespaces=("terminal",))
    assert rank(judge(records, {r: [("terminal", r[0])] for r in records}, policy=listed), "terminal") == 0


def test_unlisted_namespace_when_several_strong_identifiers_are_seen_with_its_values_then_weak() -> None:
    pairs = [(("branch", str(n % 6)), ("crm", str(n))) for n in range(18)]
    assert rank(judge({}, {}, pairs), "branch") > 0
    assert rank(judge({}, {}, [(("member_no", str(n)), ("crm", str(n))) for n in range(18)]), "member_no") == 0


def test_unlisted_namespace_when_many_of_it_belong_to_one_cookie_then_it_leads_and_is_no_customer() -> None:
    chance = random.Random(1)
    pairs = [(("session", f"{n}"), ("cookie", str(chance.randint(0, 30)))) for n in range(200)]
    assert rank(judge({}, {}, pairs), "session") > 0


def test_group_when_links_chain_more_identifiers_than_a_customer_has_then_the_links_are_refused() -> None:
    chain = [(("loyalty", f"{n:02d}"), ("loyalty", f"{n + 1:02d}")) for n in range(30)]
    said = judge({}, {}, chain)
    assert said.refused_pairs["reason"].to_list() == ["size_cap"] * 30
    assert said.groups["group"].n_unique() == 31
    assert judge({}, {}, chain[:15]).groups["group"].n_unique() == 1


def test_people_when_traits_are_unknown_then_one_person_is_assumed() -> None:
    frame = pl.DataFrame({"channel": ["crm"] * 3, "record_id": ["1", "2", "3"]})
    carried = frame.with_columns(pl.lit("crm").alias("namespace"), pl.lit("a").alias("value"))
    assert evidence.people_per_value(frame, carried).rows() == [("crm", "a", 3, 1.0, 1.0)]


def test_people_when_contacts_of_one_organisation_then_they_are_counted_by_their_own_names() -> None:
    frame = pl.DataFrame(
        {
            "channel": ["crm"] * 4,
            "record_id": ["1", "2", "3", "4"],
            "given_name": ["anna", "boris", "clara", "david"],
            "organisation_name": ["acme"] * 4,
        }
    )
    carried = frame.select("channel", "record_id", pl.lit("account").alias("namespace"), pl.lit("a").alias("value"))
    assert evidence.people_per_value(frame, carried)["n_people"].to_list() == [4.0]


def test_hot_values_when_a_call_centre_writes_its_number_into_every_record_then_blank_and_others_stay() -> None:
    names = ["anna", "boris", "clara", "david", "elena", "felix", "greta", "hugo", "irene", "jonas"]
    records = pl.DataFrame(
        {
            "channel": ["crm"] * 60,
            "record_id": [str(n) for n in range(60)],
            "given_name": [names[n % 10] for n in range(60)],
            "birth_year": [str(1940 + n) for n in range(60)],
            "phone": ["5550000" if n < 40 else str(n // 2) for n in range(60)],
            "email": [None if n % 2 else "a@b.example" for n in range(60)],
        }
    )
    cleaned = evidence.without_hot_values(records, POLICY)
    assert cleaned["phone"][:40].null_count() == 40
    assert cleaned["phone"][40:].equals(records["phone"][40:])
    assert cleaned["email"].null_count() == 60
