from __future__ import annotations

from cx_pipeline.core.docs import tables_markdown
from cx_pipeline.core.tables import Column, Table

PEOPLE = Table(
    "room",
    "people",
    "One row per person.",
    (
        Column("id", "string", "VARCHAR", "The id", required=True, primary_key=True),
        Column("name", "string", "VARCHAR", "The name | as given", required=True, is_personal=True),
        Column("tier", "string", "VARCHAR", "The tier", enum=("gold", "basic")),
    ),
)
SECRETS = Table("room", "secrets", "One row per secret.", (), is_published=False)
OTHER = Table("attic", "boxes", "One row per box.", ())


def test_the_data_dictionary_when_written_then_it_says_grain_types_marks_and_meaning_step_by_step() -> None:
    text = tables_markdown([PEOPLE, SECRETS, OTHER])
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Tables",
        "## room",
        "### room.people",
        "### room.secrets",
        "## attic",
        "### attic.boxes",
    ]
    assert "One row per person.\n" in text
    assert "One row per secret. Not published.\n" in text
    assert "| `id` | varchar | key | The id |" in text
    assert "| `name` | varchar | ! P | The name \\| as given |" in text
    assert "| `tier` | varchar |  | The tier (`gold`, `basic`) |" in text
