"""The words that contracts may use beyond the Open Data Contract Standard: kinds of record, roles of columns, facets of a channel.

Belongs here: the closed vocabulary and what each kind needs. Does not belong here: reading contracts (`contract.py`) or what a
step does with a kind. INTERFACES: a property's role is `customProperties: [{property: role, value: <role>}]`.
"""

from __future__ import annotations

import re

PILLARS = ("community_public", "community_private", "ecommerce", "traditional", "emerging")
MODES = ("online", "offline")
FUNCTIONS = ("sales", "marketing", "service", "product")
MATURITIES = ("low", "medium", "high")

KINDS: dict[str, str] = {
    "party": "a source's description of a person or organisation",
    "identifier_link": "identifiers seen together, so they belong to one customer",
    "order": "a purchase",
    "order_line": "a line of a purchase; returns are negative",
    "interaction": "something that happened between customer and company, or in public about it",
    "subscription": "a contract with a start and perhaps an end",
    "payment": "money due or paid",
    "opportunity": "a sales opportunity in one stage",
    "campaign_contact": "a customer contacted by a campaign",
    "campaign_response": "a customer's response to a campaign",
    "survey_response": "an answer to one item of a survey",
    "consent": "consent given or withdrawn for a purpose",
    "privacy_request": "a request for access or erasure",
    "usage": "a measurement of product usage",
    "channel_cost": "what a channel cost",
    "product": "a product",
    "promise": "a service standard or brand promise",
    "overlay": "third-party data keyed by e-mail or phone",
}

# Every alternative of a kind is a group of roles of which one must be present.
REQUIRED_ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "party": (),
    "identifier_link": (),
    "order": (("event.at",), ("order.amount",)),
    "order_line": (("event.at",), ("order.amount",)),
    "interaction": (("event.at",),),
    "subscription": (("subscription.started_on",),),
    "payment": (("payment.due_on", "payment.paid_on", "event.at"),),
    "opportunity": (("opportunity.stage",),),
    "campaign_contact": (("campaign.id",),),
    "campaign_response": (("campaign.id",),),
    "survey_response": (("survey.score",),),
    "consent": (("consent.purpose",), ("consent.status",)),
    "privacy_request": (("request.type",),),
    "usage": (("usage.value",),),
    "channel_cost": (("cost.amount",),),
    "product": (),
    "promise": (("promise.metric",), ("promise.threshold",)),
    "overlay": (("contact.email", "contact.phone"),),
}

_ROLE_GROUPS: dict[str, tuple[str, ...]] = {
    "record": ("id", "updated_at"),
    "person": (
        "full_name",
        "given_name",
        "middle_name",
        "surname",
        "birth_date",
        "birth_year",
        "birth_place",
        "sex",
        "occupation",
    ),
    "organisation": ("name", "registration_id"),
    "contact": ("email", "phone"),
    "address": ("line", "number", "street", "unit", "city", "region", "postcode", "country"),
    "event": (
        "at",
        "type",
        "topic",
        "direction",
        "duration_s",
        "value",
        "sentiment",
        "outcome",
        "text",
        "place",
        "other_party",
    ),
    "order": ("id", "line_id", "amount", "quantity", "discount", "cost", "currency", "returns_id"),
    "payment": ("method", "due_on", "paid_on", "amount"),
    "product": ("id", "category", "margin_rate"),
    "subscription": ("started_on", "ended_on", "plan", "fee"),
    "opportunity": ("stage", "amount", "closed_on"),
    "campaign": ("id", "arm", "channel", "offer", "sent_at", "responded_at", "value"),
    "survey": ("instrument", "item", "score"),
    "consent": ("purpose", "status"),
    "request": ("type",),
    "usage": ("metric", "value"),
    "cost": ("amount",),
    "promise": ("metric", "threshold"),
    "party": ("status",),
}
ROLES: tuple[str, ...] = tuple(f"{group}.{name}" for group, names in _ROLE_GROUPS.items() for name in names)
OPEN_ROLE_FAMILIES = ("id", "attribute")
_OPEN_ROLE = re.compile(r"^(id|attribute)\.[a-z][a-z0-9_]*$")

MONEY_ROLES = frozenset(
    {
        "order.amount",
        "order.discount",
        "order.cost",
        "payment.amount",
        "subscription.fee",
        "opportunity.amount",
        "campaign.value",
        "cost.amount",
    }
)
MONEY_TYPE = "DECIMAL(18,4)"

PROPERTY_WORDS = ("role",)
OBJECT_WORDS = (
    "kind",
    "pillar",
    "mode",
    "function",
    "maturity",
    "trust",
    "duplicate_free",
    "time_zone",
    "quote",
    "phone_region",
    "snapshot",
    "tolerated_reject_rate",
)


def is_role(word: str) -> bool:
    """Whether a contract may say `role: word`: a listed role, or any `id.<namespace>` and `attribute.<name>`."""
    return word in ROLES or _OPEN_ROLE.match(word) is not None


def role_column(role: str) -> str:
    """Name of a role's column in the canonical tables: `person.given_name` -> `given_name`, `event.at` -> `event_at`."""
    group, _, name = role.partition(".")
    if group in ("person", "contact", "record"):
        return name
    return f"{group}_{name}"
