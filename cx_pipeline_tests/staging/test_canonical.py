from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from cx_pipeline.core import vocabulary
from cx_pipeline.core.contract import Channel, load_step
from cx_pipeline.core.frames import keyed_hash, lazy, to_polars
from cx_pipeline.core.tables import Table
from cx_pipeline.staging import canonical
from cx_pipeline.staging.intake import channel_tables
from cx_pipeline.staging.policy import StagingPolicy
from cx_pipeline_tests.frames import channel_of, frame_of
from cx_pipeline_tests.parity import money, same_on_polars_and_duckdb, same_on_polars_and_spark, spark_session

TABLES = load_step("staging")
KIND_TABLES = {str(table.properties["kind"]): table for table in TABLES.values() if "kind" in table.properties}
POLICY = StagingPolicy()
KEY = "a key"
Case = tuple[Callable[..., nw.LazyFrame], tuple[pl.DataFrame, ...]]


def staged(channel: Channel, **columns: Any) -> pl.DataFrame:
    """Rows of a channel's table; they come from a.csv, one line each."""
    table = channel_tables(channel).rows
    n_rows = max((len(values) for values in columns.values() if isinstance(values, list)), default=1)
    return frame_of(table, **{"source_file": "a.csv", "source_line": list(range(2, n_rows + 2)), **columns})


def prepared(channel: Channel, rows: nw.LazyFrame) -> nw.LazyFrame:
    return canonical.prepare(rows, channel, POLICY, KEY)


def records_of(channel: Channel, rows: pl.DataFrame) -> pl.DataFrame:
    """The channel's canonical records, equal on both engines."""
    table = KIND_TABLES[channel.kind]
    return same_on_polars_and_duckdb(
        lambda frame: canonical.records(prepared(channel, frame), channel, table, POLICY), rows
    ).sort("record_id")


def hashed(text: str) -> str:
    frame = lazy(pl.DataFrame({"x": [text]}))
    return str(to_polars(keyed_hash(frame, {"x": "x"}, KEY))["x"][0])


# --- roles to columns -----------------------------------------------------------------------------------------------------

# A value of each type that a contract may give a column, and what the canonical column makes of it.
VALUES: dict[str, Any] = {
    "VARCHAR": "some text",
    "DATE": date(2024, 1, 31),
    "TIMESTAMP": datetime(2024, 1, 31, 10, 30),
    "DOUBLE": 1.5,
    "DECIMAL(18,4)": Decimal("1.5"),
    "BIGINT": 7,
    "BOOLEAN": True,
}
LOGICAL = {
    "VARCHAR": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "DOUBLE": "number",
    "DECIMAL(18,4)": "number",
    "BIGINT": "integer",
    "BOOLEAN": "boolean",
}


def with_all_roles(kind: str, types: Mapping[str, str]) -> Channel:
    """A channel of a kind that has every role of its canonical table, each in a column of the given type."""
    roles = [column.roles[0] for column in KIND_TABLES[kind].columns if column.roles]
    needed = [group[0] for group in vocabulary.REQUIRED_ROLES[kind] if not set(group) & set(roles)]
    properties: dict[str, dict[str, Any]] = {"no": {"role": "record.id"}}
    for i, role in enumerate([*roles, *needed]):
        kind_of_column = types.get(role, "VARCHAR")
        properties[f"c{i}"] = {
            "role": role,
            "logicalType": LOGICAL[kind_of_column],
            "physicalType": kind_of_column.lower(),
        }
    return channel_of("any", kind, properties)


@pytest.mark.parametrize("kind", KIND_TABLES)
def test_records_when_a_channel_has_every_role_of_its_kind_then_each_value_is_in_its_column(kind: str) -> None:
    table = KIND_TABLES[kind]
    types = {column.roles[0]: column.engine_type for column in table.columns if column.roles}
    channel = with_all_roles(kind, types)
    values = {c.name: VALUES[c.engine_type] for c in channel.table.columns if c.name != "no"}
    (record,) = records_of(channel, staged(channel, no="R1", **values)).iter_rows(named=True)
    assert (record["channel"], record["record_id"]) == ("any", "R1")
    for column in table.columns:
        if column.roles:
            assert record[column.name] == VALUES[column.engine_type], column.name


