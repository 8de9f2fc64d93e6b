"""Schema drift: columns of landing files that are new, missing, renamed or of another type than the contract says.

Belongs here: comparing names and samples with a contract. Does not belong here: reading files (`samples.py`), what a changed contract
looks like (`proposal.py`), rows that break a contract (staging rejects them).
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from cx_pipeline.channels.field_register import canonical_columns
from cx_pipeline.channels.policy import DriftPolicy
from cx_pipeline.channels.roles import (
    inferred_type,
    is_personal,
    looks_like_values,
    share_of_type,
    suggested_role,
    words_of,
)
from cx_pipeline.channels.samples import LandedColumns, newest
from cx_pipeline.core.contract import Channel
from cx_pipeline.core.tables import Column, Table

NEW, MISSING, RENAMED, RETYPED = "new", "missing", "renamed", "retyped"
_MIN_VALUES, _MIN_DISTINCT = 5, 5
_SAME_ROLE = 0.9

Sampler = Callable[[LandedColumns], pl.DataFrame]


@dataclass(frozen=True)
class Drift:
    """A column in which files differ from the contract.

    Attributes:
        column: its name by the contract; in the files where it is new.
        change: new, missing, renamed or retyped.
        found_as: name in the files, of a renamed column.
        similarity: 0-1, of a renamed column.
        contract_type: logicalType of the contract; None for a new column.
        found_type: logicalType of the values; None where none were seen.
        role: suggested for a new column.
        is_personal: whether a new column looks personal.
        is_required: whether the contract requires it.
        files: files that show it, the oldest first.
    """

    column: str
    change: str
    files: tuple[LandedColumns, ...]
    found_as: str | None = None
    similarity: float | None = None
    contract_type: str | None = None
    found_type: str | None = None
    role: str | None = None
    is_personal: bool = False
    is_required: bool = False

    @property
    def proposal(self) -> str:
        """What to write into the contract, in a sentence."""
        role = f" and the role {self.role}" if self.role else " and no role"
        return {
            NEW: f"add the column as {self.found_type or 'string'}{role}",
            MISSING: "do not require it, or ask the source for it"
            if self.is_required
            else "drop it, or ask the source for it",
            RENAMED: f"name it {self.found_as}",
            RETYPED: f"make it {self.found_type}",
        }[self.change]


class _Files:
    """The newest files of a channel with their columns, samples taken when asked for."""

    def __init__(self, files: Sequence[LandedColumns], sampler: Sampler, n_compared: int) -> None:
        self.compared = newest(files)[:n_compared]
        self._sampler = sampler
        self._samples: dict[str, pl.DataFrame] = {}

    @cached_property
    def columns(self) -> dict[str, list[LandedColumns]]:
        """Folded column name -> files that have it, the newest first."""
        found: dict[str, list[LandedColumns]] = {}
        for file in self.compared:
            for name in file.columns:
                found.setdefault(fold(name), []).append(file)
        return found

    def values(self, file: LandedColumns, folded: str) -> pl.Series:
        """Sampled values of a column of a file, as text."""
        if file.file not in self._samples:
            self._samples[file.file] = self._sampler(file)
        rows = self._samples[file.file]
        name = next((name for name in rows.columns if fold(name) == folded), None)
        return rows[name] if name else pl.Series(dtype=pl.String)


def fold(name: str) -> str:
    """A column's name as staging compares it: without blanks around it and without case."""
    return name.strip().casefold()


