"""Merge crossover of parents (CycleQD, arXiv 2410.14735, Eq. 1), and the gain."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from lora_qd.factors import Matrix
from lora_qd.factors.cores import sum_of
from lora_qd.records import Cores

_SMALLEST_SUM = 0.1
"""Weights whose sum is nearer to 0 are drawn again: dividing by it would blow up."""


class Granularity(StrEnum):
    """What shares one draw of crossover weights."""

    MODEL = "model"
    """The whole model, as in the paper."""
    MODULE = "module"
    """Every module draws its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """A child and what was drawn for it."""

    cores: Cores
    shares: tuple[float, ...]
    """Each parent's share; the mean over modules where each drew its own."""
    gain: float
    """Factor on the child's whole task vector."""


def crossover(
    parents: Sequence[Cores],
    rng: Generator,
    *,
    sigma: float,
    granularity: Granularity = Granularity.MODEL,
    gain_sigma: float = 0.0,
    keep_norm: bool = False,
) -> Crossing:
    """Return ``gain * sum_i w_i C_i / sum_i w_i``, ``w_i ~ N(1, sigma^2)``.

    The paper has two parents; with more, what each of them was mutated by cancels
    (genetic repair, Beyer 1995) and what they share stays. Negative weights are
    allowed. The normalised weights keep the coefficients' sum, so the scale of a child
    is a gene of its own: ``log gain ~ N(0, gain_sigma^2)``, and 1 where ``gain_sigma``
    is 0, as in the paper.

    Args:
        parents: at least one.
        rng: what all draws come from.
        sigma: spread of the weights.
        granularity: what shares one draw of them.
        gain_sigma: spread of the log gain.
        keep_norm: whether each module gets its parents' mean norm back before the gain.
            A mean of experts, which are nearly orthogonal, is shorter than each of
            them, while the best merge of the tiny world's is as long.

    Raises:
        ValueError: there are no parents, or ``sigma`` or ``gain_sigma`` is negative.
    """
    if not parents:
        raise ValueError("expected at least one parent, but got none")
    if sigma < 0 or gain_sigma < 0:
        raise ValueError(
            f"expected sigma >= 0 and gain_sigma >= 0, but got {sigma}, {gain_sigma}"
        )
    gain = float(np.exp(rng.normal(0.0, gain_sigma)))
    if granularity is Granularity.MODEL:
        one = draw_shares(rng, sigma, len(parents))
        by_module = dict.fromkeys(parents[0], one)
    else:
        by_module = {m: draw_shares(rng, sigma, len(parents)) for m in parents[0]}
    cores = {
        module: _mean([p[module] for p in parents], shares, keep_norm, gain)
        for module, shares in by_module.items()
    }
    means = np.mean(list(by_module.values()), axis=0)
    return Crossing(cores, tuple(map(float, means)), gain)


def mean_of(
    members: Sequence[Cores], shares: Sequence[float], keep_norm: bool
) -> Cores:
    """Return ``sum_i shares_i C_i``, each module as long as its members if asked."""
    return {m: _mean([c[m] for c in members], shares, keep_norm) for m in members[0]}


def with_norm_of(
    child: Matrix, parents: Sequence[Matrix], shares: Sequence[float]
) -> Matrix:
    """Return one module's child, as long as its parents are on average."""
    norms = [float(np.linalg.norm(parent)) for parent in parents]
    wanted = float(np.average(norms, weights=np.abs(shares)))
    got = float(np.linalg.norm(child))
    # Parents that cancel leave rounding errors, which nobody wants blown up.
    return child * (wanted / got) if got > _SMALLEST_SUM * wanted else child


def _mean(
    blocks: Sequence[Matrix],
    shares: Sequence[float],
    keep_norm: bool,
    gain: float = 1.0,
) -> Matrix:
    if not keep_norm:
        return sum_of(blocks, [gain * share for share in shares])
    return gain * with_norm_of(sum_of(blocks, shares), blocks, shares)


def draw_shares(rng: Generator, sigma: float, num: int) -> tuple[float, ...]:
    """Draw ``w_i / sum_i w_i``."""
    while True:
        weights = rng.normal(1.0, sigma, size=num)
        total = float(weights.sum())
        if abs(total) >= _SMALLEST_SUM:
            return tuple(float(w / total) for w in weights)
