"""The fields of a record that are evidence of identity: which there are, of what kind, and their derived columns.

Belongs here: roles -> fields, derived spellings (Soundex, roots of names, weighted tokens). Does not belong here: how
two values compare (model.py) and what the agreement is worth (population_em.py, Splink's training).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import polars as pl

from cx_pipeline.identity.hashing import HashedTable, Hasher
from cx_pipeline.identity.nicknames import given_name_roots
from cx_pipeline.identity.population import ORGANISATION, PERSON, UNKNOWN

IDENTIFIER_PREFIX = "id_"
TOKEN_WEIGHT_BITS = 8
_MAX_TOKENS = 20_000


class Kind(Enum):
    """How a field's values are compared and blocked."""

    GIVEN_NAME = "given_name"
    SURNAME = "surname"
    FULL_NAME = "full_name"
    DATE = "date"
    CODE = "code"
    IDENTIFIER = "identifier"
    TEXT = "text"
    EMAIL = "email"
    CATEGORY = "category"


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: column of the comparison table; an identifier's is numbered, because a namespace may be spelt anyhow.
        kind: how it is compared.
        is_personal: held by one person; a household or a namesake at the same address does not share it.
        is_corporate: held by one organisation; others at its address or in its group do not share it.
        label: what a reader is told it is.
    """

    name: str
    kind: Kind
    is_personal: bool
    label: str
    is_corporate: bool = False

    def is_own(self, of_organisations: bool) -> bool:
        """Whether related but different parties of this sort have values of their own."""
        return self.is_corporate if of_organisations else self.is_personal


_FIELDS = (
    Field("given_name", Kind.GIVEN_NAME, True, "given name"),
    Field("surname", Kind.SURNAME, False, "surname"),
    Field("full", Kind.FULL_NAME, False, "full name"),
    Field("birth_date", Kind.DATE, True, "birth date"),
    Field("organisation_name", Kind.TEXT, False, "organisation", is_corporate=True),
    Field("organisation_registration_id", Kind.IDENTIFIER, False, "registration id", is_corporate=True),
    Field("email", Kind.EMAIL, False, "e-mail"),
    Field("phone", Kind.CODE, False, "telephone"),
    Field("sex", Kind.CATEGORY, True, "sex"),
    Field("birth_place", Kind.TEXT, False, "birth place"),
    Field("occupation", Kind.TEXT, False, "occupation"),
    Field("address_line", Kind.TEXT, False, "address line"),
    Field("address_number", Kind.CODE, False, "house number"),
    Field("address_street", Kind.TEXT, False, "street"),
    Field("address_unit", Kind.TEXT, False, "unit"),
    Field("address_city", Kind.TEXT, False, "city"),
    Field("address_region", Kind.CATEGORY, False, "region"),
    Field("address_postcode", Kind.CODE, False, "postcode"),
    Field("address_country", Kind.CATEGORY, False, "country"),
)
_NAMES = ("given_name", "surname", "full", "organisation_name")
_SHARED_NAMESPACES = ("household", "account", "device", "cookie")


def number_records(standardised: pl.DataFrame, identifiers: pl.DataFrame | None = None) -> pl.DataFrame:
    """The standardised records numbered 0 .. n-1 by (channel, record_id), identifiers as columns.

    Args:
        standardised: what `standardise` gives, collected.
        identifiers: channel, record_id, namespace, value; one column `id_<namespace>` per namespace is added, with the
            lowest value where a record has several.

    Returns:
        one row per record in the order of `record`, so that the number depends on the set of records alone.
    """
    records = standardised.sort("channel", "record_id")
    if identifiers is not None and identifiers.height:
        codes = (
            identifiers.select(
                "channel",
                "record_id",
                "namespace",
                pl.col("value").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", "").alias("value"),
            )
            .filter(pl.col("value") != "")
            .group_by("channel", "record_id", "namespace")
            .agg(pl.col("value").min())
        )
        for namespace in codes["namespace"].unique().sort():
            column = codes.filter(pl.col("namespace") == namespace).select(
                "channel", "record_id", pl.col("value").alias(f"{IDENTIFIER_PREFIX}{namespace}")
            )
            records = records.join(column, on=["channel", "record_id"], how="left", maintain_order="left")
    return _name_parts_of_full_names(records).with_row_index("record").with_columns(pl.col("record").cast(pl.Int64))


def _name_parts_of_full_names(records: pl.DataFrame) -> pl.DataFrame:
    """A record with a full name only lends its ends to given name and surname; their order is compared crossed, too."""
    tokens = pl.col("full_name").str.split(" ")
    has_full_only = pl.col("given_name").is_null() & pl.col("surname").is_null() & (tokens.list.len() > 1)
    return records.with_columns(
        pl.when(has_full_only).then(tokens.list.first()).otherwise("given_name").alias("given_name"),
        pl.when(has_full_only).then(tokens.list.last()).otherwise("surname").alias("surname"),
    )


def choose_fields(records: pl.DataFrame) -> tuple[Field, ...]:
    """The fields that can tell records apart: present, and with two values at least. None without any name."""
    identifiers = [
        Field(f"identifier_{i}", Kind.IDENTIFIER, _is_personal(namespace), namespace, _is_personal(namespace))
        for i, namespace in enumerate(_namespaces(records))
    ]
    present = [field for field in (*_FIELDS, *identifiers) if _varies(records, _source_column(field))]
    if not any(field.name in _NAMES for field in present):
        return ()
    return tuple(present)


def comparison_columns(
    records: pl.DataFrame,
    fields: tuple[Field, ...],
    hasher: Hasher | None = None,
    frequencies: HashedTable | None = None,
) -> pl.DataFrame:
    """One row per record with the columns that model.py's comparisons and blocking keys read.

    Args:
        records: what `number_records` gives, or some of its rows; a row's columns depend on that row alone.
        fields: of the model; one that the records lack is missing everywhere.
        hasher: names the tokens; None: without a key.
        frequencies: of the tokens, as the model knows them; None: those of these records.
    """
    hasher = hasher or Hasher("")
    names = {field.name for field in fields}
    plain = [field for field in fields if field.kind is not Kind.FULL_NAME]
    present = set(records.columns)
    values = [
        (pl.col(column) if column in present else pl.lit(None, dtype=pl.String)).alias(field.name)
        for field in plain
        for column in [_source_column(field)]
    ]
    table = records.select("record", "channel", party_kind(), *values)
    if "full" in names:
        known = frequencies or token_frequencies(records, hasher, _MAX_TOKENS)
        table = table.with_columns(_weighted_tokens(records["full"], known, hasher))
    if "given_name" in names:
        roots = given_name_roots()
        table = table.with_columns(
            pl.col("given_name").replace(roots).alias("given_name_root"), _soundex(table["given_name"])
        )
    if "surname" in names:
        table = table.with_columns(_soundex(table["surname"]))
    if "birth_date" in names:
        table = table.with_columns(
            records["birth_year"],
            records["birth_month"],
            records["birth_day"],
            records["birth_year"].cast(pl.Int32, strict=False).alias("birth_year_number"),
        )
    if "email" in names:
        table = table.with_columns(
            pl.col("email").str.split("@").list.first().alias("email_user"),
            pl.col("email").str.extract(r"@(.+)$", 1).alias("email_domain"),
        )
    return table


def party_kind() -> pl.Expr:
    """Who names a person is about a person, also where an organisation is named beside; dates of birth and sexes name one."""
    names_person = pl.any_horizontal(pl.col("full", "birth_date", "birth_year", "sex").is_not_null())
    names_organisation = pl.col("organisation_name").is_not_null()
    return (pl.when(names_person).then(PERSON).when(names_organisation).then(ORGANISATION).otherwise(UNKNOWN)).alias(
        "party_kind"
    )


def _is_personal(namespace: str) -> bool:
    return not any(word in namespace.lower() for word in _SHARED_NAMESPACES)


def _namespaces(records: pl.DataFrame) -> list[str]:
    return [name.removeprefix(IDENTIFIER_PREFIX) for name in records.columns if name.startswith(IDENTIFIER_PREFIX)]


def _source_column(field: Field) -> str:
    if field.name.startswith("identifier_"):
        return f"{IDENTIFIER_PREFIX}{field.label}"
    return field.name


def _varies(records: pl.DataFrame, column: str) -> bool:
    if column == "birth_date":
        return records["birth_year"].drop_nulls().n_unique() > 1 or records["birth_date"].drop_nulls().n_unique() > 1
    return column in records.columns and records[column].drop_nulls().n_unique() > 1


def token_frequencies(records: pl.DataFrame, hasher: Hasher, max_tokens: int) -> HashedTable:
    """Share of the records that each of the commonest name tokens stands in; that of a rarer one is the mean of the rest."""
    tokens = records["full"].drop_nulls().explode().drop_nulls()
    found = HashedTable.of_shares(hasher.lasting(tokens), max_tokens)
    per_record = len(tokens) / max(records.height, 2)
    return HashedTable(found.hashes, found.numbers * per_record, found.rest * per_record)


def _weighted_tokens(full: pl.Series, frequencies: HashedTable, hasher: Hasher) -> list[pl.Series]:
    """Tokens as numbers whose low bits are their weight (rarity, ln n/df): an intersection carries its own worth."""
    tokens = pl.DataFrame({"place": np.arange(len(full)), "token": full}).explode("token").drop_nulls("token")
    hashes = hasher.lasting(tokens["token"])
    share = np.clip(frequencies.of(hashes), 1e-300, 1.0)
    weight = np.clip(np.round(8 * -np.log(share)), 1, (1 << TOKEN_WEIGHT_BITS) - 1).astype(np.int64)
    number = hashes.astype(np.int64) << TOKEN_WEIGHT_BITS | weight
    joined = (
        tokens.select("place", number=pl.Series(number), weight=pl.Series(weight.astype(np.int32)))
        .group_by("place")
        .agg(pl.col("number").sort(), pl.col("weight").sum())
    )
    every = pl.DataFrame({"place": np.arange(len(full))}).join(joined, on="place", how="left", maintain_order="left")
    return [every["number"].alias("full_tokens"), every["weight"].alias("full_weight")]


def _soundex(values: pl.Series) -> pl.Series:
    unique = values.drop_nulls().unique().to_list()
    codes = {value: soundex(value) for value in unique}
    return values.replace_strict(codes, default=None, return_dtype=pl.String).alias(f"{values.name}_soundex")


_SOUNDEX_DIGITS = {
    letter: digit
    for letters, digit in (("bfpv", "1"), ("cgjkqsxz", "2"), ("dt", "3"), ("l", "4"), ("mn", "5"), ("r", "6"))
    for letter in letters
}


def soundex(word: str) -> str | None:
    """American Soundex (National Archives) of the first token; None where that does not begin with a Latin letter."""
    token = word.split(" ")[0]
    if not token or not "a" <= token[0] <= "z":
        return None
    digits = [token[0]]
    previous = _SOUNDEX_DIGITS.get(token[0], "")
    for letter in token[1:]:
        digit = _SOUNDEX_DIGITS.get(letter, "")
        if digit and digit != previous:
            digits.append(digit)
        if letter not in "hw":
            previous = digit
    return "".join(digits)[:4].ljust(4, "0")
