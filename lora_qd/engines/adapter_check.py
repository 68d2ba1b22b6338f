"""Refuses adapters that a server would reject late, or apply in part and silently."""

import json
from pathlib import Path

from lora_qd.engines.server_settings import ServerSettings
from lora_qd.errors import EngineError

_SUFFIX = ".weight"


def check_adapter(path: Path, settings: ServerSettings) -> None:
    """Check the PEFT directory ``path`` against what a server can apply.

    Raises:
        EngineError: a module is not among ``lora_target_modules`` (vLLM would skip it
            and say nothing), the rank is above ``max_lora_rank``, or a weight is not
            finite.
    """
    from safetensors.torch import load_file

    config = json.loads((path / "adapter_config.json").read_text())
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    if rank > settings.max_lora_rank:
        raise EngineError(
            f"expected rank {settings.max_lora_rank} at most, as the server is set, but "
            f"adapter {path.name} has rank {rank}; truncate it or raise max_lora_rank"
        )
    tensors = load_file(path / "adapter_model.safetensors")
    modules = {key.removesuffix(_SUFFIX).split(".")[-2] for key in tensors}
    foreign = modules - set(settings.lora_target_modules)
    if foreign:
        raise EngineError(
            f"expected the modules {', '.join(settings.lora_target_modules)}, but "
            f"adapter {path.name} changes {', '.join(sorted(foreign))}, which the "
            "server would leave out; add them to lora_target_modules"
        )
    broken = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise EngineError(
            f"expected finite weights, but adapter {path.name} has NaN or infinity in "
            f"{broken[0]}; check the member's cores"
        )
