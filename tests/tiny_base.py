"""A random tiny Llama with the shapes and the chat format of the shipped one.

Its weights are noise, so its answers mean nothing; they are long, varied and depend on
every weight, which is what tests of engines need.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

MODULES = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
NUM_LAYERS = 4
HIDDEN = 192
INTERMEDIATE = 512
SHAPES: Mapping[str, tuple[int, int]] = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
"""``(d_out, d_in)`` by module."""

SPECIAL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def save_tiny_base(path: Path, seed: int = 0) -> Path:
    """Write a random base model to the directory ``path`` and return it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    num_tokens = _save_tokenizer(path)
    config = LlamaConfig(
        vocab_size=num_tokens,
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.12,  # large, so that answers vary with the prompt
        bos_token_id=0,
        eos_token_id=[1, 4],
        dtype="bfloat16",
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    return path


def save_random_adapter(
    path: Path,
    seed: int,
    *,
    rank: int = 16,
    size: float = 1.0,
    modules: tuple[str, ...] = MODULES,
) -> Path:
    """Write a PEFT adapter of noise, ``size`` times a large update; 0 has no effect."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in range(NUM_LAYERS):
        for module in modules:
            d_out, d_in = SHAPES.get(module, (HIDDEN, HIDDEN))
            key = f"base_model.model.model.layers.{layer}.{module}"
            A = rng.normal(size=(rank, d_in)) / np.sqrt(d_in)
            B = rng.normal(size=(d_out, rank)) * size / np.sqrt(rank)
            tensors[f"{key}.lora_A.weight"] = torch.tensor(A, dtype=torch.bfloat16)
            tensors[f"{key}.lora_B.weight"] = torch.tensor(B, dtype=torch.bfloat16)
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({module.split(".")[-1] for module in modules}),
    }
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


def server_settings(base: Path, **changes):
    """Return settings that serve a base of this kind, changed by name."""
    from lora_qd.engines import ServerSettings

    settings = {
        "model": str(base),
        "lora_target_modules": tuple(m.split(".")[-1] for m in MODULES),
        "max_model_len": 256,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 1024,
        "start_timeout_s": 240.0,
    }
    return ServerSettings(**(settings | changes))


def _save_tokenizer(path: Path) -> int:
    """Train a byte-level BPE on a few lines, save it, return the number of tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        chat_template=CHAT_TEMPLATE,
    )
    path.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(path)
    return len(fast)


_LINES = (
    "Write a function that adds two numbers and returns the sum of the list.",
    "def f(x): return sorted(x, key=len) if x else None",
    "SELECT name, count(*) FROM person WHERE age > 30 GROUP BY name ORDER BY age;",
    "find . -name '*.txt' -type f | sort | head -n 3 | xargs wc -l",
    "List the files that contain the word apple, one per line, newest first.",
    "How many rows of the table have a price below 12 and a colour of green?",
)
