"""The report page: one HTML file that opens from disk and needs nothing from anywhere.

Belongs here: sections, their words, HTML. Does not belong here: figures (`scorecard.py`), charts (`plots.py`), files (`assets.py`).

No row of a customer is shown, only counts, rates and sums: the page may be mailed around.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.reporting import plots

Tables = Mapping[str, nw.LazyFrame]
MAX_ROWS = 30

_STYLE = """
:root{color-scheme:light;--ink:#1d1b2e;--soft:#6b6880;--line:#e4e2ef;--accent:#4f43dd;--good:#1a7f4b;--bad:#b3261e}
*{box-sizing:border-box}body{margin:0;background:#f6f5fb;color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header{background:#fff;border-bottom:1px solid var(--line);padding:28px 32px}header h1{margin:0;font-size:24px}
header p{margin:4px 0 0;color:var(--soft)}main{max-width:1120px;margin:0 auto;padding:24px 32px}
nav{margin:12px 0 0}nav a{color:var(--accent);text-decoration:none;margin-right:16px;white-space:nowrap}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:12px}
.tile,section{background:#fff;border:1px solid var(--line);border-radius:10px}.tile{padding:14px 16px}
.tile b{display:block;font-size:22px;font-weight:600}.tile span,.tile small{display:block;color:var(--soft)}
.tile small.up,.tile small.down{color:var(--ink)}.tile.none b{color:var(--soft);font-size:15px;font-weight:400}
section{margin:20px 0;padding:20px 24px}section h2{margin:0 0 4px;font-size:18px}section>p{margin:0 0 14px;color:var(--soft)}
.chart{overflow-x:auto}.chart svg{max-width:100%;height:auto;overflow:visible}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(430px,100%),1fr));gap:8px 32px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin-top:12px;font-size:13px}
th{text-align:left;font-weight:600;color:var(--soft)}th,td{padding:6px 10px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}footer{color:var(--soft);padding:0 32px 40px;max-width:1120px;margin:0 auto}
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: short, lower case; also its anchor.
        title, lead: heading and a sentence that says what is seen.
        chart: SVG text, None where there is nothing to draw.
        rows: a table of sums and rates, never of customers; at most `MAX_ROWS` are shown.
    """

    name: str
    title: str
    lead: str
    chart: str | None
    rows: pl.DataFrame


def sections(tables: Tables) -> list[Section]:
    """The sections, in order.

    Args:
        tables: those of `SOURCES` by full name.
    """
    return [build(tables) for build in _SECTIONS]


def render_page(
    title: str, as_of: date, run: str, currency: str, scorecard: pl.DataFrame, parts: Sequence[Section]
) -> str:
    """The whole page as HTML text.

    Args:
        title: heading.
        as_of: the date the figures stand for.
        run: name of the run that made them.
        currency: unit of money.
        scorecard: `reporting.scorecard`.
        parts: from `sections`.
    """
    links = "".join(f'<a href="#{html.escape(part.name)}">{html.escape(part.title)}</a>' for part in parts)
    tiles = "".join(_tile(row, currency) for row in scorecard.sort("position").to_dicts())
    body = "".join(_section(part) for part in parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{html.escape(title)}</h1><p>As of {as_of.isoformat()}. Run {html.escape(run)}. Money in {html.escape(currency)}.</p>"
        f'<nav><a href="#scorecard">Scorecard</a>{links}</nav></header><main>'
        f'<h2 id="scorecard">Scorecard</h2><div class="tiles">{tiles}</div>{body}</main>'
        "<footer>Rates carry 95 % intervals. What cannot be known is left out and says why. No row on this page is a person.</footer>"
        "</body></html>\n"
    )


def _tile(row: Mapping[str, object], currency: str) -> str:
    name = html.escape(str(row["figure"]).replace("_", " "))
    meaning = html.escape(str(row["meaning"]), quote=True)
    value, previous = row["value"], row["previous"]
    if not isinstance(value, int | float):
        return f'<div class="tile none" title="{meaning}"><span>{name}</span><b>{html.escape(str(row["reason"] or "not known"))}</b></div>'
    change = ""
    if isinstance(previous, int | float):
        way = "up" if value > previous else "down" if value < previous else "same"
        arrow = {"up": "▲", "down": "▼", "same": "="}[way]
        change = f'<small class="{way}">{arrow} before {_amount(previous, str(row["unit"]), currency)}</small>'
    return f'<div class="tile" title="{meaning}"><span>{name}</span><b>{_amount(value, str(row["unit"]), currency)}</b>{change}</div>'


def _amount(value: float, unit: str, currency: str) -> str:
    if unit == "share":
        return f"{value:.1%}"
    if unit == "money":
        return f"{value:,.0f} {html.escape(currency)}" if abs(value) >= 100 else f"{value:,.2f} {html.escape(currency)}"
    return f"{value:,.0f}"


def _section(part: Section) -> str:
    chart = f'<div class="chart">{inline_svg(part.chart, part.name)}</div>' if part.chart else ""
    nothing = (
        "<p>Nothing to show: no channel delivers what this is made of.</p>"
        if not part.chart and part.rows.is_empty()
        else ""
    )
    table = _table(part.rows) if not part.rows.is_empty() else ""
    return (
        f'<section id="{html.escape(part.name)}"><h2>{html.escape(part.title)}</h2>'
        f'<p>{html.escape(part.lead)}</p>{nothing}<div class="pair">{chart}{table}</div></section>'
    )


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG that can stand beside others in one document: ids of clips and gradients are made its own."""
    own = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    own = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", own)
    return re.sub(r'((?:xlink:)?href)="#([^"]+)"', rf'\1="#{prefix}-\2"', own)


