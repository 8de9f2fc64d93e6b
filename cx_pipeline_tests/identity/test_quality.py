from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.identity.ledger import LEDGER_SCHEMA
from cx_pipeline.identity.lookup import published_state
from cx_pipeline.identity.policy import QualityPolicy, ResolutionPolicy
from cx_pipeline.identity.quality import QUALITY_SCHEMA, Tonight, excessive_changes, quality
from cx_pipeline.identity.records import records_with_standard_traits
from cx_pipeline_tests.identity.nights import Sources

TODAY = date(2024, 1, 2)
NOTHING = pl.DataFrame(schema=QUALITY_SCHEMA)
PARTIES = [
    {"channel": channel, "record_id": record, "given_name": name, "birth_date": born, "email": mail}
    for channel, record, name, born, mail in (
        ("crm", "a", "Anna", "1990-01-01", "anna@mail.example"),
        ("web", "b", "Anna", "1990-01-01", None),
        ("web", "c", "Boris", "1991-01-01", None),
        ("crm", "d", "Clara", None, None),
    )
]


def splink(m: float, u: float) -> str:
    levels = [{"is_null_level": True}, {"m_probability": m, "u_probability": u}]
    return json.dumps({"splink": {"comparisons": [{"output_column_name": "surname", "comparison_levels": levels}]}})


def tonight(expected_matches: float = 2.0) -> Tonight:
    """a and b are one; b and c are refused although their pair is likely."""
    scores = {("a", "b"): 9.0, ("b", "c"): 1.0, ("a", "c"): -9.0}
    night = Sources(parties=PARTIES, scores=scores).night()
    report = {"figure": ["learnt.persons.expected_matches"], "value": [expected_matches]}
    return Tonight(
        records_with_standard_traits(lazy(pl.DataFrame(PARTIES))),
        night["customer_xref"],
        night["clusters"],
        night["edges"],
        night["rejected_edges"],
        pl.DataFrame(report),
        splink(0.8, 0.1),
    )


def judged(
    night: Tonight, previous: pl.DataFrame = NOTHING, policy: QualityPolicy | None = None
) -> dict[tuple[str, str], dict[str, object]]:
    found = quality(night, previous, TODAY, policy or QualityPolicy(), ResolutionPolicy())
    return {(row["figure"], row["about"]): row for row in found.to_dicts()}


def test_quality_when_measured_then_the_contract_holds_and_the_first_night_has_no_previous_values() -> None:
    found = quality(tonight(), NOTHING, TODAY, QualityPolicy(), ResolutionPolicy())
    assert dict(found.schema) == dict(load_step("identity")["quality"].polars_schema())
    assert found.select("figure", "about").is_duplicated().sum() == 0
    assert found["previous"].null_count() == found.height


def test_quality_when_records_are_joined_then_volumes_completeness_and_match_rate_are_theirs() -> None:
    found = judged(tonight())
    value = {key: row["value"] for key, row in found.items()}
    assert [value["n_records", about] for about in ("", "crm", "web")] == [4, 2, 2]
    assert value["n_customers", ""] == 3
    assert value["completeness", "email"] == 0.25
    assert value["match_rate", ""] == 0.5
    assert value["records_per_customer", "max"] == 2
    assert value["model_weight_bits", "surname"] == pytest.approx(3.0)


def test_quality_when_a_likely_pair_is_outvoted_then_it_is_counted_as_missed_with_ids_alone() -> None:
    night = tonight()
    row = judged(night)["suspected_under_merging", "outvoted"]
    ids = dict(night.customer_xref.select("record_id", "customer_id").iter_rows())
    assert row["value"] == 1
    assert row["example_ids"] == " ".join(sorted([ids["a"], ids["c"]]))


def test_quality_when_matches_differ_in_given_name_and_birth_date_then_their_share_is_a_warning() -> None:
    night = tonight()
    records = night.records.with_columns(
        pl.Series("standard_given_name", ["anna", "anna", "boris", "boris"]),
        pl.Series("standard_birth_date", ["1990-01-01", "1990-01-10", "1991-12-01", "1990-01-01"]),
    )
    pair = {"kind": "probabilistic", "weight": 9.0, "left_source": "crm", "left_value": "a"}
    others = [{"right_source": "web", "right_value": other} for other in "bc"] + [
        {"right_source": "crm", "right_value": "d"}
    ]
    wrong = replace(night, records=records, edges=pl.DataFrame([pair | other for other in others]))
    found = judged(wrong, policy=QualityPolicy(min_matches=2))
    rows = {name: found["disagreement_of_matches", name] for name in ("given_name", "birth_date", "both")}
    # b has one digit of the day wrong; c is another person; d differs in the name alone.
    assert [row["value"] for row in rows.values()] == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "warn"]
    assert judged(wrong)["disagreement_of_matches", "both"]["value"] is None


