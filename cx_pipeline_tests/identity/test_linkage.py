from __future__ import annotations

import json
from typing import Literal

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.identity.fields import number_records
from cx_pipeline.identity.linkage import EDGE_SCHEMA, link
from cx_pipeline.identity.policy import LinkagePolicy, ResolutionPolicy
from cx_pipeline.identity.resolution import resolve
from cx_pipeline.identity.standardise import standardise
from cx_pipeline_tests.identity.people import pair_f1, population

NO_LINKS = pl.DataFrame(schema={"left": pl.Int64, "right": pl.Int64})
Model = Literal["population", "splink"]
MODELS: tuple[Model, ...] = ("population", "splink")


def records_of(people: pl.DataFrame) -> pl.DataFrame:
    return number_records(standardise(nw.from_native(people.lazy())).collect().to_native())


def truth_of(people: pl.DataFrame, records: pl.DataFrame) -> list[int]:
    keys = ["channel", "record_id"]
    return records.select(keys).join(people, on=keys, how="left", maintain_order="left")["person"].to_list()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_people", [0, 1, 3], ids=["nobody", "one person", "three people"])
def test_link_when_there_is_next_to_nothing_then_typed_edges_and_no_error(model: Model, n_people: int) -> None:
    people = population(max(n_people, 1)).head(n_people and 100)
    records = records_of(people)
    linkage = link(records, LinkagePolicy(model=model), frozenset())
    assert dict(linkage.edges.schema) == EDGE_SCHEMA
    resolved = resolve(records.height, linkage.edges, NO_LINKS, ResolutionPolicy())
    assert resolved.height == people.height


@pytest.mark.parametrize("model", MODELS)
def test_link_when_no_column_names_anybody_then_no_edges_and_the_reason(model: Model) -> None:
    people = population(20).drop("given_name", "surname")
    linkage = link(records_of(people), LinkagePolicy(model=model), frozenset())
    assert linkage.edges.is_empty()
    assert "no field names anybody" in linkage.report["reason"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("n_people", "all_pairs_up_to_records", "at_least"),
    [pytest.param(60, 1700, 0.93, id="all pairs"), pytest.param(500, 0, 0.97, id="blocking")],
)
def test_link_and_resolve_then_people_are_found_again(
    model: Model, n_people: int, all_pairs_up_to_records: int, at_least: float
) -> None:
    people = population(n_people, seed=n_people)
    records = records_of(people)
    policy = LinkagePolicy(model=model, all_pairs_up_to_records=all_pairs_up_to_records, n_random_pairs=200_000)
    linkage = link(records, policy, frozenset())
    resolved = resolve(records.height, linkage.edges, NO_LINKS, ResolutionPolicy())
    assert pair_f1(truth_of(people, records), resolved["cluster"].to_list()) >= at_least


@pytest.mark.parametrize("model", MODELS)
def test_link_then_the_model_is_json_that_splink_reads_and_holds_no_value_of_a_person(model: Model) -> None:
    from splink import SettingsCreator

    people = population(80)
    linkage = link(records_of(people), LinkagePolicy(model=model, n_random_pairs=50_000), frozenset())
    text = json.dumps(linkage.model, allow_nan=False)
    report = json.dumps(linkage.report, allow_nan=False)
    SettingsCreator.from_path_or_dict(json.loads(text)["splink"]).get_settings("duckdb")
    for value in people["surname"].drop_nulls().unique():
        assert value not in text
        assert value not in report


@pytest.mark.parametrize("model", MODELS)
def test_link_when_a_channel_is_duplicate_free_then_no_edge_within_it(model: Model) -> None:
    records = records_of(population(80))
    linkage = link(records, LinkagePolicy(model=model, n_random_pairs=50_000), frozenset({"crm"}))
    channel = records["channel"].to_numpy()
    left, right = channel[linkage.edges["left"].to_numpy()], channel[linkage.edges["right"].to_numpy()]
    assert linkage.edges.height > 0
    assert not ((left == "crm") & (right == "crm")).any()


@pytest.mark.parametrize("model", MODELS)
def test_link_when_records_arrive_in_another_order_then_the_same_model_and_clusters(model: Model) -> None:
    people = population(80)
    results, models = [], []
    for frame in (people, people.reverse()):
        records = records_of(frame)
        linkage = link(records, LinkagePolicy(model=model, n_random_pairs=50_000), frozenset())
        results.append(resolve(records.height, linkage.edges, NO_LINKS, ResolutionPolicy())["cluster"].to_list())
        models.append(json.dumps(linkage.model, sort_keys=True))
    assert results[0] == results[1]
    assert models[0] == models[1]


def test_link_when_persons_and_organisations_are_mixed_then_each_sort_has_its_model_and_no_edge_between() -> None:
    people = population(60).with_columns(pl.lit(None, dtype=pl.String).alias("organisation_name"))
    firms = [
        {"channel": channel, "record_id": f"firm-{i}-{channel}", "organisation_name": f"{word} {trade}", "email": None}
        | {"address_city": "bonn", "address_postcode": f"{10000 + i}", "given_name": None, "surname": None}
        for i, (word, trade) in enumerate([("nord", "bau"), ("alpha", "druck"), ("elbe", "glas"), ("delta", "holz")])
        for channel in ("crm", "shop")
    ]
    records = records_of(pl.concat([people.drop("person"), pl.DataFrame(firms)], how="diagonal_relaxed"))
    linkage = link(records, LinkagePolicy(n_random_pairs=50_000), frozenset())
    assert set(linkage.model["identity"]) == {"model", "persons", "organisations"}
    is_firm = records["organisation_name"].is_not_null().to_numpy()
    left, right = linkage.edges["left"].to_numpy(), linkage.edges["right"].to_numpy()
    assert (is_firm[left] == is_firm[right]).all()
    cluster = resolve(records.height, linkage.edges, NO_LINKS, ResolutionPolicy())["cluster"].to_numpy()
    assert len(set(cluster[is_firm].tolist())) == 4


def test_link_when_most_namesakes_are_strangers_then_they_are_not_taken_for_one_person() -> None:
    # One surname for all and e-mail addresses made of names: most pairs that look alike in both are strangers.
    address = pl.concat_str(
        "given_name", pl.lit(".doe"), (pl.col("person") % 7).cast(pl.String), pl.lit("@mail.example")
    )
    people = population(600).with_columns(surname=pl.lit("doe"), email=address)
    records = records_of(people)
    linkage = link(records, LinkagePolicy(), frozenset())
    resolved = resolve(records.height, linkage.edges, NO_LINKS, ResolutionPolicy())
    assert pair_f1(truth_of(people, records), resolved.sort("record")["cluster"].to_list()) > 0.95
