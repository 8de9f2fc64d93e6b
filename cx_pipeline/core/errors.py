"""Errors of the pipeline: one root, so that a caller can catch all of ours and nothing else.

Belongs here: error classes. Does not belong here: where they are raised or how they are printed.
Every error says what is wrong, where (file name, path in the file), how many, an example without personal data, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, for a message and for programs that read errors.

    Attributes:
        what: the fault in a sentence, without personal data.
        where: file name, table, or path in a file (`channels/crm.yaml: schema[0].properties[2]`).
        count: how many rows or things have it; None where counting makes no sense.
        example: a harmless example (a key, a line number), never a personal value.
        remedy: what the reader can do about it.
    """

    what: str
    where: str = ""
    count: int | None = None
    example: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.count is not None:
            parts.append(f"({self.count:,} of them)" if self.count != 1 else "(1 of them)")
        if self.example:
            parts.append(f"e.g. {self.example}.")
        if self.remedy:
            parts.append(f"-> {self.remedy}")
        return " ".join(parts)


class CxPipelineError(Exception):
    """Root of all errors of this package. `exit_code` is what the command line ends with.

    Args:
        problems: one problem or several: everything found is collected and raised once.
        headline: a sentence before the list; default: none.
    """

    exit_code = 1

    def __init__(self, problems: Problem | Sequence[Problem] | str, headline: str = "") -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.headline = headline
        lines = ([headline] if headline else []) + [str(problem) for problem in self.problems]
        super().__init__("\n".join(lines))


class ConfigurationError(CxPipelineError):
    """Settings, environment or call are wrong; nothing has been written."""

    exit_code = 2


class ContractError(ConfigurationError):
    """A contract breaks the standard or our vocabulary, or an extract lacks what it requires everywhere."""


class ContractBrokenError(CxPipelineError):
    """A table that was about to be written does not keep its contract; the old table stays."""


class EngineError(CxPipelineError):
    """The engine or a library failed while checking or writing, which says nothing about the data."""


class WarehouseLockedError(CxPipelineError):
    """Another process holds the database file."""


class UnreadableExtractError(CxPipelineError):
    """A landing file cannot be read at all (truncated, wrong format); it is refused as a whole."""


@dataclass(frozen=True)
class Problems:
    """Collects problems so that all are reported at once: `add`, then `raise_if_any`."""

    found: list[Problem] = field(default_factory=list)

    def add(self, what: str, where: str = "", *, count: int | None = None, example: str = "", remedy: str = "") -> None:
        """Remember one problem (see `Problem`)."""
        self.found.append(Problem(what, where, count, example, remedy))

    def raise_if_any(self, error: type[CxPipelineError], headline: str = "") -> None:
        """Raise `error` with everything that was found; do nothing when there is nothing."""
        if self.found:
            raise error(self.found, headline)
