from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.identity.decisions import PAIR_COLUMNS, read_verdicts
from cx_pipeline.identity.review import (
    DECISION_COLUMNS,
    Imported,
    ReviewError,
    import_verdicts,
    review_queue,
    with_values,
    write_private,
)
from cx_pipeline_tests.identity.nights import Sources

PEOPLE = [{"record_id": record, "given_name": name} for record, name in zip("abcdef", "ABCDEF", strict=True)]


def queue_of(night: dict[str, pl.DataFrame], n_pairs: int = 10) -> pl.DataFrame:
    return review_queue(
        night["edges"], night["rejected_edges"], night["customer_xref"], night["clusters"], n_pairs=n_pairs
    )


def pairs_of(queue: pl.DataFrame) -> list[str]:
    return ["".join(sorted(pair)) for pair in queue.select("left_record_id", "right_record_id").iter_rows()]


def test_queue_when_pairs_are_doubtful_then_those_that_move_more_records_come_first() -> None:
    inside = dict.fromkeys((("a", "b"), ("c", "d")), 9.0)
    scores = inside | {("a", "c"): -0.5, ("b", "d"): -0.4, ("a", "d"): -9.0, ("b", "c"): -9.0, ("e", "f"): -0.5}
    queue = queue_of(Sources(parties=PEOPLE, scores=scores).night())
    # Of the pairs between two customers only the best one; a pair within a customer beyond doubt tells next to nothing.
    assert pairs_of(queue)[:2] == ["bd", "ef"]
    assert queue["n_records_moved"].to_list()[:2] == [2, 1]
    assert queue["information_gain_bits"][0] == pytest.approx(2 * queue["information_gain_bits"][1], rel=0.03)
    assert queue["information_gain_bits"].is_sorted(descending=True)
    assert pairs_of(queue_of(Sources(parties=PEOPLE, scores=scores).night(), n_pairs=1)) == ["bd"]


def test_queue_when_a_pair_was_decided_then_it_is_not_asked_again() -> None:
    scores = {("a", "b"): -0.5, ("c", "d"): -0.5}
    night = Sources(parties=PEOPLE, scores=scores, verdicts=[("b", "a", "cannot_link")]).night()
    assert pairs_of(queue_of(night)) == ["cd"]


def test_values_when_shown_then_side_by_side_without_empty_fields_and_no_formula() -> None:
    queue = queue_of(Sources(parties=PEOPLE, scores={("a", "b"): -0.5}).night())
    parties = pl.DataFrame(
        {"channel": "crm", "record_id": ["a", "b"], "surname": ["=1+1", "Berg"], "email": [None, None]},
        schema_overrides={"email": pl.String},
    )
    shown = with_values(queue, parties)
    assert shown.columns[:7] == list(DECISION_COLUMNS)
    assert shown.select("left_surname", "right_surname").rows() == [("'=1+1", "Berg")]
    assert not [name for name in shown.columns if "email" in name]


def test_export_when_written_then_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "outbound" / "review.csv"
    write_private(pl.DataFrame({"a": [1]}), path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["review.csv"]


# --- import -------------------------------------------------------------------------------------------------------------------

XREF = pl.DataFrame({"channel": ["crm"] * 4, "record_id": ["a", "b", "c", "d"]})


def filled_in(folder: Path, *rows: tuple[str, ...]) -> Path:
    path = folder / "review.csv"
    pl.DataFrame(rows, schema=list(DECISION_COLUMNS), orient="row").write_csv(path)
    return path


GOOD = ("crm", "a", "crm", "b", "Must-Link", "ada", "2026-01-31")
OPEN = ("crm", "c", "crm", "d", "", "", "")


def test_import_when_rows_are_filled_in_then_the_night_reads_them_and_a_second_time_nothing_is_added(
    tmp_path: Path,
) -> None:
    path, decisions = filled_in(tmp_path, GOOD, OPEN), tmp_path / "decisions"
    assert import_verdicts(path, decisions, XREF) == Imported(1, 0, 1)
    written = (decisions / "decisions.csv").read_bytes()
    assert import_verdicts(path, decisions, XREF) == Imported(0, 1, 1)
    assert (decisions / "decisions.csv").read_bytes() == written
    with Warehouse(None) as warehouse:
        verdicts = read_verdicts(warehouse, decisions, tmp_path / "labels")
    assert verdicts.select(*PAIR_COLUMNS, "verdict").rows() == [("crm", "a", "crm", "b", "must_link")]
    assert f"{verdicts['decided_at'][0]:%Y-%m-%d}" == "2026-01-31"


def test_import_when_there_are_decisions_already_then_they_and_their_columns_stay(tmp_path: Path) -> None:
    decisions = tmp_path / "decisions"
    decisions.mkdir()
    (decisions / "decisions.csv").write_text(f"{','.join(PAIR_COLUMNS)},is_match,note\ncrm,c,crm,d,true,by hand\n")
    (decisions / "decisions.csv").chmod(0o640)
    import_verdicts(filled_in(tmp_path, GOOD), decisions, XREF)
    rows = pl.read_csv(decisions / "decisions.csv", infer_schema=False)
    assert rows["note"].to_list() == ["by hand", None]
    assert rows["decision"].to_list() == [None, "must_link"]
    assert (decisions / "decisions.csv").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("row", "words"),
    [
        pytest.param((*GOOD[:4], "maybe", *GOOD[5:]), "no such decision", id="word"),
        pytest.param((*GOOD[:5], " ", GOOD[6]), "decided_by is empty", id="who"),
        pytest.param((*GOOD[:6], "31.1."), "decided_at is no time", id="when"),
        pytest.param(("crm", "zz", *GOOD[2:]), "not known", id="record"),
        pytest.param(("crm", "b", *GOOD[2:]), "paired with itself", id="itself"),
    ],
)
def test_import_when_a_row_cannot_be_taken_over_then_none_is_and_its_line_is_named(
    tmp_path: Path, row: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ReviewError, match=words) as raised:
        import_verdicts(filled_in(tmp_path, GOOD, row), tmp_path / "decisions", XREF)
    assert "review.csv, line 3" in str(raised.value)
    assert not (tmp_path / "decisions").exists()


def test_import_when_saved_with_semicolons_then_it_says_how_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text(";".join(DECISION_COLUMNS) + "\n")
    with pytest.raises(ReviewError, match="comma-separated"):
        import_verdicts(path, tmp_path / "decisions", XREF)
