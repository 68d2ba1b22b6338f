"""The shared core space of a run: two orthonormal bases per module (design, section 2).

Not done here: reading or writing adapters (``store``), merging (``merging``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lora_qd.factors.basis import Basis, basis_of, extended
from lora_qd.factors.cores import Svd, svds
from lora_qd.factors.low_rank import LowRank, Matrix, TaskVector
from lora_qd.records import Cores


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: == on arrays raises
class Materialised:
    """A member as ordinary factors, with what truncation dropped."""

    task_vector: TaskVector
    """Scaling folded into the factors, so ``scaling = 1``."""
    dropped_energy: float
    """Share of the squared Frobenius norm that truncation dropped, in [0, 1]."""
    dropped_by_module: Mapping[str, float] = field(default_factory=dict)
    """The same of each module's own squared norm; empty where nothing was dropped."""


class CoreSpace:
    """The span of a run's experts, in which a member is a stack of small cores.

    Built as in Core Space Merging (arXiv 2509.17786): ``U = orth([B_1 ... B_K])``,
    ``V = orth([A_1^T ... A_K^T])``, ``C_e = s_e (U^T B_e)(A_e V)``. Bases are computed
    in float64 and kept, like cores, in float32, or in float64 for oracles.
    """

    def __init__(self, bases: Mapping[str, Basis], *, device: str = "cpu") -> None:
        self.bases = dict(bases)
        self.device = device

    @classmethod
    def of(
        cls,
        experts: Sequence[TaskVector],
        *,
        tolerance: float = 1e-6,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> "CoreSpace":
        """Build the space spanned by ``experts``.

        Args:
            experts: task vectors on one base, of any ranks; a module that one lacks
                is zero.
            tolerance: directions below this share of the largest singular value of
                the experts' factors, each brought to norm 1, are dropped.
            dtype: ``torch.float32`` or ``torch.float64``, of bases and cores.
            device: where the algebra runs: ``cpu``, ``cuda``, ...

        Raises:
            ValueError: no experts, or a module has two shapes.
        """
        if not experts:
            raise ValueError("expected at least one expert, but got none")
        bases = {}
        for module in sorted({module for expert in experts for module in expert}):
            updates = [expert[module] for expert in experts if module in expert]
            _check_shapes(module, updates)
            bases[module] = basis_of(updates, tolerance, dtype, device)
        return cls(bases, device=device)

    @property
    def largest_rank(self) -> int:
        """The rank that holds every member exactly."""
        return max(min(basis.core_shape) for basis in self.bases.values())

    def extend(self, expert: TaskVector, *, tolerance: float = 1e-6) -> "CoreSpace":
        """Return the space that also holds ``expert``, which came late.

        The members of this space stay what they are: :meth:`pad` their cores.

        Raises:
            ValueError: a module has another shape than here.
        """
        bases = dict(self.bases)
        dtype = next(iter(bases.values())).U.dtype
        torch_dtype = torch.float64 if dtype == np.float64 else torch.float32
        for module, update in sorted(expert.items()):
            if module in bases:
                self._check(module, update)
                bases[module] = extended(
                    bases[module], [update], tolerance, self.device
                )
            else:
                bases[module] = basis_of([update], tolerance, torch_dtype, self.device)
        return CoreSpace(dict(sorted(bases.items())), device=self.device)

    def pad(self, cores: Cores) -> Cores:
        """Return cores of the space that this one extends as cores of this one.

        Exact: the new directions get zeros.
        """
        padded = {}
        for module, basis in self.bases.items():
            padded[module] = np.zeros(basis.core_shape, dtype=basis.U.dtype)
            old = cores.get(module)
            if old is not None:
                padded[module][: old.shape[0], : old.shape[1]] = old
        return padded

    def project(self, task_vector: TaskVector) -> Cores:
        """Return the cores of ``task_vector``; exact if it lies in the space.

        For a foreign adapter it is the nearest member, and :meth:`residual` tells
        how near.

        Raises:
            ValueError: a module is unknown to the space or has another shape.
        """
        for module, update in task_vector.items():
            self._check(module, update)
        return {
            module: self._core(basis, task_vector.get(module))
            for module, basis in self.bases.items()
        }

    def residual(self, task_vector: TaskVector) -> float:
        """Return the share of the squared norm that lies outside the space, in [0, 1].

        A module that the space does not know lies outside entirely.
        """
        whole = sum(_energy(update) for update in task_vector.values())
        known = {m: u for m, u in task_vector.items() if m in self.bases}
        cores = self.project(known)
        inside = sum(float(np.sum(np.square(c, dtype=float))) for c in cores.values())
        return max(0.0, 1.0 - inside / whole) if whole > 0 else 0.0

    def materialise(self, cores: Cores, *, rank: int | None = None) -> Materialised:
        """Return ``cores`` as factors: exact, or truncated to ``rank``.

        Exact is ``B = U C``, ``A = V^T``, a view of the basis. The truncation is the
        SVD's, optimal in the Frobenius norm since U and V are orthonormal
        (Eckart-Young).

        Raises:
            ValueError: ``rank`` is below 1.
        """
        if rank is None:
            exact = {m: self._exact(self.bases[m], core) for m, core in cores.items()}
            return Materialised(exact, 0.0)
        if rank < 1:
            raise ValueError(f"expected a rank of at least 1, but got {rank}")
        parts = svds(cores, device=self.device)
        factors = {m: self._truncated(self.bases[m], s, rank) for m, s in parts.items()}
        energy = {m: float(np.sum(s.S**2, dtype=float)) for m, s in parts.items()}
        lost = {
            m: float(np.sum(s.S[rank:] ** 2, dtype=float)) for m, s in parts.items()
        }
        return Materialised(
            factors,
            _share(sum(lost.values()), sum(energy.values())),
            {m: _share(lost[m], energy[m]) for m in parts},
        )

    def _check(self, module: str, update: LowRank) -> None:
        if module not in self.bases:
            raise ValueError(
                f"expected modules of the space, but got {module!r}, which no "
                "expert has; build the space with this adapter among the experts"
            )
        expected = self.bases[module].shape
        if update.shape != expected:
            raise ValueError(
                f"expected a {expected} update of {module!r}, but got {update.shape}"
            )

    def _core(self, basis: Basis, update: LowRank | None) -> Matrix:
        if update is None:
            return np.zeros(basis.core_shape, dtype=basis.U.dtype)
        left = _product(basis.U.T, update.B, self.device)
        right = _product(update.A, basis.V, self.device)
        core = update.scaling * left.astype(float) @ right.astype(float)
        return np.asarray(core.astype(basis.U.dtype))

    def _exact(self, basis: Basis, core: Matrix) -> LowRank:
        if core.shape[0] < core.shape[1]:  # the smaller side is the rank
            return LowRank(basis.U, _product(core, basis.V.T, self.device))
        return LowRank(_product(basis.U, core, self.device), basis.V.T)

    def _truncated(self, basis: Basis, parts: Svd, rank: int) -> LowRank:
        """Split the singular values evenly, so that B and A suit 16-bit formats."""
        root = np.sqrt(parts.S[:rank])
        P, Qt = parts.P[:, :rank] * root, (parts.Qt[:rank].T * root).T
        return LowRank(
            _product(basis.U, P.astype(basis.U.dtype), self.device),
            _product(Qt.astype(basis.U.dtype), basis.V.T, self.device),
        )


def _product(first: Matrix, second: Matrix, device: str) -> Matrix:
    """Return ``first @ second``, computed on ``device``."""
    if device == "cpu":
        return np.asarray(first @ second)
    left, right = torch.from_numpy(first), torch.from_numpy(second)
    return np.asarray((left.to(device) @ right.to(device)).cpu().numpy())


def _check_shapes(module: str, updates: Sequence[LowRank]) -> None:
    shapes = sorted({update.shape for update in updates})
    if len(shapes) > 1:
        raise ValueError(
            f"expected one shape of {module!r} in all experts, but got {shapes}; "
            "all experts must be trained on one base model"
        )


def _energy(update: LowRank) -> float:
    """Return the squared Frobenius norm of the delta, from its factors."""
    B, A = update.B.astype(np.float64), update.A.astype(np.float64)
    return update.scaling**2 * float(np.sum((B.T @ B) * (A @ A.T)))


def _share(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole > 0 else 0.0
