"""Rows about the models: refusals beside versions, and calibration curves.

Belongs here: tables that tell how the models are. Does not belong here: what all model rooms share (`core/models.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from cx_pipeline.core.models import ModelStore
from cx_pipeline.core.tables import Table
from cx_pipeline.propensity.training import Refusal

# Stands for the version of a model that could not be trained.
NONE = "none"


def with_refusals(versions: pl.DataFrame, refused: Sequence[Refusal], as_of: date) -> pl.DataFrame:
    """The versions and a row, version `none`, for each model that could not be trained."""
    rows = [
        {
            "model": refusal.model,
            "version": NONE,
            "is_champion": False,
            "is_better": False,
            "verdict": refusal.reason,
            "as_of": as_of,
        }
        for refusal in refused
    ]
    missing = pl.DataFrame(rows, schema={name: versions.schema[name] for name in rows[0]}) if rows else None
    return versions if missing is None else pl.concat([versions, missing], how="diagonal")


def calibration_rows(store: ModelStore, models: Sequence[str], as_of: date, table: Table) -> pl.DataFrame:
    """One row per stored version and tenth of its test rows; columns of `propensity.calibration`."""
    rows = [
        {"model": model, "version": version.version, **tenth, "as_of": as_of}
        for model in models
        for version in store.versions(model)
        for tenth in version.parameters["calibration_curve"]
    ]
    return pl.DataFrame(rows, schema=table.polars_schema()) if rows else table.empty()