def compare(
    channel: Channel, files: Sequence[LandedColumns], sampler: Sampler, canonical: Table, policy: DriftPolicy
) -> list[Drift]:
    """What differs between a channel's newest files and its contract.

    A column counts as missing when the newest file lacks it, and as new when any compared file has it: what has been mended since is
    no drift.

    Args:
        channel: its contract.
        files: its files.
        sampler: gives the first rows of a file as text; asked for the newest files, and for an old one where a column is missing.
        canonical: contract of the canonical table of its kind: only roles that it has a use for are suggested.
        policy: how many files, and how alike names and values must be.
    """
    known = {fold(name) for name in channel.table.column_names}
    # A first row that is no header would tell values as names.
    headed = [f for f in files if known & {fold(name) for name in f.columns} or not looks_like_values(f.columns)]
    found = _Files(headed, sampler, policy.compared_files)
    if not found.compared:
        return []
    latest = found.compared[0]
    present = {fold(name): name for name in latest.columns}
    contract = {fold(column.name): column for column in channel.table.columns}
    missing = [column for folded, column in contract.items() if folded not in present]
    new = [(folded, file[0]) for folded, file in found.columns.items() if folded not in contract and folded]
    pairs = _renamed(missing, [(f, file) for f, file in new if f in present], found, policy)
    drifts = [_renamed_drift(column, folded, score, found) for column, (folded, score) in pairs.items()]
    taken = {folded for folded, _ in pairs.values()}
    drifts += [
        Drift(
            column.name,
            MISSING,
            tuple(f for f in reversed(found.compared) if fold(column.name) not in {fold(c) for c in f.columns}),
            contract_type=column.logical_type,
            is_required=column.required,
        )
        for column in missing
        if column not in pairs
    ]
    drifts += [_new_drift(folded, file, found, channel, canonical) for folded, file in new if folded not in taken]
    drifts += _retyped(contract, found, policy)
    return drifts


def _name_in(file: LandedColumns, folded: str) -> str:
    return next(name.strip() for name in file.columns if fold(name) == folded)


def _new_drift(folded: str, file: LandedColumns, found: _Files, channel: Channel, canonical: Table) -> Drift:
    name, values = _name_in(file, folded), found.values(file, folded)
    return Drift(
        name,
        NEW,
        tuple(reversed(found.columns[folded])),
        found_type=inferred_type(values) if values.drop_nulls().len() else None,
        role=_usable(suggested_role(name, values), channel, canonical),
        is_personal=is_personal(suggested_role(name, values), values),
    )


def _usable(role: str | None, channel: Channel, canonical: Table) -> str | None:
    """The role, if records of the channel's kind have a use for it, and no other column of the channel has it already."""
    if role is None or not canonical_columns(role, channel.kind, canonical):
        return None
    may_repeat = role.partition(".")[0] in ("id", "contact")
    return role if may_repeat or role not in channel.roles else None


def _renamed_drift(column: Column, folded: str, score: float, found: _Files) -> Drift:
    file = found.columns[folded][0]
    values = found.values(file, folded)
    return Drift(
        column.name,
        RENAMED,
        tuple(reversed(found.columns[folded])),
        found_as=_name_in(file, folded),
        similarity=round(score, 2),
        contract_type=column.logical_type,
        found_type=inferred_type(values) if values.drop_nulls().len() else None,
        is_required=column.required,
    )


def _renamed(
    missing: Sequence[Column], new: Sequence[tuple[str, LandedColumns]], found: _Files, policy: DriftPolicy
) -> dict[Column, tuple[str, float]]:
    """Missing column -> the new one that is likest to it; the likest pairs first, each column once."""
    scored = sorted(
        (
            (similarity(column, folded, found.values(file, folded), _old_values(column, found)), column.name, folded)
            for column in missing
            for folded, file in new
        ),
        key=lambda item: (-item[0], item[1], item[2]),
    )
    by_name = {column.name: column for column in missing}
    pairs: dict[Column, tuple[str, float]] = {}
    taken: set[str] = set()
    for score, name, folded in scored:
        if score >= policy.renamed_similarity and by_name[name] not in pairs and folded not in taken:
            pairs[by_name[name]] = (folded, score)
            taken.add(folded)
    return pairs


