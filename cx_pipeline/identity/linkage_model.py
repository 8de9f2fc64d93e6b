"""The linkage model as data: everything a night needs to block and score as the training did, and nothing about a person.

Belongs here: the parts of the model, to and from JSON, whether it still fits the records. Does not belong here: how it is learnt
(training.py) and used (linkage.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from cx_pipeline.core.errors import EngineError
from cx_pipeline.identity.blocking import BlockingKey
from cx_pipeline.identity.fields import Field, Kind, choose_fields
from cx_pipeline.identity.hashing import HashedTable, Hasher
from cx_pipeline.identity.model import Comparison, comparisons
from cx_pipeline.identity.policy import LinkagePolicy
from cx_pipeline.identity.scoring import PairScorer

MODEL = "linkage"
PERSONS, ORGANISATIONS = "persons", "organisations"


@dataclass(frozen=True)
class LinkageModel:
    """A trained model, frozen: the same records and the same model give the same edges.

    Attributes:
        kind: `population` or `splink`, see LinkagePolicy.model.
        fields: what records are compared by.
        keys: how candidate pairs are found.
        tokens: shares of the commonest name tokens; None where there are no names.
        scorers: `persons` and `organisations`, those of which there were pairs; none for `splink`.
        splink: Splink's settings, with m and u.
        n_records: what it was trained on.
        key_fingerprint: of the key of its hashes; under another key it knows no value.
        learnt: figures for reports; no personal data.
    """

    kind: str
    fields: tuple[Field, ...]
    keys: tuple[BlockingKey, ...]
    tokens: HashedTable | None
    scorers: dict[str, PairScorer]
    splink: dict[str, Any]
    n_records: int
    key_fingerprint: str
    learnt: dict[str, Any] = field(default_factory=dict)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per field."""
        return comparisons(self.fields)

    def scorer(self, of_organisations: bool) -> PairScorer:
        """For pairs of one sort; where training saw none of them, the other sort's."""
        name, other = (ORGANISATIONS, PERSONS) if of_organisations else (PERSONS, ORGANISATIONS)
        return self.scorers.get(name) or self.scorers[other]

    def described(self) -> dict[str, Any]:
        """What explanation and audit read: Splink's settings and our tables, without frequencies of values."""
        ours = {"model": self.kind} | {name: scorer.described() for name, scorer in self.scorers.items()}
        return {"splink": self.splink, "identity": ours}

    def as_dict(self) -> dict[str, Any]:
        """The whole model, JSON-ready."""
        return {
            "kind": self.kind,
            "fields": [asdict(one) | {"kind": one.kind.value} for one in self.fields],
            "keys": [key.as_dict() for key in self.keys],
            "tokens": self.tokens.as_dict() if self.tokens else None,
            "scorers": {name: scorer.as_dict() for name, scorer in self.scorers.items()},
            "splink": self.splink,
            "n_records": self.n_records,
            "key_fingerprint": self.key_fingerprint,
            "learnt": self.learnt,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LinkageModel:
        """What `as_dict` gave.

        Raises:
            EngineError: where this version compares otherwise than the one that trained the model.
        """
        fields = tuple(Field(**(one | {"kind": Kind(one["kind"])})) for one in stored["fields"])
        chosen = comparisons(fields)
        return cls(
            stored["kind"],
            fields,
            tuple(BlockingKey.from_dict(key) for key in stored["keys"]),
            HashedTable.from_dict(stored["tokens"]) if stored["tokens"] else None,
            {name: PairScorer.from_dict(one, chosen, name == ORGANISATIONS) for name, one in stored["scorers"].items()},
            stored["splink"],
            stored["n_records"],
            stored["key_fingerprint"],
            stored["learnt"],
        )


def usable_model(
    stored: dict[str, Any] | None, records: pl.DataFrame, policy: LinkagePolicy, hash_key: str
) -> LinkageModel | None:
    """The stored model, or None where the night has to train a new one.

    That is so without a model; with one of another kind or another hash key, or that this version cannot read; where records have
    fields that it does not know; and where they have become many more than it was trained on, because what is rare depends on how
    many there are.
    """
    if stored is None:
        return None
    try:
        model = LinkageModel.from_dict(stored)
    except (EngineError, KeyError, ValueError):
        return None
    known = {(one.name, one.label) for one in model.fields}
    unknown = {(one.name, one.label) for one in choose_fields(records)} - known
    has_grown = records.height > policy.max_growth_until_training * max(model.n_records, 1)
    is_ours = model.kind == policy.model and model.key_fingerprint == Hasher(hash_key).fingerprint
    return model if is_ours and not unknown and not has_grown else None
