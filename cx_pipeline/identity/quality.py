"""How good tonight's identities are, in figures with a verdict: `identity.quality`, and the diff of merges and splits.

Belongs here: figures of the whole night, what they were the night before, when one of them is a warning. Pure: frames in, frames out.
Does not belong here: figures of one customer (trust.py), the guards that a model must pass before it is used (training.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cx_pipeline.identity.policy import QualityPolicy, ResolutionPolicy

QUALITY_SCHEMA = pl.Schema(
    {
        "figure": pl.String(),
        "about": pl.String(),
        "value": pl.Float64(),
        "previous": pl.Float64(),
        "change": pl.Float64(),
        "status": pl.String(),
        "meaning": pl.String(),
        "example_ids": pl.String(),
        "as_of": pl.Date(),
    }
)
_KEYS = ["channel", "record_id"]
_N_EXAMPLES = 3
_COMPONENT_BITS = 3.0
_SUSPICIONS = ("several_people", "many_records", "sparse", "bridge")
_MISSED = ("outvoted", "below_threshold", "source_uniqueness", "size_cap")


@dataclass(frozen=True)
class Tonight:
    """Tables of a night.

    Attributes:
        records: channel, record_id, fields of `staging.parties`, and given_name and birth_date in standard form where there are any.
        customer_xref, clusters, edges, rejected: tables of this room.
        report: `identity.linkage_report`.
        settings: of the linkage model in use (`identity.model`), as text; empty: there is none.
    """

    records: pl.DataFrame
    customer_xref: pl.DataFrame
    clusters: pl.DataFrame
    edges: pl.DataFrame
    rejected: pl.DataFrame
    report: pl.DataFrame
    settings: str


@dataclass(frozen=True)
class _Figure:
    """A figure before it is compared with last night's; `is_warning` takes its value and last night's."""

    figure: str
    about: str
    value: float | None
    meaning: str
    is_warning: Callable[[float, float | None], bool] = lambda value, previous: False
    examples: str = ""


def quality(
    tonight: Tonight, stored: pl.DataFrame, as_of: date, policy: QualityPolicy, resolution: ResolutionPolicy
) -> pl.DataFrame:
    """One row per figure, `QUALITY_SCHEMA`, sorted by figure and about.

    Compared is with the night of an earlier date: running a night again tells the same.

    Args:
        tonight: tables of the night.
        stored: figure, about, value, previous, as_of of the run before; no row before the first one.
        as_of: the date the results stand for.
        policy: when a figure is a warning.
        resolution: when a customer is large.
    """
    earlier = pl.when(pl.col("as_of") < as_of).then("value").otherwise("previous")
    before = {(figure, about): value for figure, about, value in stored.select("figure", "about", earlier).iter_rows()}
    figures = [
        *_volumes(tonight, policy),
        *_completeness(tonight.records, policy),
        *_customers(tonight, policy, resolution),
        *_model(tonight.settings, policy),
        *_guards(tonight, policy, resolution),
        *_suspects(tonight, policy),
    ]
    rows = [(*_row(figure, before.get((figure.figure, figure.about))), as_of) for figure in figures]
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA, orient="row").sort("figure", "about")


def _row(figure: _Figure, previous: float | None) -> tuple[object, ...]:
    value = figure.value
    warns = value is not None and figure.is_warning(value, previous)
    change = value - previous if value is not None and previous is not None else None
    return (
        figure.figure, figure.about, value, previous, change, "warn" if warns else "ok", figure.meaning,
        figure.examples or None,
    )  # fmt: skip


def _moved_by(most: float) -> Callable[[float, float | None], bool]:
    return lambda value, previous: previous is not None and abs(value - previous) > most


def _above(most: float) -> Callable[[float, float | None], bool]:
    return lambda value, _: value > most


def _volumes(tonight: Tonight, policy: QualityPolicy) -> list[_Figure]:
    def jumped(value: float, previous: float | None) -> bool:
        if not previous:
            return False
        return not 1 - policy.max_drop_rate <= value / previous <= 1 + policy.max_growth_rate

    by_channel = tonight.records.group_by("channel").len().sort("channel").iter_rows()
    meaning = "party records that staging has; a jump is a delivery that is missing or doubled"
    n_customers = tonight.customer_xref["customer_id"].n_unique()
    return [
        _Figure("n_records", "", float(tonight.records.height), meaning, jumped),
        *(_Figure("n_records", channel, float(n), meaning, jumped) for channel, n in by_channel),
        _Figure("n_customers", "", float(n_customers), "customers with party records", jumped),
    ]


def _completeness(records: pl.DataFrame, policy: QualityPolicy) -> list[_Figure]:
    fields = [name for name in records.columns if name not in (*_KEYS, "standard_given_name", "standard_birth_date")]
    if records.is_empty():
        return []
    shares = records.select(pl.col(name).is_not_null().mean() for name in fields).row(0, named=True)
    meaning = "share of the records with a value; what fewer records have finds fewer duplicates"
    bound = _moved_by(policy.max_completeness_change)
    return [_Figure("completeness", name, float(share), meaning, bound) for name, share in shares.items() if share]


def _customers(tonight: Tonight, policy: QualityPolicy, resolution: ResolutionPolicy) -> list[_Figure]:
    sizes = tonight.clusters.select("customer_id", "n_records").sort(
        "n_records", "customer_id", descending=[True, False]
    )
    if sizes.is_empty():
        return []
    n_joined = int(sizes.filter(pl.col("n_records") > 1)["n_records"].sum())
    p99 = sizes["n_records"].quantile(0.99, "nearest")
    largest = sizes.head(1).row(0, named=True)
    return [
        _Figure(
            "match_rate", "", n_joined / int(sizes["n_records"].sum()),
            "share of the records whose customer has other records; a jump is a model or a delivery gone wrong",
            _moved_by(policy.max_match_rate_change),
        ),
        _Figure("records_per_customer", "p99", _number(p99), "records of the customer at the 99th percentile"),
        _Figure(
            "records_per_customer", "max", float(largest["n_records"]), "records of the largest customer",
            _above(resolution.suspicious_records), str(largest["customer_id"]),
        ),
    ]  # fmt: skip


def _model(settings: str, policy: QualityPolicy) -> list[_Figure]:
    """M, u and weight of the best level of each comparison; last night's differ only where the model was retrained."""
    splink = json.loads(settings or "{}").get("splink") or {}
    figures = []
    for comparison in splink.get("comparisons", []):
        levels = [level for level in comparison["comparison_levels"] if not level.get("is_null_level")]
        m, u = (levels[0].get(f"{name}_probability") if levels else None for name in ("m", "u"))
        if m is None or u is None:
            continue
        about, bits = comparison["output_column_name"], float(np.log2(max(m, 1e-12) / max(u, 1e-12)))
        drift = _moved_by(policy.max_drift_bits)
        figures += [
            _Figure("model_m", about, float(m), "how often two records of one person agree fully"),
            _Figure("model_u", about, float(u), "how often two records of different people agree fully"),
            _Figure("model_weight_bits", about, bits, "log2 m/u: what full agreement says; changes by training", drift),
        ]
    return figures


