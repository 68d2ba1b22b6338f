"""The tiny Llama's weights: made from a seed, saved whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from lora_qd.experts.tiny_shape import TinyShape
from lora_qd.experts.tiny_tokenizer import END_OF_TEXT
from lora_qd.store.files import new_directory


def new_model(shape: TinyShape, tokenizer: Any, *, seed: int) -> LlamaForCausalLM:  # noqa: ANN401 - transformers is not typed
    """Return an untrained model in float32, its weights drawn by ``seed``."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.max_length,
        tie_word_embeddings=True,
        initializer_range=0.06,  # the usual 0.02 hardly learns to copy
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=_ends(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",  # the fastest backward on a CPU at this length
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


def save_model(model: LlamaForCausalLM, tokenizer: Any, out: Path) -> None:  # noqa: ANN401
    """Write model and tokenizer to ``out`` in bfloat16; nothing stays half-written."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=_ends(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    with new_directory(out) as partial:
        model.to(torch.bfloat16).save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def _ends(tokenizer: Any) -> list[int]:  # noqa: ANN401 - transformers is not typed
    """Return the tokens that end an answer: the turn's end and the text's end."""
    return [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TEXT)]
