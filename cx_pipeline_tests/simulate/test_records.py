from __future__ import annotations

import filecmp
import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cx_pipeline.simulate.identifiers import draw_identifiers
from cx_pipeline.simulate.population import END, draw_population
from cx_pipeline.simulate.records import HABITS, TRUTH_README, share_unlinkable, write_records
from cx_pipeline.simulate.writing import contract, extract_format
from cx_pipeline_tests.simulate.conftest import N_PEOPLE, People


def rows_of(people: People, channel: str) -> Any:
    """All rows of a channel's extracts, as text, in order of file name."""
    written = extract_format(channel)
    frames = []
    for path in sorted((people.out / "landing" / channel).iterdir()):
        if written.suffix == "parquet":
            frames.append(pl.read_parquet(path).cast(pl.String))
        elif written.suffix == "jsonl":
            frames.append(pl.read_ndjson(path, infer_schema_length=None).cast(pl.String))
        else:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            text = data.decode(written.encoding).encode()
            frames.append(pl.read_csv(text, separator=written.delimiter, infer_schema=False))
    return pl.concat(frames, how="diagonal")


def record_column(channel: str) -> str:
    column = contract(channel).column_of("record.id")
    assert column is not None
    return column


def test_truth_when_returned_then_every_table_is_described_and_every_description_has_a_table(people: People) -> None:
    assert set(people.truth) == set(TRUTH_README)


@pytest.mark.parametrize("channel", [*HABITS, "business_accounts"])
def test_party_channels_when_written_then_their_records_are_those_of_the_truth(channel: str, people: People) -> None:
    written = set(rows_of(people, channel)[record_column(channel)])
    true = people.truth["records"].filter(pl.col("channel") == channel)
    assert true["record_id"].is_unique().all()
    assert written == set(true["record_id"])


def test_records_when_counted_then_a_person_has_about_three_and_nearly_all_can_be_linked(people: People) -> None:
    records = people.truth["records"]
    assert 2.6 < records.height / N_PEOPLE < 3.4
    assert share_unlinkable(records) < 0.03
    assert (records["person_id"].is_null() == records["account_id"].is_not_null()).all()


def test_loyalty_when_written_then_no_person_has_two_cards(people: People) -> None:
    cards = people.truth["records"].filter(pl.col("channel") == "loyalty")
    assert cards["person_id"].is_unique().all()


def test_corruptions_when_written_then_clean_records_are_right_and_dummy_phones_are_what_the_rate_says(
    people: People,
) -> None:
    crm = rows_of(people, "crm").unique("contact_no", keep="last", maintain_order=True)
    truth = people.truth["records"].filter(pl.col("channel") == "crm").rename({"record_id": "contact_no"})
    joined = crm.join(truth, on="contact_no").join(people.population.persons, on="person_id", suffix="_true")
    clean = joined.filter(pl.col("corruptions").list.len() == 0)
    assert clean.height > 1_000
    assert (clean["surname"] == clean["surname_true"]).all()
    assert (clean["date_of_birth"] == clean["birth_date"].cast(pl.String)).drop_nulls().all()
    assert (clean["postcode"] == clean["postcode_true"]).drop_nulls().all()
    mistyped = joined.filter(pl.col("corruptions").list.contains("typo_surname"))
    assert (mistyped["surname"] != mistyped["surname_true"]).all()
    dummies = joined["corruptions"].list.contains("dummy_phone")
    assert dummies.mean() == pytest.approx(0.02, abs=0.008)
    assert not joined.filter(dummies)["phone"].str.contains("447").any()


def test_versions_when_a_channel_learns_of_a_move_then_the_old_address_stands_in_the_earlier_file(
    people: People,
) -> None:
    crm = rows_of(people, "crm")
    assert crm.select("contact_no", "changed_at").is_unique().all()
    several = crm.filter(pl.len().over("contact_no") == 2)
    assert several.height > 100
    owners = (
        people.truth["records"]
        .filter(pl.col("channel") == "crm")
        .select(pl.col("record_id").alias("contact_no"), "person_id")
    )
    first = several.unique("contact_no", keep="first", maintain_order=True).join(owners, on="contact_no")
    moved = first.join(people.population.persons, on="person_id").filter(
        (pl.col("moved_at") > pl.col("changed_at").str.to_datetime()) & pl.col("postcode").is_not_null()
    )
    assert moved.height > 50
    assert (moved["postcode"] == moved["previous_postcode"]).mean() > 0.95


