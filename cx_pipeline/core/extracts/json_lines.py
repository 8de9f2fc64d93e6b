"""JSON lines: the keys of the first objects. Does not belong here: values, which the engine takes out (`layout.py`)."""

from __future__ import annotations

import codecs
import json

_HEADER_LINES_OF_JSON = 1_000


NO_DELIMITER = "\x01"
OBJECT_START = r"^\s*\{"


def json_keys(start: bytes) -> tuple[str, ...]:
    """Keys of the objects among the first lines, in order of appearance."""
    keys: dict[str, None] = {}
    for line in start.removeprefix(codecs.BOM_UTF8).splitlines()[:_HEADER_LINES_OF_JSON]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        keys.update(dict.fromkeys(row) if isinstance(row, dict) else {})
    return tuple(keys)
