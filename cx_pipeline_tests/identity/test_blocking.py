from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from cx_pipeline.identity.blocking import (
    BlockCodes,
    BlockingKey,
    block_codes,
    candidate_pairs,
    two_step_pairs,
    unpacked,
)
from cx_pipeline.identity.fields import Field, Kind
from cx_pipeline.identity.hashing import Hasher
from cx_pipeline.identity.model import Atom, atoms

FIELDS = (
    Field("address_postcode", Kind.CODE, False, "postcode"),
    Field("sex", Kind.CATEGORY, True, "sex"),
)
POSTCODE = BlockingKey(("address_postcode",), 80)
BOTH = BlockingKey(("address_postcode[first:3]", "sex"), 80)


def table(postcodes: Sequence[str | None], sexes: Sequence[str | None] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {"address_postcode": postcodes, "sex": sexes or [None] * len(postcodes)},
        schema={"address_postcode": pl.String, "sex": pl.String},
    )


def codes_of(frame: pl.DataFrame) -> BlockCodes:
    return block_codes(frame, atoms(FIELDS), Hasher("key"))


def found(frame: pl.DataFrame, *keys: BlockingKey) -> set[tuple[int, int]]:
    pairs, _ = candidate_pairs(codes_of(frame), keys)
    left, right = unpacked(pairs, frame.height)
    return set(zip(left.tolist(), right.tolist(), strict=True))


def test_candidate_pairs_by_keys_then_only_those_that_share_one() -> None:
    assert found(table(["10115", "10115", "99999", None]), POSTCODE, BOTH) == {(0, 1)}


def test_candidate_pairs_when_only_a_combined_key_is_shared_then_found() -> None:
    frame = table(["10115", "10199", "10177", "22222"], ["m", "m", "f", "m"])
    assert found(frame, POSTCODE, BOTH) == {(0, 1)}


def test_candidate_pairs_when_a_block_is_too_large_then_skipped() -> None:
    assert found(table(["10115", "10115", "10115", "20000", "20000"]), BlockingKey(("address_postcode",), 2)) == {
        (3, 4)
    }


def test_candidate_pairs_when_several_keys_find_a_pair_then_once_and_sorted() -> None:
    frame = table(["10115", "10115", "10115"], ["m", "m", "m"])
    pairs, listed = candidate_pairs(codes_of(frame), (POSTCODE, BOTH))
    assert pairs.tolist() == [0 * 3 + 1, 0 * 3 + 2, 1 * 3 + 2]
    assert listed == {POSTCODE.label: 3, BOTH.label: 3}


def test_candidate_pairs_when_a_key_names_an_atom_that_there_is_not_then_none() -> None:
    assert found(table(["10115", "10115"]), BlockingKey(("phone",), 80)) == set()


def test_block_codes_then_those_of_a_row_depend_on_that_row_alone() -> None:
    frame = table(["10115", None, "20000"], ["m", "f", None])
    for label, codes in codes_of(frame).atoms.items():
        parts = [codes_of(frame[i : i + 1]).atoms[label][0] for i in range(3)]
        assert codes.tolist() == parts


@pytest.mark.parametrize(
    ("atom", "values", "is_same"),
    [
        (Atom("d", "m", "month_day", columns=("d",)), [("01", "01"), ("01", "01")], False),
        (Atom("d", "m", "month_day", columns=("d",)), [("02", "01"), ("02", "01")], True),
        (Atom("n", "m", "first:3"), [("annabel", ""), ("anna", "")], True),
        (Atom("n", "m", "first:3"), [("a", ""), ("a", "")], False),
        (Atom("n", "m", "last_half"), [("xx1234", ""), ("yyx234", "")], True),
        (Atom("n", "m", "letters"), [("anna.b77", ""), ("annab1", "")], True),
    ],
)
def test_block_codes_of_parts_then_what_the_part_says(atom: Atom, values: list[tuple[str, str]], is_same: bool) -> None:
    frame = pl.DataFrame(values, schema=["m", "d"], orient="row")
    first, second = block_codes(frame, [atom], Hasher("key")).atoms[atom.label].tolist()
    assert (first == second != 0) is is_same


def test_two_step_pairs_then_partners_of_one_record_and_only_over_likely_edges() -> None:
    edges = pl.DataFrame({"left": [0, 1, 2], "right": [1, 2, 3], "match_weight": [3.0, 2.0, -1.0]})
    assert two_step_pairs(edges, 4, 40).tolist() == [0 * 4 + 2]


def test_two_step_pairs_when_there_are_many_partners_then_over_the_best() -> None:
    edges = pl.DataFrame({"left": [0, 0, 0], "right": [1, 2, 3], "match_weight": [3.0, 2.0, 1.0]})
    assert two_step_pairs(edges, 4, 2).tolist() == [1 * 4 + 2]


def test_candidate_pairs_when_records_are_numbered_otherwise_then_the_same_pairs() -> None:
    frame = table([f"101{i % 7}5" for i in range(40)], ["m", "f"] * 20)
    order = np.random.default_rng(1).permutation(40)
    place = np.argsort(order)
    moved = {tuple(sorted((int(place[a]), int(place[b])))) for a, b in found(frame, POSTCODE, BOTH)}
    assert found(frame[order], POSTCODE, BOTH) == moved
