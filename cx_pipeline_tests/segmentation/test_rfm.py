from __future__ import annotations

import random
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.errors import ConfigurationError
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.core.settings import Settings
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.segmentation import plots, rfm
from cx_pipeline.segmentation.checks import every_customer_with_orders_has_a_segment, scores_are_balanced
from cx_pipeline.segmentation.policy import RfmPolicy
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb, same_on_polars_and_spark, spark_session

PROFILE, SEGMENTATION = load_step("profile"), load_step("segmentation")
AS_OF = date(2024, 12, 31)
SCORES = ("recency_score", "frequency_score", "monetary_score")


def features_of(*buyers: tuple[str, int | None, int, float], as_of: date = AS_OF) -> pl.DataFrame:
    """`profile.features` with customer, recency_days, n_orders, revenue."""
    return frame_of(
        PROFILE["features"],
        customer_id=[buyer[0] for buyer in buyers],
        recency_days=[buyer[1] for buyer in buyers],
        n_orders=[buyer[2] for buyer in buyers],
        revenue=[buyer[3] for buyer in buyers],
        as_of=as_of,
    )


def customers_of(features: pl.DataFrame, *others: str) -> pl.DataFrame:
    ids = [*features["customer_id"].unique().sort(), *others]
    return frame_of(PROFILE["customers"], customer_id=ids, n_records=1, n_channels=1, n_identifiers=1, as_of=AS_OF)


