from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline.identity import checks, lookup
from cx_pipeline.identity.ledger import aliases, customers_on, extend_history
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.identity.nights import Sources, Tables, customer, events

SURE = 20.0


def people(*records: str) -> list[dict[str, str | None]]:
    return [{"record_id": record, "given_name": "anna", "surname": f"name{record}"} for record in records]


def clique(*records: str) -> dict[tuple[str, str], float]:
    return {(a, b): SURE for i, a in enumerate(records) for b in records[i + 1 :]}


def broken_checks(tables: Tables) -> dict[str, int]:
    """How many rows contradict each check about ids."""
    named = {f"identity__{name}": frame for name, frame in tables.items()}
    wanted = {
        checks.every_customer_id_was_created: ("ledger", "customer_xref", "identifier_xref"),
        checks.every_move_of_a_record_is_in_the_ledger: ("ledger", "customer_history"),
        checks.every_alias_leads_to_a_living_customer: ("aliases", "customer_xref", "identifier_xref"),
        checks.every_customer_with_records_has_its_figures: ("clusters", "customer_xref"),
        checks.no_customer_holds_a_pair_that_a_reviewer_has_parted: ("customer_xref", "edges"),
    }
    found = {}
    for check, names in wanted.items():
        n = n_offending(check, **{f"identity__{name}": named[f"identity__{name}"] for name in names})
        if n:
            found[str(check.check_key)] = n
    return found


def test_first_night_then_every_customer_is_created_and_a_rerun_adds_nothing() -> None:
    sources = Sources(people("1", "2", "3"), scores=clique("1", "2"))
    first = sources.night()
    assert sorted(event for event, *_ in events(first, 1)) == ["created", "created"]
    again = sources.night(1, first)
    for name in ("customer_xref", "identifier_xref", "ledger", "aliases", "customer_history"):
        assert_frame_equal(first[name], again[name])
    assert broken_checks(first) == {}


def test_ids_when_a_record_arrives_that_sorts_first_then_the_customer_keeps_its_id() -> None:
    first = Sources(people("5", "6"), scores=clique("5", "6")).night()
    second = Sources(people("1", "5", "6"), scores=clique("1", "5", "6")).night(2, first)
    assert customer(second, "1") == customer(first, "5")
    assert events(second, 2) == []


def test_ids_when_customers_merge_then_the_older_stays_however_small_and_the_other_is_its_alias() -> None:
    first = Sources(people("1")).night()
    second = Sources(people("1", "2", "3"), scores=clique("2", "3")).night(2, first)
    third = Sources(people("1", "2", "3"), scores=clique("1", "2", "3")).night(3, second)
    old, absorbed = customer(first, "1"), customer(second, "2")
    assert {customer(third, record) for record in "123"} == {old}
    assert events(third, 3) == [("merged", old, absorbed), ("absorbed", absorbed, old)]
    assert third["aliases"].rows() == [(absorbed, old, date(2024, 1, 3))]
    evidence = json.loads(third["ledger"]["evidence"][-1])
    assert evidence == {
        "n_records": 2,
        "n_identifiers": 0,
        "kind": "probabilistic",
        "rule": "similarity",
        "weight": SURE,
    }
    assert broken_checks(third) == {}


def test_ids_when_customers_of_one_night_merge_then_the_larger_stays() -> None:
    first = Sources(people("1", "2", "3"), scores=clique("2", "3")).night()
    second = Sources(people("1", "2", "3"), scores=clique("1", "2", "3")).night(2, first)
    assert customer(second, "1") == customer(first, "2")


def test_ids_when_a_customer_splits_then_the_larger_part_keeps_the_id_and_the_rest_gets_one_never_used() -> None:
    whole = Sources(people("1", "2", "3"), scores=clique("1", "2", "3"))
    first = whole.night()
    second = Sources(people("1", "2", "3"), scores=clique("2", "3")).night(2, first)
    kept, new = customer(second, "2"), customer(second, "1")
    assert kept == customer(first, "1") != new
    assert events(second, 2) == [("created", new, None), ("split", new, kept)]
    assert json.loads(second["ledger"]["evidence"][-1])["reason"] == "evidence_withdrawn"
    third = whole.night(3, second)
    assert {customer(third, record) for record in "123"} == {kept}
    fourth = Sources(people("1", "2", "3"), scores=clique("2", "3")).night(4, third)
    assert customer(fourth, "1") not in {kept, new}
    assert broken_checks(fourth) == {}


