"""Sales: opportunities and their stages, products, promises, costs of channels.

Belongs here: lead quality and what shows of it, the company's own lists. Does not belong here: orders (`purchases.py`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cx_pipeline.simulate.parameters import CHANNEL_COSTS, PROMISES, SOURCE_QUALITY
from cx_pipeline.simulate.randomness import Floats, Indices
from cx_pipeline.simulate.world import World, gather

_STAGES = ("new", "qualified", "proposal", "won", "lost")
_PROSPECT_SHARE, _CUSTOMER_SHARE = 0.7, 0.08
_BANDS = ("none", "small", "medium", "large")


def opportunities(world: World) -> None:
    """Stage changes of the opportunities of prospects (lost or open) and of some who became customers (won). Truth: lead_quality.

    Quality is P(won): Beta(3, 2) among the won, Beta(2, 3) among the others; budget band and number of enquiries depend on it.
    """
    latent, window, rng = world.latent, world.window, world.rng("sales.opportunities")
    joined = window.day_numbers(world.persons["joined_at"])
    inside = (joined > 0) & latent.reach.crm
    lost = np.flatnonzero(inside & latent.is_prospect & (rng.random(latent.n) < _PROSPECT_SHARE))
    won = np.flatnonzero(inside & (latent.rate > 0) & (rng.random(latent.n) < _CUSTOMER_SHARE))
    persons = np.concatenate([lost, won])
    is_won = np.arange(len(persons)) >= len(lost)
    quality = np.where(is_won, rng.beta(3, 2, len(persons)), rng.beta(2, 3, len(persons)))
    begins = joined[persons] - np.where(is_won, rng.uniform(5, 40, len(persons)), 0.0)
    steps = np.where(is_won, 3, rng.integers(0, 3, len(persons)))
    gaps = rng.exponential(1.0, (len(persons), 4)) * np.where(is_won, 8.0, 15.0)[:, None] + 0.3
    at = begins[:, None] + np.cumsum(gaps, axis=1) - gaps
    closes = at[np.arange(len(persons)), np.minimum(steps, 2)] + gaps[:, 3]
    closes = np.where(is_won, joined[persons], closes)
    is_open = ~is_won & ((closes >= window.days) | (rng.random(len(persons)) < 0.1))
    band = np.digitize(quality + rng.normal(0, 0.2, len(persons)), (0.25, 0.5, 0.75))
    enquiries = rng.poisson(1 + 4 * quality)
    amount = np.exp(rng.normal(4.5 + 0.5 * band, 0.4, len(persons))).round(2)
    numbers = world.numbers("OP", len(persons))
    crm = world.handles.pick("crm", persons, rng, name="crm_no")
    rows, stages, times = [], [], []
    for stage in range(3):
        reached = np.flatnonzero(
            (np.minimum(steps, 2) >= stage) & (np.minimum(at[:, stage], closes - 0.01) < window.days)
        )
        rows.append(reached)
        stages.append(np.full(len(reached), stage))
        times.append(np.minimum(at[reached, stage], closes[reached] - 0.01 * (3 - stage)))
    closed = np.flatnonzero(~is_open)
    rows.append(closed)
    stages.append(np.where(is_won[closed], 3, 4))
    times.append(closes[closed])
    row, reached_stage, when = np.concatenate(rows), np.concatenate(stages), np.concatenate(times)
    order = np.lexsort((reached_stage, when))
    row, reached_stage, when = row[order], reached_stage[order], when[order]
    frame = pl.DataFrame(
        {
            "change_no": world.numbers("OC", len(row)),
            "opportunity_no": numbers.gather(row),
            "changed_at": window.times(when),
            "crm_no": crm.gather(row),
            "stage": gather(_STAGES, reached_stage),
            "amount": amount[row],
            "closed_on": window.dates(np.where(reached_stage >= 3, when, np.nan), "closed_on"),
            "lead_source": gather(tuple(SOURCE_QUALITY), latent.source[persons[row]]),
            "budget_band": gather(_BANDS, band[row]),
            "n_enquiries": enquiries[row],
        }
    )
    world.write("opportunities", frame, np.maximum(when, 0.0))
    world.know(
        "lead_quality",
        pl.DataFrame(
            {
                "opportunity_no": numbers,
                "person_id": persons,
                "quality": quality,
                "outcome": gather(("lost", "won", "open"), np.where(is_open, 2, is_won.astype(np.int64))),
                "opened_at": window.times(begins),
                "source": gather(tuple(SOURCE_QUALITY), latent.source[persons]),
            }
        ),
    )


def products_extract(world: World, catalogue: pl.DataFrame) -> None:
    """The catalogue as an extract, one file."""
    n = catalogue.height
    frame = catalogue.with_columns(world.window.times(np.zeros(n), "changed_at")).rename({"product_id": "product_no"})
    world.write_month("products", frame, world.window.months[0])


def promises_extract(world: World) -> None:
    """What the company promises, one row for each channel and process."""
    rows = [
        {
            "promise_id": f"PR{i:02d}",
            "metric": rule.metric,
            "at_most": rule.threshold,
            "applies_to": rule.channel,
            "process": rule.process,
        }
        for i, rule in enumerate(PROMISES, start=1)
    ]
    world.write_month("promises", pl.DataFrame(rows), world.window.months[0])


def costs(world: World, monthly_events: dict[str, Indices], new_customers: dict[str, Indices]) -> None:
    """What channels cost a month: a fixed part that grows with the company, a part per event, and advertising for new customers.

    Truth: channel_costs.

    Args:
        world: the company.
        monthly_events: channel -> rows in each month of the window.
        new_customers: acquisition source -> people who joined in each month.
    """
    months = world.window.months
    scale = max(world.latent.n / 10_000, 0.02)
    rows: list[tuple[str, float, str, str | None, str, float]] = []
    for channel, (fixed, per_event) in CHANNEL_COSTS.items():
        counts = monthly_events.get(channel, np.zeros(len(months), dtype=np.int64))
        rows += [
            (month.label, month.ends - 0.1, channel, None, "running", round(fixed * scale + per_event * int(n), 2))
            for month, n in zip(months, counts, strict=True)
        ]
    for source, (_, _, cost) in SOURCE_QUALITY.items():
        rows += [
            (month.label, month.ends - 0.1, _channel_of_source(source), source, "acquisition", round(cost * int(n), 2))
            for month, n in zip(months, new_customers[source], strict=True)
        ]
    at: Floats = np.array([row[1] for row in rows])
    frame = pl.DataFrame(
        {
            "cost_id": world.numbers("CO", len(rows)),
            "booked_at": world.window.times(at),
            "channel": [row[2] for row in rows],
            "source": pl.Series([row[3] for row in rows], dtype=pl.String),
            "kind": [row[4] for row in rows],
            "amount": [row[5] for row in rows],
        }
    )
    world.know("channel_costs", frame)
    world.write_month("channel_costs", frame, months[-1])


def _channel_of_source(source: str) -> str:
    channels = {
        "search": "display_search_ads",
        "display": "display_search_ads",
        "referral": "referral_programme",
        "store": "store_till",
        "direct_mail": "direct_mail",
        "social": "public_social",
        "partner": "partner",
    }
    return channels[source]
