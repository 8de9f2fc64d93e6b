"""Progress of a run for whoever watches: steps report, a listener (the command line) shows.

Belongs here: the event and the list of listeners. Does not belong here: how it is displayed. Without a listener nothing happens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """Something that happened to a table or check: `name` is `step.table`, or `step.table: check` for a check.

    `n_rows` is the number of rows written (of offending rows for a check); `seconds` how long it took.
    """

    event: Literal["started", "written", "kept", "broken", "failed"]
    name: str
    n_rows: int | None = None
    seconds: float | None = None
    message: str = ""


_listeners: list[Callable[[Progress], None]] = []


@contextlib.contextmanager
def listening(listener: Callable[[Progress], None]) -> Iterator[None]:
    """Have every progress event of this process passed to `listener` while the context lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def report(progress: Progress) -> None:
    """Tell all listeners."""
    for listener in _listeners:
        listener(progress)
