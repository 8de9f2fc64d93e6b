"""Figures that tell whether predicted survival holds out of time.

Belongs here: pure figures of predicted probabilities and what happened. Does not belong here: which model is taken.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cx_pipeline.retention.subjects import Array

Flags = npt.NDArray[np.bool_]
_N_GROUPS = 10
# Probabilities are rounded before they are ranked: their last digits depend on the machine.
_DECIMALS = 10


def auc(left: Flags, risk: Array) -> float | None:
    """Probability that one who left was given a higher risk than one who stayed; None where only one of the two happened."""
    from scipy.stats import rankdata

    n_left, n_stayed = int(left.sum()), int((~left).sum())
    if not n_left or not n_stayed:
        return None
    ranks = rankdata(np.round(risk, _DECIMALS))
    return float((ranks[left].sum() - n_left * (n_left + 1) / 2) / (n_left * n_stayed))


def brier(left: Flags, probability: Array) -> float:
    """Mean squared distance of the probability to leave from what happened."""
    return float(((probability - left) ** 2).mean())


def tenths(left: Flags, probability: Array) -> list[tuple[float, float]]:
    """Mean probability and share that left, of each tenth of customers by probability, the lowest first."""
    order = np.argsort(np.round(probability, _DECIMALS), kind="stable")
    groups = [members for members in np.array_split(order, _N_GROUPS) if len(members)]
    return [(float(probability[members].mean()), float(left[members].mean())) for members in groups]


def calibration_error(left: Flags, probability: Array) -> float:
    """Mean distance between probability and share that left, over tenths of customers."""
    return float(np.mean([abs(predicted - actual) for predicted, actual in tenths(left, probability)]))


def calibration_noise(probability: Array) -> float:
    """The calibration error that a calibrated probability shows by chance alone, expected over what may happen."""
    order = np.argsort(np.round(probability, _DECIMALS), kind="stable")
    groups = [probability[members] for members in np.array_split(order, _N_GROUPS) if len(members)]
    spread = [float(np.sqrt((group * (1 - group)).sum())) / len(group) for group in groups]
    return float(np.sqrt(2 / np.pi) * np.mean(spread))


def concordance(days: Array, is_event: Flags, risk: Array) -> float | None:
    """Harrell's C: how often who left earlier was given the higher risk; None where nobody left."""
    from lifelines.utils import concordance_index

    if not is_event.any():
        return None
    return float(concordance_index(days, -np.round(risk, _DECIMALS), is_event))
