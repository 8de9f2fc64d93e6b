from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from cx_pipeline.identity.policy import CustomerPolicy, ResolutionPolicy
from cx_pipeline_tests.identity.nights import Identifier, Sources, Tables, contract_schemas, customer
from cx_pipeline_tests.identity.people import pair_f1, population

PLAGUES = ("kiosk", "dummy phone", "family mailbox")
FAMILY = tuple(f"family-{n}" for n in range(6))
SURE = 20.0


def person_of(record: str) -> str:
    return record if record.startswith("family") else record.split("-")[0]


def company(n_people: int, plagues: tuple[str, ...] = ()) -> Sources:
    """A register with errors and a family of six; half of the records carry their person's account, and events its cookie."""
    chance = random.Random(3)
    parties = population(n_people, seed=4).drop("person").sort("record_id").to_dicts()
    numbers = {person_of(row["record_id"]): f"030 {chance.randint(100000, 999999)}" for row in parties}
    for row in parties:
        row["phone"] = numbers[person_of(row["record_id"])]
    given = ["anna", "boris", "clara", "david", "elena", "felix"]
    for n, name in enumerate(FAMILY):
        home = {"surname": "sommerfeld", "address_city": "bonn", "address_postcode": "10999", "phone": "030 777777"}
        mail = {"email": "home@mail.example" if "family mailbox" in plagues else f"{given[n]}@mail.example"}
        born = f"{1950 + 9 * n}-0{n + 1}-1{n}"
        parties.append(
            {"channel": "crm", "record_id": name, "given_name": given[n], "birth_date": born, **home, **mail}
        )
    carried: dict[str, list[Identifier]] = {}
    for i, row in enumerate(parties):
        if "dummy phone" in plagues and i % 5 == 0:
            row["phone"] = "0000"
        held = [("account", f"a{person_of(row['record_id'])}")] if i % 2 else []
        contacts = [(name, str(row[name])) for name in ("email", "phone") if row[name]]
        carried[row["record_id"]] = [*held, *contacts]
    accounts = sorted({value for held in carried.values() for name, value in held if name == "account"})
    pairs: list[tuple[Identifier, Identifier]] = [(("cookie", f"c{a}"), ("account", a)) for a in accounts]
    if "kiosk" in plagues:
        strangers = [f"stranger{n}" for n in range(5_000 - len(accounts))]
        pairs += [(("cookie", "kiosk"), ("account", a)) for a in [*accounts, *strangers]]
    return Sources(parties, carried, pairs, scores=None)


def judged(tables: Tables, sources: Sources) -> tuple[float, float, int]:
    """Pair recall without the family, pair F1 of everything, most people in one customer."""
    truth = [person_of(str(row["record_id"])) for row in sources.parties]
    cluster = [customer(tables, str(row["record_id"])) for row in sources.parties]
    both = Counter(zip(truth, cluster, strict=True))
    hits = sum(n * (n - 1) for n in both.values())
    true = sum(n * (n - 1) for n in Counter(truth).values())
    people_in = Counter(owner for _, owner in both)
    codes = {name: i for i, name in enumerate(sorted({*truth, *cluster}))}
    return hits / true, pair_f1([codes[t] for t in truth], [codes[c] for c in cluster]), max(people_in.values())


