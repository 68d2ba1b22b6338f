"""Measuring adapters on disk, alone and against each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from lora_qd.errors import InputError
from lora_qd.factors import CoreSpace
from lora_qd.factors.similarity import Similarity, similarities, spectrum
from lora_qd.records import Cores
from lora_qd.store.adapters import Adapter, load_adapter
from lora_qd.store.hub_adapters import fetch_adapter


@dataclass(frozen=True, slots=True)
class AdapterMeasures:
    """One adapter in numbers."""

    name: str
    """The path or Hub id that it was named by."""
    base: str
    """The base that it names; empty if it does not."""
    rank: int
    """The largest rank of its modules, as stored."""
    num_modules: int
    norm: float
    """Frobenius norm of its whole task vector."""
    effective_rank: float
    """Mean over modules of the number of equal singular values as spread out as its."""


@dataclass(frozen=True, slots=True)
class Pair:
    """How alike two adapters are."""

    first: int
    second: int
    """Places in ``Inspection.adapters``, from 0."""
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of some adapters."""

    adapters: tuple[AdapterMeasures, ...]
    pairs: tuple[Pair, ...]
    """Every two of them."""


def load_adapters(references: Sequence[str]) -> list[Adapter]:
    """Read adapters by path or Hub id.

    Raises:
        InputError: one of them is no plain LoRA adapter.
        StoreError: the Hub does not answer.
    """
    return [load_adapter(fetch_adapter(reference)) for reference in references]


def common_space(references: Sequence[str], adapters: Sequence[Adapter]) -> CoreSpace:
    """Return the space that holds all adapters.

    Raises:
        InputError: they share no module, or a module has two shapes.
    """
    shapes: dict[str, tuple[tuple[int, int], str]] = {}
    for reference, adapter in zip(references, adapters, strict=True):
        for module, update in adapter.task_vector.items():
            shape, owner = shapes.setdefault(module, (update.shape, reference))
            if shape != update.shape:
                raise InputError(
                    f"expected one shape of {module!r}, but {owner} has {shape} and "
                    f"{reference} has {update.shape}; take adapters of one base"
                )
    first, *others = adapters
    for reference, adapter in zip(references[1:], others, strict=True):
        if not set(first.task_vector) & set(adapter.task_vector):
            raise InputError(
                f"expected adapters that share modules, but {references[0]} has "
                f"{min(first.task_vector)!r}, ... and {reference} has "
                f"{min(adapter.task_vector)!r}, ...; take adapters of one base"
            )
    return CoreSpace.of([adapter.task_vector for adapter in adapters])


def inspect_adapters(references: Sequence[str]) -> Inspection:
    """Read and measure adapters; those of different bases are compared all the same.

    Raises:
        InputError: one is no plain LoRA adapter, or their modules do not fit together.
        StoreError: the Hub does not answer.
    """
    adapters = load_adapters(references)
    space = common_space(references, adapters)
    members = [space.project(adapter.task_vector) for adapter in adapters]
    return measure(references, adapters, members)


def measure(
    references: Sequence[str], adapters: Sequence[Adapter], members: Sequence[Cores]
) -> Inspection:
    """Measure adapters that are read already.

    Args:
        references: what they are called.
        adapters: as read.
        members: their cores in one space.
    """
    measures = []
    for name, adapter, member in zip(references, adapters, members, strict=True):
        seen = spectrum(member)
        measures.append(
            AdapterMeasures(
                name=name,
                base=adapter.base,
                rank=adapter.rank,
                num_modules=len(adapter.task_vector),
                norm=seen.norm,
                effective_rank=seen.effective_rank,
            )
        )
    pairs = [Pair(i, j, alike) for (i, j), alike in similarities(members).items()]
    return Inspection(tuple(measures), tuple(pairs))
