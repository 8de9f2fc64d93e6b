"""The import rules of docs/architecture.md, held by reading the source."""

import ast
from pathlib import Path

import pytest

from cx_pipeline.core.contract import check_standard
from cx_pipeline.core.steps import STEPS

PACKAGE = Path(__file__).parents[1] / "cx_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {*STEPS, "simulate"}
# Files of `core` that are made for Dagster.
DAGSTER_IN_CORE = {"assets.py", "instance.py", "tables.py", "workspace.py"}
ENGINE_FILES = {"core/warehouse.py", "identity/linkage.py"}
CLOCK_FILES = {"automation.py", "cli.py"}
CLOCK_CALLS = {"now", "today", "utcnow", "time", "time_ns", "localtime", "gmtime"}


def _name(path):
    return path.relative_to(PACKAGE).as_posix()


def _imports(path):
    """Names of all modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _room(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first if first in ROOMS else None


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_when_a_file_belongs_to_core_or_a_room_then_it_imports_no_other_room(path):
    inside = path.relative_to(PACKAGE).parts[0]
    if inside not in {*ROOMS, "core"}:
        return
    rooms = {name.split(".")[1] for name in _imports(path) if name.startswith("cx_pipeline.") and name.split(".")[1] in ROOMS}
    assert rooms <= {inside}, f"{_name(path)} imports the Python of {sorted(rooms - {inside})}: rooms meet in tables only"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_when_dagster_is_imported_then_the_file_is_one_made_for_it(path):
    allowed = path.name in {"assets.py", "checks.py", "definitions.py", "automation.py", "cli.py"} or (
        path.parent.name == "core" and path.name in DAGSTER_IN_CORE
    )
    uses = any(name == "dagster" or name.startswith("dagster.") for name in _imports(path))
    assert allowed or not uses, f"{_name(path)} imports dagster"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_calls_when_an_engine_is_opened_then_only_in_the_two_files_for_it(path):
    opened = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"connect", "getOrCreate"}
        and isinstance(node.func.value, ast.Name | ast.Attribute | ast.Call)
        and "duckdb" in ast.unparse(node.func) + " SparkSession" * (node.func.attr == "getOrCreate")
    ]
    assert not opened or _name(path) in ENGINE_FILES, f"{_name(path)} opens an engine in line {opened}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_when_pandas_is_imported_then_only_where_a_library_asks_for_it(path):
    uses = any(name.split(".")[0] == "pandas" for name in _imports(path))
    asks = {name.split(".")[0] for name in _imports(path)} & {"lifelines", "sklearn", "great_expectations"}
    assert not uses or asks, f"{_name(path)} imports pandas without a library that asks for it"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_calls_when_the_clock_is_read_then_only_in_automation_and_the_command_line(path):
    read = [
        f"{node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCK_CALLS
        and ast.unparse(node.func.value) in {"datetime", "date", "time", "datetime.datetime", "datetime.date", "dt.datetime"}
    ]
    assert not read or path.name in CLOCK_FILES, f"{_name(path)} reads the clock: {read}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_when_anything_is_stored_then_never_as_pickle(path):
    names = {name.split(".")[0] for name in _imports(path)}
    assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}, f"{_name(path)} stores pickles"


@pytest.mark.parametrize("room", STEPS)
def test_room_when_opened_then_it_says_what_belongs_there_and_has_its_faces(room):
    source = (PACKAGE / room / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    docstring = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1, f"{room}/__init__.py holds a docstring and nothing else"
    for part in ("Reads:", "Writes:", "Belongs here:", "Does not belong here:"):
        assert part in docstring, f"{room}/__init__.py does not say {part}"
    for face in ("contract.yaml", "assets.py", "checks.py"):
        assert (PACKAGE / room / face).is_file(), f"{room} has no {face}"


@pytest.mark.parametrize("room", STEPS)
def test_contract_when_read_by_the_standard_then_it_is_valid(room):
    check_standard(PACKAGE / room / "contract.yaml", f"{room}/contract.yaml")
