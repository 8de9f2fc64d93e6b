"""Proposals: a contract changed so that it fits what lies in landing, or a first draft of one.

Belongs here: editing a contract's text (comments and order stay), drafting a new one, the difference to show.
Does not belong here: finding out what has changed (`drift.py`), deciding whether a proposal is right (people).

No value of any file goes into a proposal: only names of columns, types and roles.
"""

from __future__ import annotations

import difflib
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from cx_pipeline.channels.drift import MISSING, NEW, RENAMED, RETYPED, Drift, compare
from cx_pipeline.channels.policy import DriftPolicy
from cx_pipeline.channels.roles import inferred_type, is_personal, looks_like_values, suggested_role, words_of
from cx_pipeline.channels.samples import LandedColumns, extract_format, newest, read_columns, read_sample
from cx_pipeline.core.contract import Channel, load_channel, load_step
from cx_pipeline.core.errors import ContractError
from cx_pipeline.core.tables import Table
from cx_pipeline.core.warehouse import Warehouse

_PHYSICAL = {"string": "varchar", "integer": "bigint", "number": "double"}
_DELIMITERS = (",", ";", "\t", "|")
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_MAY_REPEAT = ("id", "contact")
# The kind of a draft: the first whose roles (all of one alternative) are there.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("order", ("order.amount", "event.at")),
    ("campaign_contact", ("campaign.id", "campaign.sent_at")),
    ("campaign_response", ("campaign.id", "campaign.responded_at")),
    ("survey_response", ("survey.score",)),
    ("subscription", ("subscription.started_on",)),
    ("consent", ("consent.purpose", "consent.status")),
    ("payment", ("payment.due_on",)),
    ("payment", ("payment.paid_on",)),
    ("interaction", ("event.at",)),
    ("product", ("product.id", "product.category")),
)


@dataclass(frozen=True)
class Proposal:
    """What to change in a channel's contract.

    Attributes:
        channel: its name.
        before, after: the contract's text; `before` is empty for a draft.
        notes: what was found, a sentence each; names, types and counts only.
        problem: why no contract can be proposed; empty where one can.
    """

    channel: str
    before: str = ""
    after: str = ""
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_change(self) -> bool:
        """Whether there is a text to write."""
        return bool(self.after) and self.after != self.before and not self.problem

    def diff(self) -> str:
        """The change as a unified diff; empty where there is none."""
        name = f"channels/{self.channel}.yaml"
        old = name if self.before else "/dev/null"
        return "".join(
            difflib.unified_diff(self.before.splitlines(keepends=True), self.after.splitlines(keepends=True), old, name)
        )


def propose_changes(
    warehouse: Warehouse,
    channel: Channel,
    text: str,
    files: Mapping[str, Path],
    company_time_zone: str,
    policy: DriftPolicy,
) -> Proposal | None:
    """A contract changed so that it fits the channel's newest files; None where it does already.

    Args:
        warehouse: any; nothing is written.
        channel: the contract, compiled.
        text: the contract as it stands in the file.
        files: name -> path of what lies in its landing folder.
        company_time_zone: zone of the company.
        policy: how files are compared.
    """
    fmt = extract_format(channel, company_time_zone)
    names = sorted(files, reverse=True)[: policy.compared_files]
    found = [read_columns(warehouse, files[name], name, fmt) for name in names]
    drifts = compare(
        channel,
        [landed for landed in found if landed],
        lambda landed: read_sample(warehouse, landed, fmt, policy.sampled_rows),
        canonical_tables()[channel.kind],
        policy,
    )
    if not drifts:
        return None
    notes = tuple(_note(drift) for drift in drifts)
    return _verified(Proposal(channel.name, text, changed(text, drifts), notes))


def canonical_tables() -> dict[str, Table]:
    """Kind -> contract of its canonical table."""
    return {
        str(table.properties["kind"]): table for table in load_step("staging").values() if "kind" in table.properties
    }


def _note(drift: Drift) -> str:
    like = f" (likeness {drift.similarity:.2f})" if drift.similarity is not None else ""
    return f"{drift.change} column `{drift.column}`, in {len(drift.files)} of the newest files: {drift.proposal}{like}"


