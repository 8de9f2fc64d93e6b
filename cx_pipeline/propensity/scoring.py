"""Scoring: rows of `propensity.scores` from features and the champion.

Belongs here: probability, decile, drivers, and the reason where there is none. Does not belong here: training, features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from cx_pipeline.core.models import ModelVersion
from cx_pipeline.propensity.calibration import calibrated
from cx_pipeline.propensity.drivers import deciles, drivers
from cx_pipeline.propensity.estimators import scores_of


@dataclass(frozen=True)
class Champion:
    """What scoring needs of a model.

    Attributes:
        version: name of the version.
        parameters: as stored.
        estimator: the scikit-learn object.
    """

    version: str
    parameters: Mapping[str, Any]
    estimator: Any


def usable(version: ModelVersion | None, refusal: str | None) -> tuple[Champion | None, str | None]:
    """The champion with its estimator, or why there is none to score with.

    Args:
        version: the champion, if any.
        refusal: why training was refused, where it was.
    """
    if version is None:
        return None, f"no model: {refusal or 'none has been trained yet'}"
    if not version.is_better:
        return None, f"the model is not used: {version.verdict}"
    return Champion(version.version, version.parameters, version.load_estimator()), None


def scored(model: str, rows: pl.DataFrame, champion: Champion, as_of: date) -> pl.DataFrame:
    """One row per customer with score, probability, decile and drivers.

    Args:
        model: its name.
        rows: customer_id and the model's features.
        champion: the model.
        as_of: the date the rows stand for.
    """
    rows = rows.sort("customer_id")
    score = scores_of(champion.estimator, champion.parameters, rows)
    probability = calibrated(champion.parameters["calibrator"], score)
    said = drivers(champion.estimator, champion.parameters, rows)
    return rows.select(
        "customer_id",
        pl.lit(model).alias("model"),
        pl.lit(champion.version).alias("version"),
        pl.Series("score", score, dtype=pl.Float64),
        pl.Series("probability", probability, dtype=pl.Float64).round(9),
        pl.Series("decile", deciles(score, rows["customer_id"]), dtype=pl.Int64),
        *said.get_columns(),
        pl.lit(None, dtype=pl.String).alias("reason"),
        pl.lit(as_of).alias("as_of"),
    )


def unscored(model: str, customers: pl.Series, version: str | None, reason: str, as_of: date) -> pl.DataFrame:
    """One row per customer without a probability, with the reason."""
    nothing = {name: pl.lit(None, dtype=pl.String) for name in ("driver_1", "driver_2", "driver_3")}
    return pl.DataFrame({"customer_id": customers}, schema={"customer_id": pl.String}).select(
        "customer_id",
        pl.lit(model).alias("model"),
        pl.lit(version, dtype=pl.String).alias("version"),
        pl.lit(None, dtype=pl.Float64).alias("score"),
        pl.lit(None, dtype=pl.Float64).alias("probability"),
        pl.lit(None, dtype=pl.Int64).alias("decile"),
        *(value.alias(name) for name, value in nothing.items()),
        pl.lit(reason).alias("reason"),
        pl.lit(as_of).alias("as_of"),
    )