@pytest.mark.parametrize("found", VALUES)
@pytest.mark.parametrize("kind", ["interaction", "order", "usage", "product"])
def test_records_when_a_column_has_another_type_than_its_role_then_what_does_not_fit_is_null(
    kind: str, found: str
) -> None:
    table = KIND_TABLES[kind]
    channel = with_all_roles(kind, {column.roles[0]: found for column in table.columns if column.roles})
    values = {c.name: VALUES[c.engine_type] for c in channel.table.columns if c.name != "no"}
    (record,) = records_of(channel, staged(channel, no="R1", **values)).iter_rows(named=True)
    numbers = {"DOUBLE", "DECIMAL(18,4)", "BIGINT"}
    for column in table.columns:
        if not column.roles or column.engine_type == "VARCHAR":
            continue
        fits = {found, column.engine_type} <= numbers or {found, column.engine_type} <= {"DATE", "TIMESTAMP"}
        assert (record[column.name] is not None) == (fits or found == column.engine_type), column.name


@pytest.mark.parametrize("kind", KIND_TABLES)
def test_records_when_a_channel_has_only_the_least_roles_then_the_other_columns_are_null(kind: str) -> None:
    roles = ["record.id", *(group[0] for group in vocabulary.REQUIRED_ROLES[kind])]
    channel = channel_of("any", kind, {f"c{i}": {"role": role} for i, role in enumerate(roles)})
    table = KIND_TABLES[kind]
    record = records_of(channel, staged(channel, c0=["R1", "R2"]))
    assert set(record.columns) == set(table.column_names)
    assert record["record_id"].to_list() == ["R1", "R2"]
    assert record["channel"].to_list() == ["any", "any"]
    by_record = {"order": ["order_id"], "order_line": ["order_id"], "product": ["product_id"]}.get(kind, [])
    for name in record.columns:
        expected = (
            ["any"] * 2 if name == "channel" else ["R1", "R2"] if name in ("record_id", *by_record) else [None] * 2
        )
        assert record[name].to_list() == expected, name


SHOP = channel_of(
    "shop",
    "order",
    {
        "no": {"role": "record.id", "logicalType": "integer"},
        "web_no": {"role": "order.id"},
        "at": {"role": "event.at"},
        "paid": {"role": "order.amount", "logicalType": "number"},
        "gross": {"role": "order.amount"},
        "card": {"role": "id.loyalty"},
        "cookie": {"role": "id.cookie"},
        "mail": {"role": "contact.email", "classification": "personal"},
    },
)


def test_records_when_ids_are_null_then_the_place_in_the_file_stands_in_and_orders_are_known_by_it() -> None:
    record = records_of(SHOP, staged(SHOP, no=[7, None, None], web_no=["W1", "W2", None]))
    assert record.select("record_id", "order_id").rows() == [("7", "W1"), ("a.csv:3", "W2"), ("a.csv:4", "a.csv:4")]


def test_records_when_a_role_has_several_columns_then_the_first_value_counts_whatever_their_types() -> None:
    record = records_of(SHOP, staged(SHOP, no=[1, 2, 3], paid=money("5", None, None), gross=["9", "6.5", "a lot"]))
    assert record["order_amount"].to_list() == money("5", "6.5", None)


def test_records_when_times_are_text_then_iso_times_are_understood() -> None:
    record = records_of(SHOP, staged(SHOP, no=[1, 2, 3], at=["2024-01-31 10:00:00", "2024-01-31", "yesterday"]))
    assert record["event_at"].to_list() == [datetime(2024, 1, 31, 10), datetime(2024, 1, 31), None]


def test_records_when_a_row_has_several_identifiers_then_the_strongest_speaks_for_it() -> None:
    rows = staged(
        SHOP,
        no=[1, 2, 3, 4],
        card=[" C1 ", None, "", None],
        cookie=["K1", "K2", "K3", None],
        mail=["Jane@Example.com", "jane@example.com ", None, None],
    )
    record = records_of(SHOP, rows)
    assert record.select("identifier_namespace", "identifier_value").rows() == [
        ("loyalty", "C1"),
        ("email", hashed("jane@example.com")),
        ("cookie", "K3"),
        (None, None),
    ]


