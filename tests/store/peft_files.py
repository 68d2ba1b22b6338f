"""PEFT directories written by hand, well or badly, and their dense deltas."""

import json

import numpy as np
import torch
from safetensors.torch import save_file

MODULE = "model.layers.0.self_attn.q_proj"
KEY = f"base_model.model.{MODULE}"
CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
INDEX_NAME = "adapter_model.safetensors.index.json"


def factors(rank=4, *, d_out=10, d_in=6, seed=0, key=KEY):
    rng = np.random.default_rng(seed)
    return {
        f"{key}.lora_A.weight": rng.normal(size=(rank, d_in)),
        f"{key}.lora_B.weight": rng.normal(size=(d_out, rank)),
    }


def peft_directory(path, *, tensors=None, dtype=torch.float32, **config):
    """Write an adapter of rank 4 and alpha 8 whose config is changed by name."""
    path.mkdir()
    defaults = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
    defaults["base_model_name_or_path"] = "some/base"
    (path / CONFIG_NAME).write_text(json.dumps(defaults | config))
    save(tensors if tensors is not None else factors(), path / WEIGHTS_NAME, dtype)
    return path


def save(tensors, file, dtype=torch.float32):
    save_file({k: torch.tensor(v).to(dtype) for k, v in tensors.items()}, file)


def shard(path):
    """Split the weights of a directory into two files and an index."""
    from safetensors.torch import load_file

    tensors = load_file(path / WEIGHTS_NAME)
    (path / WEIGHTS_NAME).unlink()
    weight_map = {}
    for number, key in enumerate(sorted(tensors)):
        name = f"adapter_model-{number % 2 + 1:05d}-of-00002.safetensors"
        weight_map[key] = name
    for name in set(weight_map.values()):
        held = {k: t for k, t in tensors.items() if weight_map[k] == name}
        save_file(held, path / name)
    (path / INDEX_NAME).write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    return path


def dense(update):
    return update.scaling * update.B.astype(np.float64) @ update.A.astype(np.float64)
