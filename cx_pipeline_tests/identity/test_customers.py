from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline.identity import customers, evidence
from cx_pipeline.identity.customers import Customers
from cx_pipeline.identity.policy import CustomerPolicy, ResolutionPolicy
from cx_pipeline.identity.resolution import resolve

POLICY = CustomerPolicy()
KEY = "a key"
ID = ["namespace", "value"]
Identifier = tuple[str, str]


@dataclass
class Sources:
    """What staging delivers: records with the identifiers they carry, and identifiers seen together in events."""

    records: dict[str, Sequence[Identifier]] = field(default_factory=dict)
    pairs: list[tuple[Identifier, Identifier]] = field(default_factory=list)
    alone: list[Identifier] = field(default_factory=list)

    def resolved(self, seed: int | None = None, policy: CustomerPolicy = POLICY) -> Customers:
        """Customers by identifiers alone: no pair of records was scored. With a seed all inputs come in another order."""

        def order(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
            if seed is not None:
                random.Random(seed).shuffle(rows)
            return rows

        names = order([("crm", record) for record in self.records])
        records = pl.DataFrame(names, schema={"channel": pl.String, "record_id": pl.String}, orient="row")
        records = records.with_row_index("record").with_columns(pl.col("record").cast(pl.Int64))
        carried = order([("crm", r, *identifier) for r, given in self.records.items() for identifier in given])
        party_identifiers = pl.DataFrame(
            carried, schema=dict.fromkeys(["channel", "record_id", *ID], pl.String), orient="row"
        )
        pairs = pl.DataFrame(
            order([(*left, *right, 1) for left, right in self.pairs]),
            schema={
                "left_namespace": pl.String,
                "left_value": pl.String,
                "right_namespace": pl.String,
                "right_value": pl.String,
                "n_records": pl.Int64,
            },
            orient="row",
        )
        seen = {row[2:] for row in carried} | {end for pair in self.pairs for end in pair} | set(self.alone)
        at = datetime(2024, 1, 1)
        identifiers = pl.DataFrame(
            order([("web", *identifier, 1, at, at) for identifier in sorted(seen)]),
            schema={
                "channel": pl.String,
                "namespace": pl.String,
                "value": pl.String,
                "n_records": pl.Int64,
                "first_seen_at": pl.Datetime("us"),
                "last_seen_at": pl.Datetime("us"),
            },
            orient="row",
        )
        said = evidence.judge_identifiers(records, identifiers, party_identifiers, pairs, policy)
        links = evidence.must_links(records, party_identifiers, said.groups)
        none = pl.DataFrame(schema={"left": pl.Int64, "right": pl.Int64, "match_weight": pl.Float64})
        clusters = resolve(records.height, none, links, ResolutionPolicy())
        return customers.name_customers(records, clusters, identifiers, party_identifiers, said, policy, KEY)


def owner(found: Customers, namespace: str, value: str) -> str | None:
    rows = found.identifier_xref.filter(pl.col("namespace") == namespace, pl.col("value") == value)
    return rows["customer_id"][0] if rows.height else None


def customer_of(found: Customers, record: str) -> str:
    customer: str = found.customer_xref.filter(pl.col("record_id") == record)["customer_id"][0]
    return customer


@pytest.mark.parametrize("namespace", ["crm", "loyalty", "account", "anything_else"])
def test_records_when_they_carry_the_same_strong_identifier_then_one_customer(namespace: str) -> None:
    found = Sources({"1": [(namespace, "7")], "2": [(namespace, "7")], "3": [(namespace, "8")]}).resolved()
    assert customer_of(found, "1") == customer_of(found, "2") != customer_of(found, "3")
    assert owner(found, namespace, "7") == customer_of(found, "1")


@pytest.mark.parametrize("namespace", POLICY.weak_namespaces)
def test_records_when_they_share_a_weak_identifier_only_then_two_customers_and_it_leads_to_one(namespace: str) -> None:
    found = Sources({"1": [(namespace, "x")], "2": [(namespace, "x")]}).resolved()
    assert customer_of(found, "1") != customer_of(found, "2")
    assert owner(found, namespace, "x") in {customer_of(found, "1"), customer_of(found, "2")}


def test_records_when_an_identifier_link_shows_their_strong_identifiers_together_then_one_customer() -> None:
    sources = Sources(
        {"1": [("crm", "a")], "2": [("loyalty", "b")], "3": [("account", "c")]},
        pairs=[(("crm", "a"), ("app", "z")), (("app", "z"), ("loyalty", "b"))],
    )
    found = sources.resolved()
    assert customer_of(found, "1") == customer_of(found, "2") != customer_of(found, "3")
    assert owner(found, "app", "z") == customer_of(found, "1")


def test_identifiers_when_seen_with_a_known_one_then_followed_step_by_step() -> None:
    chain: list[Identifier] = [("crm", "a"), ("email", "e"), ("device", "d"), ("cookie", "c")]
    found = Sources({"1": [("crm", "a")]}, pairs=list(itertools.pairwise(chain))).resolved()
    assert {owner(found, *identifier) for identifier in chain} == {customer_of(found, "1")}


def test_identifier_when_seen_with_two_customers_then_it_leads_to_the_one_it_was_seen_with_more_often() -> None:
    sources = Sources({"1": [("crm", "a")], "2": [("crm", "b")]})
    sources.pairs = [(("cookie", "c"), ("crm", "b"))] * 3 + [(("cookie", "c"), ("crm", "a"))]
    assert owner(sources.resolved(), "cookie", "c") == customer_of(sources.resolved(), "2")


def test_kiosk_cookie_when_seen_with_5000_accounts_then_it_swallows_nobody_and_leads_nowhere() -> None:
    accounts: list[Identifier] = [("account", f"{n:04d}") for n in range(5_000)]
    sources = Sources({"1": [accounts[0]]}, pairs=[(("cookie", "kiosk"), account) for account in accounts])
    found = sources.resolved()
    assert owner(found, "cookie", "kiosk") is None
    assert found.identifier_xref.height == 5_000
    assert found.identifier_xref["customer_id"].n_unique() == 5_000
    assert owner(found, *accounts[0]) == customer_of(found, "1")


def test_account_when_seen_with_50_cookies_then_it_keeps_them_all() -> None:
    cookies: list[Identifier] = [("cookie", f"{n:02d}") for n in range(50)]
    found = Sources({"1": [("account", "a")]}, pairs=[(("account", "a"), cookie) for cookie in cookies]).resolved()
    assert {owner(found, *cookie) for cookie in cookies} == {customer_of(found, "1")}


def test_account_when_known_by_events_only_then_a_customer_with_all_its_cookies() -> None:
    cookies: list[Identifier] = [("cookie", f"{n:02d}") for n in range(50)]
    found = Sources(pairs=[(("account", "a"), cookie) for cookie in cookies]).resolved()
    assert found.identifier_xref["customer_id"].n_unique() == 1
    assert found.identifier_xref.height == 51


def test_test_login_when_seen_with_many_strong_identifiers_then_it_joins_none_of_them() -> None:
    cards: list[Identifier] = [("loyalty", f"{n:03d}") for n in range(300)]
    records: dict[str, Sequence[Identifier]] = {card[1]: [card] for card in cards}
    found = Sources(records, pairs=[(("account", "test"), card) for card in cards]).resolved()
    assert found.customer_xref["customer_id"].n_unique() == 300
    assert owner(found, "account", "test") not in set(found.customer_xref["customer_id"])


@pytest.mark.parametrize("namespace", ["loyalty", "email"])
def test_dummy_identifier_when_hundreds_of_customers_carry_it_then_it_joins_none_and_leads_nowhere(
    namespace: str,
) -> None:
    dummy = (namespace, "0000")
    records: dict[str, Sequence[Identifier]] = {f"{n:03d}": [("crm", str(n)), dummy] for n in range(300)}
    found = Sources(records).resolved()
    assert found.customer_xref["customer_id"].n_unique() == 300
    assert owner(found, *dummy) is None


def test_weak_identifiers_when_seen_together_but_with_nobody_known_then_one_customer_of_their_own() -> None:
    found = Sources(pairs=[(("cookie", "c"), ("device", "d"))], alone=[("cookie", "other")]).resolved()
    assert owner(found, "cookie", "c") == owner(found, "device", "d") is not None
    assert owner(found, "cookie", "other") not in {None, owner(found, "cookie", "c")}


def test_everything_when_there_is_nothing_then_empty_tables_of_the_contracts_columns() -> None:
    found = Sources().resolved()
    assert found.customer_xref.columns == ["channel", "record_id", "customer_id", "matched_by", "weight"]
    assert found.identifier_xref.columns == ["namespace", "value", "customer_id", "first_seen_at", "last_seen_at"]
    assert found.customer_xref.is_empty()
    assert found.identifier_xref.is_empty()


@pytest.mark.parametrize("seed", range(8))
def test_customers_when_inputs_come_in_another_order_then_the_same_ids(seed: int) -> None:
    chance = random.Random(4)
    values = [("crm", "1"), ("crm", "2"), ("loyalty", "1"), ("loyalty", "2"), ("email", "e"), ("email", "f"),
              ("cookie", "c"), ("cookie", "d"), ("device", "x")]  # fmt: skip
    sources = Sources(
        {f"{n:02d}": chance.sample(values, chance.randint(0, 2)) for n in range(12)},
        pairs=[(left, right) for left, right in (chance.sample(values, 2) for _ in range(6))],
        alone=[("cookie", "y"), ("phone", "z")],
    )
    expected, found = sources.resolved(), sources.resolved(seed)
    assert_frame_equal(expected.customer_xref, found.customer_xref)
    assert_frame_equal(expected.identifier_xref, found.identifier_xref)


def test_customer_ids_when_the_key_differs_then_other_ids_and_none_gives_the_record_away() -> None:
    first = customers._ids(pl.Series(["crm"]), pl.Series(["ada@x.org"]), "key")[0]
    assert first == customers._ids(pl.Series(["crm"]), pl.Series(["ada@x.org"]), "key")[0]
    assert first != customers._ids(pl.Series(["crm"]), pl.Series(["ada@x.org"]), "other")[0]
    assert first.startswith("C")
    assert len(first) == 17
