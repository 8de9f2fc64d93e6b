from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cx_pipeline.staging import landing
from cx_pipeline.staging.landing import (
    IntakePlan,
    KnownFile,
    LandedFile,
    list_files,
    list_paths,
    plan_intake,
    settled_states,
)


def landed(name: str, content: str, refusal: str = "") -> LandedFile:
    return LandedFile(name, Path(name), content, refusal)


def known(name: str, content: str, status: str = "loaded", contract: str = "v1") -> KnownFile:
    return KnownFile(name, content, status, contract)


def plan(files: dict[str, str], before: dict[str, str], **options: bool) -> IntakePlan:
    return plan_intake(
        [landed(name, content) for name, content in files.items()],
        [known(name, content) for name, content in before.items()],
        "v1",
        **options,
    )


def names(files: tuple[LandedFile, ...]) -> list[str]:
    return [file.name for file in files]


def test_listing_when_a_folder_has_files_of_all_sorts_then_extracts_are_taken_and_the_rest_refused_or_left_alone(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("secret")
    folder = tmp_path / "crm"
    (folder / "2024" / ".cache").mkdir(parents=True)
    (folder / "_tmp").mkdir()
    for name in (
        "b.CSV",
        "2024/a.csv.gz",
        "c.jsonl",
        "d.parquet",
        ".hidden.csv",
        "_part.csv",
        "2024/.cache/x.csv",
        "_tmp/x.csv",
        "note.xlsx",
    ):
        (folder / name).write_text(name)
    (folder / "out.csv").symlink_to(outside)
    (folder / "in.csv").symlink_to(folder / "c.jsonl")
    (folder / "gone.csv").symlink_to(folder / "nowhere.csv")
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.csv")
    found = {file.name: file.refusal for file in list_files(folder)}
    assert found == {
        "2024/a.csv.gz": "",
        "b.CSV": "",
        "c.jsonl": "",
        "d.parquet": "",
        "in.csv": "",
        "gone.csv": "a link that leads nowhere",
        "loop.csv": "a link that leads nowhere",
        "note.xlsx": "not a file type that is read here (.csv, .csv.gz, .jsonl, .parquet)",
        "out.csv": "a link that leads out of the landing folder",
        "pipe.csv": "not a regular file",
        "up": "a link that leads out of the landing folder",
    }
    assert [path.relative_to(folder).as_posix() for path in list_paths(folder)] == [
        name for name in sorted(found) if not found[name]
    ]


def test_listing_when_a_name_is_no_utf8_then_it_is_refused_under_a_name_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_text("a\n1\n")
    (file,) = list_files(tmp_path)
    assert (file.name, file.refusal) == ("caf\\xe9.csv", "a file name that is not valid UTF-8")
    assert len(file.sha256) == 64


def test_listing_when_a_file_goes_away_meanwhile_then_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")

    def gone(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("cx_pipeline.staging.landing._sha256", gone)
    assert list_files(tmp_path)[0].refusal == "it cannot be read (No such file or directory)"


def test_listing_when_there_is_no_folder_then_there_are_no_files(tmp_path: Path) -> None:
    assert list_files(tmp_path / "nothing") == []


def test_listing_when_the_state_of_a_file_is_known_then_only_files_that_changed_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv", "c.csv", "d.csv"):
        (tmp_path / name).write_text("no\n1\n")
    later = datetime.now(UTC) + timedelta(seconds=10)
    seen = settled_states(list_files(tmp_path), later)
    assert sorted(seen) == ["a.csv", "b.csv", "c.csv", "d.csv"]
    # b: the same size and time of modification; c: the same bytes anew; d: another size.
    before = (tmp_path / "b.csv").stat()
    (tmp_path / "b.csv").write_text("no\n2\n")
    os.utime(tmp_path / "b.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "c.csv").touch()
    (tmp_path / "d.csv").write_text("no\n22\n")
    (tmp_path / "e.csv").write_text("no\n3\n")
    read: list[str] = []
    honest = landing._sha256

    def sha256(path: Path) -> str:
        read.append(path.name)
        return honest(path)

    monkeypatch.setattr(landing, "_sha256", sha256)
    found = {file.name: file.sha256 for file in list_files(tmp_path, seen)}
    assert read == ["b.csv", "c.csv", "d.csv", "e.csv"]
    assert found == {path.name: honest(path) for path in tmp_path.iterdir()}


def test_states_when_a_file_has_just_changed_then_it_is_not_relied_upon(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("no\n1\n")
    (tmp_path / "b.txt").write_text("refused")
    files = list_files(tmp_path)
    assert settled_states(files, datetime.now(UTC)) == {}
    assert set(settled_states(files, datetime.now(UTC) + timedelta(seconds=10))) == {"a.csv"}


def test_planning_when_files_are_new_known_or_copies_then_only_new_content_is_read() -> None:
    found = plan({"a.csv": "A", "b.csv": "B", "c.csv": "A", "d.csv": "B"}, {"a.csv": "A"})
    assert names(found.load) == ["b.csv"]
    assert names(found.repeated) == ["c.csv", "d.csv"]
    assert found.replaced == {"b.csv": ()}
    assert not found.starts_over


def test_planning_when_a_file_is_corrected_then_its_rows_are_replaced() -> None:
    found = plan({"a.csv": "A2"}, {"a.csv": "A"})
    assert (names(found.load), found.replaced) == (["a.csv"], {"a.csv": ("a.csv",)})


def test_planning_when_a_file_is_gone_then_nothing_happens() -> None:
    found = plan({}, {"a.csv": "A"})
    assert (found.load, found.replaced, found.withdrawn, found.repeated) == ((), {}, (), ())


def test_planning_when_the_first_copy_is_corrected_then_its_old_content_is_read_from_the_other_copy() -> None:
    found = plan({"a.csv": "Y", "b.csv": "X"}, {"a.csv": "X"})
    assert names(found.load) == ["a.csv", "b.csv"]
    assert found.replaced == {"a.csv": ("a.csv",), "b.csv": ()}
    assert found.repeated == ()


def test_planning_when_two_files_change_places_then_both_are_read_again() -> None:
    found = plan({"a.csv": "Y", "b.csv": "X"}, {"a.csv": "X", "b.csv": "Y"})
    assert names(found.load) == ["a.csv", "b.csv"]
    assert found.replaced == {"a.csv": ("a.csv",), "b.csv": ("b.csv",)}


def test_planning_when_a_copy_with_an_earlier_name_arrives_then_the_content_moves_there() -> None:
    found = plan({"a.csv": "X", "b.csv": "X"}, {"b.csv": "X"})
    assert names(found.load) == ["a.csv"]
    assert found.replaced == {"a.csv": ("b.csv",)}
    assert names(found.repeated) == ["b.csv"]
    assert found.withdrawn == ()


def test_planning_when_a_file_becomes_a_copy_of_another_then_its_rows_are_withdrawn() -> None:
    found = plan({"a.csv": "X", "b.csv": "X"}, {"a.csv": "X", "b.csv": "Y"})
    assert (found.load, names(found.repeated), found.withdrawn) == ((), ["b.csv"], ("b.csv",))


def test_planning_when_the_same_bytes_are_of_two_formats_then_both_are_read() -> None:
    found = plan({"a.csv": "X", "a.jsonl": "X"}, {})
    assert names(found.load) == ["a.csv", "a.jsonl"]


def test_planning_when_files_are_refused_then_they_are_neither_read_nor_known() -> None:
    files = [landed("a.csv", "A", "a link"), landed("b.csv", "B")]
    found = plan_intake(files, [known("b.csv", "B", status="refused")], "v1")
    assert (names(found.refused), names(found.load)) == (["a.csv"], ["b.csv"])


def test_planning_when_the_contract_has_changed_then_all_is_read_anew() -> None:
    files = [landed("a.csv", "A2"), landed("b.csv", "B"), landed("c.csv", "C")]
    before = [known("a.csv", "A"), known("renamed.csv", "B"), known("c.csv", "C")]
    found = plan_intake(files, before, "v2")
    assert found.starts_over
    assert names(found.load) == ["a.csv", "b.csv", "c.csv"]
    assert found.unreadable_again == ()


def test_planning_when_the_contract_has_changed_and_files_are_gone_then_they_are_named_unless_all_is_forgotten() -> (
    None
):
    before = [known("a.csv", "A"), known("b.csv", "B")]
    assert plan_intake([landed("a.csv", "A")], before, "v2").unreadable_again == ("b.csv",)
    assert plan_intake([landed("b.csv", "B", "a link")], before[1:], "v2").unreadable_again == ("b.csv",)
    forgotten = plan_intake([landed("a.csv", "A")], before, "v2", full_refresh=True)
    assert (names(forgotten.load), forgotten.unreadable_again, forgotten.starts_over) == (["a.csv"], (), True)


def test_planning_when_nothing_was_loaded_then_nothing_is_started_over() -> None:
    assert not plan({"a.csv": "A"}, {}, full_refresh=True).starts_over
