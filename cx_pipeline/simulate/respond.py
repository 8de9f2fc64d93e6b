"""Answers to the pipeline's own contact plan: what the latent types make of it, as extracts for the next night.

Belongs here: from customers of a run back to persons, responses, their extracts. Does not belong here: the company's own campaigns
(`campaigns.py`, whose functions decide here too).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from cx_pipeline.core.errors import ConfigurationError, CxPipelineError, Problem
from cx_pipeline.simulate import population as people
from cx_pipeline.simulate.campaigns import (
    addressee,
    chance_with,
    chance_without,
    hour_factor,
    open_and_click,
    write_responses,
)
from cx_pipeline.simulate.company import SEED_FILE, TRUTH, build_world, is_simulated
from cx_pipeline.simulate.landing import Landing
from cx_pipeline.simulate.latent import CONTACT_CHANNELS
from cx_pipeline.simulate.parameters import CATEGORIES, PLAN, Arm
from cx_pipeline.simulate.purchases import CAMPAIGN, Written, make_orders, products, write_orders
from cx_pipeline.simulate.randomness import Flags, Floats, Indices
from cx_pipeline.simulate.truth import write_truth
from cx_pipeline.simulate.window import Month, Window
from cx_pipeline.simulate.world import World, gather

PLAN_FILE = "published/current/engagement/contact_plan.parquet"
_XREFS = ("published/current/identity/customer_xref.parquet", "published/current/identity/identifier_xref.parquet")
_COLUMNS = ("customer_id", "campaign", "arm", "channel", "send_at", "offer")
_MORE_DAYS = 3_660
_SENT_THROUGH = ("email", "direct_mail")


@dataclass(frozen=True)
class Answers:
    """What became of a plan.

    Attributes:
        n_planned: rows of the plan.
        n_traced: of them, rows whose customer could be traced to a person.
        n_contacts, n_responses, n_orders: rows written.
        label: part of the new files' names.
    """

    n_planned: int
    n_traced: int
    n_contacts: int
    n_responses: int
    n_orders: int
    label: str


def respond(out: Path) -> Answers:
    """Write contacts, responses and orders that follow from the last published contact plan, and add them to the truth.

    Doing it twice with the same plan writes the same files.

    Args:
        out: a simulated company on which a night has run.

    Raises:
        ConfigurationError: no simulated company, or no plan published yet.
        CxPipelineError: the plan lacks columns, or names no customer that can be traced.
    """
    plan = _plan(out)
    facts = json.loads((out / TRUTH / SEED_FILE).read_text(encoding="utf-8"))
    traced = plan.join(customers_to_persons(out), on="customer_id", how="inner", maintain_order="left")
    if traced.is_empty():
        if plan.is_empty():
            return Answers(0, 0, 0, 0, 0, "")
        raise CxPipelineError(
            Problem(
                "no customer of the plan can be traced to a person of the truth",
                PLAN_FILE,
                plan.height,
                remedy="is the plan of a run on this very company?",
            )
        )
    label = f"{traced['send_at'].dt.strftime('%Y-%m-%d').sort()[0]}-answers"
    world = _later_world(out, facts, label)
    contacts = _draw(world, traced)
    n_contacts = _send(world, contacts)
    written = _order(world, contacts, label)
    n_responses = _report(world, contacts, written)
    world.landing.flush()
    _remember(world, out, contacts, label)
    return Answers(plan.height, traced.height, n_contacts, n_responses, len(written.orders), label)


def _plan(out: Path) -> pl.DataFrame:
    if not is_simulated(out):
        raise ConfigurationError(
            Problem("here is no simulated company", str(out), remedy="`cx simulate OUT_DIR` without --respond first")
        )
    path = out / PLAN_FILE
    missing = [name for name in (PLAN_FILE, *_XREFS) if not (out / name).is_file()]
    if missing:
        raise ConfigurationError(
            Problem(
                "no contact plan has been published yet",
                missing[0],
                remedy=f"run the night first: CX_DATA_DIR={out} cx run",
            )
        )
    plan = pl.read_parquet(path)
    if lacking := [name for name in _COLUMNS if name not in plan.columns]:
        raise CxPipelineError(Problem(f"the plan has no column `{lacking[0]}`", PLAN_FILE, len(lacking)))
    return (
        plan.select(_COLUMNS)
        .with_columns(pl.col("send_at").cast(pl.Datetime("us")))
        .drop_nulls(["customer_id", "send_at"])
        .sort("send_at", "customer_id", "campaign", "arm")
    )


def customers_to_persons(out: Path) -> pl.DataFrame:
    """customer_id, person_id: who most of a customer's records are about; where it has none, whose most of its identifiers are.

    A customer of records of two people counts as the one with more of them, at a tie the one with the lower person_id.
    """
    records = pl.read_parquet(out / TRUTH / "records.parquet", columns=["channel", "record_id", "person_id"])
    by_record = (
        pl.read_parquet(out / _XREFS[0], columns=["channel", "record_id", "customer_id"])
        .join(records.drop_nulls("person_id"), on=["channel", "record_id"])
        .group_by("customer_id", "person_id")
        .len()
        .with_columns(pl.lit(0).alias("rank"))
    )
    identifiers = pl.read_parquet(out / TRUTH / "identifiers.parquet", columns=["namespace", "value", "person_id"])
    by_identifier = (
        pl.read_parquet(out / _XREFS[1], columns=["namespace", "value", "customer_id"])
        .join(identifiers, on=["namespace", "value"])
        .group_by("customer_id", "person_id")
        .len()
        .with_columns(pl.lit(1).alias("rank"))
    )
    return (
        pl.concat([by_record, by_identifier])
        .sort("customer_id", "rank", -pl.col("len").cast(pl.Int64), "person_id")
        .unique("customer_id", keep="first", maintain_order=True)
        .select("customer_id", "person_id")
    )


def _later_world(out: Path, facts: dict[str, int], label: str) -> World:
    """The same people with the same types, after the end of the simulated window."""
    persons = pl.read_parquet(out / TRUTH / "persons.parquet")
    identifiers = pl.read_parquet(out / TRUTH / "identifiers.parquet")
    records = pl.read_parquet(out / TRUTH / "records.parquet")
    world = build_world(out, persons, identifiers, records, int(facts["days"]), int(facts["seed"]))
    end: date = people.END.date() + timedelta(days=_MORE_DAYS)
    world.window = Window(end, int(facts["days"]) + _MORE_DAYS)
    world.landing = Landing(out, world.seed, world.latent.n, tuple(m.label for m in world.window.months), label)
    world.series = label.replace("-answers", "").replace("-", "") + "-"
    return world


@dataclass(frozen=True)
class _Contacts:
    """The traced rows of a plan, one element each, and what follows.

    Attributes:
        rows: campaign, arm, offer, channel (as planned), send_at.
        person, sent_at: who and when.
        through: index into _SENT_THROUGH.
        is_control: gets nothing.
        without, chance: P(order) without the contact and as planned.
        orders_at: time of the order; NaN for none.
    """

    rows: pl.DataFrame
    person: Indices
    sent_at: Floats
    through: Indices
    is_control: Flags
    without: Floats
    chance: Floats
    orders_at: Floats


def _draw(world: World, traced: pl.DataFrame) -> _Contacts:
    """Who orders on the day, from potential outcomes."""
    latent, rng = world.latent, world.rng(f"respond.{world.series}")
    persons = traced["person_id"].to_numpy()
    sent_at = world.window.day_numbers(traced["send_at"])
    arms = traced["arm"].fill_null("").str.to_lowercase()
    is_control = arms.is_in(list(PLAN.control_arms)).to_numpy()
    planned = traced["channel"].fill_null("email").to_list()
    through = np.array([0 if _contact_channel(name) != "direct_mail" else 1 for name in planned], dtype=np.int64)
    # Who has no mailbox gets a letter.
    through = np.where((through == 0) & ~latent.reach.email[persons], 1, through)
    without = chance_without(latent, persons, sent_at, PLAN.base_rate)
    has_offer = traced["offer"].is_not_null().to_numpy()
    chance = np.zeros(len(persons))
    for name in sorted({_contact_channel(name) for name in planned}):
        for scales in (False, True):
            own = np.array([_contact_channel(other) == name for other in planned]) & (has_offer == scales)
            arm = Arm("", 1.0, PLAN.effect, name, scales_with_promo=scales)
            chance[own] = chance_with(latent, persons[own], without[own], arm)
    gain = (chance - without) * hour_factor(latent, persons, sent_at) * _category_fit(world, persons, traced["offer"])
    chance = np.where(is_control, without, np.clip(without + gain, 0.0, 0.9))
    left = np.minimum(np.floor(sent_at) + 0.999 - sent_at, 0.8)
    orders_at = np.where(
        rng.random(len(persons)) < chance, sent_at + left * rng.uniform(0.1, 1.0, len(persons)), np.nan
    )
    return _Contacts(traced, persons, sent_at, through, is_control, without, chance, orders_at)


def _contact_channel(name: str) -> str:
    """Which way of being contacted a channel of the plan is: by its name, e-mail where it says nothing known."""
    text = name.lower()
    if "direct" in text or "letter" in text or "post" in text:
        return "direct_mail"
    if "call" in text or "phone" in text:
        return "call_centre"
    found = [channel for channel in CONTACT_CHANNELS if channel in text or ("app" in text and channel == "mobile_app")]
    return found[0] if found else "email"


def _category_fit(world: World, persons: Indices, offers: pl.Series) -> Floats:
    fit = np.ones(len(persons))
    low, high = PLAN.category_fit
    texts = offers.fill_null("").str.to_lowercase()
    for i, category in enumerate(CATEGORIES):
        named = texts.str.contains(category.name, literal=True).to_numpy()
        taste = world.latent.tastes[:, i]
        fit[named] = np.clip(taste[persons[named]] / taste.mean(), low, high)
    return fit


def _send(world: World, contacts: _Contacts) -> int:
    """Contacts of both ways of sending, opens and clicks of mails."""
    rng = world.rng(f"respond.send.{world.series}")
    n_contacts = 0
    for code, channel in enumerate(_SENT_THROUGH):
        chosen = np.flatnonzero(contacts.through == code)
        rows, persons, sent_at = contacts.rows[chosen], contacts.person[chosen], contacts.sent_at[chosen]
        frame = pl.DataFrame(
            {
                "contact_id": world.numbers("E" if channel == "email" else "DM", len(chosen)),
                "sent_at": rows["send_at"],
                **addressee(world, channel, persons, rng),
                "campaign": rows["campaign"].cast(pl.String),
                "arm": rows["arm"].cast(pl.String),
                "offer": rows["offer"].cast(pl.String),
                "message": rows["campaign"].cast(pl.String),
            }
        )
        world.write(channel, frame, sent_at)
        n_contacts += frame.height
        if channel == "email":
            is_sent = ~contacts.is_control[chosen]
            sure = np.isfinite(contacts.orders_at[chosen])[is_sent]
            open_and_click(
                world, persons[is_sent], sent_at[is_sent], sure,
                frame["campaign"].filter(pl.Series(is_sent)), frame["arm"].filter(pl.Series(is_sent)), rng,
            )  # fmt: skip
    return n_contacts


def _order(world: World, contacts: _Contacts, label: str) -> Written:
    """The orders, with their lines, in the extracts of web shop and tills."""
    who = np.flatnonzero(np.isfinite(contacts.orders_at))
    persons = contacts.person[who]
    is_online = world.rng(f"respond.side.{world.series}").random(len(who)) >= world.latent.offline_share[persons]
    orders = make_orders(persons, contacts.orders_at[who], is_online, CAMPAIGN, reference=who)
    number = int(label[5:7])
    month = Month(world.window.months[-1].label, 0, world.window.days, number)
    return write_orders(world, orders, month, products(world.seed), with_returns=False)


def _report(world: World, contacts: _Contacts, written: Written) -> int:
    """Rows of conversions, control arms included; returns the number of all responses."""
    rng = world.rng(f"respond.report.{world.series}")
    rows = written.orders.reference
    for code, channel in enumerate(("email_responses", "direct_mail_responses")):
        chosen = np.flatnonzero(contacts.through[rows] == code)
        own = contacts.rows[rows[chosen]]
        write_responses(
            world, channel, written.orders.person[chosen], written.orders.at[chosen],
            own["campaign"].cast(pl.String), own["arm"].cast(pl.String), "convert", written.amount[chosen], rng,
        )  # fmt: skip
    monthly = world.landing.monthly
    return int(sum(monthly[name].sum() for name in ("email_responses", "direct_mail_responses") if name in monthly))


def _remember(world: World, out: Path, contacts: _Contacts, label: str) -> None:
    """Add responses and orders to the truth, in place of those of an earlier answer to the same plan."""
    responses = contacts.rows.select(
        pl.lit(label).alias("label"),
        pl.col("campaign").cast(pl.String),
        pl.col("arm").cast(pl.String),
        gather(_SENT_THROUGH, contacts.through, "channel"),
        "person_id",
        pl.col("send_at").alias("sent_at"),
        pl.Series("p_control", contacts.without),
        pl.Series("p_arm", contacts.chance),
        pl.Series("is_converted", np.isfinite(contacts.orders_at)),
    )
    _replace_rows(out, "responses", responses, pl.col("label") == label)
    is_stale = pl.col("order_id").str.contains(world.series, literal=True)
    _replace_rows(out, "purchases", pl.concat(world.truth["purchases"]), is_stale)


def _replace_rows(out: Path, table: str, frame: pl.DataFrame, stale: pl.Expr) -> None:
    path = out / TRUTH / f"{table}.parquet"
    if path.is_file():
        frame = pl.concat([pl.read_parquet(path).filter(~stale), frame])
    write_truth(out / TRUTH, table, frame)
