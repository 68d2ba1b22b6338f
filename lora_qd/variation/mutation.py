"""SVD mutation (CycleQD, arXiv 2410.14735, Sec. 3.3) in several forms.

The paper and the released code differ, and the paper's ``w_max`` is not known; each
form is therefore a named option. All SVDs of equal shape run as one batch.
"""

from enum import StrEnum

import numpy as np
from numpy.random import Generator

from lora_qd.factors import Matrix, Svd, svds
from lora_qd.records import Cores


class MutationForm(StrEnum):
    """What is drawn, and what it does to ``C = P diag(S) Q^T``."""

    MULTIPLY = "multiply"
    """The paper: the child's ``S * w``, ``w ~ U[0, w_max]``; 2 keeps its mean."""
    RELATIVE = "relative"
    """The child's ``S * (1 + w)``, ``w ~ U[-w_max, w_max]``."""
    EXPERT = "expert"
    """The released code: add the current skill's expert with ``S * w``,
    ``w ~ U[0, w_max]``."""
    LOGNORMAL = "lognormal"
    """The child's ``S * exp(w)``, ``w ~ N(0, w_max^2)``: never changes a sign."""
    MASK = "mask"
    """Each singular component goes with probability ``w_max``; the others stay as they
    are, so that the child shrinks."""
    ROTATE = "rotate"
    """P and Q are each turned at random by about ``w_max`` radians, S stays; exactly
    orthogonal, so that norm and spectrum stay too."""
    GAUSSIAN = "gaussian"
    """The control: Gaussian noise of ``w_max`` times the norm of each core."""
    NONE = "none"
    """No mutation: the other control."""


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
        form: which of the forms.
        w_max: its strength; what it bounds is said at each form.

    Raises:
        ValueError: ``w_max`` is negative or not finite, or above 1 as a probability.
    """
    most = 1.0 if form is MutationForm.MASK else np.finfo(np.float32).max
    if not 0 <= w_max <= most:
        raise ValueError(
            f"expected a finite w_max >= 0, and at most 1 to mask, but got {w_max}; "
            "0.1 is a usual one"
        )
    if form is MutationForm.NONE:
        return child
    if form is MutationForm.GAUSSIAN:
        return {m: _noisy(core, rng, w_max) for m, core in child.items()}
    parts = svds(expert if form is MutationForm.EXPERT else child)
    changed = {m: _changed(parts[m], rng, form, w_max) for m in child}
    if form is MutationForm.EXPERT:
        changed = {m: child[m] + core for m, core in changed.items()}
    return {m: changed[m].astype(core.dtype, copy=False) for m, core in child.items()}


def _changed(parts: Svd, rng: Generator, form: MutationForm, w_max: float) -> Matrix:
    """Return one module after mutation, or what the expert adds to it."""
    if form is MutationForm.ROTATE:
        P = parts.P @ _rotation(rng, len(parts.S), w_max)
        Qt = _rotation(rng, len(parts.S), w_max) @ parts.Qt
        return np.asarray((P * parts.S) @ Qt)
    S = parts.S * _factors(rng, len(parts.S), form, w_max)
    return np.asarray((parts.P * S.astype(parts.S.dtype)) @ parts.Qt)


def _factors(rng: Generator, num: int, form: MutationForm, w_max: float) -> Matrix:
    """Draw what the singular values are multiplied by."""
    if form is MutationForm.LOGNORMAL:
        return np.exp(w_max * rng.standard_normal(num))
    if form is MutationForm.MASK:
        return (rng.random(num) >= w_max).astype(np.float64)
    if form is MutationForm.RELATIVE:
        return rng.uniform(1 - w_max, 1 + w_max, size=num)
    return rng.uniform(0.0, w_max, size=num)


def _rotation(rng: Generator, num: int, angle: float) -> Matrix:
    """Draw a rotation that turns a unit vector by about ``angle`` radians.

    Cayley's transform ``(I - K)^-1 (I + K)`` of a skew-symmetric K is orthogonal for
    every K.
    """
    noise = rng.standard_normal((num, num))
    K = (noise - noise.T) * (angle / 2 / np.sqrt(2 * max(num - 1, 1)))
    return np.asarray(np.linalg.solve(np.eye(num) - K, np.eye(num) + K))


def _noisy(core: Matrix, rng: Generator, share: float) -> Matrix:
    noise = rng.standard_normal(core.shape)
    norm = float(np.linalg.norm(noise))
    step = share * float(np.linalg.norm(core)) / norm if norm > 0 else 0.0
    return np.asarray(core + step * noise).astype(core.dtype)
