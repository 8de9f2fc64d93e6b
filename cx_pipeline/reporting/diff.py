"""What changed between two published runs: customers joined and parted, segments, stages, scores, tables.

Belongs here: comparing the files of two snapshots. Pure but for reading them. Does not belong here: why something changed
(`identity.ledger`, `lifecycle.transitions`), printing (`cli.py`). Samples name customer ids only, never a value of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

N_EXAMPLES = 10

# What a customer can be, as table -> columns whose value is compared.
STATES: dict[str, tuple[str, ...]] = {
    "segmentation.customers": ("rfm_segment", "cluster_name"),
    "lifecycle.customers": ("stage", "engagement_level"),
    "value.tiers": ("tier",),
}
# What a customer scores, as table -> (columns that tell its rows apart, columns whose number is compared).
SCORES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "retention.customers": ((), ("survival_90d", "survival_365d")),
    "value.customers": (("horizon_days",), ("expected_revenue", "clv")),
    "propensity.scores": (("model",), ("probability",)),
}


@dataclass(frozen=True)
class RunDiff:
    """What two runs have differently; every frame is small and empty where nothing differs.

    Attributes:
        customers: change (kept, new, gone, renamed, merged, split), n_customers, examples (customer ids).
        states: table, column, before, after, n_customers: customers whose state changed, most frequent change first.
        scores: table, score, n_customers, mean_before, mean_after, mean_absolute_change, rank_correlation (Spearman, NULL
            under three customers or without variation).
        tables: table, n_rows_before, n_rows_after: those whose number of rows changed, or that only one run has (NULL).
    """

    customers: pl.DataFrame
    states: pl.DataFrame
    scores: pl.DataFrame
    tables: pl.DataFrame


def compare_runs(before: Path, after: Path) -> RunDiff:
    """Compare two published runs.

    Args:
        before: folder of the earlier run in `published/`, with `<step>/<table>.parquet`.
        after: folder of the later one.
    """
    return RunDiff(
        customers=_customers(_memberships(before), _memberships(after)),
        states=_states(before, after),
        scores=_scores(before, after),
        tables=_tables(before, after),
    )


def _read(run: Path, table: str, columns: Sequence[str]) -> pl.DataFrame | None:
    """Some columns of a published table; None where the run does not have the table or one of them."""
    path = run / f"{table.replace('.', '/')}.parquet"
    if not path.is_file() or not set(columns) <= set(pl.read_parquet_schema(path)):
        return None
    return pl.read_parquet(path, columns=list(columns))


def _memberships(run: Path) -> pl.DataFrame:
    """One row per party record and identifier of a run: is_record, a, b (its name), customer_id."""
    parts = [pl.DataFrame(schema={"is_record": pl.Boolean, "a": pl.String, "b": pl.String, "customer_id": pl.String})]
    for table, key in (
        ("identity.customer_xref", ["channel", "record_id"]),
        ("identity.identifier_xref", ["namespace", "value"]),
    ):
        found = _read(run, table, [*key, "customer_id"])
        if found is not None:
            names = {"a": pl.col(key[0]), "b": pl.col(key[1]), "customer_id": pl.col("customer_id")}
            parts.append(found.select(is_record=pl.lit(table == "identity.customer_xref"), **names))
    return pl.concat(parts)


def _customers(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Kinds of change of customers, judged by the records and identifiers that both runs know.

    A customer's successor is the customer that holds most of its records (then of its identifiers, then the first by id). Only
    records split a customer: an identifier may move on, as a phone does.
    """
    shared = (
        before.join(after, on=["is_record", "a", "b"], suffix="_after")
        .group_by(before="customer_id", after="customer_id_after")
        .agg(n_records=pl.col("is_record").sum(), n_members=pl.len())
    )
    successor = (
        shared.sort("before", "n_records", "n_members", "after", descending=[False, True, True, False])
        .group_by("before", maintain_order=True)
        .agg(pl.col("after").first())
    )
    split = shared.filter(pl.col("n_records") > 0).group_by("before").len().filter(pl.col("len") > 1)["before"]
    merged = successor.group_by("after").len().filter(pl.col("len") > 1)["after"]
    alone = successor.filter(~pl.col("after").is_in(merged.implode()), ~pl.col("before").is_in(split.implode()))
    ids_before, ids_after = before["customer_id"].unique(), after["customer_id"].unique()
    groups = {
        "kept": alone.filter(pl.col("before") == pl.col("after"))["after"],
        "renamed": alone.filter(pl.col("before") != pl.col("after"))["after"],
        "merged": merged,
        "split": split,
        "new": ids_after.filter(~ids_after.is_in(shared["after"].implode())),
        "gone": ids_before.filter(~ids_before.is_in(shared["before"].implode())),
    }
    return pl.DataFrame(
        {
            "change": list(groups),
            "n_customers": [len(ids) for ids in groups.values()],
            "examples": [
                "" if change == "kept" else ", ".join(ids.sort().head(N_EXAMPLES)) for change, ids in groups.items()
            ],
        },
        schema={"change": pl.String, "n_customers": pl.Int64, "examples": pl.String},
    )


