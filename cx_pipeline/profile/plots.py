"""Plots of the profile room."""

from __future__ import annotations

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.core.plots import band, bars, lines


def values_by_status(values: nw.LazyFrame) -> str | None:
    """How many values each channel wins in the golden record."""
    counted = to_polars(values.filter(nw.col("status") == "winner").group_by("channel").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    return bars(
        counted.sort("n", "channel", descending=True).head(20),
        x="channel",
        y="n",
        title="Golden values by channel",
        y_title="values",
    )


def customers_by_channels(customers: nw.LazyFrame) -> str | None:
    """How many customers are known by one channel, two, three ..."""
    counted = to_polars(customers.group_by("n_channels").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    named = counted.sort("n_channels").with_columns(pl.col("n_channels").cast(pl.String).alias("channels"))
    return bars(
        named,
        x="channels",
        y="n",
        title="Customers by number of channels that know them",
        x_title="channels",
        y_title="customers",
    )


def events_by_month(timeline: nw.LazyFrame) -> str | None:
    """Events per month, one line per kind."""
    months = timeline.with_columns(nw.col("at").dt.truncate("1mo").cast(nw.Datetime("us")).alias("month"))
    counted = to_polars(months.group_by("month", "kind").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    return lines(
        counted.sort("month", "kind"), x="month", y="n", colour="kind", title="Events per month", y_title="events"
    )


def recency_at_cutoffs(features: nw.LazyFrame) -> str | None:
    """Median days since the last order at each cut-off, with the middle half of customers around it."""
    spread = to_polars(
        features.filter(~nw.col("recency_days").is_null())
        .group_by("as_of")
        .agg(
            nw.col("recency_days").quantile(share, "linear").alias(name)
            for name, share in (("low", 0.25), ("middle", 0.5), ("high", 0.75))
        )
    )
    if spread.is_empty():
        return None
    return band(
        spread.sort("as_of"),
        x="as_of",
        y="middle",
        low="low",
        high="high",
        title="Days since the last order at each cut-off: median and middle half",
        y_title="days",
    )


def overlay_by_match(matches: nw.LazyFrame) -> str | None:
    """Records of third-party data by what led to a customer, or why nothing did."""
    outcome = nw.coalesce(nw.col("matched_by"), nw.col("reason")).alias("outcome")
    counted = to_polars(matches.select(outcome).group_by("outcome").agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    return bars(
        counted.sort("n", "outcome", descending=True),
        x="outcome",
        y="n",
        title="Third-party records by what led to a customer",
        y_title="records",
    )


def age_of_overlays(overlay: nw.LazyFrame) -> str | None:
    """Customers by the age of what third parties say about them, in quarters of a year."""
    quarter = (nw.col("age_days") // 91).cast(nw.Int64).alias("quarter")
    counted = to_polars(
        overlay.filter(~nw.col("age_days").is_null()).select(quarter).group_by("quarter").agg(nw.len().alias("n"))
    )
    if counted.is_empty():
        return None
    named = counted.sort("quarter").with_columns((pl.col("quarter") * 3).cast(pl.String).alias("months"))
    return bars(
        named,
        x="months",
        y="n",
        title="Age of third-party data",
        x_title="at least so many months",
        y_title="customers",
    )


def conflicts_by_kind(conflicts: nw.LazyFrame) -> str | None:
    """Customers by the way in which their on-line and off-line sides contradict each other."""
    return _counted(conflicts, "kind", title="On-line and off-line contradict each other", y_title="customers")


def sessions_by_month(sessions: nw.LazyFrame) -> str | None:
    """Visits per month: all, those with a cart, those with an order."""
    months = sessions.with_columns(nw.col("started_at").dt.truncate("1mo").cast(nw.Datetime("us")).alias("month"))
    counted = to_polars(
        months.group_by("month").agg(
            nw.len().cast(nw.Int64).alias("visits"),
            *(
                nw.when(nw.col(flag)).then(1).otherwise(0).sum().cast(nw.Int64).alias(name)
                for flag, name in (("has_cart", "with a cart"), ("has_order", "with an order"))
            ),
        )
    )
    if counted.is_empty():
        return None
    long = counted.sort("month").unpivot(index="month", variable_name="what", value_name="n")
    return lines(long, x="month", y="n", colour="what", title="Visits to on-line channels per month", y_title="visits")


def carts_by_outcome(carts: nw.LazyFrame) -> str | None:
    """Carts: bought in the visit, recovered later, abandoned, still open."""
    return _counted(carts, "outcome", title="What became of carts", y_title="carts")


def sentiment_by_topic(insight: nw.LazyFrame) -> str | None:
    """Mean sentiment of the topics that most customers talk about."""
    heard = insight.filter(~nw.col("mean_sentiment").is_null()).with_columns(
        (nw.col("mean_sentiment") * nw.col("n_sentiments")).alias("total")
    )
    topics = to_polars(heard.group_by("topic").agg(nw.col("total").sum(), nw.col("n_sentiments").sum().alias("n")))
    if topics.is_empty():
        return None
    most = topics.sort("n", "topic", descending=[True, False]).head(15)
    shown = most.select("topic", (pl.col("total") / pl.col("n")).alias("sentiment")).sort("sentiment", "topic")
    return bars(shown, x="topic", y="sentiment", title="Sentiment by topic in communities", y_title="mean, -1 to 1")


def links_by_relation(links: nw.LazyFrame) -> str | None:
    """Pairs of customers by what they do with one another."""
    return _counted(links, "relation", title="Customers who deal with one another", y_title="pairs")


def usage_by_day(usage: nw.LazyFrame) -> str | None:
    """Customers who used a product, by day."""
    days = to_polars(usage.group_by("used_on").agg(nw.col("customer_id").n_unique().cast(nw.Int64).alias("n")))
    if days.is_empty():
        return None
    return lines(days.sort("used_on"), x="used_on", y="n", title="Customers with usage per day", y_title="customers")


def _counted(rows: nw.LazyFrame, column: str, *, title: str, y_title: str) -> str | None:
    """Bars of the number of rows for each value of a column, most first."""
    counted = to_polars(rows.group_by(column).agg(nw.len().alias("n")))
    if counted.is_empty():
        return None
    ordered = counted.sort("n", column, descending=[True, False]).head(20)
    return bars(ordered, x=column, y="n", title=title, y_title=y_title)