def _old_values(column: Column, found: _Files) -> pl.Series:
    """Values of a missing column in the newest file that still has it."""
    files = found.columns.get(fold(column.name), [])
    return found.values(files[0], fold(column.name)) if files else pl.Series(dtype=pl.String)


def similarity(column: Column, name: str, values: pl.Series, old_values: pl.Series) -> float:
    """How like (0-1) a new column is to a missing one: the greater of the likeness of their names and of their values.

    Values of another type than the contract's make them unlike.
    """
    fits = share_of_type(values, column.logical_type)
    if fits is not None and fits < 0.5:
        return 0.0
    by_name = name_similarity(column.name, name)
    if by_name < _SAME_ROLE and suggested_role(name, values) in column.roles:
        by_name = _SAME_ROLE
    new, old = set(values.drop_nulls()), set(old_values.drop_nulls())
    by_value = len(new & old) / len(new) if len(new) >= _MIN_DISTINCT and old else 0.0
    return max(by_name, by_value)


def name_similarity(left: str, right: str) -> float:
    """Likeness (0-1) of two column names, whatever their spelling and the order of their words."""
    a, b = words_of(left), words_of(right)
    in_order = difflib.SequenceMatcher(None, "".join(a), "".join(b)).ratio()
    return max(in_order, difflib.SequenceMatcher(None, "".join(sorted(a)), "".join(sorted(b))).ratio())


def _retyped(contract: Mapping[str, Column], found: _Files, policy: DriftPolicy) -> list[Drift]:
    """Columns whose sampled values mostly do not fit the contract's type; custom formats and text are left alone."""
    drifts: list[Drift] = []
    for file in found.compared[: policy.sampled_files]:
        for folded, column in contract.items():
            if column.logical_type == "string" or column.format or column.name in {d.column for d in drifts}:
                continue
            values = found.values(file, folded).drop_nulls()
            fits = share_of_type(values, column.logical_type)
            if values.len() >= _MIN_VALUES and fits is not None and 1 - fits > policy.retyped_share:
                drifts.append(
                    Drift(
                        column.name,
                        RETYPED,
                        (file,),
                        contract_type=column.logical_type,
                        found_type=inferred_type(values),
                        is_required=column.required,
                    )
                )
    return drifts


def schema_drift(drifts: Mapping[str, tuple[Sequence[Drift], int]], table: Table, as_of: date) -> pl.DataFrame:
    """One row per channel and column that has drifted.

    Args:
        drifts: channel -> (what differs, number of files compared).
        table: contract of `channels.schema_drift`.
        as_of: the date the results stand for.
    """
    rows = [
        {
            "channel": channel,
            "column": drift.column,
            "change": drift.change,
            "found_as": drift.found_as,
            "similarity": drift.similarity,
            "contract_type": drift.contract_type,
            "found_type": drift.found_type,
            "is_required": drift.is_required,
            "n_files": len(drift.files),
            "n_files_compared": n_compared,
            "first_file": drift.files[0].file,
            "first_night": drift.files[0].loaded_at.date() if drift.files[0].loaded_at else None,
            "proposal": drift.proposal,
            "as_of": as_of,
        }
        for channel, (found, n_compared) in drifts.items()
        for drift in found
    ]
    return pl.DataFrame(rows, schema=table.polars_schema())


def newest_files(loaded: pl.DataFrame, folder: Path, n_files: int) -> list[tuple[str, Path, datetime]]:
    """Name, path and time of intake of a channel's newest files that still lie in landing.

    Args:
        loaded: file, loaded_at of the channel's loaded files, from the load manifest.
        folder: its landing folder.
        n_files: how many at most.
    """
    rows = loaded.group_by("file").agg(pl.col("loaded_at").max()).sort("loaded_at", "file", descending=True)
    there = ((name, folder / name, at) for name, at in rows.select("file", "loaded_at").iter_rows())
    return list(itertools.islice((item for item in there if item[1].is_file()), n_files))