def _verified(proposal: Proposal) -> Proposal:
    """The proposal, if its text can be used as a contract; else the reason in its place."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{proposal.channel}.yaml"
        path.write_text(proposal.after, encoding="utf-8")
        try:
            load_channel(path)
        except ContractError as error:
            return replace(proposal, problem=f"the changed contract could not be used: {error.problems[0]}")
    return proposal


def changed(text: str, drifts: Sequence[Drift]) -> str:
    """A contract's text with what has drifted written into it; everything else stays as it is, comments too.

    Args:
        text: a usable contract.
        drifts: what to change. A missing column stays; where it was required and is no key it is required no more.
    """
    properties = _properties(text)
    edits: list[tuple[int, int, str]] = []
    for drift in drifts:
        if drift.change == NEW:
            continue
        item = next(item for item in properties.value if _scalar(item, "name").value == drift.column)
        edits += _edits_of(item, drift)
    added = [_property(drift) for drift in drifts if drift.change == NEW]
    if added:
        edits.append(_insertion(text, properties, added))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _properties(text: str) -> yaml.SequenceNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    schema = _value(root, "schema")
    assert isinstance(schema, yaml.SequenceNode)
    properties = _value(schema.value[0], "properties")
    assert isinstance(properties, yaml.SequenceNode)
    return properties


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _scalar(node: yaml.Node, key: str) -> yaml.ScalarNode:
    found = _value(node, key)
    assert isinstance(found, yaml.ScalarNode)
    return found


def _edits_of(item: yaml.Node, drift: Drift) -> Iterator[tuple[int, int, str]]:
    """(start, end, new text) of what a renamed, retyped or missing column changes in its own item."""

    def edit(node: yaml.Node, new: str) -> tuple[int, int, str]:
        return node.start_mark.index, node.end_mark.index, new

    if drift.change == RENAMED:
        yield edit(_scalar(item, "name"), quoted(drift.found_as or ""))
    elif drift.change == RETYPED:
        kind = drift.found_type or "string"
        yield edit(_scalar(item, "logicalType"), kind)
        if physical := _value(item, "physicalType"):
            yield edit(physical, _PHYSICAL.get(kind, kind))
    elif drift.change == MISSING and drift.is_required:
        required = _value(item, "required")
        if required and not _value(item, "primaryKey"):
            yield edit(required, "false")


def _property(drift: Drift) -> str:
    """A new column as one line of YAML."""
    personal = ", classification: personal" if drift.is_personal else ""
    role = f", customProperties: [{{property: role, value: {drift.role}}}]" if drift.role else ""
    return f"{{name: {quoted(drift.column)}, logicalType: {drift.found_type or 'string'}{personal}{role}}}"


def quoted(name: str) -> str:
    """A name as YAML writes it inside of a flow mapping."""
    return yaml.safe_dump([name], default_flow_style=True, width=10_000, allow_unicode=True).strip()[1:-1]


def _insertion(text: str, properties: yaml.SequenceNode, added: Sequence[str]) -> tuple[int, int, str]:
    """The edit that puts lines behind the last property, in the style of the others."""
    end = _end_of(properties.value[-1])
    if properties.flow_style:
        return end, end, "".join(f", {line}" for line in added)
    indent = " " * properties.start_mark.column
    lines = "".join(f"{indent}- {line}\n" for line in added)
    if text[end - 1] == "\n":
        return end, end, lines
    newline = text.find("\n", end)
    at = len(text) if newline < 0 else newline + 1
    return at, at, lines if newline >= 0 else "\n" + lines


def _end_of(node: yaml.Node) -> int:
    """Where the text of a node ends, without the blank lines and comments that YAML counts to a block."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        end: int = node.end_mark.index
        return end
    last = node.value[-1]
    return _end_of(last[1] if isinstance(last, tuple) else last)


# --- drafts ---------------------------------------------------------------------------------------------------------------


