"""Policy of the channels room: what counts as a known source, how fresh is fresh, when a night's extracts are complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def _maturities() -> dict[str, str]:
    high = dict.fromkeys(("direct mail", "display"), "high")
    low = ("email", "mail newsletter", "newsletter", "website", "web", "social", "search", "video", "tv")
    return high | dict.fromkeys((*low, "premium publisher", "premium publishers", "iot"), "low")


@dataclass(frozen=True)
class CataloguePolicy:
    """What the catalogue assumes where a contract says nothing.

    Attributes:
        maturity_by_type: words of a channel's name -> how far such channels are developed as a rule; where several match,
            the lowest. A contract's own `maturity` wins.
    """

    maturity_by_type: Mapping[str, str] = field(default_factory=_maturities)


@dataclass(frozen=True)
class CoveragePolicy:
    """When a channel counts as harvested.

    Attributes:
        max_months: months before the as-of date for which months without data are listed; older ones only where there are data.
        min_linked_rate: share of a channel's records (0-1) that should find their customer.
        gaps_within_months: a month without data is pointed out when it is at most so old.
    """

    max_months: int = 120
    min_linked_rate: float = 0.5
    gaps_within_months: int = 12


@dataclass(frozen=True)
class DiscoveryPolicy:
    """Where customers name the sources they come from, and which of them are no news.

    Attributes:
        source_attributes: names of attributes (role `attribute.<name>`) that hold a source.
        source_aliases: other name of a source -> the channel it is.
        known_sources: sources that are no channel one could open: words for "none", the company's own domains.
        own_places: pages and screens of the company's own online channels; stores and product categories need not be listed.
        min_customers: a value used by fewer customers is counted as `(rare)` and never named: it may be free text about a person.
        max_source_length: longer values are text and no names, and counted as `(rare)` too.
    """

    source_attributes: tuple[str, ...] = (
        "referrer",
        "source",
        "heard_from",
        "acquisition_source",
        "utm_source",
        "lead_source",
    )
    source_aliases: Mapping[str, str] = field(default_factory=dict)
    known_sources: tuple[str, ...] = (
        "direct",
        "none",
        "null",
        "nan",
        "na",
        "n/a",
        "unknown",
        "other",
        "internal",
        "organic",
        "referral",
        "word of mouth",
        "friend",
        "friends",
        "family",
        "partner",
        "not set",
        "not provided",
    )
    own_places: tuple[str, ...] = (
        "home",
        "homepage",
        "landing page",
        "category",
        "product",
        "product page",
        "search results",
        "cart",
        "basket",
        "checkout",
        "payment",
        "confirmation",
        "account",
        "login",
        "profile",
        "settings",
        "help",
        "support",
        "contact",
        "wishlist",
        "catalogue",
        "notifications",
    )
    min_customers: int = 5
    max_source_length: int = 40


@dataclass(frozen=True)
class OverlayRatePolicy:
    """How third-party data are judged.

    Attributes:
        overlay_stale_after_days: a record observed longer before the as-of date is stale.
        min_match_rate: share of a provider's records (0-1) that should find a customer.
        max_stale_rate: share of a provider's dated records (0-1) that may be stale.
    """

    overlay_stale_after_days: int = 365
    min_match_rate: float = 0.3
    max_stale_rate: float = 0.5


@dataclass(frozen=True)
class DriftPolicy:
    """How landing files are compared with their contracts.

    Attributes:
        compared_files: newest files of each channel whose columns are compared.
        sampled_files: newest of them whose first rows are read, for types and for what a new column may be.
        sampled_rows: rows read of each.
        renamed_similarity: likeness (0-1) of names or values from which on a new column is taken for a missing one renamed.
        retyped_share: share of sampled values (0-1) that must not fit the contract's type before a column counts as retyped.
    """

    compared_files: int = 20
    sampled_files: int = 1
    sampled_rows: int = 1_000
    renamed_similarity: float = 0.75
    retyped_share: float = 0.5


@dataclass(frozen=True)
class LandingPolicy:
    """When the extracts of a night are complete, so that the sensor starts the nightly job.

    Attributes:
        cadence_days: channel -> days between its extracts. Any other channel is expected when, without a new file, its data would be
            older by the next night than its contract's SLA allows; a channel without SLA is never waited for.
        does_not_wait_for: channels that are not waited for although they promise freshness.
        settle_seconds: a file changed more recently is taken to be still on its way.
    """

    cadence_days: Mapping[str, float] = field(default_factory=dict)
    does_not_wait_for: tuple[str, ...] = ()
    settle_seconds: int = 60
