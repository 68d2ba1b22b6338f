"""One module's low-rank update, and a task vector of many."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)  # eq=False: == on arrays raises
class LowRank:
    """One module's update, ``delta = scaling * B @ A``, never formed densely.

    Raises:
        ValueError: the factors are no matrices of one rank, or not finite.
    """

    B: Matrix
    """``(d_out, rank)``; ``lora_B.weight`` in PEFT."""
    A: Matrix
    """``(rank, d_in)``; ``lora_A.weight`` in PEFT."""
    scaling: float = 1.0
    """``alpha / rank``, or ``alpha / sqrt(rank)`` under rsLoRA."""

    def __post_init__(self) -> None:
        if self.B.ndim != 2 or self.A.ndim != 2 or self.B.shape[1] != self.A.shape[0]:
            raise ValueError(
                "expected B (d_out, rank) and A (rank, d_in) of one rank, but got "
                f"B {self.B.shape} and A {self.A.shape}"
            )
        if not (np.isfinite(self.B).all() and np.isfinite(self.A).all()):
            raise ValueError("expected finite factors, but B or A holds NaN or inf")
        if not np.isfinite(self.scaling):
            raise ValueError(f"expected a finite scaling, but got {self.scaling}")

    @property
    def rank(self) -> int:
        """Columns of B, rows of A."""
        return int(self.B.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """``(d_out, d_in)`` of the delta."""
        return int(self.B.shape[0]), int(self.A.shape[1])


TaskVector = Mapping[str, LowRank]
"""All modules' updates together, ``{module name: update}`` (Ilharco et al. 2023)."""
