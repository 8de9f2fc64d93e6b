from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.staging import canonical, returns
from cx_pipeline.staging.policy import StagingPolicy
from cx_pipeline.staging.returns import link_returns, orders_giving_back_too_much
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

TABLES = load_step("staging")
POLICY = StagingPolicy(return_window_days=30)
DAY = datetime(2024, 1, 1, 10)


def lines(*rows: dict[str, Any]) -> pl.DataFrame:
    """Order lines: `day` counts from the first, `who` is the customer, `what` the product."""
    columns = {
        "channel": [row.get("channel", "till") for row in rows],
        "record_id": [row["id"] for row in rows],
        "order_id": [row.get("order", row["id"]) for row in rows],
        "event_at": [None if row.get("day") is None else DAY + timedelta(days=row["day"]) for row in rows],
        "identifier_namespace": [None if row.get("who") is None else "loyalty" for row in rows],
        "identifier_value": [row.get("who") for row in rows],
        "product_id": [row.get("what") for row in rows],
        "order_amount": [Decimal(row["money"]) for row in rows],
        "order_returns_id": [row.get("returns") for row in rows],
    }
    return frame_of(TABLES["order_lines"], **columns)


def linked(rows: pl.DataFrame, delivered: pl.DataFrame | None = None) -> dict[str, tuple[Any, ...]]:
    """Record -> link, order of the sale, days, reason; equal on both engines, the contract's columns."""
    nothing = TABLES["orders"].empty() if delivered is None else delivered
    derived = to_polars(canonical.orders_from_lines(lazy(rows), lazy(nothing), POLICY))
    orders = pl.concat([nothing, derived.select(nothing.columns).cast(nothing.schema)])
    found = same_on_polars_and_duckdb(lambda a, b: link_returns(a, b, POLICY), rows, orders)
    assert set(found.columns) == set(TABLES["returns"].column_names)
    return {
        row["record_id"]: (row["link"], row["returned_order_id"], row["days_to_return"], row["reason"])
        for row in found.iter_rows(named=True)
    }


SALE = {"id": "1", "order": "A", "day": 0, "who": "C1", "what": "P", "money": "5"}


def given_back(**more: Any) -> dict[str, Any]:
    return {"id": "9", "order": "R", "day": 3, "who": "C1", "what": "P", "money": "-5", **more}


CASES: dict[str, tuple[list[dict[str, Any]], tuple[Any, ...]]] = {
    "it names its sale": ([SALE, given_back(returns="A", who=None)], ("named", "A", 3, None)),
    "it names a sale of another channel": (
        [SALE, given_back(returns="A", channel="web")],
        ("named", "A", 3, None),
    ),
    "it names a sale that two channels have": (
        [{**SALE, "channel": "web", "id": "2", "day": 2}, SALE, given_back(returns="A")],
        ("named", "A", 3, None),
    ),
    "it names a sale that is not there": (
        [SALE, given_back(returns="Z")],
        ("named", "Z", None, returns.NOT_IN_THE_DATA),
    ),
    "the latest earlier sale is taken": (
        [SALE, {**SALE, "id": "2", "order": "B", "day": 2}, {**SALE, "id": "3", "order": "C", "day": 4}, given_back()],
        ("inferred", "B", 1, None),
    ),
    "a sale given back already is passed over": (
        [SALE, {**SALE, "id": "2", "order": "B", "day": 1}, given_back(id="8", day=2), given_back()],
        ("inferred", "A", 3, None),
    ),
    "a sale given back by name is passed over": (
        [SALE, {**SALE, "id": "2", "order": "B", "day": 1}, given_back(id="8", day=4, returns="B"), given_back()],
        ("inferred", "A", 3, None),
    ),
    "a return without sale takes none from the next": (
        [given_back(id="8", day=-1), SALE, given_back()],
        ("inferred", "A", 3, None),
    ),
    "the sale is of another product": ([{**SALE, "what": "Q"}, given_back()], ("none", None, None, returns.NO_SALE)),
    "the sale is another customer's": ([{**SALE, "who": "C2"}, given_back()], ("none", None, None, returns.NO_SALE)),
    "the sale is too long ago": ([SALE, given_back(day=31)], ("none", None, None, returns.TOO_LATE)),
    "the sale is just within the window": ([SALE, given_back(day=30)], ("inferred", "A", 30, None)),
    "it names nobody": ([SALE, given_back(who=None)], ("none", None, None, returns.NO_CUSTOMER)),
    "it names no product": ([SALE, given_back(what=None)], ("none", None, None, returns.NO_PRODUCT)),
    "it has no time": ([SALE, given_back(day=None)], ("none", None, None, returns.NO_TIME)),
}


@pytest.mark.parametrize(("rows", "expected"), CASES.values(), ids=CASES)
def test_return_when_it_is_linked_then_by_name_or_by_rule_or_with_a_reason(
    rows: list[dict[str, Any]], expected: tuple[Any, ...]
) -> None:
    assert linked(lines(*rows))["9"] == expected


def test_returns_when_a_channel_delivers_orders_then_orders_without_lines_count_and_no_money_counts_twice() -> None:
    delivered = frame_of(
        TABLES["orders"],
        channel="shop",
        record_id=["S1", "S2", "S3"],
        order_id=["A", "R", "X"],
        event_at=[DAY, DAY + timedelta(days=3), DAY + timedelta(days=4)],
        order_amount=[Decimal(5), Decimal(-5), Decimal(-2)],
        order_returns_id=[None, None, "A"],
    )
    found = linked(lines({**SALE, "day": 0}, given_back(who=None)), delivered)
    # The lines of R are delivered, so its order is not a return of its own; of X there is the order only.
    assert found == {"9": ("none", None, None, returns.NO_CUSTOMER), "S3": ("named", "A", 4, None)}


def by_hand(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    """Return -> id of its sale, by a stack per customer and product."""
    stacks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    found: dict[str, str | None] = {}
    for row in sorted(rows, key=lambda row: (row["day"], Decimal(row["money"]) < 0, row["id"])):
        stack = stacks.setdefault((row["who"], row["what"]), [])
        if Decimal(row["money"]) > 0:
            stack.append(row)
            continue
        sale = stack.pop() if stack else None
        found[row["id"]] = sale["order"] if sale and row["day"] - sale["day"] <= POLICY.return_window_days else None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_returns_when_many_meet_then_each_gives_back_the_latest_sale_that_is_left(seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        {
            "id": f"{i:03d}",
            "order": f"O{i}",
            "day": chance.randrange(60),
            "who": chance.choice("ab"),
            "what": chance.choice("pq"),
            "money": chance.choice(["5", "5", "-5"]),
        }
        for i in range(80)
    ]
    assert {record: order for record, (_, order, _, _) in linked(lines(*rows)).items()} == by_hand(rows)


def test_orders_when_more_is_given_back_than_they_brought_then_they_offend() -> None:
    frame = frame_of(
        TABLES["returns"],
        record_id=["1", "2", "3", "4"],
        returned_channel=["till", "till", "till", None],
        returned_order_id=["A", "A", "B", "C"],
        amount=[Decimal(3), Decimal(3), Decimal(5), Decimal(99)],
        sold_amount=[Decimal(5), Decimal(5), Decimal(5), None],
    )
    found = same_on_polars_and_duckdb(orders_giving_back_too_much, frame)
    assert found["returned_order_id"].to_list() == ["A"]
