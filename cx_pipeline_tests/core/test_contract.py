from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cx_pipeline.core import vocabulary
from cx_pipeline.core.contract import (
    BrokenChannel,
    Channel,
    check_standard,
    load_channel,
    load_channels,
    load_step,
    nearest,
    read_strict_yaml,
)
from cx_pipeline.core.errors import ContractError
from cx_pipeline.core.steps import STEPS
from cx_pipeline.core.tables import Rule
from cx_pipeline_tests.frames import channel_of
from cx_pipeline_tests.tiny_company import contract, write_contract

Document = dict[str, Any]
AT = "schema[0].properties"

CRM = contract(
    "crm",
    "party",
    {
        "no": {"role": "record.id", "required": True, "primaryKey": True},
        "email": {"role": "contact.email", "classification": "personal"},
        "age": {"logicalType": "integer", "logicalTypeOptions": {"minimum": 0}},
        "day": {"logicalType": "date"},
    },
    {"pillar": "traditional", "trust": 0.5},
)


def put(path: str, value: object) -> Callable[[Document], None]:
    """A change of the document at a path such as `schema.0.name`; `...` takes the key out."""

    def change(document: Document) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        target = functools.reduce(operator.getitem, parents, cast(Any, document))
        if value is ...:
            del target[last]
        else:
            target[last] = value

    return change


def column(path: str, value: object) -> Callable[[Document], None]:
    return put(f"schema.0.properties.{path}", value)


def word(name: str, value: object) -> Callable[[Document], None]:
    """A further word of the channel, as its third (`kind` and `pillar` and `trust` come before)."""
    return lambda document: document["schema"][0]["customProperties"].append({"property": name, "value": value})


def quality(column: int | None, **rule: object) -> Callable[[Document], None]:
    return put(f"schema.0.properties.{column}.quality" if column is not None else "schema.0.quality", [rule])


def server(**given: object) -> Callable[[Document], None]:
    return put("servers", [{"server": "landing", "type": "local", "path": "x", "format": "csv", **given}])


