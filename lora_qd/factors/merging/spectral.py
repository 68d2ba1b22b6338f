"""Merges by singular vectors: all stay in the span of the members' deltas.

U and V are orthonormal, so the SVD of a core is that of its delta. What depends on
singular vectors and values only is therefore exact for the dense deltas; what looks at
entries (KnOTS with TIES) sees them in the core space's coordinates. ``X (K, n, R_out,
R_in)`` and ``w (K, n)`` as in the other files.
"""

import numpy as np

from lora_qd.factors.low_rank import Matrix
from lora_qd.factors.merging.elementwise import ties
from lora_qd.factors.merging.sums import weighted

_ZERO = 1e-6
"""Singular values below this share of the largest are rounding errors."""


def iso_c(X: Matrix, w: Matrix) -> Matrix:
    """Return the weighted sum with all singular values replaced by their mean.

    Iso-C (Marczak et al., arXiv 2502.04959, Eq. 5). Exact, over the rank that the sum
    has: the paper's full-rank deltas have no other directions.
    """
    P, S, Qt = np.linalg.svd(weighted(X, w), full_matrices=False)
    is_there = _ZERO * S[:, :1] < S
    mean = (S * is_there).sum(axis=1) / np.maximum(is_there.sum(axis=1), 1)
    return np.asarray((P * (mean[:, None] * is_there)[:, None, :]) @ Qt)


def tsv_m(X: Matrix, w: Matrix, *, share: float) -> Matrix:
    """Return the members' leading singular directions, decorrelated, then summed.

    TSV-M (Gargiulo et al., arXiv 2412.00081, Sec. 4.2): of each member the ``share`` of
    its directions with the largest singular values is kept, ``[P_1 ... P_K]`` and
    ``[Q_1 ... Q_K]`` are replaced by the nearest orthonormal matrices (Procrustes), and
    multiplied with the singular values. Exact.
    """
    P, S, Qt = np.linalg.svd(X, full_matrices=False)
    num = max(1, round(share * int(np.max(np.sum(_ZERO * S[..., :1] < S, axis=-1)))))
    num = min(num, S.shape[-1])
    S = w[:, :, None] * S[..., :num]
    left = np.concatenate(list(P[..., :num]), axis=-1)  # (n, R_out, K num)
    right = np.concatenate(list(Qt[..., :num, :]), axis=-2)  # (n, K num, R_in)
    values = np.concatenate(list(S), axis=-1)  # (n, K num)
    return np.asarray((_nearest(left) * values[:, None, :]) @ _nearest(right))


def knots(X: Matrix, w: Matrix, *, density: float, scale: float) -> Matrix:
    """Return TIES on the right parts of one SVD that all members share.

    KnOTS (Stoica et al., arXiv 2410.19735, Eq. 2): ``[C_1 ... C_K] = P S [Q_1 ...
    Q_K]``, then ``S Q_k`` are merged by TIES and multiplied by P. The paper's entries
    are in the coordinates of the input, ours in V's: equal where the merge is linear,
    else a merge in another basis.
    """
    joint = np.concatenate(list(X), axis=-1)  # (n, R_out, K R_in)
    P, S, Qt = np.linalg.svd(joint, full_matrices=False)
    parts = np.stack(np.split(S[..., None] * Qt, len(X), axis=-1))
    return np.asarray(P @ ties(parts, w, density=density, scale=scale))


def _nearest(M: Matrix) -> Matrix:
    """Return the orthonormal matrix nearest to M: ``P Q^T`` of its SVD."""
    P, _, Qt = np.linalg.svd(M, full_matrices=False)
    return np.asarray(P @ Qt)
