"""Why records are, or are not, one customer: the evidence between them, from the tables of a published run.

Belongs here: which evidence ties two records or all records of a customer together, which was refused. Does not belong here: the parts
of a score (waterfall.py), how answers are printed (`cli.py`). No value of a person comes out: records and identifiers go by their ids,
identifiers that the contracts call personal are keyed hashes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from cx_pipeline.core.errors import ConfigurationError, Problem
from cx_pipeline.identity.decisions import CANNOT_LINK
from cx_pipeline.identity.ledger import members
from cx_pipeline.identity.lookup import current_id, life_of

Node = tuple[bool, str, str]
Row = dict[str, Any]
_STRENGTH = {"human": 0, "deterministic": 1, "probabilistic": 2}
_END = ("is_record", "source", "value")
_SHOWN_OF_A_HASH = 12


@dataclass(frozen=True)
class Subject:
    """What a person has asked about.

    Attributes:
        name: as it was given.
        customer_id: of the customer it is, or belongs to.
        nodes: the record; or, of a customer, all its records and identifiers.
    """

    name: str
    customer_id: str
    nodes: frozenset[Node]


@dataclass(frozen=True)
class CustomerStory:
    """What holds a customer together.

    Attributes:
        customer_id: the customer.
        n_records, n_identifiers: that it has.
        records: channel, record_id, matched_by, weight.
        path: edges (rows of `identity.edges`) that hold it together, none of which can be left out; the strongest there are.
        n_edges: all evidence inside it that took effect.
        figures: its row of `identity.clusters`; empty for a customer known by identifiers alone.
        refused: reason, n_edges: evidence that begins here and was refused.
        ledger: entries about it and the ids it has absorbed.
    """

    customer_id: str
    n_records: int
    n_identifiers: int
    records: pl.DataFrame
    path: list[Row]
    n_edges: int
    figures: Row
    refused: pl.DataFrame
    ledger: pl.DataFrame


@dataclass(frozen=True)
class PairStory:
    """What ties two together, or keeps them apart.

    Attributes:
        left, right: that were asked about.
        path: rows of `identity.edges` from one to the other, the fewest there are; None where none lead there.
        parted: verdicts of people that keep them apart.
        refused: rows of `identity.rejected_edges` between them, directly or over one identifier.
        pair: the two records that stand for the two in a comparison: (channel, record_id) each; None where one has no record.
    """

    left: Subject
    right: Subject
    path: list[Row] | None
    parted: list[Row]
    refused: list[Row]
    pair: tuple[tuple[str, str], tuple[str, str]] | None

    @property
    def is_one(self) -> bool:
        """Whether both are of one customer."""
        return self.left.customer_id == self.right.customer_id


def find_subject(run: Path, text: str) -> Subject:
    """The record (`channel:record_id`) or customer (a whole id, old or new) that a text means.

    Args:
        run: folder of a published run.
        text: what was given.

    Raises:
        ConfigurationError: where the run knows neither.
    """
    channel, colon, record_id = text.partition(":")
    if colon:
        is_it = (pl.col("channel") == channel) & (pl.col("record_id") == record_id)
        found = _table(run, "customer_xref").filter(is_it).select("customer_id").collect()
        if found.height:
            return Subject(text, str(found["customer_id"][0]), frozenset([(True, channel, record_id)]))
    elif living := current_id(run, text):
        return Subject(text, living, frozenset(_members(run, living).select(_END).iter_rows()))
    raise ConfigurationError(
        Problem(
            f"there is no {'record' if colon else 'customer'} `{text}`",
            "identity.customer_xref",
            remedy="give a whole customer_id, or channel:record_id",
        )
    )


def customer_story(run: Path, subject: Subject) -> CustomerStory:
    """What holds a customer together.

    Args:
        run: folder of a published run.
        subject: the customer, or one of its records.
    """
    customer_id = subject.customer_id
    inside = _members(run, customer_id)
    nodes = frozenset(inside.select(_END).iter_rows())
    edges = _inner_edges(run, inside)
    xref = _table(run, "customer_xref").filter(pl.col("customer_id") == customer_id).drop("customer_id").collect()
    clusters = _table(run, "clusters").filter(pl.col("customer_id") == customer_id).collect().to_dicts()
    refused = [
        row for row in _touching(run, "rejected_edges", inside) if _ends(row)[0] in nodes or _ends(row)[1] in nodes
    ]
    reasons = pl.DataFrame({"reason": [row["reason"] for row in refused]}, schema={"reason": pl.String})
    return CustomerStory(
        customer_id=customer_id,
        n_records=xref.height,
        n_identifiers=inside.height - xref.height,
        records=xref.sort("channel", "record_id"),
        path=spanning(edges),
        n_edges=len(edges),
        figures=clusters[0] if clusters else {},
        refused=reasons.group_by("reason").agg(pl.len().alias("n_edges")).sort("reason"),
        ledger=life_of(run, customer_id),
    )


def pair_story(run: Path, left: Subject, right: Subject) -> PairStory:
    """What ties two records or customers together, or keeps them apart.

    Args:
        run: folder of a published run.
        left: from `find_subject`.
        right: likewise.
    """
    path = None
    if left.customer_id == right.customer_id:
        path = shortest_path(_inner_edges(run, _members(run, left.customer_id)), left.nodes, right.nodes)
    around = pl.DataFrame(list(left.nodes | right.nodes), schema=list(_END), orient="row")
    used, refused = (_touching(run, table, around) for table in ("edges", "rejected_edges"))
    parted = [
        row for row in used if row["kind"] == "human" and row["rule"] == CANNOT_LINK and _is_between(row, left, right)
    ]
    between = [row for row in refused if _is_between(row, left, right)]
    if left.customer_id != right.customer_id:
        between += _over_one_identifier(refused, used, left, right)
    scored = [row for row in [*used, *between] if row["weight"] is not None and _is_between(row, left, right)]
    return PairStory(left, right, path, parted, between, _compared_pair(scored, left, right))


def describe(row: Row) -> str:
    """An edge in words, without a value of a person.

    Args:
        row: of `identity.edges` or `identity.rejected_edges`.
    """
    ends = " - ".join(_name(end) for end in _ends(row))
    weight = "" if row["weight"] is None else f" {row['weight']:+.2f} bits"
    day = f", {row['valid_from']:%Y-%m-%d}" if row.get("valid_from") and row["kind"] == "human" else ""
    why = f": refused, {row['reason']}" if row.get("reason") else ""
    return f"{ends}  [{row['kind']}: {row['rule']}{weight}{day}]{why}"


def spanning(edges: list[Row]) -> list[Row]:
    """The strongest edges that hold everything together which the edges hold together, none of them in a ring (Kruskal)."""
    parent: dict[Node, Node] = {}

    def root(node: Node) -> Node:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    kept = []
    for row in sorted(edges, key=_order):
        left, right = (root(end) for end in _ends(row))
        if left != right:
            parent[left] = right
            kept.append(row)
    return kept


def shortest_path(edges: list[Row], begin: frozenset[Node], end: frozenset[Node]) -> list[Row] | None:
    """The fewest edges from one set of nodes to another; of as many, the stronger first. None where none lead there."""
    neighbours: dict[Node, list[tuple[Node, Row]]] = {}
    for row in sorted(edges, key=_order):
        left, right = _ends(row)
        neighbours.setdefault(left, []).append((right, row))
        neighbours.setdefault(right, []).append((left, row))
    came: dict[Node, tuple[Node, Row] | None] = dict.fromkeys(sorted(begin))
    queue = deque(came)
    while queue:
        node = queue.popleft()
        if node in end:
            return _walked_back(came, node)
        for other, row in neighbours.get(node, []):
            if other not in came:
                came[other] = (node, row)
                queue.append(other)
    return None


def _walked_back(came: dict[Node, tuple[Node, Row] | None], node: Node) -> list[Row]:
    path = []
    while (step := came[node]) is not None:
        node, row = step
        path.append(row)
    return path[::-1]


def _order(row: Row) -> tuple[int, float, Node, Node]:
    return (_STRENGTH.get(row["kind"], len(_STRENGTH)), -(row["weight"] or 0.0), *_ends(row))


def _ends(row: Row) -> tuple[Node, Node]:
    left, right = (tuple(row[f"{side}_{part}"] for part in _END) for side in ("left", "right"))
    return left, right


def _name(node: Node) -> str:
    is_record, source, value = node
    if is_record:
        return f"{source}:{value}"
    return f"{source} {value if len(value) <= _SHOWN_OF_A_HASH else value[:_SHOWN_OF_A_HASH] + '...'}"


def _is_between(row: Row, left: Subject, right: Subject) -> bool:
    a, b = _ends(row)
    return (a in left.nodes and b in right.nodes) or (b in left.nodes and a in right.nodes)


def _over_one_identifier(refused: Iterable[Row], used: Iterable[Row], left: Subject, right: Subject) -> list[Row]:
    """Evidence at identifiers that both have to do with, where at least one of the two was refused."""
    rows = [*refused, *(row for row in used if row["kind"] == "deterministic")]
    at: dict[Node, dict[str, list[Row]]] = {}
    for row in rows:
        for here, there in (_ends(row), _ends(row)[::-1]):
            if not there[0]:
                for side, subject in (("left", left), ("right", right)):
                    if here in subject.nodes:
                        at.setdefault(there, {}).setdefault(side, []).append(row)
    found = []
    for _, sides in sorted(at.items()):
        both = [row for side in sides.values() for row in side[:1]]
        if len(sides) > 1 and any(row.get("reason") for row in both):
            found += [row for row in both if row not in found]
    return found


def _compared_pair(scored: list[Row], left: Subject, right: Subject) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """The pair with the best score between the two, else the first record of each."""
    if scored:
        best = min(scored, key=_order)
        a, b = _ends(best)
        first, second = (a, b) if a in left.nodes else (b, a)
        return first[1:], second[1:]
    records = [sorted(node for node in subject.nodes if node[0]) for subject in (left, right)]
    if not all(records) or records[0][0] == records[1][0]:
        return None
    return records[0][0][1:], records[1][0][1:]


def _table(run: Path, name: str) -> pl.LazyFrame:
    path = run / "identity" / f"{name}.parquet"
    if not path.is_file():
        raise ConfigurationError(
            Problem(f"the published run has no table identity.{name}", run.name, remedy="`cx run` with this version")
        )
    return pl.scan_parquet(path)


def _members(run: Path, customer_id: str) -> pl.DataFrame:
    """is_record, source, value of a customer's records and identifiers."""
    own = pl.col("customer_id") == customer_id
    xref, identifiers = (_table(run, name).filter(own).collect() for name in ("customer_xref", "identifier_xref"))
    return members(xref, identifiers).select(_END)


def _touching(run: Path, name: str, nodes: pl.DataFrame) -> list[Row]:
    """Rows of a table of edges with at least one end among the nodes."""
    edges, ends = _table(run, name).with_row_index("row"), nodes.lazy()
    hits = [
        edges.join(ends, left_on=[f"{side}_{part}" for part in _END], right_on=list(_END), how="semi").select("row")
        for side in ("left", "right")
    ]
    touched = pl.concat(hits).unique()
    return edges.join(touched, on="row", how="semi").sort("row").drop("row").collect().to_dicts()


def _inner_edges(run: Path, inside: pl.DataFrame) -> list[Row]:
    """Evidence that took effect between members of one customer."""
    nodes = frozenset(inside.iter_rows())
    return [
        row
        for row in _touching(run, "edges", inside)
        if row["is_used"] and row["kind"] in _STRENGTH and row["rule"] != CANNOT_LINK
        and all(end in nodes for end in _ends(row))
    ]  # fmt: skip
