"""Assets of the channels room, in flow order. All but the catalogue read what staging and identity have made of the channels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import narwhals as nw
import polars as pl

from cx_pipeline.channels import catalogue as catalogue_logic
from cx_pipeline.channels import coverage as coverage_logic
from cx_pipeline.channels import discovery as discovery_logic
from cx_pipeline.channels import drift, overlay_match_rate, plots, samples
from cx_pipeline.channels import field_register as register_logic
from cx_pipeline.channels.policy import CataloguePolicy, CoveragePolicy, DiscoveryPolicy, DriftPolicy, OverlayRatePolicy
from cx_pipeline.core.assets import table_asset
from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.steps import STEPS
from cx_pipeline.core.tables import Table
from cx_pipeline.core.workspace import CLOCK, Run

TABLES = load_step("channels")
_MANIFEST = "staging.load_manifest"
_STAGING = load_step("staging")
CANONICAL: Mapping[str, Table] = {
    str(table.properties["kind"]): table for table in _STAGING.values() if "kind" in table.properties
}
_CANONICAL_NAMES = tuple(table.full_name for table in CANONICAL.values())


@table_asset(TABLES["catalogue"])
def catalogue(run: Run) -> pl.DataFrame:
    """One row per channel that has a contract: its pillar, mode, function, stance, maturity and trust.

    Read from `channels/*.yaml` of the data directory; a channel is added by adding a file.
    """
    return catalogue_logic.catalogue(run.channels, TABLES["catalogue"], run.policy(CataloguePolicy))


@table_asset(
    TABLES["coverage"],
    reads=("identity.identifier_xref", "identity.customer_xref", "profile.overlay_matches"),
    needs=(_MANIFEST, CLOCK, *_CANONICAL_NAMES),
    plot=plots.coverage,
)
def coverage(run: Run, xref: nw.LazyFrame, records: nw.LazyFrame, overlay: nw.LazyFrame) -> pl.DataFrame:
    """One row per channel and month: is it harvested - records, share of fields filled, share linked to a customer, freshness.

    Months without data are rows of zeros. The freshness is that of the data; the UI's freshness policy is that of the run.
    """
    months = {
        channel.name: to_polars(
            coverage_logic.monthly_rows(_rows(run, channel), channel, CANONICAL[channel.kind], run.as_of)
        )
        for channel in run.channels
    }
    kinds = sorted({channel.kind for channel in run.channels} - {"overlay"})
    links = [_links(run, kind, records if kind == "party" else xref) for kind in kinds]
    matched = overlay.filter(~nw.col("customer_id").is_null())
    links.append(to_polars(coverage_logic.monthly_links(overlay, matched, ["observed_at"], run.as_of)))
    schema = {"channel": pl.String, "month": pl.Date, "n_linked": pl.Int64}
    linked = pl.concat([pl.DataFrame(schema=schema), *(frame.select(list(schema)).cast(schema) for frame in links)])  # type: ignore[arg-type]
    rows = coverage_logic.coverage(run.channels, months, linked, run.as_of, run.policy(CoveragePolicy))
    return rows if run.channels else TABLES["coverage"].empty()


def _rows(run: Run, channel: Channel) -> nw.LazyFrame:
    return run.warehouse.read(channel.table.full_name)


def _links(run: Run, kind: str, owners: nw.LazyFrame) -> pl.DataFrame:
    """channel, month, n_linked of the channels of a kind; nothing where its records name nobody.

    Orders derived from lines stand beside delivered ones, under the name of the lines' channel: they are not asked for.
    """
    table, own = CANONICAL[kind], [channel.name for channel in run.channels if channel.kind == kind]
    if "identifier_value" not in table.column_names:
        return pl.DataFrame(schema={"channel": pl.String, "month": pl.Date, "n_linked": pl.Int64})
    times = coverage_logic.canonical_times(table)
    records = run.warehouse.read(table.full_name).filter(nw.col("channel").is_in(own))
    return to_polars(coverage_logic.monthly_links(records, owners, times, run.as_of))


@table_asset(
    TABLES["discovery"],
    reads=("staging.attributes", "staging.interactions", "identity.identifier_xref", "identity.customer_xref"),
    needs=(CLOCK, "staging.products", "staging.order_lines"),
    plot=plots.discovery,
)
def discovery(
    run: Run, attributes: nw.LazyFrame, interactions: nw.LazyFrame, xref: nw.LazyFrame, records: nw.LazyFrame
) -> pl.DataFrame:
    """One row per month and source that customers use and no channel covers: new and emerging channels.

    Sources are what attributes like `attribute.referrer` and places of online interactions name. Values of few customers are not named.
    """
    policy, logic = run.policy(DiscoveryPolicy), discovery_logic
    categories = [
        run.warehouse.read(name).select(nw.col("product_category").alias("place")).unique()
        for name in ("staging.products", "staging.order_lines")
    ]
    mentions = nw.concat(
        [
            logic.mentions_in_attributes(attributes, run.channels, policy),
            logic.mentions_in_places(interactions, categories, run.channels, policy),
        ]
    )
    named = run.warehouse.materialise(logic.with_source(mentions, policy), "channels__named_sources")
    unmapped = logic.unmapped(to_polars(named.select("source").unique()), logic.known_sources(run.channels, policy))
    unknown = logic.with_customer(named.join(run.warehouse.frame(unmapped), on="source", how="inner"), xref, records)
    unknown = run.warehouse.materialise(unknown, "channels__unmapped_mentions")
    labels = logic.name_sources(to_polars(logic.customers_per_source(unknown)), policy)
    used = logic.used_by_month(unknown, run.warehouse.frame(labels), run.as_of)
    used = run.warehouse.materialise(used, "channels__unmapped_sources")
    rows = logic.discovery(
        to_polars(logic.monthly_counts(used)),
        to_polars(logic.customers_per_source(used)),
        to_polars(used.select("source", "found_in").unique()),
        run.channels,
        run.as_of,
        policy,
    )
    for name in ("channels__named_sources", "channels__unmapped_mentions", "channels__unmapped_sources"):
        run.warehouse.drop_temporary(name)
    return rows


@table_asset(TABLES["field_register"], needs=(_MANIFEST, CLOCK), notes=plots.unused_fields)
def field_register(run: Run) -> pl.DataFrame:
    """One row per channel and field: its role, how full it is, the tables and the decision it feeds, or why it feeds none."""
    known = {table.full_name for step in STEPS for table in load_step(step).values()}
    fills = {channel.name: register_logic.filled(_rows(run, channel), channel) for channel in run.channels}
    rows = register_logic.field_register(run.channels, fills, CANONICAL, known, run.as_of)
    return pl.DataFrame(rows, schema=TABLES["field_register"].polars_schema())


@table_asset(
    TABLES["overlay_match_rate"],
    reads=("profile.overlay_matches",),
    needs=(CLOCK,),
    plot=plots.overlay_match_rate,
)
def overlay_rates(run: Run, matches: nw.LazyFrame) -> pl.DataFrame:
    """One row per provider of third-party data: how many of its records find a customer, by what, and how old they are."""
    providers = [channel.name for channel in run.channels if channel.kind == "overlay"]
    return overlay_match_rate.overlay_match_rate(
        matches, providers, TABLES["overlay_match_rate"], run.as_of, run.policy(OverlayRatePolicy)
    )


@table_asset(TABLES["schema_drift"], reads=(_MANIFEST,), needs=(CLOCK,))
def schema_drift(run: Run, manifest: nw.LazyFrame) -> pl.DataFrame:
    """One row per channel and column in which its newest files differ from its contract: new, missing, renamed or of another type.

    `cx validate --propose` shows the contract that would fit.
    """
    policy = run.policy(DriftPolicy)
    loaded = to_polars(manifest.filter(nw.col("status") == "loaded").select("channel", "file", "loaded_at"))
    found = {}
    for channel in run.channels:
        fmt = samples.extract_format(channel, run.settings.company.time_zone)
        folder = run.data.landing / channel.name
        files = drift.newest_files(loaded.filter(pl.col("channel") == channel.name), folder, policy.compared_files)
        landed = [samples.read_columns(run.warehouse, path, name, fmt, at) for name, path, at in files]
        there = [columns for columns in landed if columns]
        sampler = partial(samples.read_sample, run.warehouse, fmt=fmt, n_rows=policy.sampled_rows)
        drifts = drift.compare(channel, there, sampler, CANONICAL[channel.kind], policy)
        found[channel.name] = (drifts, min(len(there), policy.compared_files))
    return drift.schema_drift(found, TABLES["schema_drift"], run.as_of)


ASSETS = (catalogue, coverage, discovery, field_register, overlay_rates, schema_drift)