@pytest.mark.parametrize(
    ("n_people", "plagues"),
    [
        pytest.param(90, (PLAGUES,), id="all at once"),
        pytest.param(400, tuple((plague,) for plague in PLAGUES), id="each alone", marks=pytest.mark.slow),
    ],
)
def test_plagues_when_kiosk_dummy_phone_and_family_mailbox_come_then_nobody_is_swallowed_and_recall_stays(
    n_people: int, plagues: tuple[tuple[str, ...], ...]
) -> None:
    sources = company(n_people)
    sound = sources.night()
    recall, f1, _ = judged(sound, sources)
    assert f1 > 0.9
    for chosen in plagues:
        ill = company(n_people, chosen)
        tables = ill.night()
        recall_ill, f1_ill, most = judged(tables, ill)
        assert recall_ill >= recall - 0.01, chosen
        assert f1_ill >= f1 - 0.01, chosen
        assert most <= 2, chosen
        assert len({customer(tables, name) for name in FAMILY}) == len(FAMILY), chosen
        refused = set(tables["rejected_edges"].select("rule", "reason").unique().rows())
        if "kiosk" in chosen:
            assert tables["identifier_xref"].filter(pl.col("value") == "kiosk").is_empty()
            assert ("seen_together", "hot_identifier") in refused
        if "dummy phone" in chosen:
            assert ("phone", "blocked_value") in refused
        if "family mailbox" in chosen:
            assert ("email", "hot_identifier") in refused
            mailbox = tables["identifier_xref"].filter(pl.col("value") == "home@mail.example")
            assert mailbox["customer_id"][0] in {customer(tables, name) for name in FAMILY}


def test_tables_when_everything_happens_then_they_keep_their_contracts_columns_and_types() -> None:
    parties = [
        {
            "record_id": str(n),
            "given_name": "anna",
            "surname": "berg",
            "birth_year": "1950",
            "address_line": "weg 1",
            "address_city": "bonn",
        }
        for n in range(6)
    ]
    sources = Sources(
        parties,
        {"0": [("crm", "a")], "1": [("crm", "a"), ("household", "h")], "2": [("household", "h"), ("phone", "0000")]},
        [(("crm", "a"), ("cookie", "c"))],
        {("0", "2"): -0.5, ("2", "3"): 9.0, ("4", "5"): 9.0},
        [("0", "1", "cannot_link"), ("4", "5", "must_link"), ("1", "9", "must_link")],
    )
    first = sources.night()
    second = replace(sources, verdicts=[]).night(2, first)
    known = contract_schemas()
    for tables in (first, second, Sources([{"record_id": "1", "given_name": "a"}]).night()):
        for name, frame in tables.items():
            assert dict(frame.schema) == known[name], name
    assert {"model", "linkage_report"} <= known.keys() - first.keys()
    assert set(first["edges"]["kind"]) == {"deterministic", "probabilistic", "human"}
    assert {"unknown_record", "blocked_value", "cannot_link"} <= set(first["rejected_edges"]["reason"])


def test_duplicate_free_channel_when_scores_would_join_two_of_its_records_then_apart_and_the_edge_is_kept_with_its_reason() -> (
    None
):
    parties = [
        {"record_id": r, "channel": c, "given_name": "anna"} for r, c in (("1", "crm"), ("2", "crm"), ("3", "web"))
    ]
    scores = {("1", "3"): 9.0, ("2", "3"): 6.0, ("1", "2"): 2.0}
    sources = Sources(parties, scores=scores, duplicate_free=frozenset({"crm"}))
    tables = sources.night()
    assert customer(tables, "1") == customer(tables, "3") != customer(tables, "2")
    assert tables["rejected_edges"].filter(pl.col("reason") == "source_uniqueness").height == 2
    assert tables["edges"].filter(pl.col("kind") == "uniqueness").height == 2
    linked = replace(sources, carried={"1": [("loyalty", "x")], "2": [("loyalty", "x")]}).night()
    assert len(set(linked["customer_xref"]["customer_id"])) == 1


def test_unique_namespace_when_two_records_have_different_values_then_apart() -> None:
    parties = [{"record_id": r, "given_name": "anna"} for r in "12"]
    sources = Sources(parties, {"1": [("passport", "A")], "2": [("passport", "B")]}, scores={("1", "2"): 9.0})
    assert customer(sources.night(), "1") == customer(sources.night(), "2")
    parted = sources.night(policy=CustomerPolicy(unique_namespaces=("passport",)))
    assert customer(parted, "1") != customer(parted, "2")


