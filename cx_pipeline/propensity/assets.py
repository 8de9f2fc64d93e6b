"""Assets of the propensity room, in flow order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import narwhals as nw
import polars as pl

from cx_pipeline.core.assets import table_asset, tables_asset
from cx_pipeline.core.contract import load_step
from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.models import TrainedModel, champion_cards, metric_rows, version_rows
from cx_pipeline.core.warehouse import Frame
from cx_pipeline.core.workspace import Run
from cx_pipeline.propensity import inputs, plots, purchase, reports, response, scoring
from cx_pipeline.propensity.policy import PropensityPolicy
from cx_pipeline.propensity.training import Refusal, train

TABLES = load_step("propensity")
MODELS = (purchase.MODEL, response.MODEL)
DECIDING_METRIC = "auc"
SOURCES = (
    "profile.features",
    "profile.timeline",
    "staging.orders",
    "staging.order_lines",
    "staging.campaign_contacts",
    "staging.campaign_responses",
    "identity.identifier_xref",
)


@tables_asset(
    "propensity__model",
    [TABLES["model_versions"], TABLES["model_metrics"], TABLES["calibration"]],
    descriptions={
        "model_versions": "One row per stored version of the models, with its card: which one scores, and why.",
        "model_metrics": "One row per version, window and figure, out of time, each beside the naive rule's.",
        "calibration": "One row per version and tenth of the test rows: what was predicted and what happened.",
    },
    reads=SOURCES,
    needs=("staging.clock",),
    plots={"calibration": plots.calibration_curves, "model_metrics": plots.figures_beside_naive},
    notes={"model_versions": champion_cards},
    trains=True,
)
def model(run: Run, features: nw.LazyFrame, timeline: nw.LazyFrame, *tables: nw.LazyFrame) -> Mapping[str, Frame]:
    """Train the models in the training job, and those without a champion every night; else report what is stored."""
    refused: list[Refusal] = []
    for name in MODELS:
        if run.trains or run.models.champion(name) is None:
            found = _purchase(run, features, timeline) if name == purchase.MODEL else _response(run, *tables)
            if isinstance(found, TrainedModel):
                run.models.submit(found, DECIDING_METRIC, higher_is_better=True)
            else:
                refused.append(found)
    return {
        "model_versions": reports.with_refusals(version_rows(run.models, MODELS, run.as_of), refused, run.as_of),
        "model_metrics": metric_rows(run.models, MODELS, run.as_of),
        "calibration": reports.calibration_rows(run.models, MODELS, run.as_of, TABLES["calibration"]),
    }


def _purchase(run: Run, features: nw.LazyFrame, timeline: nw.LazyFrame) -> TrainedModel | Refusal:
    """Train `purchase_90d`."""
    policy = run.policy(PropensityPolicy)
    rows = purchase.labelled(features, timeline, run.as_of, policy)
    folds = purchase.folds_from(rows, policy)
    if folds is None:
        return Refusal(purchase.MODEL, "too few cut-offs whose horizon has closed")
    return train(purchase.task(rows), *folds, policy, run.as_of)


def _response(
    run: Run, orders: nw.LazyFrame, lines: nw.LazyFrame, sent: nw.LazyFrame, responses: nw.LazyFrame, xref: nw.LazyFrame
) -> TrainedModel | Refusal:
    """Train `coupon_response`."""
    policy = run.policy(PropensityPolicy)
    sources = _sources(run, orders, lines, responses, xref)
    known = response.contacts(sent, responses, xref, run.as_of, policy)
    moments = known.with_columns(pl.len().over("campaign").cast(pl.Float64).alias("n_contacted"))
    offers = response.frequent_offers(known, policy)
    kept = response.settings(moments, offers, list(sources.uses))
    rows = response.labelled(
        response.with_offers(sources.rows_of(moments, known, kept["uses"]), offers), run.as_of, policy
    )
    folds = response.folds_from(rows, policy)
    if folds is None:
        return Refusal(response.MODEL, "too few campaigns whose response window has closed")
    return train(response.task(rows, kept), *folds, policy, run.as_of)


def _sources(
    run: Run, orders: nw.LazyFrame, lines: nw.LazyFrame, responses: nw.LazyFrame, xref: nw.LazyFrame
) -> inputs.Sources:
    """The tables behind `coupon_response`, with the order columns of the settings."""
    canonical = {"staging.orders": orders, "staging.order_lines": lines}
    uses = {
        found.name: run.warehouse.materialise(
            response.order_uses(
                run.warehouse.read(f"staging.channel_{found.channel}"),
                found.record_column,
                found.column,
                canonical[found.canonical].filter(nw.col("channel") == found.channel),
                xref,
            ),
            f"propensity_{found.name}",
        )
        for found in inputs.order_columns(run.policy(PropensityPolicy).order_columns, run.channels)
    }
    return inputs.Sources(orders, responses, xref, uses, run.warehouse.frame)


@table_asset(
    TABLES["scores"],
    reads=("profile.customers", "propensity.model_versions", *SOURCES),
    needs=("staging.clock",),
    plot=plots.probabilities_by_decile,
)
def scores(
    run: Run, customers: nw.LazyFrame, versions: nw.LazyFrame, features: nw.LazyFrame, *tables: nw.LazyFrame
) -> Frame:
    """One row per customer and model: the calibrated probability with up to three reasons, or why there is none.

    The champion alone scores, so a night without training gives unchanged customers unchanged scores.
    """
    refusals = dict(
        to_polars(versions.filter(nw.col("version") == reports.NONE).select("model", "verdict")).iter_rows()
    )
    everyone = to_polars(customers.select("customer_id"))["customer_id"].sort()
    tonight = to_polars(features.filter((nw.col("as_of") == nw.lit(run.as_of)) & (nw.col("n_orders") > 0)))
    parts = []
    for name in MODELS:
        version = run.models.champion(name)
        champion, reason = scoring.usable(version, refusals.get(name))
        if champion is None:
            parts.append(
                scoring.unscored(name, everyone, version.version if version else None, reason or "", run.as_of)
            )
            continue
        rows = (
            tonight
            if name == purchase.MODEL
            else _response_tonight(run, tonight["customer_id"].to_list(), champion, tables)
        )
        others = everyone.filter(~everyone.is_in(rows["customer_id"].to_list()))
        parts.append(scoring.scored(name, rows, champion, run.as_of))
        parts.append(scoring.unscored(name, others, champion.version, "no order so far", run.as_of))
    return pl.concat(parts)


def _response_tonight(
    run: Run, customers: Sequence[str], champion: scoring.Champion, tables: Sequence[nw.LazyFrame]
) -> pl.DataFrame:
    """What is known tonight of the customers, for a contact by a campaign like those of the training."""
    _, orders, lines, sent, responses, xref = tables
    settings = champion.parameters["settings"]
    known = response.contacts(sent, responses, xref, run.as_of, run.policy(PropensityPolicy))
    moments = response.tonight(customers, run.as_of, settings)
    rows = _sources(run, orders, lines, responses, xref).rows_of(moments, known, settings["uses"])
    return response.with_offers(rows, settings["offers"])


ASSETS = (model, scores)