def _states(before: Path, after: Path) -> pl.DataFrame:
    parts = [
        pl.DataFrame(
            schema={
                "table": pl.String,
                "column": pl.String,
                "before": pl.String,
                "after": pl.String,
                "n_customers": pl.Int64,
            }
        )
    ]
    for table, columns in STATES.items():
        for column in columns:
            old, new = (_read(run, table, ["customer_id", column]) for run in (before, after))
            if old is None or new is None:
                continue
            parts.append(
                old.join(new, on="customer_id", suffix="_after")
                .select(
                    pl.col(column).cast(pl.String).alias("before"),
                    pl.col(f"{column}_after").cast(pl.String).alias("after"),
                )
                .filter(pl.col("before").ne_missing(pl.col("after")))
                .group_by("before", "after")
                .agg(pl.len().cast(pl.Int64).alias("n_customers"))
                .select(pl.lit(table).alias("table"), pl.lit(column).alias("column"), "before", "after", "n_customers")
                .sort("n_customers", "before", "after", descending=[True, False, False])
            )
    return pl.concat(parts)


def _scores(before: Path, after: Path) -> pl.DataFrame:
    parts = []
    for table, (keys, columns) in SCORES.items():
        for column in columns:
            old, new = (_read(run, table, ["customer_id", *keys, column]) for run in (before, after))
            if old is None or new is None:
                continue
            pairs = (
                old.join(new, on=["customer_id", *keys], suffix="_after")
                .select(
                    *keys,
                    pl.col(column).cast(pl.Float64).alias("old"),
                    pl.col(f"{column}_after").cast(pl.Float64).alias("new"),
                )
                .drop_nulls()
                .with_columns(
                    pl.concat_str(
                        [pl.lit(column), *(pl.col(key).cast(pl.String) for key in keys)], separator=" "
                    ).alias("score")
                )
            )
            parts.append(
                pairs.group_by("score")
                .agg(
                    pl.len().cast(pl.Int64).alias("n_customers"),
                    pl.col("old").mean().alias("mean_before"),
                    pl.col("new").mean().alias("mean_after"),
                    (pl.col("new") - pl.col("old")).abs().mean().alias("mean_absolute_change"),
                    pl.corr("old", "new", method="spearman").fill_nan(None).alias("rank_correlation"),
                )
                .select(pl.lit(table).alias("table"), pl.all())
                .sort("score")
            )
    schema = {
        "table": pl.String,
        "score": pl.String,
        "n_customers": pl.Int64,
        "mean_before": pl.Float64,
        "mean_after": pl.Float64,
        "mean_absolute_change": pl.Float64,
        "rank_correlation": pl.Float64,
    }
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def _tables(before: Path, after: Path) -> pl.DataFrame:
    counts = [
        {f"{path.parent.name}.{path.stem}": _n_rows(path) for path in run.glob("*/*.parquet")}
        for run in (before, after)
    ]
    names = sorted(counts[0].keys() | counts[1].keys())
    return pl.DataFrame(
        {
            "table": names,
            "n_rows_before": [counts[0].get(name) for name in names],
            "n_rows_after": [counts[1].get(name) for name in names],
        },
        schema={"table": pl.String, "n_rows_before": pl.Int64, "n_rows_after": pl.Int64},
    ).filter(pl.col("n_rows_before").ne_missing(pl.col("n_rows_after")))


def _n_rows(path: Path) -> int:
    n_rows: int = pl.scan_parquet(path).select(pl.len()).collect().item()
    return n_rows
