"""Agreement on a rare value proves more than agreement on a common one.

Belongs here: the adjustment of exact agreements by the frequencies of their values. Does not belong here: m and u of levels.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.identity.agglomeration import FloatArray, IntArray

_LEAST, _MOST = -4.0, 6.0


class TermFrequency:
    """ln(P(two random values agree) / frequency of this value), clipped, for one column or several taken together."""

    def __init__(self, values: pl.DataFrame) -> None:
        """Counts the values of all columns together; a record with a missing one is left out."""
        codes = values.select(
            pl.when(~pl.any_horizontal(pl.all().is_null()))
            .then(pl.struct(pl.all()).rank("dense"))
            .fill_null(0)
            .cast(pl.Int64)
        ).to_series()
        self._code: IntArray = codes.to_numpy()
        counts = np.bincount(self._code).astype(np.float64)
        counts[0] = 0.0
        share = counts / max(counts.sum(), 1.0)
        random_agreement = float((share**2).sum())
        with np.errstate(divide="ignore"):
            adjustment = np.log(max(random_agreement, 1e-300)) - np.log(share)
        self._adjustment: FloatArray = np.clip(np.where(share > 0, adjustment, 0.0), _LEAST, _MOST)

    def adjustments(self, records: IntArray) -> FloatArray:
        """(m,) natural logs, for the values of the given records."""
        return self._adjustment[self._code[records]]
