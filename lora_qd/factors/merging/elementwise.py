"""Merges that look at single entries: run on the aligned cores.

The papers work on the entries of dense deltas. Here the entries are those of the cores,
the deltas' coordinates in bases that all members share, as in Core Space Merging (arXiv
2509.17786, Sec. 4): cheaper by the ratio of the sizes, and no approximation of the
dense result but a merge in another, aligned basis, which that paper finds to be better.
With U and V the identity, each is its paper's formula. ``X (K, n, R_out, R_in)`` holds
the cores of K members and n modules of one shape, ``w (K, n)`` the weights. What is
trimmed or ranked is counted within one member's core; the papers count within a whole
task vector (TIES), a layer (Breadcrumbs) or a row of weights (DELLA), and a row of a
core is no row of weights.
"""

import numpy as np
from numpy.random import Generator

from lora_qd.factors.low_rank import Matrix


def trimmed(X: Matrix, density: float) -> Matrix:
    """Return ``X`` with only the share ``density`` of largest magnitude kept.

    At least one entry stays; entries as large as the smallest one that stays do too.
    """
    return without_outliers(X, density, 0.0)


def elected(X: Matrix, w: Matrix) -> Matrix:
    """Return the weighted mean of the entries that agree with the elected sign.

    TIES (Yadav et al., arXiv 2306.01708, Sec. 4, steps 2 and 3): the sign with the
    larger total magnitude wins; the mean is over the members that are not zero there.
    Only the weights' proportions matter.
    """
    weighted = w[:, :, None, None] * X
    sign = np.sign(weighted.sum(axis=0))
    agrees = (np.sign(weighted) == sign) & (X != 0)
    share = np.sum(np.abs(w)[:, :, None, None] * agrees, axis=0)
    total = np.sum(np.where(agrees, weighted, 0.0), axis=0)
    return np.asarray(total / np.where(share > 0, share, 1.0))


def ties(X: Matrix, w: Matrix, *, density: float, gain: float) -> Matrix:
    """Return TIES: trim, elect signs, disjoint mean, times ``gain`` (lambda)."""
    return gain * elected(trimmed(X, density), w)


def dropped(X: Matrix, rng: Generator, density: float) -> Matrix:
    """Return ``X`` with entries dropped at random and the others rescaled.

    DARE (Yu et al., arXiv 2311.03099, Sec. 3.2): dropped with ``p = 1 - density``, the
    rest divided by ``1 - p``, so that the expectation stays.
    """
    return np.where(_uniform(rng, X) < density, X / density, 0.0)


def dropped_by_rank(
    X: Matrix, rng: Generator, density: float, epsilon: float
) -> Matrix:
    """Return ``X`` with small entries dropped more often than large ones.

    DELLA (Deep et al., arXiv 2406.11617, Sec. 3.1, MagPrune): the probability falls
    linearly with the rank of the magnitude, from ``p + epsilon / 2`` to
    ``p - epsilon / 2`` around ``p = 1 - density``; the rest is divided by ``1 - p_i``.

    Raises:
        ValueError: some ``1 - p_i`` is no probability above 0.
    """
    if density - epsilon / 2 <= 0 or density + epsilon / 2 > 1:
        widest = 2 * min(density, 1 - density)
        raise ValueError(
            f"expected density - epsilon / 2 > 0 and density + epsilon / 2 <= 1, but "
            f"got density {density:g} and epsilon {epsilon:g}; choose an epsilon "
            f"{'of 0' if widest == 0 else f'below {widest:g}'}"
        )
    keep = density + epsilon * (_ranks(X) - 0.5)
    return np.where(_uniform(rng, X) < keep, X / keep, 0.0)


def without_outliers(X: Matrix, density: float, gamma: float) -> Matrix:
    """Return ``X`` without its largest and its smallest entries.

    Model Breadcrumbs (Davari & Belilovsky, arXiv 2312.06795, Sec. 3): the share
    ``gamma`` of largest magnitude goes, and of the rest the smallest, until ``density``
    is left. At least one entry stays.
    """
    magnitude = np.abs(X).reshape(*X.shape[:2], -1)
    size = magnitude.shape[-1]
    end = size - min(round(gamma * size), size - 1)
    start = max(0, end - max(1, round(density * size)))
    if start == 0 and end == size:
        return X
    ordered = np.partition(magnitude, (start, end - 1), axis=-1)
    low, high = ordered[..., start, None], ordered[..., end - 1, None]
    kept = (low <= magnitude) & (magnitude <= high)
    return np.where(kept.reshape(X.shape), X, 0.0)


def _ranks(X: Matrix) -> Matrix:
    """Return each entry's rank of magnitude within its core, in [0, 1); 0: smallest."""
    flat = np.abs(X).reshape(*X.shape[:2], -1)
    order = np.argsort(flat, axis=-1, kind="stable")
    ranks = np.empty(flat.shape)
    places = np.broadcast_to(np.arange(flat.shape[-1], dtype=float), flat.shape)
    np.put_along_axis(ranks, order, places, axis=-1)
    return np.asarray(ranks / flat.shape[-1]).reshape(X.shape)


def _uniform(rng: Generator, X: Matrix) -> Matrix:
    """Draw for every entry, a module at a time, however many are stacked."""
    num_members, num_modules = X.shape[:2]
    draws = rng.random((num_modules, num_members, *X.shape[2:]))
    return np.asarray(draws.swapaxes(0, 1))
