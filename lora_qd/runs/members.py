"""Members of a run as adapters: written for an engine, exported for the world."""

from collections.abc import Callable
from pathlib import Path

from lora_qd.errors import InputError
from lora_qd.factors import CoreSpace, TaskVector
from lora_qd.records import Member
from lora_qd.runs.config import RunConfig
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.store.adapters import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    adapter_bytes,
    adapter_config,
    adapter_name,
    save_adapter,
)
from lora_qd.store.base import base_shapes


def adapter_writer(
    space: CoreSpace, config: RunConfig
) -> Callable[[Member, Path], str]:
    """Return the function that materialises a member where an engine runs.

    It truncates to the serve rank, writes a PEFT directory below the one that it is
    handed, and returns that directory's name: the hash of the adapter's content.
    """
    rank = config.engine.serve_rank

    def write(member: Member, directory: Path) -> str:
        update = space.materialise(member.cores, rank=rank).task_vector
        return write_for_engine(update, directory, config)

    return write


def write_for_engine(update: TaskVector, directory: Path, config: MeasureConfig) -> str:
    """Write a PEFT directory below ``directory``; return its name, its content's hash.

    Not atomic and not synced: the engine is told only after this returns.
    """
    weights = adapter_bytes(update, dtype=config.engine.dtype)
    name = adapter_name(weights)
    path = directory / name
    path.mkdir(parents=True, exist_ok=True)
    (path / WEIGHTS_NAME).write_bytes(weights)
    (path / CONFIG_NAME).write_bytes(adapter_config(update, config.base))
    return name


def refuse_existing(out: Path, *, option: str = "--out") -> None:
    """Refuse to write over something; ``option`` names another place.

    Raises:
        InputError: ``out`` exists.
    """
    if out.exists():
        raise InputError(
            f"expected {out} not to exist, but it does; choose another {option}"
        )


def export(
    member: Member,
    space: CoreSpace,
    config: RunConfig,
    out: Path,
    *,
    base: str | None = None,
) -> float:
    """Write ``member`` as it is served; return the energy that truncation drops.

    Args:
        member: with its cores.
        space: of its run.
        config: of its run.
        out: the directory to make.
        base: what the adapter names as its base model; by default what the run does.
    """
    # A copied run is read without its base; short names of modules need it.
    is_base_here = Path(config.base).is_dir()
    materialised = space.materialise(member.cores, rank=config.engine.serve_rank)
    save_adapter(
        materialised.task_vector,
        out,
        base=base or config.base,
        dtype=config.engine.dtype,
        base_modules=base_shapes(config.base) if is_base_here else None,
    )
    return materialised.dropped_energy
