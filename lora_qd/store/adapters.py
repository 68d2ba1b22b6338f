"""PEFT adapter directories: reading any plain LoRA, writing the canonical form.

Canonical: the scaling is folded into the factors, ``lora_alpha = r`` and
``use_rslora = false``, so that no reader can get the scale wrong. Refused by name:
DoRA, bias, ``modules_to_save``, embeddings and every PEFT type but LoRA.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_qd.errors import InputError
from lora_qd.factors import LowRank, Matrix, TaskVector
from lora_qd.store.files import new_directory, write_bytes

if TYPE_CHECKING:
    import torch

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight$")
_REFUSED = {
    "use_dora": "DoRA",
    "modules_to_save": "fully trained modules (modules_to_save)",
    "trainable_token_indices": "trained token embeddings",
    "layer_replication": "layer replication",
    "lora_bias": "a bias in B (lora_bias)",
}


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A LoRA adapter read from disk."""

    task_vector: TaskVector
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
    config = _load_config(path)
    factors = _load_factors(path)
    modules = sorted({module for module, _ in factors})
    task_vector = {}
    for module in modules:
        try:
            task_vector[module] = LowRank(
                B=factors[module, "B"],
                A=factors[module, "A"],
                scaling=_scaling(config, module, factors[module, "A"].shape[0]),
            )
        except KeyError as error:
            raise InputError(
                f"expected both factors of {module!r} in {path}, but one is missing; "
                "save the adapter again"
            ) from error
        except ValueError as error:
            raise InputError(f"{path}, module {module!r}: {error}") from error
    rank = max(update.rank for update in task_vector.values())
    return Adapter(task_vector, str(config.get("base_model_name_or_path") or ""), rank)


def save_adapter(
    task_vector: TaskVector,
    path: Path,
    *,
    base: str,
    dtype: str = "float32",
    replace: bool = False,
) -> None:
    """Write ``task_vector`` as a canonical PEFT directory, atomically.

    Args:
        task_vector: the update of each module; all scalings are folded into B.
        path: the directory to make.
        base: what the adapter names as its base model.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        replace: whether an existing directory is replaced.
    """
    weights = adapter_bytes(task_vector, dtype=dtype)
    config = adapter_config(task_vector, base)
    with new_directory(path, replace=replace) as beside:
        write_bytes(beside / WEIGHTS_NAME, weights)
        write_bytes(beside / CONFIG_NAME, config)


def adapter_bytes(task_vector: TaskVector, *, dtype: str = "float32") -> bytes:
    """Return the safetensors file of ``task_vector``; equal input, equal bytes."""
    import torch
    from safetensors.torch import save

    target: torch.dtype = getattr(torch, dtype)
    tensors: dict[str, torch.Tensor] = {}
    for module, update in sorted(task_vector.items()):
        B = np.ascontiguousarray(update.B * update.scaling, dtype=np.float32)
        A = np.ascontiguousarray(update.A, dtype=np.float32)
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = torch.from_numpy(A).to(target)
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = torch.from_numpy(B).to(target)
    return bytes(save(tensors, metadata={"format": "pt"}))


def adapter_name(weights: bytes) -> str:
    """Return the name of an adapter by its content; never reused for other weights."""
    return hashlib.sha256(weights).hexdigest()[:32]


def adapter_config(task_vector: TaskVector, base: str) -> bytes:
    """Return ``adapter_config.json`` of the canonical form."""
    ranks = {module: update.rank for module, update in sorted(task_vector.items())}
    rank = max(ranks.values())
    others = {module: r for module, r in ranks.items() if r != rank}
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "alpha_pattern": others,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": others,
        "target_modules": sorted({module.rsplit(".", 1)[-1] for module in ranks}),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    return json.dumps(config, indent=2, sort_keys=True).encode() + b"\n"


def _load_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG_NAME
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"expected a PEFT adapter in {path}, but {CONFIG_NAME} is missing; pass "
            "the directory that PEFT's save_pretrained wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"expected a readable {file}, but got: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else type(config)
        raise InputError(f"expected peft_type LORA in {file}, but got {kind!r}")
    refused = [name for key, name in _REFUSED.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        refused.append("trained biases")
    if refused:
        raise InputError(
            f"expected a plain LoRA adapter in {path}, but it has "
            f"{', '.join(refused)}; train it without"
        )
    return config


def _load_factors(path: Path) -> dict[tuple[str, str], Matrix]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path / WEIGHTS_NAME
    if not file.is_file():
        raise InputError(
            f"expected {WEIGHTS_NAME} in {path}, but it is missing; save the adapter "
            "as safetensors (pickle files are not read)"
        )
    try:
        tensors: Mapping[str, torch.Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"expected a readable {file}, but got: {error}") from error
    factors = {}
    for key, tensor in tensors.items():
        match = _KEY.match(key)
        if match is None:
            raise InputError(
                f"expected LoRA factors of linear layers in {file}, but got {key!r}; "
                "train without embeddings and other modules"
            )
        factors[match["module"], match["factor"]] = tensor.float().numpy()
    if not factors:
        raise InputError(f"expected LoRA factors in {file}, but it is empty")
    return factors


def _scaling(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return the module's scaling by PEFT's rules for patterns and rsLoRA."""
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise ValueError(f"expected lora_alpha to be a number, but got {alpha!r}")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Any, module: str, default: Any) -> Any:  # noqa: ANN401 - JSON
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
