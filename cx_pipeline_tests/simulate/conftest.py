from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cx_pipeline.simulate.identifiers import draw_identifiers
from cx_pipeline.simulate.population import draw_population
from cx_pipeline.simulate.records import write_records

N_PEOPLE, N_DAYS, SEED = 4_000, 365, 11


@dataclass(frozen=True)
class People:
    """A small population with its identifiers, its extracts and their truth."""

    population: Any
    identifiers: Any
    out: Path
    truth: dict[str, Any]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    population = draw_population(N_PEOPLE, N_DAYS, SEED)
    identifiers = draw_identifiers(population, seed=SEED)
    out = tmp_path_factory.mktemp("company")
    return People(population, identifiers, out, write_records(out, population, identifiers, N_DAYS, SEED))
