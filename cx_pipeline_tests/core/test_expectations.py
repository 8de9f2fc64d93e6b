from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cx_pipeline.core import expectations
from cx_pipeline.core.errors import ContractError, EngineError
from cx_pipeline.core.expectations import Audit, audit, broken_condition, describe
from cx_pipeline.core.frames import quote_identifier
from cx_pipeline.core.tables import Column, LogicalType, Rule, Table

LOGICAL: dict[str, LogicalType] = {
    "VARCHAR": "string",
    "BIGINT": "integer",
    "DOUBLE": "number",
    "DECIMAL(18,2)": "number",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIME": "time",
    "BOOLEAN": "boolean",
    "JSON": "object",
    "VARCHAR[]": "array",
}


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def table_of(rules: list[Rule], **types: str) -> Table:
    columns = tuple(Column(name, LOGICAL[engine_type], engine_type) for name, engine_type in types.items())
    return Table("room", "things", "One row per thing.", columns, tuple(rules))


def write(con: duckdb.DuckDBPyConnection, table: Table, rows: list[tuple[object, ...]], name: str = "things") -> None:
    con.execute("CREATE SCHEMA IF NOT EXISTS room")
    columns = ", ".join(f"{quote_identifier(column.name)} {column.engine_type}" for column in table.columns)
    con.execute(f"CREATE TABLE room.{quote_identifier(name)} ({columns})")
    if rows:
        marks = ", ".join("?" for _ in table.columns)
        con.executemany(f"INSERT INTO room.{quote_identifier(name)} VALUES ({marks})", rows)


def audited(con: duckdb.DuckDBPyConnection, rule: Rule, rows: list[tuple[object, ...]], **types: str) -> Audit:
    table = table_of([rule], **types)
    write(con, table, rows)
    return audit(con, table, schema="room", name="things")


def ones(*values: object) -> list[tuple[object, ...]]:
    return [(value,) for value in values]


def rule(kind: str, *columns: str, **words: Any) -> Rule:
    return Rule("a_rule_holds", cast("Any", kind), columns, **words)


