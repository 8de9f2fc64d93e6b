"""The published snapshot: files that appear whole or not at all.

Belongs here: folders, atomic renames, the pointer to the current run, removal of old runs.
Does not belong here: which tables there are, how a table becomes a file (`warehouse.export`).

A reader that opens several tables resolves `current` (or reads CURRENT_RUN) once and stays in that folder: between two openings
through the link a new run may be published.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from cx_pipeline.core.tables import Table

CURRENT = "current"
POINTER = "CURRENT_RUN"


def run_name(started_at: datetime, run_id: str) -> str:
    """Name of a published run: sortable by time, e.g. `20260131T020000-1a2b3c4d`."""
    return f"{started_at:%Y%m%dT%H%M%S}-{run_id[:8]}"


def publish(folder: Path, name: str, tables: Sequence[Table], export: Callable[[Table, Path], int]) -> None:
    """Write all tables into `folder/name` and make it the current run.

    Everything is written into a folder that no reader looks at, flushed to disk and renamed; then `current` and `CURRENT_RUN` are
    switched by one rename each. If this stops anywhere, readers keep the run before.

    Args:
        folder: the data directory's `published/`.
        name: of the run, see `run_name`.
        tables: what is written, as `<step>/<table>.parquet`.
        export: writes a table to a file and returns the number of rows.
    """

    def fill(partial: Path) -> None:
        for table in tables:
            path = partial / table.step / f"{table.name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            export(table, path)
            _flush(path)

    publish_folder(folder, name, fill)


def publish_folder(folder: Path, name: str, fill: Callable[[Path], None]) -> None:
    """Have `folder/name` filled out of sight, then make it the current run: as `publish`, for any files.

    Args:
        folder: what holds the runs.
        name: of the run, see `run_name`.
        fill: writes the files into the folder it is given; it flushes those in subfolders itself.
    """
    partial, final = folder / f"{name}.partial", folder / name
    for leftover in folder.glob("*.partial"):
        shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    fill(partial)
    for path in (*sorted(partial.iterdir()), partial):
        _flush(path)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    switch(folder, name)


def switch(folder: Path, name: str) -> None:
    """Point `current` and `CURRENT_RUN` to a published run, each by one atomic rename."""
    link, pointer = folder / f".{CURRENT}.new", folder / f".{POINTER}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(name, target_is_directory=True)
    link.replace(folder / CURRENT)
    pointer.write_text(f"{name}\n", encoding="utf-8")
    _flush(pointer)
    pointer.replace(folder / POINTER)
    _flush(folder)


def current_run(folder: Path) -> Path | None:
    """Folder of the current run, resolved once; None before the first night that passed."""
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    path = folder / pointer.read_text(encoding="utf-8").strip()
    return path if path.is_dir() else None


def find_run(folder: Path, text: str) -> list[Path]:
    """Folders of the published runs that a text names: `current`, a run's name, or the beginning or end of one name."""
    if text == CURRENT:
        current = current_run(folder)
        return [current] if current else []
    runs = _runs(folder)
    exact = [path for path in runs if path.name == text]
    return exact or [path for path in runs if path.name.startswith(text) or path.name.endswith(text)]


def _runs(folder: Path) -> list[Path]:
    """Folders of all published runs, newest first; none where nothing was published."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and "." not in path.name)
    return sorted(found, reverse=True)


def remove_old(folder: Path, n_kept: int) -> list[str]:
    """Remove all but the newest runs, never the current one; return the names removed."""
    current = current_run(folder)
    removed = [path for path in _runs(folder)[max(n_kept, 1) :] if path != current]
    for path in removed:
        shutil.rmtree(path)
    return [path.name for path in removed]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
