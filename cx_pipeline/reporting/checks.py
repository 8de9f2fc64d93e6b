"""Business checks of the reporting room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_check


@table_check("reporting.scorecard")
def every_figure_has_a_value_or_a_reason(scorecard: nw.LazyFrame) -> nw.LazyFrame:
    """A figure of the scorecard has a value, or says why it has none, never both."""
    return scorecard.filter(nw.col("value").is_null() == nw.col("reason").is_null()).select("figure")


@table_check("reporting.scorecard", reads=("reporting.scorecard", "profile.customers"))
def customers_are_those_of_the_master_file(scorecard: nw.LazyFrame, customers: nw.LazyFrame) -> nw.LazyFrame:
    """The scorecard's number of customers is that of the master file."""
    counted = customers.select(nw.len().cast(nw.Float64).alias("n"))
    said = scorecard.filter(nw.col("figure") == "customers").select("figure", "value")
    return said.join(counted, how="cross").filter(nw.col("value") != nw.col("n")).select("figure", "value", "n")


CHECKS = (every_figure_has_a_value_or_a_reason, customers_are_those_of_the_master_file)
