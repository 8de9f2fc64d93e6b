"""The truth beside a simulated company: writing its tables, and the README that says what each one means.

Belongs here: file layout of `truth/`; the words stand in `truth.md`. Does not belong here: facts (the module that plants one tells of it).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cx_pipeline.simulate.records import TRUTH_README

_BEHAVIOUR = Path(__file__).parent / "truth.md"
_PROVEN_BY_RECORDS = "7, 15, 17-19, 26, 27"


def write_truth(folder: Path, table: str, frame: pl.DataFrame) -> None:
    """Write a table of truth as Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / f"{table}.parquet", compression="zstd", statistics=False)


def readme() -> str:
    """The README of `truth/`: every table that may stand there, its grain, columns, and the capability it proves."""
    rows = [f"| {name} | {text} | {_PROVEN_BY_RECORDS} |" for name, text in TRUTH_README.items()]
    return _BEHAVIOUR.read_text(encoding="utf-8") + "\n".join(rows) + "\n"


def write_readme(folder: Path) -> None:
    """Write README.md into the folder of truth."""
    (folder / "README.md").write_text(readme(), encoding="utf-8")
