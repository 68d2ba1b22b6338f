"""Merges that look at single entries: run on the aligned cores.

The papers work on the entries of dense deltas. Here the entries are those of the cores,
the deltas' coordinates in bases that all members share, as in Core Space Merging (arXiv
2509.17786, Sec. 4): cheaper by the ratio of the sizes, and no approximation of the
dense result but a merge in another, aligned basis, which that paper finds to be better.
With U and V the identity, each is its paper's formula. ``X (K, n, R_out, R_in)`` holds
the cores of K members and n modules of one shape, ``w (K, n)`` the weights; what is
trimmed is counted within a member's module.
"""

import numpy as np
from numpy.random import Generator

from lora_qd.factors.low_rank import Matrix


def trimmed(X: Matrix, density: float) -> Matrix:
    """Return ``X`` with only the share ``density`` of largest magnitude kept."""
    return np.where(_ranks(X) >= 1 - density, X, 0.0)


def elected(X: Matrix, w: Matrix) -> Matrix:
    """Return the weighted mean of the entries that agree with the elected sign.

    TIES (Yadav et al., arXiv 2306.01708, Sec. 4, steps 2 and 3): the sign with the
    larger total magnitude wins; the mean is over the members that are not zero there.
    """
    weighted = w[:, :, None, None] * X
    sign = np.sign(weighted.sum(axis=0))
    agrees = (np.sign(weighted) == sign) & (X != 0)
    share = np.sum(np.abs(w)[:, :, None, None] * agrees, axis=0)
    total = np.sum(np.where(agrees, weighted, 0.0), axis=0)
    return np.asarray(total / np.where(share > 0, share, 1.0))


def ties(X: Matrix, w: Matrix, *, density: float, scale: float) -> Matrix:
    """Return TIES: trim, elect signs, disjoint mean, times ``scale`` (lambda)."""
    return scale * elected(trimmed(X, density), w)


def dropped(X: Matrix, rng: Generator, density: float) -> Matrix:
    """Return ``X`` with entries dropped at random and the others rescaled.

    DARE (Yu et al., arXiv 2311.03099, Sec. 3.2): dropped with ``p = 1 - density``, the
    rest divided by ``1 - p``, so that the expectation stays.
    """
    return np.where(rng.random(X.shape) < density, X / density, 0.0)


def dropped_by_rank(
    X: Matrix, rng: Generator, density: float, epsilon: float
) -> Matrix:
    """Return ``X`` with small entries dropped more often than large ones.

    DELLA (Deep et al., arXiv 2406.11617, Sec. 3.1, MagPrune): the probability falls
    linearly with the rank of the magnitude, from ``p + epsilon / 2`` to
    ``p - epsilon / 2`` around ``p = 1 - density``; the rest is divided by ``1 - p_i``.
    """
    keep = density + epsilon * (_ranks(X) - 0.5)
    keep = np.clip(keep, 1e-3, 1.0)
    return np.where(rng.random(X.shape) < keep, X / keep, 0.0)


def without_outliers(X: Matrix, density: float, gamma: float) -> Matrix:
    """Return ``X`` without its largest and its smallest entries.

    Model Breadcrumbs (Davari & Belilovsky, arXiv 2312.06795, Sec. 3): the share
    ``gamma`` of largest magnitude goes, and of the rest the smallest, until ``density``
    is left.
    """
    ranks = _ranks(X)
    return np.where((ranks < 1 - gamma) & (ranks >= 1 - gamma - density), X, 0.0)


def _ranks(X: Matrix) -> Matrix:
    """Return each entry's rank of magnitude within its core, in [0, 1); 0: smallest."""
    flat = np.abs(X).reshape(*X.shape[:2], -1)
    order = np.argsort(flat, axis=-1, kind="stable")
    ranks = np.empty(flat.shape)
    places = np.broadcast_to(np.arange(flat.shape[-1], dtype=float), flat.shape)
    np.put_along_axis(ranks, order, places, axis=-1)
    return np.asarray(ranks / flat.shape[-1]).reshape(X.shape)
