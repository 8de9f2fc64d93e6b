"""Erasure of people from a whole data directory: one family shares a mailbox and a phone, one of them is erased, then another person."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cx_pipeline_tests.tiny_company import (
    PEOPLE,
    REGISTER,
    comparable,
    contract,
    cx,
    environment,
    personal,
    published,
    write_company,
    write_contract,
)

# Twelve calls of `cx` in processes of their own, five of them whole nights.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

FAMILY = ("Ulrikquist", "Vandabloom", "Wolframpez")
SURNAME = "Familquartz"
MAILBOX = "family@familquartz.example"
PHONE = "+493055512345"
ERASED = ("Ulrikquist", "family-card-0", "1971-07-21", "1971-07-22", "former.ulrik@plantedmail.example", "ulrikquist")
SECOND = PEOPLE[1]
SECOND_VALUES = (SECOND.surname, SECOND.email, SECOND.phone, SECOND.card)
SUPPORT = contract(
    "support",
    "interaction",
    {
        "ticket": {"role": "record.id"},
        "at": {"role": "event.at", "logicalType": "timestamp", "required": True},
        "card": personal("id.loyalty"),
        "mail": personal("contact.email"),
        "said": personal("event.text"),
    },
    {"pillar": "community_private", "mode": "online", "function": "service", "maturity": "medium"},
    {"type": "custom", "delimiter": ";", "encoding": "latin-1"},
)
# Whoever is listed twice in it is two people: the family is not taken for one person, however small the company is.
CLUB = {**REGISTER, "name": "club", "id": "test-club", "schema": [{**REGISTER["schema"][0], "name": "club"}]}
CLUB["schema"][0]["customProperties"] = [
    *REGISTER["schema"][0]["customProperties"],
    {"property": "duplicate_free", "value": True},
    {"property": "tolerated_reject_rate", "value": 0.3},
]


def family_rows() -> pl.DataFrame:
    """One record each, an earlier version of the first with another address, and a broken one of the first."""
    rows = [
        {
            "entry": f"F{i}", "first_name": name, "last_name": SURNAME, "born": f"19{71 + 9 * i}-0{7 - 2 * i}-2{i + 1}",
            "mail": MAILBOX, "phone": PHONE, "street": "Sharedhome Row", "card": f"family-card-{i}", "tier": "gold",
            "changed": "2024-01-20 10:00:00",
        }
        for i, name in enumerate(FAMILY)
    ]  # fmt: skip
    former = {**rows[0], "mail": ERASED[4], "changed": "2023-01-01 10:00:00"}
    broken = {**rows[0], "entry": "F0x", "born": "1971-07-22", "tier": "platinum"}
    return pl.DataFrame([*rows[:1], former, *rows[1:], broken])


def write_family(root: Path) -> None:
    """The family's records, what they told the support in a compressed file of another encoding, and a reviewer's pairs."""
    for document in (SUPPORT, CLUB):
        write_contract(root, document)
        (root / "landing" / document["name"]).mkdir()
    family_rows().write_csv(root / "landing" / "club" / "members.csv")
    text = "ticket;at;card;mail;said\n" + "".join(
        f'T{i};2024-02-1{i} 10:00:00;family-card-{i};{MAILBOX};"{name} sagte:\nGrüße"\n'
        for i, name in enumerate(FAMILY)
    )
    text += f"T9;2024-02-19 10:00:00;;{MAILBOX};nobody in particular\n"
    with gzip.open(root / "landing" / "support" / "a.csv.gz", "wb") as file:
        file.write(text.encode("latin-1"))
    for folder in ("labels", "decisions"):
        (root / folder).mkdir()
        (root / folder / "pairs.csv").write_text(
            "left_channel,left_record_id,right_channel,right_record_id,is_match,decision,decided_by,decided_at\n"
            "club,F0,club,F1,0,cannot-link,me,2024-01-01\nregister,R003,register,R004,0,cannot-link,me,2024-01-01\n"
        )


def found_in(root: Path, values: Sequence[str], skipped: Sequence[str] = ()) -> list[str]:
    """Files and tables of a data directory in which a value stands; .gz unpacked, Parquet and the database read as text."""
    found: list[str] = []
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        name = str(path.relative_to(root))
        if any(name.startswith(part) for part in skipped):
            continue
        data = path.read_bytes()
        if path.suffix == ".gz":
            data += gzip.decompress(data)
        if path.suffix == ".parquet":
            data += pl.read_parquet(path).write_json().encode()
        if path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as con:
                names = con.sql("SELECT table_schema, table_name FROM information_schema.tables").fetchall()
                data += b"".join(con.sql(f'SELECT * FROM "{s}"."{t}"').pl().write_json().encode() for s, t in names)
        found += [f"{name}: {value}" for value in values if value.lower().encode() in data.lower()]
    return found


@dataclass
class Story:
    """What each step left behind.

    Attributes:
        root: the data directory after the last step.
        ended: step -> how it ended.
        tables: step -> published tables after it.
        found: step -> where values of the erased stood after it.
        customers: given name -> customer id before anybody was erased.
    """

    root: Path
    ended: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    tables: dict[str, dict[str, pl.DataFrame]] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)
    customers: dict[str, str] = field(default_factory=dict)

    def step(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.ended[name] = cx(self.root, *arguments, timeout=900)
        self.tables[name] = published(self.root)
        return self.ended[name]


def killed(root: Path, module: str, function: str, after: int) -> int:
    """`cx erase` of the second person in a process that dies without a word after some calls of a function; its exit code."""
    code = f"""
