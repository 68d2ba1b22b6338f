"""Measuring members of one core space: their size, spectra and likeness.

U and V are orthonormal, so all of it holds for the dense deltas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lora_qd.factors.cores import Svd, svds
from lora_qd.factors.low_rank import Matrix
from lora_qd.records import Cores

_ZERO = 1e-6
"""Singular values below this share of a module's largest are rounding errors."""


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """The singular values of a member."""

    by_module: Mapping[str, Matrix]
    """``{module: S (R,)}``, descending; rounding errors are zeros."""

    @property
    def norms(self) -> dict[str, float]:
        """The Frobenius norm of each module's delta."""
        return {m: float(np.linalg.norm(S)) for m, S in self.by_module.items()}

    @property
    def norm(self) -> float:
        """The Frobenius norm of the whole task vector."""
        return float(np.linalg.norm(list(self.norms.values())))

    @property
    def rank(self) -> int:
        """The largest rank of a module."""
        return max(int(np.count_nonzero(S)) for S in self.by_module.values())

    @property
    def effective_rank(self) -> float:
        """The mean over modules of ``exp(-sum_i p_i log p_i)``, ``p = S / sum S``.

        Roy & Vetterli 2007: the number of equal singular values that are as spread
        out. Modules that are zero do not count.
        """
        ranks = [_effective_rank(S) for S in self.by_module.values() if S.any()]
        return float(np.mean(ranks)) if ranks else 0.0


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike two members are; each in [-1, 1] or [0, 1], 1 for equal ones."""

    cosine: float
    """Of the whole task vectors, as in task arithmetic (arXiv 2212.04089, Sec. 5)."""
    output_subspace: float
    """``|P_1^T P_2|_F^2 / k`` of the k leading left singular vectors, mean over modules
    (LoRA, arXiv 2106.09685, Eq. 4): 1 for one subspace, 0 for orthogonal ones."""
    input_subspace: float
    """The same of the right singular vectors."""
    spectral: float
    """Mean over modules of the cosine of the singular values (arXiv 2410.14735), which
    went along with good merges of vision experts: correlation 0.83."""


def spectrum(member: Cores) -> Spectrum:
    """Return the singular values of every module."""
    return _spectrum(svds(member))


def cosines(first: Cores, second: Cores) -> dict[str, float]:
    """Return the cosine of each module's deltas; 0 where one is zero."""
    return {module: _cosine(first[module], second[module]) for module in first}


def similarity(first: Cores, second: Cores, *, directions: int = 8) -> Similarity:
    """Compare two members.

    Args:
        first: a member.
        second: another of the same core space.
        directions: at most so many leading singular vectors span the subspaces that
            are compared.

    Raises:
        ValueError: ``directions`` is below 1.
    """
    if directions < 1:
        raise ValueError(f"expected at least 1 direction, but got {directions}")
    parts = [svds(member) for member in (first, second)]
    spectra = [_spectrum(part).by_module for part in parts]
    out, in_, values = [], [], []
    for module in first:
        ranks = [int(np.count_nonzero(spectra[i][module])) for i in range(2)]
        k = min(directions, *ranks)
        if k == 0:
            continue  # a module that one of them lacks
        one, other = parts[0][module], parts[1][module]
        out.append(_overlap(one.P[:, :k].T @ other.P[:, :k]))
        in_.append(_overlap(one.Qt[:k] @ other.Qt[:k].T))
        values.append(_cosine(spectra[0][module], spectra[1][module]))
    return Similarity(
        cosine=_cosine(_flat(first), _flat(second)),
        output_subspace=_mean(out),
        input_subspace=_mean(in_),
        spectral=_mean(values),
    )


def _spectrum(parts: Mapping[str, Svd]) -> Spectrum:
    return Spectrum(
        {m: np.where(_ZERO * s.S[0] < s.S, s.S, 0.0) for m, s in parts.items()}
    )


def _overlap(inner: Matrix) -> float:
    """Return the share of k directions that two subspaces have in common."""
    return float(np.sum(inner**2)) / len(inner)


def _effective_rank(S: Matrix) -> float:
    p = S[S > 0] / S.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def _flat(member: Cores) -> Matrix:
    return np.concatenate([member[module].ravel() for module in sorted(member)])


def _cosine(first: Matrix, second: Matrix) -> float:
    one, other = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms > 0 else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
