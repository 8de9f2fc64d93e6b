"""Assets of the channels room, in flow order."""

from __future__ import annotations

import polars as pl

from cx_pipeline.channels import catalogue as logic
from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.workspace import Run

TABLES = load_step("channels")


@table_asset(TABLES["catalogue"])
def catalogue(run: Run) -> pl.DataFrame:
    """One row per channel that has a contract: its pillar, mode, function, maturity and trust.

    Read from `channels/*.yaml` of the data directory; a channel is added by adding a file.
    """
    return logic.catalogue(run.channels, TABLES["catalogue"])


ASSETS = (catalogue,)
