"""Business checks of the identity room."""

from __future__ import annotations

import narwhals as nw

from cx_pipeline.core.assets import table_check


@table_check("identity.customer_xref", reads=("identity.customer_xref", "staging.parties"))
def every_party_record_has_one_customer(xref: nw.LazyFrame, parties: nw.LazyFrame) -> nw.LazyFrame:
    """Each staged party record stands in the cross-reference exactly once, and nothing else does."""
    key = ["channel", "record_id"]
    missing = parties.select(key).join(xref, on=key, how="anti").with_columns(nw.lit("missing").alias("fault"))
    unknown = xref.select(key).join(parties, on=key, how="anti").with_columns(nw.lit("unknown").alias("fault"))
    return nw.concat([missing, unknown]).select("channel", "fault")


@table_check("identity.identifier_xref", reads=("identity.identifier_xref", "staging.identifiers"))
def every_identifier_was_seen(xref: nw.LazyFrame, identifiers: nw.LazyFrame) -> nw.LazyFrame:
    """Nothing leads to a customer that no channel has delivered."""
    return xref.join(identifiers.select("namespace", "value").unique(), on=["namespace", "value"], how="anti").select(
        "namespace", "customer_id"
    )


CHECKS = (every_party_record_has_one_customer, every_identifier_was_seen)
