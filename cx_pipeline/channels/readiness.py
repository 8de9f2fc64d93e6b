"""Readiness: whether the extracts of a night have all landed, so that the nightly job can start.

Belongs here: which files are new since the last night that was published, and which channels are still expected. Pure.
Does not belong here: the sensor that asks (`automation.py`), listing folders, whether a file can be read (staging).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from cx_pipeline.channels.policy import LandingPolicy
from cx_pipeline.core.contract import Channel

LOADED_COLUMNS = pl.Schema(
    {"channel": pl.String(), "file": pl.String(), "sha256": pl.String(), "loaded_at": pl.Datetime("us")}
)


@dataclass(frozen=True)
class LandedExtract:
    """A file in a channel's landing folder.

    Attributes:
        channel: the channel.
        file: its name below the folder.
        changed_at: when it last changed, wall clock of the company.
        signature: of what tells its versions apart without reading it (size and time).
        sha256: gives the hash of its content; asked for only where name and time do not decide.
    """

    channel: str
    file: str
    changed_at: datetime
    signature: str
    sha256: Callable[[], str]


@dataclass(frozen=True)
class Readiness:
    """Whether a set of new extracts is complete.

    Attributes:
        is_complete: whether the nightly job should start.
        key: fingerprint of the set of new files; the same set has the same key.
        new: channel -> number of new files.
        missing: channels that are expected and have none.
        reason: why not, in a sentence; empty where it is complete.
    """

    is_complete: bool
    key: str
    new: Mapping[str, int]
    missing: tuple[str, ...]
    reason: str


def readiness(
    landed: Sequence[LandedExtract],
    loaded: pl.DataFrame,
    channels: Iterable[Channel],
    now: datetime,
    policy: LandingPolicy,
) -> Readiness:
    """Whether every channel that is expected has a new file, and none is still on its way.

    Args:
        landed: what lies in landing.
        loaded: channel, file, sha256, loaded_at of the load manifest that was published last; empty before the first night.
        channels: the usable channels.
        now: wall clock of the company.
        policy: whom to wait for.
    """
    new = new_extracts(landed, loaded)
    counts = {name: sum(file.channel == name for file in new) for name in sorted({file.channel for file in new})}
    expected = expected_channels(channels, loaded, now, policy)
    missing = tuple(name for name in expected if name not in counts)
    settled_before = now - timedelta(seconds=policy.settle_seconds)
    n_unsettled = sum(file.changed_at > settled_before for file in new)
    reason = ""
    if not new:
        reason = "nothing new has landed"
    elif not expected:
        reason = "no channel is expected: contracts without SLA, or all of them loaded lately"
    elif missing:
        reason = f"still waiting for {', '.join(missing)}"
    elif n_unsettled:
        reason = f"{n_unsettled} files changed less than {policy.settle_seconds} s ago and may still be on their way"
    return Readiness(not reason, _fingerprint(new), counts, missing, reason)


def new_extracts(landed: Sequence[LandedExtract], loaded: pl.DataFrame) -> list[LandedExtract]:
    """Files that were not taken in, or whose content is another by now."""
    known: dict[tuple[str, str], tuple[datetime, set[str]]] = {}
    for channel, file, sha256, loaded_at in loaded.select(list(LOADED_COLUMNS)).iter_rows():
        latest, contents = known.get((channel, file), (loaded_at, set()))
        known[channel, file] = (max(latest, loaded_at), contents | {sha256})

    def is_new(file: LandedExtract) -> bool:
        if (file.channel, file.file) not in known:
            return True
        loaded_at, contents = known[file.channel, file.file]
        return file.changed_at > loaded_at and file.sha256() not in contents

    return [file for file in landed if is_new(file)]


def expected_channels(
    channels: Iterable[Channel], loaded: pl.DataFrame, now: datetime, policy: LandingPolicy
) -> list[str]:
    """Channels that should deliver for the coming night, by name: by cadence where the policy gives one, else by SLA."""
    last: dict[str, datetime] = dict(loaded.group_by("channel").agg(pl.col("loaded_at").max()).iter_rows())

    def is_expected(channel: Channel) -> bool:
        days = policy.cadence_days.get(channel.name)
        limit = channel.freshness_days if days is None else days
        if limit is None or channel.name in policy.does_not_wait_for:
            return False
        if channel.name not in last:
            return True
        nights = (now.date() - last[channel.name].date()).days
        return nights >= limit if days is not None else nights + 1 >= limit

    return sorted(channel.name for channel in channels if is_expected(channel))


def _fingerprint(files: Sequence[LandedExtract]) -> str:
    lines = sorted(f"{file.channel}/{file.file} {file.signature}" for file in files)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
