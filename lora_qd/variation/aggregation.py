"""One adapter from the archives' best elites (CycleQD, arXiv 2410.14735, Sec. 3.4)."""

from collections.abc import Sequence

import numpy as np

from lora_qd.factors import Matrix, weighted_sum
from lora_qd.records import Cores


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


def aggregate(elites: Sequence[Cores], scores: Sequence[float]) -> Cores:
    """Return ``sum_k beta_k C_k`` over one elite per archive, ``scores[k]`` its own."""
    return weighted_sum(elites, [float(beta) for beta in softmax_weights(scores)])