KINDS = {
    "not null": (rule("not_null", "a"), {"a": "VARCHAR"}, ones("x", "", None, None), 2),
    "not null in any of two columns": (
        rule("not_null", "a", "b"),
        {"a": "BIGINT", "b": "DATE"},
        [(1, "2024-01-01"), (None, "2024-01-01"), (1, None), (None, None)],
        3,
    ),
    "unique counts every row of a repeated key": (rule("unique", "a"), {"a": "BIGINT"}, ones(1, 2, 2, 3, 3, 3), 5),
    "unique lets nulls repeat": (rule("unique", "a"), {"a": "VARCHAR"}, ones("x", "x", None, None), 2),
    "unique over two columns": (
        rule("unique", "a", "b"),
        {"a": "BIGINT", "b": "VARCHAR"},
        [(1, "x"), (1, "y"), (2, "x"), (2, "x"), (3, None), (3, None)],
        2,
    ),
    "unique dates": (rule("unique", "a"), {"a": "DATE"}, ones("2024-01-01", "2024-01-01", "2024-01-02"), 2),
    "in a set of strings": (
        rule("in_set", "a", values=("x", "it's")),
        {"a": "VARCHAR"},
        ones("x", "it's", "X", None),
        1,
    ),
    "in a set of integers": (rule("in_set", "a", values=(1, 2)), {"a": "BIGINT"}, ones(1, 3, 4, None), 2),
    "in a set of numbers": (rule("in_set", "a", values=(0.1, 2)), {"a": "DOUBLE"}, ones(0.1, 2, 2.5, None), 1),
    "in a set of decimals": (rule("in_set", "a", values=(0.1, "2")), {"a": "DECIMAL(18,2)"}, ones("0.1", 2, 3), 1),
    "in a set of dates": (
        rule("in_set", "a", values=("2024-01-01",)),
        {"a": "DATE"},
        ones("2024-01-01", "2024-01-02"),
        1,
    ),
    "in a set of truths": (rule("in_set", "a", values=(True,)), {"a": "BOOLEAN"}, ones(True, False, None), 1),
    "a number allowed in a text column": (rule("in_set", "a", values=(1,)), {"a": "VARCHAR"}, ones("1", "2"), 1),
    "not in a set": (rule("not_in_set", "a", values=("", "n/a")), {"a": "VARCHAR"}, ones("", "n/a", "x", None), 2),
    "between integers": (rule("between", "a", minimum=1, maximum=3), {"a": "BIGINT"}, ones(0, 1, 3, 4, None), 2),
    "between a float bound and integers": (rule("between", "a", minimum=1.5), {"a": "BIGINT"}, ones(1, 2, None), 1),
    "above an exclusive minimum": (
        rule("between", "a", minimum=0, exclusive_minimum=True),
        {"a": "DOUBLE"},
        ones(0, 0.001, -1, None),
        2,
    ),
    "below an exclusive maximum": (
        rule("between", "a", maximum=1, exclusive_maximum=True),
        {"a": "DECIMAL(18,2)"},
        ones(1, "0.99", "1.01", None),
        2,
    ),
    "not a number": (rule("between", "a", minimum=0), {"a": "DOUBLE"}, ones(1.0, float("nan"), None), 1),
    "between dates": (
        rule("between", "a", minimum="2024-01-01", maximum="2024-12-31"),
        {"a": "DATE"},
        ones("2023-12-31", "2024-01-01", "2024-12-31", "2025-01-01", None),
        2,
    ),
    "after an exclusive date": (
        rule("between", "a", minimum="2024-01-01", exclusive_minimum=True),
        {"a": "DATE"},
        ones("2024-01-01", "2024-01-02"),
        1,
    ),
    "between timestamps": (
        rule("between", "a", minimum="2024-01-01", maximum="2024-01-01T12:00:00"),
        {"a": "TIMESTAMP"},
        ones("2023-12-31 23:59:59", "2024-01-01 12:00:00", "2024-01-01 12:00:01", None),
        2,
    ),
    "a bound in another zone": (
        rule("between", "a", minimum="2024-01-01T02:00:00+02:00"),
        {"a": "TIMESTAMP"},
        ones("2023-12-31 23:59:59", "2024-01-01 00:00:00"),
        1,
    ),
    "between times": (
        rule("between", "a", minimum="09:00", maximum="17:30:00"),
        {"a": "TIME"},
        ones("08:59:59", "09:00:00", "17:30:00", "18:00:00"),
        2,
    ),
    "between texts": (rule("between", "a", minimum="b"), {"a": "VARCHAR"}, ones("a", "b", None), 1),
    "length of text": (
        rule("length_between", "a", minimum=2, maximum=3),
        {"a": "VARCHAR"},
        ones("ä", "äö", "abc", "abcd", "", None),
        3,
    ),
    "length below an exclusive maximum": (
        rule("length_between", "a", maximum=2, exclusive_maximum=True),
        {"a": "VARCHAR"},
        ones("a", "ab", None),
        1,
    ),
    "length of a list": (rule("length_between", "a", minimum=1), {"a": "VARCHAR[]"}, ones([], ["x"], None), 1),
    "pattern": (rule("matches", "a", pattern="[a-z]+"), {"a": "VARCHAR"}, ones("abc", "abc1", "1abc", "", None), 3),
    "pattern with braces": (rule("matches", "a", pattern=r"\d{3}"), {"a": "VARCHAR"}, ones("123", "12", "1234"), 2),
    "pattern with colons": (rule("matches", "a", pattern=r"(?:id|nr):\d+"), {"a": "VARCHAR"}, ones("id:1", "id1"), 1),
    "pattern with a quote": (rule("matches", "a", pattern=r"o'\w+"), {"a": "VARCHAR"}, ones("o'neil", "oneil"), 1),
    "pattern of a number": (rule("matches", "a", pattern=r"\d{5}"), {"a": "BIGINT"}, ones(12345, 1234, None), 1),
}