# What is changed -> where the message must point, what it must say, and the remedy (nearest allowed word).
BROKEN: dict[str, tuple[Callable[[Document], None], str, str, str]] = {
    "the version of the standard is missing": (put("apiVersion", ...), "", "`apiVersion` is missing", "add it"),
    "an unknown version of the standard": (put("apiVersion", "v9"), "apiVersion", "`v9` is not allowed", "v3.2.0"),
    "a typing error at the top": (put("descripton", {}), "", "no `descripton`", "`description`"),
    "another kind of document": (put("kind", "DataContrakt"), "kind", "`DataContrakt`", "`DataContract`"),
    "no schema": (put("schema", ...), "schema", "this one has 0", "describe the extract"),
    "two schema objects": (put("schema", CRM["schema"] * 2), "schema", "this one has 2", "one file per channel"),
    "a schema that is no list": (put("schema", {"name": "crm"}), "schema", "type array", "indentation"),
    "a typing error in a column": (
        column("1.requierd", True),
        f"{AT}[1]",
        "`requierd`",
        "`required`",
    ),
    "an unknown logical type": (
        column("1.logicalType", "strng"),
        f"{AT}[1].logicalType",
        "`strng`",
        "`string`",
    ),
    "a missing logical type": (
        column("2.logicalType", ...),
        f"{AT}[2]",
        "`logicalType` is missing",
        "string",
    ),
    "a text where a truth is wanted": (
        column("1.required", "yes"),
        f"{AT}[1].required",
        "type boolean",
        "quote",
    ),
    "a column without a name": (column("1.name", ...), f"{AT}[1]", "`name` is missing", "add it"),
    "a typing error in an option": (
        column("2.logicalTypeOptions", {"minimun": 0}),
        f"{AT}[2].logicalTypeOptions",
        "`minimun`",
        "`minimum`",
    ),
    "an option of another type": (
        column("2.logicalTypeOptions", {"minLength": 1}),
        f"{AT}[2].logicalTypeOptions",
        "`minLength`",
        "minimum",
    ),
    "a bound that is no number": (
        column("2.logicalTypeOptions", {"minimum": "zero"}),
        f"{AT}[2].logicalTypeOptions.minimum",
        "type number",
        "",
    ),
    "a bound that is no date": (
        column("3.logicalTypeOptions", {"minimum": "soon"}),
        f"{AT}[3]",
        "day_is_in_range cannot be checked",
        "",
    ),
    "a minimum above the maximum": (
        column("2.logicalTypeOptions", {"minimum": 5, "maximum": 2}),
        f"{AT}[2]",
        "minimum (5) above its maximum (2)",
        "",
    ),
    "an option that nothing enforces": (
        column("2.logicalTypeOptions", {"multipleOf": 2}),
        f"{AT}[2].logicalTypeOptions.multipleOf",
        "cannot be enforced",
        "",
    ),
    "an enum of plain values": (column("1.enum", ["a"]), f"{AT}[1].enum[0]", "type object", ""),
    "an enum of another type": (
        column("2.enum", [{"value": "x"}]),
        f"{AT}[2]",
        "x is no number",
        "",
    ),
    "a decimal too wide for the engine": (
        column("2.physicalType", "decimal(99,2)"),
        f"{AT}[2]",
        "at most 38 digits",
        "logicalType",
    ),
    "a pattern that is no regular expression": (
        column("1.logicalTypeOptions", {"pattern": "("}),
        f"{AT}[1].logicalTypeOptions.pattern",
        "no regular",
        "RE2",
    ),
    "a pattern with look-around": (
        column("1.logicalTypeOptions", {"pattern": "(?=a)b"}),
        f"{AT}[1].logicalTypeOptions.pattern",
        "no regular",
        "RE2",
    ),
    "a pattern that only Python understands": (
        column("1.logicalTypeOptions", {"pattern": "a++"}),
        f"{AT}[1].logicalTypeOptions.pattern",
        "no regular",
        "RE2",
    ),
    "a column twice but for its case": (
        column("2.name", "EMAIL"),
        f"{AT}[2].name",
        "`EMAIL` stands twice",
        "",
    ),
    "a name that staging adds": (
        column("2.name", "source_line"),
        f"{AT}[2].name",
        "staging adds itself",
        "",
    ),
    "no columns": (put("schema.0.properties", []), AT, "no columns are described", ""),
    "two operators in a rule": (
        quality(1, metric="nullValues", mustBe=0, mustBeLessThan=3),
        f"{AT}[1].quality[0]",
        "exactly one operator",
        "mustBe",
    ),
    "no operator in a rule": (
        quality(1, metric="nullValues"),
        f"{AT}[1].quality[0]",
        "exactly one operator",
        "mustBe",
    ),
    "an operator that is not enforced": (
        quality(1, metric="nullValues", mustNotBe=3),
        f"{AT}[1].quality[0]",
        "operator cannot be enforced",
        "mustBe",
    ),
    "an unknown metric": (
        quality(1, metric="nullValue", mustBe=0),
        f"{AT}[1].quality[0].metric",
        "`nullValue`",
        "`nullValues`",
    ),
    "a rule in SQL": (
        quality(1, type="sql", query="select 1", mustBe=0),
        f"{AT}[1].quality[0].type",
        "`sql` cannot be enforced",
        "nullValues",
    ),
    "invalid values of what": (
        quality(1, metric="invalidValues", mustBe=0),
        f"{AT}[1].quality[0].arguments",
        "validValues",
        "add one",
    ),
    "a tolerance in rows": (
        quality(1, metric="nullValues", mustBeLessThan=3),
        f"{AT}[1].quality[0]",
        "given in percent",
        "unit: percent",
    ),
    "a column's rule at the table": (
        quality(None, metric="nullValues", mustBe=0),
        "schema[0].quality[0]",
        "belongs to a column",
        "move",
    ),
    "a rule about no column": (
        quality(None, metric="duplicateValues", arguments={"properties": ["emial"]}, mustBe=0),
        "schema[0]",
        "`emial`, which is no column",
        "`email`",
    ),
    "an unknown role": (
        column("1.customProperties", [{"property": "role", "value": "contact.emial"}]),
        f"{AT}[1].customProperties[0].value",
        "`contact.emial` is no role",
        "`contact.email`",
    ),
    "a role in capitals": (
        column("1.customProperties", [{"property": "role", "value": "id.CRM"}]),
        f"{AT}[1].customProperties[0].value",
        "`id.CRM` is no role",
        "",
    ),
    "a role that is no text": (
        column("1.customProperties", [{"property": "role", "value": 3}]),
        f"{AT}[1].customProperties[0].value",
        "`3` is no role",
        "",
    ),
    "an unknown word of a column": (
        column("1.customProperties", [{"property": "rol", "value": "contact.email"}]),
        f"{AT}[1].customProperties[0].property",
        "`rol` is no word",
        "`role`",
    ),
    "an unknown kind": (
        put("schema.0.customProperties.0.value", "partty"),
        "schema[0].customProperties[0].value",
        "`partty` is no kind",
        "`party`",
    ),
    "no kind": (
        put("schema.0.customProperties", []),
        "schema[0].customProperties",
        "`kind` is missing",
        "kind, value: party",
    ),
    "an unknown pillar": (
        put("schema.0.customProperties.1.value", "tradtional"),
        "schema[0].customProperties[1].value",
        "`tradtional` is no pillar",
        "`traditional`",
    ),
    "an unknown word of a channel": (
        word("maturty", "high"),
        "schema[0].customProperties[3].property",
        "`maturty`",
        "`maturity`",
    ),
    "a word twice": (
        word("kind", "party"),
        "schema[0].customProperties[3].property",
        "`kind` stands twice",
        "keep one",
    ),
    "trust above one": (
        put("schema.0.customProperties.2.value", 1.5),
        "schema[0].customProperties[2].value",
        "from 0 to 1",
        "0.8",
    ),
    "trust as a truth": (
        put("schema.0.customProperties.2.value", True),
        "schema[0].customProperties[2].value",
        "from 0 to 1",
        "0.8",
    ),
    "a tolerance above one": (
        word("tolerated_reject_rate", 5),
        "schema[0].customProperties[3].value",
        "from 0 to 1",
        "",
    ),
    "a truth in quotes": (
        word("snapshot", "yes"),
        "schema[0].customProperties[3].value",
        "snapshot is true or false",
        "without quotes",
    ),
    "an unknown time zone": (
        word("time_zone", "Europe/Berlinn"),
        "schema[0].customProperties[3].value",
        "no time zone",
        "`Europe/Berlin`",
    ),
    "a quote of two characters": (word("quote", "''"), "schema[0].customProperties[3].value", "single character", ""),
    "a phone region that is no country": (
        word("phone_region", "Germany"),
        "schema[0].customProperties[3].value",
        "two-letter",
        "DE",
    ),
    "another name than the file's": (
        put("schema.0.name", "crm2"),
        "schema[0].name",
        "named `crm2`, the file `crm`",
        "one name",
    ),
    "no column that identifies a record": (
        column("0.customProperties", []),
        AT,
        "role `record.id`",
        "record.id",
    ),
    "an unknown format": (server(format="csvv"), "servers[0].format", "`csvv`", "`csv`"),
    "an unknown encoding": (server(encoding="utf8x"), "servers[0].encoding", "`utf8x`", "`utf-8`"),
    "an unknown word of a server": (server(delimeter=";"), "servers[0]", "`delimeter`", "`delimiter`"),
    "an unknown type of server": (server(type="locl"), "servers[0].type", "`locl`", "`local`"),
    "a delimiter where the standard has none": (
        server(delimiter=";"),
        "servers[0]",
        "`local` have no `delimiter`",
        "type: custom",
    ),
    "a delimiter of two characters": (
        server(type="custom", delimiter="::"),
        "servers[0].delimiter",
        "single character",
        "",
    ),
    "a latency without a number": (
        put("slaProperties", [{"property": "latency", "value": "soon"}]),
        "slaProperties[0]",
        "number with a unit",
        "unit: d",
    ),
    "a latency in unknown units": (
        put("slaProperties", [{"property": "latency", "value": 1, "unit": "fortnight"}]),
        "slaProperties[0]",
        "number with a unit",
        "",
    ),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_loading_when_a_contract_is_broken_then_the_message_names_file_path_fault_and_remedy(
    tmp_path: Path, case: tuple[Callable[[Document], None], str, str, str]
) -> None:
    change, path, fault, remedy = case
    document = copy.deepcopy(CRM)
    change(document)
    with pytest.raises(ContractError) as raised:
        load_channel(write_contract(tmp_path, document))
    where = f"channels/crm.yaml: {path}" if path else "channels/crm.yaml"
    found = [problem for problem in raised.value.problems if problem.where == where]
    assert found, f"nothing is said about {where}, but: {raised.value}"
    assert any(fault in problem.what and remedy in problem.remedy for problem in found), str(raised.value)
    assert raised.value.exit_code == 2


def test_loading_when_two_things_are_wrong_then_both_are_named(tmp_path: Path) -> None:
    document = copy.deepcopy(CRM)
    put("schema.0.customProperties.0.value", "partty")(document)
    column("1.customProperties", [{"property": "role", "value": "contact.emial"}])(document)
    with pytest.raises(ContractError) as raised:
        load_channel(write_contract(tmp_path, document))
    assert [problem.what for problem in raised.value.problems] == ["`partty` is no kind", "`contact.emial` is no role"]


UNREADABLE = {
    "broken indentation": (b"a:\n  b: 1\n c: 2\n", "line 3", "not readable as YAML"),
    "a tab for indentation": (b"a:\n\tb: 1\n", "line 2", "not readable as YAML"),
    "a key twice": (b"version: 1.0.0\nversion: 2.0.0\n", "line 2, column 1", "the key `version` stands twice"),
    "an unknown tag": (b"a: !!python/object:os.system x\n", "line 1", "not readable as YAML"),
    "a bomb of aliases": (
        b"a: &a [x, x, x]\n" + b"".join(f"b{i}: &b{i} [*a, *a]\n".encode() for i in range(40)), "", "more than 50 aliases",
    ),
    "nested without end": (b"[" * 20_000, "", "not readable as YAML"),
    "another encoding": ("name: Müller\n".encode("latin-1"), "", "not written in UTF-8"),
    "an empty file": (b"", "", "not a data contract"),
    "a list": (b"- a\n- b\n", "", "not a data contract"),
    "a huge file": (b"#" * 1_000_001, "", "larger than 1,000,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_loading_when_the_yaml_is_faulty_then_the_message_names_file_and_line(
    tmp_path: Path, case: tuple[bytes, str, str]
) -> None:
    content, line, fault = case
    path = tmp_path / "crm.yaml"
    path.write_bytes(content)
    with pytest.raises(ContractError) as raised:
        load_channel(path)
    (problem,) = raised.value.problems
    assert problem.where.startswith("channels/crm.yaml")
    assert line in problem.where
    assert fault in problem.what


def test_reading_yaml_when_dates_stand_without_quotes_then_they_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("\ufeffday: 2024-01-31\ntrue_value: yes\n", encoding="utf-8")
    assert read_strict_yaml(path, "x.yaml") == {"day": "2024-01-31", "true_value": True}


def test_loading_a_folder_when_one_contract_is_broken_then_the_others_stay_usable(tmp_path: Path) -> None:
    write_contract(tmp_path, CRM)
    write_contract(tmp_path, contract("shop", "orders", {"no": {"role": "record.id"}}))
    channels, broken = load_channels(tmp_path / "channels")
    assert [channel.name for channel in channels] == ["crm"]
    assert [channel.name for channel in broken] == ["shop"]
    assert "did you mean `order`?" in str(broken[0].error)


def test_loading_a_folder_when_there_is_none_then_there_are_no_channels(tmp_path: Path) -> None:
    assert load_channels(tmp_path / "channels") == ([], [])


@pytest.mark.parametrize("second", ["crm.yml", "crm_rejected.yaml", "crm_superseded.yaml"])
def test_loading_a_folder_when_tables_of_two_channels_would_have_one_name_then_the_second_is_refused(
    tmp_path: Path, second: str
) -> None:
    write_contract(tmp_path, CRM)
    document = copy.deepcopy(CRM) | {"name": Path(second).stem}
    document["schema"][0]["name"] = Path(second).stem
    (tmp_path / "channels" / second).write_text(yaml.safe_dump(document), encoding="utf-8")
    channels, broken = load_channels(tmp_path / "channels")
    assert [channel.name for channel in channels] == ["crm"]
    assert [type(channel) for channel in broken] == [BrokenChannel]
    assert broken[0].name != "crm"
    assert "named like those of channels/crm.yaml" in str(broken[0].error)


def test_loading_a_folder_when_channels_bear_names_of_tables_then_they_are_taken(tmp_path: Path) -> None:
    for name in ("orders", "rejected", "load_manifest"):
        write_contract(tmp_path, contract(name, "party", {"no": {"role": "record.id"}}))
    channels, broken = load_channels(tmp_path / "channels")
    assert not broken
    assert [channel.table.name for channel in channels] == [
        "channel_load_manifest",
        "channel_orders",
        "channel_rejected",
    ]


# The vocabulary of the interfaces, written out a second time: a word may not get lost by an oversight.
KINDS = """
    party identifier_link order order_line interaction subscription payment opportunity campaign_contact campaign_response
    survey_response consent privacy_request usage channel_cost product promise overlay
"""
ROLES = """
    record.id record.updated_at person.full_name person.given_name person.middle_name person.surname person.birth_date
    person.birth_year person.birth_place person.sex person.occupation organisation.name organisation.registration_id
    contact.email contact.phone address.line address.number address.street address.unit address.city address.region
    address.postcode address.country id.crm id.loyalty id.card_token id.social_handle event.at event.type event.topic
    event.direction event.duration_s event.value event.sentiment event.outcome event.text event.place event.other_party
    order.id order.line_id order.amount order.quantity order.discount order.cost order.currency order.returns_id
    payment.method product.id product.category product.margin_rate subscription.started_on subscription.ended_on
    subscription.plan subscription.fee payment.due_on payment.paid_on payment.amount opportunity.stage opportunity.amount
    opportunity.closed_on campaign.id campaign.arm campaign.channel campaign.offer campaign.sent_at campaign.responded_at
    campaign.value survey.instrument survey.item survey.score consent.purpose consent.status request.type usage.metric
    usage.value cost.amount promise.metric promise.threshold party.status attribute.shoe_size
"""


@pytest.mark.parametrize("kind", KINDS.split())
def test_loading_when_a_contract_is_of_any_kind_with_its_least_roles_then_it_is_taken(kind: str) -> None:
    roles = ["record.id", *(group[0] for group in vocabulary.REQUIRED_ROLES[kind])]
    channel = channel_of("any", kind, {f"c{i}": {"role": role} for i, role in enumerate(roles)})
    assert channel.kind == kind
    assert set(channel.roles) == set(roles)


@pytest.mark.parametrize("kind", [kind for kind in KINDS.split() if vocabulary.REQUIRED_ROLES[kind]])
def test_loading_when_a_kind_lacks_a_role_it_needs_then_the_role_is_named(kind: str) -> None:
    with pytest.raises(ContractError) as raised:
        channel_of("any", kind, {"no": {"role": "record.id"}})
    for group in vocabulary.REQUIRED_ROLES[kind]:
        assert f"`{group[0]}`" in str(raised.value)


def test_the_vocabulary_is_that_of_the_interfaces() -> None:
    assert list(vocabulary.KINDS) == KINDS.split()
    closed = {role for role in ROLES.split() if not role.startswith(("id.", "attribute."))}
    assert set(vocabulary.ROLES) == closed
    assert all(vocabulary.is_role(role) for role in ROLES.split())
    assert not any(vocabulary.is_role(word) for word in ("id.", "id.Crm", "attribute", "contact.fax", "id.a-b", ""))


def test_loading_when_a_contract_has_every_role_then_each_finds_its_column() -> None:
    channel = channel_of("any", "party", {f"c{i}": {"role": role} for i, role in enumerate(ROLES.split())})
    assert dict(channel.roles) == {role: (f"c{i}",) for i, role in enumerate(ROLES.split())}


def test_loading_when_a_column_has_several_roles_and_a_role_several_columns_then_all_are_kept() -> None:
    both = [{"property": "role", "value": "contact.email"}, {"property": "role", "value": "id.login"}]
    channel = channel_of(
        "any",
        "party",
        {"no": {"role": "record.id"}, "mail": {"customProperties": both}, "mail2": {"role": "contact.email"}},
    )
    assert channel.roles["contact.email"] == ("mail", "mail2")
    assert channel.roles["id.login"] == ("mail",)
    assert channel.column_of("contact.email") == "mail"
    assert channel.column_of("contact.phone") is None


TYPES = {
    "text": ({}, "VARCHAR"),
    "date": ({"logicalType": "date"}, "DATE"),
    "timestamp": ({"logicalType": "timestamp"}, "TIMESTAMP"),
    "timestamp without zone": ({"logicalType": "timestamp", "physicalType": "timestamp_ntz"}, "TIMESTAMP"),
    "time": ({"logicalType": "time"}, "TIME"),
    "number": ({"logicalType": "number"}, "DOUBLE"),
    "money": ({"logicalType": "number", "role": "order.amount"}, "DECIMAL(18,4)"),
    "decimal": ({"logicalType": "number", "physicalType": "Decimal(10, 2)"}, "DECIMAL(10,2)"),
    "integer": ({"logicalType": "integer"}, "BIGINT"),
    "small integer": ({"logicalType": "integer", "physicalType": "int"}, "INTEGER"),
    "boolean": ({"logicalType": "boolean"}, "BOOLEAN"),
    "a physical type of another engine": ({"physicalType": "nvarchar(50)"}, "VARCHAR"),
}


@pytest.mark.parametrize("case", TYPES.values(), ids=TYPES.keys())
def test_compiling_when_a_column_has_a_type_then_the_engine_has_it_too(case: tuple[dict[str, Any], str]) -> None:
    described, engine_type = case
    channel = channel_of("any", "party", {"no": {"role": "record.id"}, "x": described})
    assert channel.table.engine_schema["x"] == engine_type


def rules(described: dict[str, Any]) -> list[Rule]:
    channel = channel_of("any", "party", {"no": {"role": "record.id"}, "x": described})
    return list(channel.table.rules)


RULES: dict[str, tuple[dict[str, Any], Rule]] = {
    "required": ({"required": True}, Rule("x_is_never_null", "not_null", ("x",))),
    "unique": ({"unique": True}, Rule("x_is_unique", "unique", ("x",))),
    "enum": ({"enum": [{"value": "a"}]}, Rule("x_is_an_allowed_value", "in_set", ("x",), values=("a",))),
    "range": (
        {"logicalType": "integer", "logicalTypeOptions": {"minimum": 1, "exclusiveMaximum": 9}},
        Rule("x_is_in_range", "between", ("x",), minimum=1, maximum=9, exclusive_maximum=True),
    ),
    "length": (
        {"logicalTypeOptions": {"minLength": 2, "maxLength": 4}},
        Rule("x_has_an_allowed_length", "length_between", ("x",), minimum=2, maximum=4),
    ),
    "pattern": (
        {"logicalTypeOptions": {"pattern": "^a+$"}},
        Rule("x_has_the_expected_form", "matches", ("x",), pattern="^a+$"),
    ),
    "no null values": (
        {"quality": [{"metric": "nullValues", "mustBe": 0}]},
        Rule("x_is_never_null", "not_null", ("x",)),
    ),
    "no missing values": (
        {"quality": [{"metric": "missingValues", "arguments": {"missingValues": ["n/a"]}, "mustBe": 0}]},
        Rule("x_is_not_a_missing_value", "not_in_set", ("x",), values=("n/a",)),
    ),
    "few invalid values": (
        {
            "quality": [
                {"metric": "invalidValues", "arguments": {"validValues": ["a"]}, "mustBeLessThan": 5, "unit": "percent"}
            ]
        },
        Rule(
            "share_of_broken_x_is_a_valid_value_is_tolerable",
            "share_between",
            ("x",),
            maximum=0.05,
            exclusive_maximum=True,
            inner=Rule("x_is_a_valid_value", "in_set", ("x",), values=("a",)),
        ),
    ),
    "number of rows": (
        {"quality": [{"name": "Not empty!", "metric": "rowCount", "mustBeBetween": [1, 9]}]},
        Rule("not_empty", "row_count", (), minimum=1, maximum=9),
    ),
}


@pytest.mark.parametrize("case", RULES.values(), ids=RULES.keys())
def test_compiling_when_a_column_has_a_rule_then_it_is_one_rule(case: tuple[dict[str, Any], Rule]) -> None:
    described, rule = case
    assert rules(described) == [rule]


def test_compiling_when_rules_say_the_same_then_there_is_one_and_other_rules_of_that_name_are_numbered() -> None:
    same = {"required": True, "quality": [{"metric": "nullValues", "mustBe": 0}]}
    assert [rule.name for rule in rules(same)] == ["x_is_never_null"]
    other = {"enum": [{"value": "a"}], "quality": [
        {"name": "x is an allowed value", "metric": "invalidValues", "arguments": {"validValues": ["b"]}, "mustBe": 0}
    ]}  # fmt: skip
    assert [rule.name for rule in rules(other)] == ["x_is_an_allowed_value", "x_is_an_allowed_value_2"]


def test_compiling_when_a_key_has_positions_then_the_rule_follows_them() -> None:
    channel = channel_of(
        "any",
        "party",
        {
            "line": {"primaryKey": True, "primaryKeyPosition": 2},
            "no": {"role": "record.id", "primaryKey": True, "primaryKeyPosition": 1},
        },
    )
    assert [rule.columns for rule in channel.table.rules if rule.kind == "unique"] == [("no", "line")]
    assert all(column.required for column in channel.table.columns)


def test_compiling_when_a_server_and_words_are_given_then_the_channel_has_them() -> None:
    channel = channel_of(
        "any",
        "party",
        {"no": {"role": "record.id"}, "mail": {"classification": "Personal"}},
        {"type": "custom", "delimiter": "tab", "encoding": "CP1252", "format": "csv"},
        quote="'",
        time_zone="Asia/Tokyo",
        tolerated_reject_rate=0.1,
        duplicate_free=True,
    )
    assert (channel.delimiter, channel.encoding, channel.quote, channel.time_zone) == (
        "\t",
        "cp1252",
        "'",
        "Asia/Tokyo",
    )
    assert (channel.tolerated_reject_rate, channel.duplicate_free) == (0.1, True)
    assert channel.table.personal_columns == {"mail"}


def freshness(*sla: dict[str, object]) -> float | None:
    document = copy.deepcopy(CRM) | {"slaProperties": list(sla)}
    return compiled(document).freshness_days


def compiled(document: Document) -> Channel:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load_channel(write_contract(Path(folder), document))


def test_compiling_when_the_sla_gives_latency_or_frequency_then_freshness_is_in_days() -> None:
    assert freshness() is None
    assert freshness({"property": "latency", "value": 12, "unit": "h"}) == 0.5
    assert freshness({"property": "frequency", "value": 1, "unit": "d"}) == 2.0
    assert freshness({"property": "frequency", "value": 1, "unit": "m"}, {"property": "latency", "value": 3}) == 3.0


def test_compiling_when_a_custom_property_is_a_vendors_then_it_is_left_alone() -> None:
    document = copy.deepcopy(CRM)
    theirs = {"property": "trust", "value": "high", "vendor": "other-tool"}
    document["schema"][0]["customProperties"].append(theirs)
    document["schema"][0]["properties"][1]["customProperties"].append(theirs)
    assert compiled(document).properties["trust"] == 0.5


@pytest.mark.parametrize("step", STEPS)
def test_the_contract_of_a_step_when_validated_then_it_keeps_the_standard_and_says_the_grain(step: str) -> None:
    import cx_pipeline

    path = Path(cx_pipeline.__file__).parent / step / "contract.yaml"
    check_standard(path, f"{step}/contract.yaml")
    for table in load_step(step).values():
        assert table.description.startswith("One row"), table.full_name
        assert all(column.description for column in table.columns), table.full_name


def test_checking_the_standard_when_a_step_contract_has_a_typing_error_then_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(yaml.safe_dump(CRM | {"nmae": "x"}), encoding="utf-8")
    with pytest.raises(ContractError, match="did you mean `name`"):
        check_standard(path, "contract.yaml")


def test_nearest_when_a_word_is_close_then_it_is_proposed_else_all_are_listed() -> None:
    assert nearest("Emial", ("email", "phone")) == "did you mean `email`?"
    assert nearest("xyz", ("email", "phone")) == "allowed: email, phone"
    assert nearest("xyz", [f"word{i}" for i in range(20)]).endswith("word11, ...")
