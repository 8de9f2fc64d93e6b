"""Contracts: Open Data Contract Standard (ODCS) v3 YAML, validated and compiled into `Table`s.

Belongs here: reading a contract file, the standard's JSON schema, our vocabulary, rules compiled from keys, options and quality.
Does not belong here: types (`tables.py`), checking of rows (`expectations.py`), what a channel's rows mean to a step.

A file is judged in three passes, each collecting everything it finds: YAML, then the JSON schema that the
`open-data-contract-standard` package ships, then our words. The package's pydantic model alone would accept typing errors.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

import yaml

from cx_pipeline.core import vocabulary
from cx_pipeline.core.errors import ContractError, Problem, Problems
from cx_pipeline.core.tables import Column, Rule, Table, engine_type

if TYPE_CHECKING:
    from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

_MAX_CONTRACT_BYTES = 1_000_000
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_ENCODINGS = ("utf-8", "utf-16", "latin-1", "cp1252", "ascii", "iso-8859-1", "iso-8859-15")
_FORMATS = ("csv", "jsonl", "json", "parquet")
# Names that every channel table adds to the contract's own columns.
RESERVED_COLUMNS = ("source_file", "source_line")
# A channel's further tables are named like its own with one of these behind.
TABLE_SUFFIXES = ("_rejected", "_superseded")


@dataclass(frozen=True)
class Channel:
    """One channel as its contract describes it.

    Attributes:
        name: the channel's name: of the schema object, of the file, of the landing folder.
        kind: what one row is (see `vocabulary.KINDS`).
        table: the compiled table `staging.channel_<name>`.
        roles: role -> names of the columns that have it, in contract order.
        properties: pillar, mode, function, maturity, trust, ... as given, with defaults filled in.
        delimiter, encoding, quote: how its text files are written.
        time_zone: zone of times without an offset; None is the company's own.
        freshness_days: age of the newest row that the contract's SLA tolerates; None where it promises nothing.
    """

    name: str
    kind: str
    table: Table
    roles: Mapping[str, tuple[str, ...]]
    properties: Mapping[str, object]
    description: str = ""
    delimiter: str = ","
    encoding: str = "utf-8"
    quote: str = '"'
    time_zone: str | None = None
    freshness_days: float | None = None

    def column_of(self, role: str) -> str | None:
        """Name of the first column with that role, or None."""
        columns = self.roles.get(role, ())
        return columns[0] if columns else None

    @property
    def duplicate_free(self) -> bool:
        """Whether the source promises one record per person."""
        return bool(self.properties.get("duplicate_free", False))

    @property
    def tolerated_reject_rate(self) -> float | None:
        """Share of rows that may be rejected, 0 to 1; None where the contract leaves it to the policy."""
        rate = self.properties.get("tolerated_reject_rate")
        return float(rate) if isinstance(rate, int | float) else None


@dataclass(frozen=True)
class BrokenChannel:
    """A channel whose contract cannot be used; the others stay usable."""

    name: str
    error: ContractError


def load_channels(folder: Path) -> tuple[list[Channel], list[BrokenChannel]]:
    """Read every contract of a data directory's `channels/` folder, in order of name.

    Returns:
        The usable channels and the broken ones with their errors. A missing folder has neither.
    """
    channels: list[Channel] = []
    broken: list[BrokenChannel] = []
    taken: dict[str, str] = {}
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")), key=lambda path: (path.stem, path.name)):
        try:
            _check_table_names(path, taken)
            channels.append(load_channel(path))
        except ContractError as error:
            broken.append(BrokenChannel(path.stem if path.suffix == ".yaml" else path.name, error))
    return channels, broken


def _check_table_names(path: Path, taken: dict[str, str]) -> None:
    """Refuse a contract whose tables would have the names of an earlier one's (`crm` has a table `channel_crm_rejected`)."""
    names = [f"{path.stem}{suffix}" for suffix in ("", *TABLE_SUFFIXES)]
    if other := next((taken[name] for name in names if name in taken), None):
        raise ContractError(
            Problem(
                f"its tables would be named like those of channels/{other}",
                f"channels/{path.name}",
                remedy="rename the channel: file, schema object and landing folder",
            )
        )
    taken.update(dict.fromkeys(names, path.name))


