from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.hashing import Codes, Hasher, combined
from cx_pipeline.identity.term_frequency import TermFrequency

HASHER = Hasher("key")


def hashed(values: Sequence[str | None]) -> Codes:
    return HASHER.lasting(pl.Series(values, dtype=pl.String))


def test_adjustments_then_rare_values_gain_and_common_ones_lose() -> None:
    hashes = hashed(["smith"] * 8 + ["zyk", "abe"])
    adjustment = TermFrequency.learn(hashes, 100).adjustments(hashes[[0, 8]])
    random_agreement = 0.8**2 + 2 * 0.1**2
    assert adjustment == pytest.approx([np.log(random_agreement / 0.8), np.log(random_agreement / 0.1)])


def test_adjustments_of_an_extremely_rare_value_then_bounded() -> None:
    hashes = hashed(["smith"] * 100_000 + ["zyk"])
    assert TermFrequency.learn(hashes, 100).adjustments(hashes[-1:])[0] == 6.0


def test_adjustments_when_a_value_is_missing_then_none() -> None:
    together = combined([hashed(["a", "a", None]), hashed(["x", None, "x"])])
    assert TermFrequency.learn(together, 100).adjustments(together[[1, 2]]).tolist() == [0.0, 0.0]


def test_adjustments_of_values_never_seen_then_those_of_the_rarest() -> None:
    hashes = hashed(["smith"] * 8 + ["zyk", "abe"])
    frequency = TermFrequency.learn(hashes, 100)
    assert frequency.adjustments(hashed(["new"]))[0] == frequency.adjustments(hashes[-1:])[0]


def test_learn_when_there_are_more_values_than_are_kept_then_the_commonest_and_the_mean_of_the_rest() -> None:
    hashes = hashed(["a"] * 6 + ["b"] * 3 + ["c"])
    frequency = TermFrequency.learn(hashes, 1)
    a, b, c = frequency.adjustments(hashes[[0, 6, 9]])
    assert b == c == pytest.approx(a - np.log(0.2 / 0.6))


def test_as_dict_then_json_that_reads_back_alike_and_holds_no_value() -> None:
    hashes = hashed(["smith"] * 8 + ["zyk", "zyk"])
    frequency = TermFrequency.learn(hashes, 100)
    text = json.dumps(frequency.as_dict())
    assert "smith" not in text
    assert "zyk" not in text
    assert TermFrequency.from_dict(json.loads(text)).adjustments(hashes).tolist() == pytest.approx(
        frequency.adjustments(hashes).tolist(), rel=1e-8
    )
