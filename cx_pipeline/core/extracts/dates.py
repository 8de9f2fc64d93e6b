"""Date formats of contracts as the engine's strptime patterns. Does not belong here: dates without a format (`values.py`)."""

from __future__ import annotations

import re

from cx_pipeline.core.errors import ContractError, Problem

_JAVA_TOKENS = {
    "yyyy": "%Y",
    "uuuu": "%Y",
    "yy": "%y",
    "MMMM": "%B",
    "MMM": "%b",
    "MM": "%m",
    "M": "%-m",
    "dd": "%d",
    "d": "%-d",
    "HH": "%H",
    "H": "%-H",
    "hh": "%I",
    "h": "%-I",
    "mm": "%M",
    "m": "%-M",
    "ss": "%S",
    "s": "%-S",
    "a": "%p",
    "SSSSSSSSS": "%n",
    "SSSSSS": "%f",
    "SSS": "%g",
    "EEEE": "%A",
    "EEE": "%a",
    "DDD": "%j",
    "D": "%-j",
    "T": "T",
    "XXX": "%z",
    "XX": "%z",
    "X": "%z",
    "Z": "%z",
    "xxx": "%z",
}
_STRPTIME = re.compile(r"(?:[^%]|%-?[aAbBcdfgHIjmMnpSUVWxXyYzZ%])+")


def strptime_pattern(pattern: str, column: str) -> str:
    """A date format of a contract, strptime (`%d.%m.%Y`) or ODCS/Java style (`dd.MM.yyyy`), as the engine's strptime pattern.

    Raises:
        ContractError: if it is neither.
    """
    if "%" in pattern:
        if _STRPTIME.fullmatch(pattern):
            return pattern
    else:
        parts = _java_parts(pattern)
        if pattern and None not in parts:
            return "".join(part or "" for part in parts)
    raise ContractError(
        Problem(
            f"the format `{pattern}` of `{column}` is no date format", remedy="write it like yyyy-MM-dd or %Y-%m-%d"
        )
    )


def _java_parts(pattern: str) -> list[str | None]:
    parts: list[str | None] = []
    for match in re.finditer(r"'(?P<quoted>[^']*)'|(?P<letters>([A-Za-z])\3*)|(?P<other>.)", pattern, re.DOTALL):
        if match["letters"]:
            parts.append(_JAVA_TOKENS.get(match["letters"]))
        else:
            parts.append((match["quoted"] or "'") if match["other"] is None else match["other"])
    return parts
