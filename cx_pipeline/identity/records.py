"""The records as they are compared: standardised and numbered, with their identifiers.

Belongs here: the one way from staging's tables to comparable records, for the night and for whoever explains it afterwards.
Does not belong here: comparing and deciding.
"""

from __future__ import annotations

import narwhals as nw
import polars as pl

from cx_pipeline.core.frames import to_polars
from cx_pipeline.identity.fields import number_records
from cx_pipeline.identity.standardise import standardise

_KEYS = ["channel", "record_id"]
_TRAITS = ("given_name", "birth_date")


def comparable_records(
    parties: nw.LazyFrame, party_identifiers: pl.DataFrame, identifiers: pl.DataFrame
) -> pl.DataFrame:
    """Party records, standardised and numbered (see `number_records`), with what they carry of identifiers.

    Args:
        parties: `staging.parties`.
        party_identifiers: channel, record_id, namespace, value.
        identifiers: channel, namespace, value, raw_value.
    """
    return number_records(to_polars(standardise(parties)), _raw_identifiers(party_identifiers, identifiers))


def records_with_standard_traits(parties: nw.LazyFrame) -> pl.DataFrame:
    """Party records as staged, with `standard_given_name` and `standard_birth_date` where there are such fields.

    Args:
        parties: `staging.parties`.
    """
    standard = standardise(parties)
    there = [name for name in _TRAITS if name in standard.collect_schema().names()]
    traits = standard.select(*_KEYS, *(nw.col(name).alias(f"standard_{name}") for name in there))
    return to_polars(parties).join(to_polars(traits), on=_KEYS, how="left", maintain_order="left")


def _raw_identifiers(party_identifiers: pl.DataFrame, identifiers: pl.DataFrame) -> pl.DataFrame:
    """The records' identifiers as delivered, to be compared with tolerance; e-mail and phone are fields of the record already."""
    raw = identifiers.select("channel", "namespace", "value", "raw_value")
    joined = party_identifiers.filter(~pl.col("namespace").is_in(["email", "phone"])).join(
        raw, on=["channel", "namespace", "value"]
    )
    return joined.select("channel", "record_id", "namespace", pl.col("raw_value").alias("value"))
