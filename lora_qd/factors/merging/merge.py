"""The one entry to all merging methods."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator

from lora_qd.factors.cores import same_shapes
from lora_qd.factors.low_rank import Matrix
from lora_qd.factors.merging.methods import METHODS, MergeMethod
from lora_qd.factors.merging.weights import Weight, weights_of
from lora_qd.records import Cores


def merge(
    members: Sequence[Cores],
    weights: Sequence[Weight],
    method: str = "linear",
    *,
    rng: Generator | None = None,
    **parameters: float,
) -> Cores:
    """Merge members of one core space into one.

    Args:
        members: at least one.
        weights: one per member, a number or numbers by pattern of module names.
        method: a name out of ``METHODS``, which says what each one does.
        rng: what the random methods draw from, module shape by module shape.
        parameters: the method's own; those left out have their defaults.

    Raises:
        ValueError: no members, not one weight per member, no such method or parameter,
            a value out of range, or no ``rng`` where one is needed.
    """
    chosen = _method(method)
    values = _values(method, chosen, parameters)
    if not members or len(members) != len(weights):
        raise ValueError(
            f"expected one weight per member and at least one member, but got "
            f"{len(members)} members and {len(weights)} weights"
        )
    if chosen.is_random and rng is None:
        raise ValueError(f"expected an rng for {method}, which draws; pass one")
    options = {**values, "rng": rng} if chosen.is_random else values
    merged: dict[str, Matrix] = {}
    for modules in same_shapes(members[0]):
        X = np.stack([np.stack([cores[m] for m in modules]) for cores in members])
        w = weights_of(modules, weights)
        cores = chosen.function(X.astype(np.float64), w, **options)
        merged |= dict(zip(modules, cores.astype(X.dtype), strict=True))
    return {module: merged[module] for module in members[0]}


def _method(name: str) -> MergeMethod:
    if name not in METHODS:
        raise ValueError(
            f"expected a method out of {', '.join(METHODS)}, but got {name!r}"
        )
    return METHODS[name]


def _values(
    name: str, method: MergeMethod, given: Mapping[str, float]
) -> dict[str, float]:
    """Return all parameters of a method, checked."""
    foreign = sorted(set(given) - set(method.parameters))
    if foreign:
        takes = ", ".join(method.parameters) or "none"
        raise ValueError(
            f"expected parameters that {name} takes ({takes}), but got "
            f"{', '.join(foreign)}; leave them out"
        )
    values = {key: p.default for key, p in method.parameters.items()} | dict(given)
    for key, value in values.items():
        bounds = method.parameters[key]
        if not bounds.low < value <= bounds.high:
            raise ValueError(
                f"expected {key} in ({bounds.low:g}, {bounds.high:g}], but got {value}"
            )
    return values