def load_channel(path: Path) -> Channel:
    """Read one channel's contract.

    Raises:
        ContractError: with every problem found: file, path in the file, what is wrong, the nearest allowed word.
    """
    where = f"channels/{path.name}"
    document = _read_yaml(path, where)
    _check_standard(document, where)
    contract = _parse(document)
    problems = Problems()
    objects = contract.schema_ or []
    if len(objects) != 1:
        problems.add(
            f"a channel's contract has one schema object, this one has {len(objects)}",
            f"{where}: schema",
            remedy="one file per channel" if objects else "describe the extract under `schema`",
        )
        problems.raise_if_any(ContractError)
    channel = _compile_channel(contract, objects[0], path.stem, where, problems)
    problems.raise_if_any(ContractError, f"The contract {where} cannot be used:")
    assert channel is not None
    return channel


@functools.cache
def load_step(step: str) -> Mapping[str, Table]:
    """The tables that a step makes, from `<step>/contract.yaml` of this package, by their own name.

    Raises:
        ContractError: if our own contract is faulty. (The JSON schema is checked by the tests, not at every start.)
    """
    where = f"cx_pipeline/{step}/contract.yaml"
    text = resources.files("cx_pipeline").joinpath(step, "contract.yaml").read_text(encoding="utf-8")
    contract = _parse(yaml.load(text, Loader=_StrictLoader))
    problems = Problems()
    tables = {}
    for i, item in enumerate(contract.schema_ or []):
        path = f"{where}: schema[{i}]"
        properties = _custom(item.customProperties)
        columns, rules = _compile_columns(item, path, problems, is_channel=False)
        tables[item.name or ""] = Table(
            step,
            item.name or "",
            item.description or "",
            columns,
            rules,
            properties,
            is_published=bool(properties.get("published", True)),
        )
    problems.raise_if_any(ContractError)
    return tables


