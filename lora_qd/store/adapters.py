"""PEFT adapter directories: reading any plain LoRA, writing the canonical form.

Refused by name: DoRA, bias, ``modules_to_save``, embeddings, other variants and every
PEFT type but LoRA.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import InputError
from lora_qd.factors import LowRank, Matrix, TaskVector
from lora_qd.store.canonical import adapter_bytes, adapter_config, adapter_name
from lora_qd.store.files import new_directory, write_bytes
from lora_qd.store.peft_config import CONFIG_NAME, PeftConfig, load_peft_config
from lora_qd.store.peft_weights import WEIGHTS_NAME, load_factors, weights_hash

__all__ = [
    "CONFIG_NAME",
    "WEIGHTS_NAME",
    "Adapter",
    "adapter_bytes",
    "adapter_config",
    "adapter_name",
    "load_adapter",
    "save_adapter",
    "weights_hash",
]


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A LoRA adapter read from disk."""

    task_vector: TaskVector
    """In the order of the modules' names."""
    base: str
    """``base_model_name_or_path`` as the adapter names it; empty if it does not."""
    rank: int
    """The largest rank of its modules."""


def load_adapter(path: Path) -> Adapter:
    """Read the PEFT directory ``path``.

    Raises:
        InputError: there is no plain LoRA adapter in ``path``; the message names
            what is wrong with it.
    """
    config = load_peft_config(path)
    task_vector = {
        module: _update(path, module, pair, config)
        for module, pair in sorted(load_factors(path).items())
    }
    rank = max(update.rank for update in task_vector.values())
    return Adapter(task_vector, config.base, rank)


def save_adapter(
    task_vector: TaskVector,
    path: Path,
    *,
    base: str,
    dtype: str = "float32",
    replace: bool = False,
    base_modules: Collection[str] | None = None,
) -> None:
    """Write ``task_vector`` as a canonical PEFT directory, atomically.

    Args:
        task_vector: the update of each module; all scalings are folded into B.
        path: the directory to make.
        base: what the adapter names as its base model.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        replace: whether an existing directory is replaced.
        base_modules: the names of all modules of the base, for a short
            ``target_modules``; see :func:`adapter_config`.

    Raises:
        InputError: a value is too large for ``dtype``.
        StoreError: ``path`` exists and is not to be replaced, or writing fails.
    """
    weights = adapter_bytes(task_vector, dtype=dtype)
    config = adapter_config(task_vector, base, base_modules=base_modules)
    with new_directory(path, replace=replace) as beside:
        write_bytes(beside / WEIGHTS_NAME, weights)
        write_bytes(beside / CONFIG_NAME, config)


def _update(
    path: Path, module: str, pair: dict[str, Matrix], config: PeftConfig
) -> LowRank:
    """Return one module's update, checked against what the config says of it."""
    if len(pair) < 2:
        raise InputError(
            f"expected both factors of {module!r} in {path}, but one is missing; "
            "save the adapter again"
        )
    try:
        update = LowRank(B=pair["B"], A=pair["A"], scaling=config.scaling_of(module))
    except ValueError as error:
        raise InputError(
            f"{path}, module {module!r}: {error}; save the adapter again"
        ) from error
    if update.rank != config.rank_of(module):
        raise InputError(
            f"expected {module!r} in {path} to have rank {config.rank_of(module)}, as "
            f"{CONFIG_NAME} says, but its factors have rank {update.rank}; restore "
            "the config that was saved with them"
        )
    if not config.targets(module):
        raise InputError(
            f"expected only modules of target_modules in {path}, but it has weights of "
            f"{module!r}, which PEFT would ignore; add it there or delete its weights"
        )
    return update
