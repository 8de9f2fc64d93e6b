from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from cx_pipeline.identity.blocking import candidate_pairs
from cx_pipeline.identity.fields import Field, Kind
from cx_pipeline.identity.model import atoms
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.population import Population

FIELDS = (
    Field("address_postcode", Kind.CODE, False, "postcode"),
    Field("sex", Kind.CATEGORY, True, "sex"),
)
KEYS_ONLY = LinkagePolicy(all_pairs_up_to_records=0)


def table(
    postcodes: Sequence[str | None], sexes: Sequence[str | None] | None = None, channel: str = "crm"
) -> pl.DataFrame:
    n = len(postcodes)
    return pl.DataFrame(
        {
            "record": np.arange(n),
            "channel": [channel] * n,
            "address_postcode": postcodes,
            "party_kind": [0] * n,
            "sex": sexes or [None] * n,
        },
        schema_overrides={"address_postcode": pl.String, "sex": pl.String},
    )


def found(
    frame: pl.DataFrame, policy: LinkagePolicy, duplicate_free: frozenset[str] = frozenset()
) -> set[tuple[int, int]]:
    candidates = candidate_pairs(frame, atoms(FIELDS), policy, Population(frame, duplicate_free))
    return set(zip(candidates.left.tolist(), candidates.right.tolist(), strict=True))


def test_candidate_pairs_of_a_small_set_then_all() -> None:
    assert found(table(["a1", None, "c3"]), LinkagePolicy()) == {(0, 1), (0, 2), (1, 2)}


def test_candidate_pairs_by_keys_then_only_those_that_share_one() -> None:
    assert found(table(["10115", "10115", "99999", None]), KEYS_ONLY) == {(0, 1)}


def test_candidate_pairs_when_only_a_combined_key_is_shared_then_found() -> None:
    frame = table(["10115", "10199", "10177", "22222"], ["m", "m", "f", "m"])
    assert found(frame, KEYS_ONLY) == {(0, 1)}


def test_candidate_pairs_when_a_block_is_too_large_then_skipped() -> None:
    policy = LinkagePolicy(all_pairs_up_to_records=0, max_block_records=2)
    assert found(table(["10115", "10115", "10115", "20000", "20000"]), policy) == {(3, 4)}


def test_candidate_pairs_when_the_budget_is_spent_then_tightest_keys_first() -> None:
    frame = table(["10115", "10115", "10199", "10198"], ["m", "m", "m", "m"])
    policy = LinkagePolicy(all_pairs_up_to_records=0, max_raw_pairs=2)
    assert found(frame, policy) == {(0, 1)}


def test_candidate_pairs_within_a_duplicate_free_channel_then_none() -> None:
    frame = table(["10115", "10115", "10115"]).with_columns(channel=pl.Series(["a", "a", "b"]))
    for policy in (KEYS_ONLY, LinkagePolicy()):
        assert found(frame, policy, frozenset({"a"})) == {(0, 2), (1, 2)}


def test_candidate_pairs_when_records_have_too_many_then_those_of_most_keys_are_kept() -> None:
    n = 30
    frame = table(["10115"] * n, ["m"] * 3 + [f"other{i}" for i in range(n - 3)])
    kept = found(frame, LinkagePolicy(all_pairs_up_to_records=0, max_pairs_per_record=2))
    assert {(0, 1), (0, 2), (1, 2)} <= kept
    assert len(kept) <= 2 * n
