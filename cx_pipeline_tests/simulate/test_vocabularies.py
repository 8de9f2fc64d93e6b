from __future__ import annotations

import pytest

from cx_pipeline.simulate.randomness import stream
from cx_pipeline.simulate.vocabularies import nicknames, streets, town_names, traditions


def test_traditions_when_listed_then_shares_and_weights_sum_to_one_and_words_are_distinct() -> None:
    assert sum(tradition.share for tradition in traditions()) == pytest.approx(1.0)
    for tradition in traditions():
        for vocabulary in (tradition.female, tradition.male, tradition.surnames):
            assert vocabulary.words.is_unique().all(), tradition.name
            assert vocabulary.weights.sum() == pytest.approx(1.0)


def test_english_surnames_when_two_are_drawn_then_they_agree_about_as_often_as_in_a_real_country() -> None:
    weights = traditions()[0].surnames.weights
    assert 0.0008 < (weights**2).sum() < 0.003


def test_vocabulary_when_drawn_from_then_frequent_words_come_more_often() -> None:
    drawn = streets().draw(stream(1, "s"), 20_000).value_counts(sort=True)
    assert drawn["count"][0] > 20 * drawn["count"][drawn.height // 2]


def test_places_and_nicknames_when_listed_then_there_are_enough_and_none_is_its_own_nickname() -> None:
    assert town_names().is_unique().all()
    assert len(town_names()) > 3_000
    pairs = nicknames()
    assert pairs.is_unique().all()
    assert not (pairs["given_name"] == pairs["nickname"]).any()