def check_standard(path: Path, where: str) -> None:
    """Validate any contract file against the standard's JSON schema only.

    Raises:
        ContractError: with every breach.
    """
    _check_standard(_read_yaml(path, where), where)


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and runaway aliases, and leaves dates as text (the standard wants strings)."""

    _n_aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._n_aliases += 1
            if self._n_aliases > 50:
                raise yaml.YAMLError("more than 50 aliases (*name): write the values out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                continue
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key `{key}` stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _as_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _as_text)


def read_strict_yaml(path: Path, where: str, error: type[ContractError] = ContractError) -> Any:
    """Parse YAML without duplicate keys, runaway aliases or dates turned into objects; None for an empty file.

    Raises:
        ContractError: (or `error`) naming the line where it cannot be read.
    """
    problems = Problems()
    try:
        if path.stat().st_size > _MAX_CONTRACT_BYTES:
            problems.add(
                f"larger than {_MAX_CONTRACT_BYTES:,} bytes", where, remedy="is this really a YAML settings file?"
            )
        else:
            return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_StrictLoader)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        at = f"{where}: line {mark.line + 1}, column {mark.column + 1}" if mark else where
        problems.add(f"not readable as YAML: {fault.problem or 'syntax error'}", at, remedy="mend the YAML there")
    except (yaml.YAMLError, RecursionError) as fault:
        problems.add(f"not readable as YAML: {str(fault) or type(fault).__name__}", where, remedy="mend the YAML")
    except UnicodeDecodeError:
        problems.add("not written in UTF-8", where, remedy="save the file as UTF-8")
    except OSError as fault:
        problems.add(f"cannot be read: {fault.strerror}", where)
    problems.raise_if_any(error)
    return None


def _read_yaml(path: Path, where: str) -> dict[str, Any]:
    document = read_strict_yaml(path, where)
    if not isinstance(document, dict):
        problems = Problems()
        problems.add(
            "not a data contract: a mapping is expected at the top",
            where,
            remedy="see docs/contracts.md for an example",
        )
        problems.raise_if_any(ContractError)
    return document  # type: ignore[no-any-return]


@functools.cache
def _standard_schema() -> dict[str, Any]:
    text = resources.files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _check_standard(document: Mapping[str, Any], where: str) -> None:
    import jsonschema

    validator = jsonschema.validators.validator_for(_standard_schema())(_standard_schema())
    problems = Problems()
    said: dict[str, tuple[str, str]] = {}
    for error in sorted(validator.iter_errors(document), key=lambda e: (len(e.absolute_path), e.json_path)):
        for leaf in _leaves(error):
            path = _dotted(leaf.absolute_path)
            said.setdefault(path, _explain(leaf, document))
    # One fault surfaces through several branches of the schema: a place that only "breaks a rule" while another is precise
    # has nothing of its own to say.
    precise = {path: words for path, words in said.items() if not words[0].startswith(_VAGUE)}
    for path, (what, remedy) in (precise or said).items():
        problems.add(what, f"{where}: {path}" if path else where, remedy=remedy)
    problems.raise_if_any(ContractError, f"The contract {where} breaks the Open Data Contract Standard:")


_VAGUE = "breaks the standard's rule"


def _leaves(error: Any) -> Iterator[Any]:
    """The innermost causes of a JSON schema error, the deepest first."""
    if error.validator == "oneOf" and all("required" in branch for branch in error.validator_value):
        yield error
        return
    if not error.context:
        yield error
        return
    deepest = max(len(child.absolute_path) for child in error.context)
    for child in error.context:
        if len(child.absolute_path) == deepest:
            yield from _leaves(child)


def _explain(error: Any, document: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong and what to do, in words, for one JSON schema error."""
    instance = error.instance
    parts = list(error.absolute_path)
    in_property = len(parts) >= 4 and parts[0] == "schema" and parts[2] == "properties"
    if in_property:
        column = document["schema"][parts[1]]["properties"][parts[3]]
        if isinstance(column, dict) and "logicalType" not in column:
            return "`logicalType` is missing", "add logicalType: string, number, integer, date, timestamp, boolean ..."
    if error.validator in ("additionalProperties", "unevaluatedProperties") and isinstance(instance, dict):
        allowed = sorted(_allowed_keys(error.schema))
        named = [key for key in re.findall(r"'([^']+)'", error.message) if key in instance]
        if parts[:1] == ["servers"] and named:
            return _explain_server(instance, named[0], allowed)
        unknown = [key for key in instance if key not in allowed]
        if unknown:
            return f"the standard knows no `{unknown[0]}` here", nearest(str(unknown[0]), allowed)
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in instance]
        return f"`{missing[0] if missing else error.validator_value[0]}` is missing", "add it"
    if error.validator == "enum":
        return f"`{instance}` is not allowed here", nearest(str(instance), [str(v) for v in error.validator_value])
    if error.validator == "type":
        return (
            f"a value of type {error.validator_value} is expected here",
            "quote dates and versions, check the indentation",
        )
    if error.validator == "oneOf":
        operators = [branch["required"][0] for branch in error.validator_value if "required" in branch]
        return "exactly one operator per rule is needed", f"one of {', '.join(operators)}"
    return f"{_VAGUE} `{error.validator}`", "see the standard's documentation of this element"


def _explain_server(server: Mapping[str, Any], key: str, allowed: Sequence[str]) -> tuple[str, str]:
    """What is wrong with a server's key: the keys depend on the server's type."""
    if server.get("type") not in _standard_schema()["$defs"]["Server"]["properties"]["type"]["enum"]:
        return f"{_VAGUE} for its type", "correct the type first"
    if key in allowed:
        return f"servers of type `{server['type']}` have no `{key}`", f"write `type: custom`, which may have `{key}`"
    return f"the standard knows no `{key}` here", nearest(key, allowed)


def _allowed_keys(schema: Any, depth: int = 0) -> set[str]:
    if not isinstance(schema, dict) or depth > 6:
        return set()
    keys = set(schema.get("properties", {}))
    reference = schema.get("$ref", "")
    if reference.startswith("#/$defs/"):
        target: Any = _standard_schema()["$defs"]
        for part in reference[len("#/$defs/") :].split("/"):
            target = target.get(part, {})
        keys |= _allowed_keys(target, depth + 1)
    for word in ("allOf", "anyOf", "oneOf"):
        for branch in schema.get(word, []):
            keys |= _allowed_keys(branch, depth + 1)
    for word in ("then", "else"):
        keys |= _allowed_keys(schema.get(word), depth + 1)
    return keys


