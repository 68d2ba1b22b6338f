"""Quantised checkpoints: bare claims, and bases rounded to 4 bit as AWQ and GPTQ do."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

_GROUP = 64
_PACKED = 8
"""Entries of 4 bit in one word."""
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def save_config(path, method=None):
    """Write a config.json that names a quantisation method, or none."""
    config = {"model_type": "llama"}
    if method is not None:
        config["quantization_config"] = {"quant_method": method}
    (path / "config.json").write_text(json.dumps(config))
    return path


def save_quantised(base, path, method):
    """Write the tiny ``base`` with its layers in 4 bit, in the format of ``method``."""
    forms = {
        "awq": {"zero_point": True, "version": "gemm"},
        "gptq": {"sym": True, "desc_act": False},
    }
    _convert(base, path, _awq if method == "awq" else _gptq)
    config = json.loads((path / "config.json").read_text())
    claim = {"quant_method": method, "bits": 4, "group_size": _GROUP}
    config["quantization_config"] = claim | forms[method]
    (path / "config.json").write_text(json.dumps(config))
    return path


def save_rounded(base, path):
    """Write ``base`` in 16 bit with the values that its 4-bit checkpoints stand for."""
    _convert(base, path, _rounded)
    return path


def _convert(base, path, convert):
    shutil.copytree(base, path)
    tensors = {}
    for name, weight in load_file(path / "model.safetensors").items():
        module = name.removesuffix(".weight")
        if not module.endswith("_proj"):
            tensors[name] = weight
            continue
        levels, scales = _levels(weight)
        layer = convert(levels, scales)
        tensors |= {f"{module}.{k}": t.contiguous() for k, t in layer.items()}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def _levels(weight):
    """Round to the nearest of 16 levels around 8; ``weight`` is (d_out, d_in).

    Returns:
        Levels (d_in, d_out) and float16 scales (groups, d_out).
    """
    rows = weight.float().T.contiguous()
    groups = rows.view(-1, _GROUP, rows.shape[1])
    scales = (groups.abs().amax(dim=1) / 7).half()
    levels = (groups / scales[:, None]).round().add(8).clamp(0, 15).int()
    return levels.view(rows.shape), scales


def _rounded(levels, scales):
    weight = (levels - 8) * scales.float().repeat_interleave(_GROUP, dim=0)
    return {"weight": weight.T.bfloat16()}


def _awq(levels, scales):
    zeros = torch.full(scales.shape, 8, dtype=torch.int32)
    packed = {"qweight": _pack(levels, _AWQ_ORDER), "qzeros": _pack(zeros, _AWQ_ORDER)}
    return packed | {"scales": scales}


def _gptq(levels, scales):
    zeros = torch.full(scales.shape, 7, dtype=torch.int32)  # one less, as it writes
    return {
        "qweight": _pack(levels.T, range(_PACKED)).T,
        "qzeros": _pack(zeros, range(_PACKED)),
        "scales": scales,
        "g_idx": torch.arange(len(levels), dtype=torch.int32) // _GROUP,
    }


def _pack(levels, order):
    """Put eight neighbours along the last axis into one word, in this order."""
    words = levels.reshape(len(levels), -1, _PACKED)[:, :, list(order)].long()
    packed = sum(words[:, :, i] << (4 * i) for i in range(_PACKED))
    return torch.where(packed >= 2**31, packed - 2**32, packed).int()