def _table(rows: pl.DataFrame) -> str:
    shown = rows.head(MAX_ROWS)
    numeric = {name for name, dtype in shown.schema.items() if dtype.is_numeric()}
    mark = {name: ' class="n"' if name in numeric else "" for name in shown.columns}
    head = "".join(f"<th{mark[name]}>{html.escape(name.replace('_', ' '))}</th>" for name in shown.columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark[name]}>{html.escape(_cell(name, value))}</td>" for name, value in row.items())
        + "</tr>"
        for row in shown.to_dicts()
    )
    more = f"<p>{rows.height - MAX_ROWS:,} further rows are in the table itself.</p>" if rows.height > MAX_ROWS else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>'


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return (
            f"{value:.1%}"
            if name.endswith(("rate", "share"))
            else f"{value:,.4g}"
            if abs(value) < 100
            else f"{value:,.0f}"
        )
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


# -- the sections ----------------------------------------------------------------------------------------------------------


def _monthly(tables: Tables, table: str) -> pl.DataFrame:
    """The months of a rate over all customers with a complete base; the contract's definition where there is one."""
    rows = to_polars(
        tables[table].filter((nw.col("segment") == "all") & (nw.col("period") == "month") & nw.col("is_base_complete"))
    )
    return rows.filter(pl.col("definition") == pl.col("definition").max()).sort("starts_on")


def _pulse(tables: Tables) -> Section:
    attrition, acquisition = _monthly(tables, "metrics.attrition"), _monthly(tables, "metrics.acquisition")
    shown = attrition.select(
        "starts_on", "n_opening", "n_new", "n_reactivated", "n_lost", "n_closing", "attrition_rate"
    )
    return Section(
        "pulse",
        "Pulse",
        "Who came, who left, who came back: months whose base is complete, against the customers at the month's beginning.",
        plots.rates_by_month(attrition, acquisition),
        shown.sort("starts_on", descending=True),
    )


def _revenue(tables: Tables) -> Section:
    orders = tables["staging.orders"].filter(~nw.col("event_at").is_null())
    months = to_polars(
        orders.with_columns(nw.col("event_at").dt.truncate("1mo").cast(nw.Date).alias("month"))
        .group_by("month")
        .agg(nw.col("order_amount").cast(nw.Decimal(38, 4)).sum().alias("revenue"))
    )
    empty = pl.DataFrame()
    return Section(
        "revenue",
        "Revenue",
        "Money of all orders, returns taken off, whether or not the customer is known.",
        plots.revenue_by_month(months),
        empty,
    )


def _counts(frame: nw.LazyFrame, column: str) -> pl.DataFrame:
    return to_polars(frame.filter(~nw.col(column).is_null()).group_by(column).agg(nw.len().cast(nw.Int64).alias("n")))


def _segments(tables: Tables) -> Section:
    counts = _counts(tables["segmentation.customers"], "rfm_segment")
    shares = counts.with_columns((pl.col("n") / pl.col("n").sum()).alias("share")) if counts.height else counts
    return Section(
        "segments",
        "Segments",
        "Customers by recency, frequency and money, each ranked in fifths.",
        plots.segments(counts),
        shares.sort("n", "rfm_segment", descending=[True, False]),
    )