def test_ids_when_equal_parts_split_then_the_one_with_the_first_record_keeps_the_id() -> None:
    carried = {"2": [("loyalty", "a")], "3": [("loyalty", "a"), ("email", "b")]}
    first = Sources(people("1", "2", "3", "4"), carried, scores=clique("1", "2", "3", "4")).night()
    parted = {**clique("1", "4"), **clique("2", "3")}
    second = Sources(people("1", "2", "3", "4"), carried, scores=parted).night(2, first)
    assert customer(second, "1") == customer(first, "1") != customer(second, "2")


def test_ids_when_most_of_a_customer_goes_to_another_one_then_the_id_lives_on_in_the_rest() -> None:
    older = Sources(people("1", "2")).night()
    younger = Sources(people("1", "2", "3", "4", "5"), scores=clique("3", "4", "5")).night(2, older)
    joined = Sources(people("1", "2", "3", "4", "5"), scores=clique("1", "3", "4")).night(3, younger)
    assert {customer(joined, record) for record in "134"} == {customer(older, "1")}
    assert customer(joined, "5") == customer(younger, "5")
    assert events(joined, 3) == [("split", customer(older, "1"), customer(younger, "3"))]
    assert joined["aliases"].is_empty()
    assert broken_checks(joined) == {}


def test_ids_when_all_records_are_gone_then_retired_and_not_reused_when_they_return() -> None:
    first = Sources(people("1", "2")).night()
    second = Sources(people("2")).night(2, first)
    assert events(second, 2) == [("retired", customer(first, "1"), None)]
    third = Sources(people("1", "2")).night(3, second)
    assert customer(third, "1") not in set(first["customer_xref"]["customer_id"])
    assert third["customer_history"].filter(pl.col("record_id") == "1")["came_by"].to_list() == ["new", "returned"]
    assert broken_checks(third) == {}


def test_ids_when_an_anonymous_visitor_signs_in_then_the_known_customer_stays_though_younger() -> None:
    first = Sources(people("9"), pairs=[(("cookie", "c"), ("device", "d"))]).night()
    visitor = first["identifier_xref"]["customer_id"][0]
    second = Sources(people("1", "9"), {"1": [("crm", "a")]}, [(("cookie", "c"), ("device", "d"))]).night(2, first)
    third = Sources(
        people("1", "9"), {"1": [("crm", "a")]}, [(("cookie", "c"), ("device", "d")), (("crm", "a"), ("cookie", "c"))]
    ).night(3, second)
    assert set(third["identifier_xref"]["customer_id"]) == {customer(second, "1")}
    assert third["aliases"].select("alias", "customer_id").rows() == [(visitor, customer(second, "1"))]
    assert json.loads(third["ledger"]["evidence"][-1])["rule"] == "seen_together"


def test_decisions_when_made_and_taken_back_then_records_part_and_join_and_the_ledger_shows_both() -> None:
    carried = {"1": [("crm", "a")], "2": [("crm", "a")], "3": [("crm", "a")]}
    first = Sources(people("1", "2", "3"), carried, scores=clique("1", "2", "3")).night()
    second = Sources(
        people("1", "2", "3"), carried, scores=clique("1", "2", "3"), verdicts=[("1", "3", "cannot_link")]
    ).night(2, first)
    assert customer(second, "1") == customer(second, "2") == customer(first, "1") != customer(second, "3")
    parted = [json.loads(text) for text in second["ledger"].filter(pl.col("event") == "split")["evidence"]]
    assert parted[0]["reason"] == "cannot_link"
    third = Sources(people("1", "2", "3"), carried, scores=clique("1", "2", "3")).night(3, second)
    assert len(set(third["customer_xref"]["customer_id"])) == 1
    assert [event for event, *_ in events(third, 3)] == ["merged", "absorbed"]
    for night in (first, second, third):
        assert broken_checks(night) == {}


