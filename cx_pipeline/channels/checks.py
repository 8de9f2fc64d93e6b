"""Business checks of the channels room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_check


@table_check("channels.catalogue", blocking=False)
def every_channel_says_how_far_it_is_trusted(catalogue: nw.LazyFrame) -> nw.LazyFrame:
    """Each channel that describes customers has a trust, without which survivorship falls back to the policy's default."""
    return catalogue.filter((nw.col("kind") == "party") & nw.col("trust").is_null()).select("channel")


CHECKS = (every_channel_says_how_far_it_is_trusted,)
