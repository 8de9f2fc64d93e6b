"""Looking ids up in a published run: who an id stands for now, and who somebody was on a day.

Belongs here: questions about ids that the tables of this room answer. Does not belong here: how answers are printed (`cli.py`).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from cx_pipeline.identity.ledger import customers_on


def current_id(run: Path, wanted: str) -> str | None:
    """The id of the living customer that an id, old or new, stands for; None where there is none.

    Args:
        run: folder of a published run.
        wanted: a whole id.
    """
    folder = run / "identity"
    for table, column in (("customer_xref", "customer_id"), ("identifier_xref", "customer_id"), ("aliases", "alias")):
        path = folder / f"{table}.parquet"
        # A run of an earlier version may lack a table.
        if path.is_file():
            rows = pl.scan_parquet(path).filter(pl.col(column) == wanted).select("customer_id").head(1).collect()
            if rows.height:
                return str(rows["customer_id"][0])
    return None


def life_of(run: Path, customer_id: str) -> pl.DataFrame:
    """The ledger's entries about an id and about the ids it has absorbed, in the order they were entered.

    Args:
        run: folder of a published run.
        customer_id: a whole id, old or new.
    """
    aliases = pl.scan_parquet(run / "identity" / "aliases.parquet").filter(pl.col("customer_id") == customer_id)
    ids = [customer_id, *aliases.collect()["alias"].to_list()]
    concerned = pl.col("customer_id").is_in(ids) | pl.col("from_customer_id").is_in(ids)
    return pl.scan_parquet(run / "identity" / "ledger.parquet").filter(concerned).collect().sort("entry")


def customer_on(run: Path, customer_id: str, day: date) -> pl.DataFrame:
    """Who a customer was on a day: channel, record_id, customer_id_then, customer_id_now (NULL: not there).

    All records that had the id then or belong to the customer it stands for now.

    Args:
        run: folder of a published run.
        customer_id: a whole id, old or new.
        day: without rows that had an id where it lies before the first night.
    """
    folder = run / "identity"
    now = pl.read_parquet(folder / "customer_xref.parquet", columns=["channel", "record_id", "customer_id"])
    then = customers_on(pl.read_parquet(folder / "customer_history.parquet"), day)
    both = then.rename({"customer_id": "customer_id_then"}).join(
        now.rename({"customer_id": "customer_id_now"}), on=["channel", "record_id"], how="full", coalesce=True
    )
    living = current_id(run, customer_id) or customer_id
    return both.filter((pl.col("customer_id_then") == customer_id) | (pl.col("customer_id_now") == living)).sort(
        "channel", "record_id"
    )


def published_state(published: Path) -> tuple[int, int]:
    """The last entry of the published ledger, and the number of published customers with records; 0, 0 where there are none.

    Args:
        published: folder of all published runs.
    """
    folder = published / "current" / "identity"
    ledger, xref = (folder / f"{table}.parquet" for table in ("ledger", "customer_xref"))
    if not (ledger.is_file() and xref.is_file()):
        return 0, 0
    last = pl.scan_parquet(ledger).select(pl.col("entry").max().fill_null(0)).collect().item()
    return int(last), int(pl.scan_parquet(xref).select(pl.col("customer_id").n_unique()).collect().item())
