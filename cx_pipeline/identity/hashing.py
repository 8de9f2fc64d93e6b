"""Values as numbers that do not tell the value: what is stored of a person's data for the linkage is made of these alone.

Belongs here: keyed hashes of values and tables keyed by them. Does not belong here: what is hashed and what the tables say.
Two sorts, because they live differently long. A model is kept for weeks and read by other versions of the libraries: keyed
BLAKE2b of the distinct values. Blocking codes are compared with one another only and made anew when a library changes: the
engine's own seeded hash, two orders of magnitude faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cx_pipeline.identity.agglomeration import FloatArray

Codes = npt.NDArray[np.uint64]
NOTHING = 0
_BITS = 52  # JSON readers keep integers up to 2^53 exactly
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Hasher:
    """Hashes under one key.

    Args:
        key: of the company (`CX_HASH_KEY`); without it nobody can tell which value a hash stands for.
    """

    def __init__(self, key: str) -> None:
        self._key = blake2b(key.encode(), digest_size=32).digest()
        self._seed = int.from_bytes(blake2b(b"codes", key=self._key, digest_size=8).digest(), "little")

    @property
    def fingerprint(self) -> str:
        """Tells whether two hashers have one key; tells nothing of the key."""
        return blake2b(b"fingerprint", key=self._key, digest_size=8).hexdigest()

    def lasting(self, values: pl.Series) -> Codes:
        """(n,) 52-bit hashes of text, the same in every version of every library; 0 for NULL."""
        distinct = values.drop_nulls().unique()
        digests = b"".join(blake2b(v.encode(), digest_size=8, key=self._key).digest() for v in distinct.to_list())
        numbers = (np.frombuffer(digests, dtype="<u8").astype(np.uint64) >> np.uint64(64 - _BITS)) | np.uint64(1)
        if len(distinct) == 0:
            return np.zeros(len(values), dtype=np.uint64)
        found = values.replace_strict(distinct, pl.Series(numbers), default=None, return_dtype=pl.UInt64)
        return found.fill_null(NOTHING).to_numpy()

    def code(self, value: pl.Expr) -> pl.Expr:
        """64-bit hashes, the same while the version of Polars is; 0 for NULL."""
        return pl.when(value.is_not_null()).then(value.hash(self._seed) | 1).otherwise(NOTHING)


def combined(codes: Sequence[Codes]) -> Codes:
    """(n,) one code for several values taken together, in order; 0 where one of them is missing."""
    result = codes[0].copy()
    is_missing = result == NOTHING
    for other in codes[1:]:
        is_missing |= other == NOTHING
        result *= _ODD
        result ^= result >> np.uint64(29)
        result += other
    if len(codes) > 1:
        result |= np.uint64(1)
    result[is_missing] = NOTHING
    return result


@dataclass(frozen=True)
class HashedTable:
    """One number for each of some hashed values, another one for all the rest.

    Attributes:
        hashes: (k,) sorted.
        numbers: (k,).
        rest: the number of every other value.
    """

    hashes: Codes
    numbers: FloatArray
    rest: float

    @classmethod
    def of_shares(cls, hashes: Codes, max_values: int) -> HashedTable:
        """Shares of the values among those that are there; beyond `max_values` each has the mean share of the rest.

        Args:
            hashes: (n,) hashed values, 0 for missing.
            max_values: the most frequent ones are kept; ties go to the smaller hash.
        """
        values, counts = np.unique(hashes[hashes != NOTHING], return_counts=True)
        repeated = np.flatnonzero(counts > 1)
        kept = np.sort(repeated[np.lexsort((values[repeated], -counts[repeated]))][:max_values])
        total = max(float(counts.sum()), 1.0)
        n_rest = len(values) - len(kept)
        rest = (total - float(counts[kept].sum())) / n_rest if n_rest else 1.0
        return cls(values[kept], counts[kept] / total, rest / total)

    def of(self, hashes: Codes) -> FloatArray:
        """(n,) the numbers of hashed values; that of the rest also where the value is missing."""
        if len(self.hashes) == 0:
            return np.full(len(hashes), self.rest)
        place = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[place] == hashes, self.numbers[place], self.rest)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers to nine digits."""
        return {
            "hashes": self.hashes.tolist(),
            "numbers": [float(f"{number:.9g}") for number in self.numbers.tolist()],
            "rest": float(f"{self.rest:.9g}"),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> HashedTable:
        """What `as_dict` gave."""
        return cls(
            np.array(stored["hashes"], dtype=np.uint64),
            np.array(stored["numbers"], dtype=np.float64),
            float(stored["rest"]),
        )