@pytest.mark.parametrize(
    ("figure", "about", "before", "status"),
    [
        pytest.param("n_records", "crm", 2.0, "ok", id="as many records"),
        pytest.param("n_records", "crm", 3.0, "warn", id="a delivery is missing"),
        pytest.param("n_records", "web", 0.9, "warn", id="a delivery is doubled"),
        pytest.param("completeness", "email", 0.9, "warn", id="a field is no longer filled"),
        pytest.param("match_rate", "", 0.1, "warn", id="many more matches"),
        pytest.param("match_rate", "", 0.48, "ok", id="a few more matches"),
        pytest.param("model_weight_bits", "surname", 6.0, "warn", id="the model has drifted"),
    ],
)
def test_quality_when_a_figure_has_moved_then_it_warns_beyond_the_policy(
    figure: str, about: str, before: float, status: str
) -> None:
    stored = {"figure": [figure], "about": [about], "value": [before], "previous": [None], "as_of": [date(2024, 1, 1)]}
    previous = pl.DataFrame(stored, schema_overrides={"previous": pl.Float64})
    row = judged(tonight(), previous)[figure, about]
    assert (row["status"], row["previous"]) == (status, before)


def test_quality_when_a_night_is_run_again_then_it_is_compared_with_the_same_night_as_before() -> None:
    first = quality(tonight(), NOTHING, date(2024, 1, 1), QualityPolicy(), ResolutionPolicy())
    changed = first.with_columns(pl.col("value") + 1)
    second = quality(tonight(), changed, TODAY, QualityPolicy(), ResolutionPolicy())
    again = quality(tonight(), second, TODAY, QualityPolicy(), ResolutionPolicy())
    assert second["change"].drop_nulls().round(9).unique().to_list() == [-1.0]
    assert again.equals(second)


def test_quality_when_training_expected_far_more_matches_than_there_are_then_it_warns() -> None:
    assert judged(tonight(1_000.0))["found_over_expected_matches", ""]["status"] == "warn"
    assert judged(tonight(41.0))["expected_matches_per_record", ""]["status"] == "warn"
    assert judged(tonight(1.6))["found_over_expected_matches", ""]["status"] == "ok"


def test_quality_when_there_are_no_records_then_there_are_figures_all_the_same() -> None:
    empty = {name: frame.clear() for name, frame in vars(tonight()).items() if isinstance(frame, pl.DataFrame)}
    found = judged(Tonight(**empty, settings=""))
    assert found["n_records", ""]["value"] == 0
    assert {row["status"] for row in found.values()} == {"ok"}


# --- the diff of merges and splits --------------------------------------------------------------------------------------------


def ledger(n_absorbed: int, n_records: int = 1, event: str = "absorbed") -> pl.DataFrame:
    at, on = datetime(2024, 1, 2), date(2024, 1, 2)
    rows = [
        (10 + i, at, on, event, f"C{i}", f"D{i}", json.dumps({"n_records": n_records, "n_identifiers": 3}))
        for i in range(n_absorbed)
    ]
    return pl.DataFrame(rows, schema=LEDGER_SCHEMA, orient="row")


POLICY = QualityPolicy(max_changed_rate=0.05, min_changed_customers=2)


@pytest.mark.parametrize(
    ("entries", "last_entry", "n_before", "n_offending"),
    [
        pytest.param(ledger(6), 9, 100, 6, id="more than the share"),
        pytest.param(ledger(5), 9, 100, 0, id="the share"),
        pytest.param(ledger(2), 9, 10, 0, id="few in all"),
        pytest.param(ledger(6), 9, 0, 0, id="nothing was published"),
        pytest.param(ledger(6), 15, 100, 0, id="published already"),
        pytest.param(ledger(6, n_records=0), 9, 100, 0, id="cookies that became somebody's"),
        pytest.param(ledger(6, event="created"), 9, 100, 0, id="new customers"),
        pytest.param(ledger(6, event="retired"), 9, 100, 0, id="records that are gone"),
    ],
)
def test_changes_when_ids_were_merged_since_the_last_publishing_then_only_too_many_are_refused(
    entries: pl.DataFrame, last_entry: int, n_before: int, n_offending: int
) -> None:
    assert excessive_changes(entries, last_entry, n_before, POLICY).height == n_offending


def test_changes_when_an_id_was_split_into_several_then_it_counts_once() -> None:
    split = ledger(6, event="split").with_columns(pl.lit("C").alias("from_customer_id"))
    found = excessive_changes(split, 9, 2, replace(POLICY, min_changed_customers=0))
    assert found.rows() == [("C", "split")]


def test_published_state_when_nothing_was_published_then_zeros_and_else_the_last_entry(tmp_path: Path) -> None:
    assert published_state(tmp_path) == (0, 0)
    folder = tmp_path / "current" / "identity"
    folder.mkdir(parents=True)
    ledger(3).write_parquet(folder / "ledger.parquet")
    pl.DataFrame({"customer_id": ["C1", "C1", "C2"]}).write_parquet(folder / "customer_xref.parquet")
    assert published_state(tmp_path) == (12, 2)