def _guards(tonight: Tonight, policy: QualityPolicy, resolution: ResolutionPolicy) -> list[_Figure]:
    """Against a model in a wrong mode."""
    figures: list[_Figure] = []
    found = tonight.report.filter(pl.col("figure").str.ends_with(".expected_matches"))
    expected = float(found["value"].sum())
    if found.height:
        records = max(tonight.records.height, 1)
        figures.append(
            _Figure(
                "expected_matches_per_record", "", expected / records,
                "lambda x pairs / records as the model was trained; many: it takes relatives or neighbours for one person",
                _above(policy.max_matches_per_record),
            )
        )  # fmt: skip
        seen = _expected_among_scored(tonight)

        def differ(ratio: float, _: float | None) -> bool:
            bound = 1 + policy.max_lambda_error
            return expected >= policy.min_matches and not 1 / bound <= ratio <= bound

        figures.append(
            _Figure(
                "found_over_expected_matches", "", seen / expected if expected else None,
                "sum of the probabilities of tonight's pairs over what training expected; far from 1: records or model have changed",
                differ,
            )
        )  # fmt: skip
    figures += _disagreements(tonight, policy)
    size = _largest_component(pl.concat([_scored(tonight.edges), _scored(tonight.rejected)]))
    figures.append(
        _Figure(
            "largest_component", "", float(size),
            f"records that hang together by pairs of {_COMPONENT_BITS:g} bits or more before anything is parted",
            _above(resolution.max_component_records),
        )
    )  # fmt: skip
    return figures


