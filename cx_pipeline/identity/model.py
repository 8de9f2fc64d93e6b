"""Comparisons and blocking as data, chosen from the fields that are present.

Belongs here: the levels of each kind of field (as Splink comparison levels, SQL over `<column>_l` and `<column>_r`)
and the atoms from which blocking keys are made. Does not belong here: running anything, estimates of m and u,
thresholds of scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cx_pipeline.identity.fields import TOKEN_WEIGHT_BITS, Field, Kind


@dataclass(frozen=True)
class Comparison:
    """A field and its levels, best first; the last level, "anything else", is not listed.

    Attributes:
        field: what is compared.
        null_sql: true where there is nothing to compare.
        levels: (label, SQL condition) pairs; the number of a level counts from 0 (anything else) upwards.
        tf_column: column whose values' frequencies adjust an exact agreement; None: frequencies say nothing.
    """

    field: Field
    null_sql: str
    levels: tuple[tuple[str, str], ...]
    tf_column: str | None

    @property
    def n_levels(self) -> int:
        """Levels with "anything else"."""
        return len(self.levels) + 1


@dataclass(frozen=True)
class Atom:
    """One value by which records can be blocked: an SQL-free recipe over a column of the comparison table.

    Attributes:
        field: name of the field it belongs to (two atoms of one field are never combined).
        column: source column.
        part: `exact`, `first:n`, `last_half`, `first_half`, or `month_day_any_order`.
        is_strong: tight enough to stand alone, if the budget allows.
        columns: further columns that are taken together with `column`.
    """

    field: str
    column: str
    part: str = "exact"
    is_strong: bool = False
    columns: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How reports call it."""
        return "+".join((self.column, *self.columns)) + ("" if self.part == "exact" else f"[{self.part}]")


def comparisons(fields: tuple[Field, ...]) -> tuple[Comparison, ...]:
    """One comparison per field."""
    names = {field.name for field in fields}
    return tuple(_comparison(field, names) for field in fields)


def _comparison(field: Field, names: set[str]) -> Comparison:
    name = field.name
    either_null = f'"{name}_l" IS NULL OR "{name}_r" IS NULL'
    if field.kind is Kind.GIVEN_NAME:
        return Comparison(field, either_null, _name_levels(name, "given_name_root", "surname" in names), name)
    if field.kind is Kind.SURNAME:
        return Comparison(field, either_null, _name_levels(name, "", "given_name" in names), name)
    if field.kind is Kind.FULL_NAME:
        return Comparison(field, "full_tokens_l IS NULL OR full_tokens_r IS NULL", _full_name_levels(), None)
    if field.kind is Kind.DATE:
        nothing = (
            "(birth_year_l IS NULL OR birth_year_r IS NULL) AND (birth_month_l IS NULL OR birth_month_r IS NULL)"
            " AND (birth_day_l IS NULL OR birth_day_r IS NULL)"
        )
        return Comparison(field, nothing, _date_levels(), name)
    if field.kind is Kind.EMAIL:
        return Comparison(field, either_null, _email_levels(), name)
    if field.kind is Kind.CATEGORY:
        return Comparison(field, either_null, (("same", f'"{name}_l" = "{name}_r"'),), name)
    levels = _text_levels(name) if field.kind is Kind.TEXT else _code_levels(name)
    return Comparison(field, either_null, levels, name)


# One half alone is also what relatives show when one of two records has its names in the other order.
_HALF_CROSSED = "given_name_l = surname_r OR surname_l = given_name_r"
_CROSSED = "jaro_winkler_similarity(given_name_l, surname_r) >= 0.9 AND jaro_winkler_similarity(surname_l, given_name_r) >= 0.9"


def _jaro_winkler(column: str, at_least: float) -> str:
    return f'jaro_winkler_similarity("{column}_l", "{column}_r") >= {at_least}'


def _edits(column: str, at_most: int, of: str = "") -> str:
    # Few edits leave the first or the last character and nearly the length alone; most pairs fail this far cheaper test.
    left, right = f'"{of or column}_l"', f'"{of or column}_r"'
    ends = f"left({left}, 1) = left({right}, 1) OR right({left}, 1) = right({right}, 1)"
    # k edits cannot bring Jaro's similarity (and so Jaro-Winkler's) of n characters below about 1 - 2k/3n.
    shorter = f"least(length({left}), length({right}))"
    alike = (
        f"({shorter} <= 3 OR jaro_winkler_similarity({left}, {right}) >= 1 - {2 * at_most / 3 + 0.01:.2f} / {shorter})"
    )
    near = f"abs(length({left}) - length({right})) <= {at_most} AND ({ends}) AND {alike}"
    edits = f'damerau_levenshtein("{column}_l", "{column}_r") <= {at_most}'
    return f"CASE WHEN {near} THEN {edits} ELSE false END"