def test_stale_attributes_when_listed_then_the_records_show_what_was_true_before(people: People) -> None:
    stale = people.truth["stale_attributes"].filter(
        (pl.col("channel") == "loyalty") & (pl.col("attribute") == "address")
    )
    assert stale.height > 10
    cards = rows_of(people, "loyalty").unique("card_no", keep="last", maintain_order=True)
    joined = stale.join(cards, left_on="record_id", right_on="card_no").join(people.population.persons, on="person_id")
    shown = joined.filter(pl.col("postcode").str.contains(r"^[A-Z]{1,2}\d+ \d"))
    assert (shown["postcode"] == shown["previous_postcode"]).mean() > 0.9
    assert (shown["postcode"] != shown["postcode_right"]).mean() > 0.9


def test_the_old_system_when_written_then_names_are_in_its_character_set_and_capitals(people: People) -> None:
    holders = rows_of(people, "billing_accounts")["holder"]
    assert (holders == holders.str.to_uppercase()).all()
    assert holders.str.contains(", ").mean() > 0.99
    assert holders.str.contains(r"[À-Þ]").any()


def test_links_when_written_then_a_kiosk_is_seen_with_many_accounts_and_others_with_their_owners(
    people: People,
) -> None:
    links = rows_of(people, "identifier_links")
    per_cookie = links.drop_nulls("cookie").group_by("cookie").agg(pl.col("account").n_unique())
    kiosks = people.identifiers.filter("is_kiosk")["value"].unique()
    assert per_cookie.filter(pl.col("cookie").is_in(kiosks.to_list()))["account"].min() > 20
    assert per_cookie.filter(~pl.col("cookie").is_in(kiosks.to_list()))["account"].max() < 6


def test_overlay_when_written_then_findable_rows_carry_a_key_of_their_person_alone(people: People) -> None:
    matches = people.truth["overlay_matches"]
    rows = rows_of(people, "demographics").join(matches, left_on="row_id", right_on="record_id")
    assert rows.height == matches.height
    strangers = rows.filter(pl.col("person_id").is_null())
    assert 0.1 < strangers.height / rows.height < 0.2
    assert not strangers["is_findable"].any()
    persons = people.population.persons
    known = pl.concat([persons["email"], persons["second_email"], persons["mobile_phone"]]).drop_nulls().to_list()
    assert not pl.concat([strangers["email"], strangers["phone"]]).drop_nulls().is_in(known).any()
    findable = rows.filter("is_findable").join(persons, on="person_id")
    own = (findable["email"] == findable["email_right"]) | (findable["phone"] == findable["mobile_phone"])
    assert findable.height > 500
    assert own.fill_null(value=False).all()


def test_privacy_when_written_then_everyone_who_asks_for_erasure_and_can_be_named_has_a_request(
    people: People,
) -> None:
    requests = people.truth["privacy_requests"]
    asking = people.population.persons.drop_nulls("asks_erasure_at")
    erasure = requests.filter(pl.col("type") == "erasure")
    assert set(erasure["person_id"]) <= set(asking["person_id"])
    assert erasure.height >= 0.8 * asking.height
    assert rows_of(people, "privacy_requests").height == requests.height


def test_consents_when_written_then_the_last_statement_is_the_truth(people: People) -> None:
    truth = people.truth["consents"]
    assert truth.select("person_id", "purpose").is_unique().all()
    assert set(truth["status"]) == {"granted", "withdrawn"}
    assert truth["since"].max() < END
    statements = rows_of(people, "consents")
    assert statements.height > truth.height


def test_company_when_written_twice_then_the_bytes_are_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        population = draw_population(300, 120, 5)
        write_records(tmp_path / name, population, draw_identifiers(population, seed=5), 120, 5)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 40
    assert files == sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*") if path.is_file())
    _, differing, missing = filecmp.cmpfiles(
        tmp_path / "a", tmp_path / "b", [str(file) for file in files], shallow=False
    )
    assert (differing, missing) == ([], [])


def test_company_when_it_has_one_person_then_it_is_written_all_the_same(tmp_path: Path) -> None:
    population = draw_population(1, 30, 2)
    truth = write_records(tmp_path, population, draw_identifiers(population, seed=2), 30, 2)
    assert truth["persons"].height == 1