def _scored(edges: pl.DataFrame) -> pl.DataFrame:
    """left, right (keys of records) and weight of scored pairs."""
    left, right = (pl.concat_str([f"{side}_source", f"{side}_value"], separator="\x1f") for side in ("left", "right"))
    scored = edges.filter(pl.col("kind") == "probabilistic", pl.col("weight").is_not_null())
    return scored.select(left.alias("left"), right.alias("right"), "weight")


def _expected_among_scored(tonight: Tonight) -> float:
    weights = pl.concat([_scored(tonight.edges), _scored(tonight.rejected)])["weight"].to_numpy()
    return float((1.0 / (1.0 + np.exp2(-np.clip(weights, -60, 60)))).sum())


def _disagreements(tonight: Tonight, policy: QualityPolicy) -> list[_Figure]:
    """Among the pairs that are more likely one person than not: how many have another given name, birth date, or both.

    Only both together is a warning: typing errors spoil one of them often, both seldom; relatives and strangers differ in both.
    """
    traits = {name: f"standard_{name}" for name in _DIFFER if f"standard_{name}" in tonight.records.columns}
    pairs = tonight.edges.filter(pl.col("kind") == "probabilistic", pl.col("weight") > 0)
    pairs = pairs.select("left_source", "left_value", "right_source", "right_value")
    for side in ("left", "right"):
        known = tonight.records.select(
            *_KEYS, *(pl.col(column).alias(f"{side}_{name}") for name, column in traits.items())
        )
        pairs = pairs.join(known, left_on=[f"{side}_source", f"{side}_value"], right_on=_KEYS)
    told = pairs.select(_DIFFER[name](f"left_{name}", f"right_{name}").alias(name) for name in traits)
    if len(traits) == len(_DIFFER):
        # NULL where one of the two cannot be told, also when the other differs.
        both = pl.when(pl.all_horizontal(pl.all().is_not_null())).then(pl.all_horizontal(*traits))
        told = told.with_columns(both.alias("both"))
    figures = []
    for name in told.columns:
        known_pairs = told[name].drop_nulls()
        share = known_pairs.mean() if len(known_pairs) >= policy.min_matches else None
        bound = _above(policy.max_disagreement_rate if name == "both" else 1.0)
        figures.append(_Figure("disagreement_of_matches", name, _number(share), _DISAGREE[name], bound))
    return figures


def _other_initial(left: str, right: str) -> pl.Expr:
    return pl.col(left).str.slice(0, 1) != pl.col(right).str.slice(0, 1)


def _other_date(left: str, right: str) -> pl.Expr:
    """Two of year, month and day differ (of texts in ISO form)."""
    parts = [pl.col(left).str.slice(*part) != pl.col(right).str.slice(*part) for part in ((0, 4), (5, 2), (8, 2))]
    n_differ = pl.sum_horizontal(part.cast(pl.Int8) for part in parts)
    return pl.when(pl.col(left).is_not_null() & pl.col(right).is_not_null()).then(n_differ > 1)


_DIFFER = {"given_name": _other_initial, "birth_date": _other_date}
_DISAGREE = {
    "given_name": "share of the probable matches whose given names begin with different letters",
    "birth_date": "share of the probable matches whose birth dates differ in two of year, month and day",
    "both": "share of the probable matches that differ in given name and birth date; many: the model joins relatives or strangers",
}


