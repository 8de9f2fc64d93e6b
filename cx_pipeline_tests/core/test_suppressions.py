from __future__ import annotations

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core.errors import ConfigurationError
from cx_pipeline.core.frames import keyed_hash, lazy, to_polars
from cx_pipeline.core.suppressions import Suppressions, Traces, key_id, suppression_hash
from cx_pipeline.core.warehouse import Warehouse

KEY = "key of a test"


def suppressed(*what: tuple[str, str, str], key: str = KEY) -> pl.DataFrame:
    rows = [(kind, scope, suppression_hash(kind, scope, text, key), key_id(key)) for kind, scope, text in what]  # type: ignore[arg-type]
    return pl.DataFrame(rows, schema=["kind", "scope", "hash", "key_id"], orient="row")


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_found_when_values_are_plain_or_hashed_then_the_same_ones_on_every_engine(engine: str) -> None:
    found = Suppressions.of(suppressed(("identifier", "email", "jö@x.example"), ("record", "crm", "17")), KEY)
    values = pl.DataFrame({"value": ["jö@x.example", "other@x.example", None, "17", "jö@x.example"]})
    with Warehouse(None) as warehouse:
        frame = lazy(values) if engine == "polars" else warehouse.frame(values)
        hashed = keyed_hash(frame, {"value": "value"}, KEY)
        assert found.found(frame, "identifier", "email") == ["jö@x.example"]
        assert len(found.found(hashed, "identifier", "email", is_hashed=True)) == 1
        assert found.found(hashed, "identifier", "email") == []
        assert found.found(frame, "identifier", "phone") == []
        assert found.found(frame, "record", "crm") == ["17"]
        assert found.found(frame, "record", "shop") == []


def test_suppressions_when_made_with_another_key_then_refused() -> None:
    with pytest.raises(ConfigurationError, match="another key"):
        Suppressions.of(suppressed(("record", "crm", "17"), key="another"), KEY)
    assert not Suppressions.of(suppressed(), KEY)


def test_suppressions_when_shown_then_without_the_key() -> None:
    assert KEY not in repr(Suppressions.of(suppressed(("record", "crm", "17")), KEY))


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_rows_about_them_when_columns_have_prefixes_then_understood_by_name(engine: str) -> None:
    mail = to_polars(keyed_hash(lazy(pl.DataFrame({"v": ["a@x.example"]})), {"v": "v"}, KEY))["v"][0]
    traces = Traces(
        Suppressions.of(suppressed(("identifier", "email", "a@x.example"), ("record", "crm", "17")), KEY),
        {"C1"},
        {"shop": ["L9"]},
    )
    tables = {
        "by customer": (pl.DataFrame({"n": [1, 2, 3], "from_customer_id": ["C2", None, "C1"]}), [3]),
        "by record": (
            pl.DataFrame(
                {
                    "n": [1, 2, 3, 4],
                    "left_channel": ["crm", "shop", "crm", None],
                    "left_record_id": ["17", "17", "18", "17"],
                    "right_channel": ["crm", "crm", "shop", "crm"],
                    "right_record_id": ["1", "1", "L9", "17"],
                }
            ),
            [1, 3, 4],
        ),
        "by identifier": (
            pl.DataFrame(
                {
                    "n": [1, 2, 3, 4],
                    "identifier_namespace": ["email", "phone", "email", None],
                    "identifier_value": [mail, mail, "a@x.example", mail],
                }
            ),
            [1, 3],
        ),
        "by either": (
            pl.DataFrame(
                {
                    "n": [1, 2, 3, 4],
                    "left_is_record": [True, False, True, False],
                    "left_source": ["crm", "email", "email", "crm"],
                    "left_value": ["17", mail, mail, "17"],
                }
            ),
            [1, 2],
        ),
        "nobody": (pl.DataFrame({"n": [1], "channel": ["crm"], "value": ["a@x.example"]}), []),
    }
    with Warehouse(None) as warehouse:
        for name, (table, expected) in tables.items():
            frame = lazy(table) if engine == "polars" else warehouse.frame(table)
            condition = traces.rows_about_them(frame)
            found = [] if condition is None else to_polars(frame.filter(condition).select("n"))["n"].to_list()
            assert sorted(found) == expected, name
            kept = frame if condition is None else frame.filter(~condition)
            assert len(to_polars(kept.select(nw.col("n")))) == table.height - len(expected), name
