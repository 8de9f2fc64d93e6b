from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import narwhals as nw
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline.core.assets import CONTRACT_CHECK, markdown_table, preview, table_asset, table_check, tables_asset
from cx_pipeline.core.errors import EngineError, Problem
from cx_pipeline.core.frames import lazy, to_polars
from cx_pipeline.core.progress import Progress, listening
from cx_pipeline.core.tables import Column, Rule, Table
from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.core.workspace import Run, Workspace

PEOPLE = Table(
    "room",
    "people",
    "One row per person.",
    (
        Column("id", "string", "VARCHAR", "The id", primary_key=True, required=True),
        Column("name", "string", "VARCHAR", is_personal=True),
    ),
    (Rule("id_is_unique", "unique", ("id",)),),
)
NAMES = Table("room", "names", "One row per name.", (Column("name", "string", "VARCHAR", is_personal=True),))
COUNTS = Table("room", "counts", "One row.", (Column("n", "integer", "BIGINT"),))
ROWS = pl.DataFrame({"id": ["a", "b"], "name": ["Jane Roe", "John|Doe"]})


class Materialised:
    """A run of some assets on a data directory of its own, and what it left behind."""

    def __init__(self, root: Path, definitions: Sequence[Any], **config: Any) -> None:
        self.root = root
        self.heard: list[Progress] = []
        with dg.DagsterInstance.ephemeral() as instance, listening(self.heard.append):
            self.result = dg.materialize(
                definitions,
                instance=instance,
                resources={"workspace": Workspace(data_dir=str(root), **config)},
                raise_on_error=False,
            )
            logged = instance.all_logs(self.result.run_id)
        self.everything_logged = "\n".join(str(entry) for entry in logged)

    def checks(self) -> dict[str, bool]:
        found = self.result.get_asset_check_evaluations()
        return {f"{check.asset_key.to_user_string()}: {check.check_name}": check.passed for check in found}

    def materialised(self) -> list[str]:
        return [
            event.asset_key.to_user_string()
            for event in self.result.get_asset_materialization_events()
            if event.asset_key
        ]

    def metadata(self, name: str) -> dict[str, Any]:
        (event,) = self.result.asset_materializations_for_node(name)
        return {key: value.value for key, value in event.metadata.items()}

    def failure(self, step: str) -> str:
        data = self.result.failure_data_for_node(step)
        assert data is not None
        assert data.user_failure_data is not None
        return data.user_failure_data.description or ""

    def table(self, name: str) -> pl.DataFrame:
        with Warehouse(self.root / "warehouse" / "cx.duckdb") as warehouse:
            return to_polars(warehouse.read(name))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "channels").mkdir()
    return tmp_path


@table_asset(PEOPLE)
def people(run: Run) -> pl.DataFrame:
    """One row per person: who there is."""
    return ROWS


@table_asset(COUNTS, reads=("room.people",))
def counts(run: Run, people: nw.LazyFrame) -> nw.LazyFrame:
    """One row: how many there are."""
    return people.select(nw.len().cast(nw.Int64).alias("n"))


@table_check("room.people")
def everybody_has_a_short_name(people: nw.LazyFrame) -> nw.LazyFrame:
    """No name is longer than three letters."""
    return people.filter(nw.col("name").str.len_chars() > 3).select("id")


def test_an_asset_when_materialised_then_its_table_check_and_metadata_are_there(root: Path) -> None:
    done = Materialised(root, [people, counts, everybody_has_a_short_name])
    # The business check is blocking, and broken: what is downstream of its asset does not run.
    assert not done.result.success
    assert_frame_equal(done.table("room.people"), ROWS)
    assert done.checks() == {"room/people: contract_holds": True, "room/people: everybody_has_a_short_name": False}
    assert done.materialised() == ["room/people"]
    metadata = done.metadata("room__people")
    assert metadata["dagster/row_count"] == 2
    assert "| a | ••• |" in metadata["preview"]
    assert [(heard.event, heard.name, heard.n_rows) for heard in done.heard] == [
        ("started", "room.people", None),
        ("written", "room.people", 2),
        ("broken", "room.people: everybody_has_a_short_name", 2),
    ]
    assert "Jane" not in done.everything_logged


def test_an_asset_when_its_contract_is_broken_then_the_check_fails_nothing_is_written_and_downstream_is_skipped(
    root: Path,
) -> None:
    @table_asset(PEOPLE)
    def people(run: Run) -> pl.DataFrame:
        """One row per person."""
        return pl.DataFrame({"id": ["a", "a"], "name": ["Jane Roe", None]})

    with Warehouse(root / "warehouse" / "cx.duckdb") as warehouse:
        warehouse.write(PEOPLE, ROWS)
    done = Materialised(root, [people, counts])
    assert not done.result.success
    assert done.checks() == {f"room/people: {CONTRACT_CHECK}": False}
    assert done.materialised() == []
    started = [event.step_key for event in done.result.all_events if event.event_type_value == "STEP_START"]
    assert started == ["room__people"]
    assert "room.people: the rule id_is_unique does not hold (2 of them)" in done.failure("room__people")
    assert_frame_equal(done.table("room.people"), ROWS)
    assert "Jane" not in done.everything_logged


