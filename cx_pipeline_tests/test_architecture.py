from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import cx_pipeline
from cx_pipeline.core.contract import check_standard
from cx_pipeline.core.steps import STEPS
from cx_pipeline_tests.tiny_company import REPOSITORY, environment

PACKAGE = Path(cx_pipeline.__file__).parent
TOP = {"definitions.py", "automation.py", "cli.py"}
CORE_MADE_FOR_DAGSTER = {"core/assets.py", "core/instance.py", "core/tables.py", "core/workspace.py"}
OPENS_ENGINES = {"core/warehouse.py", "identity/linkage.py"}
HEAVY = {"altair", "great_expectations", "lifelines", "sklearn", "splink", "vl_convert"}
# The only libraries that make pandas necessary.
WANTS_PANDAS = {"great_expectations", "lifelines", "sklearn"}
WALL_CLOCK = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
}


@dataclass(frozen=True)
class Module:
    """A source file of the package, parsed."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def room(self) -> str:
        return self.name.partition("/")[0] if "/" in self.name else ""

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    def imports(self, *, at_load_only: bool = False) -> set[str]:
        """Full names of imported modules; a name taken from a package counts as the module it may be."""
        return {name for node in self._nodes(at_load_only) for name in _imported(node)}

    def imported_libraries(self, *, at_load_only: bool = False) -> set[str]:
        return {name.partition(".")[0] for name in self.imports(at_load_only=at_load_only)}

    def calls(self) -> Iterator[tuple[str, int]]:
        """`name` or `module.name` of everything that is called, with its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                function = node.func
                if isinstance(function, ast.Attribute):
                    yield f"{_last_name(function.value)}.{function.attr}", node.lineno
                elif isinstance(function, ast.Name):
                    yield function.id, node.lineno

    def _nodes(self, at_load_only: bool) -> Iterator[ast.AST]:
        if not at_load_only:
            yield from ast.walk(self.tree)
            return
        waiting: list[ast.AST] = list(self.tree.body)
        while waiting:
            node = waiting.pop()
            is_for_types = isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"
            if is_for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


MODULES = tuple(Module(path) for path in sorted(PACKAGE.rglob("*.py")))
ROOMS = tuple(sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name != "core"))


def offenders(modules: Iterator[tuple[Module, object]]) -> list[str]:
    return [f"{module.name}: {what}" for module, what in modules]


def test_the_reader_of_imports_when_given_examples_then_it_sees_what_the_rules_are_about(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\n"
        "def f():\n    import sklearn.tree\n    return dt.datetime.now()\n"
        "class C:\n    import lifelines\ntry:\n    from cx_pipeline.identity import model\nexcept ImportError:\n    pass\n"
    )
    module = Module(path)
    assert {"pandas", "sklearn", "lifelines", "cx_pipeline"} <= module.imported_libraries()
    assert module.imported_libraries(at_load_only=True) == {"typing", "lifelines", "cx_pipeline"}
    assert "cx_pipeline.identity.model" in module.imports()
    assert "datetime.now" in {name for name, _ in module.calls()}


def test_imports_when_modules_are_in_core_or_a_room_then_they_know_core_and_their_own_room_only() -> None:
    found = offenders(
        (module, name)
        for module in MODULES
        if module.room
        for name in sorted(module.imports())
        if name.startswith("cx_pipeline.") and name.split(".")[1] not in ("core", module.room)
    )
    assert found == [], "core imports no step, and steps meet in tables only"


def test_imports_when_modules_are_pure_then_they_know_nothing_of_dagster() -> None:
    found = offenders(
        (module, "imports dagster")
        for module in MODULES
        if "dagster" in module.imported_libraries()
        and module.name not in TOP | CORE_MADE_FOR_DAGSTER
        and module.path.name not in ("assets.py", "checks.py")
    )
    assert found == []


def test_imports_when_dagster_reads_annotations_of_a_context_then_they_are_not_text() -> None:
    contexts = {"AssetExecutionContext", "AssetCheckExecutionContext", "OpExecutionContext"}
    found = []
    for module in MODULES:
        annotated = {
            _last_name(argument.annotation)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.FunctionDef) and node.decorator_list
            for argument in node.args.args
            if argument.annotation
        }
        if annotated & contexts and "__future__.annotations" in module.imports():
            found.append(module.name)
    assert found == [], "`from __future__ import annotations` makes text of them, which Dagster refuses"


def test_engines_when_opened_then_only_by_the_warehouse_and_the_linker() -> None:
    opening = {
        "duckdb.connect",
        "SparkSession.builder",
        "builder.getOrCreate",
        "create_engine",
        "sqlalchemy.create_engine",
    }
    found = offenders(
        (module, f"line {line}: {name}")
        for module in MODULES
        if module.name not in OPENS_ENGINES
        for name, line in module.calls()
        if name in opening
    )
    assert found == []


def test_pandas_when_imported_then_late_and_only_beside_a_library_that_wants_it() -> None:
    users = [module for module in MODULES if "pandas" in module.imported_libraries()]
    found = [module.name for module in users if not module.imported_libraries() & WANTS_PANDAS]
    found += [module.name for module in users if "pandas" in module.imported_libraries(at_load_only=True)]
    found += offenders(
        (module, f"line {line}: to_pandas")
        for module in MODULES
        if not module.imported_libraries() & WANTS_PANDAS
        for name, line in module.calls()
        if name.endswith(".to_pandas")
    )
    assert found == []


def test_heavy_libraries_when_imported_then_inside_functions() -> None:
    found = offenders(
        (module, library)
        for module in MODULES
        for library in sorted(module.imported_libraries(at_load_only=True) & HEAVY)
    )
    assert found == []


def test_definitions_when_loaded_then_no_heavy_library_is(tmp_path: Path) -> None:
    (tmp_path / "channels").mkdir()
    code = f"import sys, cx_pipeline.definitions; print(*sorted({HEAVY | {'pandas'}!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_the_wall_clock_when_read_then_only_where_runs_begin() -> None:
    found = offenders(
        (module, f"line {line}: {name}")
        for module in MODULES
        if module.name not in TOP
        for name, line in module.calls()
        if name in WALL_CLOCK
    )
    assert found == [], "the as-of date comes from the data or from run.as_of"


def test_stored_objects_when_read_then_never_by_a_library_that_runs_what_it_reads() -> None:
    found = offenders(
        (module, library)
        for module in MODULES
        for library in sorted(
            module.imported_libraries() & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
        )
    )
    assert found == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_when_entered_then_its_docstring_says_what_belongs_there_and_nothing_else_stands_there(
    room: str,
) -> None:
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    assert len(tree.body) == 1, "an __init__.py of a room holds its docstring only"
    text = ast.get_docstring(tree) or ""
    for words in ("Purpose:", "Reads:", "Writes:", "Belongs here:", "Does not belong here:"):
        assert words in text, words


@pytest.mark.parametrize("step", STEPS)
def test_a_step_when_looked_at_then_it_has_the_faces_of_all_steps_and_a_contract_of_the_standard(step: str) -> None:
    for face in ("__init__.py", "assets.py", "checks.py"):
        assert (PACKAGE / step / face).is_file(), face
    check_standard(PACKAGE / step / "contract.yaml", f"{step}/contract.yaml")


def test_assets_when_written_then_most_are_at_most_thirty_lines() -> None:
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for module in MODULES
        if module.path.name == "assets.py" and module.room != "core"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef)
        and any("asset" in ast.unparse(decorator) for decorator in node.decorator_list)
    )
    assert lengths
    assert lengths[int(0.9 * (len(lengths) - 1))] <= 30