def test_records_when_two_columns_make_the_record_id_then_both_are_in_it() -> None:
    channel = channel_of(
        "any", "party", {"a": {"role": "record.id"}, "b": {"role": "record.id", "logicalType": "integer"}}
    )
    record = records_of(channel, staged(channel, a=["x", "x", "y"], b=[1, 2, None]))
    assert record["record_id"].to_list() == ["a.csv:4", "x:1", "x:2"]


def test_records_when_a_campaign_channel_has_only_a_time_of_event_then_that_is_when_it_was_sent() -> None:
    channel = channel_of(
        "mail",
        "campaign_contact",
        {"no": {"role": "record.id"}, "c": {"role": "campaign.id"}, "at": {"role": "event.at", "logicalType": "date"}},
    )
    record = records_of(channel, staged(channel, no="1", at=date(2024, 1, 31)))
    assert record["campaign_sent_at"].to_list() == [datetime(2024, 1, 31)]


# --- identifiers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "given", "expected"),
    [
        ("crm", "  A1 ", "A1"),
        ("crm", " ", None),
        ("email", " Jane.Roe@Example.COM ", "jane.roe@example.com"),
        ("phone", "+49 (30) 123-456", "+4930123456"),
        ("phone", "0049 30/123456", "+4930123456"),
        ("phone", "030 123456", "030123456"),
        ("phone", "unknown", None),
    ],
)
def test_identifiers_when_normalised_then_spellings_of_one_are_one(
    namespace: str, given: str, expected: str | None
) -> None:
    found = same_on_polars_and_duckdb(
        lambda frame: frame.select(canonical.normalised_identifier(nw.col("x"), namespace).alias("x")),
        pl.DataFrame({"x": [given, None]}),
    )
    assert set(found["x"]) == {expected, None}


def test_identifiers_when_numbers_are_identifiers_then_they_are_their_digits() -> None:
    channel = channel_of(
        "any", "party", {"no": {"role": "record.id"}, "acc": {"role": "id.account", "logicalType": "integer"}}
    )
    assert records_of(channel, staged(channel, no="1", acc=12))["identifier_value"].to_list() == ["12"]


def test_identifier_columns_when_ordered_then_weak_namespaces_come_last_in_the_policys_order() -> None:
    roles = ["id.cookie", "contact.phone", "id.loyalty", "contact.email", "id.crm"]
    channel = channel_of(
        "any", "party", {"no": {"role": "record.id"}} | {f"c{i}": {"role": r} for i, r in enumerate(roles)}
    )
    assert canonical.identifier_columns(channel, POLICY) == [
        ("loyalty", "c2"),
        ("crm", "c4"),
        ("email", "c3"),
        ("phone", "c1"),
        ("cookie", "c0"),
    ]


VISITS = channel_of(
    "web",
    "interaction",
    {
        "no": {"role": "record.id"},
        "at": {"role": "event.at", "logicalType": "timestamp"},
        "phone1": {"role": "contact.phone", "classification": "personal"},
        "phone2": {"role": "contact.phone", "classification": "personal"},
        "phone3": {"role": "contact.phone", "classification": "personal"},
        "cookie": {"role": "id.cookie"},
        "colour": {"role": "attribute.colour"},
        "colour_too": {"role": "attribute.colour"},
        "colour_2": {"role": "attribute.colour_2"},
    },
)
VISITED = staged(
    VISITS,
    no=["1", "2", "3", "4"],
    at=[datetime(2024, 1, 4), datetime(2024, 1, 1), datetime(2024, 1, 3), None],
    phone1=["1", "1", "2", None],
    phone2=["2", None, "2", None],
    phone3=[None, "2", None, None],
    cookie=["K", None, "K", "K"],
    colour=["red", "blue", None, "green"],
    colour_too=["pink", None, "grey", None],
    colour_2=["a", None, None, None],
)


def seen_identifiers(rows: nw.LazyFrame, empty: nw.LazyFrame) -> nw.LazyFrame:
    return canonical.identifiers(canonical.seen_identifiers(prepared(VISITS, rows), VISITS, POLICY), empty)


def pairs(rows: nw.LazyFrame, empty: nw.LazyFrame) -> nw.LazyFrame:
    return canonical.identifier_pairs(canonical.seen_pairs(prepared(VISITS, rows), VISITS, POLICY), empty)