@pytest.mark.parametrize(("a_rule", "types", "rows", "n_broken"), KINDS.values(), ids=KINDS.keys())
def test_audit_when_rows_break_a_rule_then_exactly_these_are_counted(con, a_rule, types, rows, n_broken):
    found = audited(con, a_rule, rows, **types)

    assert [(result.is_kept, result.n_rows, result.n_broken) for result in found.results] == [
        (False, len(rows), n_broken)
    ]
    assert not found.is_kept
    assert found.broken == found.results


@pytest.mark.parametrize(("a_rule", "types", "rows", "n_broken"), KINDS.values(), ids=KINDS.keys())
def test_audit_when_broken_rows_are_gone_then_the_rule_is_kept(con, a_rule, types, rows, n_broken):
    table = table_of([a_rule], **types)
    write(con, table, rows)
    if a_rule.kind == "unique":
        firsts = f"SELECT min(rowid) FROM room.things GROUP BY {', '.join(a_rule.columns)}"
        complete = " AND ".join(f"{name} IS NOT NULL" for name in a_rule.columns)
        con.execute(f"DELETE FROM room.things WHERE {complete} AND rowid NOT IN ({firsts})")
    else:
        con.execute(f"DELETE FROM room.things WHERE {broken_condition(table, a_rule)}")
        assert con.execute("SELECT count(*) FROM room.things").fetchall() == [(len(rows) - n_broken,)]

    found = audit(con, table, schema="room", name="things")

    assert found.is_kept
    assert found.results[0].n_broken == 0


@pytest.mark.parametrize(("a_rule", "types", "rows", "n_broken"), KINDS.values(), ids=KINDS.keys())
def test_audit_when_the_table_is_empty_then_row_rules_are_kept(con, a_rule, types, rows, n_broken):
    result = audited(con, a_rule, [], **types).results[0]

    assert (result.is_kept, result.n_rows, result.n_broken) == (True, 0, 0)


ROW_COUNTS = {
    "enough": ({"minimum": 3}, True, 0),
    "too few": ({"minimum": 5}, False, 2),
    "too many": ({"maximum": 1}, False, 2),
    "exactly": ({"minimum": 3, "maximum": 3}, True, 0),
    "not more than the exclusive minimum": ({"minimum": 3, "exclusive_minimum": True}, False, 1),
    "not less than the exclusive maximum": ({"maximum": 3, "exclusive_maximum": True}, False, 1),
    "a bound with decimals": ({"minimum": 2.5, "maximum": 3.5}, True, 0),
    "a bound with decimals, missed": ({"minimum": 3.5}, False, 1),
}


@pytest.mark.parametrize(("bounds", "is_kept", "n_broken"), ROW_COUNTS.values(), ids=ROW_COUNTS.keys())
def test_audit_when_rows_are_counted_then_bounds_decide(con, bounds, is_kept, n_broken):
    result = audited(con, rule("row_count", **bounds), ones(1, 2, 3), a="BIGINT").results[0]

    assert (result.is_kept, result.n_rows, result.n_broken, result.observed) == (is_kept, 3, n_broken, "3 rows")


def test_audit_when_an_empty_table_must_have_rows_then_the_rule_is_broken(con):
    result = audited(con, rule("row_count", minimum=1), [], a="BIGINT").results[0]

    assert (result.is_kept, result.n_rows, result.n_broken, result.observed) == (False, 0, 1, "0 rows")


SHARES = {
    "tolerated": ({"maximum": 0.25}, True),
    "too large": ({"maximum": 0.2}, False),
    "equal to the exclusive maximum": ({"maximum": 0.25, "exclusive_maximum": True}, False),
    "too small": ({"minimum": 0.3}, False),
    "equal to the minimum": ({"minimum": 0.25}, True),
    "equal to the exclusive minimum": ({"minimum": 0.25, "exclusive_minimum": True}, False),
    "in between": ({"minimum": 0.1, "maximum": 0.5}, True),
}


@pytest.mark.parametrize(("bounds", "is_kept"), SHARES.values(), ids=SHARES.keys())
def test_audit_when_a_share_may_break_then_bounds_decide(con, bounds, is_kept):
    share = rule("share_between", "a", inner=rule("not_null", "a"), **bounds)

    result = audited(con, share, ones(1, 2, None, 3), a="BIGINT").results[0]

    assert (result.is_kept, result.n_rows, result.n_broken) == (is_kept, 4, 1)
    assert result.observed == "0.25 (1 of 4 rows)"


