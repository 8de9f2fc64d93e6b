"""Suggestions: what type a column's values have, and which role its name and values point to.

Belongs here: looking at a column of text. Only shares of patterns are looked at, so that nothing personal can come out.
Does not belong here: reading files (`samples.py`), writing contracts (`proposal.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

_CLEAR = 0.95
_PATTERNS = {
    "boolean": r"(?i)^(true|false|t|f|yes|no|y|n)$",
    "integer": r"^[+-]?(0|[1-9][0-9]{0,17})(\.0+)?$",
    "number": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]00:00(:00(\.0+)?)?)?$",
    "timestamp": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)? ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$",
    "time": r"^[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?$",
}
# Of several types that fit, the first: a whole number is a number too, a date a timestamp.
_NARROWEST = ("boolean", "integer", "number", "date", "timestamp", "time")
# What the engine takes for a boolean or a short date beside what is inferred as one.
_ALSO_FITS = {"boolean": r"^[01]$", "date": r"^[0-9]{8}$"}
_LEADING_ZERO = r"^[+-]?0[0-9]+$"
_EMAIL = r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$"
_PHONE = r"^(\+|00|\(?0)[0-9 ()/.-]{6,}$"

# Words of a column's name -> role; the first line of which all words of one alternative are there decides.
_NAMES: tuple[tuple[str, str], ...] = (
    ("contact.email", "email|e mail|mail|mailaddress|emailaddress"),
    ("contact.phone", "phone|telephone|tel|mobile|msisdn|cell|fax"),
    ("person.birth_date", "birth date|date of birth|dob|birthdate|birthday|born"),
    ("person.birth_year", "birth year|year of birth|birthyear"),
    ("person.birth_place", "birth place|place of birth|birthplace"),
    ("person.given_name", "first name|given name|firstname|forename|givenname"),
    ("person.middle_name", "middle name|middlename"),
    ("person.surname", "last name|surname|family name|lastname"),
    ("person.full_name", "full name|fullname|customer name|contact name"),
    ("person.sex", "sex|gender"),
    ("person.occupation", "occupation|job title|profession"),
    ("organisation.name", "company|organisation|organization|company name|employer"),
    ("organisation.registration_id", "registration number|registration id|vat id|vat number|tax id"),
    ("address.postcode", "postcode|zip|zipcode|postal code|zip code"),
    ("address.street", "street"),
    ("address.number", "house number|street number|house no"),
    ("address.city", "city|town"),
    ("address.region", "region|state|county|province"),
    ("address.country", "country"),
    ("address.line", "address|address line"),
    ("record.updated_at", "updated at|modified at|changed at|last modified|updated|modified|last changed|changed"),
    ("campaign.sent_at", "sent at"),
    ("campaign.responded_at", "responded at|opened at|clicked at"),
    ("campaign.id", "campaign id|campaign"),
    ("campaign.arm", "arm|variant|test group"),
    ("campaign.offer", "offer"),
    ("payment.method", "payment method|paid by"),
    ("payment.due_on", "due on|due date|due"),
    ("payment.paid_on", "paid on|paid at|payment date"),
    ("payment.amount", "payment amount|amount paid|amount due"),
    ("order.id", "order id|order number|order no|basket id|basket|receipt id|receipt number"),
    ("order.line_id", "line no|line number|line id"),
    ("order.returns_id", "returns id|returned order|return of"),
    ("order.quantity", "quantity|qty|pieces"),
    ("order.discount", "discount|rebate"),
    ("order.cost", "cost of goods|cogs"),
    ("order.currency", "currency"),
    ("order.amount", "order amount|line total|total|revenue|sales value|amount"),
    ("product.category", "product category|category"),
    ("product.id", "product id|sku|article|article number|product"),
    ("subscription.started_on", "started on|start date|contract start|subscribed on"),
    ("subscription.ended_on", "ended on|end date|contract end|cancelled on"),
    ("subscription.plan", "plan|tariff"),
    ("subscription.fee", "fee|monthly fee"),
    ("survey.score", "score|rating|nps"),
    ("survey.item", "question|item"),
    ("consent.purpose", "purpose"),
    ("consent.status", "consent|consent status|opt in"),
    ("event.sentiment", "sentiment"),
    ("event.topic", "topic|subject"),
    ("event.direction", "direction"),
    ("event.duration_s", "duration|duration s|seconds"),
    ("event.outcome", "outcome|result"),
    ("event.text", "text|comment|message|note|notes|body|remark"),
    ("event.place", "place|page|screen|store|location"),
    ("event.type", "event type|event|action|type"),
    ("event.at", "event at|happened at|occurred at|timestamp|event time|time|date|at|created at|bought at|ordered at"),
    ("attribute.referrer", "referrer|referer"),
    ("attribute.heard_from", "heard from|how did you hear"),
    ("attribute.utm_source", "utm source"),
    ("attribute.acquisition_source", "acquisition source|lead source|source"),
    ("id.cookie", "cookie|cookie id|visitor id"),
    ("id.device", "device|device id|idfa|gaid"),
    ("id.loyalty", "loyalty|loyalty id|loyalty card|card number|card no"),
    ("id.card_token", "card token|payment token"),
    ("id.social_handle", "handle|social handle|twitter"),
    ("id.household", "household|household id"),
    ("id.account", "account|account id|account no|account number"),
    ("id.crm", "customer id|customer no|customer number|client id|contact id|crm id|customer"),
)
_NEEDS_TIME = frozenset({
    "event.at", "record.updated_at", "campaign.sent_at", "campaign.responded_at", "payment.due_on", "payment.paid_on",
    "subscription.started_on", "subscription.ended_on",
})  # fmt: skip
_NEEDS_NUMBER = frozenset({
    "order.amount", "order.quantity", "order.discount", "order.cost", "payment.amount", "subscription.fee", "survey.score",
    "event.sentiment", "event.duration_s",
})  # fmt: skip
_PERSONAL_GROUPS = ("person", "contact", "address", "id")
_IMPERSONAL = frozenset({"person.sex", "person.occupation", "address.city", "address.region", "address.country"})


def inferred_type(values: pl.Series) -> str:
    """The narrowest ODCS logicalType that nearly all values (as text) have; `string` where none does or there are none."""
    text = values.drop_nulls().str.strip_chars()
    text = text.filter(text != "")
    if text.is_empty():
        return "string"
    for kind in _NARROWEST:
        # Numbers with leading zeros are names of things, not quantities.
        is_name = kind in ("integer", "number") and bool(text.str.contains(_LEADING_ZERO).any())
        if not is_name and _share(text, _PATTERNS[kind]) >= _CLEAR:
            return kind
    return "string"


def share_of_type(values: pl.Series, logical_type: str) -> float | None:
    """Share of the values (as text) that a column of that type can hold; None without values or where any value fits."""
    text = values.drop_nulls().str.strip_chars()
    text = text.filter(text != "")
    pattern = _PATTERNS.get(logical_type)
    if pattern is None or text.is_empty():
        return None
    also = _ALSO_FITS.get(logical_type)
    return _share(text, f"({pattern})|({also})" if also else pattern)


def _share(text: pl.Series, pattern: str) -> float:
    return int(text.str.contains(pattern).sum()) / text.len()


def suggested_role(name: str, values: pl.Series) -> str | None:
    """The role that a column's values (addresses, phone numbers) or name point to; None where nothing does.

    Args:
        name: the column's name, in any spelling (`firstName`, `FIRST_NAME`).
        values: some of its values, as text.
    """
    text = values.drop_nulls().str.strip_chars()
    if text.len() and _share(text, _EMAIL) >= _CLEAR:
        return "contact.email"
    words = f" {' '.join(words_of(name))} "
    kind = inferred_type(values)
    for role, alternatives in _NAMES:
        if any(f" {alternative} " in words for alternative in alternatives.split("|")) and _can_be(role, kind, text):
            return role
    if text.len() and _share(text, _PHONE) >= _CLEAR and kind not in ("date", "timestamp", "integer", "number"):
        return "contact.phone"
    return None


def _can_be(role: str, kind: str, text: pl.Series) -> bool:
    if text.is_empty():
        return True
    if role in _NEEDS_TIME:
        return kind in ("date", "timestamp")
    if role in _NEEDS_NUMBER:
        return kind in ("integer", "number")
    return kind not in ("date", "timestamp", "boolean") or role in ("person.birth_date", "consent.status")


def words_of(name: str) -> list[str]:
    """The words of a column's name in lower case, whatever separates them."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W_]+", spaced.lower()) if word]


def is_personal(role: str | None, values: pl.Series) -> bool:
    """Whether a column should be marked as personal: by its role, or because its values look like mail addresses or phones."""
    if role and role.partition(".")[0] in _PERSONAL_GROUPS and role not in _IMPERSONAL:
        return True
    if role == "event.text":
        return True
    text = values.drop_nulls().str.strip_chars()
    return bool(text.len()) and max(_share(text, _EMAIL), _share(text, _PHONE)) > 1 - _CLEAR


def suggestible_roles() -> tuple[str, ...]:
    """Every role that a name can point to; all of them are words of the vocabulary (held by a test)."""
    return tuple(role for role, _ in _NAMES)


def looks_like_values(names: Sequence[str]) -> bool:
    """Whether the "names" of a header are values: mail addresses, phones, dates or numbers. Then it is no header."""
    text = pl.Series(names, dtype=pl.String)
    patterns = (_EMAIL, _PHONE, *(_PATTERNS[kind] for kind in ("number", "date", "timestamp")))
    return any(bool(text.str.contains(pattern).any()) for pattern in patterns)