def attributes(rows: nw.LazyFrame, empty: nw.LazyFrame) -> nw.LazyFrame:
    return canonical.union(canonical.further_attributes(prepared(VISITS, rows), VISITS, POLICY), empty)


def party_identifiers(rows: nw.LazyFrame, empty: nw.LazyFrame) -> nw.LazyFrame:
    return canonical.union(canonical.record_identifiers(prepared(VISITS, rows), VISITS, POLICY), empty).unique()


def keys_are_unique(rows: pl.DataFrame, table: Table) -> bool:
    return rows.select(table.primary_key).n_unique() == rows.height


def test_identifiers_when_seen_in_several_columns_then_they_are_one_with_first_and_last_time() -> None:
    table = TABLES["identifiers"]
    found = same_on_polars_and_duckdb(seen_identifiers, VISITED, table.empty())
    assert keys_are_unique(found, table)
    rows = {(row["namespace"], row["raw_value"]): row for row in found.iter_rows(named=True)}
    assert rows["cookie", "K"]["n_records"] == 3
    assert rows["cookie", "K"]["value"] == "K"
    phone = rows["phone", "2"]
    assert phone["value"] == hashed("2")
    assert (phone["first_seen_at"], phone["last_seen_at"]) == (datetime(2024, 1, 1), datetime(2024, 1, 4))


def test_pairs_when_columns_share_a_namespace_then_each_pair_is_there_once_and_nothing_is_paired_with_itself() -> None:
    table = TABLES["identifier_pairs"]
    found = same_on_polars_and_duckdb(pairs, VISITED, table.empty())
    assert keys_are_unique(found, table)
    counted = {(row["left_value"], row["right_value"]): row["n_records"] for row in found.iter_rows(named=True)}
    assert counted == {(hashed("1"), hashed("2")): 2, (hashed("1"), "K"): 1, (hashed("2"), "K"): 3}


def test_party_identifiers_when_a_record_has_one_twice_then_it_is_there_once() -> None:
    table = TABLES["party_identifiers"]
    found = same_on_polars_and_duckdb(party_identifiers, VISITED, table.empty())
    assert keys_are_unique(found, table)
    assert sorted(found.filter(pl.col("record_id") == "3")["namespace"]) == ["cookie", "phone"]


def test_attributes_when_names_meet_then_the_contracts_own_name_is_kept_and_the_other_gets_the_next_number() -> None:
    table = TABLES["attributes"]
    found = same_on_polars_and_duckdb(attributes, VISITED, table.empty())
    assert keys_are_unique(found, table)
    first = found.filter(pl.col("record_id") == "1")
    assert dict(first.select("attribute", "value").iter_rows()) == {
        "colour": "red",
        "colour_2": "a",
        "colour_3": "pink",
        "phone_2": "2",
    }
    assert first["identifier_namespace"].unique().to_list() == ["phone"]
    assert first["observed_at"].unique().to_list() == [datetime(2024, 1, 4)]


def test_preparing_when_values_are_personal_then_equal_values_have_equal_hashes_and_null_stays_null() -> None:
    found = same_on_polars_and_duckdb(lambda rows: prepared(VISITS, rows), VISITED).sort("__record_id")
    assert found["__value_0"].to_list() == [hashed("1"), hashed("1"), hashed("2"), None]
    assert found["__raw_0"].to_list() == ["1", "1", "2", None]
    assert found.height == 4


# --- orders from lines ----------------------------------------------------------------------------------------------------

LINES = frame_of(
    TABLES["order_lines"],
    channel=["till", "till", "till", "till", "web", "web"],
    record_id=["1", "2", "3", "4", "5", "6"],
    order_id=["A", "A", "B", None, "A", "C"],
    event_at=[datetime(2024, 1, 2), datetime(2024, 1, 1), None, datetime(2024, 1, 5), datetime(2024, 1, 6), None],
    order_amount=money("10.10", "-0.20", "5", "7", "3", "100"),
    order_quantity=[1.0, 2.0, None, 1.0, None, None],
    order_cost=money("4", None, None, None, None, None),
    identifier_namespace=["cookie", "loyalty", None, "loyalty", None, None],
    identifier_value=["A-cookie", "Z-card", None, "C9", None, None],
)
ORDERS = frame_of(TABLES["orders"], channel=["erp", "erp"], record_id=["x", "y"], order_id=["C", None])


