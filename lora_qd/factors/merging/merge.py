"""The one entry to all merging methods."""

from collections.abc import Mapping, Sequence

from numpy.random import Generator

from lora_qd.factors.low_rank import Matrix
from lora_qd.factors.merging.methods import METHODS, MergeMethod
from lora_qd.factors.merging.weights import Weight, check_patterns, weights_of
from lora_qd.factors.stacks import stacks
from lora_qd.records import Cores


def merge(
    members: Sequence[Cores],
    weights: Sequence[Weight],
    method: str = "linear",
    *,
    rng: Generator | None = None,
    **parameters: float,
) -> Cores:
    """Merge members of one core space into one, computed in float64.

    Args:
        members: at least one.
        weights: one per member, a number or numbers by pattern of module names.
        method: a name out of ``METHODS``, which says what each one does.
        rng: what the random methods draw from, module by module; modules of one core
            shape come together, otherwise in the members' order.
        parameters: the method's own; those left out have their defaults.

    Raises:
        ValueError: no members, not one weight per member, a weight that is not finite
            or matches nothing, no such method or parameter, a value out of range, no
            ``rng`` where one is needed, or members that do not fit together or hold
            NaN or inf.
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
    check_patterns(list(members[0]), weights)
    options = {**values, "rng": rng} if chosen.is_random else values
    merged: dict[str, Matrix] = {}
    for modules, X in stacks(members):
        cores = chosen.function(X, weights_of(modules, weights), **options)
        dtype = members[0][modules[0]].dtype
        merged |= dict(zip(modules, cores.astype(dtype), strict=True))
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
        parameter = method.parameters[key]
        if not parameter.admits(value):
            raise ValueError(f"expected {key} in {parameter.range}, but got {value}")
    return values
