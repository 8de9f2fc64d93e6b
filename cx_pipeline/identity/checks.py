"""Business checks of the identity room."""

import dagster as dg
import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_check
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.workspace import Run
from cx_pipeline.identity.decisions import CANNOT_LINK
from cx_pipeline.identity.lookup import published_state
from cx_pipeline.identity.policy import QualityPolicy
from cx_pipeline.identity.quality import excessive_changes

_RECORD = ["channel", "record_id"]


@table_check("identity.customer_xref", reads=("identity.customer_xref", "staging.parties"))
def every_party_record_has_one_customer(xref: nw.LazyFrame, parties: nw.LazyFrame) -> nw.LazyFrame:
    """Each staged party record stands in the cross-reference exactly once, and nothing else does."""
    missing = parties.select(_RECORD).join(xref, on=_RECORD, how="anti").with_columns(nw.lit("missing").alias("fault"))
    unknown = xref.select(_RECORD).join(parties, on=_RECORD, how="anti").with_columns(nw.lit("unknown").alias("fault"))
    return nw.concat([missing, unknown]).select("channel", "fault")


@table_check("identity.identifier_xref", reads=("identity.identifier_xref", "staging.identifiers"))
def every_identifier_was_seen(xref: nw.LazyFrame, identifiers: nw.LazyFrame) -> nw.LazyFrame:
    """Nothing leads to a customer that no channel has delivered."""
    return xref.join(identifiers.select("namespace", "value").unique(), on=["namespace", "value"], how="anti").select(
        "namespace", "customer_id"
    )


@table_check("identity.customer_xref", reads=("identity.customer_xref", "identity.edges"))
def no_customer_holds_a_pair_that_a_reviewer_has_parted(xref: nw.LazyFrame, edges: nw.LazyFrame) -> nw.LazyFrame:
    """Two records with a cannot-link in force belong to two customers, whatever else joins them."""
    parted = edges.filter(nw.col("kind") == "human", nw.col("rule") == CANNOT_LINK)
    for side in ("left", "right"):
        customer = xref.select(*_RECORD, nw.col("customer_id").alias(f"{side}_customer"))
        parted = parted.join(
            customer, left_on=[f"{side}_source", f"{side}_value"], right_on=_RECORD, how="inner", suffix=f"_of_{side}"
        )
    return parted.filter(nw.col("left_customer") == nw.col("right_customer")).select("left_customer")


@table_check("identity.customer_xref")
def duplicate_free_channels_have_one_record_per_customer(run: Run, xref: nw.LazyFrame) -> nw.LazyFrame:
    """Only a shared strong identifier or a decision puts two records of a duplicate-free channel into one customer."""
    free = [channel.name for channel in run.channels if channel.duplicate_free]
    is_by_score = nw.when(nw.col("matched_by") == "probabilistic").then(1).otherwise(0)
    counted = (
        xref.filter(nw.col("channel").is_in(free))
        .group_by("customer_id", "channel")
        .agg(nw.len().cast(nw.Int64).alias("n_records"), is_by_score.sum().cast(nw.Int64).alias("n_by_score"))
    )
    return counted.filter(nw.col("n_records") > 1, nw.col("n_by_score") > 0)


@table_check("identity.ledger", reads=("identity.ledger", "identity.customer_xref", "identity.identifier_xref"))
def every_customer_id_was_created(
    ledger: nw.LazyFrame, customer_xref: nw.LazyFrame, identifier_xref: nw.LazyFrame
) -> nw.LazyFrame:
    """Each id in use has exactly one entry that created it, and none is in use after it was absorbed or retired."""
    ids = nw.concat([customer_xref.select("customer_id"), identifier_xref.select("customer_id")]).unique()
    created = ledger.filter(nw.col("event") == "created").group_by("customer_id").agg(nw.len().alias("n_created"))
    ended = ledger.filter(nw.col("event").is_in(["absorbed", "retired"])).select("customer_id").unique()
    missing = ids.join(created, on="customer_id", how="anti").with_columns(nw.lit("never created").alias("fault"))
    twice = created.filter(nw.col("n_created") > 1).select("customer_id", nw.lit("created twice").alias("fault"))
    dead = ids.join(ended, on="customer_id", how="semi").with_columns(nw.lit("in use after its end").alias("fault"))
    return nw.concat([missing, twice, dead])