def nearest(word: str, allowed: Sequence[str]) -> str:
    """A remedy for a word that is not allowed: the nearest one, or the list."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    if close:
        return f"did you mean `{by_lower[close[0]]}`?"
    shown = ", ".join(allowed[:12])
    return f"allowed: {shown}{', ...' if len(allowed) > 12 else ''}"


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _parse(document: Mapping[str, Any]) -> OpenDataContractStandard:
    from open_data_contract_standard.model import OpenDataContractStandard

    return OpenDataContractStandard.model_validate(document)


def _custom(properties: Sequence[Any] | None) -> dict[str, Any]:
    return {item.property: item.value for item in properties or [] if item.property and not item.vendor}


def _compile_channel(
    contract: OpenDataContractStandard, item: SchemaObject, stem: str, where: str, problems: Problems
) -> Channel | None:
    path = f"{where}: schema[0]"
    name = item.name or ""
    if name != stem:
        problems.add(
            f"the schema object is named `{name}`, the file `{stem}`",
            f"{path}.name",
            remedy="give the schema object, the file and the landing folder one name",
        )
    if not _NAME.match(name):
        problems.add(
            f"`{name}` cannot name a channel",
            f"{path}.name",
            remedy="lower case letters, digits and _, a letter first, 63 at most",
        )
    words = _custom(item.customProperties)
    _check_words(item, path, problems)
    kind = _check_object_words(item, words, path, problems)
    columns, rules = _compile_columns(item, path, problems, is_channel=True)
    roles: dict[str, tuple[str, ...]] = {}
    for column in columns:
        for role in column.roles:
            roles[role] = (*roles.get(role, ()), column.name)
    _check_roles(kind, roles, path, problems)
    server = _check_server(contract, where, problems)
    freshness = _freshness_days(contract, where, problems)
    if problems.found:
        return None
    table = Table("staging", f"channel_{name}", _channel_description(name, kind, item), columns, rules, words)
    return Channel(
        name=name,
        kind=kind,
        table=table,
        roles=roles,
        properties=words,
        description=(item.description or "").strip(),
        delimiter=server["delimiter"],
        encoding=server["encoding"],
        quote=str(words.get("quote", '"')),
        time_zone=words.get("time_zone"),
        freshness_days=freshness,
    )


def _check_words(item: SchemaObject, path: str, problems: Problems) -> None:
    """Every customProperty of a channel is one of our words (or some vendor's own), and stands once."""
    seen: set[str] = set()
    for i, custom in enumerate(item.customProperties or []):
        if custom.vendor:
            continue
        word, at = custom.property or "", f"{path}.customProperties[{i}].property"
        if word not in vocabulary.OBJECT_WORDS:
            problems.add(f"`{word}` is no word of a channel", at, remedy=nearest(word, vocabulary.OBJECT_WORDS))
        elif word in seen:
            problems.add(f"`{word}` stands twice", at, remedy="keep one of them")
        seen.add(word)


def _channel_description(name: str, kind: str, item: SchemaObject) -> str:
    grain = item.dataGranularityDescription or f"One row per record of the channel {name}"
    return f"{grain.rstrip('.')} ({kind}: {vocabulary.KINDS.get(kind, '')}). {(item.description or '').strip()}".strip()


def _check_object_words(item: SchemaObject, words: Mapping[str, Any], path: str, problems: Problems) -> str:
    """Check kind, pillar, trust and the rest; return the kind ("" where it is missing)."""
    where_of = {c.property: f"{path}.customProperties[{i}].value" for i, c in enumerate(item.customProperties or [])}
    choices: dict[str, tuple[str, ...]] = {
        "kind": tuple(vocabulary.KINDS),
        "pillar": vocabulary.PILLARS,
        "mode": vocabulary.MODES,
        "function": vocabulary.FUNCTIONS,
        "maturity": vocabulary.MATURITIES,
    }
    for word, allowed in choices.items():
        if word not in words:
            if word == "kind":
                problems.add(
                    "`kind` is missing",
                    f"{path}.customProperties",
                    remedy="say what one row is, e.g. {property: kind, value: party}",
                )
            continue
        if words[word] not in allowed:
            problems.add(f"`{words[word]}` is no {word}", where_of[word], remedy=nearest(str(words[word]), allowed))
    for word in ("trust", "tolerated_reject_rate"):
        value = words.get(word)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1):
            problems.add(f"{word} is a number from 0 to 1", where_of[word], remedy="e.g. 0.8")
    for word in ("duplicate_free", "snapshot"):
        if word in words and not isinstance(words[word], bool):
            problems.add(f"{word} is true or false", where_of[word], remedy="write true or false, without quotes")
    if "time_zone" in words and not is_time_zone(words["time_zone"]):
        problems.add(
            f"`{words['time_zone']}` is no time zone",
            where_of["time_zone"],
            remedy=nearest(str(words["time_zone"]), sorted(available_timezones())),
        )
    if "quote" in words and (not isinstance(words["quote"], str) or len(words["quote"]) != 1):
        problems.add("quote is a single character", where_of["quote"], remedy="e.g. '\"'")
    region = words.get("phone_region")
    if region is not None and (not isinstance(region, str) or not re.fullmatch(r"[A-Z]{2}", region)):
        problems.add(
            "phone_region is a two-letter country code in capitals", where_of["phone_region"], remedy="e.g. DE"
        )
    return str(words.get("kind", ""))


