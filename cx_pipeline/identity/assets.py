"""Assets of the identity room, in flow order."""

import json
from typing import Any

import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_asset, tables_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.models import champion_cards, metric_rows, version_rows
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.identity import plots
from cx_pipeline.identity.champion import model_in_use, read_state, state_folder, write_state
from cx_pipeline.identity.decisions import read_verdicts
from cx_pipeline.identity.evidence import without_hot_values
from cx_pipeline.identity.linkage import Linkage, link
from cx_pipeline.identity.linkage_model import MODEL
from cx_pipeline.identity.night import Night, Sightings, read_previous, resolve_night
from cx_pipeline.identity.policy import CustomerPolicy, LinkagePolicy, QualityPolicy, ResolutionPolicy
from cx_pipeline.identity.quality import Tonight
from cx_pipeline.identity.quality import quality as quality_figures
from cx_pipeline.identity.records import comparable_records, records_with_standard_traits

TABLES = load_step("identity")
MODELS = (MODEL,)
READS = ("parties", "identifiers", "party_identifiers", "identifier_pairs")
# The tables that say how records were compared come last; all become visible together.
TOGETHER = (
    "customer_xref",
    "identifier_xref",
    "clusters",
    "households",
    "edges",
    "rejected_edges",
    "namespaces",
    "ledger",
    "aliases",
    "customer_history",
    "model",
    "linkage_report",
)

JUDGED = ("customer_xref", "clusters", "edges", "rejected_edges", "linkage_report", "model")


@tables_asset(
    "identity__linkage_model",
    [TABLES["model_metrics"], TABLES["model_versions"]],
    descriptions={name: TABLES[name].description for name in ("model_metrics", "model_versions")},
    needs=["staging.clock", *(f"staging.{table}" for table in READS)],
    notes={"model_versions": champion_cards},
    trains=True,
)
def linkage_model(run: Run) -> dict[str, pl.DataFrame]:
    """Train the linkage model in the training job, and where there is no champion yet; else report what is stored."""
    if run.trains or run.models.champion(MODEL) is None:
        compared = without_hot_values(_sightings(run).records, run.policy(CustomerPolicy))
        policy = run.policy(LinkagePolicy)
        free = frozenset(channel.name for channel in run.channels if channel.duplicate_free)
        model_in_use(run.models, compared, policy, free, run.hash_key, run.as_of, trains=True)
    return {
        "model_metrics": metric_rows(run.models, MODELS, run.as_of),
        "model_versions": version_rows(run.models, MODELS, run.as_of),
    }


@tables_asset(
    "identity__customers",
    [TABLES[name] for name in TOGETHER],
    descriptions={name: TABLES[name].description for name in TOGETHER},
    needs=["identity.model_versions", "staging.clock", *(f"staging.{table}" for table in READS)],
    plots={
        "customer_xref": plots.records_per_customer,
        "rejected_edges": plots.refusals_by_reason,
        "ledger": plots.changes_by_night,
    },
)
def resolved_customers(run: Run) -> dict[str, pl.DataFrame]:
    """One customer_id for each person: records compared with Splink, joined with what identifiers and reviewers say, named stably."""
    seen = _sightings(run)
    night = Night(
        at=run.started_at,
        as_of=run.as_of,
        key=run.hash_key,
        duplicate_free=frozenset(channel.name for channel in run.channels if channel.duplicate_free),
        resolution=run.policy(ResolutionPolicy),
        customers=run.policy(CustomerPolicy),
    )
    compared = without_hot_values(seen.records, night.customers)
    linkage = _linked(run, compared, night.duplicate_free)
    previous = read_previous(run.warehouse, TABLES)
    return {
        **resolve_night(seen, linkage.edges, previous, night),
        "model": pl.DataFrame({"settings": [json.dumps(linkage.model, sort_keys=True, default=str)]}),
        "linkage_report": linkage_report(linkage),
    }


def _linked(run: Run, compared: pl.DataFrame, duplicate_free: frozenset[str]) -> Linkage:
    """Scored by the champion; pairs of records that are as they were last night are taken over."""
    policy = run.policy(LinkagePolicy)
    model = model_in_use(run.models, compared, policy, duplicate_free, run.hash_key, run.as_of)
    folder = state_folder(run.data.warehouse)
    previous = None if run.full_refresh else read_state(folder)
    linkage = link(compared, policy, duplicate_free, model, run.hash_key, previous)
    write_state(folder, linkage.state)
    return linkage


def _sightings(run: Run) -> Sightings:
    """What staging has seen and people have decided."""
    identifiers, party_identifiers, pairs = (to_polars(run.warehouse.read(f"staging.{name}")) for name in READS[1:])
    # Whom only third parties know is no customer.
    bought = [channel.name for channel in run.channels if channel.kind == "overlay"]
    identifiers = identifiers.filter(~pl.col("channel").is_in(bought))
    records = comparable_records(run.warehouse.read("staging.parties"), party_identifiers, identifiers)
    verdicts = read_verdicts(run.warehouse, run.data.decisions, run.data.labels, run.settings.company.time_zone)
    return Sightings(records, identifiers, party_identifiers, pairs, verdicts)


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


@table_asset(
    TABLES["quality"],
    reads=("staging.parties", *(f"identity.{name}" for name in JUDGED)),
    needs=["staging.clock"],
    plot=plots.warnings_by_figure,
)
def quality(run: Run, parties: nw.LazyFrame, *judged: nw.LazyFrame) -> pl.DataFrame:
    """One row per figure of how good tonight's identities are: completeness, volumes, match rate, drift, guards, suspects."""
    xref, clusters, edges, rejected, report, model = (to_polars(frame) for frame in judged)
    records = records_with_standard_traits(parties)
    settings = str(model["settings"][0]) if model.height else ""
    tonight = Tonight(records, xref, clusters, edges, rejected, report, settings)
    before = to_polars(run.warehouse.read_or_empty(TABLES["quality"]))
    return quality_figures(tonight, before, run.as_of, run.policy(QualityPolicy), run.policy(ResolutionPolicy))


@table_asset(TABLES["suppressions"])
def suppressions(run: Run) -> Frame:
    """One row per thing of an erased person that must not come in again, as keyed hash: written by `cx erase`, read by staging.

    Where the warehouse has been lost, the last published ones are taken: erased people stay away.
    """
    return _kept(run, "suppressions")


@table_asset(TABLES["erasures"])
def erasures(run: Run) -> Frame:
    """One row per erased customer: when it was asked for, how far it is, what was erased, in numbers."""
    return _kept(run, "erasures")


def _kept(run: Run, name: str) -> Frame:
    """A table that no run makes: as it stands, else as it was published last."""
    table = TABLES[name]
    published = run.data.published / "current" / "identity" / f"{name}.parquet"
    if not run.warehouse.has(table.full_name) and published.is_file():
        return pl.read_parquet(published)
    return run.warehouse.read_or_empty(table)


ASSETS = (
    linkage_model,
    resolved_customers,
    quality,
    suppressions,
    erasures,
)
