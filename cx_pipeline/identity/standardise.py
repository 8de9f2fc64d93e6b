"""Normalised columns of party records: what is compared is spelling-neutral, what was delivered stays in staging.

Belongs here: per-value rules (case, accents, punctuation, codes, telephone numbers) and the reading of dates in
strings. Does not belong here: comparing two records, choosing comparisons, or repairing values; an implausible date
is kept, part by part, because its parts are evidence even where the whole is not a date.
"""

from __future__ import annotations

from typing import Any

import narwhals as nw

TEXT_COLUMNS = (
    "full_name",
    "given_name",
    "middle_name",
    "surname",
    "birth_place",
    "occupation",
    "organisation_name",
    "address_line",
    "address_street",
    "address_unit",
    "address_city",
    "address_region",
    "address_country",
)
CODE_COLUMNS = ("organisation_registration_id", "address_number", "address_postcode")
NAME_COLUMNS = ("full_name", "given_name", "middle_name", "surname")
DATE_PART_COLUMNS = ("birth_year", "birth_month", "birth_day")
PARTY_COLUMNS = (
    "channel",
    "record_id",
    "updated_at",
    *TEXT_COLUMNS,
    *CODE_COLUMNS,
    "birth_date",
    "birth_year",
    "sex",
    "email",
    "phone",
)

# Latin letters with a base letter: a table instead of an engine's own function, because those differ on ø, ß and
# ligatures.
_ACCENTS = (
    ("[\u0300-\u036f]", ""),
    ("[àáâãäåāăąǎ]", "a"),
    ("[çćĉċč]", "c"),
    ("[ďđð]", "d"),
    ("[èéêëēĕėęě]", "e"),
    ("[ĝğġģ]", "g"),
    ("[ĥħ]", "h"),
    ("[ìíîïĩīĭįı]", "i"),
    ("[ĵ]", "j"),
    ("[ķ]", "k"),
    ("[ĺļľŀł]", "l"),
    ("[ñńņňŉ]", "n"),
    ("[òóôõöøōŏőǒ]", "o"),
    ("[ŕŗř]", "r"),
    ("[śŝşšș]", "s"),
    ("[ţťŧț]", "t"),
    ("[ùúûüũūŭůűų]", "u"),
    ("[ŵ]", "w"),
    ("[ýÿŷ]", "y"),
    ("[źżž]", "z"),
    ("[æ]", "ae"),
    ("[œ]", "oe"),
    ("[ß]", "ss"),
    ("[þ]", "th"),
)
_PLACEHOLDERS = ("", "null", "none", "nan", "unknown", "not known", "not provided", "n a")
_MALE = ("m", "male", "man", "mr")
_FEMALE = ("f", "female", "woman", "w", "mrs", "ms")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PHONE_DIGITS = 9
_CENTURY_PIVOT = "25"


