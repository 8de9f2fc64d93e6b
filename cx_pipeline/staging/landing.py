"""Landing: which files lie there, and which of them have to be read tonight.

Belongs here: listing and fingerprinting files, and the decision by content. Does not belong here: reading rows (`intake.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".parquet")


@dataclass(frozen=True)
class LandedFile:
    """A file of a channel's landing folder.

    Attributes:
        name: path below the channel's folder, with forward slashes.
        path: where it is.
        sha256: of its content, hexadecimal; of the name for a file that must not be read.
        refusal: why it cannot be taken in; empty where it can be tried.
    """

    name: str
    path: Path
    sha256: str
    refusal: str = ""


@dataclass(frozen=True)
class KnownFile:
    """What the load manifest knows of a file: its content, status and the contract it was read with."""

    name: str
    sha256: str
    status: str
    contract_sha256: str


@dataclass(frozen=True)
class IntakePlan:
    """What tonight's intake of a channel has to do.

    Attributes:
        load: files whose content is new.
        replaced: names whose earlier content is replaced by a file to load (same name, new content).
        repeated: files whose content has been loaded under another name.
        refused: files that must not be read, with their reasons.
        starts_over: whether everything staged before is read anew (other contract, or a full refresh).
        unreadable_again: names of loaded files that would have to be read anew but lie in landing no more.
    """

    load: tuple[LandedFile, ...]
    replaced: tuple[str, ...]
    repeated: tuple[LandedFile, ...]
    refused: tuple[LandedFile, ...]
    starts_over: bool = False
    unreadable_again: tuple[str, ...] = ()

    @property
    def changes_rows(self) -> bool:
        """Whether any row of the channel's tables changes."""
        return bool(self.load) or self.starts_over


def list_files(folder: Path) -> list[LandedFile]:
    """Every file of a channel's landing folder, by name; a missing folder has none.

    Names that begin with `.` or `_` are work files and markers of other programs and left alone. Links that lead out of the
    folder, other file types and special files are refused with a reason.
    """
    root = folder.resolve()
    files = []
    for path in _all_paths(folder):
        name = path.relative_to(folder).as_posix()
        refusal = _refusal(path, root)
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest() if refusal else _sha256(path)
        files.append(LandedFile(name, path, digest, refusal))
    return files


def list_paths(folder: Path) -> list[Path]:
    """Paths of the files that can be tried, by name, without reading them."""
    root = folder.resolve()
    return [path for path in _all_paths(folder) if not _refusal(path, root)]


def _all_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        and not (path.is_dir() and not path.is_symlink())
    ]


def _refusal(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "a link that leads nowhere"
    if not target.is_relative_to(root):
        return "a link that leads out of the landing folder"
    if not target.is_file():
        return "not a regular file"
    if not path.name.lower().endswith(SUFFIXES):
        return f"not a file type that is read here ({', '.join(SUFFIXES)})"
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError:
        return "a file name that is not valid UTF-8"
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plan_intake(
    files: Iterable[LandedFile], known: Iterable[KnownFile], contract_sha256: str, *, full_refresh: bool = False
) -> IntakePlan:
    """Decide by content what to read.

    Args:
        files: what lies in landing now.
        known: the channel's rows of the load manifest.
        contract_sha256: fingerprint of the contract now; files read with another one are read anew.
        full_refresh: read everything anew.
    """
    files = list(files)
    loaded = [entry for entry in known if entry.status == "loaded"]
    starts_over = bool(loaded) and (full_refresh or any(entry.contract_sha256 != contract_sha256 for entry in loaded))
    gone: tuple[str, ...] = ()
    if starts_over:
        present = {file.sha256 for file in files}
        gone = tuple(sorted(entry.name for entry in loaded if entry.sha256 not in present)) if not full_refresh else ()
        loaded = []
    current: dict[str, str] = {entry.name: entry.sha256 for entry in loaded}
    by_content: Mapping[str, str] = {digest: name for name, digest in current.items()}
    load: list[LandedFile] = []
    repeated: list[LandedFile] = []
    taken: dict[str, str] = dict(by_content)
    for file in files:
        if file.refusal or current.get(file.name) == file.sha256:
            continue
        if file.sha256 in taken:
            repeated.append(file)
            continue
        taken[file.sha256] = file.name
        load.append(file)
    return IntakePlan(
        load=tuple(load),
        replaced=tuple(file.name for file in load if file.name in current),
        repeated=tuple(repeated),
        refused=tuple(file for file in files if file.refusal),
        starts_over=starts_over,
        unreadable_again=gone,
    )
