"""Measuring members of one core space: their size, spectra and likeness.

U and V are orthonormal, so all of it holds for the dense deltas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lora_qd.factors.cores import Svd, svds
from lora_qd.factors.low_rank import Matrix
from lora_qd.factors.stacks import check_alike
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
        ranks = [int(np.count_nonzero(S)) for S in self.by_module.values()]
        return max(ranks, default=0)

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
    """Return the cosine of each module's deltas; 0 where one is zero.

    Raises:
        ValueError: the members are not of one space.
    """
    check_alike([first, second])
    return {module: _cosine(first[module], second[module]) for module in first}


def similarity(first: Cores, second: Cores, *, directions: int = 8) -> Similarity:
    """Compare two members, as :func:`similarities` compares many."""
    return similarities([first, second], directions=directions)[0, 1]


def similarities(
    members: Sequence[Cores], *, directions: int = 8
) -> dict[tuple[int, int], Similarity]:
    """Compare every two members ``i < j``, by the SVD of each of them once.

    Args:
        members: of one core space.
        directions: at most so many leading singular vectors span the subspaces that
            are compared; as many as both have where one has fewer.

    Raises:
        ValueError: ``directions`` is below 1, or the members are not of one space.
    """
    if directions < 1:
        raise ValueError(
            f"expected at least 1 direction, but got {directions}; 8 are a usual number"
        )
    if not members:
        return {}
    check_alike(members)
    parts = [svds(member) for member in members]
    return {
        (i, j): Similarity(
            _cosine(_flat(members[i]), _flat(members[j])),
            *_mean_likeness(parts[i], parts[j], directions),
        )
        for i, j in combinations(range(len(members)), 2)
    }


def _mean_likeness(
    first: Mapping[str, Svd], second: Mapping[str, Svd], directions: int
) -> tuple[float, float, float]:
    """Return output and input subspace and spectral similarity, mean over modules.

    A module that is zero in one of them does not count.
    """
    spectra = _spectrum(first).by_module, _spectrum(second).by_module
    rows = []
    for module, one in first.items():
        ranks = [int(np.count_nonzero(spectrum[module])) for spectrum in spectra]
        k = min(directions, *ranks)
        if k > 0:
            other = second[module]
            out = _overlap(one.P[:, :k].T @ other.P[:, :k])
            in_ = _overlap(one.Qt[:k] @ other.Qt[:k].T)
            rows.append((out, in_, _cosine(spectra[0][module], spectra[1][module])))
    if not rows:
        return 0.0, 0.0, 0.0
    out, in_, spectral = np.mean(rows, axis=0).tolist()
    return out, in_, spectral


def _spectrum(parts: Mapping[str, Svd]) -> Spectrum:
    return Spectrum(
        {m: np.where(_ZERO * s.S[0] < s.S, s.S, 0.0) for m, s in parts.items()}
    )


def _overlap(inner: Matrix) -> float:
    """Return the share of k directions that two subspaces have in common."""
    return min(1.0, float(np.sum(inner**2)) / len(inner))


def _effective_rank(S: Matrix) -> float:
    p = S[S > 0] / S.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def _flat(member: Cores) -> Matrix:
    return np.concatenate([member[module].ravel() for module in sorted(member)])


def _cosine(first: Matrix, second: Matrix) -> float:
    one, other = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return min(1.0, max(-1.0, float(one @ other) / norms)) if norms > 0 else 0.0