def standardise(parties: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """One row per party record: its evidence in a form in which equal things are spelt equally.

    Args:
        parties: `staging.parties`; columns of `PARTY_COLUMNS`, strings but for `updated_at`; missing ones count as
            NULL.

    Returns:
        channel, record_id, updated_at; every text column lower case, without accents, punctuation as single spaces;
        codes as letters and digits only; `birth_year`, `birth_month`, `birth_day` as delivered digits (no validity
        test; a lone part of a broken date where its shape says which part it is) and `birth_date` as
        `year-month-day`; `sex` as m, f or the delivered word; `phone` as its last nine digits, which are the same
        with and without country code; `email` lower case; `full`: the sorted distinct tokens of all name columns (a
        list, NULL without any name). Values that stand for "nothing" are NULL.

    Numeric dates that do not begin with the year are read month- or day-first by the majority of the channel's
    unambiguous values, day-first on a tie.
    """
    present = set(parties.collect_schema().names())
    absent = [_text_literal().alias(name) for name in PARTY_COLUMNS if name not in present]
    frame = parties.with_columns(*absent) if absent else parties
    frame = frame.select(*[nw.col(name) for name in PARTY_COLUMNS])
    frame = frame.with_columns(_given_name_first(nw.col("full_name")).alias("full_name"))
    frame = frame.with_columns(
        *[_text(nw.col(name)).alias(name) for name in TEXT_COLUMNS],
        *[_code(nw.col(name)).alias(name) for name in CODE_COLUMNS],
        _sex(nw.col("sex")).alias("sex"),
        _phone(nw.col("phone")).alias("phone"),
        _email(nw.col("email")).alias("email"),
    )
    frame = _with_full(frame)
    return _with_date_parts(frame)


def _text_literal() -> nw.Expr:
    return nw.lit(None, dtype=nw.String)


def _null_if_placeholder(value: nw.Expr) -> nw.Expr:
    return nw.when(~value.is_in(list(_PLACEHOLDERS))).then(value)


def _fold_accents(value: nw.Expr) -> nw.Expr:
    folded = value
    for pattern, letter in _ACCENTS:
        folded = folded.str.replace_all(pattern, letter)
    # Most values are plain ASCII: an engine that evaluates branches lazily skips two dozen replacements for them.
    return nw.when(value.str.contains(r"[^\x00-\x7F]")).then(folded).otherwise(value)


def _lower(value: nw.Expr) -> nw.Expr:
    return _fold_accents(value.cast(nw.String).str.to_lowercase())


def _text(value: nw.Expr) -> nw.Expr:
    # An apostrophe joins (o'neil = oneil); every other punctuation separates.
    joined = _lower(value).str.replace_all("['’`]", "")
    return _null_if_placeholder(joined.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars(" "))


def _given_name_first(full_name: nw.Expr) -> nw.Expr:
    """`surname, given name` in the other order."""
    written = full_name.cast(nw.String)
    parts = nw.concat_str(written, nw.lit(",")).str.split(",")
    turned = nw.concat_str(parts.list.get(1), parts.list.get(0), separator=" ")
    return nw.when(written.str.contains(r"^[^,]+,[^,]+$")).then(turned).otherwise(written)


def _code(value: nw.Expr) -> nw.Expr:
    return _null_if_placeholder(_lower(value).str.replace_all(r"[^\p{L}\p{N}]+", ""))


def _phone(value: nw.Expr) -> nw.Expr:
    digits = value.cast(nw.String).str.replace_all(r"[^0-9]+", "").str.tail(_PHONE_DIGITS)
    return nw.when(digits.str.len_chars() >= 5).then(digits)


def _email(value: nw.Expr) -> nw.Expr:
    plain = _lower(value).str.replace_all(r"\s+", "").str.replace_all("^mailto:", "")
    return _null_if_placeholder(plain)


def _sex(value: nw.Expr) -> nw.Expr:
    word = _text(value)
    return (
        nw.when(word.is_in(list(_MALE)))
        .then(nw.lit("m"))
        .when(word.is_in(list(_FEMALE)))
        .then(nw.lit("f"))
        .otherwise(word)
    )


def _with_full(frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    joined = nw.concat_str(*[nw.col(name) for name in NAME_COLUMNS], separator=" ", ignore_nulls=True)
    frame = frame.with_columns(joined.alias("__names"))
    tokens = nw.col("__names").str.split(" ").list.unique().list.sort()
    frame = frame.with_columns(nw.when(nw.col("__names") != "").then(tokens).alias("full"))
    return frame.drop("__names")


def _with_date_parts(frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    delivered = nw.col("birth_date").cast(nw.String).str.to_lowercase()
    for number, name in enumerate(_MONTHS, start=1):
        # A spelt month is marked, so that its place tells where the day stands.
        delivered = delivered.str.replace_all(rf"{name}[a-z]*", f" m{number:02d} ")
    digits = delivered.str.replace_all(r"[^0-9m]+", "-").str.strip_chars("-")
    frame = frame.with_columns(digits.alias("__digits"))
    # Padding makes three parts of every value: engines differ on reading a list beyond its end.
    frame = frame.with_columns(nw.concat_str(nw.col("__digits"), nw.lit("---")).str.split("-").alias("__parts"))
    frame = frame.with_columns(*[nw.col("__parts").list.get(i).alias(f"__part{i}") for i in range(3)])
    frame = _with_shapes(frame)
    first, second, third = nw.col("__part0"), nw.col("__part1"), nw.col("__part2")
    # Day-first on a tie, also where nothing is unambiguous.
    month_first = nw.col("__votes").sum().over("channel") > 0
    frame = frame.with_columns(nw.when(nw.col("__shape") == "numeric").then(month_first).otherwise(False).alias("__mf"))
    shape, compact = nw.col("__shape"), nw.col("__digits")
    year = (
        nw.when(shape == "year_first")
        .then(first)
        .when(shape == "compact_year_first")
        .then(compact.str.slice(0, 4))
        .when(shape == "compact_year_last")
        .then(compact.str.slice(4, 4))
        .when(shape == "year_only")
        .then(first)
        .when(shape.is_in(["numeric", "spelt_month_first", "spelt_month_second"]))
        .then(_full_year(third))
    )
    month = (
        nw.when(shape == "year_first")
        .then(second)
        .when(shape == "compact_year_first")
        .then(compact.str.slice(4, 2))
        .when(shape == "compact_year_last")
        .then(compact.str.slice(2, 2))
        .when((shape == "numeric") & nw.col("__mf"))
        .then(first)
        .when(shape == "numeric")
        .then(second)
        .when(shape == "spelt_month_first")
        .then(first)
        .when(shape == "spelt_month_second")
        .then(second)
    )
    day = (
        nw.when(shape == "year_first")
        .then(third)
        .when(shape == "compact_year_first")
        .then(compact.str.slice(6, 2))
        .when(shape == "compact_year_last")
        .then(compact.str.slice(0, 2))
        .when((shape == "numeric") & nw.col("__mf"))
        .then(second)
        .when(shape == "numeric")
        .then(first)
        .when(shape == "spelt_month_first")
        .then(second)
        .when(shape == "spelt_month_second")
        .then(first)
    )
    stated_year = nw.col("birth_year").cast(nw.String).str.replace_all(r"[^0-9]+", "").str.head(4)
    frame = frame.with_columns(
        nw.coalesce(_part(year, 4), _part(stated_year, 4)).alias("birth_year"),
        _part(month, 2).alias("birth_month"),
        _part(day, 2).alias("birth_day"),
    )
    whole = nw.concat_str(*[nw.col(name) for name in DATE_PART_COLUMNS], separator="-")
    frame = frame.with_columns(whole.alias("birth_date"))
    return frame.drop("__digits", "__parts", "__part0", "__part1", "__part2", "__shape", "__votes", "__mf")


def _with_shapes(frame: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
    """Adds __shape (which part stands where) and __votes (+1 clearly month-first, -1 clearly day-first, else 0)."""
    first, second, third = nw.col("__part0"), nw.col("__part1"), nw.col("__part2")
    digits = nw.col("__digits")
    valid_year_first = digits.str.contains(r"^(1[0-9]|20|21)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
    valid_year_last = digits.str.contains(r"^(0[1-9]|[12][0-9]|3[01])(0[1-9]|1[0-2])(1[5-9]|20)[0-9]{2}$")
    shape = (
        nw.when(digits.str.contains(r"^[0-9]{8}([0-9]{6})?$"))
        .then(
            nw.when(valid_year_last & ~valid_year_first)
            .then(nw.lit("compact_year_last"))
            .otherwise(nw.lit("compact_year_first"))
        )
        .when(digits.str.contains(r"^[0-9]{3,4}-"))
        .then(nw.lit("year_first"))
        .when(digits.str.contains(r"^m[0-9]{2}-[0-9]{1,2}-"))
        .then(nw.lit("spelt_month_first"))
        .when(digits.str.contains(r"^[0-9]{1,2}[m0-9]*-m[0-9]{2}-"))
        .then(nw.lit("spelt_month_second"))
        .when(digits.str.contains(r"^[0-9]{1,2}-[0-9]{1,2}-"))
        .then(nw.lit("numeric"))
        .when(digits.str.contains(r"^[0-9]{4}$"))
        .then(nw.lit("year_only"))
        .otherwise(nw.lit("broken"))
    )
    frame = frame.with_columns(shape.alias("__shape"))
    two_digits = nw.col("__shape") == "numeric"
    large_first = first.str.zfill(2) > "12"
    large_second = second.str.zfill(2) > "12"
    votes = (
        nw.when(two_digits & large_second & ~large_first & (third != ""))
        .then(nw.lit(1))
        .when(two_digits & large_first & ~large_second & (third != ""))
        .then(nw.lit(-1))
        .otherwise(nw.lit(0))
    )
    return frame.with_columns(votes.alias("__votes"))


def _full_year(value: nw.Expr) -> nw.Expr:
    """Two-digit years belong to the century in which a living person is most likely born."""
    return (
        nw.when((value.str.len_chars() == 2) & (value > _CENTURY_PIVOT))
        .then(nw.concat_str(nw.lit("19"), value))
        .when(value.str.len_chars() == 2)
        .then(nw.concat_str(nw.lit("20"), value))
        .otherwise(value)
    )


def _part(value: nw.Expr, length: int) -> nw.Expr:
    digits = value.str.replace_all(r"[^0-9]+", "")
    return nw.when(digits.str.len_chars() > 0).then(digits.str.zfill(length))
