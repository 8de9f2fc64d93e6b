from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cx_pipeline import cli


def cx(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `cx` with these arguments, in this process."""
    monkeypatch.setattr(sys, "argv", ["cx", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_cx_simulate_when_called_then_a_company_is_written_and_the_next_step_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "company"
    assert cx(monkeypatch, "simulate", str(out), "--customers", "20", "--days", "40", "--seed", "1") == 0
    assert f"CX_DATA_DIR={out} cx run" in capsys.readouterr().out
    assert (out / "channels" / "crm.yaml").is_file()
    assert (out / "truth" / "README.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--customers", "0"], "at least one customer"),
        (["--days", "1"], "window"),
        (["--respond"], "no simulated company"),
        (["--respond", "--seed", "3"], "leave them out"),
        (["--customers", "many"], "--customers"),
    ],
)
def test_cx_simulate_when_used_wrongly_then_it_ends_with_2_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    out = tmp_path / "company"
    assert cx(monkeypatch, "simulate", str(out), *arguments) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_cx_simulate_when_the_folder_is_somebody_elses_then_it_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert cx(monkeypatch, "simulate", str(tmp_path)) == 2
    assert "no simulated company" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "precious"
