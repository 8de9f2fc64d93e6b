from __future__ import annotations

import polars as pl

from cx_pipeline.identity.hashing import HashedTable, Hasher, combined

ANNA = 779_739_127_732_901
VALUES = pl.Series(["anna", "bert", None, "anna"])


def test_lasting_then_equal_for_equal_values_zero_for_none_and_fixed_for_all_times() -> None:
    hashes = Hasher("key").lasting(VALUES).tolist()
    assert hashes[0] == hashes[3] != hashes[1]
    assert hashes[2] == 0
    assert max(hashes) < 2**52
    # Stored models hold them: another figure here is a broken promise.
    assert hashes[0] == Hasher("key").lasting(pl.Series(["anna"])).tolist()[0] == ANNA


def test_lasting_under_another_key_then_other_hashes() -> None:
    assert Hasher("key").lasting(VALUES)[0] != Hasher("other").lasting(VALUES)[0]
    assert Hasher("key").fingerprint != Hasher("other").fingerprint


def test_lasting_without_any_value_then_zeros() -> None:
    assert Hasher("").lasting(pl.Series([None, None], dtype=pl.String)).tolist() == [0, 0]


def test_combined_when_one_is_missing_then_none_and_else_by_order() -> None:
    first, second = (Hasher("key").lasting(pl.Series(values)) for values in (["a", "b", None], ["b", "a", "a"]))
    together = combined([first, second]).tolist()
    assert together[2] == 0
    assert together[0] != together[1]
    assert combined([first]).tolist() == first.tolist()


def test_of_shares_when_all_values_are_single_then_one_share_for_all() -> None:
    table = HashedTable.of_shares(Hasher("key").lasting(pl.Series(["a", "b", "c", "d"])), 10)
    assert len(table.hashes) == 0
    assert table.rest == 0.25
