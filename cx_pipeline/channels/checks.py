"""Business checks of the channels room."""

from __future__ import annotations

import dagster as dg
import narwhals as nw
import polars as pl

from cx_pipeline.channels.discovery import RARE
from cx_pipeline.channels.policy import CoveragePolicy, DiscoveryPolicy, OverlayRatePolicy
from cx_pipeline.core.assets import table_check
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.workspace import Run

_WARN = dg.AssetCheckSeverity.WARN


@table_check("channels.catalogue", blocking=False)
def every_channel_says_how_far_it_is_trusted(catalogue: nw.LazyFrame) -> nw.LazyFrame:
    """Each channel that describes customers has a trust, without which survivorship falls back to the policy's default."""
    return catalogue.filter((nw.col("kind") == "party") & nw.col("trust").is_null()).select("channel")


@table_check("channels.catalogue", blocking=False, severity=_WARN)
def every_channel_has_its_place_in_the_catalogue(catalogue: nw.LazyFrame) -> nw.LazyFrame:
    """Each channel that carries what customers do has pillar, mode and function: else its two sides cannot be told apart."""
    lacks = nw.col("pillar").is_null() | nw.col("mode").is_null() | nw.col("function").is_null()
    describes = nw.col("kind").is_in(["product", "promise", "channel_cost", "identifier_link", "overlay"])
    return catalogue.filter(lacks & ~describes).select("channel", "pillar", "mode", "function")


@table_check("channels.coverage", reads=("channels.coverage", "staging.load_manifest", "channels.catalogue"))
def every_staged_row_counts_in_one_month(
    coverage: nw.LazyFrame, manifest: nw.LazyFrame, catalogue: nw.LazyFrame
) -> nw.LazyFrame:
    """The months of a channel add up to the rows that the load manifest says stand in its table."""
    counted = coverage.group_by("channel").agg(nw.col("n_records").sum().cast(nw.Int64).alias("n_counted"))
    staged = manifest.group_by("channel").agg(nw.col("rows_staged").sum().cast(nw.Int64).alias("n_staged"))
    both = catalogue.select("channel").join(staged, on="channel", how="left").join(counted, on="channel", how="left")
    filled = both.with_columns(nw.col("n_staged").fill_null(0), nw.col("n_counted").fill_null(-1))
    return filled.filter(nw.col("n_staged") != nw.col("n_counted"))


@table_check("channels.coverage", blocking=False, severity=_WARN)
def channels_are_as_fresh_as_their_contracts_promise(coverage: nw.LazyFrame) -> nw.LazyFrame:
    """At as_of the newest record of each channel is no older than its SLA allows. Ask the source for the missing extracts."""
    is_now = nw.col("month") == nw.col("as_of").dt.truncate("1mo").cast(nw.Date)
    return coverage.filter(is_now & ~nw.col("is_fresh")).select("channel", "last_event_at", "age_days", "sla_days")


@table_check("channels.coverage", blocking=False, severity=_WARN)
def channels_have_no_months_without_data(run: Run, coverage: nw.LazyFrame) -> pl.DataFrame:
    """A channel of events has data in each of the last months that the policy names. Sources of master data may rest."""
    within = run.policy(CoveragePolicy).gaps_within_months
    since = pl.col("as_of").dt.truncate("1mo").dt.offset_by(f"-{within}mo")
    rows = to_polars(coverage.select("channel", "month", "status", "n_events", "as_of"))
    of_events = rows.filter(pl.col("n_events").sum().over("channel") > 0, pl.col("status").is_in(["gap", "silent"]))
    return of_events.filter(pl.col("month") >= since).select("channel", "month", "status").sort("channel", "month")


@table_check("channels.coverage", blocking=False, severity=_WARN)
def most_records_find_their_customer(run: Run, coverage: nw.LazyFrame) -> pl.DataFrame:
    """Of each channel about customers, the share of records that lead to one is at least the policy's (overlays are judged apart)."""
    rows = to_polars(coverage.filter(~nw.col("n_linked").is_null()))
    shares = rows.group_by("channel").agg(pl.col("n_records").sum(), pl.col("n_linked").sum())
    least = run.policy(CoveragePolicy).min_linked_rate
    return shares.filter(pl.col("n_linked") < least * pl.col("n_records")).sort("channel")


