"""Vocabularies: names, streets, towns and companies with how often each occurs, from the Faker library's lists.

Belongs here: words and their weights, nicknames. Does not belong here: who gets which (`population.py`), how they are misspelt
(`corruption.py`). Faker is used for its lists only: drawing happens in NumPy, a million at a time.

Frequencies: where Faker's provider states weights (`en_US`, `en_GB`, `sv_SE`) they are used; where it lists words only, ranks follow
Zipf-Mandelbrot over the list in a fixed shuffled order (most lists are alphabetical). English surnames get a long tail of
toponymic forms, because a list of 1,500 names alone would make every second stranger a namesake.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from cx_pipeline.simulate.randomness import Floats, Indices, stream, weighted_indices, zipf_weights

_ORDER_SEED = 20_260_630


@dataclass(frozen=True)
class Vocabulary:
    """Distinct words with their weights (summing to 1), in any order."""

    words: pl.Series
    weights: Floats

    def draw(self, rng: np.random.Generator, size: int) -> pl.Series:
        """`size` words, each as likely as its weight."""
        return self.words.gather(weighted_indices(rng, self.weights, size))

    def indices(self, rng: np.random.Generator, size: int) -> Indices:
        """`size` positions in `words`, each as likely as its weight."""
        return weighted_indices(rng, self.weights, size)


@dataclass(frozen=True)
class Tradition:
    """How a heritage names its people.

    Attributes:
        name: the heritage.
        share: share of households.
        female, male: given names.
        surnames: family names.
    """

    name: str
    share: float
    female: Vocabulary
    male: Vocabulary
    surnames: Vocabulary


# heritage: share of households, Faker locales (the first also gives given names).
_TRADITIONS: Mapping[str, tuple[float, tuple[str, ...]]] = {
    "english": (0.64, ("en_GB", "en_US")),
    "irish": (0.06, ("en_IE",)),
    "indian": (0.07, ("en_IN",)),
    "polish": (0.06, ("pl_PL",)),
    "german": (0.04, ("de_DE",)),
    "italian": (0.03, ("it_IT",)),
    "spanish": (0.03, ("es_ES",)),
    "french": (0.02, ("fr_FR",)),
    "portuguese": (0.02, ("pt_PT",)),
    "turkish": (0.015, ("tr_TR",)),
    "dutch": (0.01, ("nl_NL",)),
    "swedish": (0.005, ("sv_SE",)),
}

_STEMS = (
    "Ash Aller Bard Barn Beck Bent Birk Black Brad Bram Brath Broad Brom Buck Burn Cald Carl Chad Charl Chat Cleve Clif Col "
    "Cop Cran Craw Cros Cul Dal Den Dod Dun East Eding Ell Elm Fair Farn Fen Find Fle Gar Glad Gold Gran Graves Green Grim "
    "Had Hal Ham Hart Hath Hawk Hazel Heath Hend Hes Hey Hol Horn Hud Hun Ing Ken Kil Kirk Lang Lat Led Lin Lock Long Lud "
    "Mal Mar Mel Mid Mil Mor Net New Nor Oak Old Or Os Pad Pel Pem Pen Pick Pil Pres Rad Ram Raw Red Rib Rock Rod Roth Rush "
    "Sal San Sed Sel Shel Ship Sib Skel Smal Stan Stav Stock Stort Strat Sud Sut Swan Tem Thack Thorn Tin Tor Tris Wad Wal "
    "Ware Wat Wel Wes Whar Whit Wick Wil Win Wol Wood Wor Wrag Wyn Yar"
)
_PLACE_STEMS = tuple(_STEMS.split())
_ENDINGS = (
    "ley ham ton ford worth field wood bury by croft bourne brook combe cote den don ridge shaw stead stone thorpe "
    "thwaite wick gate grove hurst land man more ning"
)
_PLACE_ENDINGS = tuple(_ENDINGS.split())
_TAIL_SHARE = 0.34

_STREETS = (
    "High Street;Station Road;Main Street;Park Road;Church Road;Church Street;London Road;Victoria Road;Green Lane;Manor Road;"
    "Church Lane;Park Avenue;The Avenue;The Crescent;Queens Road;New Road;Grange Road;Kings Road;Kingsway;Windsor Road;Highfield Road;"
    "Mill Lane;Alexander Road;York Road;St Johns Road;Main Road;Broadway;King Street;The Green;Springfield Road;George Street;"
    "Park Lane;Victoria Street;Albert Road;Queensway;New Street;Queen Street;West Street;North Street;Manchester Road;The Grove;"
    "Richmond Road;Grove Road;South Street;School Lane;The Drive;North Road;Stanley Road;Chester Road;Mill Road"
)
_COMMON_STREETS = tuple(_STREETS.split(";"))
_STREET_ENDINGS = (
    "Street",
    "Road",
    "Lane",
    "Avenue",
    "Close",
    "Drive",
    "Way",
    "Court",
    "Gardens",
    "Terrace",
    "Crescent",
    "Place",
)

MAIL_DOMAINS: Mapping[str, float] = {
    "postbox.example": 0.36,
    "mailhaven.example": 0.19,
    "outmail.example": 0.14,
    "yonder-mail.example": 0.09,
    "cloudletter.example": 0.07,
    "northnet.example": 0.05,
    "broadlink.example": 0.04,
    "talkline.example": 0.03,
    "protonic.example": 0.02,
    "oldpost.example": 0.01,
}

# The formal name first; of these a nickname is drawn for a record whose source asks "what do we call you?".
_NICKNAMES = """
Abigail Abby Gail
Alexander Alex Sandy Sasha
Alexandra Alex Lexi Sandra
Alexandre Alex
Amanda Mandy
Andrea Andi
Andrew Andy Drew
Angela Angie
Anna Annie Ania
Anthony Tony
Antonio Toni
Barbara Barb Basia
Benjamin Ben Benny
Bernard Bernie
Cameron Cam
Carolyn Carol
Catherine Kate Cathy Katie
Charles Charlie Chuck
Charlotte Lottie Charlie
Christina Chris Tina
Christine Chris Chrissy
Christopher Chris Kit
Daniel Dan Danny
David Dave
Deborah Debbie Deb
Donald Don
Dorothy Dot Dolly
Douglas Doug
Edward Ed Eddie Ted
Eleanor Ellie Nell
Elizabeth Liz Beth Lizzie
Emily Em Emmie
Ewa Ewunia
Frances Fran
Francesco Franco
Francis Frank
Franziska Franzi
Frederick Fred Freddie
Geoffrey Geoff
Georgina Georgie Gina
Gerald Gerry
Gillian Gill
Graham Gra
Gregory Greg
Guillermo Memo
Hannah Han
Harold Harry
Henry Harry
Isabel Izzy Bella
Isabella Bella Izzy
Jacob Jake
Jacqueline Jackie
Jakub Kuba
James Jim Jimmy Jamie
Janet Jan
Jennifer Jen Jenny
Jeremy Jez
Jessica Jess
Joanna Jo Asia
Joanne Jo
John Jack Johnny
Jonathan Jon Jonny
Joseph Joe Joey
José Pepe
Joshua Josh
Joyce Joy
Judith Judy
Julie Jules
Katarzyna Kasia
Katherine Kath Katie Kate
Kathleen Kath Kathy
Kenneth Ken Kenny
Kimberley Kim
Kimberly Kim
Lawrence Larry
Leonard Len Lenny
Lesley Les
Leslie Les
Louise Lou
Lucinda Lucy
Maciej Maciek
Małgorzata Gosia
Margaret Maggie Peggy Meg
Maria Mia
Martin Marty
Matthew Matt
Maximilian Max
Megan Meg
Melissa Mel
Michael Mike Mick
Michelle Shell
Mohammed Mo
Natalie Nat
Nathan Nate
Nicholas Nick Nicky
Nicola Nicky Nic
Olivia Liv Livvy
Pamela Pam
Patricia Pat Trish
Patrick Pat Paddy
Peter Pete
Philip Phil
Rachel Rach
Raymond Ray
Rebecca Becky Becca
Richard Rick Rich Dick
Robert Bob Rob Bobby
Ronald Ron
Rosemary Rose Rosie
Russell Russ
Samantha Sam
Samuel Sam Sammy
Sandra Sandy
Sara Sal
Sarah Sally
Sebastian Seb
Stephanie Steph
Stephen Steve
Steven Steve
Stuart Stu
Susan Sue Suzie
Suzanne Sue
Terence Terry
Theodore Theo Ted
Thomas Tom Tommy
Timothy Tim
Tomasz Tomek
Valerie Val
Victoria Vicky Tori
Vincent Vince
William Bill Will Billy
Zachary Zach Zac
Zoë Zo
"""


@functools.cache
def traditions() -> tuple[Tradition, ...]:
    """Name traditions of the country, with their shares of households."""
    return tuple(
        Tradition(name, share, _given(locales[0], "female"), _given(locales[0], "male"), _surnames(name, locales))
        for name, (share, locales) in _TRADITIONS.items()
    )


@functools.cache
def nicknames() -> pl.DataFrame:
    """Columns given_name, nickname: one row per pair."""
    pairs = [(formal, short) for formal, *shorts in map(str.split, _NICKNAMES.strip().splitlines()) for short in shorts]
    return pl.DataFrame(pairs, schema={"given_name": pl.String, "nickname": pl.String}, orient="row")


@functools.cache
def streets() -> Vocabulary:
    """Street names of a country: a few are everywhere, most are in few towns."""
    stems = [word for word in _weighted(_listed("person", "en_GB", "last_names")) if word.isascii()]
    made = [f"{stem} {ending}" for stem in stems for ending in _STREET_ENDINGS]
    order = stream(_ORDER_SEED, "streets").permutation(len(made))
    words = [*_COMMON_STREETS, *(made[i] for i in order)]
    return _vocabulary(dict(zip(words, zipf_weights(len(words), 0.75).tolist(), strict=True)))


@functools.cache
def town_names() -> pl.Series:
    """Distinct names of towns, in a fixed random order."""
    endings = _listed("address", "en_GB", "city_suffixes")
    prefixes = ["", *(f"{prefix} " for prefix in _listed("address", "en_GB", "city_prefixes"))]
    stems = list(dict.fromkeys([*_PLACE_STEMS, *_weighted(_listed("person", "en_GB", "last_names"))]))
    made = list(dict.fromkeys(f"{prefix}{stem}{ending}" for stem in stems for ending in endings for prefix in prefixes))
    order = stream(_ORDER_SEED, "towns").permutation(len(made))
    return pl.Series("city", [made[i] for i in order[:20_000]], dtype=pl.String)


def regions() -> list[str]:
    """Counties of the country."""
    return sorted(set(_listed("address", "en_GB", "counties")))


def postal_areas() -> list[str]:
    """Letters that postcodes begin with."""
    return sorted(set(_listed("address", "en_GB", "POSTAL_ZONES")))


def _given(locale: str, sex: str) -> Vocabulary:
    listed = _listed("person", locale, f"first_names_{sex}")
    if locale == "en_GB":
        # This list is in order of frequency; the American one lends it a tail.
        return _vocabulary(_mixed(_weighted(listed), _weighted(_listed("person", "en_US", f"first_names_{sex}")), 0.25))
    return _vocabulary(_weighted(listed, f"{locale}.{sex}"))


def _surnames(name: str, locales: Sequence[str]) -> Vocabulary:
    if name == "polish":
        common = _weighted(_listed("person", "pl_PL", "male_last_names"), None)
        rare = _weighted(_listed("person", "pl_PL", "unisex_last_names"), "pl_PL.unisex")
        return _vocabulary(_mixed(common, rare, 0.5))
    lists = [_weighted(_listed("person", locale, "last_names"), f"{locale}.surnames") for locale in locales]
    weights = lists[0]
    for other in lists[1:]:
        weights = _mixed(weights, other, 0.5)
    if name == "english":
        made = [stem + ending for stem in _PLACE_STEMS for ending in _PLACE_ENDINGS]
        order = stream(_ORDER_SEED, "surnames").permutation(len(made))
        tail = dict(zip((made[i] for i in order), zipf_weights(len(made), 0.6), strict=True))
        weights = _mixed(weights, tail, _TAIL_SHARE)
    return _vocabulary(weights)


def _listed(provider: str, locale: str, name: str) -> Any:
    """A list of words as Faker ships it: a sequence, or a mapping of words to weights."""
    module = importlib.import_module(f"faker.providers.{provider}.{locale}")
    return getattr(module.Provider, name)


def _weighted(listed: Mapping[str, float] | Sequence[str], shuffle: str | None = None) -> dict[str, float]:
    """Words with weights that sum to 1: the list's own, else Zipf over its order or over a fixed shuffled one."""
    if isinstance(listed, Mapping):
        total = float(sum(listed.values()))
        return {word: float(weight) / total for word, weight in listed.items()}
    words = list(dict.fromkeys(listed))
    if shuffle:
        words = [words[i] for i in stream(_ORDER_SEED, shuffle).permutation(len(words))]
    return dict(zip(words, zipf_weights(len(words), 0.9).tolist(), strict=True))


def _mixed(left: Mapping[str, float], right: Mapping[str, float], share_right: float) -> dict[str, float]:
    words = dict.fromkeys([*left, *right])
    return {word: (1 - share_right) * left.get(word, 0.0) + share_right * right.get(word, 0.0) for word in words}


def _vocabulary(weights: Mapping[str, float]) -> Vocabulary:
    values = np.array(list(weights.values()), dtype=np.float64)
    return Vocabulary(pl.Series(list(weights), dtype=pl.String), values / values.sum())