def fails_in_the_engine(run: Run) -> nw.LazyFrame:
    rows = run.warehouse.frame(pl.DataFrame({"id": ["Jane Roe"], "name": ["491701234567"]}))
    return rows.with_columns(nw.col("id").cast(nw.Int64).cast(nw.String))


def fails_in_polars(run: Run) -> pl.DataFrame:
    return ROWS.with_columns(pl.col("name").cast(pl.Int64).cast(pl.String))


def fails_as_a_program(run: Run) -> pl.DataFrame:
    people = dict(ROWS.iter_rows())
    return pl.DataFrame({"id": [people[people["a"]]]})


def fails_with_our_error(run: Run) -> pl.DataFrame:
    raise EngineError(Problem("the wheel has come off", "room.people", remedy="put it on"))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (fails_in_the_engine, "room.people: the engine stopped with ConversionException"),
        (fails_in_polars, "room.people: the engine stopped with InvalidOperationError"),
        (fails_as_a_program, "room.people: a fault of the program: KeyError"),
        (fails_with_our_error, "room.people: the wheel has come off -> put it on"),
    ],
)
def test_an_asset_when_it_fails_then_the_message_says_where_and_no_value_of_a_row_is_told(
    root: Path, function: Any, said: str
) -> None:
    done = Materialised(root, [table_asset(PEOPLE)(function)])
    assert said in done.failure("room__people")
    assert "Jane" not in done.everything_logged
    assert "491701234567" not in done.everything_logged
    assert "Jane" not in "".join(heard.message for heard in done.heard)
    assert done.heard[-1].event == "failed"
    if function is fails_as_a_program:
        data = done.result.failure_data_for_node("room__people")
        assert data is not None
        assert data.user_failure_data is not None
        assert 'people[people["a"]]' in str(data.user_failure_data.metadata["stack"].value)


def test_a_check_when_many_rows_contradict_it_then_ten_keys_are_shown_and_all_are_counted(root: Path) -> None:
    many = Table("room", "many", "One row per number.", (Column("n", "integer", "BIGINT"),))

    @table_asset(many)
    def numbers(run: Run) -> pl.DataFrame:
        """One row per number."""
        return pl.DataFrame({"n": list(range(1000, 1025))})

    @table_check("room.many", blocking=False)
    def there_are_no_numbers(run: Run, numbers: nw.LazyFrame) -> nw.LazyFrame:
        """There is no number."""
        return numbers.sort("n").head(1000 if run.full_refresh else 0)

    done = Materialised(root, [numbers, there_are_no_numbers], full_refresh=True)
    assert done.result.success
    (check,) = (c for c in done.result.get_asset_check_evaluations() if c.check_name == "there_are_no_numbers")
    assert not check.passed
    assert check.metadata["n_offending"].value == 25
    assert str(check.metadata["first_keys"].value).splitlines() == [
        "| n |",
        "| --- |",
        *(f"| {n} |" for n in range(1000, 1010)),
    ]


def test_assets_of_one_computation_when_one_contract_is_broken_then_none_is_written(root: Path) -> None:
    descriptions = {"people": PEOPLE.description, "names": NAMES.description}

    def of(ids: list[str]) -> Any:
        @tables_asset("room__both", (NAMES, PEOPLE), descriptions=descriptions)
        def both(run: Run) -> dict[str, pl.DataFrame]:
            """People and their names."""
            return {"names": ROWS.select("name"), "people": ROWS.with_columns(pl.Series("id", ids))}

        return both

    broken = Materialised(root, [of(["a", "a"])])
    assert broken.checks() == {"room/people: contract_holds": False}
    assert broken.materialised() == []
    done = Materialised(root, [of(["a", "b"])])
    assert done.checks() == {"room/names: contract_holds": True, "room/people: contract_holds": True}
    assert done.table("room.names").height == 2


def test_the_workspace_when_the_date_is_no_date_then_the_run_fails_and_says_so(root: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(dg.DagsterError) as raised:
        dg.materialize(
            [people], instance=instance, resources={"workspace": Workspace(data_dir=str(root), as_of="soon")}
        )
    assert "as_of: `soon` is no date -> write it as 2026-01-31" in str(raised.value.__cause__)


def test_a_preview_when_made_then_personal_values_are_masked_and_cells_are_short() -> None:
    text = preview(PEOPLE, lazy(pl.DataFrame({"id": ["x|y\nz" * 40], "name": ["Jane"]})))
    assert "Jane" not in text
    assert "x\\|y z" in text
    assert max(len(cell) for cell in text.split(" | ")) <= 90
    assert preview(PEOPLE, lazy(PEOPLE.empty())).startswith("No rows")


def test_a_markdown_table_when_made_then_numbers_are_short_and_nulls_empty() -> None:
    rows = pl.DataFrame({"a": [1.23456789, None], "b": [7, 8]})
    assert markdown_table(rows) == "| a | b |\n| --- | --- |\n| 1.235 | 7 |\n|  | 8 |"
