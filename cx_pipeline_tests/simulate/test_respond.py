from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.core.errors import ConfigurationError, CxPipelineError
from cx_pipeline.simulate.company import simulate
from cx_pipeline.simulate.respond import customers_to_persons, respond

SEND_AT = datetime(2026, 7, 1, 18)


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A company with a published plan of two arms for everyone who has a record: the control arm and one offer."""
    out = tmp_path_factory.mktemp("answering") / "company"
    simulate(out, 1_500, 200, 3)
    records = pl.read_parquet(out / "truth" / "records.parquet").drop_nulls("person_id")
    xref = records.select("channel", "record_id", pl.format("c{}", "person_id").alias("customer_id"))
    identifiers = pl.read_parquet(out / "truth" / "identifiers.parquet").filter(pl.col("namespace") == "account")
    by_account = identifiers.select("namespace", "value", pl.format("c{}", "person_id").alias("customer_id"))
    publish(out, "identity", "customer_xref", xref)
    publish(out, "identity", "identifier_xref", by_account)
    customers = xref.select("customer_id").unique().sort("customer_id")
    publish(out, "engagement", "contact_plan", plan_of(customers))
    return out


def plan_of(customers: pl.DataFrame) -> pl.DataFrame:
    number = pl.int_range(pl.len())
    return customers.with_columns(
        pl.lit("plan_july").alias("campaign"),
        pl.when(number % 2 == 0).then(pl.lit("control")).otherwise(pl.lit("offer")).alias("arm"),
        pl.when(number % 4 == 1).then(pl.lit("direct_mail")).otherwise(pl.lit("email")).alias("channel"),
        pl.lit(SEND_AT).alias("send_at"),
        pl.lit("m1").alias("message"),
        pl.when(number % 2 == 1).then(pl.lit("10_percent")).alias("offer"),
        pl.lit("expected margin").alias("reason"),
        pl.lit(1.0).alias("expected_margin"),
        pl.lit(date(2026, 6, 30)).alias("as_of"),
    )


def publish(out: Path, step: str, table: str, frame: pl.DataFrame) -> None:
    folder = out / "published" / "current" / step
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / f"{table}.parquet")


def answers(out: Path, channel: str) -> pl.DataFrame:
    (path,) = (out / "landing" / channel).glob("*-answers*")
    separator, encoding = (";", "iso-8859-1") if channel == "direct_mail" else (",", "utf8")
    if path.name.endswith("parquet"):
        return pl.read_parquet(path)
    return pl.read_csv(path, separator=";" if channel == "store_till" else separator, encoding=encoding)


def files(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_answers_when_written_then_contacts_responses_and_orders_follow_the_plan_and_the_truth(company: Path) -> None:
    before = files(company)
    said = respond(company)
    plan = pl.read_parquet(company / "published/current/engagement/contact_plan.parquet")
    assert said.n_planned == said.n_traced == said.n_contacts == plan.height
    after = files(company)
    assert {name for name in before if before[name] != after[name]} == {"truth/purchases.parquet"}
    contacts = pl.concat(
        [answers(company, name).select("contact_id", "sent_at", "campaign", "arm") for name in ("email", "direct_mail")]
    )
    assert contacts.height == plan.height
    assert set(contacts["campaign"]) == {"plan_july"}
    assert set(contacts["sent_at"]) == {"2026-07-01 18:00:00"}
    told = pl.read_parquet(company / "truth" / "responses.parquet")
    converted = int(told["is_converted"].sum())
    assert converted > 5
    responses = pl.concat(
        [
            answers(company, name).select("action", "arm", "responded_at")
            for name in ("email_responses", "direct_mail_responses")
        ]
    )
    assert responses.filter(pl.col("action") == "convert").height == said.n_orders
    assert said.n_responses == responses.height
    assert set(responses.filter(pl.col("action") == "open")["arm"]) == {"offer"}
    # Who has neither account nor card has no till or shop to order at.
    assert 0.6 * converted < said.n_orders <= converted
    by_arm = dict(told.group_by("arm").agg(pl.col("p_arm").mean()).iter_rows())
    assert by_arm["offer"] > 2 * by_arm["control"] > 0
    assert (told.filter(pl.col("arm") == "control").select((pl.col("p_arm") == pl.col("p_control")).all())).item()
    orders = answers(company, "web_shop_orders")
    assert set(orders["ordered_at"].str.slice(0, 10)) == {"2026-07-01"}
    purchases = pl.read_parquet(company / "truth" / "purchases.parquet").filter(pl.col("at") > SEND_AT)
    assert purchases.height == said.n_orders
    known = pl.read_parquet(company / "truth" / "purchases.parquet")["order_id"]
    assert known.n_unique() == len(known)


def test_answers_when_given_twice_to_the_same_plan_then_nothing_changes(company: Path) -> None:
    respond(company)
    once = files(company)
    respond(company)
    assert files(company) == once


def test_customers_when_traced_then_by_most_records_else_by_identifiers(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    pl.DataFrame(
        {"channel": ["crm"] * 4, "record_id": ["1", "2", "3", "4"], "person_id": [7, 8, 8, None]},
        schema_overrides={"person_id": pl.Int64},
    ).write_parquet(tmp_path / "truth" / "records.parquet")
    pl.DataFrame({"namespace": ["cookie", "account"], "value": ["ck1", "u1"], "person_id": [9, 7]}).write_parquet(
        tmp_path / "truth" / "identifiers.parquet"
    )
    publish(
        tmp_path,
        "identity",
        "customer_xref",
        pl.DataFrame({"channel": ["crm"] * 4, "record_id": ["1", "2", "3", "4"], "customer_id": ["a", "a", "a", "b"]}),
    )
    publish(
        tmp_path,
        "identity",
        "identifier_xref",
        pl.DataFrame({"namespace": ["cookie", "account"], "value": ["ck1", "u1"], "customer_id": ["c", "a"]}),
    )
    assert dict(customers_to_persons(tmp_path).iter_rows()) == {"a": 8, "c": 9}


def test_answers_when_there_is_no_plan_then_the_error_says_to_run_the_night(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no simulated company"):
        respond(tmp_path)
    simulate(tmp_path / "c", 5, 40, 1)
    with pytest.raises(ConfigurationError, match="run the night first"):
        respond(tmp_path / "c")


def test_answers_when_the_plan_is_of_another_company_then_the_error_says_so(company: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "c", 5, 40, 1)
    empty = pl.DataFrame(schema={"channel": pl.String, "record_id": pl.String, "customer_id": pl.String})
    publish(tmp_path / "c", "identity", "customer_xref", empty)
    publish(tmp_path / "c", "identity", "identifier_xref", empty.rename({"channel": "namespace", "record_id": "value"}))
    plan = pl.read_parquet(company / "published/current/engagement/contact_plan.parquet")
    publish(tmp_path / "c", "engagement", "contact_plan", plan.drop("offer"))
    with pytest.raises(CxPipelineError, match="no column `offer`"):
        respond(tmp_path / "c")
    publish(tmp_path / "c", "engagement", "contact_plan", plan)
    with pytest.raises(CxPipelineError, match="can be traced"):
        respond(tmp_path / "c")
    publish(tmp_path / "c", "engagement", "contact_plan", plan.clear())
    assert respond(tmp_path / "c").n_planned == 0
