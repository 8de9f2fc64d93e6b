from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from cx_pipeline import cli
from cx_pipeline.core.progress import Progress
from cx_pipeline.core.settings import DataDirectory
from cx_pipeline_tests.identity.nights import Sources
from cx_pipeline_tests.tiny_company import PLANTED, cx, environment, register_rows, write_company


@dataclass(frozen=True)
class Said:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    def has_no_traceback(self) -> bool:
        return "Traceback" not in self.out + self.err

    def leaks(self) -> list[str]:
        return [value for value in PLANTED if value.lower() in (self.out + self.err).lower()]


Command = Callable[..., Said]


@pytest.fixture
def company(tmp_path: Path) -> Path:
    return write_company(tmp_path / "company")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`cx` in this process, for what is said before anything is computed."""

    def run(root: Path, *arguments: str, **variables: str) -> Said:
        for name in [name for name in os.environ if name.startswith("CX_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("DAGSTER_HOME", str(root / ".dagster"))
        for name, value in {"CX_DATA_DIR": str(root), **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["cx", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def no_channels(root: Path) -> None:
    for path in (root / "channels").iterdir():
        path.unlink()


def broken_yaml(root: Path) -> None:
    (root / "channels" / "shop.yaml").write_text("a: [b\n c", encoding="utf-8")


def wrong_kind(root: Path) -> None:
    replace(root / "channels" / "shop.yaml", "value: order_line", "value: orderline")


def wrong_role(root: Path) -> None:
    replace(root / "channels" / "newsletter.yaml", "value: campaign.sent_at", "value: campaign.sentat")


def broken_standard(root: Path) -> None:
    replace(root / "channels" / "shop.yaml", "primaryKey", "primarykey")


def unknown_setting(root: Path) -> None:
    (root / "settings.yaml").write_text("staging: {tolerated_rejectrate: 0.1}\n", encoding="utf-8")


def unknown_section(root: Path) -> None:
    (root / "settings.yaml").write_text("stagging: {tolerated_reject_rate: 0.1}\n", encoding="utf-8")


def setting_of_wrong_type(root: Path) -> None:
    (root / "settings.yaml").write_text("staging: {tolerated_reject_rate: much}\n", encoding="utf-8")


def unknown_time_zone(root: Path) -> None:
    (root / "settings.yaml").write_text("company: {time_zone: Berlin}\n", encoding="utf-8")


def unreadable_settings(root: Path) -> None:
    (root / "settings.yaml").write_text("a: [", encoding="utf-8")


def missing_column(root: Path) -> None:
    replace(root / "landing" / "register" / "2024-03-01.csv", "entry,", "entree,")


def empty_key(root: Path) -> None:
    (root / "warehouse").mkdir()
    (root / "warehouse" / "hash.key").touch()


CONFIGURATION_FAULTS = [
    pytest.param(no_channels, ["there are no channels", "CX_DATA_DIR"], id="no channels"),
    pytest.param(broken_yaml, ["channels/shop.yaml", "line 2", "not readable as YAML"], id="broken YAML"),
    pytest.param(wrong_kind, ["channels/shop.yaml", "`orderline`", "did you mean `order_line`?"], id="wrong kind"),
    pytest.param(
        wrong_role,
        [
            "channels/newsletter.yaml",
            "schema[0].properties[2]",
            "`campaign.sentat`",
            "did you mean `campaign.sent_at`?",
        ],
        id="wrong role",
    ),
    pytest.param(
        broken_standard, ["channels/shop.yaml", "`primarykey`", "did you mean `primaryKey`?"], id="breaks the standard"
    ),
    pytest.param(
        unknown_setting,
        ["settings.yaml", "tolerated_rejectrate", "did you mean `tolerated_reject_rate`?"],
        id="unknown setting",
    ),
    pytest.param(unknown_section, ["settings.yaml", "stagging", "did you mean `staging`?"], id="unknown section"),
    pytest.param(
        setting_of_wrong_type, ["settings.yaml", "staging.tolerated_reject_rate", "float"], id="setting of wrong type"
    ),
    pytest.param(unknown_time_zone, ["settings.yaml", "company.time_zone", "`Berlin`"], id="unknown time zone"),
    pytest.param(unreadable_settings, ["settings.yaml", "line 1", "not readable as YAML"], id="unreadable settings"),
    pytest.param(
        missing_column, ["landing/register", "`entry`", "missing from every file"], id="required column nowhere"
    ),
]


@pytest.mark.parametrize("subcommand", ["run", "validate"])
@pytest.mark.parametrize(("spoil", "words"), CONFIGURATION_FAULTS)
def test_command_when_configuration_is_wrong_then_says_where_and_writes_nothing(
    company: Path, command: Command, subcommand: str, spoil: Callable[[Path], None], words: list[str]
) -> None:
    spoil(company)
    before = tree(company)
    said = command(company, subcommand)
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert [word for word in words if word not in said.err] == []
    assert said.has_no_traceback()
    assert said.leaks() == []
    assert tree(company) == before


def test_run_when_several_contracts_are_wrong_then_all_are_named_at_once(company: Path, command: Command) -> None:
    wrong_role(company)
    broken_yaml(company)
    said = command(company, "run")
    assert said.code == 2
    assert "channels/shop.yaml" in said.err
    assert "channels/newsletter.yaml" in said.err


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        pytest.param({"CX_AS_OF": "tomorrow"}, ["CX_AS_OF", "`tomorrow` is no date", "2026-01-31"], id="as of"),
        pytest.param({"CX_ENGINE": "duckdbb"}, ["CX_ENGINE", "did you mean `duckdb`?"], id="engine"),
        pytest.param({"CX_THREADS": "zero"}, ["CX_THREADS", "`zero`"], id="threads"),
        pytest.param({"CX_MEMORY_LIMIT": "lots"}, ["CX_MEMORY_LIMIT", "`lots`", "4GB"], id="memory"),
        pytest.param({"CX_DATA_DIR": "/nowhere/at/all"}, ["/nowhere/at/all", "no such data directory"], id="directory"),
    ],
)
def test_run_when_an_environment_variable_is_wrong_then_it_is_named(
    company: Path, command: Command, variables: dict[str, str], words: list[str]
) -> None:
    before = tree(company)
    said = command(company, "run", **variables)
    assert said.code == 2
    assert [word for word in words if word not in said.err] == []
    assert tree(company) == before


def test_run_when_the_date_is_none_then_says_how_to_write_it(company: Path, command: Command) -> None:
    said = command(company, "run", "--as-of", "2024-13-01")
    assert said == Said(2, "", "error: --as-of: `2024-13-01` is no date -> write it as 2026-01-31\n")


def test_run_when_the_key_of_hashes_is_empty_then_nothing_is_hashed_with_it(company: Path, command: Command) -> None:
    empty_key(company)
    said = command(company, "run")
    assert said.code == 2
    assert "warehouse/hash.key" in said.err


@pytest.mark.parametrize("arguments", [["run", "--bogus"], ["bogus"], ["show"]], ids=["option", "command", "argument"])
def test_command_when_used_wrongly_then_plain_words_without_boxes(
    company: Path, command: Command, arguments: list[str]
) -> None:
    said = command(company, *arguments)
    assert said.code == 2
    assert "Error: " in said.err
    assert not set("╭│╰─") & set(said.err)


def test_help_when_it_is_no_terminal_then_no_line_is_wrapped(company: Path, command: Command) -> None:
    said = command(company, "run", "--help")
    assert said.code == 0
    assert any(
        line.strip().startswith("--full-refresh") and line.endswith("forgetting what was staged.")
        for line in said.out.splitlines()
    )


# --- validate ---------------------------------------------------------------------------------------------------------


def test_validate_when_all_is_well_then_counts_and_no_change(company: Path, command: Command) -> None:
    before = tree(company)
    said = command(company, "validate")
    assert said == Said(
        0, "3 contracts and the settings are good; 4 files looked at, 0 with something to see\n", ""
    )  # fmt: skip
    assert tree(company) == before


def test_validate_when_files_have_something_to_see_then_each_is_named_without_values(
    company: Path, command: Command
) -> None:
    landing = company / "landing"
    replace(landing / "register" / "2024-03-01.csv", ",gold,", ",platinum,")
    replace(landing / "shop" / "late.csv", "bought_at", "at")
    (landing / "regster").mkdir()
    (landing / "newsletter" / "spring.jsonl").unlink()
    said = command(company, "validate")
    assert said.code == 0
    for line in (
        "landing/register/2024-03-01.csv: 5 of the first 15 rows break the contract: tier_is_an_allowed_value (5)",
        "landing/shop/late.csv: columns missing: bought_at",
        "landing/shop/late.csv: columns not in the contract: at",
        "landing/regster: no contract channels/regster.yaml, its files are not read",
        "landing/newsletter: no files, the channel is empty",
    ):
        assert line in said.out.splitlines()
    assert said.leaks() == []


def test_validate_when_files_cannot_be_read_then_each_is_named_and_it_fails(company: Path, command: Command) -> None:
    parquet = company / "landing" / "shop" / "february.parquet"
    parquet.write_bytes(parquet.read_bytes()[:300])
    (company / "landing" / "register" / "readme.txt").write_text("hello")
    said = command(company, "validate")
    assert said.code == 1
    assert "landing/shop/february.parquet: refused: " in said.out
    assert "landing/register/readme.txt: refused: " in said.out
    assert "(2 of them)" in said.err
    assert said.has_no_traceback()


def drifted(company: Path) -> None:
    """A newer extract with a renamed and a new column, and a folder that no contract reads."""
    newer = register_rows().rename({"phone": "telephone"}).with_columns(pl.col("mail").alias("second"))
    newer.write_csv(company / "landing" / "register" / "2024-04-01.csv")
    (company / "landing" / "visitors").mkdir()
    register_rows().write_csv(company / "landing" / "visitors" / "a.csv")


def test_propose_when_contracts_fit_then_there_is_nothing_to_propose(company: Path, command: Command) -> None:
    said = command(company, "validate", "--propose")
    assert said.code == 0
    assert "every contract fits what lies in landing: nothing to propose" in said.out


def test_propose_when_files_have_drifted_then_the_change_is_shown_without_values_and_nothing_is_written(
    company: Path, command: Command
) -> None:
    drifted(company)
    before = tree(company)
    said = command(company, "validate", "--propose")
    assert said.code == 0
    assert "register: renamed column `phone`, in 1 of the newest files: name it telephone" in said.out
    assert "-  - name: phone" in said.out
    assert "+  - {name: second, logicalType: string, classification: personal" in said.out
    assert "+++ channels/visitors.yaml" in said.out
    assert said.leaks() == []
    assert tree(company) == before


def test_propose_when_a_folder_is_given_then_usable_contracts_are_written_there_only(
    company: Path, command: Command, tmp_path: Path
) -> None:
    drifted(company)
    before = tree(company)
    said = command(company, "validate", "--propose", "--write", str(tmp_path / "proposed"))
    assert said.code == 0
    assert tree(company) == before
    assert sorted(path.name for path in (tmp_path / "proposed").iterdir()) == ["register.yaml", "visitors.yaml"]
    for path in (tmp_path / "proposed").iterdir():
        shutil.copy(path, company / "channels")
    again = command(company, "validate", "--propose")
    assert again.code == 0
    assert "landing/visitors: no contract" not in again.out


def test_propose_when_a_folder_is_given_without_it_then_it_is_wrong_usage(company: Path, command: Command) -> None:
    said = command(company, "validate", "--write", "anywhere")
    assert said.code == 2
    assert "--propose" in said.err


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_when_nothing_is_published_then_says_to_run_first(company: Path, command: Command) -> None:
    said = command(company, "show", "C1")
    assert said == Said(2, "", "error: published: no snapshot has been published yet -> `cx run` first\n")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        pytest.param("X", ["there is no customer `X`"], id="unknown"),
        pytest.param("C", ["several customers begin with `C`", "C1, C2", "whole customer_id"], id="ambiguous"),
    ],
)
def test_show_when_no_single_customer_is_meant_then_says_so(
    company: Path, command: Command, wanted: str, words: list[str]
) -> None:
    folder = company / "published" / "run" / "profile"
    folder.mkdir(parents=True)
    pl.DataFrame({"customer_id": ["C1", "C2"]}).write_parquet(folder / "customers.parquet")
    (company / "published" / "CURRENT_RUN").write_text("run\n")
    said = command(company, "show", wanted)
    assert said.code == 2
    assert [word for word in words if word not in said.err] == []


def test_show_when_an_absorbed_id_is_given_then_the_heir_is_shown_and_named(
    company: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = company / "published" / "run"
    for step in ("profile", "identity"):
        (run / step).mkdir(parents=True)
    pl.DataFrame({"customer_id": ["C1", "C2"]}).write_parquet(run / "profile" / "customers.parquet")
    pl.DataFrame({"alias": ["C0"], "customer_id": ["C2"]}).write_parquet(run / "identity" / "aliases.parquet")
    (company / "published" / "CURRENT_RUN").write_text("run\n")
    shown: list[str] = []
    monkeypatch.setattr("cx_pipeline.profile.card.customer_card", lambda _, customer_id: shown.append(customer_id))
    monkeypatch.setattr(cli, "_print_card", lambda *_: None)
    said = command(company, "show", "C0")
    assert (said.code, shown) == (0, ["C2"])
    assert said.out == "C0 was absorbed: it stands for C2 now\n"


# --- explain and review ------------------------------------------------------------------------------------------------


@pytest.fixture
def resolved(company: Path) -> Path:
    """Published: a and b are one, c was refused; staging knows nothing of them."""
    parties = [{"record_id": record, "given_name": "anna"} for record in "abc"]
    night = Sources(parties=parties, scores={("a", "b"): 9.0, ("b", "c"): 1.0, ("a", "c"): -9.0}).night()
    folder = company / "published" / "run" / "identity"
    folder.mkdir(parents=True)
    for name, table in night.items():
        table.write_parquet(folder / f"{name}.parquet")
    (company / "published" / "CURRENT_RUN").write_text("run\n")
    return company


def test_explain_when_a_record_is_given_then_its_customers_evidence_is_told_without_opening_the_warehouse(
    resolved: Path, command: Command
) -> None:
    said = command(resolved, "explain", "crm:a")
    assert said.code == 0
    assert "crm:a - crm:b  [probabilistic: similarity +9.00 bits]" in said.out
    assert "outvoted" in said.out
    assert not (resolved / "warehouse" / "cx.duckdb").exists()


def test_explain_when_two_records_are_not_one_then_says_why_before_it_needs_the_warehouse(
    resolved: Path, command: Command
) -> None:
    said = command(resolved, "explain", "crm:b", "crm:c")
    assert "are two customers" in said.out
    assert "crm:b - crm:c  [probabilistic: similarity +1.00 bits]: refused, outvoted" in said.out
    assert (said.code, "no warehouse" in said.err) == (2, True)


def test_explain_when_another_process_has_the_warehouse_then_says_so(resolved: Path, command: Command) -> None:
    path = resolved / "warehouse" / "cx.duckdb"
    path.parent.mkdir(exist_ok=True)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = command(resolved, "explain", "crm:b", "crm:c")
    finally:
        holder.communicate()
    assert said.code == 1
    assert "has the database open" in said.err


def test_review_when_a_verdict_is_imported_then_it_stands_among_the_decisions(resolved: Path, command: Command) -> None:
    header = "left_channel,left_record_id,right_channel,right_record_id,decision,decided_by,decided_at\n"
    (resolved / "queue.csv").write_text(f"{header}crm,a,crm,c,cannot_link,ada,2024-01-02\ncrm,b,crm,c,,,\n")
    said = command(resolved, "review", "import", str(resolved / "queue.csv"))
    assert said == Said(0, "1 verdicts added, 0 were known, 1 pairs are open\n", "")
    assert "crm,a,crm,c,cannot_link,ada," in (resolved / "decisions" / "decisions.csv").read_text()


def test_review_when_no_night_has_run_then_there_is_nothing_to_export(company: Path, command: Command) -> None:
    said = command(company, "review", "export")
    assert (said.code, "no night has run yet" in said.err) == (2, True)


# --- what a run says --------------------------------------------------------------------------------------------------


def shown(events: list[Progress], statements: dict[str, tuple[bool, str]] | None = None) -> tuple[cli._Display, str]:
    out = StringIO()
    display = cli._Display(Console(file=out, width=10_000, soft_wrap=True), statements or {})
    with display:
        for event in events:
            display(event)
    return display, out.getvalue()


def summary(root: Path, display: cli._Display, outcome: cli._Outcome) -> str:
    out = StringIO()
    cli._summary(Console(file=out, width=10_000, soft_wrap=True), DataDirectory(root), display, outcome)
    return out.getvalue()


def test_summary_when_all_went_well_then_what_was_built_and_where_it_is(tmp_path: Path) -> None:
    display, lines = shown(
        [
            Progress("started", "staging.orders"),
            Progress("written", "staging.orders", 1200, 0.5),
            Progress("written", "staging.channel_shop_rejected", 3, 0.5),
            Progress("kept", "staging.orders: sums", 0, 0.1),
        ]
    )
    assert "staging.orders" in lines
    assert "1,200 rows" in lines
    text = summary(tmp_path, display, cli._Outcome(True, "0123456789", [], 10.0, 6.0, None))
    assert "2 tables with 1,203 rows, 3 checks kept, in 10.0 s: 6.0 s to load, 1.0 s for tables" in text
    assert "rejected:   3 rows, see staging.channel_shop_rejected" in text
    assert f"warehouse:  {tmp_path}/warehouse/cx.duckdb" in text
    assert "done. Run 0123456789" in text


def test_summary_when_a_blocking_check_broke_then_statement_rows_and_that_nothing_was_published(tmp_path: Path) -> None:
    broken = Progress("broken", "staging.orders: sums", 2, 0.1, "| channel |\n| --- |\n| shop |")
    display, lines = shown([broken], {broken.name: (True, "Money adds up.")})
    assert "staging.orders: sums: does not hold (2 offending)" in lines
    text = summary(tmp_path, display, cli._Outcome(False, "0123456789", ["a: b"], 1.0, 1.0, None))
    assert "does not hold: staging.orders: sums: Money adds up.\n| channel |" in text
    assert "did not publish; no snapshot has been published yet" in text
    assert "done." not in text


def test_summary_when_a_check_that_does_not_block_broke_then_it_is_only_pointed_out(tmp_path: Path) -> None:
    broken = Progress("broken", "staging.orders: sums", 2, 0.1, "| shop |")
    display, _ = shown([broken], {broken.name: (False, "Money adds up.")})
    text = summary(tmp_path, display, cli._Outcome(True, "0123456789", [], 1.0, 1.0, None))
    assert "look at:    staging.orders: sums: Money adds up." in text
    assert "does not hold" not in text
    assert "done. Run" in text


def test_summary_when_a_step_stopped_without_a_word_then_the_innermost_cause(tmp_path: Path) -> None:
    display, _ = shown([])
    text = summary(
        tmp_path, display, cli._Outcome(False, "0", ["profile__x: KeyError in a/b.py, line 3 (f)"], 1, 1, None)
    )
    assert "failed: profile__x: KeyError in a/b.py, line 3 (f)" in text


def test_summary_when_publishing_was_not_selected_then_says_that_the_snapshot_is_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "published" / "20240101T020000-00000000").mkdir(parents=True)
    (tmp_path / "published" / "CURRENT_RUN").write_text("20240101T020000-00000000\n")
    display, _ = shown([])
    text = summary(tmp_path, display, cli._Outcome(True, "ffffffff-1", [], 1.0, 1.0, "group:profile"))
    assert "unchanged: publishing was not selected" in text


def test_main_when_the_program_has_a_fault_then_its_place_and_not_its_message(
    company: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError(f"cannot parse {PLANTED[0]}")

    monkeypatch.setattr(cli, "_preflight", fail)
    said = command(company, "run")
    assert said.code == 1
    assert "ValueError in cx_pipeline/cli.py, line" in said.err
    assert "(run)" in said.err
    assert said.leaks() == []
    assert said.has_no_traceback()


# --- in a process of its own ------------------------------------------------------------------------------------------


def test_run_when_the_selection_finds_nothing_then_nothing_is_written(company: Path) -> None:
    before = tree(company)
    ended = cx(company, "run", "--select", "group:nowhere")
    assert ended.returncode == 2
    assert "--select: the selection `group:nowhere` finds no asset" in ended.stderr
    assert ended.stdout == ""
    assert "Warning" not in ended.stderr
    assert tree(company) == before


_HOLDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from cx_pipeline.core.warehouse import Warehouse
    with Warehouse(Path(sys.argv[1])):
        print("open", flush=True)
        sys.stdin.read()
    """
)


def test_run_when_another_process_has_the_database_then_it_is_named_and_nothing_published(company: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(company / "warehouse" / "cx.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(company),
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "open\n"
        ended = cx(company, "run")
    finally:
        holder.communicate()
    assert ended.returncode == 1
    assert f"another process (PID {holder.pid}) has the database open" in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert not (company / "published").exists()


def test_selection_when_it_names_one_table_of_several_made_together_then_all_of_them_are_selected() -> None:
    from cx_pipeline.automation import NIGHTLY
    from cx_pipeline.definitions import defs

    keys = cli._selection("key:identity/customer_xref", defs.resolve_job_def(NIGHTLY)) or []
    assert {"/".join(key.path) for key in keys} >= {
        "identity/customer_xref",
        "identity/identifier_xref",
        "identity/ledger",
    }