def is_time_zone(name: object) -> bool:
    """Whether the IANA database knows a zone of that name."""
    try:
        ZoneInfo(str(name))
    except (KeyError, ValueError, OSError):
        return False
    return True


def _check_roles(kind: str, roles: Mapping[str, tuple[str, ...]], path: str, problems: Problems) -> None:
    if kind not in vocabulary.KINDS:
        return
    for group in (("record.id",), *vocabulary.REQUIRED_ROLES[kind]):
        if not any(role in roles for role in group):
            problems.add(
                f"a channel of kind {kind} needs a column with the role {' or '.join(f'`{role}`' for role in group)}",
                f"{path}.properties",
                remedy=f"add customProperties: [{{property: role, value: {group[0]}}}] to the column that holds it",
            )


def _check_server(contract: OpenDataContractStandard, where: str, problems: Problems) -> dict[str, str]:
    result = {"delimiter": ",", "encoding": "utf-8"}
    for i, server in enumerate(contract.servers or []):
        encoding = getattr(server, "encoding", None)
        if encoding:
            if encoding.lower() not in _ENCODINGS:
                problems.add(
                    f"the encoding `{encoding}` is not known",
                    f"{where}: servers[{i}].encoding",
                    remedy=nearest(encoding, _ENCODINGS),
                )
            result["encoding"] = encoding.lower()
        delimiter = getattr(server, "delimiter", None)
        if delimiter:
            delimiter = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}.get(
                delimiter, delimiter
            )
            if len(delimiter) != 1:
                problems.add("delimiter is a single character", f"{where}: servers[{i}].delimiter", remedy='e.g. ";"')
            result["delimiter"] = delimiter
        file_format = getattr(server, "format", None)
        if file_format and file_format.lower() not in _FORMATS:
            problems.add(
                f"the format `{file_format}` is not known",
                f"{where}: servers[{i}].format",
                remedy=nearest(file_format, _FORMATS),
            )
    return result


_DAYS_PER_UNIT = {
    word: days
    for words, days in (
        (("h", "hr", "hour", "hours"), 1 / 24),
        (("d", "day", "days"), 1.0),
        (("w", "week", "weeks"), 7.0),
        (("m", "month", "months"), 30.0),
        (("y", "yr", "year", "years"), 365.0),
    )
    for word in words
}


def _freshness_days(contract: OpenDataContractStandard, where: str, problems: Problems) -> float | None:
    """Tolerated age of the newest row: `latency` or `freshness` of the SLA, else twice the `frequency`."""
    found: dict[str, float] = {}
    for i, sla in enumerate(contract.slaProperties or []):
        word = (sla.property or "").lower()
        if word not in ("latency", "freshness", "frequency"):
            continue
        unit = (sla.unit or "d").lower()
        try:
            found[word] = float(str(sla.value)) * _DAYS_PER_UNIT[unit]
        except (KeyError, ValueError):
            problems.add(
                f"{word} is a number with a unit",
                f"{where}: slaProperties[{i}]",
                remedy="e.g. {property: latency, value: 2, unit: d}",
            )
    if "freshness" in found or "latency" in found:
        return found.get("freshness", found.get("latency"))
    return 2 * found["frequency"] if "frequency" in found else None


