from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import polars as pl

from cx_pipeline.channels import checks
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import lazy
from cx_pipeline.core.settings import Settings
from cx_pipeline_tests.business_checks import n_offending
from cx_pipeline_tests.frames import frame_of

TABLES = load_step("channels")
AS_OF = date(2024, 6, 20)


def n_found(check: dg.AssetChecksDefinition, frame: pl.DataFrame, **settings: object) -> int:
    """How many rows contradict a check that asks the run for its policy."""
    read = SimpleNamespace(read=lambda _: lazy(frame))
    run = SimpleNamespace(warehouse=read, policy=Settings({"channels": settings}).policy)
    body = cast(Any, check.node_def).compute_fn.decorated_fn
    # The statement itself says by its first parameter that it wants the run.
    result: dg.AssetCheckResult = body(None, SimpleNamespace(run=lambda _: run))
    return int(cast(int, result.metadata["n_offending"].value))


def test_gaps_when_a_channel_of_events_rests_lately_then_it_is_pointed_out() -> None:
    rows = frame_of(
        TABLES["coverage"],
        channel=["calls", "calls", "calls", "crm", "crm"],
        month=[date(2022, 1, 1), date(2024, 5, 1), date(2024, 6, 1), date(2024, 5, 1), date(2024, 6, 1)],
        status=["gap", "gap", "harvested", "harvested", "silent"],
        n_events=[0, 0, 3, 0, 0],
        as_of=AS_OF,
    )
    check = checks.channels_have_no_months_without_data
    assert n_found(check, rows) == 1
    assert n_found(check, rows, gaps_within_months=48) == 2


def test_links_when_too_few_records_find_a_customer_then_the_channel_is_pointed_out() -> None:
    rows = frame_of(
        TABLES["coverage"],
        channel=["a", "a", "b", "products"],
        n_records=[9, 1, 10, 10],
        n_linked=[0, 1, 9, None],
    )
    assert n_found(checks.most_records_find_their_customer, rows) == 1
    assert n_found(checks.most_records_find_their_customer, rows, min_linked_rate=0.95) == 2


def test_sources_when_one_of_few_customers_is_named_then_it_is_pointed_out_without_its_name() -> None:
    rows = frame_of(
        TABLES["discovery"],
        source=["(rare)", "jane", "streamtok"],
        month=date(2024, 6, 1),
        n_customers_ever=[1, 1, 5],
    )
    assert n_found(checks.sources_of_few_customers_are_not_named, rows) == 1
    assert n_found(checks.sources_of_few_customers_are_not_named, rows, min_customers=6) == 2


def test_third_party_data_when_few_match_or_many_are_stale_then_the_provider_is_pointed_out() -> None:
    rows = frame_of(
        TABLES["overlay_match_rate"],
        provider=["good", "unmatched", "old", "empty"],
        match_rate=[0.9, 0.1, 0.9, None],
        stale_rate=[0.1, 0.1, 0.9, None],
    )
    assert n_found(checks.third_party_data_are_worth_their_money, rows) == 2


def test_columns_when_files_have_drifted_then_each_is_pointed_out() -> None:
    rows = frame_of(TABLES["schema_drift"], channel="crm", column=["a", "b"], change="new")
    assert n_offending(checks.files_have_the_columns_of_their_contracts, channels__schema_drift=rows) == 2
    assert n_offending(checks.files_have_the_columns_of_their_contracts, channels__schema_drift=rows.clear()) == 0
