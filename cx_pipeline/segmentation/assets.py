"""Assets of the segmentation room, in flow order."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.segmentation import plots, rfm
from cx_pipeline.segmentation.policy import RfmPolicy

TABLES = load_step("segmentation")


@table_asset(
    TABLES["customers"],
    reads=("profile.customers", "profile.features"),
    needs=("staging.clock",),
    plot=plots.segment_map,
)
def customers(run: Run, everyone: nw.LazyFrame[Any], features: nw.LazyFrame[Any]) -> Frame:
    """One row per customer: recency, frequency and money as fifths among all buyers, and the segment they make."""
    return rfm.customers(everyone, features, run.policy(RfmPolicy), run.as_of)


ASSETS = (customers,)
