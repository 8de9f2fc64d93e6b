"""Assets of the identity room, in flow order."""

import json
from typing import Any

import polars as pl

from cx_pipeline.core.assets import tables_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.workspace import Run
from cx_pipeline.identity import customers, plots
from cx_pipeline.identity.blocking import exclusive_channels
from cx_pipeline.identity.fields import number_records
from cx_pipeline.identity.linkage import Linkage, link
from cx_pipeline.identity.policy import CustomerPolicy, LinkagePolicy, ResolutionPolicy
from cx_pipeline.identity.resolution import resolve
from cx_pipeline.identity.standardise import standardise

TABLES = load_step("identity")
READS = ("parties", "identifiers", "party_identifiers", "identifier_pairs")
_DESCRIPTIONS = {
    "customer_xref": "One row per staged party record: the customer it belongs to, and what joined it to the customer.",
    "identifier_xref": "One row per identifier: the customer it leads to. Customers known by an identifier alone are customers too.",
    "model": "One row: the linkage model in use as Splink settings JSON, for explanation and audit.",
    "linkage_report": "One row per figure of how tonight's records were linked: pairs, rules, thresholds.",
}


@tables_asset(
    "identity__customers",
    [TABLES[name] for name in _DESCRIPTIONS],
    descriptions=_DESCRIPTIONS,
    needs=[f"staging.{table}" for table in READS],
    plots={"customer_xref": plots.records_per_customer},
)
def resolved_customers(run: Run) -> dict[str, pl.DataFrame]:
    """One customer_id for each person: records compared with Splink, joined with what identifiers say, named stably."""
    parties = run.warehouse.read("staging.parties")
    identifiers, party_identifiers, pairs = (to_polars(run.warehouse.read(f"staging.{name}")) for name in READS[1:])
    policy = run.policy(CustomerPolicy)
    records = number_records(to_polars(standardise(parties)), _raw_identifiers(party_identifiers, identifiers))
    duplicate_free = frozenset(channel.name for channel in run.channels if channel.duplicate_free)
    linkage = link(records, run.policy(LinkagePolicy), duplicate_free)
    groups = customers.strong_groups(identifiers, party_identifiers, pairs, policy)
    links = customers.must_links(records, party_identifiers, groups)
    one_record_each = pl.Series(exclusive_channels(records["channel"], duplicate_free)).replace(-1, None)
    clusters = resolve(
        records.height, linkage.edges, links, run.policy(ResolutionPolicy), exclusive_group=one_record_each
    )
    named = customers.name_customers(
        records, clusters, identifiers, party_identifiers, pairs, groups, policy, run.hash_key
    )
    return {
        "customer_xref": named.customer_xref,
        "identifier_xref": named.identifier_xref,
        "model": pl.DataFrame({"settings": [json.dumps(linkage.model, sort_keys=True, default=str)]}),
        "linkage_report": linkage_report(linkage),
    }


def _raw_identifiers(party_identifiers: pl.DataFrame, identifiers: pl.DataFrame) -> pl.DataFrame:
    """The records' identifiers as delivered, to be compared with tolerance; e-mail and phone are fields of the record already."""
    raw = identifiers.select("channel", "namespace", "value", "raw_value")
    joined = party_identifiers.filter(~pl.col("namespace").is_in(["email", "phone"])).join(
        raw, on=["channel", "namespace", "value"]
    )
    return joined.select("channel", "record_id", "namespace", pl.col("raw_value").alias("value"))


def linkage_report(linkage: Linkage) -> pl.DataFrame:
    """One row per figure of the linkage; nested figures have dotted names."""
    rows: list[dict[str, object]] = []

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(value, bool | int | float):
            rows.append({"figure": name, "value": float(value), "text": None})
        else:
            rows.append({"figure": name, "value": None, "text": str(value)})

    walk("", linkage.report)
    return pl.DataFrame(rows, schema={"figure": pl.String, "value": pl.Float64, "text": pl.String})


ASSETS = (resolved_customers,)
