"""Merge crossover of two parents (CycleQD, arXiv 2410.14735, Eq. 1), and the gain."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from lora_qd.factors import weighted_sum
from lora_qd.factors.cores import sum_of
from lora_qd.records import Cores

_SMALLEST_SUM = 0.1
"""Weights whose sum is nearer to 0 are drawn again: dividing by it would blow up."""


class Granularity(StrEnum):
    """What shares one pair of crossover weights."""

    MODEL = "model"
    """The whole model, as in the paper."""
    MODULE = "module"
    """Every module draws its own pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """A child of two parents and what was drawn for it."""

    cores: Cores
    share: float
    """The first parent's share; the mean over modules where each drew its own."""
    gain: float
    """Factor on the child's whole task vector."""


def crossover(
    first: Cores,
    second: Cores,
    rng: Generator,
    *,
    sigma: float,
    granularity: Granularity = Granularity.MODEL,
    gain_sigma: float = 0.0,
) -> Crossing:
    """Return ``gain * (w1 C1 + w2 C2) / (w1 + w2)``, ``w ~ N(1, sigma^2)``.

    Negative weights are allowed. The normalised weights keep the coefficients' sum,
    so the scale of a child is a gene of its own: ``log gain ~ N(0, gain_sigma^2)``,
    and 1 where ``gain_sigma`` is 0, as in the paper.

    Raises:
        ValueError: ``sigma`` or ``gain_sigma`` is negative.
    """
    if sigma < 0 or gain_sigma < 0:
        raise ValueError(
            f"expected sigma >= 0 and gain_sigma >= 0, but got {sigma}, {gain_sigma}"
        )
    gain = float(np.exp(rng.normal(0.0, gain_sigma)))
    if granularity is Granularity.MODEL:
        share = _share(rng, sigma)
        weights = [gain * share, gain * (1 - share)]
        return Crossing(weighted_sum([first, second], weights), share, gain)
    shares = {module: _share(rng, sigma) for module in first}
    cores = {
        m: sum_of([first[m], second[m]], [gain * share, gain * (1 - share)])
        for m, share in shares.items()
    }
    return Crossing(cores, float(np.mean(list(shares.values()))), gain)


def _share(rng: Generator, sigma: float) -> float:
    """Draw ``w1 / (w1 + w2)``."""
    while True:
        w1, w2 = rng.normal(1.0, sigma, size=2)
        if abs(w1 + w2) >= _SMALLEST_SUM:
            return float(w1 / (w1 + w2))
