"""One adapter from the archives' best elites (CycleQD, arXiv 2410.14735, Sec. 3.4)."""

from collections.abc import Sequence

import numpy as np

from lora_qd.factors import Matrix
from lora_qd.records import Cores
from lora_qd.variation.crossover import mean_of


def softmax_weights(scores: Sequence[float]) -> Matrix:
    """Return ``beta_k = exp(f_k) / sum_i exp(f_i)`` ``(K,)``.

    Raises:
        ValueError: there are no scores, or one is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected finite scores, but got {list(scores)}")
    exponentials = np.exp(values - values.max())
    return np.asarray(exponentials / exponentials.sum())


def aggregate(
    elites: Sequence[Cores], scores: Sequence[float], *, keep_norm: bool = False
) -> Cores:
    """Return ``sum_k beta_k C_k`` over one elite per archive, ``scores[k]`` its own.

    With ``keep_norm`` every module gets the elites' mean norm back, as in
    :func:`~lora_qd.variation.crossover.crossover`; the paper does without.
    """
    return mean_of(elites, [float(b) for b in softmax_weights(scores)], keep_norm)
