"""The canonical form of an adapter, as bytes: equal updates give equal bytes.

The scaling is folded into B, ``lora_alpha = r`` and ``use_rslora = false``, so that no
reader can get the scale wrong. A module of rank 0 changes nothing and is left out. Not
done: choosing the dtype; values too small for it become zero.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from lora_qd.errors import InputError
from lora_qd.factors import LowRank, Matrix, TaskVector
from lora_qd.store.peft_weights import PREFIX

if TYPE_CHECKING:
    import torch

_CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_NUM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def adapter_bytes(task_vector: TaskVector, *, dtype: str = "float32") -> bytes:
    """Return the safetensors file of ``task_vector``; equal input, equal bytes.

    Args:
        task_vector: the update of each module, in any order.
        dtype: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        ValueError: there is nothing to write, or no such dtype.
        InputError: a value is too large for ``dtype``; the message names the module.
    """
    import torch

    updates = _written(task_vector)
    header = _header(updates, dtype)
    target: torch.dtype = getattr(torch, dtype)
    num_values = sum(factor.size for _, factor, _ in _factors(updates))
    # Filled in place, and handed out as bytes without another copy.
    buffer = BytesIO(bytes(len(header) + num_values * _NUM_BYTES[dtype]))
    buffer.write(header)
    values = torch.frombuffer(buffer.getbuffer(), dtype=target, offset=len(header))
    peaks = []
    start = 0
    for _, factor, scaling in _factors(updates):
        stop = start + factor.size
        peaks.append(_fill(values[start:stop].view(factor.shape), factor, scaling))
        start = stop
    _check_peaks(updates, torch.tensor(peaks).to(target), dtype)
    return buffer.getvalue()


def adapter_name(weights: bytes) -> str:
    """Return the name of an adapter by its content; never reused for other weights."""
    return hashlib.sha256(weights).hexdigest()[:32]


def adapter_config(
    task_vector: TaskVector, base: str, *, base_modules: Collection[str] | None = None
) -> bytes:
    """Return ``adapter_config.json`` of the canonical form.

    Args:
        task_vector: the update of each module.
        base: what the adapter names as its base model.
        base_modules: the names of all modules of the base. With them,
            ``target_modules`` is the usual short list of suffixes wherever that list
            means the same; without, it holds full names.

    Raises:
        ValueError: there is nothing to write.
    """
    ranks = {module: update.rank for module, update in _written(task_vector).items()}
    rank = max(ranks.values())
    patterns = {
        _pattern([m for m in ranks if ranks[m] == other]): other
        for other in sorted(set(ranks.values()) - {rank})
    }
    config: dict[str, Any] = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "alpha_pattern": patterns,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": patterns,
        "target_modules": _target_modules(set(ranks), base_modules),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    return json.dumps(config, indent=2, sort_keys=True).encode() + b"\n"


def _written(task_vector: TaskVector) -> dict[str, LowRank]:
    updates = {m: update for m, update in sorted(task_vector.items()) if update.rank}
    if not updates:
        raise ValueError("expected an update of rank 1 or more, but there is none")
    return updates


def _factors(updates: TaskVector) -> Iterator[tuple[str, Matrix, float]]:
    """Yield (key, factor, what to multiply it by) in the order of the file."""
    for module, update in updates.items():
        yield f"{PREFIX}{module}.lora_A.weight", update.A, 1.0
        yield f"{PREFIX}{module}.lora_B.weight", update.B, float(update.scaling)


def _header(updates: TaskVector, dtype: str) -> bytes:
    """Return the length, the JSON and the padding that precede the values."""
    if dtype not in _CODES:
        raise ValueError(f"expected dtype to be one of {list(_CODES)}, but got {dtype}")
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for key, factor, _ in _factors(updates):
        stop = start + factor.size * _NUM_BYTES[dtype]
        entries[key] = {
            "dtype": _CODES[dtype],
            "shape": list(factor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants the values aligned
    return len(text).to_bytes(8, "little") + text


def _fill(values: "torch.Tensor", factor: Matrix, scaling: float) -> float:
    """Write ``scaling * factor`` to ``values``; return the largest magnitude."""
    import torch

    is_exact = values.dtype == torch.float32
    scaled = values.numpy() if is_exact else np.empty(factor.shape, np.float32)
    with np.errstate(over="ignore"):  # infinity is reported with its module
        np.multiply(factor, scaling, out=scaled, casting="same_kind")
    if not is_exact:
        values.copy_(torch.from_numpy(scaled))
    return max(float(scaled.max()), -float(scaled.min()))


def _check_peaks(updates: TaskVector, peaks: "torch.Tensor", dtype: str) -> None:
    """Refuse what overflowed; ``peaks`` are the largest magnitudes, as written."""
    for (key, _, _), peak in zip(_factors(updates), peaks.tolist(), strict=True):
        if not np.isfinite(peak):
            module = key.removeprefix(PREFIX).rpartition(".lora_")[0]
            raise InputError(
                f"expected the update of {module!r} to fit {dtype}, but its largest "
                "value overflows; write a wider dtype (bfloat16, float32) or scale it "
                "down"
            )


def _pattern(modules: list[str]) -> str:
    """Return a pattern for exactly these names; ``^`` forbids PEFT's free prefix."""
    return f"^(?:{'|'.join(re.escape(module) for module in modules)})"


def _target_modules(modules: set[str], base_modules: Collection[str] | None) -> Any:  # noqa: ANN401 - JSON
    suffixes = sorted({module.rpartition(".")[2] for module in modules})
    ends = tuple(f".{suffix}" for suffix in suffixes)
    if base_modules is not None:
        meant = {m for m in base_modules if m in suffixes or m.endswith(ends)}
        if meant == modules:
            return suffixes
    return sorted(modules)
