from __future__ import annotations

import polars as pl
import pytest

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.identity.fields import number_records
from cx_pipeline.identity.linkage import Linkage, compare_pair, link, train
from cx_pipeline.identity.linkage_model import LinkageModel
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.standardise import standardise
from cx_pipeline.identity.waterfall import chart, waterfall
from cx_pipeline_tests.identity.people import population

POLICY = LinkagePolicy(n_random_pairs=50_000)


@pytest.fixture(scope="module")
def records() -> pl.DataFrame:
    return number_records(to_polars(standardise(lazy(population(120).drop("person")))))


@pytest.fixture(scope="module")
def model(records: pl.DataFrame) -> LinkageModel:
    found = train(records, POLICY, frozenset(), "a key")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def linkage(records: pl.DataFrame, model: LinkageModel) -> Linkage:
    return link(records, POLICY, frozenset(), model, "a key")


def steps_of(
    records: pl.DataFrame, model: LinkageModel, left: int, right: int, free: frozenset[str] = frozenset()
) -> pl.DataFrame:
    both = records[[left, right]].with_columns(pl.Series("record", [0, 1]))
    return waterfall(compare_pair(both, POLICY, free, model, "a key"), model)


def test_waterfall_when_a_pair_is_compared_again_then_its_parts_add_up_to_the_score_of_the_night(
    records: pl.DataFrame, model: LinkageModel, linkage: Linkage
) -> None:
    by_weight = linkage.edges.sort("match_weight")
    for row in by_weight.gather_every(by_weight.height // 8).to_dicts():
        steps = steps_of(records, model, row["left"], row["right"])
        assert steps["bits"][-1] == pytest.approx(row["match_weight"], abs=1e-8)
        assert steps["sum_bits"][-2] == pytest.approx(row["match_weight"], abs=1e-5)
        assert steps["step"][0] == "prior"


def test_waterfall_when_shown_then_it_holds_names_of_levels_and_no_value_of_a_person(
    records: pl.DataFrame, model: LinkageModel, linkage: Linkage
) -> None:
    best = linkage.edges.sort("match_weight", "left", descending=True).to_dicts()[0]
    steps = steps_of(records, model, best["left"], best["right"])
    said = " ".join(steps["part"])
    values = records[[best["left"], best["right"]]].select("given_name", "surname", "email", "birth_date")
    assert "given name: same" in said
    assert [value for row in values.rows() for value in row if value and value in said] == []


def test_waterfall_when_two_records_are_of_one_duplicate_free_channel_then_the_pair_is_not_possible(
    records: pl.DataFrame, model: LinkageModel
) -> None:
    both = records.filter(pl.col("channel") == "crm").head(2).with_columns(pl.Series("record", [0, 1]))
    assert not compare_pair(both, POLICY, frozenset(["crm"]), model, "a key").is_possible
    assert compare_pair(both, POLICY, frozenset(), model, "a key").is_possible


def test_chart_when_drawn_then_every_part_stands_in_it(
    records: pl.DataFrame, model: LinkageModel, linkage: Linkage
) -> None:
    steps = steps_of(records, model, linkage.edges["left"][0], linkage.edges["right"][0])
    svg = chart(steps, "crm:1 and shop:2")
    assert svg.startswith("<svg")
    assert [part for part in ("two records taken at random", "one person rather than not") if part not in svg] == []
