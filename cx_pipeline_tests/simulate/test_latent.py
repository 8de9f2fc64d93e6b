from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from cx_pipeline.simulate.latent import CONTRADICTIONS, SCRIPTS, SOURCES, Latent, Reach, draw_latent
from cx_pipeline.simulate.parameters import SEGMENTS
from cx_pipeline.simulate.window import Window

WINDOW = Window(date(2026, 6, 30), 548)


def latent_of(n: int, seed: int = 3) -> Latent:
    rng = np.random.default_rng(1)
    joined = [datetime(2026, 6, 1) - timedelta(days=int(d)) for d in rng.integers(0, 900, n)]
    persons = pl.DataFrame(
        {
            "joined_at": pl.Series(joined, dtype=pl.Datetime("us")),
            "is_prospect": rng.random(n) < 0.08,
            "acquisition_source": [SOURCES[i] for i in rng.integers(0, len(SOURCES), n)],
        }
    )
    has = {
        name: rng.random(n) < 0.8 for name in ("online", "offline", "email", "crm", "app", "handle", "member", "firm")
    }
    return draw_latent(persons, Reach(**has), WINDOW, seed)


def test_types_when_drawn_then_shares_means_and_tastes_are_those_of_the_parameters() -> None:
    latent = latent_of(20_000)
    shares = np.bincount(latent.segment, minlength=len(SEGMENTS)) / latent.n
    assert np.allclose(shares, [s.share for s in SEGMENTS], atol=0.015)
    assert np.allclose(latent.tastes.sum(axis=1), 1.0)
    buys = (latent.rate > 0) & (latent.source == SOURCES.index("search"))
    for code, segment in enumerate(SEGMENTS):
        mean = latent.rate[buys & (latent.segment == code)].mean() * 30
        assert abs(mean / (1.1 * segment.monthly_rate) - 1) < 0.25
    assert (latent.rate[latent.is_prospect] == 0).all()
    assert (latent.alive_until >= latent.active_from).all()


def test_scripts_when_assigned_then_only_people_follow_them_on_whom_they_can_be_seen() -> None:
    latent = latent_of(20_000)
    reach, followers = latent.reach, latent.is_scripted
    for flags in (reach.online, reach.offline, reach.email, reach.crm, reach.firm, latent.rate > 0):
        assert flags[followers].all()
    assert reach.member[latent.follows("advocate", *CONTRADICTIONS[2:])].all()
    counts = dict(zip(SCRIPTS, np.bincount(latent.script, minlength=len(SCRIPTS)).tolist(), strict=True))
    assert {name: n for name, n in counts.items() if name in CONTRADICTIONS} == dict.fromkeys(CONTRADICTIONS, 100)
    lifecycle = latent.follows("jump", "skip", "steady", "advocate")
    assert (latent.active_from[lifecycle] <= 548 - 330).all()


def test_silence_when_scripted_then_the_right_side_falls_silent_and_stays_so() -> None:
    latent = latent_of(20_000)
    persons = np.flatnonzero(latent.follows(CONTRADICTIONS[0]))
    late, early = np.full(len(persons), 548 - 89.0), np.full(len(persons), 100.0)
    assert not latent.is_audible(persons, late, is_online=True).any()
    assert latent.is_audible(persons, late, is_online=False).all()
    assert latent.is_audible(persons, early, is_online=True).all()
    jumpers = np.flatnonzero(latent.follows("jump"))
    assert (latent.alive_until[jumpers] <= 548 - 75).all()
    assert not latent.is_audible(jumpers, np.full(len(jumpers), 474.0), is_online=False).any()


def test_types_when_drawn_twice_then_they_are_the_same_and_another_seed_gives_others() -> None:
    one, two, other = latent_of(500), latent_of(500), latent_of(500, seed=4)
    assert np.array_equal(one.rate, two.rate)
    assert np.array_equal(one.script, two.script)
    assert not np.array_equal(one.rate, other.rate)
