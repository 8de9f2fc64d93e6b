from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from cx_pipeline.core.contract import load_step
from cx_pipeline.profile import checks
from cx_pipeline.profile.usage import product_usage
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of
from cx_pipeline_tests.parity import same_on_polars_and_duckdb

STAGING, IDENTITY, PROFILE = (load_step(step) for step in ("staging", "identity", "profile"))
XREF = frame_of(IDENTITY["identifier_xref"], namespace="device", value="d1", customer_id="A")
AS_OF = date(2024, 6, 30)


def measured(**columns: Any) -> pl.DataFrame:
    given = {
        "identifier_namespace": "device",
        "identifier_value": "d1",
        "usage_metric": "minutes",
        "product_id": "p",
        "event_at": datetime(2024, 5, 1, 9),
        **columns,
    }
    n = max((len(v) for v in given.values() if isinstance(v, list)), default=1)
    return frame_of(STAGING["usage"], channel="iot", record_id=[str(i) for i in range(n)], **given)


def used(usage: pl.DataFrame) -> list[dict[str, Any]]:
    found = same_on_polars_and_duckdb(lambda u, x: product_usage(u, x, AS_OF), usage, XREF)
    return found.sort("customer_id", "product_id", "used_on", "metric").to_dicts()


def test_product_usage_when_a_day_has_several_measurements_then_they_are_added_up_by_metric() -> None:
    found = used(
        measured(
            usage_value=[0.1, 0.2, 0.0, 3.0],
            usage_metric=["minutes", "minutes", "minutes", "starts"],
            event_at=[datetime(2024, 5, 1, 0), datetime(2024, 5, 1, 23), datetime(2024, 5, 2), datetime(2024, 5, 1)],
        )
    )
    assert [(row["used_on"].day, row["metric"], row["n_measurements"], row["total"], row["mean"]) for row in found] == [
        (1, "minutes", 2, 0.3, 0.15),
        (1, "starts", 1, 3.0, 3.0),
        (2, "minutes", 1, 0.0, 0.0),
    ]
    assert (found[0]["least"], found[0]["greatest"]) == (0.1, 0.2)


def test_product_usage_when_value_customer_or_time_is_missing_then_the_row_says_nothing() -> None:
    rows = measured(
        usage_value=[None, 1.0, 1.0, 1.0],
        identifier_value=["d1", "d9", "d1", "d1"],
        event_at=[datetime(2024, 5, 1), datetime(2024, 5, 1), None, datetime(2024, 7, 1)],
    )
    assert used(rows) == []


def test_product_usage_when_product_or_metric_is_not_named_then_the_day_counts_all_the_same() -> None:
    (row,) = used(measured(usage_value=1.0, product_id=None, usage_metric=None))
    assert (row["product_id"], row["metric"]) == ("(unknown)", "(unknown)")


def test_measurements_of_a_customer_are_those_of_the_timeline_when_one_is_lost_then_it_is_broken() -> None:
    happened = frame_of(
        PROFILE["timeline"],
        customer_id="A",
        kind="usage",
        record_id=["1", "2", "3"],
        at=[datetime(2024, 5, 1), datetime(2024, 5, 1), datetime(2024, 7, 1)],
        value=1.0,
    )

    def broken(n: int, day: int = 1) -> int:
        rows = frame_of(
            PROFILE["product_usage"], customer_id="A", used_on=date(2024, 5, day), n_measurements=n, as_of=AS_OF
        )
        check = checks.measurements_of_a_customer_are_those_of_the_timeline
        return n_offending(check, profile__product_usage=rows, profile__timeline=happened)

    assert [broken(2), broken(3), broken(2, day=2)] == [0, 1, 2]