def orders_from_lines(lines: nw.LazyFrame, orders: nw.LazyFrame) -> nw.LazyFrame:
    return canonical.orders_from_lines(lines, orders, POLICY)


def test_orders_when_derived_from_lines_then_money_adds_up_and_delivered_orders_do_not_count_twice() -> None:
    found = same_on_polars_and_duckdb(orders_from_lines, LINES, ORDERS).sort("channel", "order_id")
    assert set(found.columns) == set(TABLES["orders"].column_names)
    assert found.select("channel", "order_id", "record_id", "order_amount").rows() == [
        ("till", "4", "4", Decimal(7)),
        ("till", "A", "A", Decimal("9.9")),
        ("till", "B", "B", Decimal(5)),
        ("web", "A", "A", Decimal(3)),
    ]
    basket = found.row(1, named=True)
    assert basket["event_at"] == datetime(2024, 1, 1)
    assert basket["order_quantity"] == 3.0
    assert basket["order_cost"] == Decimal(4)
    assert found["order_discount"].null_count() == 4
    assert found["order_cost"].to_list()[2] is None


def test_orders_when_lines_carry_several_identifiers_then_the_strongest_speaks_with_its_own_value() -> None:
    found = same_on_polars_and_duckdb(orders_from_lines, LINES, ORDERS).sort("channel", "order_id")
    assert found.select("identifier_namespace", "identifier_value").rows() == [
        ("loyalty", "C9"),
        ("loyalty", "Z-card"),
        (None, None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("line", "delivered", "is_counted_again"),
    [
        pytest.param(("loyalty", "L1", 5), ("loyalty", "L2", 5), True, id="another customer's order of that number"),
        pytest.param(("loyalty", "L1", 5), ("loyalty", "L1", 9), False, id="the same customer's order"),
        pytest.param(("loyalty", "L1", 5), ("email", "E1", 5), False, id="another namespace on the same day"),
        pytest.param(("loyalty", "L1", 5), ("email", "E1", 9), True, id="another namespace on another day"),
        pytest.param((None, None, 5), ("email", "E1", 9), False, id="a line that names nobody"),
    ],
)
def test_orders_when_a_delivered_order_has_the_lines_number_then_the_money_counts_once(
    line, delivered, is_counted_again
) -> None:
    def record(table, who):
        return frame_of(
            TABLES[table],
            channel=["till" if table == "order_lines" else "web"],
            record_id=["1"],
            order_id=["17"],
            event_at=[datetime(2024, 3, who[2])],
            order_amount=money("10"),
            identifier_namespace=[who[0]],
            identifier_value=[who[1]],
        )

    found = same_on_polars_and_duckdb(orders_from_lines, record("order_lines", line), record("orders", delivered))
    assert found.height == int(is_counted_again)


def test_orders_when_there_are_no_lines_then_there_are_no_orders() -> None:
    assert same_on_polars_and_duckdb(orders_from_lines, LINES.clear(), ORDERS).is_empty()


def test_union_when_there_are_no_frames_then_the_empty_one_stands_in() -> None:
    empty = lazy(TABLES["orders"].empty())
    assert canonical.union([], empty) is empty


# --- the clock ------------------------------------------------------------------------------------------------------------

STARTED_AT = datetime(2024, 6, 1, 2)


def clock(*tables: tuple[Channel, pl.DataFrame], configured: date | None = None) -> tuple[date, str]:
    frame = canonical.clock([(c, lazy(rows)) for c, rows in tables], configured=configured, started_at=STARTED_AT)
    assert frame.height == 1
    as_of: date = frame["as_of"][0]
    return as_of, str(frame["basis"][0])


PEOPLE = channel_of(
    "people",
    "party",
    {"no": {"role": "record.id"}, "changed": {"role": "record.updated_at", "logicalType": "timestamp"}},
)
DUES = channel_of(
    "dues", "payment", {"no": {"role": "record.id"}, "due": {"role": "payment.due_on", "logicalType": "date"}}
)


def test_the_clock_when_events_are_there_then_it_is_the_latest_that_is_not_after_the_start() -> None:
    visits = staged(VISITS, no=["1", "2", "3"], at=[datetime(2024, 5, 1), STARTED_AT, datetime(2025, 1, 1)])
    people = staged(PEOPLE, no="1", changed=datetime(2024, 5, 31))
    assert clock((PEOPLE, people), (VISITS, visits)) == (date(2024, 6, 1), "events")
    assert clock((VISITS, visits.filter(pl.col("no") != "2"))) == (date(2024, 5, 1), "events")


def test_the_clock_when_times_of_events_are_text_then_they_count_too() -> None:
    assert clock((SHOP, staged(SHOP, no=[1, 2], at=["2024-03-01T10:00:00", "soon"]))) == (date(2024, 3, 1), "events")


def test_the_clock_when_there_are_no_events_then_it_is_the_latest_change_else_the_run() -> None:
    people = staged(PEOPLE, no="1", changed=datetime(2024, 2, 1, 23, 59))
    dues = staged(DUES, no="1", due=date(2024, 5, 1))
    assert clock((DUES, dues), (PEOPLE, people), (VISITS, VISITED.clear())) == (date(2024, 2, 1), "updated_at")
    assert clock((DUES, dues)) == (date(2024, 6, 1), "run")
    assert clock() == (date(2024, 6, 1), "run")


def test_the_clock_when_a_date_is_configured_then_it_wins() -> None:
    assert clock((VISITS, VISITED), configured=date(2020, 1, 1)) == (date(2020, 1, 1), "configured")


# --- Spark: each idiom of this room once --------------------------------------------------------------------------------


def versions(rows: nw.LazyFrame) -> nw.LazyFrame:
    from cx_pipeline.staging.versions import judge_versions

    return judge_versions(rows, key=["no"], updated_at="at", key_is_declared=True, newest_file=None)


def rejected(rows: nw.LazyFrame) -> nw.LazyFrame:
    from cx_pipeline.staging.intake import _as_rejected

    simple = channel_of("any", "party", {"no": {"role": "record.id"}})
    return _as_rejected(rows, simple, ["no"])


SPARK_CASES: dict[str, Case] = {
    "versions": (versions, (pl.concat([VISITED, VISITED.with_columns(source_line=pl.col("source_line") + 10)]),)),
    "snapshot": (
        lambda rows: canonical_snapshot(rows),
        (pl.concat([VISITED, VISITED.with_columns(source_file=pl.lit("b.csv"))]),),
    ),
    "rejected rows as JSON": (rejected, (VISITED,)),
    "prepare": (lambda rows: prepared(VISITS, rows), (VISITED,)),
    "records": (
        lambda rows: canonical.records(prepared(VISITS, rows), VISITS, KIND_TABLES["interaction"], POLICY),
        (VISITED,),
    ),
    "records with casts": (
        lambda rows: canonical.records(prepared(SHOP, rows), SHOP, KIND_TABLES["order"], POLICY),
        (
            staged(
                SHOP,
                no=[1, 2, None],
                at=["2024-01-31 10:00:00", "2024-01-31", "soon"],
                paid=money("1.5", None, None),
                gross=[None, " 2.25 ", "a lot"],
                mail=["Jane@Example.com", None, ""],
            ),
        ),
    ),
    "orders from lines": (orders_from_lines, (LINES, ORDERS)),
    "identifiers": (seen_identifiers, (VISITED, TABLES["identifiers"].empty())),
    "party identifiers": (party_identifiers, (VISITED, TABLES["party_identifiers"].empty())),
    "pairs": (pairs, (VISITED, TABLES["identifier_pairs"].empty())),
    "attributes": (attributes, (VISITED, TABLES["attributes"].empty())),
}


def canonical_snapshot(rows: nw.LazyFrame) -> nw.LazyFrame:
    from cx_pipeline.staging.versions import judge_versions

    return judge_versions(rows, key=["no"], updated_at=None, key_is_declared=False, newest_file="b.csv")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with spark_session() as session:
        yield session


@pytest.mark.slow
@pytest.mark.parametrize(("function", "frames"), SPARK_CASES.values(), ids=SPARK_CASES.keys())
def test_staging_when_run_on_spark_then_it_gives_what_polars_gives(
    spark: Any, function: Callable[..., nw.LazyFrame], frames: tuple[pl.DataFrame, ...]
) -> None:
    assert same_on_polars_and_spark(spark, function, *frames).height > 0
