"""Agreement on a rare value proves more than agreement on a common one.

Belongs here: the adjustment of exact agreements by the frequencies of their values, as learnt once and kept in the model. Does
not belong here: m and u of levels, hashing (hashing.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cx_pipeline.identity.agglomeration import FloatArray
from cx_pipeline.identity.hashing import NOTHING, Codes, HashedTable

_LEAST, _MOST = -4.0, 6.0


@dataclass(frozen=True)
class TermFrequency:
    """ln(P(two random values agree) / frequency of this value), clipped, for one field or several taken together.

    Attributes:
        shares: of the frequent values; the mean of the others.
        random_agreement: probability that two random values are the same.
    """

    shares: HashedTable
    random_agreement: float

    @classmethod
    def learn(cls, hashes: Codes, max_values: int) -> TermFrequency:
        """From the (n,) hashed values of a population, 0 where missing; `max_values` are told apart."""
        counts = np.unique(hashes[hashes != NOTHING], return_counts=True)[1].astype(np.float64)
        share = counts / max(counts.sum(), 1.0)
        return cls(HashedTable.of_shares(hashes, max_values), float(f"{(share**2).sum():.9g}"))

    def adjustments(self, hashes: Codes) -> FloatArray:
        """(n,) natural logs for hashed values; 0 where the value is missing."""
        share = self.shares.of(hashes)
        adjustment = np.clip(np.log(max(self.random_agreement, 1e-300)) - np.log(share), _LEAST, _MOST)
        return np.where(hashes == NOTHING, 0.0, adjustment)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"random_agreement": self.random_agreement, "shares": self.shares.as_dict()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> TermFrequency:
        """What `as_dict` gave."""
        return cls(HashedTable.from_dict(stored["shares"]), float(stored["random_agreement"]))