@table_check("identity.ledger", reads=("identity.ledger", "identity.customer_history"))
def every_move_of_a_record_is_in_the_ledger(ledger: nw.LazyFrame, history: nw.LazyFrame) -> nw.LazyFrame:
    """A record that went from one customer to another did so by a merger or a split that was entered."""
    before = history.select(
        *_RECORD, (nw.col("version") + 1).alias("version"), nw.col("customer_id").alias("from_customer_id")
    )
    moved = history.filter(nw.col("came_by") == "moved").join(before, on=[*_RECORD, "version"], how="left")
    entered = (
        ledger.filter(nw.col("event").is_in(["merged", "split"])).select("customer_id", "from_customer_id").unique()
    )
    return moved.join(entered, on=["customer_id", "from_customer_id"], how="anti").select("customer_id", "channel")


@table_check("identity.aliases", reads=("identity.aliases", "identity.customer_xref", "identity.identifier_xref"))
def every_alias_leads_to_a_living_customer(
    aliases: nw.LazyFrame, customer_xref: nw.LazyFrame, identifier_xref: nw.LazyFrame
) -> nw.LazyFrame:
    """An absorbed id stands for a customer there is, and is not in use itself."""
    ids = nw.concat([customer_xref.select("customer_id"), identifier_xref.select("customer_id")]).unique()
    dead = aliases.join(ids, on="customer_id", how="anti")
    living = aliases.join(ids.select(nw.col("customer_id").alias("alias")), on="alias", how="semi")
    return nw.concat([dead.select("alias"), living.select("alias")])


@table_check("identity.clusters", reads=("identity.clusters", "identity.customer_xref"))
def every_customer_with_records_has_its_figures(clusters: nw.LazyFrame, xref: nw.LazyFrame) -> nw.LazyFrame:
    """Each customer with party records stands among the figures with that number of records."""
    counted = xref.group_by("customer_id").agg(nw.len().cast(nw.Int64).alias("n_found"))
    joined = counted.join(clusters.select("customer_id", "n_records"), on="customer_id", how="left")
    return joined.filter((nw.col("n_records") != nw.col("n_found")) | nw.col("n_records").is_null()).select(
        "customer_id"
    )


@table_check("identity.rejected_edges", blocking=False, severity=dg.AssetCheckSeverity.WARN)
def every_decision_is_carried_out(rejected: nw.LazyFrame) -> nw.LazyFrame:
    """No decision contradicts others, joins a person with an organisation, or is about a record that is not there."""
    unmet = rejected.filter(nw.col("kind") == "human", nw.col("reason") != "superseded")
    return unmet.select("rule", "reason")


@table_check("identity.ledger")
def merges_and_splits_are_within_policy(run: Run, ledger: nw.LazyFrame) -> pl.DataFrame:
    """Since the last published night no more customers were merged or split than `max_changed_rate` allows.

    Measured against what was published, so that a night that was stopped cannot pass by running again.
    """
    last_entry, n_customers = published_state(run.data.published)
    return excessive_changes(to_polars(ledger), last_entry, n_customers, run.policy(QualityPolicy))


@table_check("identity.quality", blocking=False, severity=dg.AssetCheckSeverity.WARN)
def figures_of_quality_are_as_usual(quality: nw.LazyFrame) -> nw.LazyFrame:
    """No figure of tonight's identities is beyond what the policy takes as usual."""
    return quality.filter(nw.col("status") == "warn").select("figure", "about", "value", "previous")


CHECKS = (
    every_party_record_has_one_customer,
    every_identifier_was_seen,
    no_customer_holds_a_pair_that_a_reviewer_has_parted,
    duplicate_free_channels_have_one_record_per_customer,
    every_customer_id_was_created,
    every_move_of_a_record_is_in_the_ledger,
    every_alias_leads_to_a_living_customer,
    every_customer_with_records_has_its_figures,
    every_decision_is_carried_out,
    merges_and_splits_are_within_policy,
    figures_of_quality_are_as_usual,
)
