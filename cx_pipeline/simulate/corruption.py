"""Corruption: what goes wrong between a person and a record of the person, each kind at a documented rate, each case remembered.

Belongs here: misspelling, mishearing, wrong and missing values of any channel. Does not belong here: what a channel asks for at all,
and what was right once and is no longer (`records.py`); what is true (`population.py`).

Rates are per record that has the value. They are meant to be ordinary for their kind of source: typed by staff, typed by the
customer, heard on the telephone. Only the rows that are hit are touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from cx_pipeline.simulate.randomness import Flags, Indices, weighted_indices
from cx_pipeline.simulate.vocabularies import nicknames


@dataclass(frozen=True)
class CorruptionRates:
    """Shares of records that are hit, per record with such a value.

    Attributes:
        name_typo, street_typo, email_typo, phone_typo, postcode_typo: one slip of the keyboard or of character recognition.
        by_ear: surname (and half as often given name) written as it sounds.
        nickname: the short form instead of the given name, where there is one.
        initial: given name cut down to its first letter.
        swapped_names: given name and surname in each other's place.
        second_surname_dropped: of two surnames, only the first.
        accents_lost, transliterated: letters with marks written plainly (Müller: Muller), or as two (Mueller).
        changed_case: a name all in capitals, or all small.
        swapped_day_month: day and month of the birth date in each other's place, where both are at most 12.
        default_date: 1 January of the year of birth, as systems fill in when only the year is given.
        birth_date_typo: one figure of the birth date wrong.
        dummy_phone: "0000000000" and the like, to get past a required field.
        null_word: "n/a", "-", "unknown" instead of nothing, of all empty values of free text.
        street_abbreviated: "Rd" for "Road".
    """

    name_typo: float = 0.015
    street_typo: float = 0.02
    email_typo: float = 0.006
    phone_typo: float = 0.006
    postcode_typo: float = 0.008
    by_ear: float = 0.0
    nickname: float = 0.04
    initial: float = 0.005
    swapped_names: float = 0.005
    second_surname_dropped: float = 0.25
    accents_lost: float = 0.25
    transliterated: float = 0.10
    changed_case: float = 0.03
    swapped_day_month: float = 0.01
    default_date: float = 0.01
    birth_date_typo: float = 0.006
    dummy_phone: float = 0.02
    null_word: float = 0.06
    street_abbreviated: float = 0.25


# Staff copy documents; customers type in a hurry and as they like to be called; agents write what they hear.
TYPED_BY_STAFF = CorruptionRates()
TYPED_BY_CUSTOMER = replace(
    TYPED_BY_STAFF, name_typo=0.012, nickname=0.14, initial=0.012, changed_case=0.09, default_date=0.02, swapped_names=0.008,
    email_typo=0.004, street_typo=0.03, accents_lost=0.45,
)  # fmt: skip
HEARD = replace(
    TYPED_BY_STAFF, name_typo=0.03, by_ear=0.22, nickname=0.16, initial=0.03, email_typo=0.02, phone_typo=0.004,
    dummy_phone=0.01, accents_lost=0.9, transliterated=0.0, null_word=0.12,
)  # fmt: skip
OLD_SYSTEM = replace(
    TYPED_BY_STAFF, name_typo=0.02, initial=0.03, transliterated=0.3, swapped_names=0.01, default_date=0.02
)

DUMMY_PHONES = ("0000000000", "0123456789", "9999999999", "07000000000")
_DUMMY_WEIGHTS = (0.8, 0.1, 0.06, 0.04)
_NULL_WORDS = ("n/a", "-", "unknown", "N/A", "not known", ".")
_NULL_WEIGHTS = (0.35, 0.25, 0.2, 0.1, 0.07, 0.03)

_NEIGHBOURS = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok", "o": "ipl", "p": "ol",
    "a": "qsz", "s": "adwx", "d": "sfec", "f": "dgrv", "g": "fhtb", "h": "gjyn", "j": "hkum", "k": "jli", "l": "kop",
    "z": "asx", "x": "zsdc", "c": "xdfv", "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
    "0": "9", "1": "2", "2": "13", "3": "24", "4": "35", "5": "46", "6": "57", "7": "68", "8": "79", "9": "80",
}  # fmt: skip
_MISREAD = {
    "o": "0",
    "l": "1",
    "i": "l",
    "e": "c",
    "s": "5",
    "b": "6",
    "g": "9",
    "m": "rn",
    "n": "u",
    "u": "v",
    "h": "b",
}
_SOUNDS = (
    ("ph", "f"), ("ck", "k"), ("gh", "g"), ("tz", "ts"), ("ee", "ea"), ("ea", "ee"), ("ie", "ei"), ("ei", "ie"), ("ou", "ow"),
    ("oo", "u"), ("ll", "l"), ("tt", "t"), ("ss", "s"), ("nn", "n"), ("rr", "r"), ("y", "i"), ("i", "y"), ("c", "k"), ("k", "c"),
    ("s", "z"), ("z", "s"), ("v", "f"), ("w", "v"), ("er", "a"), ("son", "sen"), ("ley", "ly"), ("e$", ""),
)  # fmt: skip
_SHORT_STREETS = (
    (" Street$", " St"), (" Road$", " Rd"), (" Avenue$", " Ave"), (" Lane$", " Ln"), (" Drive$", " Dr"), (" Close$", " Cl"),
    (" Crescent$", " Cres"), (" Court$", " Ct"), (" Place$", " Pl"), (" Gardens$", " Gdns"), (" Terrace$", " Terr"),
)  # fmt: skip
_TWO_LETTERS = (
    ("ä", "ae"),
    ("ö", "oe"),
    ("ü", "ue"),
    ("Ä", "Ae"),
    ("Ö", "Oe"),
    ("Ü", "Ue"),
    ("ß", "ss"),
    ("å", "aa"),
    ("ø", "oe"),
)


@dataclass
class Draft:
    """Records of one channel in the making: their columns, and what has been done to each.

    Attributes:
        frame: one row per record.
        rng: random stream of the channel.
        rates: how often what goes wrong.
        kinds: kind of corruption -> flags of the records that suffered it.
    """

    frame: pl.DataFrame
    rng: np.random.Generator
    rates: CorruptionRates
    kinds: dict[str, Flags] = field(default_factory=dict)

    def note(self, kind: str, rows: npt.NDArray[np.int64] | Flags) -> None:
        """Remember that these records suffered a corruption of this kind."""
        flags = self.kinds.setdefault(kind, np.zeros(self.frame.height, dtype=np.bool_))
        flags[rows] = True

    def hit(self, rate: float, *columns: str) -> Indices:
        """Rows that are hit: each with all of `columns` filled, with probability `rate`."""
        flags = self.rng.random(self.frame.height) < rate
        for column in columns:
            flags &= self.frame[column].is_not_null().to_numpy()
        return np.flatnonzero(flags)

    def change(self, kind: str, column: str, rows: Indices, change: Callable[[pl.Series], pl.Series]) -> None:
        """Replace a column's values in these rows; rows whose value is really another are noted."""
        if len(rows) == 0:
            return
        before = self.frame[column].gather(rows)
        after = change(before).cast(before.dtype)
        self.frame = self.frame.with_columns(_scattered(self.frame[column], rows, after))
        self.note(kind, rows[before.ne_missing(after).to_numpy()])

    def corruptions(self) -> pl.Series:
        """For each record the sorted list of the kinds it suffered."""
        names = sorted(self.kinds)
        rows = [np.flatnonzero(self.kinds[name]) for name in names]
        numbers = np.repeat(np.arange(len(names)), [len(hit) for hit in rows])
        hit = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
        suffered = pl.DataFrame({"row": hit, "corruptions": pl.Series(names, dtype=pl.String).gather(numbers)})
        lists = suffered.sort("row", "corruptions").group_by("row", maintain_order=True).agg("corruptions")
        every = pl.DataFrame({"row": np.arange(self.frame.height)}).join(
            lists, on="row", how="left", maintain_order="left"
        )
        return every["corruptions"].fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def corrupt_names(draft: Draft, given: str = "given_name", surname: str = "surname") -> None:
    """Names as people and systems get them wrong."""
    rates = draft.rates
    draft.change("second_surname_dropped", surname, draft.hit(rates.second_surname_dropped, surname), _first_surname)
    draft.change("nickname", given, draft.hit(rates.nickname, given), lambda names: _nicknamed(names, draft.rng))
    for column in (given, surname):
        rows = draft.hit(rates.transliterated, column)
        draft.change("transliterated", column, rows, _transliterated)
        draft.change("accents_lost", column, draft.hit(rates.accents_lost, column), without_accents)
    draft.change("by_ear", surname, draft.hit(rates.by_ear, surname), lambda names: _as_heard(names, draft.rng))
    draft.change("by_ear", given, draft.hit(rates.by_ear / 2, given), lambda names: _as_heard(names, draft.rng))
    draft.change("typo_given_name", given, draft.hit(rates.name_typo, given), lambda v: mistyped(v, draft.rng))
    draft.change("typo_surname", surname, draft.hit(rates.name_typo, surname), lambda v: mistyped(v, draft.rng))
    draft.change("initial", given, draft.hit(rates.initial, given), lambda names: names.str.slice(0, 1))
    _swap(draft, draft.hit(rates.swapped_names, given, surname), given, surname)
    rows = draft.hit(rates.changed_case, given, surname)
    is_upper = draft.rng.random(len(rows)) < 0.5
    for column in (given, surname):
        draft.change("changed_case", column, rows[is_upper], lambda names: names.str.to_uppercase())
        draft.change("changed_case", column, rows[~is_upper], lambda names: names.str.to_lowercase())