def segmented(customers: nw.LazyFrame[Any], features: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    return rfm.customers(customers, features, RfmPolicy(), AS_OF)


def rows_of(features: pl.DataFrame, *others: str) -> pl.DataFrame:
    return to_polars(segmented(lazy(customers_of(features, *others)), lazy(features))).sort("customer_id")


def shop(n_buyers: int = 103, seed: int = 3) -> pl.DataFrame:
    """Buyers of whom many share a value: most ordered once, on few days, for few prices."""
    chance = random.Random(seed)
    return features_of(
        *(
            (f"C{number:03d}", chance.choice([0, 0, 0, 5, 90]), chance.choice([1, 1, 1, 1, 2, 9]), chance.choice([5.0, 5.0, 20.5]))
            for number in range(n_buyers)
        )
    )  # fmt: skip


def test_segment_names_when_all_125_cells_are_asked_then_each_fits_exactly_one_rule() -> None:
    names = rfm.segment_names(RfmPolicy())
    for recency, frequency, monetary in product(rfm.FIFTHS, repeat=3):
        buying = rfm.buying_score(frequency, monetary)
        fitting = [
            name
            for name, (low, high, least, most) in RfmPolicy().segments.items()
            if low <= recency <= high and least <= buying <= most
        ]
        assert fitting == [names[recency, buying]]
    assert set(names.values()) == set(RfmPolicy().segments)


def test_customers_when_every_cell_occurs_then_each_has_the_name_of_the_rule_table() -> None:
    scored = pl.DataFrame(list(product(rfm.FIFTHS, repeat=3)), schema=list(SCORES), orient="row")
    named = to_polars(lazy(scored).with_columns(rfm._name_of(rfm.segment_names(RfmPolicy())).alias("segment")))
    names = rfm.segment_names(RfmPolicy())
    assert named.height == 125
    assert named["segment"].to_list() == [names[r, rfm.buying_score(f, m)] for r, f, m in scored.iter_rows()]


@pytest.mark.parametrize(
    ("scores", "segment"),
    [((5, 5, 5), "champions"), ((3, 5, 4), "loyal"), ((5, 1, 1), "new"), ((1, 5, 5), "cannot_lose"), ((1, 1, 1), "lost"),
     ((2, 4, 3), "at_risk"), ((4, 2, 3), "potential_loyalists")],
)  # fmt: skip
def test_segment_names_when_a_typical_customer_is_looked_up_then_it_has_the_usual_name(
    scores: tuple[int, int, int], segment: str
) -> None:
    recency, frequency, monetary = scores
    assert rfm.segment_names(RfmPolicy())[recency, rfm.buying_score(frequency, monetary)] == segment


def test_scores_when_values_are_all_different_then_the_best_fifth_has_five() -> None:
    made = rows_of(features_of(*((f"C{n}", n, 10 - n, 100.0 - n) for n in range(10))))
    assert made.select(SCORES).rows() == [(score, score, score) for score in (5, 5, 4, 4, 3, 3, 2, 2, 1, 1)]


def test_scores_when_many_share_a_value_then_ties_are_broken_by_customer_and_fifths_are_equal() -> None:
    made = rows_of(shop())
    for score in SCORES:
        sizes = made.group_by(score).len()["len"]
        assert sizes.len() == 5
        assert sizes.max() - sizes.min() <= 1  # type: ignore[operator]
    assert made["n_orders"].n_unique() == 3
    tied = made.filter(pl.col("n_orders") == 1).sort("customer_id")["frequency_score"]
    assert tied.is_sorted()


def test_scores_when_customers_stand_in_another_order_then_the_same() -> None:
    features = shop()
    assert rows_of(features).equals(rows_of(features.sample(fraction=1.0, shuffle=True, seed=1)))


def test_customers_when_someone_never_ordered_then_no_scores_but_a_reason() -> None:
    features = features_of(("A", 3, 2, 10.0), ("B", None, 0, 0.0))
    made = rows_of(features, "C")
    assert made.filter(pl.col("rfm_reason").is_null())["customer_id"].to_list() == ["A"]
    silent = made.filter(pl.col("customer_id") != "A")
    assert silent.select(*SCORES, "rfm_segment").null_count().row(0) == (2, 2, 2, 2)
    assert silent["rfm_reason"].unique().to_list() == [rfm.NO_ORDERS]


def test_customers_when_there_are_past_cutoffs_then_only_tonight_counts() -> None:
    features = pl.concat([features_of(("A", 3, 2, 10.0)), features_of(("A", 1, 1, 5.0), as_of=date(2024, 12, 3))])
    made = rows_of(features)
    assert made.select("recency_days", "n_orders", "revenue").rows() == [(3, 2, 10.0)]


def test_customers_when_made_on_two_engines_then_equal() -> None:
    features = shop()
    made = same_on_polars_and_duckdb(segmented, customers_of(features, "Z"), features)
    assert made.height == 104


@pytest.mark.slow
def test_customers_when_made_on_spark_then_equal() -> None:
    features = shop()
    with spark_session() as session:
        assert same_on_polars_and_spark(session, segmented, customers_of(features, "Z"), features).height == 104


def test_customers_when_written_then_the_contract_holds() -> None:
    features = shop()
    with Warehouse(None) as warehouse:
        made = segmented(warehouse.frame(customers_of(features, "Z")), warehouse.frame(features))
        assert warehouse.write(SEGMENTATION["customers"], made).n_rows == 104


def test_segment_names_when_the_settings_leave_a_cell_without_a_name_then_it_is_named() -> None:
    policy = RfmPolicy(segments={"good": (2, 5, 1, 5), "bad": (1, 1, 1, 4)})
    with pytest.raises(ConfigurationError, match="recency score 1 with buying score 5 has no name"):
        rfm.segment_names(policy)


@pytest.mark.parametrize(
    "bounds", ["[1, 5]", "[5, 1, 1, 5]", "[0, 5, 1, 5]", "7"], ids=["two", "reversed", "zero", "number"]
)
def test_segment_names_when_a_rule_of_the_settings_is_no_range_then_it_is_named(tmp_path: Path, bounds: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"segmentation: {{segments: {{odd: {bounds}}}}}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"segmentation\.segments"):
        rfm.segment_names(Settings.load(file, [RfmPolicy]).policy(RfmPolicy))


def test_segment_names_when_the_settings_name_the_cells_then_these_names_stand(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("segmentation: {segments: {here: [3, 5, 1, 5], gone: [1, 5, 1, 5]}}\n", encoding="utf-8")
    names = rfm.segment_names(Settings.load(file, [RfmPolicy]).policy(RfmPolicy))
    assert (names[3, 1], names[2, 5]) == ("here", "gone")


def n_without_segment(made: pl.DataFrame, features: pl.DataFrame) -> int:
    tables = {"segmentation__customers": made, "profile__features": features}
    return n_offending(every_customer_with_orders_has_a_segment, **tables)


def test_checks_when_segments_are_right_then_kept() -> None:
    features = shop()
    made = rows_of(features, "Z")
    assert n_without_segment(made, features) == 0
    past = features_of(("gone since", 1, 1, 1.0), as_of=date(2024, 12, 3))
    assert n_without_segment(made, pl.concat([features, past])) == 0
    assert n_offending(scores_are_balanced, segmentation__customers=made) == 0
    few = rows_of(features_of(("A", 1, 1, 1.0), ("B", 2, 2, 2.0)))
    assert n_offending(scores_are_balanced, segmentation__customers=few) == 0


def test_checks_when_a_buyer_has_no_name_or_a_stranger_has_one_then_broken() -> None:
    features = shop()
    made = rows_of(features, "Z")
    nameless = made.with_columns(pl.when(pl.col("customer_id") != "C001").then("rfm_segment").alias("rfm_segment"))
    assert n_without_segment(nameless, features) == 1
    stranger = made.with_columns(pl.col("rfm_segment").fill_null("champions"))
    assert n_without_segment(stranger, features) == 1
    missing = made.filter(pl.col("customer_id") != "C001")
    assert n_without_segment(missing, features) == 1


def test_checks_when_quintiles_have_collapsed_then_broken() -> None:
    made = rows_of(shop()).with_columns(pl.col("frequency_score").clip(upper_bound=4))
    assert n_offending(scores_are_balanced, segmentation__customers=made) > 0


def test_segment_map_when_there_are_buyers_then_every_segment_that_occurs_is_drawn() -> None:
    made = rows_of(shop())
    svg = plots.segment_map(lazy(made))
    assert svg
    assert all(name.replace("_", " ") in svg for name in made["rfm_segment"].unique())
    assert plots.segment_map(lazy(made.clear())) is None
