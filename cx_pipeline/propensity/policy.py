"""Policy of the propensity room: horizons, folds and what a model must reach to be used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PropensityPolicy:
    """What is predicted, how models are tested, and when one is used.

    Attributes:
        purchase_horizon_days: `purchase_90d` is the probability of an order of a positive amount in this many days after the cut-off.
        response_window_days: a response counts up to this many days after the contact.
        test_share: share of the closed contacts, the latest, on which `coupon_response` is tested.
        calibration_share: share of the contacts before those, the latest, on which it is calibrated.
        min_rows, min_events: fewest rows, and rows of the rarer outcome, of each fold; with fewer there is no model.
        max_rows: most rows that a model is trained and tested on, the first ones in the order of hashed customer ids.
        leak_auc: a single feature that separates the outcomes better than this is taken for a leak; training is refused.
        max_calibration_error: largest mean gap between predicted and observed rates, out of time, of a model that is used.
        max_chance_of_no_gain: largest share of bootstrap samples of the test rows in which the naive rule ranks as well.
        isotonic_from: rows of the rarer outcome from which calibration is isotonic; sigmoid below.
        order_columns: `channel.column` of numeric columns of order channels that say how was bought (coupons, app, ...); whether
            and how often they are not 0 becomes features of `coupon_response`.
        max_offers: most frequent offers that are told apart; the others count as one.
    """

    purchase_horizon_days: int = 90
    response_window_days: int = 30
    test_share: float = 0.33
    calibration_share: float = 0.33
    min_rows: int = 300
    min_events: int = 30
    max_rows: int = 300_000
    leak_auc: float = 0.95
    max_calibration_error: float = 0.05
    max_chance_of_no_gain: float = 0.05
    isotonic_from: int = 1_000
    order_columns: tuple[str, ...] = ()
    max_offers: int = 10
