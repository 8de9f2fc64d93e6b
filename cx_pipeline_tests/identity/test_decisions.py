from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cx_pipeline.core.warehouse import Warehouse
from cx_pipeline.identity.decisions import DecisionError, decide, read_verdicts

HEAD = "left_channel,left_record_id,right_channel,right_record_id,is_match,decision,decided_by,decided_at\n"
LABELS = "left_channel,left_record_id,right_channel,right_record_id,is_match\n"
RECORDS = pl.DataFrame({"record": [0, 1, 2], "channel": ["crm", "crm", "web"], "record_id": ["1", "2", "3"]})


def read(root: Path, **files: str) -> pl.DataFrame:
    for name, text in files.items():
        folder, _, stem = name.partition("__")
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{stem}.csv").write_text(text, encoding="utf-8")
    with Warehouse(None) as warehouse:
        return read_verdicts(warehouse, root / "decisions", root / "labels")


def test_verdicts_when_there_are_no_folders_then_none(tmp_path: Path) -> None:
    decided = decide(RECORDS, read(tmp_path))
    assert decided.must_links.is_empty()
    assert decided.cannot_links.is_empty()


def test_verdicts_when_a_pair_is_judged_twice_then_the_newest_wins_whatever_file_and_side(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        decisions__a=HEAD + "crm,1,web,3,,must-link,ada,2024-05-02T10:00:00\ncrm,1,crm,2,true,,ada,2024-05-01\n",
        decisions__b=HEAD + "web,3,crm,1,,cannot_link,bob,2024-05-01T10:00:00\ncrm,2,crm,1,,withdrawn,bob,2024-06-01\n",
    )
    decided = decide(RECORDS, rows)
    assert decided.must_links.rows() == [(0, 2, 0)]
    assert decided.cannot_links.is_empty()
    assert sorted(decided.verdicts["status"].to_list()) == ["in_force", "superseded", "superseded", "withdrawn"]


def test_verdicts_when_a_label_says_otherwise_then_the_decision_wins_and_other_labels_count(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        labels__sample=LABELS + "crm,1,crm,2,1\ncrm,1,web,3,0\n",
        decisions__a=HEAD + "crm,1,crm,2,,cannot_link,ada,\n",
    )
    assert sorted(decide(RECORDS, rows).cannot_links.rows()) == [(0, 1), (0, 2)]
    assert decide(RECORDS, rows, labels_decide=False).cannot_links.rows() == [(0, 1)]


def test_verdicts_when_a_record_is_not_there_then_reported_and_not_in_force(tmp_path: Path) -> None:
    decided = decide(RECORDS, read(tmp_path, decisions__a=HEAD + "crm,1,crm,99,,must_link,ada,2024-05-01\n"))
    assert decided.must_links.is_empty()
    assert decided.verdicts["status"].to_list() == ["unknown_record"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("crm,1,web,3,,perhaps,ada,2024-05-01", "no verdict"),
        ("crm,1,web,3,,,ada,2024-05-01", "no verdict"),
        ("crm,1,web,,,must_link,ada,2024-05-01", "right_record_id"),
        ("crm,1,web,3,,must_link,ada,someday", "decided_at"),
        ("crm,1,crm,1,,must_link,ada,2024-05-01", "itself"),
        ("crm,1,web", "row_has_the_headers_columns"),
    ],
)
def test_verdicts_when_a_row_is_broken_then_file_line_and_reason_are_named(
    tmp_path: Path, row: str, reason: str
) -> None:
    with pytest.raises(DecisionError) as raised:
        read(tmp_path, decisions__a=HEAD + "crm,1,web,3,,must_link,ada,2024-05-01\n" + row + "\n")
    assert "decisions/a.csv, line 3" in str(raised.value)
    assert reason in str(raised.value)


def test_verdicts_when_a_column_is_missing_then_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecisionError, match=r"decisions/a.csv: the column left_record_id is missing"):
        read(tmp_path, decisions__a="left_channel,right_channel,right_record_id,decision\ncrm,web,3,must_link\n")
