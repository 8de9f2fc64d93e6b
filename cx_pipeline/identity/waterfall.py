"""Why two records score as they do: the parts of one pair's match weight, in the order of the formula.

Belongs here: comparing two records once more, taking their score apart, in bits (log2), and drawing the parts.
Does not belong here: the score itself (scoring.py, linkage.py), the evidence that joins records over others (explain.py).
No part holds a value of a person, only names of levels.

    weight = prior + sum log2 m/u + term frequencies - log2(1 + odds of related people)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from cx_pipeline.core.errors import EngineError, Problem
from cx_pipeline.core.frames import to_polars
from cx_pipeline.identity.evidence import without_hot_values
from cx_pipeline.identity.linkage import ComparedPair, compare_pair
from cx_pipeline.identity.linkage_model import MODEL, LinkageModel, usable_model
from cx_pipeline.identity.model import Comparison
from cx_pipeline.identity.policy import CustomerPolicy, LinkagePolicy
from cx_pipeline.identity.records import comparable_records
from cx_pipeline.identity.scoring import PairScorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

    from cx_pipeline.core.contract import Channel
    from cx_pipeline.core.models import ModelStore
    from cx_pipeline.core.settings import Settings
    from cx_pipeline.core.warehouse import Warehouse

STEPS = ("prior", "comparison", "term_frequency", "related", "weight")
DIFFERENT, MISSING = "different", "missing"
_LOG_2 = float(np.log(2.0))
_ONE = np.zeros(1, dtype=np.int64)
_SCHEMA = {"step": pl.String, "part": pl.String, "bits": pl.Float64, "sum_bits": pl.Float64}
_LEAST_BITS = 1e-6


def compare_again(
    pair: tuple[tuple[str, str], tuple[str, str]],
    warehouse: Warehouse,
    store: ModelStore,
    settings: Settings,
    channels: Sequence[Channel],
    hash_key: str,
) -> tuple[ComparedPair, LinkageModel]:
    """Compares two records of the warehouse as the night does, under the champion.

    Args:
        pair: (channel, record_id) of both.
        warehouse: with staging's tables; nothing is written.
        store: of the models.
        settings: of the company.
        channels: of the company.
        hash_key: of the company.

    Raises:
        EngineError: where there is no model that fits, or staging does not have the records (any more).
    """
    bought = [channel.name for channel in channels if channel.kind == "overlay"]
    carried, identifiers = (
        to_polars(warehouse.read(f"staging.{name}")) for name in ("party_identifiers", "identifiers")
    )
    records = without_hot_values(
        comparable_records(
            warehouse.read("staging.parties"), carried, identifiers.filter(~pl.col("channel").is_in(bought))
        ),
        settings.policy(CustomerPolicy),
    )
    policy, champion = settings.policy(LinkagePolicy), store.champion(MODEL)
    model = usable_model(dict(champion.parameters) if champion else None, records, policy, hash_key)
    if model is None:
        raise EngineError(
            Problem(
                "there is no linkage model that fits the records", "models/linkage", remedy="`cx run`, it trains one"
            )
        )
    is_meant = pl.any_horizontal((pl.col("channel") == a) & (pl.col("record_id") == b) for a, b in pair)
    both = records.filter(is_meant).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("record"))
    if both.height != len(pair):
        raise EngineError(
            Problem(
                "staging does not have these records any more", "staging.parties", remedy="`cx run`, then ask again"
            )
        )
    free = frozenset(channel.name for channel in channels if channel.duplicate_free)
    return compare_pair(both, policy, free, model, hash_key), model


def waterfall(pair: ComparedPair, model: LinkageModel) -> pl.DataFrame:
    """One row per part of the weight: step (of `STEPS`), part (in words), bits (log2), sum_bits (up to here).

    Fields that the model judges together are one part. Of plain Splink's own model the sum of all comparisons is one part.

    Args:
        pair: from `linkage.compare_pair`.
        model: the model it was compared under.
    """
    edge = pair.edge.to_dicts()[0]
    rows: list[tuple[str, str, float]] = [("prior", "two records taken at random", edge["log_prior_match"] / _LOG_2)]
    if model.scorers:
        rows += _parts(pair, model.scorer(pair.of_organisations))
    else:
        words = "; ".join(level_words(one, int(level)) for one, level in _compared(pair, model.comparisons))
        rows.append(("comparison", words, edge["log_match_ratio"] / _LOG_2))
    related = float(np.logaddexp(0.0, edge["log_prior_related"] + edge["log_related_ratio"]))
    rows.append(("related", "or related people rather than one", -related / _LOG_2))
    total = edge["match_weight"]
    told = pl.DataFrame(rows, schema=["step", "part", "bits"], orient="row").with_columns(
        pl.col("bits").cum_sum().alias("sum_bits")
    )
    last = pl.DataFrame([("weight", "one person rather than not", total, total)], schema=_SCHEMA, orient="row")
    return pl.concat([told.cast(_SCHEMA), last])  # type: ignore[arg-type]


def level_words(comparison: Comparison, level: int) -> str:
    """`surname: same`: what a level of a comparison is called."""
    if level < 0:
        return f"{comparison.field.label}: {MISSING}"
    if level == 0:
        return f"{comparison.field.label}: {DIFFERENT}"
    return f"{comparison.field.label}: {comparison.levels[comparison.n_levels - 1 - level][0]}"


def _compared(pair: ComparedPair, chosen: tuple[Comparison, ...]) -> list[tuple[Comparison, Any]]:
    return list(zip(chosen, pair.levels[0], strict=True))


def _parts(pair: ComparedPair, scorer: PairScorer) -> list[tuple[str, str, float]]:
    """What each block of the model adds alone: a model of that block only scores the pair again, with and without frequencies."""
    whole, found = scorer.model, []
    levels = scorer.channels.appended_to(pair.levels, pair.values.channel_codes(scorer.channels), _ONE, _ONE + 1)
    for block, match, related, unrelated in zip(whole.blocks, whole.match, whole.related, whole.unrelated, strict=True):
        alone = replace(whole, blocks=(block,), match=(match,), related=(related,), unrelated=(unrelated,))
        ratio = float(alone.log_ratios(levels)[0][0])
        scored = replace(scorer, model=alone).edges(pair.values, _ONE, _ONE + 1, pair.levels, -np.inf)
        frequency = float(scored["log_match_ratio"][0]) - ratio
        words = [
            level_words(scorer.chosen[i], int(pair.levels[0, i])) if i < len(scorer.chosen) else "the two channels"
            for i in block.members
        ]
        said = [word for word in words if not word.endswith(f": {MISSING}")]
        if not said:
            continue
        found.append(("comparison", "; ".join(said), ratio / _LOG_2))
        if abs(frequency) > _LEAST_BITS:
            shared = [i for i in block.members if i < len(scorer.chosen) and _is_same(pair, i, scorer.chosen[i])]
            names = [scorer.chosen[i].field.label for i in shared if scorer.chosen[i].tf_column]
            how = "rare" if frequency > 0 else "common"
            found.append(("term_frequency", f"how {how} the shared value is: {', '.join(names)}", frequency / _LOG_2))
    return found


def _is_same(pair: ComparedPair, place: int, comparison: Comparison) -> bool:
    return int(pair.levels[0, place]) == comparison.n_levels - 1


def chart(steps: pl.DataFrame, title: str) -> str:
    """The waterfall as SVG: bars from sum to sum, the weight as the last one from 0.

    Args:
        steps: from `waterfall`.
        title: of the chart; no personal data.
    """
    import altair as alt

    from cx_pipeline.core.plots import COLOUR, WIDTH, render

    is_last = pl.col("step") == "weight"
    drawn = steps.with_row_index("place").with_columns(
        pl.when(is_last).then(0.0).otherwise(pl.col("sum_bits") - pl.col("bits")).alias("from_bits"),
        pl.when(is_last).then(pl.lit("sum")).when(pl.col("bits") < 0).then(pl.lit("against")).otherwise(pl.lit("for"))
        .alias("speaks"),
    )  # fmt: skip
    colours = alt.Scale(domain=["for", "against", "sum"], range=["#2e9e6b", "#d1495b", COLOUR])
    bars: alt.Chart = (
        alt.Chart(drawn, title=title, width=WIDTH, height=alt.Step(22))
        .mark_bar()
        .encode(
            y=alt.Y("part:N", sort=alt.SortField("place"), title=None, axis=alt.Axis(labelLimit=420)),
            x=alt.X("from_bits:Q", title="log2 of the odds"),
            x2="sum_bits:Q",
            color=alt.Color("speaks:N", scale=colours, title=None),
        )
    )
    return render(bars)
