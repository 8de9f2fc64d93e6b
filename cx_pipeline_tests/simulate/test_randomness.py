from __future__ import annotations

import numpy as np
import pytest

from cx_pipeline.simulate.randomness import code_numbers, stream, weighted_indices, zipf_weights


def test_stream_when_named_alike_then_the_numbers_are_the_same_and_else_they_differ() -> None:
    first, again = stream(7, "names").random(5), stream(7, "names").random(5)
    assert first.tolist() == again.tolist()
    assert first.tolist() != stream(7, "homes").random(5).tolist()
    assert first.tolist() != stream(8, "names").random(5).tolist()


def test_weighted_indices_when_drawn_then_shares_follow_the_weights_and_zero_is_never_taken() -> None:
    drawn = weighted_indices(stream(1, "w"), [3.0, 0.0, 1.0], 40_000)
    shares = np.bincount(drawn, minlength=3) / 40_000
    assert shares[1] == 0
    assert shares[0] == pytest.approx(0.75, abs=0.01)


def test_zipf_weights_when_made_then_they_fall_and_sum_to_one() -> None:
    weights = zipf_weights(50)
    assert weights.sum() == pytest.approx(1.0)
    assert (np.diff(weights) < 0).all()


@pytest.mark.parametrize("modulus", [10, 97, 80_000, 2**31 - 1])
def test_code_numbers_when_indices_are_distinct_then_the_codes_are_too(modulus: int) -> None:
    n = min(modulus, 5_000)
    codes = code_numbers(np.arange(n), modulus, 31_337)
    assert len(set(codes.tolist())) == n
    assert codes.min() >= 0
    assert codes.max() < modulus


def test_code_numbers_when_products_would_overflow_then_it_says_so() -> None:
    with pytest.raises(ValueError, match="overflow"):
        code_numbers(np.arange(3), 2**40, 0)