# 1 January stands for "unknown" in many systems: agreeing on it alone is no agreement.
_DEFAULT_DATES = "birth_month_l = '01' AND birth_day_l = '01' AND birth_month_r = '01' AND birth_day_r = '01'"


def _date_edits(at_most: int) -> str:
    # Dates are written at one length, where counting unlike characters is many times faster than counting edits.
    unlike = "hamming(birth_date_l, birth_date_r)"
    edits = f"damerau_levenshtein(birth_date_l, birth_date_r) <= {at_most}"
    return (
        f"CASE WHEN ({_DEFAULT_DATES}) OR length(birth_date_l) <> length(birth_date_r) THEN false"
        f" WHEN {unlike} <= {at_most} THEN true WHEN {unlike} <= {2 * at_most} THEN {edits} ELSE false END"
    )


def _same(column: str) -> str:
    return f'"{column}_l" = "{column}_r"'


def _name_levels(name: str, root: str, has_other_name: bool) -> tuple[tuple[str, str], ...]:
    initial = f"least(length({name}_l), length({name}_r)) = 1 AND left({name}_l, 1) = left({name}_r, 1)"
    same_root = f" OR {_same(root)}" if root else ""
    return (
        ("same", _same(name)),
        ("spelling or short form", _jaro_winkler(name, 0.92) + same_root),
        *((("both names in the other's place", _CROSSED),) if has_other_name else ()),
        ("similar, initial or sound", f"{_jaro_winkler(name, 0.8)} OR {initial} OR {_same(f'{name}_soundex')}"),
        *((("one name in the other's place", _HALF_CROSSED),) if has_other_name else ()),
    )


def _full_name_levels() -> tuple[tuple[str, str], ...]:
    mask = (1 << TOKEN_WEIGHT_BITS) - 1
    shared = (
        f"coalesce(list_sum(list_transform(list_intersect(full_tokens_l, full_tokens_r), lambda x: x & {mask})), 0)"
    )
    smaller, larger = "least(full_weight_l, full_weight_r)", "greatest(full_weight_l, full_weight_r)"
    # Most pairs share no token, which is told much faster than what the shared ones weigh.
    is_any = "list_has_any(full_tokens_l, full_tokens_r)"

    def weighs(at_least: str) -> str:
        return f"CASE WHEN {is_any} THEN {shared} >= {at_least} ELSE false END"

    return (
        ("same tokens", "full_tokens_l = full_tokens_r"),
        ("nearly all tokens", weighs(f"0.75 * {larger}")),
        ("one contains the other", weighs(f"0.9 * {smaller}")),
        ("half the rarity", weighs(f"0.45 * {smaller}")),
        ("something shared", is_any),
    )


def _date_levels() -> tuple[tuple[str, str], ...]:
    whole = "birth_date_l IS NOT NULL AND birth_date_r IS NOT NULL"
    parts = (
        "(coalesce(birth_year_l = birth_year_r, false)::int"
        f" + CASE WHEN {_DEFAULT_DATES} THEN 0 ELSE coalesce(birth_month_l = birth_month_r, false)::int"
        " + coalesce(birth_day_l = birth_day_r, false)::int END)"
    )
    swapped = "birth_year_l = birth_year_r AND birth_month_l = birth_day_r AND birth_day_l = birth_month_r"
    return (
        ("same", _same("birth_date")),
        ("one edit, or day and month swapped", f"{whole} AND ({_date_edits(1)} OR ({swapped}))"),
        ("two of three parts", f"{parts} >= 2"),
        ("same year, or two edits", f"birth_year_l = birth_year_r OR ({whole} AND {_date_edits(2)})"),
        ("two years apart at most", "abs(birth_year_number_l - birth_year_number_r) <= 2"),
    )


def _code_levels(name: str) -> tuple[tuple[str, str], ...]:
    prefix = f'length("{name}_l") > 3 AND left("{name}_l", 3) = left("{name}_r", 3)'
    return (
        ("same", _same(name)),
        ("one edit", f'{_edits(name, 1)} AND length("{name}_l") > 2'),
        ("two edits, or same beginning", f'({_edits(name, 2)} AND length("{name}_l") > 4) OR ({prefix})'),
    )


def _text_levels(name: str) -> tuple[tuple[str, str], ...]:
    def sorted_tokens(side: str) -> str:
        return f"list_sort(string_split(\"{name}_{side}\", ' '))"

    reordered = f'length("{name}_l") = length("{name}_r") AND {sorted_tokens("l")} = {sorted_tokens("r")}'
    return (
        ("same", _same(name)),
        ("spelling or order", f"{_jaro_winkler(name, 0.92)} OR ({reordered})"),
        ("similar", _jaro_winkler(name, 0.8)),
    )


