"""Assets of the identity room, in flow order."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from cx_pipeline.core.assets import OWNERS, asset_key, contract_check, written_results
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.workspace import Run, Workspace
from cx_pipeline.identity import customers, plots
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
PLOTS = {"customer_xref": plots.records_per_customer}


@dg.multi_asset(
    name="identity__customers",
    specs=[
        dg.AssetSpec(
            asset_key(f"identity.{name}"),
            description=description,
            group_name="identity",
            owners=OWNERS,
            kinds={"duckdb", "splink", "table"},
            deps=[asset_key(f"staging.{table}") for table in READS],
            metadata={"dagster/column_schema": TABLES[name].dagster_schema(), "dagster/table_name": f"identity.{name}"},
        )
        for name, description in _DESCRIPTIONS.items()
    ],
    check_specs=[contract_check(TABLES[name]) for name in _DESCRIPTIONS],
)
def resolved_customers(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """One customer_id for each person: records compared with Splink, joined with what identifiers say, named stably."""
    run = workspace.run(context)
    frames = resolve_customers(run)
    with run.warehouse.transaction():
        for name in _DESCRIPTIONS:
            table, frame = TABLES[name], frames[name]
            yield from written_results(
                table, lambda t=table, f=frame: run.warehouse.write(t, f), run.warehouse, PLOTS.get(name)
            )  # type: ignore[misc]


def resolve_customers(run: Run) -> dict[str, pl.DataFrame]:
    """The four tables of the room from tonight's staged records."""
    parties = run.warehouse.read("staging.parties")
    identifiers, party_identifiers, pairs = (to_polars(run.warehouse.read(f"staging.{name}")) for name in READS[1:])
    policy = run.policy(CustomerPolicy)
    records = number_records(to_polars(standardise(parties)), _raw_identifiers(party_identifiers, identifiers))
    linkage = link(records, run.policy(LinkagePolicy), frozenset(c.name for c in run.channels if c.duplicate_free))
    groups = customers.strong_groups(identifiers, party_identifiers, pairs, policy)
    links = customers.must_links(records, party_identifiers, groups)
    clusters = resolve(records.height, linkage.edges, links, run.policy(ResolutionPolicy))
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
