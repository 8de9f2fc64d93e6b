from __future__ import annotations

import numpy as np
import pytest

from cx_pipeline.simulate.campaigns import chance_with, chance_without, hour_factor
from cx_pipeline.simulate.latent import CONTACT_CHANNELS
from cx_pipeline.simulate.parameters import CAMPAIGNS, Arm
from cx_pipeline_tests.simulate.test_latent import latent_of

LATENT = latent_of(5_000)
EVERYONE = np.arange(LATENT.n)


def test_campaigns_when_defined_then_shares_add_up_and_some_effects_are_zero_some_negative() -> None:
    for campaign in CAMPAIGNS:
        assert sum(arm.share for arm in campaign.arms) == pytest.approx(1.0)
        assert campaign.arms[0].name == "control"
        assert campaign.arms[0].effect == 0
    effects = [arm.effect for campaign in CAMPAIGNS for arm in campaign.arms if arm.name != "control"]
    assert min(effects) < 0 < max(effects)
    assert 0 in effects


def test_potential_outcomes_when_an_arm_has_no_effect_then_they_are_those_without_contact() -> None:
    without = chance_without(LATENT, EVERYONE, np.full(LATENT.n, 300.0), 0.05)
    assert np.array_equal(chance_with(LATENT, EVERYONE, without, Arm("postcard", 0.5, 0.0)), without)


def test_potential_outcomes_when_people_have_left_never_buy_or_follow_a_script_then_nothing_moves_them() -> None:
    at = np.full(LATENT.n, 300.0)
    without = chance_without(LATENT, EVERYONE, at, 0.05)
    gone = (LATENT.alive_until <= at) | (LATENT.rate == 0) | LATENT.is_scripted
    assert 0 < gone.sum() < LATENT.n
    moved = chance_with(LATENT, EVERYONE, without, Arm("x", 0.5, 0.1))
    assert (without[gone] == 0).all()
    assert (moved[gone] == 0).all()
    assert (moved[~gone] > without[~gone]).all()


def test_potential_outcomes_when_the_channel_is_preferred_or_the_offer_wanted_then_the_effect_is_larger() -> None:
    without = np.full(LATENT.n, 0.05)
    gain = chance_with(LATENT, EVERYONE, without, Arm("x", 0.5, 0.04, "email")) - without
    prefers = LATENT.contact_channel == CONTACT_CHANNELS.index("email")
    assert gain[prefers].min() > gain[~prefers].max()
    gain = chance_with(LATENT, EVERYONE, without, Arm("x", 0.5, 0.04, scales_with_promo=True)) - without
    assert np.corrcoef(gain, LATENT.promo_sensitivity)[0, 1] > 0.7
    lost = chance_with(LATENT, EVERYONE, without, Arm("x", 0.5, -0.02))
    assert (lost < without).all()
    assert (lost >= 0).all()


def test_hours_when_a_mail_comes_at_the_best_one_then_it_is_opened_four_times_as_often_as_far_from_it() -> None:
    best = hour_factor(LATENT, EVERYONE, 100 + LATENT.best_hour / 24)
    far = hour_factor(LATENT, EVERYONE, 100 + ((LATENT.best_hour + 12) % 24) / 24)
    assert np.allclose(best, 1.6)
    assert np.allclose(far, 0.4, atol=0.01)
