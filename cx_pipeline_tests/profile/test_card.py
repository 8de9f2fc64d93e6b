from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.tables import Table
from cx_pipeline.profile.card import MAX_EVENTS, customer_card, find_customer
from cx_pipeline_tests.frames import frame_of

PROFILE, IDENTITY = load_step("profile"), load_step("identity")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A published run with two customers, of whom one has events and a value that another source contradicts."""

    def publish(table: Table, frame: pl.DataFrame) -> None:
        path = tmp_path / table.step / f"{table.name}.parquet"
        path.parent.mkdir(exist_ok=True)
        frame.write_parquet(path)

    publish(
        PROFILE["customers"],
        frame_of(
            PROFILE["customers"],
            customer_id=["C1a", "C1b"],
            n_records=2,
            n_channels=2,
            n_identifiers=1,
            as_of=date(2024, 6, 30),
        ),
    )
    publish(
        PROFILE["attribute_values"],
        frame_of(
            PROFILE["attribute_values"],
            customer_id="C1a",
            attribute=["email", "email", "email", "surname"],
            channel=["crm", "shop", "forum", "crm"],
            record_id=["1", "2", "3", "1"],
            value=["new@x", "old@x", "new@x", "Byron"],
            status=["winner", "loser", "loser", "winner"],
            rule="trust",
        ),
    )
    n_events = MAX_EVENTS + 5
    publish(
        PROFILE["timeline"],
        frame_of(
            PROFILE["timeline"],
            customer_id="C1a",
            at=[datetime(2024, 1, 1) + timedelta(days=n) for n in range(n_events)],
            channel="shop",
            kind="order",
            record_id=[str(n) for n in range(n_events)],
        ),
    )
    publish(
        IDENTITY["customer_xref"],
        frame_of(
            IDENTITY["customer_xref"],
            channel=["crm", "shop"],
            record_id=["1", "2"],
            customer_id=["C1a", "C1b"],
            matched_by="single",
        ),
    )
    publish(
        IDENTITY["identifier_xref"],
        frame_of(IDENTITY["identifier_xref"], namespace=["crm"], value=["1"], customer_id=["C1a"]),
    )
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param("C1a", ["C1a"], id="whole id"),
        pytest.param("C1", ["C1a", "C1b"], id="ambiguous beginning"),
        pytest.param("C2", [], id="nobody"),
        pytest.param("", ["C1a", "C1b"], id="nothing"),
        pytest.param("1a", [], id="end of an id"),
        pytest.param("C.a", [], id="no pattern"),
    ],
)
def test_find_customer_when_asked_then_only_what_begins_so(run: Path, wanted: str, expected: list[str]) -> None:
    assert find_customer(run, wanted) == expected


def test_customer_card_when_sources_disagree_then_golden_value_with_its_source_and_what_others_say(run: Path) -> None:
    card = customer_card(run, "C1a")
    assert card.golden == {"email": ("new@x", "crm", "1", "trust"), "surname": ("Byron", "crm", "1", "trust")}
    assert card.others == {"email": [("old@x", "shop")]}
    assert card.records.rows() == [("crm", "1", "single", None)]
    assert card.identifiers["namespace"].to_list() == ["crm"]


def test_customer_card_when_there_are_many_events_then_the_newest_first_and_the_number_of_all(run: Path) -> None:
    card = customer_card(run, "C1a")
    assert card.n_events == MAX_EVENTS + 5
    assert card.events.height == MAX_EVENTS
    assert card.events["record_id"][0] == str(MAX_EVENTS + 4)


def test_customer_card_when_nothing_is_known_then_empty_sections(run: Path) -> None:
    card = customer_card(run, "C1b")
    assert card.golden == {}
    assert card.events.is_empty()
    assert card.facts["n_records"] == 2
