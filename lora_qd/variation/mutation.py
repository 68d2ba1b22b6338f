"""SVD mutation (CycleQD, arXiv 2410.14735, Sec. 3.3) in its published forms.

The paper and the released code differ, and the paper's ``w_max`` is not known; each
form is therefore a named option.
"""

from enum import StrEnum

import numpy as np
from numpy.random import Generator

from lora_qd.factors import Matrix, svd
from lora_qd.records import Cores


class MutationForm(StrEnum):
    """What is drawn, and what it does to the singular values S."""

    MULTIPLY = "multiply"
    """The paper: the child's ``S * w``, ``w ~ U[0, w_max]``; 2 keeps its mean."""
    RELATIVE = "relative"
    """The child's ``S * (1 + w)``, ``w ~ U[-w_max, w_max]``."""
    EXPERT = "expert"
    """The released code: add the current skill's expert with ``S * w``,
    ``w ~ U[0, w_max]``."""
    NONE = "none"
    """No mutation: the control."""


def mutate(
    child: Cores,
    expert: Cores,
    rng: Generator,
    *,
    form: MutationForm,
    w_max: float,
) -> Cores:
    """Return the mutated child; every singular direction draws its own ``w``.

    Args:
        child: what crossover returned.
        expert: the expert of the task whose archive the child is bred in.
        rng: drawn from in the order of the child's modules.
        form: which of the published forms.
        w_max: bound of ``w``.

    Raises:
        ValueError: ``w_max`` is negative.
    """
    if w_max < 0:
        raise ValueError(f"expected w_max >= 0, but got {w_max}")
    if form is MutationForm.NONE:
        return child
    if form is MutationForm.EXPERT:
        return {
            m: (core + _weighted(expert[m], rng, (0.0, w_max))).astype(core.dtype)
            for m, core in child.items()
        }
    relative = form is MutationForm.RELATIVE
    bounds = (1 - w_max, 1 + w_max) if relative else (0.0, w_max)
    return {
        m: _weighted(core, rng, bounds).astype(core.dtype) for m, core in child.items()
    }


def _weighted(core: Matrix, rng: Generator, bounds: tuple[float, float]) -> Matrix:
    """Return ``P diag(S * w) Q^T`` with ``w`` uniform in ``bounds``."""
    parts = svd(core)
    w = rng.uniform(*bounds, size=parts.S.shape)
    return np.asarray((parts.P * (parts.S * w)) @ parts.Qt)
