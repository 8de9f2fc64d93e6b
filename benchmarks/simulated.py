"""What the simulator planted, found again: precision and recall of a night's published tables against the truth beside landing.

Run with `cx bench simulated`; `CX_BENCH_CUSTOMERS` (default 2000) and `CX_BENCH_DAYS` (548) say how large the company is, or
`CX_BENCH_COMPANY` names the data directory of a simulated company whose night has run. Only this evaluation reads truth/.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

Tables = Callable[[str], pl.DataFrame]
SEED = 7


def main() -> None:
    """Print one line per planted thing."""
    company = os.environ.get("CX_BENCH_COMPANY")
    if company:
        show(found_again(Path(company)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "company"
        size = ["--customers", os.environ.get("CX_BENCH_CUSTOMERS", "2000")]
        days = ["--days", os.environ.get("CX_BENCH_DAYS", "548"), "--seed", str(SEED)]
        cx(["simulate", str(root), *size, *days], root)
        cx(["run"], root)
        show(found_again(root))


def cx(arguments: list[str], root: Path) -> None:
    """One `cx` command on a data directory, in a process of its own; what it says is shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "cx_pipeline.cli", *arguments],
        env={**os.environ, "CX_DATA_DIR": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def show(figures: pl.DataFrame) -> None:
    """Print the figures as a table."""
    print(f"{'planted':<44}{'true':>8}{'found':>8}{'precision':>11}{'recall':>9}")
    for planted, n_true, n_found, precision, recall in figures.iter_rows():
        print(f"{planted:<44}{n_true:>8,}{n_found:>8,}{precision:>11.4f}{recall:>9.4f}")


def found_again(root: Path) -> pl.DataFrame:
    """Compare the current published run of a simulated company with its truth.

    Args:
        root: the data directory; a night has run on it.

    Returns:
        one row per planted thing: planted, n_true, n_found, precision, recall.
    """
    published = root / "published" / (root / "published" / "CURRENT_RUN").read_text(encoding="utf-8").strip()

    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet(published / f"{name.replace('.', '/')}.parquet")

    def truth(name: str) -> pl.DataFrame:
        return pl.read_parquet(root / "truth" / f"{name}.parquet")

    person = persons_of_customers(table, truth)
    conflicts = table("profile.online_offline_conflicts").join(person, on="customer_id", how="left")
    links = table("profile.customer_links").join(person, on="customer_id").join(
        person.rename({"customer_id": "other_customer_id", "person_id": "other_person_id"}), on="other_customer_id"
    )  # fmt: skip
    referred = links.filter(pl.col("relation") == "referred").select("person_id", "other_person_id")
    overlay = table("profile.overlay_matches").join(person, on="customer_id").select("record_id", "person_id")
    matches = truth("overlay_matches")
    month = pl.col("month").cast(pl.String).str.slice(0, 7)
    sources = table("channels.discovery").filter(~pl.col("source").str.starts_with("("))
    rows = [
        _pairs("one customer: pairs of party records", *_partition(table, truth, False)),
        _pairs("one customer: linkable party records", *_partition(table, truth, True)),
        _judged("unmapped sources", sources.select("source"), truth("unmapped_sources").select("source")),
        _judged(
            "unmapped sources by month",
            sources.filter(pl.col("n_events") > 0).select("source", month),
            truth("unmapped_sources").select("source", month),
        ),
        _judged(
            "on-line/off-line contradictions",
            conflicts.select("person_id", "kind"),
            truth("contradictions").select("person_id", "kind"),
        ),
        _judged(
            "third-party records matched, of findable",
            overlay.join(matches.filter("is_findable"), on="record_id", how="semi"),
            matches.filter("is_findable").select("record_id", "person_id"),
        ),
        _judged("referrals", referred, truth("referrals").filter("is_recorded").select("referrer_id", "referred_id")),
        _judged("rows that break a contract, by file", *_broken(table, truth)),
    ]
    return pl.DataFrame(rows, schema=["planted", "n_true", "n_found", "precision", "recall"], orient="row")


def persons_of_customers(table: Tables, truth: Tables) -> pl.DataFrame:
    """customer_id, person_id: the person most of a customer's party records are of; of several customers each counts."""
    records = truth("records").drop_nulls("person_id").select("channel", "record_id", "person_id")
    votes = table("identity.customer_xref").join(records, on=["channel", "record_id"])
    return (
        votes.group_by("customer_id", "person_id")
        .len()
        .sort("len", "person_id", descending=[True, False])
        .unique("customer_id", keep="first", maintain_order=True)
        .select("customer_id", "person_id")
    )


def _partition(table: Tables, truth: Tables, only_linkable: bool) -> tuple[pl.Series, pl.Series]:
    entity = pl.coalesce(pl.format("p{}", "person_id"), pl.format("a{}", "account_id")).alias("entity")
    records = (
        truth("records").filter(pl.col("is_linkable") | (not only_linkable)).select("channel", "record_id", entity)
    )
    both = records.drop_nulls("entity").join(table("identity.customer_xref"), on=["channel", "record_id"])
    return both["customer_id"], both["entity"]


def _pairs(planted: str, found: pl.Series, true: pl.Series) -> tuple[str, int, int, float, float]:
    frame = pl.DataFrame({"found": found, "true": true})

    def pairs(*columns: str) -> int:
        sizes = frame.group_by(columns).len()["len"].cast(pl.Int64)
        return int((sizes * (sizes - 1) // 2).sum())

    hits, n_found, n_true = pairs("found", "true"), pairs("found"), pairs("true")
    return planted, n_true, n_found, hits / max(n_found, 1), hits / max(n_true, 1)


def _judged(planted: str, found: pl.DataFrame, true: pl.DataFrame) -> tuple[str, int, int, float, float]:
    said, held = set(found.unique().iter_rows()), set(true.unique().iter_rows())
    hits = len(said & held)
    return planted, len(held), len(said), hits / max(len(said), 1), hits / max(len(held), 1)


def _broken(table: Tables, truth: Tables) -> tuple[pl.DataFrame, pl.DataFrame]:
    manifest = table("staging.load_manifest").filter(pl.col("rows_rejected") > 0)
    dirt = truth("dirt").filter(pl.col("n_rejected") > 0)
    n_rejected = pl.col("rows_rejected").cast(pl.Int64).alias("n_rejected")
    return (
        manifest.select("channel", "file", n_rejected),
        dirt.select("channel", "file", pl.col("n_rejected").cast(pl.Int64)),
    )


if __name__ == "__main__":
    main()
