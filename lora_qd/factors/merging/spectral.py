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

_ZERO = 1e-5
"""Singular values below this share of the largest are rounding errors: what float32
members have of them after some hundred generations."""


def iso_c(X: Matrix, w: Matrix) -> Matrix:
    """Return the weighted sum with all singular values replaced by their mean.

    Iso-C (Marczak et al., arXiv 2502.04959, Sec. 4). Exact, but the mean is over the
    rank that the sum has, where the paper's deltas have full rank: a low-rank delta
    has no singular directions besides. It is not the identity for a lone member.
    """
    P, S, Qt = np.linalg.svd(weighted(X, w), full_matrices=False)
    is_there = _is_there(S)
    mean = (S * is_there).sum(axis=1) / np.maximum(is_there.sum(axis=1), 1)
    return np.asarray((P * (mean[:, None] * is_there)[:, None, :]) @ Qt)


def tsv_m(X: Matrix, w: Matrix, *, share: float) -> Matrix:
    """Return the members' leading singular directions, decorrelated, then summed.

    TSV-M (Gargiulo et al., arXiv 2412.00081): of each member the ``share`` of its
    directions with the largest singular values is kept; ``[P_1 ... P_K]`` and ``[Q_1
    ... Q_K]`` are replaced by the nearest orthonormal matrices (Procrustes), and
    multiplied with the singular values. Where the core's rank R does not hold as many
    directions, each of K members keeps the paper's ``R / K`` at most; members of
    weight 0 take no room. Exact wherever the kept directions are independent; among
    dependent ones the nearest orthonormal matrix of the dense delta is not unique, and
    here nothing leaves their span.
    """
    P, S, Qt = np.linalg.svd(X, full_matrices=False)
    nums = _nums(S, w, share)  # (K, n)
    most = max(1, int(nums.max()))
    is_kept = np.arange(most) < nums[:, :, None]
    left = P[..., :most] * is_kept[:, :, None, :]
    right = Qt[..., :most, :] * is_kept[..., None]
    values = w[:, :, None] * S[..., :most] * is_kept
    L = _nearest(np.concatenate(list(left), axis=-1))  # (n, R_out, K most)
    R = _nearest(np.concatenate(list(right), axis=-2))  # (n, K most, R_in)
    return np.asarray((L * np.concatenate(list(values), axis=-1)[:, None, :]) @ R)


def knots(X: Matrix, w: Matrix, *, density: float, gain: float) -> Matrix:
    """Return TIES on the right parts of one SVD that all members share.

    KnOTS (Stoica et al., arXiv 2410.19735), see :func:`aligned`. The paper's entries
    are in the coordinates of the input, ours in V's: with a linear merge of the
    parts it is exact, with TIES a merge in another basis.
    """
    P, parts = aligned(X)
    return np.asarray(P @ ties(parts, w, density=density, gain=gain))


def aligned(X: Matrix) -> tuple[Matrix, Matrix]:
    """Return P ``(n, R_out, R)`` and the members' parts ``(K, n, R, R_in)``.

    ``[C_1 ... C_K] = P S [Q_1^T ... Q_K^T]``; ``S Q_k^T`` is the part of member k, and
    ``C_k = P (S Q_k^T)``.
    """
    joint = np.concatenate(list(X), axis=-1)  # (n, R_out, K R_in)
    P, S, Qt = np.linalg.svd(joint, full_matrices=False)
    return P, np.stack(np.split(S[..., None] * Qt, len(X), axis=-1))


def _nums(S: Matrix, w: Matrix, share: float) -> Matrix:
    """Return how many directions each member keeps in each module ``(K, n)``."""
    ranks = np.where(w == 0, 0, _is_there(S).sum(axis=-1))
    nums = np.where(ranks > 0, np.maximum(1, np.rint(share * ranks)), 0).astype(int)
    room = S.shape[-1]
    each = np.maximum(1, room // np.maximum(1, np.sum(ranks > 0, axis=0)))
    return np.where(nums.sum(axis=0) > room, np.minimum(nums, each), nums)


def _nearest(M: Matrix) -> Matrix:
    """Return the orthonormal matrix nearest to M: ``P Q^T`` of its SVD.

    Directions that M lacks stay zero, so that the answer is unique.
    """
    P, S, Qt = np.linalg.svd(M, full_matrices=False)
    return np.asarray((P * _is_there(S)[..., None, :]) @ Qt)


def _is_there(S: Matrix) -> Matrix:
    """Return which singular values ``(..., R)`` are more than rounding errors."""
    return np.asarray(_ZERO * S[..., :1] < S)
