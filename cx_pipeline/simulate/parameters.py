"""Every latent parameter of the simulated company, as frozen dataclasses: what its customers are like, and what it does to them.

Belongs here: numbers that decide behaviour, so that what is planted can be looked up. Does not belong here: drawing (`latent.py` and the
modules of behaviour), names and addresses (`vocabularies.py`), how data are spoilt (`corruption.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Segment:
    """A behavioural type.

    Attributes:
        name: of the type.
        share: of the customers (0-1).
        monthly_rate: mean orders in 30 days while active.
        rate_shape: shape of the gamma distribution of rates between its customers.
        mean_life_days: mean time until a customer of the type leaves for good; exponential, mean itself gamma (see `life_shape`).
        life_shape: shape of the gamma distribution of leaving rates.
        spend: mean factor on list prices (which variants are bought).
        offline_share: mean share of orders in stores.
        december: factor on the order rate in December.
        promo_sensitivity: 0-1, share of the full effect of an offer.
        best_hour: mean hour of the day of being reachable.
        satisfaction: mean of the satisfaction path (-1..1).
        tastes: category -> weight in the Dirichlet prior beside 0.3 for every other one.
        contact_channel: how the type likes to be contacted best.
    """

    name: str
    share: float
    monthly_rate: float
    rate_shape: float
    mean_life_days: float
    life_shape: float
    spend: float
    offline_share: float
    december: float
    promo_sensitivity: float
    best_hour: float
    satisfaction: float
    tastes: dict[str, float]
    contact_channel: str


@dataclass(frozen=True)
class Category:
    """A category of products.

    Attributes:
        name: of the category.
        price: median list price of its products.
        margin_rate: margin as a share of the price.
        window_days: mean days until it is bought again by customers who buy it regularly; 0: nobody does.
        season: factors on its taste in spring, summer, autumn, winter.
    """

    name: str
    price: float
    margin_rate: float
    window_days: float = 0.0
    season: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Arm:
    """An arm of a campaign.

    Attributes:
        name: `control` gets no contact.
        share: of the audience.
        effect: mean of P(order | arm) - P(order | control).
        channel: through which the arm is contacted.
        offer: what is offered.
        scales_with_promo: whether the effect of a person is proportional to promo sensitivity (mean kept), else equal for all.
    """

    name: str
    share: float
    effect: float
    channel: str = "email"
    offer: str = ""
    scales_with_promo: bool = False


@dataclass(frozen=True)
class Campaign:
    """A campaign: contacts on one day, orders within `window_days` days.

    Attributes:
        name: its id.
        days_before_end: when it is sent.
        audience_share: of the customers who have joined and can be reached.
        base_rate: mean P(order of the campaign's own | control).
        arms: its arms, shares adding up to 1.
        window_days: conversions come at most so much later.
    """

    name: str
    days_before_end: int
    audience_share: float
    base_rate: float
    arms: tuple[Arm, ...]
    window_days: int = 14


@dataclass(frozen=True)
class PromiseRule:
    """A promise the company makes, and how a process keeps it.

    Attributes:
        metric: what is measured, in its unit.
        threshold: at most so much is promised.
        channel: of the process.
        process: its topic.
        break_rate: share of events that take longer.
        harm: by how much a break lowers the sentiment of what follows.
    """

    metric: str
    threshold: float
    channel: str
    process: str
    break_rate: float
    harm: float


@dataclass(frozen=True)
class Plan:
    """A subscription plan.

    Attributes:
        name: of the plan.
        fee: a month.
        share: of new subscriptions.
        log_hazard: added to the log of the monthly hazard of cancelling.
    """

    name: str
    fee: float
    share: float
    log_hazard: float


@dataclass(frozen=True)
class SubscriptionParameters:
    """Hazard of cancelling in a month of contract: exp(log_base + plan + covariates); default: logistic.

    Attributes:
        customer_share: of the customers who ever subscribe.
        log_base: log of the monthly hazard of the reference (basic, autopay, no promotional price, middle age of contract).
        invoice, promo_price, first_quarter: added to the log hazard: paid by invoice; price lowered at the start; first three months.
        default_intercept, default_invoice, default_premium, default_score: of the log odds that a customer ever defaults; score is
            the customer's hidden payment score, standard normal, which also makes payments late.
        late_rate, late_per_score: log odds of paying late.
    """

    customer_share: float = 0.15
    log_base: float = -3.9
    invoice: float = 0.5
    promo_price: float = 0.6
    first_quarter: float = 0.3
    invoice_share: float = 0.35
    promo_share: float = 0.25
    default_intercept: float = -3.4
    default_invoice: float = 0.7
    default_premium: float = 0.4
    default_score: float = 1.0
    late_intercept: float = -2.2
    late_per_score: float = 0.8
    plans: tuple[Plan, ...] = (
        Plan("basic", 6.9, 0.5, 0.0),
        Plan("plus", 12.9, 0.33, -0.4),
        Plan("premium", 24.9, 0.17, -0.9),
    )


@dataclass(frozen=True)
class JourneyParameters:
    """Touches before an order: P(order | touches) = 1 - product of (1 - weight) over the channels touched.

    Attributes:
        monthly_rate: journeys of a customer in 30 days.
        weights: touch channel -> P(order | touched by it alone).
        shares: touch channel -> share among touches.
        max_touches: at most so many in a journey.
    """

    monthly_rate: float = 0.045
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "display": 0.04,
            "search": 0.28,
            "email": 0.16,
            "addressable_tv": 0.08,
            "social": 0.02,
            "mobile_app": 0.2,
        }
    )
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "display": 0.32,
            "search": 0.22,
            "email": 0.14,
            "addressable_tv": 0.14,
            "social": 0.06,
            "mobile_app": 0.12,
        }
    )
    max_touches: int = 4


@dataclass(frozen=True)
class EmergingSource:
    """A source of customers that no contract describes.

    Attributes:
        name: as it stands in the extracts.
        field: `referrer` (attribute of web events), `heard_from` (attribute of survey answers), `place` (of app events).
        first_month_before_end: months before the last one in which it is seen first.
        share: of the field's rows in the last month; the share grows in a straight line.
    """

    name: str
    field: str
    first_month_before_end: int
    share: float


@dataclass(frozen=True)
class SurveyParameters:
    """Surveys: panel waves on engagement, and short ones after orders and service.

    Attributes:
        panel_share: of customers with an e-mail address who answer the engagement survey.
        response_rate: of a panel member in a wave.
        days_between_waves: between two waves, the last 20 days before the end.
        emotional_mean, emotional_sd, rational_mean, rational_sd: of the latent levels on the scale 1 to 5.
        correlation: between the two.
        wave_persistence: AR(1) coefficient between waves.
        transactional_share: of orders after which a short survey is answered.
    """

    panel_share: float = 0.055
    response_rate: float = 0.8
    days_between_waves: int = 90
    emotional_mean: float = 3.55
    emotional_sd: float = 1.05
    rational_mean: float = 3.65
    rational_sd: float = 0.95
    correlation: float = 0.8
    wave_persistence: float = 0.85
    transactional_share: float = 0.06
    fully_engaged: tuple[float, float] = (4.5, 4.33)
    engaged: float = 3.75
    actively_disengaged: tuple[float, float] = (2.5, 2.33)


@dataclass(frozen=True)
class Planted:
    """How many customers follow a script instead of their type, as shares of all customers (at least `at_least` where there are enough)."""

    contradiction: float = 0.005
    jump: float = 0.010
    skip: float = 0.006
    steady: float = 0.006
    advocate: float = 0.006
    silence: float = 0.008
    at_least: int = 4
    active_days: int = 90
    sentiment_days: int = 180
    sentiment_gap: float = 0.3


@dataclass(frozen=True)
class Rates:
    """Events of a customer in 30 days while active, unless said otherwise."""

    store_days: tuple[float, ...] = (0.9, 0.8, 0.85, 0.95, 1.25, 1.5, 0.35)
    web_days: tuple[float, ...] = (1.05, 1.0, 1.0, 1.0, 0.9, 0.95, 1.2)
    further_lines: float = 0.45
    return_rate: float = 0.04
    session_per_web_order: float = 0.6
    abandoned: float = 0.045
    recovered: float = 0.25
    browse: float = 0.10
    app: float = 0.14
    newsletter: float = 0.09
    display: float = 0.04
    tv: float = 0.03
    calls: float = 0.022
    calls_per_bad_delivery: float = 0.3
    visits: float = 0.005
    mentions: float = 0.008
    community: float = 0.06
    device_owner_share: float = 0.02
    device_metrics_per_week: float = 1.5
    delivery_share: float = 0.35
    referral_link_share: float = 0.9


SEGMENTS: tuple[Segment, ...] = (
    Segment(
        "bargain_hunter",
        0.22,
        0.26,
        1.2,
        420,
        2.0,
        0.75,
        0.45,
        1.5,
        0.95,
        20.0,
        0.05,
        {"household": 2.0, "fashion": 1.0},
        "email",
    ),
    Segment(
        "loyal_family",
        0.20,
        0.62,
        2.0,
        900,
        3.0,
        0.95,
        0.75,
        1.4,
        0.50,
        10.0,
        0.35,
        {"groceries": 3.0, "baby": 1.5, "toys": 1.0},
        "direct_mail",
    ),
    Segment(
        "digital_native",
        0.18,
        0.42,
        1.5,
        450,
        2.0,
        1.05,
        0.10,
        1.6,
        0.60,
        21.0,
        0.15,
        {"electronics": 2.5, "sports": 1.2, "fashion": 1.0},
        "mobile_app",
    ),
    Segment(
        "occasional_gifter",
        0.20,
        0.10,
        1.0,
        700,
        2.0,
        1.10,
        0.50,
        5.0,
        0.30,
        18.0,
        0.20,
        {"toys": 1.5, "books": 2.0, "beauty": 1.0},
        "email",
    ),
    Segment(
        "premium_enthusiast",
        0.08,
        0.58,
        2.5,
        1000,
        3.0,
        2.20,
        0.40,
        1.3,
        0.10,
        13.0,
        0.45,
        {"electronics": 1.5, "garden": 1.0, "shoes": 2.0},
        "call_centre",
    ),
    Segment(
        "convenience_seeker",
        0.12,
        0.34,
        1.5,
        380,
        2.0,
        1.00,
        0.60,
        1.2,
        0.25,
        8.0,
        0.00,
        {"groceries": 2.0, "household": 2.0, "pets": 1.5},
        "mobile_app",
    ),
)

CATEGORIES: tuple[Category, ...] = (
    Category("groceries", 9.0, 0.22, 14),
    Category("household", 14.0, 0.30, 42),
    Category("beauty", 19.0, 0.48, 45),
    Category("fashion", 36.0, 0.52, 0, (1.2, 1.0, 1.2, 0.8)),
    Category("shoes", 62.0, 0.46, 0, (1.2, 0.9, 1.2, 0.8)),
    Category("toys", 24.0, 0.38, 0, (0.8, 0.8, 1.0, 1.8)),
    Category("electronics", 120.0, 0.16, 0, (0.9, 0.9, 1.0, 1.4)),
    Category("garden", 33.0, 0.40, 0, (2.0, 1.6, 0.6, 0.2)),
    Category("books", 13.0, 0.34, 0, (0.9, 1.0, 1.0, 1.3)),
    Category("sports", 44.0, 0.42, 0, (1.3, 1.2, 0.9, 0.9)),
    Category("baby", 22.0, 0.26, 21),
    Category("pets", 27.0, 0.31, 30),
)
PRODUCTS_PER_CATEGORY = 20

CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign(
        "autumn_welcome",
        480,
        0.25,
        0.03,
        (Arm("control", 0.5, 0.0, offer=""), Arm("voucher_5", 0.5, 0.03, offer="5_off")),
    ),
    Campaign(
        "christmas_catalogue",
        215,
        0.22,
        0.04,
        (
            Arm("control", 0.34, 0.0, "direct_mail"),
            Arm("catalogue", 0.33, 0.04, "direct_mail", "catalogue"),
            Arm("postcard", 0.33, 0.0, "direct_mail", "postcard"),
        ),
    ),
    Campaign(
        "spring_garden",
        440,
        0.25,
        0.02,
        (
            Arm("control", 0.4, 0.0),
            Arm("tips", 0.3, 0.0, offer="tips"),
            Arm("garden_10", 0.3, 0.025, offer="10_percent"),
        ),
    ),
    Campaign("price_shout", 330, 0.25, 0.05, (Arm("control", 0.5, 0.0), Arm("shout", 0.5, -0.02, offer="last_chance"))),
    Campaign(
        "channel_test",
        260,
        0.30,
        0.03,
        (
            Arm("control", 0.34, 0.0),
            Arm("by_email", 0.33, 0.015, "email", "10_percent"),
            Arm("by_mail", 0.33, 0.035, "direct_mail", "10_percent"),
        ),
    ),
    Campaign(
        "winter_sale",
        190,
        0.30,
        0.05,
        (Arm("control", 0.4, 0.0), Arm("sale_20", 0.6, 0.06, offer="20_percent", scales_with_promo=True)),
    ),
    Campaign(
        "win_back", 120, 0.20, 0.02, (Arm("control", 0.5, 0.0), Arm("we_miss_you", 0.5, 0.0, offer="free_delivery"))
    ),
    Campaign(
        "loyalty_thanks",
        75,
        0.25,
        0.04,
        (
            Arm("control", 0.34, 0.0),
            Arm("thanks", 0.33, 0.02, offer="none"),
            Arm("double_points", 0.33, 0.045, offer="double_points"),
        ),
    ),
    Campaign(
        "summer_offers",
        40,
        0.30,
        0.04,
        (Arm("control", 0.4, 0.0), Arm("summer_15", 0.6, 0.05, offer="15_percent", scales_with_promo=True)),
    ),
)

PROMISES: tuple[PromiseRule, ...] = (
    PromiseRule("delivery_days", 3, "deliveries", "standard_delivery", 0.06, 0.3),
    PromiseRule("delivery_days", 3, "deliveries", "bulky_delivery", 0.40, 0.6),
    PromiseRule("wait_s", 60, "call_centre", "billing", 0.35, 0.3),
    PromiseRule("wait_s", 60, "call_centre", "order", 0.07, 0.2),
    PromiseRule("wait_s", 60, "call_centre", "delivery", 0.10, 0.3),
    PromiseRule("wait_s", 60, "call_centre", "product", 0.05, 0.2),
    PromiseRule("minutes_late", 30, "field_service", "installation", 0.38, 0.5),
    PromiseRule("minutes_late", 30, "field_service", "repair", 0.08, 0.4),
    PromiseRule("minutes_late", 30, "field_service", "maintenance", 0.04, 0.3),
    PromiseRule("answer_hours", 24, "sensor_requests", "fault", 0.22, 0.4),
    PromiseRule("answer_hours", 24, "sensor_requests", "supply", 0.05, 0.1),
)

EMERGING: tuple[EmergingSource, ...] = (
    EmergingSource("streamtok", "referrer", 10, 0.18),
    EmergingSource("askbot", "referrer", 4, 0.08),
    EmergingSource("neighbourly", "heard_from", 11, 0.3),
    EmergingSource("voicemart", "place", 5, 0.12),
)
KNOWN_REFERRERS: tuple[tuple[str, float], ...] = (
    ("display_search_ads", 0.4),
    ("email", 0.3),
    ("public_social", 0.2),
    ("mobile_app", 0.1),
)
KNOWN_HEARD_FROM: tuple[tuple[str, float], ...] = (
    ("store_till", 0.4),
    ("direct_mail", 0.2),
    ("public_social", 0.2),
    ("display_search_ads", 0.2),
)

# Acquisition source -> factor on the order rate, factor on the life, cost of one acquired customer.
SOURCE_QUALITY: dict[str, tuple[float, float, float]] = {
    "search": (1.1, 1.1, 14.0),
    "display": (0.7, 0.6, 22.0),
    "referral": (1.3, 1.6, 6.0),
    "store": (1.1, 1.2, 9.0),
    "direct_mail": (0.9, 1.0, 31.0),
    "social": (0.8, 0.7, 12.0),
    "partner": (0.9, 0.9, 18.0),
}

SUBSCRIPTIONS = SubscriptionParameters()
JOURNEYS = JourneyParameters()
SURVEYS = SurveyParameters()
PLANTED = Planted()
RATES = Rates()


@dataclass(frozen=True)
class PlanParameters:
    """How people respond to a contact that the pipeline has planned, whatever its campaign is called.

    Attributes:
        base_rate: mean P(order on the day) without the contact.
        effect: mean of P(order | contact) - P(order | none), times channel, hour, and promo sensitivity where an offer is made.
        category_fit: bounds of the factor taste / mean taste, where the offer names a category.
        control_arms: arms that get nothing.
    """

    base_rate: float = 0.01
    effect: float = 0.04
    category_fit: tuple[float, float] = (0.3, 3.0)
    control_arms: tuple[str, ...] = ("control", "holdout", "hold-out", "none", "no contact")


# Deliveries that go wrong: shares of rows, and the month of the window (0 is the first) in which they happen.
@dataclass(frozen=True)
class DeliveryFaults:
    """What is wrong with extracts beside what is wrong in their rows.

    Attributes:
        broken_rate: rows that break the contract, added to the true ones, in channels of `broken`.
        repeated: channel -> months whose file is delivered twice under two names.
        late: channel -> months whose first days come in a file of their own.
        corrected: channel -> months of which some rows are delivered wrong, and corrected by a later file; with the column that is wrong.
        corrected_share: of the rows of such a month.
    """

    broken_rate: float = 0.0015
    broken: tuple[str, ...] = ("store_till", "web_shop_events", "call_centre", "surveys", "payments", "mobile_app")
    repeated: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"store_till": (5,), "email": (9,)})
    late: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"web_shop_events": (8,), "store_till": (11,)})
    corrected: dict[str, tuple[tuple[int, ...], str]] = field(
        default_factory=lambda: {"web_shop_orders": ((10, 14), "total"), "payments": ((7,), "amount")}
    )
    corrected_share: float = 0.04


# Fixed cost a month, and cost of one event, by channel.
CHANNEL_COSTS: dict[str, tuple[float, float]] = {
    "email": (400.0, 0.004),
    "direct_mail": (150.0, 0.85),
    "display_search_ads": (300.0, 0.06),
    "addressable_tv": (500.0, 0.09),
    "call_centre": (900.0, 5.2),
    "field_service": (700.0, 78.0),
    "mobile_app": (600.0, 0.002),
    "private_community": (350.0, 0.01),
    "store_till": (2500.0, 0.55),
    "web_shop_orders": (1200.0, 1.9),
}
DELIVERY_FAULTS = DeliveryFaults()
PLAN = PlanParameters()