def corrupt_dates(draft: Draft, column: str = "birth_date") -> None:
    """Birth dates (of type date) swapped, filled in, mistyped."""
    rates, rng = draft.rates, draft.rng
    draft.change("swapped_day_month", column, draft.hit(rates.swapped_day_month, column), _swapped_day_month)
    draft.change("typo_birth_date", column, draft.hit(rates.birth_date_typo, column), lambda d: _near_date(d, rng))
    draft.change("default_date", column, draft.hit(rates.default_date, column), lambda dates: dates.dt.truncate("1y"))


def corrupt_contacts(draft: Draft, email: str = "email", phone: str = "phone") -> None:
    """E-mail addresses with a slip, telephone numbers with a wrong figure, and dummy numbers."""
    rates, rng = draft.rates, draft.rng
    if email in draft.frame.columns:
        draft.change("typo_email", email, draft.hit(rates.email_typo, email), lambda v: mistyped(v, rng))
    if phone in draft.frame.columns:
        draft.change("typo_phone", phone, draft.hit(rates.phone_typo, phone), lambda v: _wrong_figure(v, rng))
        draft.change("dummy_phone", phone, draft.hit(rates.dummy_phone), lambda v: _dummies(len(v), rng))


def corrupt_addresses(draft: Draft, street: str = "street", postcode: str = "postcode") -> None:
    """Streets mistyped and abbreviated, postcodes with a slip."""
    rates, rng = draft.rates, draft.rng
    if street in draft.frame.columns:
        draft.change("typo_street", street, draft.hit(rates.street_typo, street), lambda v: mistyped(v, rng))
        draft.change("street_abbreviated", street, draft.hit(rates.street_abbreviated, street), _abbreviated)
    draft.change("typo_postcode", postcode, draft.hit(rates.postcode_typo, postcode), lambda v: mistyped(v, rng))


