"""Members as stacks: the cores of many modules and all members in one array."""

from collections.abc import Iterator, Sequence

import numpy as np

from lora_qd.factors.cores import same_shapes
from lora_qd.factors.low_rank import Matrix
from lora_qd.records import Cores

_MOST_ENTRIES = 2**19
"""Of one stack: 4 MB, so that what a merge needs besides is bounded and stays cached.
"""


def stacks(members: Sequence[Cores]) -> Iterator[tuple[list[str], Matrix]]:
    """Yield modules of one core shape with their cores, in float64.

    The cores of n modules of K members are ``X (K, n, R_out, R_in)``. Shapes come in
    the order of their first module, modules in the members' order; many modules of
    one shape come in several stacks.

    Raises:
        ValueError: the members are not alike, or a core holds NaN or inf.
    """
    check_alike(members)
    for group in same_shapes(members[0]):
        size = len(members) * members[0][group[0]].size
        num = max(1, _MOST_ENTRIES // size)
        for start in range(0, len(group), num):
            modules = group[start : start + num]
            cores = [np.stack([c[m] for m in modules]) for c in members]
            X = np.stack(cores).astype(np.float64, copy=False)
            _check_finite(modules, X)
            yield modules, X


def check_alike(members: Sequence[Cores]) -> None:
    """Refuse members that are not of one core space.

    Raises:
        ValueError: two of them differ in their modules or in the shape of a core.
    """
    first = members[0]
    for number, cores in enumerate(members[1:], start=2):
        odd = sorted(set(first) ^ set(cores))
        if odd:
            raise ValueError(
                "expected members of one core space, but only one of members 1 and "
                f"{number} has {odd[0]!r}; project both into one space"
            )
        for module, core in cores.items():
            if core.shape != first[module].shape:
                raise ValueError(
                    f"expected members of one core space, but {module!r} has cores "
                    f"{first[module].shape} and {core.shape} in members 1 and "
                    f"{number}; project both into one space"
                )


def _check_finite(modules: Sequence[str], X: Matrix) -> None:
    is_finite = np.isfinite(X).all(axis=(2, 3))
    if not is_finite.all():
        member, index = np.argwhere(~is_finite)[0]
        raise ValueError(
            f"expected finite cores, but {modules[index]!r} of member {member + 1} "
            "holds NaN or inf; leave that member out"
        )