def draft(
    warehouse: Warehouse, name: str, files: Mapping[str, Path], company_time_zone: str, policy: DriftPolicy
) -> Proposal:
    """A first draft of a contract for a landing folder that has none.

    Args:
        warehouse: any; nothing is written.
        name: of the folder.
        files: name -> path of what lies in it.
        company_time_zone: zone of the company.
        policy: how many rows are looked at.
    """
    if not _NAME.match(name):
        return Proposal(
            name, problem="the folder cannot name a channel: lower case letters, digits and _, a letter first"
        )
    landed, delimiter = _newest_columns(warehouse, files, company_time_zone)
    if landed is None:
        return Proposal(name, problem="none of its files can be read")
    if looks_like_values(landed.columns):
        return Proposal(name, problem="the first row of its newest file is no header")
    fmt = replace(extract_format(None, company_time_zone), delimiter=delimiter)
    rows = read_sample(warehouse, landed, fmt, policy.sampled_rows)
    if rows.is_empty():
        return Proposal(name, problem="its newest file has no rows to look at")
    roles = _draft_roles(rows)
    record_id = _record_id(rows, roles)
    kind = _draft_kind(rows, roles)
    document = _document(name, kind, rows, roles, record_id, landed.file, delimiter)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=140)
    notes = (
        f"first draft from {rows.height:,} rows: kind {kind}, {len(rows.columns)} columns, {sum(map(bool, roles.values()))} with a role",
        "check kind, roles, `classification: personal` and the key; add pillar, mode, function and trust",
    )
    return _verified(Proposal(name, "", text, notes))


def _newest_columns(
    warehouse: Warehouse, files: Mapping[str, Path], company_time_zone: str
) -> tuple[LandedColumns | None, str]:
    """The newest readable file with the delimiter that gives it the most columns."""
    fmt = extract_format(None, company_time_zone)
    for path in newest([LandedColumns(name, path, ()) for name, path in files.items()]):
        found = [
            (landed, delimiter)
            for delimiter in _DELIMITERS
            if (landed := read_columns(warehouse, path.path, path.file, replace(fmt, delimiter=delimiter)))
        ]
        if found:
            return max(found, key=lambda item: len(item[0].columns))
    return None, ","


def _draft_roles(rows: pl.DataFrame) -> dict[str, str | None]:
    """Column -> role its name and values point to; a role that says one thing about a row is given once."""
    roles: dict[str, str | None] = {}
    for column in rows.columns:
        role = suggested_role(column, rows[column])
        is_taken = role in roles.values() and role is not None and role.partition(".")[0] not in _MAY_REPEAT
        roles[column] = None if is_taken else role
    return roles


def _record_id(rows: pl.DataFrame, roles: Mapping[str, str | None]) -> str:
    """The column that numbers the records: unique, best without another role, best named like a number; else the first column."""

    def rank(column: str) -> tuple[bool, bool, bool]:
        values = rows[column]
        is_unique = values.null_count() == 0 and values.n_unique() == rows.height
        is_named = bool({"id", "no", "nr", "number", "key", "uuid", "guid"} & set(words_of(column)))
        return is_unique and roles[column] not in ("event.at", "record.updated_at"), roles[column] is None, is_named

    return max(rows.columns, key=rank)


def _draft_kind(rows: pl.DataFrame, roles: Mapping[str, str | None]) -> str:
    counts = Counter(role for role in roles.values() if role)
    kind = next((kind for kind, needed in _KINDS if all(role in counts for role in needed)), "party")
    order = next((column for column, role in roles.items() if role == "order.id"), None)
    if kind == "order" and order and rows[order].n_unique() < rows.height:
        return "order_line"
    return kind


def _document(
    name: str,
    kind: str,
    rows: pl.DataFrame,
    roles: Mapping[str, str | None],
    record_id: str,
    file: str,
    delimiter: str,
) -> dict[str, Any]:
    file_format = next((f for f in ("parquet", "jsonl") if file.lower().endswith(f)), "csv")
    server = {"server": "landing", "type": "custom", "format": file_format}
    if file_format == "csv":
        server["delimiter"] = delimiter
    properties = []
    for column in rows.columns:
        role = roles[column]
        item: dict[str, Any] = {"name": column, "logicalType": inferred_type(rows[column])}
        if column == record_id:
            item["primaryKey"] = True
        if is_personal(role, rows[column]):
            item["classification"] = "personal"
        named = [word for word in ("record.id" if column == record_id else None, role) if word]
        if named:
            item["customProperties"] = [{"property": "role", "value": word} for word in named]
        properties.append(item)
    return {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": f"draft-{name}",
        "name": name,
        "version": "0.1.0",
        "status": "draft",
        "servers": [server],
        "schema": [
            {
                "name": name,
                "logicalType": "object",
                "description": "A first draft: to be checked by somebody who knows the source.",
                "customProperties": [{"property": "kind", "value": kind}],
                "properties": properties,
            }
        ],
    }