import os, sys
import {module} as module
original, calls = module.{function}, []
def dying(*args, **kwargs):
    calls.append(1)
    done = original(*args, **kwargs)
    if len(calls) >= {after}:
        os.kill(os.getpid(), 9)
    return done
module.{function} = dying
from cx_pipeline.cli import main
sys.argv = ["cx", "erase", "--email", {SECOND.email!r}]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(root),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    root = write_company(tmp_path_factory.mktemp("company"))
    write_family(root)
    story = Story(root)
    originals = root.parent / "originals"
    shutil.copytree(root / "landing", originals)
    story.step("first", "run")
    known = story.tables["first"]
    xref = known["identity.customer_xref"]
    by_record = {row["record_id"]: row["customer_id"] for row in xref.to_dicts()}
    story.customers = {name: by_record[f"F{i}"] for i, name in enumerate(FAMILY)}
    story.found["first"] = found_in(root, ERASED)
    story.step("unclear", "erase", "--email", MAILBOX)
    story.step("erased", "erase", story.customers[FAMILY[0]])
    story.found["erased"] = found_in(root, ERASED)
    story.step("proof", "erase", "--verify")
    for path in sorted(originals.rglob("*")):
        if path.is_file():
            target = root / "landing" / path.relative_to(originals)
            shutil.copy(path, target)
            shutil.copy(path, target.with_name(f"again-{path.name}"))
    story.step("delivered again", "run")
    story.found["delivered again"] = found_in(root, ERASED, ["landing/"])
    story.step("proof after delivery", "erase", "--verify")
    story.step("landing again", "erase")
    story.found["landing again"] = found_in(root, ERASED)
    codes = [
        killed(root, "cx_pipeline.core.erasure", "remove_records", 1),
        killed(root, "cx_pipeline.erasure", "compact", 1),
    ]
    assert codes == [-9, -9]
    story.step("second", "erase")
    story.found["second"] = found_in(root, [*ERASED, *SECOND_VALUES])
    story.step("second proof", "erase", "--verify")
    yield story
    shutil.rmtree(root)
    shutil.rmtree(originals)


def test_the_search_when_nobody_is_erased_then_it_finds_the_values_everywhere(story: Story) -> None:
    places = " ".join(story.found["first"])
    assert story.ended["first"].returncode == 0, story.ended["first"].stdout
    for place in ("landing/club", "landing/support/a.csv.gz", "warehouse/cx.duckdb", "profile/customers.parquet"):
        assert place in places
    for value in ERASED:
        assert value in places


def test_erase_when_several_share_the_address_then_refused_and_nothing_changes(story: Story) -> None:
    ended = story.ended["unclear"]
    assert ended.returncode == 2
    assert "several customers have this email" in ended.stderr
    assert MAILBOX not in ended.stdout + ended.stderr
    assert story.tables["unclear"].keys() == story.tables["first"].keys()


