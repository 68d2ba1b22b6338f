"""Merges that are sums of the members: exact for the dense deltas.

``delta = U C V^T`` is linear in C, so a sum of cores is the sum of deltas. All take the
cores of one shape stacked, ``X (K, n, R_out, R_in)`` for K members and n modules, and
weights ``w (K, n)``.
"""

import numpy as np

from lora_qd.factors.low_rank import Matrix

_SMALLEST_SUM = 1e-6
_NEAR_PARALLEL = 1e-4
"""Radians below which the arc is a straight line to working precision."""


def weighted(X: Matrix, w: Matrix) -> Matrix:
    """Return ``sum_k w_k C_k``: task arithmetic (arXiv 2212.04089, Sec. 2).

    Concatenating the factors, ``B = [w_1 B_1 ... w_K B_K]``, ``A = [A_1; ...; A_K]``
    (CAT), is the same update at rank ``sum_k r_k``; the core space holds it at the rank
    that it has. Weights beyond [0, 1] extrapolate.
    """
    return np.asarray(np.einsum("kn,knij->nij", w, X))


def averaged(X: Matrix, w: Matrix) -> Matrix:
    """Return ``sum_k w_k C_k / sum_k w_k``, the crossover of CycleQD (Eq. 1).

    Weights such as (1.5, -0.5) extrapolate beyond the parents.

    Raises:
        ValueError: the weights of a module sum to zero.
    """
    total = w.sum(axis=0)
    if np.any(np.abs(total) < _SMALLEST_SUM):
        raise ValueError(
            "expected weights that do not sum to zero, since this method divides by "
            "their sum; use task-arithmetic for plain sums"
        )
    return weighted(X, w / total)


def slerp(X: Matrix, w: Matrix) -> Matrix:
    """Return the point at ``t = w_2 / (w_1 + w_2)`` of the arc from C_1 to C_2.

    Shoemake 1985: ``(sin((1-t)a) C_1 + sin(t a) C_2) / sin(a)``, with ``a`` the angle
    between the module's deltas, which is the angle between their cores. Linear where
    they are parallel or opposite, and where one is zero.

    Raises:
        ValueError: there are not two members, or the weights sum to zero.
    """
    if len(X) != 2:
        raise ValueError(
            f"expected two adapters for slerp, but got {len(X)}; merge more of them by "
            "another method"
        )
    line = averaged(X, w)
    t = (w[1] / w.sum(axis=0))[:, None, None]
    norms = np.linalg.norm(X, axis=(2, 3), keepdims=True)
    unit = X / np.where(norms > 0, norms, 1.0)
    cosine = np.clip(np.sum(unit[0] * unit[1], axis=(1, 2), keepdims=True), -1, 1)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    is_line = (sine < _NEAR_PARALLEL) | (norms.min(axis=0) == 0)
    safe = np.where(is_line, 1.0, sine)
    arc = (np.sin((1 - t) * angle) * X[0] + np.sin(t * angle) * X[1]) / safe
    return np.where(is_line, line, arc)
