"""Linkability: whether a record shares enough undamaged evidence with another record of the same person for anyone to join them.

Belongs here: a lower bound on what a careful reader could join, from the truth. Does not belong here: joining (the identity room never
sees this).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.simulate.corruption import DUMMY_PHONES


def is_linkable(records: pl.DataFrame) -> pl.Series:
    """For each record whether one of these stands, the same, in another record of its person.

    An e-mail address or a telephone number with the same first letter of a given name or surname (or without any name); a birth date with
    the first two letters of surname or given name; a house number and postcode, or a postcode with a whole surname, with the first letter
    of the given name. Dummy telephone numbers count for nothing.

    Args:
        records: person_id, given_name, surname, birth_date (date), email, phone, house_number, postcode, own_code.

    Returns:
        is_linkable: NULL for records of people with one record.
    """
    text = records.with_row_index("row").with_columns(
        pl.col("given_name").str.to_lowercase().str.slice(0, 2).alias("g2"),
        pl.col("surname").str.to_lowercase().str.slice(0, 2).alias("s2"),
        pl.col("surname").str.to_lowercase().alias("s"),
        pl.col("email").str.to_lowercase().alias("email"),
        pl.when(~pl.col("phone").is_in(list(DUMMY_PHONES))).then("phone").alias("phone"),
    )
    g1, s1 = pl.col("g2").str.slice(0, 1), pl.col("s2").str.slice(0, 1)
    keys: list[tuple[str | pl.Expr, pl.Expr]] = [
        ("email", g1),
        ("email", s1),
        ("phone", g1),
        ("phone", s1),
        ("birth_date", pl.col("g2")),
        ("birth_date", pl.col("s2")),
        (pl.concat_str("postcode", "house_number", separator="/"), g1),
        (pl.concat_str("postcode", "s", separator="/"), g1),
    ]
    found = pl.Series([False] * records.height)
    for number, (field, name) in enumerate(keys):
        value = pl.col(field).cast(pl.String) if isinstance(field, str) else field
        key = pl.concat_str(value, name, separator="|").hash(seed=number)
        candidates = text.select(
            "row", "person_id", pl.when(value.is_not_null() & name.is_not_null()).then(key).alias("key")
        )
        candidates = candidates.drop_nulls("key")
        together = candidates.filter(pl.len().over("person_id", "key") > 1)["row"]
        found = found | _flags(together, records.height)
    # A mailbox confirmed without a name connects on its own.
    nameless = text.filter(pl.col("g2").is_null() & pl.col("s2").is_null()).select("row", "person_id", "email", "phone")
    for key_column in ("email", "phone"):
        pairs = nameless.drop_nulls(key_column).join(
            text.select("person_id", key_column, pl.col("row").alias("other")), on=["person_id", key_column]
        )
        pairs = pairs.filter(pl.col("row") != pl.col("other"))
        found = found | _flags(pl.concat([pairs["row"], pairs["other"]]), records.height)
    is_alone = text.select((pl.len().over("person_id") == 1).alias("alone"))["alone"]
    return pl.DataFrame({"found": found, "alone": is_alone}).select(
        pl.when(~pl.col("alone")).then("found").alias("is_linkable")
    )["is_linkable"]


def _flags(rows: pl.Series, n: int) -> pl.Series:
    flags = np.zeros(n, dtype=np.bool_)
    flags[rows.to_numpy()] = True
    return pl.Series(flags)
