"""Policy of the segmentation room: the names of segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_SEGMENTS: Mapping[str, tuple[int, int, int, int]] = MappingProxyType(
    {
        "champions": (4, 5, 4, 5),
        "loyal": (3, 3, 4, 5),
        "potential_loyalists": (4, 5, 2, 3),
        "new": (5, 5, 1, 1),
        "promising": (4, 4, 1, 1),
        "need_attention": (3, 3, 3, 3),
        "about_to_sleep": (3, 3, 1, 2),
        "cannot_lose": (1, 2, 5, 5),
        "at_risk": (1, 2, 3, 4),
        "hibernating": (2, 2, 1, 2),
        "lost": (1, 1, 1, 2),
    }
)


@dataclass(frozen=True)
class RfmPolicy:
    """Names of the cells of recency, frequency and money.

    Attributes:
        segments: name -> lowest and highest recency score, lowest and highest buying score, all from 1 to 5, bounds included. The
            buying score is the mean of frequency and monetary score, halves rounded up. The first name that fits a cell is its own;
            every cell must have one.
    """

    segments: Mapping[str, tuple[int, int, int, int]] = field(default_factory=lambda: _SEGMENTS)
