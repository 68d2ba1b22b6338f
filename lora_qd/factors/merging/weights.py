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


def weights_of(modules: Sequence[str], weights: Sequence[Weight]) -> Matrix:
    """Return the weights ``(K, n)`` of K members in n modules.

    Raises:
        ValueError: a weight is not finite, or a pattern is no regular expression.
    """
    table = np.array(
        [[_weight_of(module, weight) for module in modules] for weight in weights],
        dtype=np.float64,
    )
    if not np.isfinite(table).all():
        raise ValueError(f"expected finite weights, but got {list(weights)}")
    return table


def _weight_of(module: str, weight: Weight) -> float:
    if not isinstance(weight, Mapping):
        return float(weight)
    for pattern, value in weight.items():
        try:
            is_match = re.search(pattern, module) is not None
        except re.error as error:
            raise ValueError(
                f"expected patterns of modules to be regular expressions, but "
                f"{pattern!r} is none: {error}"
            ) from error
        if is_match:
            return float(value)
    return 0.0