def _largest_component(pairs: pl.DataFrame) -> int:
    strong = pairs.filter(pl.col("weight") >= _COMPONENT_BITS)
    if strong.is_empty():
        return 1
    ends = pl.concat([strong["left"], strong["right"]]).rank("dense").to_numpy().astype(np.int64) - 1
    left, right = ends[: strong.height], ends[strong.height :]
    n = int(ends.max()) + 1
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(n, n))
    return int(np.bincount(connected_components(graph, directed=False)[1]).max())


def _suspects(tonight: Tonight, policy: QualityPolicy) -> list[_Figure]:
    def grew(value: float, previous: float | None) -> bool:
        return (
            previous is not None
            and value - previous >= policy.min_new_suspects
            and value > previous * (1 + policy.max_growth_rate)
        )

    figures = []
    suspects = tonight.clusters.filter("is_suspect").sort("n_records", "customer_id", descending=[True, False])
    for suspicion in _SUSPICIONS:
        ids = suspects.filter(pl.col("suspicion") == suspicion)["customer_id"]
        meaning = f"customers that may be several ({suspicion.replace('_', ' ')}): look at them with `cx explain`"
        figures.append(
            _Figure(
                "suspected_over_merging", suspicion, float(len(ids)), meaning, grew, "; ".join(ids.head(_N_EXAMPLES))
            )
        )
    missed = _missed_pairs(tonight)
    for reason in _MISSED:
        pairs = missed.filter(pl.col("reason") == reason)
        ids = pairs.head(_N_EXAMPLES).select(pl.concat_str(["low", "high"], separator=" "))["low"]
        meaning = (
            f"pairs of customers with a pair of records as likely one as not, kept apart ({reason.replace('_', ' ')})"
        )
        figures.append(_Figure("suspected_under_merging", reason, float(pairs.height), meaning, grew, "; ".join(ids)))
    return figures


def _missed_pairs(tonight: Tonight) -> pl.DataFrame:
    """low, high (customer ids), reason: one row per pair of customers, its best refused pair of records first."""
    near = tonight.rejected.filter(pl.col("kind") == "probabilistic")
    for side in ("left", "right"):
        customer = tonight.customer_xref.select(*_KEYS, pl.col("customer_id").alias(f"{side}_id"))
        near = near.join(customer, left_on=[f"{side}_source", f"{side}_value"], right_on=_KEYS)
    low, high = pl.min_horizontal("left_id", "right_id"), pl.max_horizontal("left_id", "right_id")
    return (
        near.filter(pl.col("left_id") != pl.col("right_id"))
        .select(low.alias("low"), high.alias("high"), "reason", "weight")
        .sort("weight", "low", "high", "reason", descending=[True, False, False, False])
        .unique(["low", "high"], keep="first", maintain_order=True)
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def excessive_changes(
    ledger: pl.DataFrame, last_published_entry: int, n_customers_before: int, policy: QualityPolicy
) -> pl.DataFrame:
    """Ids that were absorbed or split since the last published night, where they are more than the policy allows; else no row.

    Only ids that had party records count: a cookie that has become somebody's is no merger of customers. New ids and ids whose records
    are gone do not count. A full refresh and a new model are no exceptions: ids outlive both, and a model that has gone wrong is what
    this is for. Whoever means it raises `max_changed_rate` for a night.

    Args:
        ledger: entry, event, customer_id, from_customer_id, evidence.
        last_published_entry: entries up to this one were published.
        n_customers_before: customers with party records in what was published; 0: nothing was, and nothing is refused.
        policy: what is allowed.

    Returns:
        customer_id (whose records moved), event (absorbed or split).
    """
    n_records = pl.col("evidence").str.json_path_match("$.n_records").cast(pl.Int64)
    moved = ledger.filter(pl.col("entry") > last_published_entry, pl.col("event").is_in(["absorbed", "split"]))
    changed = (
        moved.filter(n_records > 0)
        .select(
            pl.when(pl.col("event") == "split").then("from_customer_id").otherwise("customer_id").alias("customer_id"),
            "event",
        )
        .unique("customer_id", keep="first", maintain_order=True)
    )
    allowed = max(policy.max_changed_rate * n_customers_before, policy.min_changed_customers)
    return changed if n_customers_before and changed.height > allowed else changed.clear()
