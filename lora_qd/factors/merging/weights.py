"""How much of each member a merge takes: one number, or one per module."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from lora_qd.factors.low_rank import Matrix

Weight = float | Mapping[str, float]
"""Of one member: a number, or numbers by pattern, matched as a regular expression
anywhere in a module's name; the first match counts, and a module that none matches has
weight 0. ``{"layers.0.": 0.3, "mlp": 0.6, "": 1.0}``: a layer, a kind and the rest.
"""


def check_patterns(modules: Sequence[str], weights: Sequence[Weight]) -> None:
    """Refuse patterns that weigh nothing: most likely a slip of the pen.

    Raises:
        ValueError: a pattern is no regular expression, or matches no module.
    """
    patterns = {p for weight in weights if isinstance(weight, Mapping) for p in weight}
    for pattern in sorted(patterns):
        try:
            is_used = any(re.search(pattern, module) for module in modules)
        except re.error as error:
            raise ValueError(
                f"expected patterns of modules to be regular expressions, but "
                f"{pattern!r} is none: {error}; put a backslash before brackets"
            ) from error
        if not is_used:
            raise ValueError(
                f"expected patterns that match modules, but {pattern!r} matches none "
                f"of {len(modules)}; they are named like {modules[0]!r}"
            )


def weights_of(modules: Sequence[str], weights: Sequence[Weight]) -> Matrix:
    """Return the weights ``(K, n)`` of K members in n modules.

    Raises:
        ValueError: a weight is not finite.
    """
    table = np.array(
        [[_weight_of(module, weight) for module in modules] for weight in weights],
        dtype=np.float64,
    )
    if not np.isfinite(table).all():
        raise ValueError(
            f"expected finite weights, but got {list(weights)}; leave out a member "
            "by weight 0"
        )
    return table


def _weight_of(module: str, weight: Weight) -> float:
    if not isinstance(weight, Mapping):
        return float(weight)
    for pattern, value in weight.items():
        if re.search(pattern, module):
            return float(value)
    return 0.0
