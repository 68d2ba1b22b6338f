"""Refuses adapters that a server would reject late, or apply in part and silently."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lora_qd.engines.server_settings import ServerSettings
from lora_qd.errors import EngineError

if TYPE_CHECKING:
    import torch

_PREFIX = "base_model.model."


def check_adapter(path: Path, settings: ServerSettings) -> None:
    """Check the PEFT directory ``path`` against what a server can apply.

    Raises:
        EngineError: the rank is above ``max_lora_rank``; a module is not among
            ``lora_target_modules`` or not in the base, both of which vLLM would leave
            out and say nothing; or a weight is not finite.
    """
    from safetensors.torch import load_file

    config = json.loads((path / "adapter_config.json").read_text())
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    if rank > settings.max_lora_rank:
        raise EngineError(
            f"expected a rank of at most {settings.max_lora_rank}, the server's, but "
            f"adapter {path.name} has rank {rank}; truncate it or raise max_lora_rank"
        )
    tensors = load_file(path / "adapter_model.safetensors")
    modules = {_module_of(key) for key in tensors}
    _check_modules(modules, path.name, settings)
    check_finite(tensors, path.name)


def check_finite(tensors: Mapping[str, "torch.Tensor"], name: str) -> None:
    """Check that an adapter has neither NaN nor infinity.

    Raises:
        EngineError: it has.
    """
    broken = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise EngineError(
            f"expected finite weights, but adapter {name} has NaN or infinity in "
            f"{broken[0]}; check the member's cores"
        )


def _module_of(key: str) -> str:
    """Return ``model.layers.0.mlp.up_proj`` of a PEFT tensor's name."""
    return key.removeprefix(_PREFIX).rpartition(".lora_")[0]


def _check_modules(modules: set[str], name: str, settings: ServerSettings) -> None:
    targets = settings.lora_target_modules
    excluded = {m.rpartition(".")[2] for m in modules} - set(targets)
    if excluded:
        raise EngineError(
            f"expected the modules {', '.join(targets)}, but adapter {name} changes "
            f"{', '.join(sorted(excluded))}, which the server would leave out; add "
            "them to lora_target_modules"
        )
    in_base = {tensor.rpartition(".")[0] for tensor in _base_tensors(settings.model)}
    foreign = modules - in_base
    if in_base and foreign:
        raise EngineError(
            f"expected modules of {settings.model}, but adapter {name} changes "
            f"{min(foreign)}, which it lacks; use an adapter of this base"
        )


def _base_tensors(model: str) -> Iterator[str]:
    """Yield the names of the base's tensors; none where it is not a local directory."""
    from safetensors import safe_open

    for file in Path(model).glob("*.safetensors"):
        with safe_open(file, framework="numpy") as tensors:
            yield from tensors.keys()
