"""The scorecard: the few figures that everyone sees, each with what it was before, its unit, meaning and source.

Belongs here: the choice of figures, and adding up what other rooms have made. Does not belong here: models, rates and intervals.

A figure without a source row is NULL with a reason; none is ever made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.reporting.policy import ScorecardPolicy

Tables = Mapping[str, nw.LazyFrame]
_MONEY = nw.Decimal(38, 4)


@dataclass(frozen=True)
class Now:
    """A figure's value, its value before (None: not known) and, where there is no value, the reason."""

    value: float | None
    previous: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Figure:
    """A row of the scorecard.

    Attributes:
        name: snake case, with its unit where it is not a count.
        unit: customers, orders, money, share, rows, models.
        meaning: in a sentence, with what `previous` is.
        source: the table it is read from.
        compute: tables by full name, policy, as-of date -> value.
    """

    name: str
    unit: str
    meaning: str
    source: str
    compute: Callable[[Tables, ScorecardPolicy, date], Now]


def scorecard(tables: Tables, policy: ScorecardPolicy, as_of: date) -> pl.DataFrame:
    """One row per figure, in the order of `FIGURES`.

    Args:
        tables: those of `SOURCES` by full name.
        policy: windows.
        as_of: the last day that counts.
    """
    rows = []
    for position, figure in enumerate(FIGURES, start=1):
        found = figure.compute(tables, policy, as_of)
        has_both = found.value is not None and found.previous is not None
        rows.append(
            {
                "position": position,
                "figure": figure.name,
                "value": found.value,
                "previous": found.previous,
                "change": (found.value or 0.0) - (found.previous or 0.0) if has_both else None,
                "unit": figure.unit,
                "meaning": figure.meaning,
                "source": figure.source,
                "reason": found.reason if found.value is None else None,
                "as_of": as_of,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(frame: nw.LazyFrame) -> dict[str, float | None]:
    """The only row of an aggregate, as numbers."""
    found = to_polars(frame).row(0, named=True)
    return {name: None if value is None else float(value) for name, value in found.items()}


def _midnight_after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time())


def _between(column: str, first: datetime, end: datetime) -> nw.Expr:
    return (nw.col(column) >= nw.lit(first)) & (nw.col(column) < nw.lit(end))


def _windows(as_of: date, days: int) -> tuple[tuple[datetime, datetime], tuple[datetime, datetime]]:
    """The last `days` days up to as_of, and as many before."""
    end = _midnight_after(as_of)
    middle = end - timedelta(days=days)
    return (middle, end), (middle - timedelta(days=days), middle)


def _count_if(condition: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(1).otherwise(0).sum().cast(nw.Int64)


def _customers(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    before = _midnight_after(as_of) - timedelta(days=policy.trading_days)
    seen = nw.col("first_seen_at")
    known = _row(
        tables["profile.customers"].select(
            nw.len().cast(nw.Int64).alias("n"),
            _count_if(seen < nw.lit(before)).alias("n_before"),
            _count_if(seen.is_null()).alias("n_undated"),
        )
    )
    return Now(known["n"], known["n_before"] if not known["n_undated"] else None)


def _active_share(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    orders = tables["profile.timeline"].filter((nw.col("kind") == "order") & (nw.col("value") > 0))

    def share(end: datetime) -> float | None:
        start = end - timedelta(days=policy.active_days)
        last = (
            orders.filter(nw.col("at") < nw.lit(end)).group_by("customer_id").agg(nw.col("at").max().alias("last_at"))
        )
        known = _row(
            last.select(nw.len().cast(nw.Int64).alias("n"), _count_if(nw.col("last_at") >= nw.lit(start)).alias("k"))
        )
        return (known["k"] or 0.0) / known["n"] if known["n"] else None

    end = _midnight_after(as_of)
    return Now(share(end), share(end - timedelta(days=policy.trading_days)), "no orders")


def _trade(tables: Tables, policy: ScorecardPolicy, as_of: date) -> list[dict[str, float | None]]:
    """Orders and money of the last window and of the one before."""
    orders = tables["staging.orders"]
    if not _row(orders.select(nw.len().alias("n")))["n"]:
        return []
    return [
        _row(
            orders.filter(_between("event_at", first, end)).select(
                _count_if(nw.col("order_amount") > 0).alias("n"),
                nw.col("order_amount").cast(_MONEY).sum().fill_null(0).alias("money"),
            )
        )
        for first, end in _windows(as_of, policy.trading_days)
    ]


def _revenue(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    trade = _trade(tables, policy, as_of)
    return Now(trade[0]["money"], trade[1]["money"]) if trade else Now(None, reason="no orders")


def _orders(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    trade = _trade(tables, policy, as_of)
    return Now(trade[0]["n"], trade[1]["n"]) if trade else Now(None, reason="no orders")


def _rate(table: str, column: str, period: str) -> Callable[[Tables, ScorecardPolicy, date], Now]:
    """The rate of the last closed period of which the base is complete, and of the one before."""

    def compute(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
        closed = tables[table].filter(
            (nw.col("segment") == "all")
            & (nw.col("period") == period)
            & (nw.col("ends_on") <= nw.lit(as_of + timedelta(days=1)))
            & nw.col("is_base_complete")
            & ~nw.col(column).is_null()
        )
        # Where both definitions are there, the contract's is the harder fact.
        rows = to_polars(closed.select("definition", "ends_on", column)).sort(
            "definition", "ends_on", descending=[True, True]
        )
        if rows.is_empty():
            return Now(None, reason=f"no {period} is closed, with customers at its beginning and a complete base")
        values = rows.filter(pl.col("definition") == rows["definition"][0])[column].to_list()
        return Now(values[0], values[1] if len(values) > 1 else None)

    return compute


def _mean(
    table: str, column: str, where: nw.Expr | None, missing: str
) -> Callable[[Tables, ScorecardPolicy, date], Now]:
    """The mean of a column over customers that have it, rounded so that the order of adding does not show."""

    def compute(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
        frame = tables[table] if where is None else tables[table].filter(where)
        value = _row(frame.select(nw.col(column).cast(nw.Float64).mean().alias("mean")))["mean"]
        return Now(None if value is None else round(value, 6), reason=missing)

    return compute


def _expected_revenue(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    frame = tables["value.customers"].filter(nw.col("horizon_days") == 365)
    value = _row(
        frame.select(
            nw.col("expected_revenue").cast(_MONEY).sum().alias("s"), nw.col("expected_revenue").count().alias("n")
        )
    )
    return Now(value["s"] if value["n"] else None, reason="no customer has an expected value")


def _stage_share(stage: str) -> Callable[[Tables, ScorecardPolicy, date], Now]:
    def compute(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
        known = _row(
            tables["lifecycle.customers"]
            .filter(~nw.col("stage").is_null())
            .select(nw.len().cast(nw.Int64).alias("n"), _count_if(nw.col("stage") == stage).alias("k"))
        )
        return Now((known["k"] or 0.0) / known["n"] if known["n"] else None, reason="no customer has a stage")

    return compute


def _response_rate(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    contacted = tables["engagement.evaluation"].filter(~nw.col("is_control"))

    def rate(first: datetime, end: datetime) -> float | None:
        inside = (nw.col("last_sent_on") >= nw.lit(first.date())) & (nw.col("last_sent_on") < nw.lit(end.date()))
        known = _row(
            contacted.filter(inside).select(nw.col("n").sum().alias("n"), nw.col("n_responses").sum().alias("k"))
        )
        return (known["k"] or 0.0) / known["n"] if known["n"] else None

    now, before = _windows(as_of, policy.campaign_days)
    return Now(rate(*now), rate(*before), "no campaign in the window")


def _identifiable_share(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    campaigns = (
        tables["engagement.evaluation"]
        .group_by("campaign")
        .agg(nw.when(nw.col("verdict") == "not_identifiable").then(0).otherwise(1).max().alias("is_identifiable"))
    )
    known = _row(campaigns.select(nw.len().cast(nw.Int64).alias("n"), nw.col("is_identifiable").sum().alias("k")))
    return Now((known["k"] or 0.0) / known["n"] if known["n"] else None, reason="no campaigns")


def _match_rate(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    sizes = tables["identity.customer_xref"].group_by("customer_id").agg(nw.len().cast(nw.Int64).alias("n"))
    known = _row(
        sizes.select(
            nw.col("n").sum().alias("n"), nw.when(nw.col("n") > 1).then(nw.col("n")).otherwise(0).sum().alias("k")
        )
    )
    return Now((known["k"] or 0.0) / known["n"] if known["n"] else None, reason="no party records")


def _coverage(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    known = _row(
        tables["profile.attribution_coverage"].select(
            nw.col("n_rows").sum().alias("n"), nw.col("n_attributed").sum().alias("k")
        )
    )
    return Now((known["k"] or 0.0) / known["n"] if known["n"] else None, reason="no events")


def _rejected_share(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    loaded = tables["staging.load_manifest"].filter(nw.col("status") == "loaded")
    known = _row(loaded.select(nw.col("rows_read").sum().alias("n"), nw.col("rows_rejected").sum().alias("k")))
    return Now((known["k"] or 0.0) / known["n"] if known["n"] else None, reason="no rows were read")


MODEL_TABLES = ("retention.model_versions", "value.model_versions", "propensity.model_versions")


def _models_in_use(tables: Tables, policy: ScorecardPolicy, as_of: date) -> Now:
    in_use = nw.concat([tables[name].select("model", "is_champion", "is_better") for name in MODEL_TABLES])
    known = _row(
        in_use.select(
            nw.len().cast(nw.Int64).alias("n"), _count_if(nw.col("is_champion") & nw.col("is_better")).alias("k")
        )
    )
    return Now(known["k"] if known["n"] else None, reason="no model has been trained")


FIGURES: tuple[Figure, ...] = (
    Figure(
        "customers",
        "customers",
        "Customers of the master file; before: those first seen earlier than the trading window",
        "profile.customers",
        _customers,
    ),
    Figure(
        "active_share",
        "share",
        "Share of those who ever ordered that ordered in the active window; before: one trading window earlier",
        "profile.timeline",
        _active_share,
    ),
    Figure(
        "revenue",
        "money",
        "Money of all orders in the trading window, returns taken off; before: the window before",
        "staging.orders",
        _revenue,
    ),
    Figure(
        "orders",
        "orders",
        "Orders of a positive amount in the trading window; before: the window before",
        "staging.orders",
        _orders,
    ),
    Figure(
        "attrition_rate_month",
        "share",
        "Share of the customers at the beginning of the last closed month that were lost in it; before: the month before",
        "metrics.attrition",
        _rate("metrics.attrition", "attrition_rate", "month"),
    ),
    Figure(
        "attrition_rate_year",
        "share",
        "The same over the last closed year",
        "metrics.attrition",
        _rate("metrics.attrition", "attrition_rate", "year"),
    ),
    Figure(
        "acquisition_rate_month",
        "share",
        "New customers of the last closed month over those at its beginning; before: the month before",
        "metrics.acquisition",
        _rate("metrics.acquisition", "acquisition_rate", "month"),
    ),
    Figure(
        "acquisition_rate_year",
        "share",
        "The same over the last closed year",
        "metrics.acquisition",
        _rate("metrics.acquisition", "acquisition_rate", "year"),
    ),
    Figure(
        "survival_90d",
        "share",
        "Mean probability of staying for 90 days more",
        "retention.customers",
        _mean("retention.customers", "survival_90d", None, "no customer has a survival probability"),
    ),
    Figure(
        "purchase_90d",
        "share",
        "Mean probability of an order within the horizon",
        "propensity.scores",
        _mean("propensity.scores", "probability", nw.col("model") == "purchase_90d", "no model in use"),
    ),
    Figure(
        "expected_revenue_365d",
        "money",
        "Sum of the customers' expected revenue of the next 365 days",
        "value.customers",
        _expected_revenue,
    ),
    Figure(
        "expected_revenue_365d_per_customer",
        "money",
        "Its mean per customer",
        "value.customers",
        _mean(
            "value.customers", "expected_revenue", nw.col("horizon_days") == 365, "no customer has an expected value"
        ),
    ),
    Figure(
        "loyal_share",
        "share",
        "Share of the customers in the stage loyalty",
        "lifecycle.customers",
        _stage_share("loyalty"),
    ),
    Figure(
        "disengaged_share",
        "share",
        "Share of the customers in the stage disengaged",
        "lifecycle.customers",
        _stage_share("disengaged"),
    ),
    Figure(
        "response_rate",
        "share",
        "Customers who responded over customers contacted, campaigns sent in the campaign window; before: the window before",
        "engagement.evaluation",
        _response_rate,
    ),
    Figure(
        "identifiable_campaigns_share",
        "share",
        "Share of the campaigns whose design lets their effect be read",
        "engagement.evaluation",
        _identifiable_share,
    ),
    Figure(
        "match_rate",
        "share",
        "Share of the party records that belong to a customer with another record",
        "identity.customer_xref",
        _match_rate,
    ),
    Figure(
        "coverage",
        "share",
        "Share of the events that belong to a known customer",
        "profile.attribution_coverage",
        _coverage,
    ),
    Figure(
        "rejected_share",
        "share",
        "Share of the rows read that broke their channel's contract",
        "staging.load_manifest",
        _rejected_share,
    ),
    Figure(
        "models_in_use",
        "models",
        "Models that beat their naive rule out of time and make scores",
        "propensity.model_versions",
        _models_in_use,
    ),
)
SOURCES: tuple[str, ...] = tuple(dict.fromkeys((*(figure.source for figure in FIGURES), *MODEL_TABLES)))
