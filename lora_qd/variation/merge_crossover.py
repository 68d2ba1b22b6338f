"""Crossover by any merging method, in place of the paper's weighted mean."""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from lora_qd.factors import scaled
from lora_qd.factors.merging import merge
from lora_qd.records import Cores
from lora_qd.variation.crossover import Crossing, draw_shares, with_norm_of


def merge_crossover(
    parents: Sequence[Cores],
    rng: Generator,
    *,
    method: str,
    sigma: float,
    gain_sigma: float = 0.0,
    keep_norm: bool = False,
) -> Crossing:
    """Return the parents merged by ``method`` with normalised ``w_i ~ N(1, sigma^2)``.

    Args:
        parents: at least one; two for ``slerp``.
        rng: what the weights, the gain and the random methods draw from.
        method: a name out of ``lora_qd.factors.merging.METHODS``, with its default
            parameters; its docstring says what it does and what is exact.
        sigma: spread of the weights.
        gain_sigma: spread of the log gain.
        keep_norm: whether each module gets its parents' mean norm back before the gain.

    Raises:
        ValueError: no parents, a negative spread, or the method refuses.
    """
    if sigma < 0 or gain_sigma < 0:
        raise ValueError(
            f"expected sigma >= 0 and gain_sigma >= 0, but got {sigma}, {gain_sigma}"
        )
    gain = float(np.exp(rng.normal(0.0, gain_sigma)))
    shares = draw_shares(rng, sigma, len(parents))
    cores = merge(parents, shares, method, rng=rng)
    if keep_norm:
        cores = {
            module: with_norm_of(core, [p[module] for p in parents], shares)
            for module, core in cores.items()
        }
    return Crossing(scaled(cores, gain), shares, gain)
