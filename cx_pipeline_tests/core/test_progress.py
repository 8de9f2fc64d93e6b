from __future__ import annotations

from cx_pipeline.core.progress import Progress, listening, report


def test_progress_when_somebody_listens_then_they_hear_it_until_they_stop() -> None:
    heard: list[Progress] = []
    report(Progress("started", "room.before"))
    with listening(heard.append), listening(heard.append):
        report(Progress("written", "room.things", 3, 0.5))
    report(Progress("started", "room.after"))
    assert [(progress.event, progress.name) for progress in heard] == [("written", "room.things")] * 2
