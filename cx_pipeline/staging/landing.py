"""Landing: which files lie there, and which of them have to be read tonight.

Belongs here: listing and fingerprinting files, and the decision by content. Does not belong here: reading rows (`intake.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".parquet")
_TICK = timedelta(seconds=2)


@dataclass(frozen=True)
class FileState:
    """What the file system says about a file; as long as it says the same, the content is the same.

    Times are nanoseconds since 1970. The time of the last change of the inode (`changed_ns`) cannot be set by programs that copy or
    rewrite a file and keep its time of modification.
    """

    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of a file now; OSError where it is not there."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino % (1 << 63))


@dataclass(frozen=True)
class LandedFile:
    """A file of a channel's landing folder.

    Attributes:
        name: path below the channel's folder, with forward slashes.
        path: where it is.
        sha256: of its content, hexadecimal; of the name for a file that must not be read.
        refusal: why it cannot be taken in; empty where it can be tried.
        state: as of before the content was read; None for a file that must not be read.
    """

    name: str
    path: Path
    sha256: str
    refusal: str = ""
    state: FileState | None = None


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
        replaced: name of a file to load -> names whose rows go once it is loaded: its own, where it had other content, and
            the later name under which its content was loaded before.
        repeated: files whose content is loaded under another name.
        withdrawn: names whose rows go because the file is now a copy of another one.
        refused: files that must not be read, with their reasons.
        starts_over: whether everything staged before is read anew (other contract, or a full refresh).
        unreadable_again: names of loaded files that would have to be read anew but lie in landing no more.
    """

    load: tuple[LandedFile, ...]
    replaced: Mapping[str, tuple[str, ...]]
    repeated: tuple[LandedFile, ...]
    withdrawn: tuple[str, ...]
    refused: tuple[LandedFile, ...]
    starts_over: bool = False
    unreadable_again: tuple[str, ...] = ()


def list_files(folder: Path, seen: Mapping[str, tuple[FileState, str]] | None = None) -> list[LandedFile]:
    """Every file of a channel's landing folder, by name; a missing folder has none.

    Names that begin with `.` or `_` are work files and markers of other programs and left alone. Links that lead out of the
    folder, other file types and special files are refused with a reason.

    Args:
        folder: the channel's landing folder.
        seen: name -> state and SHA-256 of files hashed before; a file whose state is the same is not read again.
    """
    root = folder.resolve()
    files = []
    for path in _all_paths(folder):
        raw_name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
        name = raw_name.decode("utf-8", "backslashreplace")
        digest, refusal, state = "", _refusal(path, root), None
        if not refusal:
            try:
                state = FileState.of(path)
                before, known_digest = (seen or {}).get(name, (None, ""))
                digest = known_digest if before == state else _sha256(path)
            except OSError as error:
                refusal, state = f"it cannot be read ({error.strerror})", None
        files.append(LandedFile(name, path, digest or hashlib.sha256(raw_name).hexdigest(), refusal, state))
    return files


def settled_states(files: Iterable[LandedFile], before: datetime) -> dict[str, tuple[FileState, str]]:
    """Name -> state and SHA-256 of the files that last changed well before a moment, so that their state can be relied upon.

    The clock of a file system may tick every two seconds only: a file rewritten within one tick keeps its state.

    Args:
        files: from `list_files`.
        before: a moment before the files were listed, with its time zone.
    """
    latest = int((before - _TICK).timestamp() * 1e9)
    return {
        file.name: (file.state, file.sha256)
        for file in files
        if file.state is not None and max(file.state.changed_ns, file.state.modified_ns) < latest
    }


def list_paths(folder: Path) -> list[Path]:
    """Paths of the files that can be tried, by name, without reading them."""
    root = folder.resolve()
    return [path for path in _all_paths(folder) if not _refusal(path, root)]


def list_refusals(folder: Path) -> list[tuple[str, str]]:
    """Name and reason of the files that must not be read, by name, without reading any."""
    root = folder.resolve()
    found = [(path.relative_to(folder).as_posix(), _refusal(path, root)) for path in _all_paths(folder)]
    return [
        (name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), why) for name, why in found if why
    ]


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
        str(path).encode("utf-8")
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

    Content that lies in landing under several names counts once, under the first of them in alphabetical order: so the
    result is the same in whatever order the copies arrived.

    Args:
        files: what lies in landing now.
        known: the channel's rows of the load manifest.
        contract_sha256: fingerprint of the contract now; files read with another one are read anew.
        full_refresh: read everything anew.
    """
    files = list(files)
    readable = {file.name: file for file in files if not file.refusal}
    loaded = [entry for entry in known if entry.status == "loaded"]
    starts_over = bool(loaded) and (full_refresh or any(entry.contract_sha256 != contract_sha256 for entry in loaded))
    gone: tuple[str, ...] = ()
    if starts_over:
        if not full_refresh:
            present = {file.sha256 for file in readable.values()}
            gone = tuple(sorted(e.name for e in loaded if e.name not in readable and e.sha256 not in present))
        loaded = []
    current = {entry.name: _content(entry) for entry in loaded}
    # Content that is replaced under its name tonight is still needed where a copy of it lies under another name.
    owner = {
        content: name
        for name, content in current.items()
        if name not in readable or _content(readable[name]) == content
    }
    load: list[LandedFile] = []
    replaced: dict[str, tuple[str, ...]] = {}
    repeated: list[LandedFile] = []
    for name, file in sorted(readable.items()):
        content = _content(file)
        known_as = owner.get(content)
        if known_as == name:
            continue
        if known_as is not None and known_as < name:
            repeated.append(file)
            continue
        load.append(file)
        replaced[name] = tuple(other for other in (name if name in current else None, known_as) if other)
        owner[content] = name
    moved = {other for names in replaced.values() for other in names}
    return IntakePlan(
        load=tuple(load),
        replaced=replaced,
        repeated=tuple(repeated),
        withdrawn=tuple(file.name for file in repeated if file.name in current and file.name not in moved),
        refused=tuple(file for file in files if file.refusal),
        starts_over=starts_over,
        unreadable_again=gone,
    )


def _content(file: LandedFile | KnownFile) -> tuple[str, str]:
    """What makes two files copies of one another: their bytes, read in the same format."""
    name = file.name.lower()
    return file.sha256, next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
