"""The shared core space of a run: two orthonormal bases per module (design, section 2).

Not done here: reading or writing adapters (``store``), element-wise merges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lora_qd.factors.cores import Svd, svd
from lora_qd.factors.low_rank import LowRank, Matrix, TaskVector
from lora_qd.records import Cores


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: == on arrays raises
class Basis:
    """Orthonormal bases of one module: ``delta = U C V^T``."""

    U: Matrix
    """``(d_out, R_out)``, spans the experts' B."""
    V: Matrix
    """``(d_in, R_in)``, spans the experts' A^T."""


@dataclass(frozen=True, slots=True, eq=False)
class Materialised:
    """A member as ordinary factors, with what truncation dropped."""

    task_vector: TaskVector
    """Scaling folded into the factors, so ``scaling = 1``."""
    dropped_energy: float
    """Share of the squared Frobenius norm that truncation dropped, in [0, 1]."""


class CoreSpace:
    """The span of a run's experts, in which a member is a stack of small cores.

    Built as in Core Space Merging (arXiv 2509.17786): ``U = orth([B_1 ... B_K])``,
    ``V = orth([A_1^T ... A_K^T])``, ``C_e = s_e (U^T B_e)(A_e V)``.
    """

    def __init__(self, bases: Mapping[str, Basis]) -> None:
        self.bases = dict(bases)

    @classmethod
    def of(
        cls, experts: Sequence[TaskVector], *, tolerance: float = 1e-6
    ) -> "CoreSpace":
        """Build the space spanned by ``experts``.

        Args:
            experts: task vectors on one base; a module that one lacks is zero.
            tolerance: directions below this share of an expert's largest singular
                value are dropped.

        Raises:
            ValueError: no experts, or a module has two shapes.
        """
        if not experts:
            raise ValueError("expected at least one expert, but got none")
        modules = sorted({module for expert in experts for module in expert})
        return cls({m: _basis(m, experts, tolerance) for m in modules})

    @property
    def largest_rank(self) -> int:
        """The rank that holds every member exactly."""
        return max(int(min(b.U.shape[1], b.V.shape[1])) for b in self.bases.values())

    def project(self, task_vector: TaskVector) -> Cores:
        """Return the cores of ``task_vector``; exact if it lies in the space.

        Raises:
            ValueError: a module is unknown to the space or has another shape.
        """
        for module, update in task_vector.items():
            self._check(module, update)
        return {
            module: _core(basis, task_vector.get(module))
            for module, basis in self.bases.items()
        }

    def materialise(self, cores: Cores, *, rank: int | None = None) -> Materialised:
        """Return ``cores`` as factors: exact, or truncated to ``rank``.

        The truncation is the SVD's, optimal in the Frobenius norm since U and V are
        orthonormal (Eckart-Young).

        Raises:
            ValueError: ``rank`` is below 1.
        """
        if rank is not None and rank < 1:
            raise ValueError(f"expected a rank of at least 1, but got {rank}")
        svds = {module: svd(core) for module, core in cores.items()}
        energy = sum(float(np.sum(s.S**2)) for s in svds.values())
        kept = sum(float(np.sum(s.S[:rank] ** 2)) for s in svds.values())
        factors = {m: _factors(self.bases[m], s, rank) for m, s in svds.items()}
        dropped = max(0.0, 1.0 - kept / energy) if energy > 0 else 0.0
        return Materialised(factors, dropped)

    def _check(self, module: str, update: LowRank) -> None:
        if module not in self.bases:
            raise ValueError(
                f"expected modules of the space, but got {module!r}, which no "
                "expert has; build the space with this adapter among the experts"
            )
        basis = self.bases[module]
        expected = (basis.U.shape[0], basis.V.shape[0])
        if update.shape != expected:
            raise ValueError(
                f"expected a {expected} update of {module!r}, but got {update.shape}"
            )


def _basis(module: str, experts: Sequence[TaskVector], tolerance: float) -> Basis:
    updates = [expert[module] for expert in experts if module in expert]
    shapes = sorted({update.shape for update in updates})
    if len(shapes) > 1:
        raise ValueError(
            f"expected one shape of {module!r} in all experts, but got {shapes}; "
            "all experts must be trained on one base model"
        )
    return Basis(
        U=_orth([update.B for update in updates], tolerance),
        V=_orth([update.A.T for update in updates], tolerance),
    )


def _orth(blocks: Sequence[Matrix], tolerance: float) -> Matrix:
    """Return an orthonormal basis ``(d, R)`` of the blocks' columns, in float64.

    Each block is brought to norm 1 first, so that a weak expert is not dropped
    beside a strong one.
    """
    unit = [block / max(float(np.linalg.norm(block)), 1e-30) for block in blocks]
    Q, R = np.linalg.qr(np.concatenate(unit, axis=1).astype(np.float64))
    P, S, _ = np.linalg.svd(R)
    num_kept = max(1, int(np.sum(tolerance * max(S[0], 1e-30) < S)))
    return np.ascontiguousarray(Q @ P[:, :num_kept])


def _core(basis: Basis, update: LowRank | None) -> Matrix:
    if update is None:
        return np.zeros((basis.U.shape[1], basis.V.shape[1]), dtype=np.float32)
    left = basis.U.T @ update.B.astype(np.float64)
    right = update.A.astype(np.float64) @ basis.V
    return (update.scaling * left @ right).astype(np.float32)


def _factors(basis: Basis, core: Svd, rank: int | None) -> LowRank:
    """Split the singular values evenly, so that B and A suit 16-bit formats."""
    root = np.sqrt(core.S[:rank])
    B = (basis.U @ core.P[:, :rank]) * root
    A = (core.Qt[:rank].T * root).T @ basis.V.T
    return LowRank(B.astype(np.float32), A.astype(np.float32))