def _stages(tables: Tables) -> Section:
    counts = _counts(tables["lifecycle.customers"], "stage")
    previous = to_polars(
        tables["lifecycle.customers"]
        .filter(~nw.col("previous_stage").is_null())
        .group_by("previous_stage", "stage")
        .agg(nw.len().cast(nw.Int64).alias("customers"), nw.col("velocity").median().alias("median_days_before"))
    )
    return Section(
        "lifecycle",
        "Lifecycle",
        "Where customers stand tonight; below, from which stage they came last and how many days they had been in it.",
        plots.stages(counts),
        previous.sort("customers", "previous_stage", "stage", descending=[True, False, False]),
    )


def _retention(tables: Tables) -> Section:
    days = (30, 90, 180, 365)
    means = to_polars(
        tables["retention.customers"].select(nw.col(f"survival_{d}d").cast(nw.Float64).mean() for d in days)
    )
    values = means.row(0)
    known = pl.DataFrame(
        {
            "days": [d for d, v in zip(days, values, strict=True) if v is not None],
            "share": [v for v in values if v is not None],
        }
    )
    return Section(
        "retention",
        "Retention",
        "Mean probability, over all customers who have one, of still being one.",
        plots.survival(known),
        pl.DataFrame(),
    )


def _value(tables: Tables) -> Section:
    rows = to_polars(
        tables["value.customers"]
        .filter((nw.col("horizon_days") == 365) & ~nw.col("expected_revenue").is_null())
        .select("customer_id", "expected_revenue")
    )
    tenths = pl.DataFrame()
    total = float(rows["expected_revenue"].sum()) if rows.height else 0.0
    if total > 0:
        ranked = rows.sort("expected_revenue", "customer_id", descending=[True, False]).with_row_index("rank")
        tenths = (
            ranked.group_by((pl.col("rank").cast(pl.Int64) * 10 // rows.height + 1).alias("tenth"))
            .agg((pl.col("expected_revenue").sum() / total).alias("share"))
            .sort("tenth")
        )
    return Section(
        "value",
        "Value",
        "How much of the expected revenue of the next 365 days hangs on how few.",
        plots.value_shares(tenths),
        pl.DataFrame(),
    )


def _models(tables: Tables) -> Section:
    versions = pl.concat(
        [
            to_polars(tables[name].select("model", "version", "is_champion", "is_better", "verdict"))
            for name in ("retention.model_versions", "value.model_versions", "propensity.model_versions")
        ]
    )
    shown = versions.filter(pl.col("is_champion") | (pl.col("version") == "none"))
    champions = to_polars(tables["propensity.model_versions"].filter(nw.col("is_champion")).select("model", "version"))
    curves = to_polars(tables["propensity.calibration"]).join(champions, on=["model", "version"])
    return Section(
        "models",
        "Models",
        "Every model beside its naive rule, on data later than its training. On the dashed line, what was predicted is what happened.",
        plots.calibration(curves),
        shown.select("model", "version", pl.col("is_better").cast(pl.String).alias("is_used"), "verdict").sort("model"),
    )


def _campaigns(tables: Tables) -> Section:
    rows = to_polars(tables["engagement.evaluation"])
    shown = rows.sort("first_sent_on", "campaign", "arm", descending=[True, False, False], nulls_last=True)
    return Section(
        "campaigns",
        "Campaigns",
        "What each campaign did, where its design can tell; a rate without a control arm says who was chosen, not what it changed.",
        plots.campaigns(rows),
        shown.select("campaign", "arm", "first_sent_on", "n", "n_responses", "response_rate", "effect", "verdict"),
    )


def _sources(tables: Tables) -> Section:
    coverage = to_polars(tables["profile.attribution_coverage"].select("channel", "kind", "n_rows", "n_attributed"))
    shown = coverage.with_columns((pl.col("n_attributed") / pl.col("n_rows")).alias("attributed_share")).sort(
        "channel", "kind"
    )
    return Section("sources", "Sources", "Rows of each channel, and how many belong to a known customer.", None, shown)


_SECTIONS: tuple[Callable[[Tables], Section], ...] = (
    _pulse, _revenue, _segments, _stages, _retention, _value, _models, _campaigns, _sources,
)  # fmt: skip
SOURCES: tuple[str, ...] = (
    "metrics.attrition",
    "metrics.acquisition",
    "staging.orders",
    "segmentation.customers",
    "lifecycle.customers",
    "retention.customers",
    "retention.model_versions",
    "value.customers",
    "value.model_versions",
    "propensity.model_versions",
    "propensity.calibration",
    "engagement.evaluation",
    "profile.attribution_coverage",
)
