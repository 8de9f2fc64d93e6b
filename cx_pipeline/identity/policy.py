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
        pairs_per_record: budget of blocking: distinct pairs a record that the keys of a new model may find, in sets of up to
            `small_set_records`.
        pairs_per_record_at_scale: likewise from `large_set_records` on; between the two it falls evenly in logarithms.
        small_set_records, large_set_records: see there.
        max_raw_pairs_per_record, max_raw_pairs: what all keys that training looks at may list, repeats included; the tightest
            keys first.
        max_block_records: a block larger than this says little and costs much: skipped. Training gives each key this limit or a
            half, a quarter ... of it.
        max_training_pairs: candidate pairs that a model is learnt from; of more, a sample.
        max_values_per_field: values of a field whose frequencies the model keeps; the rarer ones share their mean.
        max_growth_until_training: the night trains a new model when there are this many times the records of the last training.
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
    pairs_per_record: float = 80.0
    pairs_per_record_at_scale: float = 15.0
    small_set_records: int = 100_000
    large_set_records: int = 1_000_000
    max_raw_pairs_per_record: int = 400
    max_raw_pairs: int = 400_000_000
    max_block_records: int = 80
    max_training_pairs: int = 4_000_000
    max_values_per_field: int = 20_000
    max_growth_until_training: float = 3.0
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
        max_cluster_records: a merge by scores beyond this many records is refused; None: no limit.
        near_miss_log_odds: a refused pair at least this likely is kept in `identity.rejected_edges`; those below are not.
        suspicious_records: a customer of more records than this is suspected of being several people.
        suspicious_density: so is one of four records or more in which a smaller share of the pairs speaks for one person.
    """

    pair_correlation: float = 2 / 3
    min_component_log_odds: float = -3.0
    max_component_records: int = 2_500
    max_abs_log_odds: float = 10.0
    min_merge_log_odds: float = 0.0
    max_cluster_records: int | None = 200
    near_miss_log_odds: float = -1.0
    suspicious_records: int = 50
    suspicious_density: float = 0.3


@dataclass(frozen=True)
class CustomerPolicy:
    """How identifiers and decisions lead to customers.

    Attributes:
        weak_namespaces: identifiers that several people may share or that change often: they lead to a customer but never
            join two; the strongest first.
        strong_namespaces: identifiers that name one customer, whatever the data look like. A namespace that stands in neither
            list is judged by its values (see `evidence.namespace_strengths`).
        max_conflict_rate: a namespace that is listed nowhere is weak when more than this share of its shared values is shared
            by different people.
        min_shared_values: that is only judged where at least this many values are shared at all.
        unique_namespaces: identifiers of which a person has one value only: two different ones keep records apart unless a
            strong identifier or a decision joins them. None by default: a typing error in one would part a person.
        blocked_patterns: regular expressions; an identifier that matches one as `namespace:value` is nobody's (placeholders,
            mailboxes of machines).
        max_records_per_identifier: a strong identifier carried by more party records than this joins none of them.
        max_people_per_identifier: nor does one whose records show more people than this (effective number by given names and
            years of birth).
        max_partners: an identifier seen with more partners of a namespace at least as strong as its own belongs to nobody.
        max_identifiers_per_customer: events join identifiers to groups of at most this many of one strong namespace; the links of a
            larger group are refused.
        max_steps: how far an identifier is followed through others until it reaches a known one.
        labels_decide: whether clerical labels join and part records as decisions do (newer decisions win over them).
        max_household_customers: an address, telephone or household id shared by more customers than this makes no household.
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
    strong_namespaces: tuple[str, ...] = ("crm", "customer", "member", "loyalty")
    max_conflict_rate: float = 0.25
    min_shared_values: int = 5
    unique_namespaces: tuple[str, ...] = ()
    blocked_patterns: tuple[str, ...] = (
        r"^(phone|card_token|device|cookie):[0+-]{2,}$",
        r"(?i)^[^:]*:(user[_-]?)?(null|none|nan|n/?a|unknown|undefined|anonymous|guest|dummy|test)$",
        r"(?i)^email:(no-?reply|do-?not-?reply|noemail|none|null|test)@",
    )
    max_records_per_identifier: int = 200
    max_people_per_identifier: float = 3.0
    max_partners: int = 20
    max_identifiers_per_customer: int = 20
    max_steps: int = 5
    labels_decide: bool = True
    max_household_customers: int = 10


@dataclass(frozen=True)
class QualityPolicy:
    """When a figure of `identity.quality` is a warning, and how many customers may change before publishing stops.

    Attributes:
        max_drop_rate, max_growth_rate: of records and customers since the night before; growth also of suspects.
        max_completeness_change: of a field's share of filled records.
        max_match_rate_change: of the share of records that are joined to others.
        max_drift_bits: of what full agreement of a field says, after a training.
        max_matches_per_record: that a model may expect.
        max_lambda_error: how far tonight's matches may be from what training expected; 0.5: alert when they differ by half.
        max_disagreement_rate: of probable matches that differ in given name and birth date.
        min_matches: under this many matches, rates of matches say nothing.
        min_new_suspects: fewer new suspects than this are no warning.
        max_changed_rate: share of the published customers that may be absorbed or split before the next publishing.
        min_changed_customers: so many may always.
    """

    max_drop_rate: float = 0.2
    max_growth_rate: float = 1.0
    max_completeness_change: float = 0.1
    max_match_rate_change: float = 0.05
    max_drift_bits: float = 2.0
    max_matches_per_record: float = 10.0
    max_lambda_error: float = 0.5
    max_disagreement_rate: float = 0.15
    min_matches: int = 50
    min_new_suspects: int = 50
    max_changed_rate: float = 0.05
    min_changed_customers: int = 50