def _compile_columns(
    item: SchemaObject, path: str, problems: Problems, *, is_channel: bool
) -> tuple[tuple[Column, ...], tuple[Rule, ...]]:
    """Columns and rules of a schema object, problems collected."""
    columns: list[Column] = []
    rules: list[Rule] = []
    keys: list[tuple[int, str]] = []
    seen: set[str] = set()
    if not item.properties:
        problems.add("no columns are described", f"{path}.properties", remedy="describe each column of the extract")
    for i, prop in enumerate(item.properties or []):
        at = f"{path}.properties[{i}]"
        name = prop.name or ""
        if name.lower() in seen:
            problems.add(
                f"the column `{name}` stands twice", f"{at}.name", remedy="column names differ without regard to case"
            )
        if is_channel and name.lower() in RESERVED_COLUMNS:
            problems.add(
                f"`{name}` is a name that staging adds itself",
                f"{at}.name",
                remedy="map the source column to another name",
            )
        seen.add(name.lower())
        column, own = _compile_column(prop, at, problems, is_channel=is_channel)
        columns.append(column)
        rules.extend(own)
        if prop.primaryKey:
            keys.append((prop.primaryKeyPosition if (prop.primaryKeyPosition or -1) > 0 else i + 1, name))  # type: ignore[arg-type]
    if keys:
        names = tuple(name for _, name in sorted(keys))
        rules.append(Rule(f"{'_and_'.join(names)}_{'is' if len(names) == 1 else 'are'}_unique", "unique", names))
    for j, quality in enumerate(item.quality or []):
        rule = _quality_rule(quality, None, f"{path}.quality[{j}]", problems)
        if rule:
            rules.append(rule)
    if not problems.found:
        _check_rules(item.name or "", columns, rules, path, problems)
    return tuple(columns), tuple(_distinct(rules))


def _check_rules(name: str, columns: Sequence[Column], rules: Sequence[Rule], path: str, problems: Problems) -> None:
    """Refuse rules that no row could be judged by, before a run meets them: a bound that is no date, a column that is not there."""
    from cx_pipeline.core.expectations import broken_condition

    table = Table("", name, "", tuple(columns))
    for rule in rules:
        row_rule = rule.inner or rule
        if row_rule.kind == "row_count":
            continue
        at = _rule_path(row_rule, table, path)
        if unknown := [column for column in row_rule.columns if column not in table.column_names]:
            problems.add(
                f"the rule {row_rule.name} is about `{unknown[0]}`, which is no column",
                at,
                remedy=nearest(unknown[0], table.column_names),
            )
        elif row_rule.is_row_rule:
            try:
                broken_condition(table, row_rule)
            except ContractError as error:
                problems.add(error.problems[0].what, at, remedy=error.problems[0].remedy)
        if rule.minimum is not None and rule.maximum is not None and str(rule.minimum) != str(rule.maximum):
            is_text = isinstance(rule.minimum, str) or isinstance(rule.maximum, str)
            low, high = (str(rule.minimum), str(rule.maximum)) if is_text else (rule.minimum, rule.maximum)
            if low > high:  # type: ignore[operator]
                problems.add(
                    f"the rule {rule.name} has a minimum ({low}) above its maximum ({high})", at, remedy="swap them"
                )


def _rule_path(rule: Rule, table: Table, path: str) -> str:
    if len(rule.columns) == 1 and rule.columns[0] in table.column_names:
        return f"{path}.properties[{table.column_names.index(rule.columns[0])}]"
    return path


def _distinct(rules: Sequence[Rule]) -> list[Rule]:
    """Rules once each; two different rules of one name are told apart by a number."""
    kept: dict[str, Rule] = {}
    for rule in rules:
        if rule in kept.values():
            continue
        name, n = rule.name, 2
        while name in kept:
            name, n = f"{rule.name}_{n}", n + 1
        kept[name] = replace(rule, name=name)
    return list(kept.values())


