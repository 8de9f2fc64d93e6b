"""A seeded population whose records carry errors, with the truth beside it, for tests of identity."""

from __future__ import annotations

import random

import polars as pl

_GIVEN = [
    "anna",
    "boris",
    "clara",
    "david",
    "elena",
    "felix",
    "greta",
    "hugo",
    "irene",
    "jonas",
    "katharina",
    "leon",
    "maria",
    "nils",
    "olivia",
    "paul",
    "rosa",
    "simon",
    "thea",
    "viktor",
]
_SYLLABLES = ["ber", "dan", "fel", "gar", "hol", "kel", "lin", "mar", "nor", "pet", "ros", "sten", "tor", "wal", "zim"]
_CITIES = ["aachen", "bonn", "celle", "dresden", "essen", "fulda", "gera", "hamm"]


def population(n_people: int, seed: int = 1, channels: tuple[str, ...] = ("crm", "shop")) -> pl.DataFrame:
    """One row per record (one to four a person) in the columns of `staging.parties`, and `person`, the truth."""
    rng = random.Random(seed)
    rows = []
    for person in range(n_people):
        given, surname = rng.choice(_GIVEN), "".join(rng.choices(_SYLLABLES, k=2)) + rng.choice(["", "er", "mann", "s"])
        born = f"{rng.randint(1940, 2005)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        email = f"{given}.{surname}{rng.randint(1, 99)}@mail.example"
        city, postcode = rng.choice(_CITIES), f"{rng.randint(10000, 10400)}"
        for copy in range(rng.randint(1, 4)):
            row: dict[str, str | None] = {
                "given_name": given,
                "surname": surname,
                "birth_date": born,
                "email": email,
                "address_city": city,
                "address_postcode": postcode,
            }
            for column in list(row):
                chance = rng.random()
                if chance < 0.08:
                    row[column] = None
                elif chance < 0.16 and copy:
                    row[column] = _typo(row[column], rng)
            rows.append({"channel": rng.choice(channels), "record_id": f"{person}-{copy}", "person": person, **row})
    rng.shuffle(rows)
    return pl.DataFrame(rows, infer_schema_length=None)


def _typo(value: str | None, rng: random.Random) -> str | None:
    if value is None:
        return None
    place = rng.randrange(len(value))
    replacement = rng.choice("0123456789") if value[place].isdigit() else rng.choice("abcdefghijklmnopqrstuvwxyz")
    return value[:place] + replacement + value[place + 1 :]


def pair_f1(truth: list[int], cluster: list[int]) -> float:
    """Harmonic mean of precision and recall over pairs of records."""
    frame = pl.DataFrame({"truth": truth, "cluster": cluster})

    def pairs(*keys: str) -> int:
        sizes = frame.group_by(*keys).len()["len"].cast(pl.Int64)
        return int((sizes * (sizes - 1) // 2).sum())

    return 2 * pairs("truth", "cluster") / max(pairs("truth") + pairs("cluster"), 1)
