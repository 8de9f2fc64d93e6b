from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.term_frequency import TermFrequency


def test_adjustments_then_rare_values_gain_and_common_ones_lose() -> None:
    frequency = TermFrequency(pl.DataFrame({"surname": ["smith"] * 8 + ["zyk", "abe"]}))
    adjustment = frequency.adjustments(np.array([0, 8]))
    random_agreement = 0.8**2 + 2 * 0.1**2
    assert adjustment == pytest.approx([np.log(random_agreement / 0.8), np.log(random_agreement / 0.1)])


def test_adjustments_of_an_extremely_rare_value_then_bounded() -> None:
    frequency = TermFrequency(pl.DataFrame({"surname": ["smith"] * 100_000 + ["zyk"]}))
    assert frequency.adjustments(np.array([100_000]))[0] == 6.0


def test_adjustments_when_a_value_is_missing_then_none() -> None:
    values = pl.DataFrame({"town": ["a", "a", None], "street": ["x", None, "x"]})
    assert TermFrequency(values).adjustments(np.array([1, 2])).tolist() == [0.0, 0.0]