def _email_levels() -> tuple[tuple[str, str], ...]:
    return (
        ("same", _same("email")),
        ("two edits, or same user", f"{_same('email_user')} OR {_edits('email', 2, of='email_user')}"),
        ("close", _jaro_winkler("email_user", 0.88)),
    )


def atoms(fields: tuple[Field, ...]) -> tuple[Atom, ...]:
    """What records may be blocked by; keys are pairs of atoms of two fields, and the strong ones alone."""
    return tuple(atom for field in fields for atom in _ATOMS_OF_KIND[field.kind](field.name))


_ATOMS_OF_KIND: dict[Kind, Any] = {
    Kind.GIVEN_NAME: lambda name: (
        Atom(name, name),
        Atom(name, f"{name}_soundex"),
        Atom(name, name, "first:3"),
        Atom(name, name, "first:1"),
        Atom(name, f"{name}_root"),
    ),
    Kind.SURNAME: lambda name: (
        Atom(name, name),
        Atom(name, f"{name}_soundex"),
        Atom(name, name, "first:3"),
        Atom(name, name, "first:1"),
    ),
    Kind.FULL_NAME: lambda name: (),
    Kind.DATE: lambda name: (
        Atom(name, "birth_date", is_strong=True),
        Atom(name, "birth_year"),
        Atom(name, "birth_month", "month_day", columns=("birth_day",)),
        Atom(name, "birth_year", columns=("birth_month",)),
        Atom(name, "birth_year", "month_day_any_order", True, ("birth_month", "birth_day")),
    ),
    Kind.CODE: lambda name: (Atom(name, name, is_strong=True), Atom(name, name, "first:3")),
    Kind.IDENTIFIER: lambda name: (
        Atom(name, name, is_strong=True),
        Atom(name, name, "first_half"),
        Atom(name, name, "last_half"),
    ),
    Kind.TEXT: lambda name: (Atom(name, name), Atom(name, name, "first:4")),
    Kind.EMAIL: lambda name: (
        Atom(name, "email", is_strong=True),
        Atom(name, "email_user", "letters", True),
        Atom(name, "email", "first:5"),
        Atom(name, "email_domain"),
    ),
    Kind.CATEGORY: lambda name: (Atom(name, name),),
}


def splink_settings(
    chosen: tuple[Comparison, ...],
    prior: float,
    blocking_rules: tuple[str, ...],
    use_term_frequencies: bool,
    estimate: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> dict[str, Any]:
    """Splink settings over the comparison table; `estimate`: m and u per field, lowest level first, where known."""
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "record",
        "probability_two_random_records_match": prior,
        "retain_matching_columns": False,
        "retain_intermediate_calculation_columns": True,
        "blocking_rules_to_generate_predictions": [{"blocking_rule": rule} for rule in blocking_rules],
        "comparisons": [
            _splink_comparison(comparison, use_term_frequencies, (estimate or {}).get(comparison.field.name))
            for comparison in chosen
        ],
    }


def _splink_comparison(
    comparison: Comparison, use_term_frequencies: bool, estimate: tuple[Sequence[float], Sequence[float]] | None
) -> dict[str, Any]:
    levels: list[dict[str, Any]] = [
        {"sql_condition": comparison.null_sql, "label_for_charts": "nothing to compare", "is_null_level": True}
    ]
    for i, (label, condition) in enumerate(comparison.levels):
        level: dict[str, Any] = {"sql_condition": condition, "label_for_charts": label}
        if i == 0 and use_term_frequencies and comparison.tf_column:
            level["tf_adjustment_column"] = comparison.tf_column
        levels.append(level)
    levels.append({"sql_condition": "ELSE", "label_for_charts": "anything else"})
    if estimate:
        for level, m, u in zip(levels[1:], *(reversed(values) for values in estimate), strict=True):
            level |= {"m_probability": float(m), "u_probability": float(u)}
    return {
        "output_column_name": comparison.field.name,
        "comparison_description": comparison.field.label,
        "comparison_levels": levels,
    }


def numbering(chosen: tuple[Comparison, ...]) -> dict[str, tuple[list[float], list[float]]]:
    """M and u that make the match weight of a level its number plus one, so that Splink's weights tell the levels.

    Splink returns the numbers of levels themselves only together with all compared values, at many times the memory. The
    weight of "nothing to compare" is 0.
    """
    u = 2.0**-16
    return {
        comparison.field.name: ([u * 2.0 ** (i + 1) for i in range(comparison.n_levels)], [u] * comparison.n_levels)
        for comparison in chosen
    }