def test_audit_when_a_share_of_repeated_keys_is_tolerated_then_all_their_rows_count(con):
    share = rule("share_between", "a", inner=rule("unique", "a"), maximum=0.5)

    result = audited(con, share, ones(1, 1, 2, 3), a="BIGINT").results[0]

    assert (result.is_kept, result.n_broken, result.observed) == (True, 2, "0.5 (2 of 4 rows)")


def test_audit_when_a_share_is_of_no_rows_then_it_is_kept(con):
    result = audited(con, rule("share_between", "a", inner=rule("not_null", "a"), minimum=0.5), [], a="BIGINT").results[
        0
    ]

    assert (result.is_kept, result.n_broken, result.observed) == (True, 0, "no rows")


def test_audit_when_there_are_several_rules_then_results_come_in_their_order(con):
    table = table_of(
        [
            Rule("a_is_never_null", "not_null", ("a",)),
            Rule("there_are_rows", "row_count", (), minimum=1),
            Rule("a_is_unique", "unique", ("a",)),
            Rule(
                "most_a_are_small", "share_between", ("a",), maximum=0.5, inner=Rule("", "between", ("a",), maximum=1)
            ),
            Rule("a_is_also_never_null", "not_null", ("a",)),
        ],
        a="BIGINT",
    )
    write(con, table, ones(1, 1, None, 5))

    found = audit(con, table, schema="room", name="things")

    assert tuple(result.rule for result in found.results) == table.rules
    assert [result.n_broken for result in found.results] == [1, 0, 2, 1, 1]
    assert [result.rule.name for result in found.broken] == ["a_is_never_null", "a_is_unique", "a_is_also_never_null"]
    assert found.seconds > 0


def test_audit_when_a_table_has_no_rules_then_it_is_kept_without_a_look(con):
    found = audit(con, table_of([], a="BIGINT"), schema="room", name="there_is_no_such_table")

    assert found.is_kept
    assert found.results == ()


# --- the transaction is ours ------------------------------------------------------------------------------------------


def test_audit_when_the_table_is_not_committed_then_it_is_seen_and_rolling_back_leaves_the_old_one(tmp_path: Path):
    table = table_of([rule("not_null", "a")], a="BIGINT")
    with duckdb.connect(str(tmp_path / "w.duckdb")) as con:
        write(con, table, ones(1))
        con.execute("BEGIN")
        write(con, table, ones(1, None), name="things__new")

        found = audit(con, table, schema="room", name="things__new")
        with con.cursor() as other:
            names_elsewhere = other.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        con.execute("ROLLBACK")

        assert found.results[0].n_broken == 1
        assert names_elsewhere == [("things",)]
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("things",)]
        assert con.execute("SELECT a FROM room.things").fetchall() == [(1,)]


def test_audit_when_it_ends_then_the_transaction_is_open_and_can_be_committed(tmp_path: Path):
    table = table_of([rule("not_null", "a"), rule("row_count", minimum=1)], a="BIGINT")
    path = str(tmp_path / "w.duckdb")
    with duckdb.connect(path) as con:
        con.execute("BEGIN")
        write(con, table, ones(1, 2), name="things__new")
        audit(con, table, schema="room", name="things__new")

        assert con.sql("SELECT count(*) FROM room.things__new").fetchall() == [(2,)]
        con.execute("ALTER TABLE room.things__new RENAME TO things")
        con.execute("COMMIT")

    with duckdb.connect(path) as con:
        assert con.execute("SELECT a FROM room.things ORDER BY a").fetchall() == [(1,), (2,)]


def test_audit_when_it_ends_then_it_leaves_nothing_behind(con):
    table = table_of([a_rule for a_rule, types, _, _ in KINDS.values() if types == {"a": "VARCHAR"}], a="VARCHAR")
    write(con, table, ones("x", None))
    listed = "SELECT 'table', table_name FROM duckdb_tables() UNION ALL SELECT 'view', view_name FROM duckdb_views() "
    listed += "UNION ALL SELECT 'schema', schema_name FROM duckdb_schemas() ORDER BY ALL"
    before = con.execute(listed).fetchall()

    audit(con, table, schema="room", name="things")

    assert con.execute(listed).fetchall() == before
    assert expectations._LOAN.con is None


