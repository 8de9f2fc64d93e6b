"""Policy of the profile room: which source is believed and for how long, and for which dates features are made."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SurvivorshipPolicy:
    """Which of several values of an attribute stands in the golden record.

    Attributes:
        default_trust: trust (0-1) of channels whose contract gives none.
        stale_after_days: a value observed longer before the as-of date than this is considered only if nothing fresher is known;
            0: values never grow stale.
    """

    default_trust: float = 0.5
    stale_after_days: int = 0


@dataclass(frozen=True)
class FeaturePolicy:
    """The dates on which a customer's features are looked at, beside tonight's.

    Attributes:
        cutoff_step_days: days between two cut-offs.
        n_past_cutoffs: cut-offs before tonight's; models learn from them.
        max_sampled_customers: customers that get features at past cut-offs, the first ones in the order of their hashed ids.
    """

    cutoff_step_days: int = 28
    n_past_cutoffs: int = 12
    max_sampled_customers: int = 50_000


@dataclass(frozen=True)
class OverlayPolicy:
    """When third-party data are too old to lean on.

    Attributes:
        overlay_stale_after_days: an overlay record observed longer before the as-of date than this is stale; one without a time
            is of unknown age and neither fresh nor stale.
    """

    overlay_stale_after_days: int = 365


@dataclass(frozen=True)
class ConflictPolicy:
    """When a customer's on-line and off-line sides contradict each other.

    Attributes:
        conflict_activity_days: a side is active by orders, and silent without any event, in the days up to the as-of date.
        conflict_min_orders: orders of a positive amount in that time that make a side active.
        conflict_min_events: events ever that a side must have had before its silence means something.
        conflict_sentiment_days: interactions of this time up to the as-of date count for satisfaction.
        conflict_min_sentiments: interactions with a sentiment that a side must have in that time.
        conflict_satisfied_from: mean sentiment (-1 to 1) from which a side is satisfied; the same below zero: dissatisfied.
    """

    conflict_activity_days: int = 90
    conflict_min_orders: int = 2
    conflict_min_events: int = 3
    conflict_sentiment_days: int = 180
    conflict_min_sentiments: int = 2
    conflict_satisfied_from: float = 0.3


@dataclass(frozen=True)
class SessionPolicy:
    """What a visit and a cart are. Words are compared with `event.type` without regard to case.

    Attributes:
        session_gap_minutes: a longer pause than this begins a new session.
        session_pillars: on-line channels of these pillars have visits; others have posts, impressions, calls.
        search_words, cart_words, checkout_words: types of event that are a search, something put into the cart, the way to the till.
        purchase_words: types of event that are an order, beside the orders that channels deliver as such.
        machine_words: types of event that a device makes by itself: no visit.
        recovery_window_days: an order up to this long after the visit recovers the cart left behind in it, on whichever channel.
    """

    session_gap_minutes: int = 30
    session_pillars: tuple[str, ...] = ("ecommerce", "emerging")
    search_words: tuple[str, ...] = ("search", "site_search", "query")
    cart_words: tuple[str, ...] = ("add_to_cart", "cart_add", "add_to_basket")
    checkout_words: tuple[str, ...] = ("checkout", "begin_checkout", "checkout_start")
    purchase_words: tuple[str, ...] = ("purchase", "order", "order_placed", "transaction")
    machine_words: tuple[str, ...] = ("alert", "sensor_request", "sensor_alert", "fault", "fault_code", "heartbeat")
    recovery_window_days: int = 7


@dataclass(frozen=True)
class SocialPolicy:
    """What is read from communities.

    Attributes:
        link_relations: type of event (lower case) -> relation between its author and the other party; a type that is not listed
            is a relation of its own name, none is `mentioned`.
    """

    link_relations: dict[str, str] = field(
        default_factory=lambda: {
            "reply": "replied_to",
            "replied": "replied_to",
            "comment": "replied_to",
            "mention": "mentioned",
            "helped_by": "helped_by",
            "thanks": "helped_by",
            "solution_accepted": "helped_by",
            "help": "helped",
            "helped": "helped",
            "referral": "referred",
            "refer": "referred",
            "referred": "referred",
            "invite": "referred",
        }
    )
