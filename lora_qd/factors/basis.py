"""Orthonormal bases of one module: built from experts, extended by a late one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lora_qd.factors.low_rank import LowRank, Matrix

_TINY = 1e-30


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: == on arrays raises
class Basis:
    """Orthonormal bases of one module: ``delta = U C V^T``."""

    U: Matrix
    """``(d_out, R_out)``, spans the experts' B."""
    V: Matrix
    """``(d_in, R_in)``, spans the experts' A^T."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(d_out, d_in)`` of the deltas."""
        return int(self.U.shape[0]), int(self.V.shape[0])

    @property
    def core_shape(self) -> tuple[int, int]:
        """``(R_out, R_in)`` of the cores."""
        return int(self.U.shape[1]), int(self.V.shape[1])


def basis_of(
    updates: Sequence[LowRank], tolerance: float, dtype: torch.dtype, device: str
) -> Basis:
    """Return the bases that ``updates`` of one module span."""
    start = Basis(
        U=np.zeros((updates[0].shape[0], 0), dtype=_numpy(dtype)),
        V=np.zeros((updates[0].shape[1], 0), dtype=_numpy(dtype)),
    )
    return extended(start, updates, tolerance, device)


def extended(
    basis: Basis, updates: Sequence[LowRank], tolerance: float, device: str
) -> Basis:
    """Return ``basis`` with the directions of ``updates`` that it lacks behind its own.

    Its own columns stay bit for bit, so that older cores need only zeros beside them.
    """
    return Basis(
        U=_extended(basis.U, [u.B for u in updates], tolerance, device),
        V=_extended(basis.V, [u.A.T for u in updates], tolerance, device),
    )


def _extended(
    Q: Matrix, blocks: Sequence[Matrix], tolerance: float, device: str
) -> Matrix:
    """Return ``Q`` ``(d, R)`` with an orthonormal basis of the blocks' residuals.

    Computed in float64. Each block is brought to norm 1 first, so that a weak expert is
    not dropped beside a strong one.
    """
    unit = [block / max(float(np.linalg.norm(block)), _TINY) for block in blocks]
    X = torch.from_numpy(np.concatenate(unit, axis=1)).to(device, torch.float64)
    own = torch.from_numpy(Q).to(device, torch.float64)
    largest = float(torch.linalg.matrix_norm(X, ord=2)) if Q.shape[1] else None
    # Once leaves rounding errors of the size of what is left.
    for _ in range(2 if Q.shape[1] else 0):
        X = X - own @ (own.mT @ X)
    new = _orthonormal(X, tolerance, largest)
    if new.shape[1] == 0 and Q.shape[1] == 0:
        new = torch.eye(len(X), 1, dtype=torch.float64, device=device)  # all zero
    columns = np.concatenate([Q, new.cpu().numpy().astype(Q.dtype)], axis=1)
    return np.asfortranarray(columns)  # its transpose is what A = V^T hands out


def _orthonormal(
    X: torch.Tensor, tolerance: float, largest: float | None
) -> torch.Tensor:
    """Return an orthonormal basis ``(d, R)`` of the columns of ``X`` ``(d, n)``.

    Args:
        X: float64.
        tolerance: directions below this share of ``largest`` are dropped.
        largest: by default the largest singular value of ``X``.
    """
    Q, R = torch.linalg.qr(X)
    P, S, _ = torch.linalg.svd(R)  # R has the singular values of X
    scale = float(S[0]) if largest is None else largest
    num_kept = int((tolerance * max(scale, _TINY) < S).sum())
    basis: torch.Tensor = Q if num_kept == len(S) else Q @ P[:, :num_kept]
    return basis


def _numpy(dtype: torch.dtype) -> type[np.floating]:
    return np.float64 if dtype == torch.float64 else np.float32