def test_aliases_when_heirs_are_absorbed_themselves_then_followed_to_the_last_and_dead_ends_dropped() -> None:
    rows = [(1, "A", "B"), (2, "B", "C"), (3, "C", "D"), (4, "X", "Y")]
    ledger = pl.DataFrame(rows, schema=["entry", "customer_id", "from_customer_id"], orient="row").with_columns(
        pl.lit("absorbed").alias("event"), pl.lit(date(2024, 1, 1)).alias("as_of")
    )
    assert aliases(ledger, ["D", "Z"]).select("alias", "customer_id").rows() == [("A", "D"), ("B", "D"), ("C", "D")]


def test_history_when_nights_share_a_date_then_the_last_counts_and_time_never_runs_backwards() -> None:
    def night(history: pl.DataFrame, owner: str | None, day: int) -> pl.DataFrame:
        rows = [("crm", "1", owner)] if owner else []
        xref = pl.DataFrame(
            rows, schema=dict.fromkeys(["channel", "record_id", "customer_id"], pl.String), orient="row"
        )
        return extend_history(history, xref, date(2024, 1, day))

    history = night(Sources(people("1")).night()["customer_history"].clear(), "A", 1)
    for owner, day in (("B", 5), ("C", 5), ("D", 3), (None, 8), ("D", 9)):
        history = night(history, owner, day)

    def then(day: int) -> list[str]:
        return customers_on(history, date(2024, 1, day))["customer_id"].to_list()

    assert [then(day) for day in (1, 4, 5, 7, 8, 9)] == [["A"], ["A"], ["D"], ["D"], [], ["D"]]
    assert then(0 + 1) == ["A"]
    assert customers_on(history, date(2023, 12, 31)).is_empty()


@pytest.mark.parametrize("seed", range(2))
def test_ids_when_sources_change_at_random_for_many_nights_then_all_that_is_promised_holds(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"{n:02d}" for n in range(30)]
    tables: Tables | None = None
    used: set[str] = set()
    for day in range(1, 9):
        there = sorted(chance.sample(names, chance.randint(15, 30)))
        true = {name: chance.randint(0, 9) for name in there}
        scores = {(a, b): SURE for a in there for b in there if a < b and true[a] == true[b]}
        parted = [(a, b, "cannot_link") for a, b in [chance.sample(there, 2)]]
        carried = {name: [("crm", str(chance.randint(0, 20))), ("cookie", str(chance.randint(0, 8)))] for name in there}
        before, sources = tables, Sources(people(*there), carried, [(("crm", "1"), ("cookie", "x"))], scores, parted)
        tables = sources.night(day, before)
        assert broken_checks(tables) == {}
        rerun = sources.night(day, tables)
        assert rerun["ledger"].height == tables["ledger"].height
        assert rerun["customer_xref"].equals(tables["customer_xref"])
        created = [c for event, c, _ in events(tables, day) if event == "created"]
        assert not used & set(created)
        used |= set(created)
        if before is not None:
            assert tables["ledger"].head(before["ledger"].height).equals(before["ledger"])
            assert (
                customers_on(tables["customer_history"], date(2024, 1, day - 1))
                .sort("record_id")
                .equals(before["customer_xref"].select("channel", "record_id", "customer_id").sort("record_id"))
            )


def test_lookup_when_asked_for_an_old_id_then_its_heir_its_life_and_who_it_was(tmp_path: Path) -> None:
    first = Sources(people("1", "2", "3"), scores=clique("2", "3")).night()
    second = Sources(people("1", "2", "3"), scores=clique("1", "2", "3")).night(5, first)
    (tmp_path / "identity").mkdir()
    for name, frame in second.items():
        frame.write_parquet(tmp_path / "identity" / f"{name}.parquet")
    old, living = customer(first, "1"), customer(first, "2")
    assert lookup.current_id(tmp_path, old) == lookup.current_id(tmp_path, living) == living
    assert lookup.current_id(tmp_path, "C0") is None
    assert lookup.life_of(tmp_path, living)["event"].to_list() == ["created", "created", "merged", "absorbed"]
    then = lookup.customer_on(tmp_path, old, date(2024, 1, 4))
    assert then.select("record_id", "customer_id_then", "customer_id_now").rows() == [
        ("1", old, living), ("2", living, living), ("3", living, living),
    ]  # fmt: skip
    assert set(lookup.customer_on(tmp_path, old, date(2024, 1, 5))["customer_id_then"]) == {living}