class Recorder:
    """A connection that remembers what was sent."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self.statements: list[str] = []

    def execute(self, statement: str, parameters: object = None) -> object:
        self.statements.append(statement)
        return self._con.execute(statement, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)


def test_audit_when_it_runs_then_it_sends_one_count_per_rule_and_one_of_the_rows(con):
    table = table_of([rule("not_null", "a"), rule("unique", "a"), rule("in_set", "a", values=("x",))], a="VARCHAR")
    write(con, table, ones("secret", "secret"))
    audit(con, table, schema="room", name="things")
    recorder = Recorder(con)

    audit(cast("duckdb.DuckDBPyConnection", recorder), table, schema="room", name="things")

    assert len(recorder.statements) == 4, "\n\n".join(recorder.statements)
    assert all("COUNT(*)" in statement.split("FROM")[0].upper() for statement in recorder.statements)


def test_audit_when_a_hundred_tables_follow_each_other_on_many_connections_then_each_is_judged_for_itself():
    for i in range(100):
        table = Table(
            "room", f"things_{i}", "One row per thing.", (Column("a", "integer", "BIGINT"),), (rule("unique", "a"),)
        )
        with duckdb.connect() as con:
            con.execute("CREATE TABLE t AS SELECT unnest(range(?)) % 7 AS a", [i])
            assert audit(con, table, schema="main", name="t").results[0].n_rows == i


def test_audit_when_threads_audit_at_once_then_each_sees_its_own_connection():
    table = table_of([rule("between", "a", maximum=0)], a="BIGINT")
    found: dict[int, int] = {}

    def run(n: int) -> None:
        with duckdb.connect() as con:
            con.execute("BEGIN")
            write(con, table, [(i + 1,) for i in range(n)])
            found[n] = audit(con, table, schema="room", name="things").results[0].n_broken

    threads = [threading.Thread(target=run, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {n: n for n in range(1, 9)}


def test_audit_when_the_same_contract_is_audited_again_then_the_suite_is_the_compiled_one(con):
    table = table_of([rule("not_null", "a")], a="BIGINT")
    write(con, table, ones(1))
    audit(con, table, schema="room", name="things")
    n_compiled = expectations._suite.cache_info().misses
    con.execute("INSERT INTO room.things VALUES (NULL)")

    again = audit(con, table_of([rule("not_null", "a")], a="BIGINT"), schema="room", name="things")

    assert expectations._suite.cache_info().misses == n_compiled
    assert again.results[0].n_broken == 1


# --- names and values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "order",
        "two words",
        'say "hi"',
        "{curly}",
        "{",
        ":colon",
        "a::b",
        "per%cent",
        "%s",
        "semi;colon",
        "-- no",
        "ümlaut",
        "JOIN",
    ],
)
def test_audit_when_a_column_has_an_odd_name_then_its_rules_are_checked(con, name):
    table = table_of(
        [
            rule("not_null", name),
            rule("unique", name),
            rule("unique", name, "b"),
            rule("in_set", name, values=("x", "y")),
        ],
        **{name: "VARCHAR", "b": "BIGINT"},
    )
    write(con, table, [("x", 1), ("x", 1), (None, 1), ("z", 1)])

    assert [result.n_broken for result in audit(con, table, schema="room", name="things").results] == [1, 2, 2, 1]


@pytest.mark.parametrize("name", ["group", "two words", 'say "hi"', "Capital", "50%"])
def test_audit_when_a_schema_and_table_have_odd_names_then_they_are_found(con, name):
    con.execute(f"CREATE SCHEMA {quote_identifier(name)}")
    con.execute(f"CREATE TABLE {quote_identifier(name)}.{quote_identifier(name)} AS SELECT NULL::BIGINT AS a")

    found = audit(con, table_of([rule("not_null", "a")], a="BIGINT"), schema=name, name=name)

    assert found.results[0].n_broken == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12))
def test_audit_when_an_allowed_value_is_any_text_then_it_is_compared_as_it_is(con, value):
    con.execute("CREATE OR REPLACE TABLE t AS SELECT ? AS a UNION ALL SELECT ? || 'x'", [value, value])

    found = audit(con, table_of([rule("in_set", "a", values=(value,))], a="VARCHAR"), schema="main", name="t")

    assert found.results[0].n_broken == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pattern=st.from_regex(r"\A[a-c:{}%'\"\\:;.]{0,8}\Z").map(lambda text: f"(?:{''.join(map(escaped, text))})"))
def test_audit_when_a_pattern_is_any_text_then_the_engine_gets_it_as_it_is(con, pattern):
    values = ["", "a", ":", "{}", "a:b", "%s", "'", '"', "\\", ";", ".", "::"]
    con.execute("CREATE OR REPLACE TABLE t AS SELECT unnest(?::VARCHAR[]) AS a", [values])
    expected = con.execute("SELECT count(*) FROM t WHERE NOT regexp_full_match(a, ?)", [pattern]).fetchall()[0][0]

    found = audit(con, table_of([rule("matches", "a", pattern=pattern)], a="VARCHAR"), schema="main", name="t")

    assert found.results[0].n_broken == expected


def escaped(character: str) -> str:
    return character if character.isalnum() or character in ":%;" else "\\" + character


# --- what must not get out --------------------------------------------------------------------------------------------


def test_audit_when_personal_values_break_rules_then_no_result_or_description_holds_them(con):
    table = table_of(
        [
            rule("unique", "a"),
            rule("matches", "a", pattern="[a-z]+"),
            rule("in_set", "a", values=("x",)),
            rule("between", "a", maximum="a"),
            rule("length_between", "a", maximum=1),
            rule("share_between", "a", maximum=0.1, inner=rule("not_in_set", "a", values=("x",))),
        ],
        a="VARCHAR",
    )
    write(con, table, ones("jane.doe@example.org", "jane.doe@example.org", "x"))

    found = audit(con, table, schema="room", name="things")

    assert [result.n_broken for result in found.results] == [2, 2, 2, 3, 2, 1]
    assert "jane" not in repr(found) + describe(table)


def test_audit_when_the_engine_quotes_a_value_in_its_error_then_neither_error_nor_log_repeat_it(con, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    con.execute("CREATE TABLE source AS SELECT 'jane.doe@example.org' AS a")
    con.execute("CREATE VIEW t AS SELECT CAST(a AS BIGINT) AS a FROM source")
    table = table_of([rule("between", "a", minimum=1)], a="BIGINT")

    with pytest.raises(duckdb.ConversionException, match=r"jane\.doe"):
        con.execute("SELECT a FROM t").fetchall()
    with pytest.raises(EngineError) as caught:
        audit(con, table, schema="main", name="t")

    assert "room.things: the rule a_rule_holds could not be checked: ConversionException" in str(caught.value)
    assert "jane" not in str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)
    printed = capsys.readouterr()
    assert "jane" not in caplog.text + printed.out + printed.err


# --- errors -----------------------------------------------------------------------------------------------------------


def test_audit_when_one_rule_cannot_be_run_then_only_that_rule_is_named(con):
    table = table_of(
        [
            Rule("a_is_never_null", "not_null", ("a",)),
            Rule("b_is_never_null", "not_null", ("b",)),
            Rule("a_is_unique", "unique", ("a",)),
            Rule("there_are_rows", "row_count", (), minimum=1),
        ],
        a="BIGINT",
        b="BIGINT",
    )
    con.execute("CREATE TABLE t AS SELECT NULL::BIGINT AS a")
    con.execute("BEGIN")

    with pytest.raises(EngineError) as caught:
        audit(con, table, schema="main", name="t")
    con.execute("ROLLBACK")

    assert [problem.where for problem in caught.value.problems] == ["room.things"]
    assert "b_is_never_null could not be checked: BinderException" in str(caught.value)
    assert "a_is" not in str(caught.value)


def test_audit_when_the_pattern_is_none_then_it_is_an_engine_error_and_the_next_audit_works(con):
    con.execute("CREATE TABLE t AS SELECT 'x' AS a")

    with pytest.raises(EngineError, match="a_rule_holds could not be checked: InvalidInputException"):
        audit(con, table_of([rule("matches", "a", pattern="(")], a="VARCHAR"), schema="main", name="t")

    assert audit(con, table_of([rule("not_null", "a")], a="VARCHAR"), schema="main", name="t").is_kept


def test_audit_when_the_table_is_not_there_then_it_is_an_engine_error(con):
    with pytest.raises(EngineError, match="CatalogException"):
        audit(con, table_of([rule("not_null", "a")], a="BIGINT"), schema="main", name="nothing")


def test_audit_when_the_connection_is_closed_then_it_is_an_engine_error():
    con = duckdb.connect()
    con.close()

    with pytest.raises(EngineError, match="ConnectionException"):
        audit(con, table_of([rule("not_null", "a")], a="BIGINT"), schema="main", name="t")


UNFIT = {
    "a date that is none": (rule("between", "a", minimum="soon"), "DATE", "soon"),
    "a number that is none": (rule("between", "a", minimum="many"), "BIGINT", "many is no number"),
    "numbers as bounds of text": (rule("between", "a", minimum=1), "VARCHAR", "no range of numbers"),
    "no bounds": (rule("between", "a"), "BIGINT", "neither minimum nor maximum"),
    "no bounds of a row count": (rule("row_count"), "BIGINT", "neither minimum nor maximum"),
    "an endless bound": (rule("row_count", minimum=float("inf")), "BIGINT", "no bound"),
    "an unknown column": (rule("not_null", "b"), "BIGINT", "does not have: b"),
    "an unknown column of a key": (rule("unique", "a", "b"), "BIGINT", "does not have: b"),
    "no column": (rule("not_null"), "BIGINT", "none is named"),
    "two columns in a set": (rule("in_set", "a", "a", values=(1,)), "BIGINT", "one column, not 2"),
    "an empty set": (rule("in_set", "a", values=(None,)), "BIGINT", "no value at all"),
    "a truth that is none": (rule("in_set", "a", values=("yes",)), "BOOLEAN", "neither true nor false"),
    "a truth as a number": (rule("in_set", "a", values=(True,)), "BIGINT", "True is no number"),
    "no pattern": (rule("matches", "a"), "VARCHAR", "no pattern"),
    "a list with a pattern": (rule("matches", "a", pattern="x"), "VARCHAR[]", "a list has no pattern"),
    "a share of nothing": (rule("share_between", "a", maximum=1), "BIGINT", "inner rule about rows"),
    "a share of a row count": (
        rule("share_between", maximum=1, inner=rule("row_count", minimum=1)),
        "BIGINT",
        "inner rule",
    ),
}


@pytest.mark.parametrize(("a_rule", "engine_type", "message"), UNFIT.values(), ids=UNFIT.keys())
def test_audit_when_a_rule_does_not_fit_its_column_then_the_contract_is_refused(con, a_rule, engine_type, message):
    with pytest.raises(ContractError, match=message) as caught:
        audit(con, table_of([a_rule], a=engine_type), schema="main", name="t")

    assert caught.value.problems[0].where == "room.things"
    assert "a_rule_holds" in str(caught.value)


def test_audit_when_several_rules_do_not_fit_then_all_are_reported(con):
    table = table_of([rule("not_null", "b"), rule("between", "a", minimum="x"), rule("matches", "a")], a="BIGINT")

    with pytest.raises(ContractError) as caught:
        audit(con, table, schema="main", name="t")

    assert len(caught.value.problems) == 3


def test_broken_condition_when_a_rule_is_not_about_single_rows_then_it_is_refused():
    with pytest.raises(ContractError, match="unique is not about single rows"):
        broken_condition(table_of([], a="BIGINT"), rule("unique", "a"))


def test_audit_when_an_empty_text_is_forbidden_in_a_date_column_then_nothing_can_break_it(con):
    found = audited(con, rule("not_in_set", "a", values=(None, "")), ones("2024-01-01", None), a="DATE")

    assert found.results[0].n_broken == 0


# --- words ------------------------------------------------------------------------------------------------------------


SENTENCES = {
    "not null": (rule("not_null", "a"), "`a` is never null"),
    "unique together": (rule("unique", "a", "b"), "`a`, `b` are unique together"),
    "set": (rule("in_set", "a", values=("x", 1)), "`a` is one of `x`, `1`"),
    "long set": (rule("not_in_set", "a", values=tuple(range(12))), "and 2 more"),
    "range": (rule("between", "a", minimum=0, maximum=9, exclusive_maximum=True), "`a` is at least 0 and less than 9"),
    "length": (rule("length_between", "a", minimum=2, maximum=2), "the length of `a` is exactly 2"),
    "pattern with a pipe": (rule("matches", "a", pattern="x|y"), r"`a` as a whole matches `x\|y`"),
    "row count": (rule("row_count", minimum=0, exclusive_minimum=True), "the number of rows is more than 0"),
    "share": (
        rule("share_between", "a", maximum=0.05, inner=rule("not_null", "a")),
        "the share of rows that break “`a` is never null” is at most 0.05",
    ),
}


@pytest.mark.parametrize(("a_rule", "sentence"), SENTENCES.values(), ids=SENTENCES.keys())
def test_describe_when_a_table_has_rules_then_each_is_a_row_of_a_markdown_table(a_rule, sentence):
    lines = describe(table_of([a_rule], a="VARCHAR")).splitlines()

    assert lines[:2] == ["| rule | what must hold |", "|---|---|"]
    assert lines[2].startswith("| a_rule_holds | ")
    assert sentence in lines[2]
    assert len(lines) == 3


def test_describe_when_a_table_has_no_rules_then_it_says_so():
    assert describe(table_of([], a="VARCHAR")) == "No rules."


# --- canaries: the internals of Great Expectations that the adapter stands on -----------------------------------------


HELP = "Great Expectations has changed: adapt cx_pipeline/core/expectations.py before moving its version. "


def test_adapter_when_great_expectations_is_upgraded_then_its_sql_expectation_is_what_we_extend():
    from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
    from great_expectations.expectations.registry import _registered_metrics

    assert "unexpected_rows_query.row_count" in UnexpectedRowsExpectation.metric_dependencies, HELP
    assert {"unexpected_rows_query.row_count", "table.row_count"} <= set(_registered_metrics), HELP
    assert "_validate" in vars(UnexpectedRowsExpectation), HELP


def test_adapter_when_sqlalchemy_is_upgraded_then_a_dialect_can_be_registered():
    from sqlalchemy.dialects import registry

    assert isinstance(getattr(registry, "impls", None), dict), "SQLAlchemy has changed how dialects are registered."


def test_adapter_when_it_has_run_then_great_expectations_uses_our_connection_and_no_telemetry(con):
    audited(con, rule("not_null", "a"), ones(1), a="BIGINT")
    source = expectations._asset().datasource

    with source.get_execution_engine().get_connection() as connection:
        assert connection.connection.dbapi_connection is expectations._LOAN, HELP + "It has another connection."
        assert connection.dialect.driver == "loan", HELP + "It has another dialect."
    context = expectations._asset().datasource.data_context
    assert context.config.analytics_enabled is False
    assert context.progress_bars["globally"] is False


def test_importing_expectations_when_nothing_is_audited_then_great_expectations_is_not_imported():
    import subprocess
    import sys

    code = "import sys, cx_pipeline.core.expectations; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_audit_when_the_process_ends_then_nothing_is_printed():
    import subprocess
    import sys

    code = """
import duckdb
from cx_pipeline.core.expectations import audit
from cx_pipeline.core.tables import Column, Rule, Table
con = duckdb.connect()
con.execute("CREATE TABLE t AS SELECT 1 AS a")
table = Table("room", "things", "", (Column("a", "integer", "INTEGER"),), (Rule("r", "not_null", ("a",)),))
assert audit(con, table, schema="main", name="t").is_kept
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
