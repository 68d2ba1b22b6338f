"""A Llama-3 of random weights with random experts: the shapes of the real one, no data.

What it writes means nothing; what it costs to serve is what the real one costs.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from shapes import MODULES_BY_WIDTH, module_shapes, random_expert

from lora_qd.store.adapters import save_adapter

TOKENIZER = Path("adapters/tiny-llama")
_WIDTH = 4096
_SKILLS = ("code", "database", "shell")
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": _WIDTH,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "dtype": "bfloat16",
}


def save_random_llama(path: Path, *, num_layers: int, num_tokens: int) -> None:
    """Write a base of Llama-3-8B's width to ``path``, one file a layer.

    Its tokenizer is the tiny one's, whose ids are few; the embeddings are full size.
    """
    path.mkdir(parents=True)
    end = json.loads((TOKENIZER / "generation_config.json").read_text())["eos_token_id"]
    config = _CONFIG | {"num_hidden_layers": num_layers, "vocab_size": num_tokens}
    config |= {"bos_token_id": 0, "eos_token_id": end}
    (path / "config.json").write_text(json.dumps(config, indent=2))
    for file in TOKENIZER.iterdir():
        if "token" in file.name or file.suffix == ".jinja":
            shutil.copy(file, path)
    where: dict[str, str] = {}
    num_bytes = 0
    for n in range(-1, num_layers):
        tensors = _ends(num_tokens) if n < 0 else _layer(n)
        name = f"model-{n + 2:05}-of-{num_layers + 1:05}.safetensors"
        save_file(tensors, path / name, metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, name)
        num_bytes += sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": num_bytes}, "weight_map": where}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def save_random_experts(path: Path, base: Path, *, num_layers: int, rank: int) -> None:
    """Write one adapter of noise per skill below ``path``."""
    for seed, skill in enumerate(_SKILLS):
        expert = random_expert(module_shapes(num_layers, _WIDTH), rank, seed)
        save_adapter(expert, path / skill, base=str(base), dtype="bfloat16")


def _ends(num_tokens: int) -> dict[str, torch.Tensor]:
    return {
        "model.embed_tokens.weight": _noise(num_tokens, _WIDTH),
        "lm_head.weight": _noise(num_tokens, _WIDTH),
        "model.norm.weight": torch.ones(_WIDTH, dtype=torch.bfloat16),
    }


def _layer(n: int) -> dict[str, torch.Tensor]:
    shapes = MODULES_BY_WIDTH[_WIDTH].items()
    tensors = {f"{name}.weight": _noise(*shape) for name, shape in shapes}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{norm}.weight"] = torch.ones(_WIDTH, dtype=torch.bfloat16)
    return {f"model.layers.{n}.{name}": tensor for name, tensor in tensors.items()}


def _noise(*shape: int) -> torch.Tensor:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    noise = torch.randn(shape, device=device, dtype=torch.float32) * 0.02
    return noise.to(torch.bfloat16).cpu()
