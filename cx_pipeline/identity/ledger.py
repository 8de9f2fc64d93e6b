"""Stable ids: tonight's customers keep the ids of last night's, and every change is written down.

Belongs here: which id a customer keeps, the ledger of changes, aliases of ids that are gone, who a record was at a date. Pure: last
night's tables come in, tonight's go out. Does not belong here: who belongs together (resolution.py, customers.py).

- Each old id goes to the customer that has most of its records (then of its identifiers; then the part with the first record).
- Where several old ids meet, one that had records goes before one that had none; then the older id stays, and of the same night's ids
  the one with more records; the others live on in another part of their records, if there is one that no id claims, else they are
  absorbed.
- Where no old id comes, a new one is made, which was never used before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from cx_pipeline.identity.customers import Customers

EVENTS = ("created", "split", "merged", "absorbed", "retired")
LEDGER_SCHEMA = pl.Schema(
    {
        "entry": pl.Int64(),
        "at": pl.Datetime("us"),
        "as_of": pl.Date(),
        "event": pl.String(),
        "customer_id": pl.String(),
        "from_customer_id": pl.String(),
        "evidence": pl.String(),
    }
)
HISTORY_SCHEMA = pl.Schema(
    {
        "channel": pl.String(),
        "record_id": pl.String(),
        "version": pl.Int64(),
        "customer_id": pl.String(),
        "came_by": pl.String(),
        "valid_from": pl.Date(),
        "valid_to": pl.Date(),
    }
)
_XREF_SCHEMA = pl.Schema(dict.fromkeys(("channel", "record_id", "customer_id"), pl.String()))
_IDENTIFIER_SCHEMA = pl.Schema(dict.fromkeys(("namespace", "value", "customer_id"), pl.String()))
_MEMBER = ["is_record", "source", "value"]
_STRONGEST = {"human": 0, "deterministic": 1, "probabilistic": 2}
_GRAVEST = {reason: i for i, reason in enumerate(("cannot_link", "party_kind", "source_uniqueness", "size_cap"))}
_CHANGE_SCHEMA = pl.Schema(
    {
        "event": pl.String(),
        "customer_id": pl.String(),
        "from_customer_id": pl.String(),
        "n_records": pl.Int64(),
        "n_identifiers": pl.Int64(),
    }
)


@dataclass(frozen=True)
class Previous:
    """Last night's tables; without rows on the first night.

    Attributes:
        customer_xref: channel, record_id, customer_id.
        identifier_xref: namespace, value, customer_id.
        ledger: `LEDGER_SCHEMA`.
        history: `HISTORY_SCHEMA`.
    """

    customer_xref: pl.DataFrame
    identifier_xref: pl.DataFrame
    ledger: pl.DataFrame
    history: pl.DataFrame

    @classmethod
    def nothing(cls) -> Previous:
        """Before the first night."""
        return cls(*(pl.DataFrame(schema=s) for s in (_XREF_SCHEMA, _IDENTIFIER_SCHEMA, LEDGER_SCHEMA, HISTORY_SCHEMA)))


@dataclass(frozen=True)
class Kept:
    """Tonight's ids.

    Attributes:
        ids: name (what tonight's data alone would call a customer) -> customer_id.
        changes: event, customer_id, from_customer_id, n_records, n_identifiers (that it is about); in the ledger's order.
        overlap: name, old_id, n_records, n_identifiers: what tonight's customers have of last night's.
    """

    ids: pl.DataFrame
    changes: pl.DataFrame
    overlap: pl.DataFrame

    def rename(self, frame: pl.DataFrame, column: str = "customer_id") -> pl.DataFrame:
        """A frame with customers' names replaced by their ids."""
        named = frame.join(self.ids, left_on=column, right_on="name", how="left", maintain_order="left", suffix="_kept")
        return named.with_columns(
            pl.col(f"{column}_kept" if column == "customer_id" else "customer_id").alias(column)
        ).select(frame.columns)


def members(customer_xref: pl.DataFrame, identifier_xref: pl.DataFrame) -> pl.DataFrame:
    """is_record, source, value, customer_id of all records and identifiers."""
    return pl.concat(
        [
            customer_xref.select(
                pl.lit(True).alias("is_record"),
                pl.col("channel").alias("source"),
                pl.col("record_id").alias("value"),
                "customer_id",
            ),
            identifier_xref.select(
                pl.lit(False).alias("is_record"), pl.col("namespace").alias("source"), "value", "customer_id"
            ),
        ]
    )


def keep_ids(customers: Customers, previous: Previous, key: str) -> Kept:
    """Give tonight's customers the ids they had, and tell what changed.

    Args:
        customers: tonight's, with names made of tonight's data alone.
        previous: last night's tables.
        key: of the hash that new ids are made with.
    """
    now = members(customers.customer_xref, customers.identifier_xref).rename({"customer_id": "name"})
    before = members(previous.customer_xref, previous.identifier_xref).rename({"customer_id": "old_id"})
    overlap = _overlap(now, before)
    claims, owners = _settled(overlap, _claims(overlap, now, before), before, previous.ledger)
    sizes = _counted(now, "name")
    ids = _ids(sizes.select("name"), owners, previous, before, key)
    return Kept(ids, _changes(ids, overlap, claims, sizes, before, previous.ledger), overlap)


def _counted(frame: pl.DataFrame, *by: str) -> pl.DataFrame:
    return frame.group_by(by).agg(
        pl.col("is_record").sum().cast(pl.Int64).alias("n_records"),
        (~pl.col("is_record")).sum().cast(pl.Int64).alias("n_identifiers"),
    )


def _overlap(now: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    return _counted(now.join(before, on=_MEMBER), "name", "old_id")


def _claims(overlap: pl.DataFrame, now: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """name, old_id, n_records, n_identifiers: the one customer that each old id goes to."""
    is_split = overlap.filter(pl.len().over("old_id") > 1)
    # Looked up for the few ids that are split: the part with the first record wins a tie.
    parts = before.join(is_split.select("old_id").unique(), on="old_id").join(now, on=_MEMBER)
    first = (
        parts.sort(pl.col("is_record"), "source", "value", descending=[True, False, False])
        .unique(["name", "old_id"], keep="first", maintain_order=True)
        .with_row_index("place")
        .select("name", "old_id", "place")
    )
    return (
        overlap.join(first, on=["name", "old_id"], how="left")
        .sort(
            "old_id",
            "n_records",
            pl.when(pl.col("n_records") == 0).then("n_identifiers"),
            "place",
            "name",
            descending=[False, True, True, False, False],
        )
        .unique("old_id", keep="first", maintain_order=True)
        .drop("place")
    )


def _settled(
    overlap: pl.DataFrame, claims: pl.DataFrame, before: pl.DataFrame, ledger: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Where each old id goes (as `_claims`), and which stays there (as `_survivors`).

    An id that would be absorbed where most of its records went lives on in another part of them that no id claims.
    """
    owners = _survivors(claims, before, ledger)
    while True:
        lost = claims.join(owners, left_on="old_id", right_on="customer_id", how="anti").select("old_id")
        free = overlap.join(claims.select("name"), on="name", how="anti").join(lost, on="old_id")
        if free.is_empty():
            return claims, owners
        second = free.sort(
            "old_id", "n_records", "n_identifiers", "name", descending=[False, True, True, False]
        ).unique("old_id", keep="first", maintain_order=True)
        stays = _survivors(second, before, ledger)
        moved = second.join(stays, left_on=["name", "old_id"], right_on=["name", "customer_id"])
        claims = pl.concat([claims.join(moved, on="old_id", how="anti"), moved])
        owners = pl.concat([owners, stays])


def _survivors(claims: pl.DataFrame, before: pl.DataFrame, ledger: pl.DataFrame) -> pl.DataFrame:
    """name, customer_id: which of the old ids that meet in a customer stays."""
    born = ledger.filter(pl.col("event") == "created").group_by("customer_id").agg(pl.col("at").min().alias("born_at"))
    had_records = before.group_by("old_id").agg(pl.col("is_record").any().alias("had_records"))
    ordered = (
        claims.join(born, left_on="old_id", right_on="customer_id", how="left")
        .join(had_records, on="old_id", how="left")
        .sort(
            ["name", "had_records", "born_at", "n_records", "n_identifiers", "old_id"],
            descending=[False, True, False, True, True, False],
            nulls_last=False,
        )
    )
    return ordered.unique("name", keep="first", maintain_order=True).select(
        "name", pl.col("old_id").alias("customer_id")
    )


def _ids(names: pl.DataFrame, owners: pl.DataFrame, previous: Previous, before: pl.DataFrame, key: str) -> pl.DataFrame:
    """name, customer_id: kept ids, and for the rest the name itself where nobody ever had it, else one made of it."""
    ledger = previous.ledger
    used = pl.concat([before["old_id"], ledger["customer_id"], ledger["from_customer_id"].drop_nulls()]).unique()
    fresh = names.join(owners, on="name", how="anti").sort("name")
    is_free = ~pl.col("name").is_in(used.implode())
    free, taken = fresh.filter(is_free), fresh.filter(~is_free)["name"].to_list()
    known = {*used.to_list(), *fresh["name"].to_list()} if taken else set()
    made = [_unused(name, known, key) for name in taken]
    return pl.concat(
        [
            owners,
            free.with_columns(pl.col("name").alias("customer_id")),
            pl.DataFrame({"name": taken, "customer_id": made}, schema={"name": pl.String, "customer_id": pl.String}),
        ]
    ).sort("name")


def _unused(name: str, known: set[str], key: str) -> str:
    generation = 1
    while True:
        made = "C" + hashlib.sha256(f"{key}\x1f{name}\x1f{generation}".encode()).hexdigest()[:16]
        if made not in known:
            known.add(made)
            return made
        generation += 1


def _changes(
    ids: pl.DataFrame,
    overlap: pl.DataFrame,
    claims: pl.DataFrame,
    sizes: pl.DataFrame,
    before: pl.DataFrame,
    ledger: pl.DataFrame,
) -> pl.DataFrame:
    old_ids = _counted(before, "old_id")
    recorded = ledger.filter(pl.col("event") == "created").select("customer_id")
    # Ids from before there was a ledger are entered when they are first met.
    adopted = old_ids.rename({"old_id": "customer_id"}).join(recorded, on="customer_id", how="anti")
    new = ids.join(old_ids, left_on="customer_id", right_on="old_id", how="anti").join(sizes, on="name")
    arrived = claims.join(ids, on="name").filter(pl.col("customer_id") != pl.col("old_id"))
    parted = (
        overlap.join(claims.select("name", "old_id"), on=["name", "old_id"], how="anti")
        .join(ids, on="name")
        .filter(pl.col("customer_id") != pl.col("old_id"))
    )
    gone = old_ids.join(overlap.select("old_id").unique(), on="old_id", how="anti")
    none = pl.lit(None, dtype=pl.String)
    frames = [
        (adopted, "created", pl.col("customer_id"), none),
        (new, "created", pl.col("customer_id"), none),
        (parted, "split", pl.col("customer_id"), pl.col("old_id")),
        (arrived, "merged", pl.col("customer_id"), pl.col("old_id")),
        (arrived, "absorbed", pl.col("old_id"), pl.col("customer_id")),
        (gone, "retired", pl.col("old_id"), none),
    ]
    parts = [
        frame.select(
            pl.lit(event).alias("event"),
            customer.alias("customer_id"),
            origin.alias("from_customer_id"),
            "n_records",
            "n_identifiers",
        )
        .cast(_CHANGE_SCHEMA)
        .sort("customer_id", "from_customer_id")
        for frame, event, customer, origin in frames
    ]
    return pl.concat(parts)


# --- the ledger ---------------------------------------------------------------------------------------------------------------


def ledger_rows(
    changes: pl.DataFrame, reasons: pl.DataFrame, ledger: pl.DataFrame, at: datetime, as_of: date
) -> pl.DataFrame:
    """Tonight's entries, to be appended: `LEDGER_SCHEMA`.

    Args:
        changes: from `keep_ids`.
        reasons: customer_id, from_customer_id, reason (a JSON object without braces), from `reasons_of_changes`.
        ledger: what was entered before.
        at: start of the run.
        as_of: the date the results stand for.
    """
    last = ledger["entry"].max()
    counts = pl.format('"n_records": {}, "n_identifiers": {}', "n_records", "n_identifiers")
    pair = [pl.min_horizontal("customer_id", "from_customer_id"), pl.max_horizontal("customer_id", "from_customer_id")]
    told = reasons.with_columns(pair[0].alias("low"), pair[1].alias("high")).select("event", "low", "high", "reason")
    joined = changes.with_columns(pair[0].alias("low"), pair[1].alias("high")).join(
        told, on=["event", "low", "high"], how="left", maintain_order="left"
    )
    return joined.select(
        (pl.int_range(1, pl.len() + 1, dtype=pl.Int64) + (int(last) if isinstance(last, int) else 0)).alias("entry"),
        pl.lit(at).cast(pl.Datetime("us")).alias("at"),
        pl.lit(as_of).alias("as_of"),
        "event",
        "customer_id",
        "from_customer_id",
        pl.when(pl.col("reason").is_null())
        .then(pl.concat_str(pl.lit("{"), counts, pl.lit("}")))
        .otherwise(pl.concat_str(pl.lit("{"), counts, pl.lit(", "), pl.col("reason"), pl.lit("}")))
        .alias("evidence"),
    )


def reasons_of_changes(
    changes: pl.DataFrame, customers: Customers, previous: Previous, edges: pl.DataFrame, rejected: pl.DataFrame
) -> pl.DataFrame:
    """The evidence that merged or parted ids: event, customer_id, from_customer_id, reason (members of a JSON object).

    Of a merge the strongest edge that ties members of the absorbed id to others of the customer; of a split the strongest edge between
    the two parts that was refused. Kinds, rules and weights only, no values.

    Args:
        changes: from `keep_ids`.
        customers: tonight's, under their ids.
        previous: last night's tables.
        edges: tonight's evidence that took effect (see `edges.Graph`).
        rejected: and that was refused.
    """
    empty = pl.DataFrame(schema={**dict.fromkeys(("event", "customer_id", "from_customer_id", "reason"), pl.String)})
    merged = changes.filter(pl.col("event") == "merged")
    parted = changes.filter(pl.col("event") == "split")
    if merged.is_empty() and parted.is_empty():
        return empty
    before = members(previous.customer_xref, previous.identifier_xref).rename({"customer_id": "old_id"})
    now = members(customers.customer_xref, customers.identifier_xref)
    moved = pl.concat([merged["from_customer_id"], parted["from_customer_id"]]).unique()
    of_moved = before.filter(pl.col("old_id").is_in(moved.implode())).join(now, on=_MEMBER, how="left")
    text = {"kind": '"kind": "{}"', "rule": '"rule": "{}"', "weight": '"weight": {}'}
    joined = _ends(edges.filter("is_used"), of_moved).filter(
        pl.col("left_old").is_null() | pl.col("right_old").is_null() | (pl.col("left_old") != pl.col("right_old"))
    )
    because = pl.concat(
        [joined.with_columns(pl.col(f"{side}_old").alias("from_customer_id")) for side in ("left", "right")]
    ).drop_nulls("from_customer_id")
    merges = merged.join(_strongest(because, ["from_customer_id"]), on="from_customer_id", how="left").with_columns(
        _json(text).alias("reason")
    )
    apart = _ends(rejected, of_moved).filter(
        pl.col("left_old") == pl.col("right_old"), pl.col("left_now") != pl.col("right_now")
    )
    because = pl.concat(
        [
            apart.with_columns(pl.col("left_old").alias("from_customer_id"), pl.col(f"{side}_now").alias("customer_id"))
            for side in ("left", "right")
        ]
    )
    by = ["customer_id", "from_customer_id"]
    splits = parted.join(_strongest(because, by), on=by, how="left").with_columns(
        pl.when(pl.col("kind").is_null())
        .then(pl.lit('"reason": "evidence_withdrawn"'))
        .otherwise(_json({"reason": '"reason": "{}"', **text}))
        .alias("reason")
    )
    both = merges.with_columns(pl.lit("absorbed").alias("event"))
    return pl.concat([frame.select(empty.columns) for frame in (merges, both, splits)]).drop_nulls("reason")


def _json(members_of_object: dict[str, str]) -> pl.Expr:
    parts = [
        pl.format(template, pl.col(name).round(3) if name == "weight" else pl.col(name))
        for name, template in members_of_object.items()
    ]
    return pl.concat_str(parts, separator=", ", ignore_nulls=True).replace("", None)


def _ends(edges: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """Edges that touch a member of the given ids, with the old id and tonight's customer of either end."""
    for side in ("left", "right"):
        lookup = moved.select(
            *(pl.col(name).alias(f"{side}_{name}") for name in _MEMBER),
            pl.col("old_id").alias(f"{side}_old"),
            pl.col("customer_id").alias(f"{side}_now"),
        )
        edges = edges.join(lookup, on=[f"{side}_{name}" for name in _MEMBER], how="left")
    return edges.filter(pl.col("left_old").is_not_null() | pl.col("right_old").is_not_null())


def _strongest(edges: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """The strongest edge for each group: decisions, then identifiers, then the greatest weight; refused ones by their reason first."""
    named = [name for name in ("reason", "kind", "rule", "weight") if name in edges.columns]
    order = [pl.col("kind").replace_strict(_STRONGEST, default=len(_STRONGEST), return_dtype=pl.Int64)]
    if "reason" in edges.columns:
        order.insert(0, pl.col("reason").replace_strict(_GRAVEST, default=len(_GRAVEST), return_dtype=pl.Int64))
    return (
        edges.sort(
            *by, *order, "weight", "rule", descending=[False] * (len(by) + len(order)) + [True, False], nulls_last=True
        )
        .unique(by, keep="first", maintain_order=True)
        .select(*by, *named)
    )


# --- aliases and history ------------------------------------------------------------------------------------------------------


def aliases(ledger: pl.DataFrame, living: Iterable[str]) -> pl.DataFrame:
    """alias, customer_id, absorbed_on: every absorbed id whose heir, or heir's heir, lives.

    Args:
        ledger: with tonight's entries.
        living: ids of tonight's customers.
    """
    absorbed = ledger.filter(pl.col("event") == "absorbed").sort("entry").unique("customer_id", keep="last")
    found = absorbed.select(
        pl.col("customer_id").alias("alias"),
        pl.col("from_customer_id").alias("customer_id"),
        pl.col("as_of").alias("absorbed_on"),
    )
    heirs = found.select(pl.col("alias").alias("customer_id"), pl.col("customer_id").alias("heir"))
    while True:
        further = found.join(heirs, on="customer_id", how="left")
        if further["heir"].null_count() == further.height:
            break
        found = further.with_columns(pl.coalesce("heir", "customer_id").alias("customer_id")).drop("heir")
    alive = pl.Series("customer_id", list(living), dtype=pl.String).to_frame().unique()
    return found.join(alive, on="customer_id").sort("alias")


def extend_history(history: pl.DataFrame, customer_xref: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The history of which customer each record belonged to, brought up to tonight: `HISTORY_SCHEMA`.

    A version holds from `valid_from` up to, but not on, `valid_to` (NULL: until now). Times are the dates that results stand for, and
    never run backwards; a version of a night that a later one of the same date has corrected is empty.

    Args:
        history: as of last night.
        customer_xref: tonight's: channel, record_id, customer_id.
        as_of: tonight's date.
    """
    key = ["channel", "record_id"]
    latest = history.sort(*key, "version").unique(key, keep="last", maintain_order=True)
    tonight = customer_xref.select(*key, pl.col("customer_id").alias("tonight"))
    joined = latest.join(tonight, on=key, how="full", coalesce=True)
    is_open = pl.col("version").is_not_null() & pl.col("valid_to").is_null()
    is_same = (is_open & (pl.col("tonight") == pl.col("customer_id"))).fill_null(False)
    day = pl.max_horizontal(pl.lit(as_of), "valid_from", "valid_to")
    changed = joined.filter(~is_same & (is_open | pl.col("tonight").is_not_null())).with_columns(
        is_open.alias("was_open"), day.alias("day")
    )
    closed = changed.filter("was_open").select(*key, "version", pl.col("day").alias("closed_on"))
    begun = changed.filter(pl.col("tonight").is_not_null()).select(
        *key,
        (pl.col("version").fill_null(0) + 1).alias("version"),
        pl.col("tonight").alias("customer_id"),
        pl.when("was_open")
        .then(pl.lit("moved"))
        .when(pl.col("version").is_null())
        .then(pl.lit("new"))
        .otherwise(pl.lit("returned"))
        .alias("came_by"),
        pl.col("day").alias("valid_from"),
        pl.lit(None, dtype=pl.Date).alias("valid_to"),
    )
    kept = history.join(closed, on=[*key, "version"], how="left").with_columns(
        pl.coalesce("closed_on", "valid_to").alias("valid_to")
    )
    return (
        pl.concat([kept.select(*HISTORY_SCHEMA), begun.select(*HISTORY_SCHEMA)])
        .cast(HISTORY_SCHEMA)
        .sort(*key, "version")
    )


def customers_on(history: pl.DataFrame, day: date) -> pl.DataFrame:
    """channel, record_id, customer_id as they were on a day.

    Args:
        history: `HISTORY_SCHEMA`.
        day: no rows where it lies before the first night.
    """
    is_then = (pl.col("valid_from") <= day) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > day))
    return history.filter(is_then).select("channel", "record_id", "customer_id")