def training_rules(table: pl.DataFrame, chosen: tuple[Comparison, ...]) -> list[str]:
    """Blocking rules for Splink's own training: pairs of fields that agree, so that each field is free in one rule.

    The tightest pairs of disjoint fields that repeat at all; none where nothing repeats.
    """
    columns = [comparison.tf_column for comparison in chosen if comparison.tf_column]
    n_pairs: dict[tuple[str, str], int] = {}
    for i, first in enumerate(columns):
        for second in columns[i + 1 :]:
            sizes = table.drop_nulls([first, second]).group_by(first, second).len()["len"].cast(pl.Int64)
            n_pairs[first, second] = int((sizes * (sizes - 1) // 2).sum())
    floor, ceiling = max(table.height // 20, 1), 20 * table.height
    fitting = [pair for pair, count in n_pairs.items() if floor <= count <= ceiling]
    fitting.sort(key=lambda pair: (abs(math.log(n_pairs[pair] / table.height)), pair))
    rules: list[tuple[str, str]] = []
    for pair in fitting:
        if all(not set(pair) & set(rule) for rule in rules):
            rules.append(pair)
        if len(rules) == 3:
            break
    return [" AND ".join(f'l."{column}" = r."{column}"' for column in rule) for rule in rules]


# What matches and unrelated pairs look like before any data, best level first: worth a few dozen pairs, so that it decides
# only where there are hardly any.
_PRIOR_MATCH: dict[Kind, tuple[float, ...]] = {
    Kind.GIVEN_NAME: (0.75, 0.12, 0.02, 0.05, 0.01, 0.05),
    Kind.SURNAME: (0.82, 0.07, 0.02, 0.03, 0.01, 0.05),
    Kind.FULL_NAME: (0.55, 0.15, 0.12, 0.10, 0.06, 0.02),
    Kind.DATE: (0.80, 0.08, 0.04, 0.05, 0.01, 0.02),
    Kind.CODE: (0.75, 0.08, 0.07, 0.10),
    Kind.IDENTIFIER: (0.86, 0.07, 0.02, 0.05),
    Kind.TEXT: (0.65, 0.10, 0.07, 0.18),
    Kind.EMAIL: (0.70, 0.10, 0.05, 0.15),
    Kind.CATEGORY: (0.92, 0.08),
}
_PRIOR_UNRELATED: dict[Kind, tuple[float, ...]] = {
    Kind.GIVEN_NAME: (0.01, 0.01, 0.0002, 0.05, 0.002, 0.9278),
    Kind.SURNAME: (0.005, 0.005, 0.0002, 0.05, 0.002, 0.9378),
    Kind.FULL_NAME: (0.0002, 0.0005, 0.002, 0.01, 0.03, 0.9573),
    Kind.DATE: (0.0002, 0.001, 0.002, 0.03, 0.05, 0.9168),
    Kind.CODE: (0.005, 0.01, 0.04, 0.945),
    Kind.IDENTIFIER: (0.0002, 0.0005, 0.002, 0.9973),
    Kind.TEXT: (0.02, 0.01, 0.02, 0.95),
    Kind.EMAIL: (0.0002, 0.001, 0.01, 0.9888),
    Kind.CATEGORY: (0.5, 0.5),
}


def expected_levels(comparison: Comparison) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Shares of the levels among matches and among unrelated pairs, expected before any data, lowest level first."""
    match, unrelated = list(_PRIOR_MATCH[comparison.field.kind]), list(_PRIOR_UNRELATED[comparison.field.kind])
    if comparison.field.kind in (Kind.GIVEN_NAME, Kind.SURNAME) and comparison.n_levels == len(match) - 2:
        # Without the other name there are no levels for crossed names.
        match, unrelated = (values[:2] + values[3:4] + values[5:] for values in (match, unrelated))
    return (
        tuple(value / sum(match) for value in reversed(match)),
        tuple(value / sum(unrelated) for value in reversed(unrelated)),
    )


# Names and birth dates hardly change and are never wholly wrong in most records of a person; addresses, phones do change.
_MAX_DISAGREEMENT: dict[Kind, float] = {
    Kind.GIVEN_NAME: 0.3,
    Kind.SURNAME: 0.3,
    Kind.FULL_NAME: 0.4,
    Kind.DATE: 0.3,
    Kind.IDENTIFIER: 0.5,
    Kind.CATEGORY: 0.5,
}
_MAX_DISAGREEMENT_OF_OTHERS = 0.7


def max_disagreement(comparison: Comparison) -> float:
    """The largest share of matches that can be thought to disagree in a field that both records have."""
    return _MAX_DISAGREEMENT.get(comparison.field.kind, _MAX_DISAGREEMENT_OF_OTHERS)
