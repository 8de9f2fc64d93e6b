"""The clerical queue: which pairs of records a person should look at first, out as CSV and back in as decisions.

Belongs here: ordering pairs by what a verdict would tell, writing the queue, taking over verdicts. Does not belong here: what a decision
means and which is in force (decisions.py).

A verdict on a pair with probability p tells H(p) bits, H(p) = -p log2 p - (1-p) log2 (1-p); it is worth that times the number of
records that would change their customer. The queue holds the records' values side by side, since a clerk must see them: a file for the
eyes of few, to be deleted when it has been imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from cx_pipeline.core.errors import CxPipelineError, Problem
from cx_pipeline.identity.decisions import CANNOT_LINK, MUST_LINK, PAIR_COLUMNS, WITHDRAWN

VERDICT_COLUMNS = ("decision", "decided_by", "decided_at")
DECISION_COLUMNS = (*PAIR_COLUMNS, *VERDICT_COLUMNS)
DECISIONS_FILE = "decisions.csv"
_WORDS = (MUST_LINK, CANNOT_LINK, WITHDRAWN)
_OPEN_REASONS = ("below_threshold", "outvoted", "size_cap", "source_uniqueness")
_KEYS = ["channel", "record_id"]
_ENDS = ["left_source", "left_value", "right_source", "right_value"]
_FORMULA = r"^[=+\-@\t\r]"
_MAX_PROBLEMS = 20


class ReviewError(CxPipelineError):
    """A file of verdicts that cannot be taken over; nothing of it was."""


@dataclass(frozen=True)
class Imported:
    """What an import has done.

    Attributes:
        n_new: verdicts that were added.
        n_known: verdicts that were there already.
        n_open: rows without a verdict.
    """

    n_new: int
    n_known: int
    n_open: int


def review_queue(
    edges: pl.DataFrame, rejected: pl.DataFrame, customer_xref: pl.DataFrame, clusters: pl.DataFrame, n_pairs: int
) -> pl.DataFrame:
    """The pairs that are worth most to look at, best first; one for each two customers, and one within a customer.

    Args:
        edges: `identity.edges`.
        rejected: `identity.rejected_edges`.
        customer_xref: channel, record_id, customer_id.
        clusters: customer_id, n_records, weakest_weight.
        n_pairs: at most.

    Returns:
        PAIR_COLUMNS, left_customer_id, right_customer_id, is_joined, probability, n_records_moved, information_gain_bits.
    """
    said = pl.concat([frame.filter(pl.col("kind") == "human").select(_ENDS) for frame in (edges, rejected)])
    refused = rejected.filter(pl.col("reason").is_in(_OPEN_REASONS))
    scored = pl.concat(
        [
            frame.filter(pl.col("kind") == "probabilistic", pl.col("weight").is_not_null()).select(*_ENDS, "weight")
            for frame in (edges, refused)
        ]
    )
    turned = said.select(pl.col(other).alias(end) for end, other in zip(_ENDS, [*_ENDS[2:], *_ENDS[:2]], strict=True))
    pairs = scored.join(pl.concat([said, turned]), on=_ENDS, how="anti")
    sizes = clusters.select("customer_id", "n_records", "weakest_weight")
    for side in ("left", "right"):
        known = customer_xref.select(*_KEYS, "customer_id").join(sizes, on="customer_id")
        known = known.rename({name: f"{side}_{name}" for name in ("customer_id", "n_records", "weakest_weight")})
        pairs = pairs.join(known, left_on=[f"{side}_source", f"{side}_value"], right_on=_KEYS)
    return _by_gain(pairs).head(n_pairs)


def _by_gain(pairs: pl.DataFrame) -> pl.DataFrame:
    is_joined = pl.col("left_customer_id") == pl.col("right_customer_id")
    hangs_on_it = pl.col("weight") <= pl.col("left_weakest_weight")
    # Within a customer: about half of it where it hangs on this pair, else the record whose pair it is.
    parted = pl.when(hangs_on_it).then(pl.max_horizontal(pl.col("left_n_records") // 2, 1)).otherwise(1)
    moved = pl.when(is_joined).then(parted).otherwise(pl.min_horizontal("left_n_records", "right_n_records"))
    p = 1.0 / (1.0 + (-pl.col("weight").clip(-60, 60) * float(np.log(2.0))).exp())
    q = 1.0 - p
    entropy = pl.when((p <= 0) | (q <= 0)).then(0.0).otherwise(-(p * p.log(2) + q * q.log(2)))
    measured = pairs.with_columns(
        is_joined.alias("is_joined"), p.alias("probability"), moved.cast(pl.Int64).alias("n_records_moved")
    ).with_columns((entropy * pl.col("n_records_moved")).alias("information_gain_bits"))
    low, high = (of("left_customer_id", "right_customer_id") for of in (pl.min_horizontal, pl.max_horizontal))
    names = dict(zip(_ENDS, PAIR_COLUMNS, strict=True))
    return (
        measured.with_columns(low.alias("low"), high.alias("high"))
        .sort("information_gain_bits", *_ENDS, descending=[True, False, False, False, False])
        .unique(["low", "high"], keep="first", maintain_order=True)
        .rename(names)
        .select(
            *PAIR_COLUMNS, "left_customer_id", "right_customer_id", "is_joined", "probability", "n_records_moved",
            "information_gain_bits",
        )
    )  # fmt: skip


def with_values(queue: pl.DataFrame, records: pl.DataFrame) -> pl.DataFrame:
    """The queue as a clerk fills it in: pair, empty verdict, figures, and each field of the two records side by side.

    Args:
        queue: from `review_queue`.
        records: channel, record_id and fields, as delivered (`staging.parties`).
    """
    fields = [name for name in records.columns if name not in _KEYS]
    found = queue
    for side in ("left", "right"):
        # A spreadsheet takes a value that begins with these for a formula.
        text = [pl.col(name).cast(pl.String).str.replace(_FORMULA, "'${0}").alias(f"{side}_{name}") for name in fields]
        found = found.join(
            records.select(*_KEYS, *text),
            left_on=[f"{side}_channel", f"{side}_record_id"],
            right_on=_KEYS,
            how="left",
            maintain_order="left",
        )
    both = [(f"left_{name}", f"right_{name}") for name in fields]
    told = [name for pair in both if any(found[name].null_count() < found.height for name in pair) for name in pair]
    empty = [pl.lit("").alias(name) for name in VERDICT_COLUMNS]
    figures = [name for name in queue.columns if name not in PAIR_COLUMNS]
    rounded = found.with_columns(pl.col("probability", "information_gain_bits").round(6))
    return rounded.select(*PAIR_COLUMNS, *empty, *figures, *told)


def write_private(frame: pl.DataFrame, path: Path, mode: int = 0o600) -> None:
    """Write a CSV that only its owner may read, whole or not at all.

    Args:
        frame: what to write.
        path: the file; its folder is made.
        mode: who may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        frame.write_csv(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def import_verdicts(path: Path, decisions: Path, customer_xref: pl.DataFrame) -> Imported:
    """Add the verdicts of a filled-in queue to `decisions/decisions.csv`; a second time nothing is added.

    Args:
        path: the queue, as exported and filled in; rows without a decision are left open.
        decisions: folder of decisions.
        customer_xref: channel, record_id of the records there are.

    Raises:
        ReviewError: naming every row that cannot be taken over; then none is.
    """
    rows = _read(path, DECISION_COLUMNS).with_row_index("line", offset=2)
    rows = rows.with_columns(pl.col(name).fill_null("").str.strip_chars() for name in VERDICT_COLUMNS)
    given = rows.filter(pl.col("decision") != "").with_columns(
        pl.col("decision").str.to_lowercase().str.replace_all(r"[\s-]+", "_")
    )
    problems = _problems(given, customer_xref, path.name)
    if problems:
        more = len(problems) - _MAX_PROBLEMS
        shown = [*problems[:_MAX_PROBLEMS], *([Problem(f"and {more} more")] if more > 0 else [])]
        raise ReviewError(shown, "Nothing was imported:")
    target = decisions / DECISIONS_FILE
    nothing = pl.DataFrame(schema=dict.fromkeys(DECISION_COLUMNS, pl.String))
    known = _read(target, PAIR_COLUMNS) if target.is_file() else nothing
    at = pl.col("decided_at").map_elements(_as_stored, return_dtype=pl.String)
    verdicts = given.select(DECISION_COLUMNS).with_columns(at).unique(maintain_order=True)
    is_comparable = set(DECISION_COLUMNS) <= set(known.columns)
    new = verdicts.join(known, on=DECISION_COLUMNS, how="anti", maintain_order="left") if is_comparable else verdicts
    if new.height:
        mode = target.stat().st_mode & 0o777 if target.is_file() else 0o600
        write_private(pl.concat([known, new], how="diagonal"), target, mode)
    return Imported(new.height, verdicts.height - new.height, rows.height - given.height)


def _as_stored(text: str) -> str:
    """A time in the one form that a repeated import finds again."""
    return datetime.fromisoformat(text).isoformat(sep=" ", timespec="seconds")


def _read(path: Path, needed: tuple[str, ...]) -> pl.DataFrame:
    if not path.is_file():
        raise ReviewError(Problem("there is no such file", path.name))
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        kind = type(error).__name__
        raise ReviewError(
            Problem("the file is no CSV", path.name, example=kind, remedy="save it as comma-separated UTF-8")
        ) from None
    missing = [name for name in needed if name not in rows.columns]
    if missing:
        raise ReviewError(
            Problem(
                f"the column {', '.join(missing)} is missing",
                path.name,
                remedy="save it comma-separated, with the header as exported",
            )
        )
    return rows


def _problems(given: pl.DataFrame, customer_xref: pl.DataFrame, name: str) -> list[Problem]:
    keys = {side: [f"{side}_channel", f"{side}_record_id"] for side in ("left", "right")}
    unknown = set()
    for columns in keys.values():
        absent = given.join(customer_xref.select(_KEYS), left_on=columns, right_on=_KEYS, how="anti")
        unknown.update(absent["line"].to_list())
    problems = []
    for row in given.iter_rows(named=True):
        for is_wrong, what, remedy in (
            (row["decision"] not in _WORDS, "there is no such decision", f"write one of {', '.join(_WORDS)}"),
            (row["decided_by"] == "", "decided_by is empty", "say who has decided"),
            (not _is_time(row["decided_at"]), "decided_at is no time", "write it as 2026-01-31 or 2026-01-31 14:05"),
            (row["line"] in unknown, "a record is not known", "leave the columns of the pair as they were exported"),
            (
                all(row[a] == row[b] for a, b in zip(keys["left"], keys["right"], strict=True)),
                "a record is paired with itself",
                "take the row out",
            ),
        ):
            if is_wrong:
                problems.append(Problem(what, f"{name}, line {row['line']}", remedy=remedy))
    return problems


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