def test_organisation_and_person_when_they_share_an_account_then_never_one_customer() -> None:
    parties: list[dict[str, str | None]] = [
        {"record_id": "1", "given_name": "anna", "surname": "berg"},
        {"record_id": "2", "organisation_name": "berg gmbh"},
        {"record_id": "3", "organisation_name": "berg gmbh"},
    ]
    shared: list[Identifier] = [("account", "a")]
    sources = Sources(parties, {"1": shared, "2": shared, "3": shared}, scores={("2", "3"): 9.0, ("1", "2"): 30.0})
    tables = sources.night()
    assert customer(tables, "2") == customer(tables, "3") != customer(tables, "1")
    kinds = dict(tables["clusters"].select("customer_id", "party_kind").iter_rows())
    assert (kinds[customer(tables, "1")], kinds[customer(tables, "2")]) == ("person", "organisation")
    assert "party_kind" in set(tables["rejected_edges"]["reason"])


def test_size_cap_when_a_customer_would_grow_beyond_it_then_the_edge_is_refused() -> None:
    parties: list[dict[str, str | None]] = [{"record_id": str(n), "given_name": "anna"} for n in range(4)]
    scores = {(str(a), str(b)): 9.0 for a in range(4) for b in range(a + 1, 4)}
    tables = Sources(parties, scores=scores).night(resolution=ResolutionPolicy(max_cluster_records=2))
    assert tables["clusters"]["n_records"].to_list() == [2, 2]
    assert set(tables["rejected_edges"]["reason"]) == {"size_cap"}


def test_near_misses_when_far_from_a_match_then_not_kept() -> None:
    parties: list[dict[str, str | None]] = [{"record_id": str(n), "given_name": "anna"} for n in range(3)]
    tables = Sources(parties, scores={("0", "1"): -1.0, ("1", "2"): -5.0}).night()
    assert tables["rejected_edges"].select("weight", "reason").rows() == [(-1.0, "below_threshold")]


def households_of(tables: Tables) -> set[frozenset[str]]:
    home = tables["households"].group_by("household_id").agg("customer_id")
    names = {owner: record for record, owner in tables["customer_xref"].select("record_id", "customer_id").iter_rows()}
    return {frozenset(names[owner] for owner in owners) for owners in home["customer_id"].to_list()}


def test_households_when_people_share_address_phone_or_id_then_a_layer_and_never_one_person() -> None:
    def lives(record: str, surname: str, line: str | None, phone: str | None = None) -> dict[str, str | None]:
        return {
            "record_id": record,
            "given_name": f"g{record}",
            "surname": surname,
            "address_line": line,
            "address_city": "bonn",
            "phone": phone,
        }

    parties = [
        lives("a1", "berg", "weg 1"), lives("a2", "berg", "weg 1"), lives("b1", "stein", "weg 1"),
        lives("c1", "holm", None, "1234567"), lives("c2", "holm", None, "1234567"), lives("d1", "rode", None, "1234567"),
        lives("e1", "lind", None), lives("e2", "falk", None),
        *(lives(f"f{n:02d}", "meier", "turm 9") for n in range(11)),
    ]  # fmt: skip
    parties.append(
        {"record_id": "o1", "organisation_name": "berg gmbh", "address_line": "weg 1", "address_city": "bonn"}
    )
    carried: dict[str, list[Identifier]] = {"e1": [("household", "h")]}
    tables = Sources(parties, {**carried, "e2": [("loyalty", "x")]}, [(("household", "h"), ("loyalty", "x"))]).night()
    assert households_of(tables) == {frozenset({"a1", "a2"}), frozenset({"c1", "c2"}), frozenset({"e1", "e2"})}
    assert tables["customer_xref"]["customer_id"].n_unique() == len(parties)
    assert set(tables["households"]["known_by"]) == {"address_and_surname", "phone_and_surname", "household_id"}