def _compile_column(
    prop: SchemaProperty, at: str, problems: Problems, *, is_channel: bool
) -> tuple[Column, list[Rule]]:
    name = prop.name or ""
    roles = _column_roles(prop, at, problems if is_channel else Problems())
    logical = prop.logicalType or "string"
    try:
        engine = engine_type(logical, prop.physicalType)
    except ValueError as error:
        problems.add(f"{error}", at, remedy="correct logicalType or physicalType; as string a value is kept as text")
        engine = "VARCHAR"
    if is_channel and logical == "number" and vocabulary.MONEY_ROLES.intersection(roles):
        engine = vocabulary.MONEY_TYPE
    is_required = bool(prop.required) or bool(prop.primaryKey)
    enum = tuple(item.value for item in prop.enum or [])
    options = prop.logicalTypeOptions or {}
    rules = []
    if is_required:
        rules.append(Rule(f"{name}_is_never_null", "not_null", (name,)))
    if prop.unique and not prop.primaryKey:
        rules.append(Rule(f"{name}_is_unique", "unique", (name,)))
    if enum:
        rules.append(Rule(f"{name}_is_an_allowed_value", "in_set", (name,), values=enum))
    rules.extend(_option_rules(name, options, at, problems))
    for k, quality in enumerate(prop.quality or []):
        rule = _quality_rule(quality, name, f"{at}.quality[{k}]", problems)
        if rule:
            rules.append(rule)
    column = Column(
        name=name,
        logical_type=logical,  # type: ignore[arg-type]
        engine_type=engine,
        description=(prop.description or "").strip(),
        required=is_required,
        primary_key=bool(prop.primaryKey),
        unique=bool(prop.unique),
        roles=roles,
        is_personal=(prop.classification or "").strip().lower() == "personal",
        enum=enum,
        format=options.get("format") if logical in ("date", "timestamp", "time") else None,
    )
    return column, rules


def _column_roles(prop: SchemaProperty, at: str, problems: Problems) -> tuple[str, ...]:
    """The roles of a column, each once, in the contract's order."""
    roles: dict[str, None] = {}
    for k, custom in enumerate(prop.customProperties or []):
        if custom.vendor:
            continue
        if custom.property not in vocabulary.PROPERTY_WORDS:
            problems.add(
                f"`{custom.property}` is no word of a column",
                f"{at}.customProperties[{k}].property",
                remedy=nearest(custom.property or "", vocabulary.PROPERTY_WORDS),
            )
        elif not isinstance(custom.value, str) or not vocabulary.is_role(custom.value):
            problems.add(
                f"`{custom.value}` is no role",
                f"{at}.customProperties[{k}].value",
                remedy=nearest(str(custom.value), [*vocabulary.ROLES, "id.<namespace>", "attribute.<name>"]),
            )
        else:
            roles[custom.value] = None
    return tuple(roles)


def _option_rules(name: str, options: Mapping[str, Any], at: str, problems: Problems) -> list[Rule]:
    rules = []
    low, high = options.get("minimum"), options.get("maximum")
    above, below = options.get("exclusiveMinimum"), options.get("exclusiveMaximum")
    if any(bound is not None for bound in (low, high, above, below)):
        rules.append(
            Rule(
                f"{name}_is_in_range",
                "between",
                (name,),
                minimum=above if above is not None else low,
                maximum=below if below is not None else high,
                exclusive_minimum=above is not None,
                exclusive_maximum=below is not None,
            )
        )
    if "minLength" in options or "maxLength" in options:
        rules.append(
            Rule(
                f"{name}_has_an_allowed_length",
                "length_between",
                (name,),
                minimum=options.get("minLength"),
                maximum=options.get("maxLength"),
            )
        )
    if "pattern" in options:
        pattern = str(options["pattern"])
        if _is_pattern(pattern):
            rules.append(Rule(f"{name}_has_the_expected_form", "matches", (name,), pattern=pattern))
        else:
            problems.add(
                "the pattern is no regular expression",
                f"{at}.logicalTypeOptions.pattern",
                remedy="RE2 syntax, no look-around",
            )
    for word in ("multipleOf", "uniqueItems", "minItems", "maxItems", "minProperties", "maxProperties", "required"):
        if word in options:
            problems.add(
                f"the option `{word}` cannot be enforced",
                f"{at}.logicalTypeOptions.{word}",
                remedy="remove it or express it as a quality rule: nothing is skipped silently",
            )
    return rules


def _is_pattern(pattern: str) -> bool:
    """Whether the engine's regular expressions (RE2) understand it; Arrow has the same library, without opening an engine."""
    import pyarrow as pa
    import pyarrow.compute

    try:
        pa.compute.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


_QUALITY_WORDS = {
    "nullValues": "is_never_null",
    "missingValues": "is_not_a_missing_value",
    "invalidValues": "is_a_valid_value",
    "duplicateValues": "is_unique",
}


