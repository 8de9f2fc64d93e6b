from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cx_pipeline.core.contract import load_channels, load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.settings import DataDirectory, Environment, Settings
from cx_pipeline.core.suppressions import Suppressions, key_id, suppression_hash
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.erasure_places import Erasure, Site, clean_decisions, clean_published, clean_tables, site_of
from cx_pipeline_tests.tiny_company import contract, write_contract

KEY = "key of a test"
IDENTITY, STAGING = load_step("identity"), load_step("staging")
GONE, STAYS = "C1", "C2"


def suppressed() -> Suppressions:
    rows = [("record", "crm", suppression_hash("record", "crm", "17", KEY), key_id(KEY))]
    return Suppressions.of(pl.DataFrame(rows, schema=["kind", "scope", "hash", "key_id"], orient="row"), KEY)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    write_contract(
        tmp_path, contract("crm", "party", {"no": {"role": "record.id"}, "name": {"role": "person.full_name"}})
    )
    channels, _ = load_channels(tmp_path / "channels")
    environment = Environment(DataDirectory(tmp_path), hash_key=KEY)
    with Warehouse(None) as warehouse:
        erased = [(GONE, datetime(2024, 3, 1), "started", None, 1, 0, 0)]
        warehouse.write(
            IDENTITY["erasures"], pl.DataFrame(erased, schema=IDENTITY["erasures"].polars_schema(), orient="row")
        )
        warehouse.write(STAGING["clock"], pl.DataFrame({"as_of": [date(2024, 2, 29)], "basis": ["events"]}))
        yield site_of(environment, Settings(), channels, warehouse)


def test_clean_tables_when_the_ledger_tells_of_the_customer_then_only_that_it_was_retired(site: Site) -> None:
    table = IDENTITY["ledger"]
    told = [
        (1, "created", GONE, None, '{"rule": "loyalty"}'),
        (2, "created", STAYS, None, '{"rule": "loyalty"}'),
        (3, "split", STAYS, GONE, '{"reason": "cannot_link"}'),
    ]
    rows = [(n, datetime(2024, 1, 1), date(2024, 1, 1), event, who, other, why) for n, event, who, other, why in told]
    site.warehouse.write(table, pl.DataFrame(rows, schema=table.polars_schema(), orient="row"))
    for _ in range(2):
        clean_tables(site, suppressed(), Erasure())
        ledger = to_polars(site.warehouse.read(table.full_name)).sort("entry")
        assert ledger.select("entry", "event", "customer_id", "evidence").rows() == [
            (1, "created", GONE, '{"reason": "erased"}'),
            (2, "created", STAYS, '{"rule": "loyalty"}'),
            (3, "split", STAYS, '{"reason": "erased"}'),
            (4, "retired", GONE, '{"reason": "erased"}'),
        ]
        assert ledger["as_of"][3] == date(2024, 2, 29)
    site.warehouse.audit(table)


def test_clean_tables_when_tables_name_the_record_or_the_customer_then_only_these_rows_go(site: Site) -> None:
    warehouse = site.warehouse
    xref = IDENTITY["customer_xref"]
    rows = [
        ("crm", "17", GONE, "single", None),
        ("crm", "18", STAYS, "single", None),
        ("shop", "17", STAYS, "single", None),
    ]
    warehouse.write(xref, pl.DataFrame(rows, schema=xref.polars_schema(), orient="row"))
    done = Erasure()
    clean_tables(site, suppressed(), done)
    assert to_polars(warehouse.read(xref.full_name))["customer_id"].to_list() == [STAYS, STAYS]
    assert done.counts == {"rows out of the warehouse": 1}
    assert to_polars(warehouse.read("identity.erasures")).height == 1


def test_clean_published_when_an_older_run_knew_the_person_by_another_id_then_its_rows_go_too(site: Site) -> None:
    run = site.root / "published" / "20240101T020000-0a0a0a0a"
    tables: dict[str, dict[str, list[Any]]] = {
        "staging/channel_crm": {"no": ["17", "18"], "name": ["Ann", "Ben"], "source_file": ["a", "a"], "source_line": [2, 3]},
        "identity/customer_xref": {"channel": ["crm", "crm"], "record_id": ["17", "18"], "customer_id": ["C0", STAYS]},
        "profile/customers": {"customer_id": ["C0", STAYS], "full_name": ["Ann", "Ben"]},
        "metrics/attrition": {"period": ["month"], "n_opening": [2]},
        "reporting/published_tables": {"step": ["profile", "metrics"], "table_name": ["customers", "attrition"], "n_rows": [2, 1]},
    }  # fmt: skip
    for name, data in tables.items():
        path = run / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(data).write_parquet(path)
    untouched = (run / "metrics" / "attrition.parquet").read_bytes()
    for n_rewritten in (3, 0):
        done = Erasure()
        clean_published(site, run, suppressed(), done)
        assert done.counts == {"published tables rewritten": n_rewritten}
        assert pl.read_parquet(run / "profile" / "customers.parquet")["full_name"].to_list() == ["Ben"]
        assert pl.read_parquet(run / "staging" / "channel_crm.parquet")["no"].to_list() == ["18"]
        assert pl.read_parquet(run / "reporting" / "published_tables.parquet")["n_rows"].to_list() == [1, 1]
    assert (run / "metrics" / "attrition.parquet").read_bytes() == untouched
    assert not list(run.rglob(".*"))


@pytest.mark.parametrize("name", ["decisions", "labels", "outbound"])
def test_clean_decisions_when_a_pair_names_the_record_then_its_lines_go(site: Site, name: str) -> None:
    folder = site.root / name
    folder.mkdir()
    header = "left_channel,left_record_id,right_channel,right_record_id,decision,decided_by\r\n"
    kept = 'crm,18,crm,19,must_link,"some\r\nbody"\r\nshop,17,crm,18,must_link,me\r\n'
    gone = 'crm,18,crm,17,cannot_link,"two\r\nlines"\r\ncrm,17,crm,19,must_link,me\r\n'
    (folder / "a.csv").write_bytes((header + gone + kept).encode("utf-8-sig"))
    (folder / "other.csv").write_bytes(b"channel,record_id\ncrm,17\n")
    done = Erasure()
    clean_decisions(site, suppressed(), done)
    assert (folder / "a.csv").read_bytes() == (header + kept).encode("utf-8-sig")
    assert (folder / "other.csv").read_bytes() == b"channel,record_id\ncrm,17\n"
    assert done.counts == {"pairs out of labels, decisions and the review queue": 2}
