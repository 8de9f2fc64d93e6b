"""Versions of records: which row of a key stands, which are superseded, which contradict their own file.

Belongs here: the decision, as a pure function that does not depend on the order of arrival. Does not belong here: storing it.
"""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

VERDICT = "__verdict"


def judge_versions(
    rows: nw.LazyFrame,
    *,
    key: Sequence[str],
    updated_at: str | None,
    key_is_declared: bool,
    newest_file: str | None = None,
) -> nw.LazyFrame:
    """Add `__verdict` to every row: `current`, `superseded` or `rejected`.

    The newest version of a key stands: latest `updated_at`, then greatest file name, then last line. Where the contract
    declares the key and one file holds it twice with nothing to tell the versions apart, the first line stays and the others
    are rejected. Rows whose key is NULL in part stand for themselves. The result depends on the rows alone, never on the
    order in which files arrived.

    Args:
        rows: with the key columns, `updated_at`, `source_file`, `source_line`.
        key: columns that identify a record; empty: every row stands for itself.
        updated_at: column with the time of the last change, if the channel has one.
        key_is_declared: whether the contract's keys (not only the role record.id) say that the key is unique.
        newest_file: for snapshot channels: only rows of this file are current.
    """
    is_old = nw.col("source_file") != newest_file if newest_file is not None else nw.lit(False)
    if not key:
        return rows.with_columns(nw.when(is_old).then(nw.lit("superseded")).otherwise(nw.lit("current")).alias(VERDICT))
    has_key = ~nw.any_horizontal(*(nw.col(name).is_null() for name in key), ignore_nulls=False)
    version = [updated_at] if updated_at else []
    numbered = rows.with_columns(has_key.alias("__has_key"), is_old.alias("__is_old"), nw.lit(1).alias("__one"))
    # A snapshot stands by itself: nothing in an older one can supersede a row of it.
    partition = [*key, "__has_key", "__is_old"]
    numbered = numbered.with_columns(
        nw.col("__one").cum_sum().over(*partition, *version, "source_file", order_by="source_line").alias("__repeat")
        if key_is_declared
        else nw.lit(1).alias("__repeat")
    )
    contradicts = nw.col("__has_key") & (nw.col("__repeat") > 1)
    judged = numbered.with_columns(contradicts.alias("__contradicts"))
    order = [*version, "source_file", "source_line"]
    judged = judged.with_columns(
        nw.col("__one").cum_sum().over(*partition, "__contradicts", order_by=order).alias("__nth"),
        nw.col("__one").sum().over(*partition, "__contradicts").alias("__n"),
    )
    stands = ~nw.col("__is_old") & (~nw.col("__has_key") | (nw.col("__nth") == nw.col("__n")))
    verdict = (
        nw.when(nw.col("__contradicts"))
        .then(nw.lit("rejected"))
        .otherwise(nw.when(stands).then(nw.lit("current")).otherwise(nw.lit("superseded")))
    )
    return judged.with_columns(verdict.alias(VERDICT)).drop(
        "__has_key", "__is_old", "__one", "__repeat", "__contradicts", "__nth", "__n"
    )
