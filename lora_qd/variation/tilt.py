"""The tilt: one gene for the shape of a child's spectrum.

A sum of experts has a few large singular values where they agree and many small ones
where each stands alone. Iso-C (arXiv 2502.04959) makes them all equal; here how far to
go is drawn for every child, so that selection decides.
"""

import numpy as np

from lora_qd.factors import Matrix, Svd, svds
from lora_qd.records import Cores

_ZERO = 1e-5
"""Singular values below this share of the largest are noise, and become 0."""


def tilt(child: Cores, exponent: float) -> Cores:
    """Return ``child`` with ``S -> S^exponent``, each module's norm kept.

    Below 1 the spectrum is flatter, at 0 it is that of Iso-C; above 1 it is steeper.

    Raises:
        ValueError: ``exponent`` is negative.
    """
    if exponent < 0:
        raise ValueError(f"expected an exponent >= 0, but got {exponent}")
    return {
        module: _tilted(parts, exponent).astype(child[module].dtype, copy=False)
        for module, parts in svds(child).items()
    }


def _tilted(parts: Svd, exponent: float) -> Matrix:
    shares = parts.S / max(float(parts.S[0]), 1e-30)
    S = np.where(shares > _ZERO, shares**exponent, 0.0)
    S *= np.linalg.norm(parts.S) / max(float(np.linalg.norm(S)), 1e-30)
    return np.asarray((parts.P * S.astype(parts.S.dtype)) @ parts.Qt)