def test_erase_when_done_then_no_value_is_found_in_any_byte_of_the_data_directory(story: Story) -> None:
    ended = story.ended["erased"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert story.found["erased"] == []
    assert not any(value in ended.stdout + ended.stderr for value in ERASED)
    erasures = story.tables["erased"]["identity.erasures"]
    assert erasures.select("customer_id", "status").rows() == [(story.customers[FAMILY[0]], "done")]


def test_erase_when_one_of_a_family_goes_then_the_others_and_all_totals_of_others_stay(story: Story) -> None:
    before, after = story.tables["first"], story.tables["erased"]
    gone = story.customers[FAMILY[0]]
    assert len(set(story.customers.values())) == 3
    for name in ("profile.customers", "identity.customer_xref"):
        expected = before[name].filter(pl.col("customer_id") != gone)
        shown = [
            "customer_id",
            *[c for c in ("full_name", "given_name", "email", "phone", "first_seen_at") if c in expected.columns],
        ]
        assert_frame_equal(expected.select(shown).sort(shown), after[name].select(shown).sort(shown))
    assert_frame_equal(comparable(before["staging.orders"]), comparable(after["staging.orders"]))
    # What was said from the family's mailbox by nobody in particular is not hers.
    assert before["staging.interactions"]["record_id"].sort().to_list() == ["T0", "T1", "T2", "T9"]
    assert after["staging.interactions"]["record_id"].sort().to_list() == ["T1", "T2", "T9"]
    assert "Grüße" in after["staging.interactions"].filter(pl.col("record_id") == "T1")["event_text"][0]


def test_erase_when_reviewers_had_decided_then_their_pairs_with_the_person_go(story: Story) -> None:
    for folder in ("labels", "decisions"):
        text = (story.root / folder / "pairs.csv").read_text()
        assert "F0" not in text
        assert "R003" in text


def test_proof_when_all_is_gone_then_it_holds(story: Story) -> None:
    for step in ("proof", "proof after delivery", "second proof"):
        ended = story.ended[step]
        assert ended.returncode == 0, f"{step}: {ended.stdout}{ended.stderr}"
        assert "proven" in ended.stdout
    assert "held back" in story.ended["proof after delivery"].stdout


def test_erase_when_the_same_extracts_come_again_then_the_person_stays_out_and_the_night_passes(story: Story) -> None:
    ended = story.ended["delivered again"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert story.found["delivered again"] == []
    tables = story.tables["delivered again"]
    assert story.customers[FAMILY[0]] not in tables["profile.customers"]["customer_id"].to_list()
    manifest = tables["staging.load_manifest"]
    together = manifest["rows_staged"] + manifest["rows_rejected"] + manifest["rows_superseded"]
    assert together.to_list() == manifest["rows_read"].to_list()
    assert_frame_equal(comparable(story.tables["erased"]["staging.parties"]), comparable(tables["staging.parties"]))
    # Called again it takes them out of the new files too.
    assert story.ended["landing again"].returncode == 0
    assert story.found["landing again"] == []


def test_erase_when_killed_twice_in_the_middle_then_called_again_it_gets_to_the_same_end(story: Story) -> None:
    ended = story.ended["second"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert story.found["second"] == []
    erasures = story.tables["second"]["identity.erasures"]
    assert erasures["status"].to_list() == ["done", "done"]
    assert story.tables["second"]["profile.customers"].height == story.tables["first"]["profile.customers"].height - 2


def test_proof_when_a_value_is_put_back_then_it_fails_and_says_where(story: Story) -> None:
    run = (story.root / "published" / "current").resolve()
    path = run / "identity" / "customer_xref.parquet"
    before = path.read_bytes()
    table = pl.read_parquet(path)
    back = table.head(1).with_columns(pl.lit("club").alias("channel"), pl.lit("F0").alias("record_id"))
    pl.concat([table, back]).write_parquet(path)
    note = story.root / "outbound" / "list.txt"
    note.parent.mkdir(exist_ok=True)
    note.write_text(f"to: <{SECOND.email.upper()}>")
    ended = cx(story.root, "erase", "--verify", timeout=900)
    path.write_bytes(before)
    note.unlink()
    assert ended.returncode == 1
    assert "identity/customer_xref.parquet" in ended.stderr
    assert "outbound/list.txt" in ended.stderr
    assert SECOND.email not in ended.stderr.lower()


def test_the_contract_of_the_register_when_read_here_then_the_family_fits_it() -> None:
    assert family_rows().columns == [prop["name"] for prop in REGISTER["schema"][0]["properties"]]
