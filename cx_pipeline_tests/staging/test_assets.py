from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cx_pipeline.core.contract import BrokenChannel, load_channels, load_step
from cx_pipeline.core.errors import ContractError
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.core.workspace import Workspace
from cx_pipeline.staging.assets import KIND_TABLES, build, channel_table
from cx_pipeline_tests.tiny_company import contract, write_contract

REGISTER = contract(
    "register",
    "party",
    {"no": {"role": "record.id", "required": True}, "mail": {"role": "contact.email", "classification": "personal"}},
)
SHOP = contract(
    "shop",
    "order_line",
    {
        "line": {"role": "record.id"},
        "basket": {"role": "order.id"},
        "at": {"role": "event.at", "logicalType": "timestamp"},
        "amount": {"role": "order.amount", "logicalType": "number", "required": True},
        "mail": {"role": "contact.email", "classification": "personal"},
    },
    {"tolerated_reject_rate": 0.3},
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for document in (REGISTER, SHOP):
        write_contract(tmp_path, document)
        (tmp_path / "landing" / document["name"]).mkdir(parents=True)
    (tmp_path / "landing" / "register" / "a.csv").write_text("no,mail\n1,Jane@x.example\n2,\n")
    (tmp_path / "landing" / "shop" / "a.csv").write_text(
        "line,basket,at,amount,mail\n1,A,2024-01-01 10:00:00,1.10,jane@x.example\n2,A,2024-01-01 10:00:00,2.20,\n"
        "3,B,2024-02-01 10:00:00,5,john@x.example\n4,B,2024-02-01 10:00:00,,\n"
    )
    return tmp_path


def materialise(root: Path) -> tuple[dg.ExecuteInProcessResult, dict[str, bool]]:
    channels, broken = load_channels(root / "channels")
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            build(channels, broken),
            instance=instance,
            resources={"workspace": Workspace(data_dir=str(root))},
            raise_on_error=False,
        )
    checks = {
        f"{check.asset_key.path[-1]}: {check.check_name}": check.passed
        for check in result.get_asset_check_evaluations()
    }
    return result, checks


def rows(root: Path, name: str, *columns: str) -> list[tuple[Any, ...]]:
    with Warehouse(root / "warehouse" / "cx.duckdb") as warehouse:
        return to_polars(warehouse.read(f"staging.{name}")).select(columns).rows()


def test_staging_when_all_is_well_then_canonical_tables_orders_and_clock_follow_from_the_extracts(root: Path) -> None:
    result, checks = materialise(root)
    assert result.success
    assert all(checks.values())
    assert rows(root, "parties", "record_id", "email") == [("1", "Jane@x.example"), ("2", None)]
    assert [(order, str(money)) for order, money in rows(root, "orders", "order_id", "order_amount")] == [
        ("A", "3.3000"),
        ("B", "5.0000"),
    ]
    assert rows(root, "clock", "as_of", "basis") == [(datetime(2024, 2, 1).date(), "events")]
    # The register and the shop spell one address differently: it is one value, kept as a hash.
    values = rows(root, "identifiers", "channel", "value")
    shop, register = ({value for channel, value in values if channel == name} for name in ("shop", "register"))
    assert len(shop) == 2
    assert register < shop
    assert not any("@" in value for value in shop)
    for table in KIND_TABLES.values():
        with Warehouse(root / "warehouse" / "cx.duckdb") as warehouse:
            assert warehouse.columns(table.full_name) == table.engine_schema


def test_staging_when_a_file_is_refused_or_too_much_is_rejected_then_checks_say_so_and_the_manifest_is_kept(
    root: Path,
) -> None:
    (root / "landing" / "register" / "b.parquet").write_bytes(b"PAR1 nothing")
    (root / "landing" / "shop" / "b.csv").write_text("line,basket,at,amount,mail\n5,C,2024-01-01 10:00:00,,\n")
    result, checks = materialise(root)
    assert not result.success
    assert {name for name, passed in checks.items() if not passed} == {
        "channel_register: every_file_can_be_read",
        "channel_shop: rejected_rows_are_tolerable",
    }
    made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert {"channel_register", "channel_shop", "channel_shop_rejected"} <= made
    assert "parties" not in made
    assert sorted(rows(root, "load_manifest", "file", "status", "rows_rejected")) == [
        ("a.csv", "loaded", 0),
        ("a.csv", "loaded", 1),
        ("b.csv", "loaded", 1),
        ("b.parquet", "refused", 0),
    ]


def test_the_tables_of_canonical_records_when_compared_with_the_kinds_then_each_has_one() -> None:
    from cx_pipeline.core import vocabulary

    assert KIND_TABLES.keys() == vocabulary.KINDS.keys()
    for table in load_step("staging").values():
        for column in table.columns:
            assert all(vocabulary.is_role(role) for role in column.roles), f"{table.full_name}.{column.name}"


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("crm", "staging.channel_crm"),
        ("Größe.v2", "staging.channel_Gr__e_v2_"),
        ("crm.yml", "staging.channel_crm_yml_"),
    ],
)
def test_the_table_of_a_broken_channel_when_its_file_has_any_name_then_it_can_be_a_key(file: str, table: str) -> None:
    found = channel_table(BrokenChannel(file, ContractError("broken")))
    assert found.startswith(table)
    assert found == table or len(found) > len(table)
    assert found.isascii()
    dg.AssetSpec(dg.AssetKey(found.split(".")))
