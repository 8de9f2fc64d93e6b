"""What each role of a column is used for: the tables that read it and the decision they serve. Data, in one place.

Belongs here: role (and kind of record, where it matters) -> tables -> decision. Does not belong here: which channel has which role
(`field_register.py`). A test holds every table named here to the contracts and, over the asset graph, to what it can have read.

When a step starts to read a canonical column, its table is added here; until then the field counts as unused.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """A use of roles.

    Attributes:
        roles: roles, or families such as `person.*`.
        tables: full names of the tables that read them first; what is made of those is not repeated.
        decision: what is decided with them.
        kinds: kinds of record for which it holds; empty: all.
    """

    roles: tuple[str, ...]
    tables: tuple[str, ...]
    decision: str
    kinds: tuple[str, ...] = ()

    def covers(self, role: str, kind: str) -> bool:
        """Whether a column of that role in a record of that kind is used so."""
        is_named = any(role == named or (named.endswith("*") and role.startswith(named[:-1])) for named in self.roles)
        return is_named and (not self.kinds or kind in self.kinds)


_ORDERS = ("order", "order_line")
# Kinds whose rows are events of a customer's timeline.
_EVENTS = (
    "order", "order_line", "interaction", "campaign_contact", "campaign_response", "survey_response", "subscription", "payment",
    "opportunity", "consent", "privacy_request", "usage",
)  # fmt: skip
_RECENCY = "what happened when: activity, attrition, recency, lifecycle stage"

USES: tuple[Use, ...] = (
    Use(("record.id",), ("staging.load_manifest",), "which records are new, repeated or corrected"),
    Use(("record.updated_at",), ("staging.load_manifest",), "which version of a record stands"),
    Use(
        ("record.updated_at",),
        ("profile.attribute_values",),
        "whose value is believed where sources differ",
        ("party",),
    ),
    Use(
        ("record.updated_at", "event.at"),
        ("channels.overlay_match_rate", "profile.overlay"),
        "whether bought data are too old",
        ("overlay",),
    ),
    Use(("record.updated_at",), ("profile.timeline",), _RECENCY, ("opportunity", "consent")),
    Use(
        ("person.*", "organisation.*", "contact.*", "address.*"),
        ("identity.customer_xref",),
        "which records are one customer",
        ("party",),
    ),
    Use(
        ("person.*", "organisation.*", "contact.*", "address.*", "party.status"),
        ("profile.attribute_values", "profile.customers"),
        "how a customer is known and addressed",
        ("party",),
    ),
    Use(("id.*",), ("identity.identifier_xref",), "whose record or event it is"),
    Use(("contact.*",), ("identity.identifier_xref",), "whose record or event it is"),
    Use(("contact.*",), ("profile.overlay", "channels.overlay_match_rate"), "whom bought data describe", ("overlay",)),
    Use(("attribute.*",), ("profile.attribute_values",), "what a customer is like: segments, drivers, messages"),
    Use(
        (
            "attribute.referrer",
            "attribute.source",
            "attribute.heard_from",
            "attribute.acquisition_source",
            "attribute.utm_source",
            "attribute.lead_source",
        ),
        ("channels.discovery",),
        "which new channels to open",
    ),
    Use(
        ("event.at", "campaign.sent_at", "campaign.responded_at", "subscription.started_on", "payment.paid_on"),
        ("profile.timeline",),
        _RECENCY,
        _EVENTS,
    ),
    Use(("event.at",), ("profile.features",), "what a customer will buy and when", _ORDERS),
    Use(("event.at",), ("staging.identifier_pairs",), "since when identifiers belong together", ("identifier_link",)),
    Use(("event.type",), ("profile.timeline",), "which moments shape a relationship", ("interaction",)),
    Use(("event.direction",), ("profile.timeline",), "who spoke to whom: listening and engaging", ("interaction",)),
    Use(("event.sentiment", "event.outcome"), ("profile.timeline",), "who is unhappy and why", ("interaction",)),
    Use(("event.value",), ("profile.timeline",), "what an event was worth", ("interaction",)),
    Use(("event.place",), ("channels.discovery",), "which new channels to open", ("interaction",)),
    Use(
        ("order.id", "order.amount", "order.discount", "product.id", "product.category"),
        ("profile.features",),
        "what a customer will buy, at what price",
        _ORDERS,
    ),
    Use(
        ("order.amount",),
        ("profile.timeline", "value.customers", "reporting.scorecard"),
        "what a customer is worth",
        _ORDERS,
    ),
    Use(("order.discount",), ("propensity.scores",), "who needs a coupon to buy", _ORDERS),
    Use(("order.returns_id",), ("staging.returns",), "what was given back", _ORDERS),
    Use(("product.id", "product.category"), ("profile.features",), "which categories a customer buys", ("product",)),
    Use(("subscription.*",), ("retention.customers",), "who will leave, when and why", ("subscription",)),
    Use(
        ("subscription.started_on", "subscription.ended_on"),
        ("metrics.attrition", "metrics.acquisition"),
        "how many leave and join",
        ("subscription",),
    ),
    Use(("payment.amount", "payment.method"), ("profile.timeline",), "what was paid", ("payment",)),
    Use(("payment.method",), ("profile.timeline",), "what was paid", ("payment",)),
    Use(
        ("opportunity.stage", "opportunity.amount"),
        ("profile.timeline",),
        "which prospects are near a decision",
        ("opportunity",),
    ),
    Use(
        ("campaign.id", "campaign.value"),
        ("profile.timeline", "engagement.evaluation"),
        "which campaigns pay",
        ("campaign_contact", "campaign_response"),
    ),
    Use(
        ("campaign.arm", "campaign.offer"),
        ("engagement.evaluation",),
        "which arm and offer works",
        ("campaign_contact",),
    ),
    Use(
        ("campaign.sent_at", "campaign.responded_at", "event.at"),
        ("engagement.evaluation", "propensity.scores"),
        "who answers, and how soon",
        ("campaign_contact", "campaign_response"),
    ),
    Use(("campaign.offer",), ("propensity.scores",), "who takes which offer", ("campaign_contact",)),
    Use(
        ("campaign.id", "cost.amount"),
        ("engagement.evaluation",),
        "whether a campaign earned its cost",
        ("channel_cost",),
    ),
    Use(
        ("survey.instrument", "survey.score"),
        ("profile.timeline",),
        "how satisfied and engaged a customer is",
        ("survey_response",),
    ),
    Use(
        ("consent.purpose", "consent.status"),
        ("profile.customers", "profile.timeline"),
        "who may be addressed for what",
        ("consent",),
    ),
    Use(("request.type",), ("profile.timeline",), "who asked for access or erasure", ("privacy_request",)),
    Use(("usage.metric", "usage.value"), ("profile.timeline",), "how products are used", ("usage",)),
    Use(
        ("event.type", "event.value", "event.direction", "event.at"),
        ("profile.sessions", "profile.cart_abandonment"),
        "which carts to win back, and when",
        ("interaction",),
    ),
    Use(
        (
            "event.type",
            "event.topic",
            "event.direction",
            "event.outcome",
            "event.at",
            "usage.metric",
            "usage.value",
            "product.id",
        ),
        ("engagement.sensor_requests",),
        "which requests of devices to answer first",
        ("interaction", "usage"),
    ),
    Use(("promise.metric", "promise.threshold"), ("engagement.sensor_requests",), "what was promised", ("promise",)),
    Use(("event.type",), ("engagement.sensor_requests",), "what was promised", ("promise",)),
    Use(
        ("event.topic", "event.sentiment", "event.type"),
        ("profile.social_insight",),
        "what customers talk about, and in what mood",
        ("interaction",),
    ),
    Use(("event.other_party",), ("profile.customer_links",), "who brings and helps whom", ("interaction",)),
    Use(
        ("event.at", "usage.metric", "usage.value", "product.id"),
        ("profile.product_usage",),
        "how products are used",
        ("usage",),
    ),
)
"""Order does not matter; a role may stand in several."""
