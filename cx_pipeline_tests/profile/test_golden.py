from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime

import polars as pl
import pytest

from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.profile import golden
from cx_pipeline.profile.policy import SurvivorshipPolicy
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

AS_OF = date(2024, 6, 30)
POLICY = SurvivorshipPolicy(default_trust=0.5)
CATALOGUE = pl.DataFrame({"channel": ["crm", "shop", "forum"], "trust": [0.9, 0.4, None]})

Said = tuple[str, str, str, str, int | None]


def stated(rows: Sequence[Said]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Values and owners; a row is customer, channel, record, value, day of 2024 (or None)."""
    values = pl.DataFrame(
        {
            "channel": [row[1] for row in rows],
            "record_id": [row[2] for row in rows],
            "attribute": ["email"] * len(rows),
            "value": [row[3] for row in rows],
            "observed_at": [None if row[4] is None else datetime(2024, 1, row[4]) for row in rows],
        },
        schema_overrides={"observed_at": pl.Datetime("us")},
    )
    owners = pl.DataFrame(
        {
            "channel": [row[1] for row in rows],
            "record_id": [row[2] for row in rows],
            "customer_id": [row[0] for row in rows],
        }
    )
    return values, owners


def decide(rows: Sequence[Said], policy: SurvivorshipPolicy = POLICY) -> pl.DataFrame:
    return same_on_polars_and_duckdb(
        lambda values, owners, catalogue: golden.attribute_values(values, owners, catalogue, policy, AS_OF),
        *stated(rows),
        CATALOGUE,
    )


def winner(rows: Sequence[Said], policy: SurvivorshipPolicy = POLICY) -> tuple[str, str]:
    found = decide(rows, policy).filter(pl.col("status") == "winner")
    assert found.height == 1
    return found["value"][0], found["rule"][0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([("c", "shop", "1", "a", 1)], ("a", "only_value"), id="one record"),
        pytest.param([("c", "shop", "1", "a", 1), ("c", "crm", "2", "a", 2)], ("a", "only_value"), id="all agree"),
        pytest.param([("c", "crm", "1", "a", 1), ("c", "shop", "2", "b", 9)], ("a", "trust"), id="trusted before new"),
        pytest.param([("c", "forum", "1", "a", 1), ("c", "shop", "2", "b", 9)], ("a", "trust"), id="default trust"),
        pytest.param([("c", "crm", "1", "a", 1), ("c", "crm", "2", "b", 9)], ("b", "recency"), id="newest"),
        pytest.param([("c", "crm", "1", "a", None), ("c", "crm", "2", "b", 1)], ("b", "recency"), id="known time"),
        pytest.param(
            [("c", "crm", "1", "a", None), ("c", "crm", "2", "b", None), ("c", "crm", "3", "a", None)],
            ("a", "frequency"),
            id="said most often",
        ),
        pytest.param(
            [("c", "crm", "1", "a", 3), ("c", "crm", "2", "b", 3)], ("b", "order_of_channels"), id="nothing tells them apart"
        ),
        pytest.param(
            [("c", "shop", "1", "x", 20), ("c", "crm", "2", "a", 1), ("c", "crm", "3", "b", 9)],
            ("b", "recency"),
            id="the strongest rival is beaten by recency, though a weak one by trust",
        ),
        pytest.param(
            [("c", "unlisted", "1", "a", 1), ("c", "shop", "2", "b", 9)], ("a", "trust"), id="channel not in the catalogue"
        ),
    ],
)  # fmt: skip
def test_attribute_values_when_records_disagree_then_the_order_of_belief_decides(
    rows: list[Said], expected: tuple[str, str]
) -> None:
    assert winner(rows) == expected
    assert winner(list(reversed(rows))) == expected


def test_attribute_values_when_trusted_value_is_stale_then_fresh_one_wins() -> None:
    rows: list[Said] = [("c", "crm", "1", "old", 1), ("c", "shop", "2", "new", 30)]
    policy = SurvivorshipPolicy(default_trust=0.5, stale_after_days=170)
    assert winner(rows, policy) == ("new", "freshness")
    assert decide(rows, policy).filter(pl.col("value") == "old")["status"].to_list() == ["stale"]


def test_attribute_values_when_everything_is_stale_then_the_best_of_it_stands() -> None:
    rows: list[Said] = [("c", "crm", "1", "a", 1), ("c", "crm", "2", "b", 2)]
    assert winner(rows, SurvivorshipPolicy(default_trust=0.5, stale_after_days=1)) == ("b", "recency")


def test_attribute_values_when_several_customers_then_one_winner_each_and_every_value_kept() -> None:
    rows: list[Said] = [("c", "crm", "1", "a", 1), ("c", "shop", "2", "b", 2), ("d", "crm", "3", "a", 1)]
    decided = decide(rows)
    assert decided.height == 3
    assert decided.filter(pl.col("status") == "winner")["customer_id"].sort().to_list() == ["c", "d"]
    assert decided["status"].value_counts().filter(pl.col("status") == "loser")["count"].to_list() == [1]


def test_attribute_values_when_a_record_has_no_owner_then_it_says_nothing() -> None:
    values, owners = stated([("c", "crm", "1", "a", 1), ("c", "crm", "2", "b", 2)])
    decided = to_polars(golden.attribute_values(lazy(values), lazy(owners.head(1)), lazy(CATALOGUE), POLICY, AS_OF))
    assert decided["record_id"].to_list() == ["1"]


def test_values_of_records_when_a_column_is_null_then_no_row_says_so() -> None:
    parties = pl.DataFrame(
        {
            "channel": ["crm", "crm"],
            "record_id": ["1", "2"],
            "given_name": ["Ada", None],
            "surname": [None, "Byron"],
            "updated_at": [datetime(2024, 1, 1), None],
        },
        schema_overrides={"updated_at": pl.Datetime("us")},
    )
    attributes = pl.DataFrame(
        {
            "channel": ["till"],
            "record_id": ["9"],
            "attribute": ["tier"],
            "value": ["gold"],
            "observed_at": [datetime(2024, 2, 2)],
        },
        schema_overrides={"observed_at": pl.Datetime("us")},
    )
    found = same_on_polars_and_duckdb(
        lambda p, a: golden.values_of_records(p, a, ["given_name", "surname"]), parties, attributes
    )
    assert set(found.select("record_id", "attribute", "value").rows()) == {
        ("1", "given_name", "Ada"),
        ("2", "surname", "Byron"),
        ("9", "tier", "gold"),
    }


def test_owners_of_records_when_a_fact_stands_on_an_event_then_its_identifier_says_whose_it_is() -> None:
    xref = pl.DataFrame({"channel": ["crm"], "record_id": ["1"], "customer_id": ["c"]})
    attributes = pl.DataFrame(
        {
            "channel": ["crm", "till", "till", "till"],
            "record_id": ["1", "7", "7", "8"],
            "identifier_namespace": ["loyalty", "loyalty", "loyalty", None],
            "identifier_value": ["77", "55", "55", None],
        }
    )
    identifiers = pl.DataFrame({"namespace": ["loyalty", "loyalty"], "value": ["55", "77"], "customer_id": ["d", "e"]})
    nothing = pl.DataFrame(schema=dict.fromkeys(("channel", "record_id", "customer_id"), pl.String))
    found = same_on_polars_and_duckdb(golden.owners_of_records, xref, attributes, identifiers, nothing)
    assert set(found.select("channel", "record_id", "customer_id").rows()) == {("crm", "1", "c"), ("till", "7", "d")}


def test_owners_of_records_when_data_are_of_third_parties_then_their_match_says_whose_they_are() -> None:
    attributes = pl.DataFrame(
        {
            "channel": ["census", "census"],
            "record_id": ["1", "2"],
            "identifier_namespace": ["email", "email"],
            "identifier_value": ["unknown@x", "known@x"],
        }
    )
    identifiers = pl.DataFrame({"namespace": ["email"], "value": ["known@x"], "customer_id": ["e"]})
    matches = pl.DataFrame(
        {"channel": ["census", "census"], "record_id": ["1", "2"], "customer_id": ["by phone", None]}
    )
    no_records = matches.clear()
    found = same_on_polars_and_duckdb(golden.owners_of_records, no_records, attributes, identifiers, matches)
    assert found.select("channel", "record_id", "customer_id").rows() == [("census", "1", "by phone")]


def test_golden_records_when_values_are_of_all_sorts_then_columns_for_descriptions_and_json_for_the_rest() -> None:
    winners = pl.DataFrame(
        {
            "customer_id": ["c", "c", "c", "d", "e", "e"],
            "attribute": ["given_name", "surname", "tier", "tier", "full_name", "given_name"],
            "value": ["Ada", "Byron", "gold", "basic", "A. B.", "Ada"],
        }
    )
    rows = {row["customer_id"]: row for row in golden.golden_records(winners).to_dicts()}
    assert rows["c"]["full_name"] == "Ada Byron"
    assert json.loads(rows["c"]["attributes"]) == {"tier": "gold"}
    assert rows["d"]["full_name"] is None
    assert json.loads(rows["d"]["attributes"]) == {"tier": "basic"}
    assert rows["e"]["full_name"] == "A. B."
    assert rows["e"]["attributes"] is None


def test_golden_records_when_there_are_no_values_then_no_rows_but_every_column() -> None:
    empty = pl.DataFrame(schema={"customer_id": pl.String, "attribute": pl.String, "value": pl.String})
    made = golden.golden_records(empty)
    assert made.columns == ["customer_id", *golden.DESCRIBING, "attributes"]
    assert made.is_empty()


def test_consent_by_purpose_when_status_changes_then_the_latest_counts() -> None:
    consents = pl.DataFrame(
        {
            "customer_id": ["c", "c", "c", "d", None],
            "at": [datetime(2024, 1, 1), datetime(2024, 2, 1), datetime(2024, 1, 5), None, datetime(2024, 1, 1)],
            "purpose": ["email", "email", "phone", "email", "email"],
            "status": ["given", "withdrawn", "given", "given", "given"],
        }
    )
    found = {row["customer_id"]: json.loads(row["consent"]) for row in golden.consent_by_purpose(consents).to_dicts()}
    assert found == {"c": {"email": "withdrawn", "phone": "given"}, "d": {"email": "given"}}


def test_present_columns_when_roles_are_given_then_only_describing_columns_in_their_order() -> None:
    roles = {"contact.email", "person.given_name", "record.id", "id.loyalty", "attribute.tier"}
    assert golden.present_columns(roles) == ["given_name", "email"]
