"""Random numbers: one independent stream for each named part of the company.

Belongs here: streams and vectorised draws that several parts use. Does not belong here: what is drawn.
The same seed and name give the same numbers, whatever other parts draw and in whatever order.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def stream(seed: int, name: str) -> np.random.Generator:
    """The random stream of one part of the company.

    Args:
        seed: of the whole company.
        name: of the part, e.g. `population.names`; streams of different names are independent.
    """
    digest = hashlib.sha256(name.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def weighted_indices(rng: np.random.Generator, weights: npt.ArrayLike, size: int) -> Indices:
    """`size` indices into `weights` (non-negative, any sum), each as likely as its weight."""
    cumulative = np.cumsum(np.asarray(weights, dtype=np.float64))
    # Scaling by the float just below the sum keeps the last index inside, whatever the rounding.
    found: Indices = np.searchsorted(cumulative, rng.random(size) * np.nextafter(cumulative[-1], 0.0), side="right")
    return found


def chosen(rng: np.random.Generator, share: float, size: int) -> Flags:
    """`size` flags, each true with probability `share`."""
    flags: Flags = rng.random(size) < share
    return flags


def zipf_weights(n: int, exponent: float = 1.0, offset: float = 2.7) -> Floats:
    """Zipf-Mandelbrot weights of n ranks, `1 / (rank + offset) ** exponent`, summing to 1."""
    weights = 1.0 / (np.arange(1, n + 1) + offset) ** exponent
    result: Floats = weights / weights.sum()
    return result


def code_numbers(indices: npt.NDArray[np.int64], modulus: int, salt: int) -> Indices:
    """Distinct, random-looking numbers in 0..modulus-1 for distinct indices below `modulus`.

    An affine map with a multiplier that is coprime to the modulus: a bijection, so no two indices share a number.
    """
    multiplier = int(modulus * 0.6180339887) | 1
    while np.gcd(multiplier, modulus) != 1:
        multiplier += 2
    # Products of two numbers below 2**31 stay inside 64 bits.
    if modulus > 2**31:
        raise ValueError(f"modulus {modulus} is above 2**31: products would overflow")
    result: Indices = (indices * multiplier + salt) % modulus
    return result
