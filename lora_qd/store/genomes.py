"""Core spaces and members' cores as safetensors files."""

from pathlib import Path

import numpy as np

from lora_qd.errors import StoreError
from lora_qd.factors import Basis, CoreSpace
from lora_qd.records import Cores
from lora_qd.store.files import write_bytes


def save_space(space: CoreSpace, path: Path) -> None:
    """Write the bases of ``space`` to ``path``."""
    tensors = {}
    for module, basis in space.bases.items():
        tensors[f"{module}.U"] = basis.U
        tensors[f"{module}.V"] = basis.V
    _save(tensors, path)


def load_space(path: Path) -> CoreSpace:
    """Read the bases that :func:`save_space` wrote."""
    tensors = _load(path)
    modules = sorted({name.rpartition(".")[0] for name in tensors})
    return CoreSpace(
        {m: Basis(U=tensors[f"{m}.U"], V=tensors[f"{m}.V"]) for m in modules}
    )


def save_cores(cores: Cores, path: Path) -> None:
    """Write a member's cores to ``path``."""
    _save(dict(cores), path)


def load_cores(path: Path) -> Cores:
    """Read the cores that :func:`save_cores` wrote."""
    return _load(path)


def _save(tensors: dict[str, np.ndarray], path: Path) -> None:
    from safetensors.numpy import save

    contiguous = {k: np.ascontiguousarray(v) for k, v in sorted(tensors.items())}
    write_bytes(path, save(contiguous))


def _load(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise StoreError(
            f"expected a genome in {path}, but got: {error}; the run is incomplete or "
            "damaged, start it again with loraqd evolve --overwrite"
        ) from error
