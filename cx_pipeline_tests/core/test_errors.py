from __future__ import annotations

import pytest

from cx_pipeline.core.errors import ConfigurationError, ContractError, CxPipelineError, Problem, Problems


def test_a_problem_when_printed_then_it_says_where_what_how_many_an_example_and_what_to_do() -> None:
    problem = Problem("rows lack a key", "shop/a.csv", 1200, "line 7", "ask the source")
    assert str(problem) == "shop/a.csv: rows lack a key (1,200 of them) e.g. line 7. -> ask the source"
    assert str(Problem("it is so")) == "it is so"
    assert str(Problem("it is so", count=1)) == "it is so (1 of them)"


def test_problems_when_several_are_found_then_one_error_names_all() -> None:
    problems = Problems()
    problems.raise_if_any(ContractError)
    problems.add("first", "a")
    problems.add("second", "b")
    with pytest.raises(ContractError) as raised:
        problems.raise_if_any(ContractError, "Headline:")
    assert str(raised.value) == "Headline:\na: first\nb: second"
    assert len(raised.value.problems) == 2


def test_errors_when_they_are_about_configuration_then_the_exit_code_is_two_else_one() -> None:
    assert CxPipelineError("x").exit_code == 1
    assert ContractError("x").exit_code == ConfigurationError("x").exit_code == 2
    assert issubclass(ContractError, CxPipelineError)