def say_nothing_in_words(draft: Draft, *columns: str) -> None:
    """Empty values of text columns become "n/a" and the like at times."""
    for column in columns:
        empty = draft.frame[column].is_null().to_numpy()
        rows = np.flatnonzero(empty & (draft.rng.random(draft.frame.height) < draft.rates.null_word))
        words = pl.Series(_NULL_WORDS).gather(weighted_indices(draft.rng, _NULL_WEIGHTS, len(rows)))
        draft.change("null_word", column, rows, lambda _, words=words: words)  # type: ignore[misc]


def _scattered(series: pl.Series, rows: Indices, values: pl.Series) -> pl.Series:
    """`series` with `values` in these rows."""
    source = np.arange(len(series))
    source[rows] = len(series) + np.arange(len(rows))
    return pl.concat([series, values.alias(series.name)]).gather(source)


def mistyped(values: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Each value with one slip: neighbouring key, missing, added or exchanged letters, or a misread character.

    The first character is hit less often than the others, as in real errors.
    """
    n = len(values)
    frame = pl.DataFrame({"v": values, "u": rng.random(n), "alt": rng.integers(0, 1_000, n)}).with_columns(
        action=weighted_indices(rng, (0.3, 0.2, 0.16, 0.2, 0.14), n), spare_first=rng.random(n) < 0.9
    )
    length = pl.col("v").str.len_chars().cast(pl.Int64)
    first = pl.when("spare_first").then(1).otherwise(0)
    frame = frame.with_columns(
        at=(first + (pl.col("u") * (length - first).clip(1)).floor().cast(pl.Int64)).clip(0, (length - 1).clip(0))
    )
    frame = frame.with_columns(
        before=pl.col("v").str.slice(0, pl.col("at")),
        char=pl.col("v").str.slice(pl.col("at"), 1),
        next=pl.col("v").str.slice(pl.col("at") + 1, 1),
        after=pl.col("v").str.slice(pl.col("at") + 1),
    )
    low = pl.col("char").str.to_lowercase()
    near = low.replace_strict(_NEIGHBOURS, default="aeinorst", return_dtype=pl.String)
    key = near.str.slice(pl.col("alt") % near.str.len_chars().cast(pl.Int64), 1)
    key = pl.when(pl.col("char") != low).then(key.str.to_uppercase()).otherwise(key)
    misread = low.replace_strict(_MISREAD, default=None, return_dtype=pl.String)
    action = pl.col("action")
    return frame.select(
        pl.when((action == 1) & (length > 2))
        .then(pl.concat_str("before", "after"))
        .when(action == 2)
        .then(pl.concat_str("before", "char", key, "after"))
        .when((action == 3) & (pl.col("next") != "") & (pl.col("next") != pl.col("char")))
        .then(pl.concat_str("before", "next", "char", pl.col("after").str.slice(1)))
        .when((action == 4) & misread.is_not_null())
        .then(pl.concat_str("before", misread, "after"))
        .otherwise(pl.concat_str("before", key, "after"))
        .alias(values.name)
    )[values.name]


def without_accents(values: pl.Series) -> pl.Series:
    """Letters with marks as plain letters."""
    plain = values.str.replace_many({"ł": "l", "Ł": "L", "ß": "ss", "ø": "o", "Ø": "O", "ı": "i", "đ": "d", "æ": "ae"})
    return plain.str.normalize("NFKD").str.replace_all(r"\p{Mn}", "").str.normalize("NFC")


def _transliterated(values: pl.Series) -> pl.Series:
    return values.str.replace_many(dict(_TWO_LETTERS))


def _first_surname(values: pl.Series) -> pl.Series:
    """Of two surnames the first; particles (van, de) belong to what follows."""
    return values.str.replace(r"^(\p{Lu}[\p{L}']{2,})[ -]\p{Lu}.*$", "${1}")


def _nicknamed(names: pl.Series, rng: np.random.Generator) -> pl.Series:
    """The short form, one of those the name has; names that have none stay."""
    known = nicknames().group_by("given_name", maintain_order=True).agg("nickname")
    frame = pl.DataFrame({"given_name": names, "alt": rng.integers(0, 60, len(names))}).join(
        known, on="given_name", how="left", maintain_order="left"
    )
    short = pl.col("nickname").list.get(pl.col("alt") % pl.col("nickname").list.len().cast(pl.Int64), null_on_oob=True)
    return frame.select(pl.coalesce(short, "given_name").alias(names.name))[names.name]


def _as_heard(names: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Each name with one of its sounds written otherwise, the first that it has from a random one on; a name with none stays."""
    heard, pending = names, np.arange(len(names))
    first = rng.integers(0, len(_SOUNDS), len(names))
    for step in range(len(_SOUNDS)):
        turn = (first[pending] + step) % len(_SOUNDS)
        for k, (sound, spelling) in enumerate(_SOUNDS):
            rows = pending[turn == k]
            if len(rows):
                written = heard.gather(rows).str.replace(f"(.){sound}", f"${{1}}{spelling}")
                heard = _scattered(heard, rows, written)
        pending = pending[(heard.gather(pending) == names.gather(pending)).to_numpy()]
    return heard


def _swap(draft: Draft, rows: Indices, left: str, right: str) -> None:
    before = draft.frame.select(left, right)[rows]
    draft.change("swapped_names", left, rows, lambda _: before[right])
    draft.change("swapped_names", right, rows, lambda _: before[left])


def _swapped_day_month(dates: pl.Series) -> pl.Series:
    frame = pl.DataFrame({"d": dates})
    day, month = pl.col("d").dt.day(), pl.col("d").dt.month()
    swapped = pl.date(pl.col("d").dt.year(), day, month)
    return frame.select(pl.when(day <= 12).then(swapped).otherwise("d").alias("d"))["d"]


def _near_date(dates: pl.Series, rng: np.random.Generator) -> pl.Series:
    """One figure wrong: a day, a ten of days, a month, a year or a decade beside."""
    offset = np.array([1, -1, 10, -10, 31, -30, 365, -365, 3652, -3652])[rng.integers(0, 10, len(dates))]
    return pl.DataFrame({"d": dates, "o": offset}).select(pl.col("d") + pl.duration(days="o"))["d"]


def _wrong_figure(phones: pl.Series, rng: np.random.Generator) -> pl.Series:
    """One of the last eight figures is another."""
    n = len(phones)
    frame = pl.DataFrame({"v": phones, "back": rng.integers(1, 9, n), "step": rng.integers(1, 10, n)})
    at = pl.col("v").str.len_chars().cast(pl.Int64) - pl.col("back")
    frame = frame.with_columns(at=at).with_columns(
        figure=pl.col("v").str.slice(pl.col("at"), 1).cast(pl.Int64, strict=False)
    )
    other = ((pl.col("figure") + pl.col("step")) % 10).cast(pl.String)
    head, tail = pl.col("v").str.slice(0, pl.col("at")), pl.col("v").str.slice(pl.col("at") + 1)
    return frame.select(pl.coalesce(pl.concat_str(head, other, tail), "v").alias("v"))["v"]


def _dummies(n: int, rng: np.random.Generator) -> pl.Series:
    return pl.Series(DUMMY_PHONES).gather(weighted_indices(rng, _DUMMY_WEIGHTS, n))


def _abbreviated(values: pl.Series) -> pl.Series:
    for long, short in _SHORT_STREETS:
        values = values.str.replace(long, short)
    return values
