"""Policy of the staging room: what is tolerated, and which identifier speaks for a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StagingPolicy:
    """How extracts are taken in.

    Attributes:
        tolerated_reject_rate: share of a channel's rows (0-1) that may break its contract before the night is stopped; a
            contract's own `tolerated_reject_rate` wins.
        suspicious_file_reject_rate: share of one file's rows from which on the file is pointed out (without stopping).
        weak_namespaces: identifiers that many people may share or that change often, weakest last: a row that carries
            several is attributed by another one first.
        return_window_days: a return that names no sale is linked to one at most so many days earlier.
        max_extract_bytes: size of a file, uncompressed, beyond which it is refused: a gzip bomb fills the disk.
    """

    tolerated_reject_rate: float = 0.05
    suspicious_file_reject_rate: float = 0.5
    weak_namespaces: tuple[str, ...] = (
        "email",
        "phone",
        "card_token",
        "social_handle",
        "device",
        "cookie",
        "household",
    )
    return_window_days: int = 180
    max_extract_bytes: int = 64 << 30
