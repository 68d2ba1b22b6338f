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
    shutil.copytree(base, path)
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": method,
        "bits": 4,
        "group_size": _GROUP,
        **(
            {"zero_point": True, "version": "gemm"}
            if method == "awq"
            else {"sym": True, "desc_act": False}
        ),
    }
    (path / "config.json").write_text(json.dumps(config))
    tensors = {}
    for name, weight in load_file(path / "model.safetensors").items():
        module = name.removesuffix(".weight")
        layer = _quantise(weight, method) if module.endswith("_proj") else {"": weight}
        tensors |= {f"{module}.{k}" if k else name: v for k, v in layer.items()}
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


def _quantise(weight, method):
    """Round to the nearest of 16 levels around zero; ``weight`` is (d_out, d_in)."""
    rows = weight.float().T.contiguous()  # (d_in, d_out)
    groups = rows.view(-1, _GROUP, rows.shape[1])
    scales = groups.abs().amax(dim=1, keepdim=True) / 7
    levels = (groups / scales).round().add(8).clamp(0, 15).int().view(rows.shape)
    zeros = torch.full((len(groups), rows.shape[1]), 8, dtype=torch.int32)
    common = {"scales": scales.squeeze(1).half().contiguous()}
    if method == "awq":
        order = _AWQ_ORDER
        return common | {"qweight": _pack(levels, order), "qzeros": _pack(zeros, order)}
    return common | {
        "qweight": _pack(levels.T.contiguous(), range(_PACKED)).T.contiguous(),
        "qzeros": _pack(zeros - 1, range(_PACKED)),
        "g_idx": torch.arange(len(rows), dtype=torch.int32) // _GROUP,
    }


def _pack(levels, order):
    """Put eight neighbours along the last axis into one word, in this order."""
    words = levels.view(len(levels), -1, _PACKED)[:, :, list(order)].long()
    packed = sum(words[:, :, i] << (4 * i) for i in range(_PACKED))
    return torch.where(packed >= 2**31, packed - 2**32, packed).int()
