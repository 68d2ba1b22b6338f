"""Core spaces and members' cores as safetensors files."""

from pathlib import Path

import numpy as np

from lora_qd.errors import StoreError
from lora_qd.factors import Basis, CoreSpace, content_hash
from lora_qd.records import Cores
from lora_qd.store.files import write_bytes
from lora_qd.store.run_directory import RunDirectory

_HASH_LENGTH = 64


def save_space(space: CoreSpace, path: Path) -> None:
    """Write the bases of ``space`` to ``path``."""
    write_bytes(path, _packed(_tensors_of(space)))


def space_hash(space: CoreSpace) -> str:
    """Return the SHA-256 of the bases of ``space``, as hex."""
    return content_hash(_tensors_of(space))


def load_space(path: Path) -> CoreSpace:
    """Read the bases that :func:`save_space` wrote.

    They lie in memory as :class:`CoreSpace` builds them: the layout decides a product's
    last bits, and a run that goes on must compute what it would have computed.
    """
    tensors = {name: np.asfortranarray(value) for name, value in _load(path).items()}
    modules = sorted({name.rpartition(".")[0] for name in tensors})
    return CoreSpace(
        {m: Basis(U=tensors[f"{m}.U"], V=tensors[f"{m}.V"]) for m in modules}
    )


def save_genome(cores: Cores, run: RunDirectory) -> str:
    """Write a member's cores under the hash of their content; return it."""
    content, genome = genome_bytes(cores)
    write_bytes(run.genome(genome), content)
    return genome


def genome_bytes(cores: Cores) -> tuple[bytes, str]:
    """Return a member's cores as a file's content, and the hash that names it."""
    return _packed(dict(cores)), content_hash(cores)


def load_genome(path: Path) -> Cores:
    """Read cores that :func:`save_genome` wrote.

    Raises:
        StoreError: the file is missing, or is not what its name says.
    """
    cores = _load(path)
    is_hash = len(path.stem) == _HASH_LENGTH  # the first versions wrote members' names
    if is_hash and content_hash(cores) != path.stem:
        raise StoreError(_damaged(path, "its content does not have that hash"))
    return cores


def _tensors_of(space: CoreSpace) -> dict[str, np.ndarray]:
    tensors = {}
    for module, basis in space.bases.items():
        tensors[f"{module}.U"] = basis.U
        tensors[f"{module}.V"] = basis.V
    return tensors


def _packed(tensors: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({k: np.ascontiguousarray(v) for k, v in sorted(tensors.items())})


def _load(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise StoreError(_damaged(path, str(error))) from error


def _damaged(path: Path, fact: str) -> str:
    return (
        f"expected whole cores in {path}, but got: {fact}; delete the file, then they "
        "are made anew, or restore it from a copy"
    )
