"""Merge crossover of parents (CycleQD, arXiv 2410.14735, Eq. 1), and the gain."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from lora_qd.factors import Matrix
from lora_qd.factors.cores import sum_of
from lora_qd.factors.merging import merge
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


@dataclass(frozen=True, slots=True)
class CrossoverSettings:
    """How parents become a child.

    Raises:
        ValueError: a spread is negative, or modules draw for another method.
    """

    sigma: float
    """Spread of the weights around 1."""
    method: str = "linear"
    """The paper's mean, or another name out of ``lora_qd.factors.merging.METHODS``,
    with its default parameters; two parents for ``slerp``."""
    granularity: Granularity = Granularity.MODEL
    """What shares one draw of the weights."""
    gain_sigma: float = 0.0
    """Spread of the log gain; 0 for no gene, as in the paper."""
    keep_norm: bool = False
    """Whether each module gets its parents' mean norm back before the gain. A mean of
    experts, which are nearly orthogonal, is shorter than each of them, while the best
    merge of the tiny world's is as long."""

    def __post_init__(self) -> None:
        if self.sigma < 0 or self.gain_sigma < 0:
            raise ValueError(
                f"expected sigma >= 0 and gain_sigma >= 0, but got {self.sigma}, "
                f"{self.gain_sigma}"
            )
        if self.method != "linear" and self.granularity is Granularity.MODULE:
            raise ValueError(
                f"expected one draw of weights for {self.method}, but got one for "
                "each module; granularity 'module' is for 'linear' only"
            )


def crossover(
    parents: Sequence[Cores], rng: Generator, settings: CrossoverSettings
) -> Crossing:
    """Return ``gain * sum_i w_i C_i / sum_i w_i``, ``w_i ~ N(1, sigma^2)``.

    The paper has two parents; with more, what each of them was mutated by cancels
    (genetic repair, Beyer 1995) and what they share stays. Negative weights are
    allowed. The normalised weights keep the coefficients' sum, so the scale of a child
    is a gene of its own: ``log gain ~ N(0, gain_sigma^2)``. Another method merges with
    the same weights.

    Raises:
        ValueError: there are no parents, or the method refuses.
    """
    if not parents:
        raise ValueError("expected at least one parent, but got none")
    gain = float(np.exp(rng.normal(0.0, settings.gain_sigma)))
    if settings.granularity is Granularity.MODEL:
        one = _draw_shares(rng, settings.sigma, len(parents))
        by_module = dict.fromkeys(parents[0], one)
    else:
        by_module = {
            module: _draw_shares(rng, settings.sigma, len(parents))
            for module in parents[0]
        }
    if settings.method == "linear":
        merged = {m: _mean(parents, m, shares) for m, shares in by_module.items()}
    else:
        merged = dict(merge(parents, one, settings.method, rng=rng))
    if settings.keep_norm:
        merged = {
            module: _with_norm_of([p[module] for p in parents], core, by_module[module])
            for module, core in merged.items()
        }
    means = np.mean(list(by_module.values()), axis=0)
    cores = {module: gain * core for module, core in merged.items()}
    return Crossing(cores, tuple(map(float, means)), gain)


def mean_of(
    members: Sequence[Cores], shares: Sequence[float], keep_norm: bool
) -> Cores:
    """Return ``sum_i shares_i C_i``, each module as long as its members if asked."""
    mean = {module: _mean(members, module, shares) for module in members[0]}
    if not keep_norm:
        return mean
    return {
        module: _with_norm_of([c[module] for c in members], core, shares)
        for module, core in mean.items()
    }


def _mean(members: Sequence[Cores], module: str, shares: Sequence[float]) -> Matrix:
    return sum_of([cores[module] for cores in members], shares)


def _with_norm_of(
    parents: Sequence[Matrix], child: Matrix, shares: Sequence[float]
) -> Matrix:
    """Return one module's child, as long as its parents are on average."""
    norms = [float(np.linalg.norm(parent)) for parent in parents]
    wanted = float(np.average(norms, weights=np.abs(shares)))
    got = float(np.linalg.norm(child))
    # Parents that cancel leave rounding errors, which nobody wants blown up.
    return child * (wanted / got) if got > _SMALLEST_SUM * wanted else child


def _draw_shares(rng: Generator, sigma: float, num: int) -> tuple[float, ...]:
    """Draw ``w_i / sum_i w_i``."""
    while True:
        weights = rng.normal(1.0, sigma, size=num)
        total = float(weights.sum())
        if abs(total) >= _SMALLEST_SUM:
            return tuple(float(w / total) for w in weights)