def _quality_rule(quality: Any, column: str | None, at: str, problems: Problems) -> Rule | None:
    """One rule of the standard's `quality`; what is not understood is a problem, never skipped. Text rules only describe."""
    if quality.type == "text":
        return None
    if quality.type in ("sql", "custom"):
        problems.add(
            f"quality rules of type `{quality.type}` cannot be enforced here",
            f"{at}.type",
            remedy="use a library metric: nullValues, missingValues, invalidValues, duplicateValues, rowCount",
        )
        return None
    metric = quality.metric or quality.rule
    arguments = quality.arguments or {}
    if metric == "rowCount":
        bounds = _bounds(quality, at, problems)
        return Rule(_snake(quality.name or "row_count_is_in_range"), "row_count", (), **bounds) if bounds else None
    columns = (column,) if column else tuple(arguments.get("properties", ()))
    if metric not in _QUALITY_WORDS:
        problems.add(
            f"the metric `{metric}` is not known",
            f"{at}.metric",
            remedy=nearest(str(metric), [*_QUALITY_WORDS, "rowCount"]),
        )
        return None
    if not columns or (not column and metric != "duplicateValues"):
        problems.add(f"{metric} belongs to a column", at, remedy="move the rule to the column's own quality list")
        return None
    name = quality.name or f"{'_and_'.join(columns)}_{_QUALITY_WORDS[metric]}"
    row_rule = _row_rule(_snake(name), metric, columns, arguments, at, problems)
    if row_rule is None:
        return None
    if quality.mustBe == 0 and not isinstance(quality.mustBe, bool):
        return row_rule
    bounds = _bounds(quality, at, problems)
    if not bounds:
        return None
    if row_rule.kind == "unique" or (quality.unit or "rows") != "percent":
        problems.add(
            f"a tolerance for {metric} is given in percent (unit: percent), else mustBe: 0",
            at,
            remedy="e.g. {metric: invalidValues, mustBeLessOrEqualTo: 5, unit: percent}",
        )
        return None
    for side in ("minimum", "maximum"):
        if bounds[side] is not None:
            bounds[side] = bounds[side] / 100
    return Rule(f"share_of_broken_{row_rule.name}_is_tolerable", "share_between", columns, inner=row_rule, **bounds)


def _snake(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower()


def _row_rule(
    name: str, metric: str, columns: tuple[str, ...], arguments: Mapping[str, Any], at: str, problems: Problems
) -> Rule | None:
    if metric == "nullValues":
        return Rule(name, "not_null", columns)
    if metric == "duplicateValues":
        return Rule(name, "unique", columns)
    if metric == "missingValues":
        return Rule(
            name,
            "not_in_set",
            columns,
            values=tuple(v for v in arguments.get("missingValues", [None, ""]) if v is not None),
        )
    if "validValues" in arguments:
        return Rule(name, "in_set", columns, values=tuple(arguments["validValues"]))
    if "pattern" in arguments and _is_pattern(str(arguments["pattern"])):
        return Rule(name, "matches", columns, pattern=str(arguments["pattern"]))
    problems.add(
        "invalidValues needs arguments.validValues or a valid arguments.pattern", f"{at}.arguments", remedy="add one"
    )
    return None


def _bounds(quality: Any, at: str, problems: Problems) -> dict[str, Any]:
    """The one operator of a rule as minimum, maximum and whether they are exclusive; {} after a problem."""
    result: dict[str, Any] = {"minimum": None, "maximum": None, "exclusive_minimum": False, "exclusive_maximum": False}
    if quality.mustBe is not None:
        result |= {"minimum": quality.mustBe, "maximum": quality.mustBe}
    elif quality.mustBeGreaterThan is not None:
        result |= {"minimum": quality.mustBeGreaterThan, "exclusive_minimum": True}
    elif quality.mustBeGreaterOrEqualTo is not None:
        result |= {"minimum": quality.mustBeGreaterOrEqualTo}
    elif quality.mustBeLessThan is not None:
        result |= {"maximum": quality.mustBeLessThan, "exclusive_maximum": True}
    elif quality.mustBeLessOrEqualTo is not None:
        result |= {"maximum": quality.mustBeLessOrEqualTo}
    elif quality.mustBeBetween is not None:
        result |= {"minimum": quality.mustBeBetween[0], "maximum": quality.mustBeBetween[1]}
    else:
        problems.add(
            "this operator cannot be enforced here",
            at,
            remedy="mustBe, mustBeGreaterThan, mustBeLessThan, mustBeBetween ...",
        )
        return {}
    return result
