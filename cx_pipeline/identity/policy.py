"""Thresholds and budgets of identity resolution, as data.

Belongs here: numbers a user may change in `settings.yaml`, with their units in their names and why they have their
default. Does not belong here: what is compared and how (model.py), or any computation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LinkagePolicy:
    """How candidate pairs are found, compared and scored.

    Attributes:
        model: `population`: the three-class model over all pairs of the population; `splink`: Splink's own training.
        max_raw_pairs_per_record: blocking budget: keys are taken, tightest first, until they yield this many pairs a
            record.
        max_raw_pairs: the same bound for the whole set, so that memory does not grow with the budget per record.
        max_block_records: a block larger than this says little and costs much: skipped.
        max_pairs_per_record: distinct pairs kept a record, those found by most keys first.
        all_pairs_up_to_records: a set this small is compared completely.
        n_random_pairs: random pairs that show how often unrelated records agree.
        seed: of the random pairs.
        max_em_iterations: bound of the estimation.
        min_records_for_dependence: under this many records no fields are found to depend on one another: there is too
            little to see it in.
        max_closure_neighbours: neighbours of a record through which unscored pairs two steps apart are added; 0: none.
        min_edge_log_odds: edges below this (natural log of the odds) are not returned; resolution counts them as this
            bad.
        memory_limit_gb, n_threads: of the embedded engine; None: the engine's default.
    """

    model: Literal["population", "splink"] = "population"
    max_raw_pairs_per_record: int = 400
    max_raw_pairs: int = 25_000_000
    max_block_records: int = 80
    max_pairs_per_record: int = 80
    all_pairs_up_to_records: int = 1_700
    n_random_pairs: int = 2_000_000
    seed: int = 20_240_229
    max_em_iterations: int = 25
    min_records_for_dependence: int = 1_000
    max_closure_neighbours: int = 40
    min_edge_log_odds: float = -10.0
    memory_limit_gb: float | None = None
    n_threads: int | None = None


@dataclass(frozen=True)
class ResolutionPolicy:
    """How scored pairs become customers.

    Attributes:
        pair_correlation: how much the pairs between two groups repeat one another (0: each is new evidence, 1:
            together they are worth one); n pairs count as n / (1 + (n - 1) x pair_correlation).
        min_component_log_odds: pairs at least this likely (natural log of the odds) make the components that are
            looked at.
        max_component_records: a larger component is cut at a higher level first.
        max_abs_log_odds: bound of one pair's voice; a pair that was never scored counts as minus this.
        min_merge_log_odds: groups are joined from here up; 0 means "more likely one person than not".
        max_cluster_records: a merge beyond this many records is refused; None: no limit.
    """

    pair_correlation: float = 2 / 3
    min_component_log_odds: float = -3.0
    max_component_records: int = 2_500
    max_abs_log_odds: float = 10.0
    min_merge_log_odds: float = 0.0
    max_cluster_records: int | None = None


@dataclass(frozen=True)
class CustomerPolicy:
    """How identifiers lead to customers.

    Attributes:
        weak_namespaces: identifiers that several people may share or that change often: they lead to a customer but never
            join two; the strongest first.
        max_records_per_identifier: a strong identifier carried by more party records than this joins none of them.
        max_partners: an identifier seen with more partners of a namespace at least as strong as its own belongs to nobody.
        max_steps: how far an identifier is followed through others until it reaches a known one.
    """

    weak_namespaces: tuple[str, ...] = (
        "email",
        "phone",
        "card_token",
        "social_handle",
        "device",
        "cookie",
        "household",
    )
    max_records_per_identifier: int = 200
    max_partners: int = 20
    max_steps: int = 5
