"""Decisions of people: reviewers' must-links and cannot-links, and clerical labels.

Belongs here: reading `decisions/*.csv` and `labels/*.csv`, and which verdict on a pair of records is in force. Does not belong here:
carrying them out (resolution.py), making the queue that is reviewed.

A verdict stands as long as its row does: taking the row out of the file, or adding a newer row that says `withdrawn`, takes it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import narwhals as nw
import polars as pl

from cx_pipeline.core.errors import CxPipelineError, Problem
from cx_pipeline.core.extracts import ExtractFormat
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.tables import Column, Rule, Table

if TYPE_CHECKING:
    from cx_pipeline.core.warehouse import Warehouse

MUST_LINK, CANNOT_LINK, WITHDRAWN = "must_link", "cannot_link", "withdrawn"
PAIR_COLUMNS = ("left_channel", "left_record_id", "right_channel", "right_record_id")
VERDICT_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(PAIR_COLUMNS, pl.String()),
        "verdict": pl.String(),
        "decided_at": pl.Datetime("us"),
        "is_label": pl.Boolean(),
        "source_file": pl.String(),
        "source_line": pl.Int64(),
    }
)
_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0", "match"), ("false", "f", "no", "n", "0", "0.0", "non_match")
_WORDS = {
    **dict.fromkeys((MUST_LINK, "link", "merge", "same", *_TRUE), MUST_LINK),
    **dict.fromkeys((CANNOT_LINK, "split", "different", *_FALSE), CANNOT_LINK),
    **dict.fromkeys((WITHDRAWN, "withdraw", "revoked", "undecided"), WITHDRAWN),
}
_MAX_PROBLEMS = 20


class DecisionError(CxPipelineError):
    """Files of decisions or labels that cannot be understood; the night stops rather than overlook what a person has decided."""


@dataclass(frozen=True)
class Decisions:
    """Verdicts as links between records.

    Attributes:
        must_links: left, right (record numbers), priority: the newest decision has the lowest.
        cannot_links: left, right.
        verdicts: `VERDICT_SCHEMA` of every pair that was ever judged, and status (in_force | superseded | unknown_record | withdrawn).
    """

    must_links: pl.DataFrame
    cannot_links: pl.DataFrame
    verdicts: pl.DataFrame


def read_verdicts(warehouse: Warehouse, decisions: Path, labels: Path, time_zone: str = "UTC") -> pl.DataFrame:
    """Every row of the files of decisions and labels, in `VERDICT_SCHEMA`; no row where the folders are missing.

    Args:
        warehouse: its engine reads the files.
        decisions: folder of reviewers' decisions.
        labels: folder of clerical labels.
        time_zone: of `decided_at` without offset.

    Raises:
        DecisionError: naming file, line and reason of every row that cannot be understood.
    """
    problems: list[Problem] = []
    files = [(path, is_label) for folder, is_label in ((decisions, False), (labels, True)) for path in _files(folder)]
    found = [
        _read_file(warehouse, path, f"{path.parent.name}/{path.name}", is_label, time_zone, problems)
        for path, is_label in files
    ]
    if problems:
        more = len(problems) - _MAX_PROBLEMS
        shown = [*problems[:_MAX_PROBLEMS], *([Problem(f"and {more} more rows")] if more > 0 else [])]
        raise DecisionError(shown, "Decisions of reviewers cannot be understood:")
    return pl.concat([pl.DataFrame(schema=VERDICT_SCHEMA), *found])


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.csv")) if folder.is_dir() else []


def _table(is_label: bool) -> Table:
    optional = () if is_label else ("decision", "decided_by")
    names = (*PAIR_COLUMNS, "is_match", *optional)
    columns = [Column(name, "string", "VARCHAR", required=name in PAIR_COLUMNS) for name in names]
    if not is_label:
        columns.append(Column("decided_at", "timestamp", "TIMESTAMP"))
    rules = [Rule(f"{name}_is_never_null", "not_null", (name,)) for name in PAIR_COLUMNS]
    return Table(
        "identity", "labels" if is_label else "decisions", "One row per verdict.", tuple(columns), tuple(rules)
    )


def _read_file(
    warehouse: Warehouse, path: Path, name: str, is_label: bool, time_zone: str, problems: list[Problem]
) -> pl.DataFrame:
    with warehouse.transaction():
        loaded = warehouse.load_extract(
            path, _table(is_label), ExtractFormat(company_time_zone=time_zone), source_file=name
        )
        rows = to_polars(warehouse.temporary(loaded.typed))
        rejected = to_polars(warehouse.temporary(loaded.rejected).select("source_line", nw.col("rule")))
        for table in (loaded.typed, loaded.rejected):
            warehouse.drop_temporary(table)
    missing = [column for column in PAIR_COLUMNS if column in loaded.columns_missing]
    if missing:
        problems.append(Problem(f"the column {', '.join(missing)} is missing", name, remedy=_layout(is_label)))
        return pl.DataFrame(schema=VERDICT_SCHEMA)
    problems.extend(
        Problem(f"the rule {rule} does not hold", f"{name}, line {line}", remedy=_layout(is_label))
        for line, rule in rejected.sort("source_line").iter_rows()
    )
    said = pl.coalesce("is_match") if is_label else pl.coalesce("decision", "is_match")
    word = said.str.strip_chars().str.to_lowercase().str.replace_all(r"[\s-]+", "_")
    judged = rows.with_columns(
        word.replace_strict(_WORDS, default=None, return_dtype=pl.String).alias("verdict"),
        pl.lit(is_label).alias("is_label"),
        pl.lit(None, dtype=pl.Datetime("us")).alias("decided_at") if is_label else pl.col("decided_at"),
    )
    for row in judged.filter(pl.col("verdict").is_null()).sort("source_line").iter_rows(named=True):
        words = "is_match is true or false" if is_label else "decision is must_link, cannot_link or withdrawn"
        problems.append(
            Problem("there is no verdict that is known", f"{name}, line {row['source_line']}", remedy=words)
        )
    itself = (pl.col("left_channel") == pl.col("right_channel")) & (
        pl.col("left_record_id") == pl.col("right_record_id")
    )
    problems.extend(
        Problem("a record is paired with itself", f"{name}, line {line}", remedy="take the row out")
        for line in judged.filter(itself)["source_line"].sort()
    )
    return judged.select(pl.col(column).cast(dtype) for column, dtype in VERDICT_SCHEMA.items())


def _layout(is_label: bool) -> str:
    return (
        f"the columns are {', '.join(PAIR_COLUMNS)}, is_match{'' if is_label else ', decision, decided_by, decided_at'}"
    )


def decide(records: pl.DataFrame, verdicts: pl.DataFrame, *, labels_decide: bool = True) -> Decisions:
    """Which verdicts are in force tonight.

    The newest verdict on a pair wins, whichever record stands left; among those of one time the last in the files. Labels have no time
    and yield to every decision.

    Args:
        records: record, channel, record_id.
        verdicts: `VERDICT_SCHEMA`.
        labels_decide: whether labels join and part records at all.
    """
    rows = verdicts.filter(~pl.col("is_label") | pl.lit(labels_decide))
    left, right = (
        pl.concat_str([f"{side}_channel", f"{side}_record_id"], separator="\x1f") for side in ("left", "right")
    )
    order = ["is_label", "decided_at", "source_file", "source_line"]
    ordered = rows.with_columns(
        pl.min_horizontal(left, right).alias("low"), pl.max_horizontal(left, right).alias("high")
    ).sort(order, descending=[True, False, False, False], nulls_last=False)
    ordered = ordered.with_columns((pl.int_range(pl.len()).reverse().over("low", "high") == 0).alias("is_newest"))
    number = records.select("channel", "record_id", pl.col("record").cast(pl.Int64))
    for side in ("left", "right"):
        ordered = ordered.join(
            number.rename({"channel": f"{side}_channel", "record_id": f"{side}_record_id", "record": side}),
            on=[f"{side}_channel", f"{side}_record_id"],
            how="left",
            maintain_order="left",
        )
    status = (
        pl.when(~pl.col("is_newest"))
        .then(pl.lit("superseded"))
        .when(pl.col("verdict") == WITHDRAWN)
        .then(pl.lit(WITHDRAWN))
        .when(pl.col("left").is_null() | pl.col("right").is_null())
        .then(pl.lit("unknown_record"))
        .otherwise(pl.lit("in_force"))
    )
    judged = ordered.with_columns(status.alias("status"))
    in_force = judged.filter(pl.col("status") == "in_force")
    must = in_force.filter(pl.col("verdict") == MUST_LINK)
    return Decisions(
        # Later rows are newer: the last has priority 0.
        must.select("left", "right", pl.int_range(pl.len(), dtype=pl.Int64).reverse().alias("priority")),
        in_force.filter(pl.col("verdict") == CANNOT_LINK).select("left", "right"),
        judged.select(*VERDICT_SCHEMA, "status", "left", "right"),
    )
