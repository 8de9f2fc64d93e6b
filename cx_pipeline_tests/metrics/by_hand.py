"""Attrition and acquisition by hand-written SQL, straight from their definitions: every boundary counted by itself.

Belongs here: the slow and obvious way, for comparison. Does not belong here: anything of the package.
"""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import duckdb
import polars as pl

COLUMNS = ("n_opening", "n_new", "n_new_still_active", "n_reactivated", "n_lost", "n_closing")

_FIGURES = """
    SELECT p.period, p.starts_on,
        count(*) FILTER (o) AS n_opening,
        count(*) FILTER (n) AS n_new,
        count(*) FILTER (n AND c) AS n_new_still_active,
        count(*) FILTER (NOT o AND NOT n AND c) AS n_reactivated,
        count(*) FILTER (o AND NOT c) AS n_lost,
        count(*) FILTER (c) AS n_closing
    FROM (
        SELECT p.period, p.starts_on, p.ends_on, u.customer_id,
            {opening} AS o, {closing} AS c, u.first_on >= p.starts_on AND u.first_on < p.ends_on AS n
        FROM periods AS p CROSS JOIN customers AS u
    ) AS p
    GROUP BY ALL ORDER BY ALL
"""


def of_activity(orders: pl.DataFrame, window_days: int, as_of: date) -> pl.DataFrame:
    """Figures of all whole periods up to as_of; `orders`: customer_id, at, value."""
    con = duckdb.connect()
    con.register("orders", orders.to_arrow())
    con.execute(
        "CREATE TABLE bought AS SELECT DISTINCT customer_id, o.at::DATE AS day FROM orders AS o WHERE value > 0 AND o.at < ?",
        [date.fromordinal(as_of.toordinal() + 1)],
    )
    con.execute("CREATE TABLE customers AS SELECT customer_id, min(day) AS first_on FROM bought GROUP BY ALL")
    within = "EXISTS (FROM bought AS b WHERE b.customer_id = u.customer_id AND b.day >= p.{0} - {1} AND b.day < p.{0})"
    return _figures(con, as_of, within.format("starts_on", window_days), within.format("ends_on", window_days))


def of_contracts(held: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The same for contracts; `held`: customer_id, started_on, ended_on. A contract that starts the day after another goes on."""
    con = duckdb.connect()
    con.register("given", held.to_arrow())
    con.execute("CREATE TABLE held AS SELECT * FROM given WHERE started_on <= ?", [as_of])
    con.execute("CREATE TABLE customers AS SELECT customer_id, min(started_on) AS first_on FROM held GROUP BY ALL")
    # In force at the beginning of a day: before it, and on it or after, or up to the day before one that begins on it.
    within = """EXISTS (FROM held AS h WHERE h.customer_id = u.customer_id AND h.started_on < p.{0} AND (
        h.ended_on IS NULL OR h.ended_on >= p.{0} OR h.ended_on = p.{0} - 1
        AND EXISTS (FROM held AS g WHERE g.customer_id = u.customer_id AND g.started_on = p.{0})))"""
    return _figures(con, as_of, within.format("starts_on"), within.format("ends_on"))


def _figures(con: duckdb.DuckDBPyConnection, as_of: date, opening: str, closing: str) -> pl.DataFrame:
    first = con.execute("SELECT min(first_on) FROM customers").fetchall()[0][0]
    starts = [
        (period, start, end)
        for period in ("month", "year")
        for start, end in _periods(period, first.year, as_of.year)
        if start >= first and end.toordinal() <= as_of.toordinal() + 1
    ]
    con.register("periods", pl.DataFrame(starts, schema=["period", "starts_on", "ends_on"], orient="row").to_arrow())
    figures: pl.DataFrame = con.sql(_FIGURES.format(opening=opening, closing=closing)).pl()
    return figures


def _periods(period: str, first_year: int, last_year: int) -> list[tuple[date, date]]:
    months = [date(year, month, 1) for year in range(first_year, last_year + 2) for month in range(1, 13)]
    starts = months if period == "month" else months[::12]
    return list(pairwise(starts))
