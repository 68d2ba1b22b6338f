"""Algebra on members: stacks of cores in one shared core space.

Every function is exact for the dense task vectors, since ``delta = U C V^T`` with
orthonormal U and V is linear in C and keeps singular values (design, section 2).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lora_qd.factors.low_rank import Matrix
from lora_qd.records import Cores


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: == on arrays raises
class Svd:
    """``C = P diag(S) Q^T`` of one core; ``(U P) diag(S) (V Q)^T`` is the delta's."""

    P: Matrix
    """``(R_out, R)``"""
    S: Matrix
    """``(R,)``, descending."""
    Qt: Matrix
    """``(R, R_in)``"""


def weighted_sum(members: Sequence[Cores], weights: Sequence[float]) -> Cores:
    """Return ``sum_k weights[k] * C_k``, module by module.

    Raises:
        ValueError: there are no members, or not one weight per member.
    """
    if not members or len(members) != len(weights):
        raise ValueError(
            f"expected one weight per member and at least one member, but got "
            f"{len(members)} members and {len(weights)} weights"
        )
    return {
        module: sum_of([cores[module] for cores in members], weights)
        for module in members[0]
    }


def sum_of(cores: Sequence[Matrix], weights: Sequence[float]) -> Matrix:
    """Return the weighted sum of one module's cores in float32."""
    total = np.zeros_like(cores[0], dtype=np.float64)
    for core, weight in zip(cores, weights, strict=True):
        total += weight * core
    return total.astype(cores[0].dtype)


def scaled(cores: Cores, gain: float) -> Cores:
    """Return the task vector multiplied by ``gain``."""
    return weighted_sum([cores], [gain])


def norm(cores: Cores) -> float:
    """Return the Frobenius norm of the whole task vector."""
    return float(np.sqrt(sum(np.sum(np.square(core)) for core in cores.values())))


def svd(core: Matrix) -> Svd:
    """Return the SVD of one core ``(R_out, R_in)``, in its own precision."""
    return svds({"": core})[""]


def svds(cores: Cores, *, device: str = "cpu") -> dict[str, Svd]:
    """Return the SVD of every core; equal shapes are stacked and run as one batch."""
    parts: dict[str, Svd] = {}
    for modules in same_shapes(cores):
        stack = torch.from_numpy(np.stack([cores[module] for module in modules]))
        P, S, Qt = torch.linalg.svd(stack.to(device), full_matrices=False)
        batch = zip(P.cpu().numpy(), S.cpu().numpy(), Qt.cpu().numpy(), strict=True)
        parts |= {m: Svd(*one) for m, one in zip(modules, batch, strict=True)}
    return {module: parts[module] for module in cores}


def same_shapes(cores: Cores) -> list[list[str]]:
    """Return the modules in groups of equal core shape, each in the cores' order."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for module, core in cores.items():
        groups.setdefault(core.shape, []).append(module)
    return list(groups.values())


def content_hash(cores: Cores) -> str:
    """Return the SHA-256 of the cores' names, shapes and bytes, as hex."""
    digest = hashlib.sha256()
    for module in sorted(cores):
        core = np.ascontiguousarray(cores[module])
        digest.update(f"{module}{core.shape}{core.dtype}".encode())
        digest.update(core.tobytes())
    return digest.hexdigest()