@table_check("channels.coverage", reads=("channels.coverage", "channels.catalogue"), blocking=False, severity=_WARN)
def channels_carry_the_directions_that_the_catalogue_says(
    coverage: nw.LazyFrame, catalogue: nw.LazyFrame
) -> nw.LazyFrame:
    """A channel for listening carries something from customers, one for engaging something to them, where it carries anything."""
    sums = coverage.group_by("channel").agg(
        nw.col("n_inbound").sum().cast(nw.Int64).alias("n_inbound"),
        nw.col("n_outbound").sum().cast(nw.Int64).alias("n_outbound"),
    )
    stated = catalogue.select("channel", "stance").join(sums, on="channel", how="inner")
    stance, inbound, outbound = nw.col("stance"), nw.col("n_inbound"), nw.col("n_outbound")
    speaks_only = (stance == "listen") & (inbound == 0) & (outbound > 0)
    listens_only = (stance == "engage") & (outbound == 0) & (inbound > 0)
    return stated.filter(speaks_only | listens_only)


@table_check("channels.discovery")
def sources_of_few_customers_are_not_named(run: Run, discovery: nw.LazyFrame) -> nw.LazyFrame:
    """A value that fewer customers use than the policy asks for may be text about a person, and is counted as `(rare)`."""
    least = run.policy(DiscoveryPolicy).min_customers
    named = discovery.filter((nw.col("source") != RARE) & (nw.col("n_customers_ever") < least))
    return named.select("month", "n_customers_ever")


@table_check("channels.discovery", blocking=False, severity=_WARN)
def every_source_that_customers_use_has_a_channel(discovery: nw.LazyFrame) -> nw.LazyFrame:
    """No source that customers name is without a channel. Get extracts of it and write a contract, or name it in the policy."""
    return (
        discovery.filter(nw.col("source") != RARE)
        .group_by("source")
        .agg(
            nw.col("n_customers_ever").max(),
            nw.col("first_seen_month").min(),
            nw.col("is_emerging").max(),
            nw.col("found_in").min(),
        )
        .sort("n_customers_ever", descending=True)
    )


@table_check("channels.field_register")
def every_field_names_its_use_or_why_it_has_none(register: nw.LazyFrame) -> nw.LazyFrame:
    """Each field has either tables and a decision that it feeds, or a reason why it feeds none."""
    is_used = ~nw.col("used_by").is_null() & ~nw.col("decision").is_null()
    is_explained = ~nw.col("reason").is_null()
    return register.filter(is_used == is_explained).select("channel", "field")


@table_check("channels.field_register", blocking=False, severity=_WARN)
def personal_fields_feed_a_decision(register: nw.LazyFrame) -> nw.LazyFrame:
    """No personal field is collected that nothing uses. Drop it from the extract, or give it a role."""
    return register.filter(nw.col("is_personal") & nw.col("used_by").is_null()).select("channel", "field", "reason")


@table_check("channels.overlay_match_rate")
def matched_records_add_up(rates: nw.LazyFrame) -> nw.LazyFrame:
    """Records matched by e-mail, by phone and by both are all matched records, and no more than there are."""
    parts = nw.col("n_by_email") + nw.col("n_by_phone") + nw.col("n_by_both")
    return rates.filter((parts != nw.col("n_matched")) | (nw.col("n_matched") > nw.col("n_records"))).select("provider")


@table_check("channels.overlay_match_rate", blocking=False, severity=_WARN)
def third_party_data_are_worth_their_money(run: Run, rates: nw.LazyFrame) -> nw.LazyFrame:
    """Each provider's records find enough customers, and not too many of them are stale."""
    policy = run.policy(OverlayRatePolicy)
    is_poor = (nw.col("match_rate") < policy.min_match_rate).fill_null(False)
    is_stale = (nw.col("stale_rate") > policy.max_stale_rate).fill_null(False)
    return rates.filter(is_poor | is_stale).select("provider", "match_rate", "stale_rate")


@table_check("channels.schema_drift", blocking=False, severity=_WARN)
def files_have_the_columns_of_their_contracts(drift: nw.LazyFrame) -> nw.LazyFrame:
    """The newest files of each channel have the columns and types of its contract. `cx validate --propose` shows what would fit."""
    return drift.select("channel", "column", "change", "found_as", "first_file", "first_night", "proposal")


CHECKS = (
    every_channel_says_how_far_it_is_trusted,
    every_channel_has_its_place_in_the_catalogue,
    every_staged_row_counts_in_one_month,
    channels_are_as_fresh_as_their_contracts_promise,
    channels_have_no_months_without_data,
    most_records_find_their_customer,
    channels_carry_the_directions_that_the_catalogue_says,
    sources_of_few_customers_are_not_named,
    every_source_that_customers_use_has_a_channel,
    every_field_names_its_use_or_why_it_has_none,
    personal_fields_feed_a_decision,
    matched_records_add_up,
    third_party_data_are_worth_their_money,
    files_have_the_columns_of_their_contracts,
)
