"""Adapters in, one adapter out: no base model, no GPU, no dense matrix."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lora_qd.errors import InputError
from lora_qd.factors.merging import merge
from lora_qd.store.adapters import Adapter, save_adapter
from lora_qd.store.base import base_shapes
from lora_qd.store.inspection import Inspection, common_space, load_adapters, measure

DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class MergeOrder:
    """What to merge, and how."""

    method: str
    """A name out of ``lora_qd.factors.merging.METHODS``."""
    weights: tuple[float, ...]
    """One per adapter."""
    parameters: Mapping[str, float]
    """The method's own, by name."""
    rank: int | None
    """Rank of the result; None: the largest of the adapters'."""
    is_exact: bool
    """Whether the result has whatever rank loses nothing, instead of ``rank``."""
    dtype: str
    """``bfloat16``, ``float16`` or ``float32``."""
    seed: int
    """Of the methods that draw at random."""
    is_forced: bool
    """Whether adapters of bases with different names are merged all the same."""


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge came to."""

    out: Path
    base: str
    """The base that the result names."""
    inspection: Inspection
    """What was merged."""
    rank: int
    """Of the result."""
    exact_rank: int
    """That would lose nothing."""
    num_modules: int
    kept_energy: float
    """Share of the merge's squared norm that the result holds, in [0, 1]."""
    seconds: float
    """Reading and writing included."""


def _check_bases(
    references: Sequence[str], adapters: Sequence[Adapter], *, is_forced: bool
) -> str:
    """Return the base that the adapters name.

    Raises:
        InputError: they name different ones, and that is not forced.
    """
    named = {
        adapter.base: ref for ref, adapter in zip(references, adapters, strict=True)
    }
    named.pop("", None)
    if len(named) > 1 and not is_forced:
        facts = ", ".join(f"{ref} is of {base}" for base, ref in named.items())
        raise InputError(
            f"expected adapters of one base model, but {facts}; merge adapters of one "
            "base, or pass --force if these are copies of one"
        )
    return next((adapter.base for adapter in adapters if adapter.base), "")


def merge_adapters(
    references: Sequence[str], out: Path, order: MergeOrder
) -> MergeReport:
    """Merge adapters into a new PEFT directory.

    Args:
        references: directories or Hub ids, at least one.
        out: the directory to make.
        order: what to do.

    Raises:
        InputError: the adapters do not fit together, or a value does not fit.
        StoreError: ``out`` exists or cannot be written.
    """
    start = time.monotonic()
    _check_order(references, out, order)
    adapters = load_adapters(references)
    base = _check_bases(references, adapters, is_forced=order.is_forced)
    space = common_space(references, adapters)
    rank = _rank(order, adapters, space.largest_rank)
    members = [space.project(adapter.task_vector) for adapter in adapters]
    try:
        merged = merge(
            members,
            order.weights,
            order.method,
            rng=np.random.default_rng(order.seed),
            **order.parameters,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    result = space.materialise(merged, rank=rank)
    save_adapter(
        result.task_vector,
        out,
        base=base,
        dtype=order.dtype,
        base_modules=_base_modules(base),
    )
    return MergeReport(
        out=out,
        base=base,
        inspection=measure(references, adapters, members),
        rank=max(update.rank for update in result.task_vector.values()),
        exact_rank=space.largest_rank,
        num_modules=len(result.task_vector),
        kept_energy=1.0 - result.dropped_energy,
        seconds=time.monotonic() - start,
    )


def _check_order(references: Sequence[str], out: Path, order: MergeOrder) -> None:
    """Refuse before anything large is read."""
    if len(order.weights) != len(references):
        raise InputError(
            f"expected one weight per adapter, but got {len(references)} adapters and "
            f"{len(order.weights)} weights; pass --weights 0.6,0.4 for two"
        )
    if not np.isfinite(order.weights).all():
        raise InputError(f"expected finite weights, but got {order.weights}")
    if order.dtype not in DTYPES:
        raise InputError(
            f"expected a dtype out of {', '.join(DTYPES)}, but got {order.dtype!r}"
        )
    if out.exists():
        raise InputError(
            f"expected {out} not to exist, but it does; choose another --out"
        )


def _rank(order: MergeOrder, adapters: Sequence[Adapter], exact: int) -> int | None:
    """Return the rank to truncate to; None where nothing is."""
    if order.is_exact:
        return None
    if order.rank is None:
        return min(exact, max(adapter.rank for adapter in adapters))
    if not 1 <= order.rank <= exact:
        raise InputError(
            f"expected a rank in [1, {exact}], but got {order.rank}; {exact} holds "
            "this merge exactly"
        )
    return order.rank


def _base_modules(base: str) -> Mapping[str, object] | None:
    """Return the modules of a base that lies here; what is elsewhere is not fetched."""
    return base_shapes(base) if Path(base, "config.json").is_file() else None
