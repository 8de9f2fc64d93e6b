"""A customer's card: everything the published tables say about one customer, for `cx show`.

Belongs here: choosing and ordering what is shown. Does not belong here: how it is printed (`cli.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

MAX_EVENTS = 15
# Tables of later rooms with what is concluded about a customer: title -> step, table, columns in the order shown.
CONCLUSIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "stage": ("lifecycle", "customers", ("stage", "since", "previous_stage", "velocity", "evidence")),
    "segment": (
        "segmentation",
        "customers",
        ("rfm_segment", "recency_score", "frequency_score", "monetary_score", "cluster_name"),
    ),
    "retention": (
        "retention",
        "customers",
        (
            "basis",
            "survival_30d",
            "survival_90d",
            "survival_180d",
            "survival_365d",
            "driver_1",
            "driver_2",
            "driver_3",
            "reason",
        ),
    ),
    "value": (
        "value",
        "customers",
        ("horizon_days", "expected_orders", "expected_revenue", "revenue_low", "revenue_high", "clv", "reason"),
    ),
    "scores": (
        "propensity",
        "scores",
        ("model", "probability", "decile", "driver_1", "driver_2", "driver_3", "reason"),
    ),
}


@dataclass(frozen=True)
class Card:
    """One customer.

    Attributes:
        customer_id: the customer.
        golden: attribute -> (value, channel, record_id, rule) of the golden record.
        others: attribute -> values that lost or grew stale, with their channels.
        records: channel, record_id, matched_by, weight of each party record.
        identifiers: namespace, value, first_seen_at, last_seen_at.
        events: the last events of the timeline, newest first.
        n_events: number of all events.
        facts: first and last sight, consent and the like.
        conclusions: what later rooms concluded, by the titles of `CONCLUSIONS`; without columns that say nothing.
    """

    customer_id: str
    golden: dict[str, tuple[str, str, str, str]]
    others: dict[str, list[tuple[str, str]]]
    records: pl.DataFrame
    identifiers: pl.DataFrame
    events: pl.DataFrame
    n_events: int
    facts: dict[str, object]
    conclusions: dict[str, pl.DataFrame]


def find_customer(run: Path, wanted: str) -> list[str]:
    """Ids of the customers that a full id, or the beginning of one, may mean; at most five."""
    ids = pl.scan_parquet(run / "profile" / "customers.parquet").select("customer_id")
    exact = ids.filter(pl.col("customer_id") == wanted).collect()["customer_id"].to_list()
    return (
        exact
        or ids.filter(pl.col("customer_id").str.starts_with(wanted))
        .sort("customer_id")
        .head(5)
        .collect()["customer_id"]
        .to_list()
    )


def customer_card(run: Path, customer_id: str) -> Card:
    """Collect a customer's card from the files of a published run.

    Args:
        run: folder of the run, resolved once, so that all tables are of one night.
        customer_id: an id that is there.
    """

    def rows(step: str, table: str) -> pl.DataFrame:
        return pl.scan_parquet(run / step / f"{table}.parquet").filter(pl.col("customer_id") == customer_id).collect()

    values = rows("profile", "attribute_values").sort("attribute", "status", "value")
    golden = {
        row["attribute"]: (row["value"], row["channel"], row["record_id"], row["rule"])
        for row in values.filter(pl.col("status") == "winner").to_dicts()
    }
    others: dict[str, list[tuple[str, str]]] = {}
    for row in values.filter(pl.col("status") != "winner").to_dicts():
        said = others.setdefault(row["attribute"], [])
        if row["value"] != golden.get(row["attribute"], ("",))[0] and (row["value"], row["channel"]) not in said:
            said.append((row["value"], row["channel"]))
    customer = rows("profile", "customers").to_dicts()[0]
    events = rows("profile", "timeline").sort("at", "kind", "record_id", descending=[True, False, False])
    facts = ("first_seen_at", "last_seen_at", "n_records", "n_channels", "n_identifiers", "consent", "as_of")
    return Card(
        customer_id=customer_id,
        golden=golden,
        others={name: said for name, said in others.items() if said},
        records=rows("identity", "customer_xref").drop("customer_id"),
        identifiers=rows("identity", "identifier_xref").drop("customer_id"),
        events=events.head(MAX_EVENTS).drop("customer_id"),
        n_events=events.height,
        facts={name: customer[name] for name in facts},
        conclusions=conclusions(run, customer_id),
    )


def conclusions(run: Path, customer_id: str) -> dict[str, pl.DataFrame]:
    """What the later rooms of a published run say about a customer; a room that was not published, or says nothing, is left out.

    Args:
        run: folder of the run.
        customer_id: an id that is there.
    """
    found: dict[str, pl.DataFrame] = {}
    for title, (step, table, columns) in CONCLUSIONS.items():
        path = run / step / f"{table}.parquet"
        if not path.is_file():
            continue
        there = [name for name in columns if name in pl.read_parquet_schema(path)]
        rows = pl.scan_parquet(path).filter(pl.col("customer_id") == customer_id).select(there).collect()
        told = [name for name in there if rows[name].null_count() < rows.height]
        if rows.height and told:
            found[title] = rows.select(told).sort(told[0])
    return found
