"""What a base model is made of, told without its weights and without the network.

From the headers of its safetensors files where they are all here, else from its
config.json alone, which holds for decoders of Llama's kind. Not counted there: biases.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lora_qd.errors import InputError
from lora_qd.store.base import local_directory, tensor_headers

_INDEX_NAME = "model.safetensors.index.json"
_IN_A_LAYER = re.compile(r"\.\d+\..*\.weight$")
_LLAMA_KIND = ("llama", "mistral", "qwen2", "qwen3")
_LLAMA_3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
KNOWN_BASES: Mapping[str, Mapping[str, Any]] = dict.fromkeys(
    ("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"), _LLAMA_3_8B
)
"""What config.json says of the reference recipe's bases, which are behind a licence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The sizes of a decoder-only language model."""

    linears: Mapping[str, tuple[int, int]]
    """``(d_out, d_in)`` of the linear layers, the output head excluded, by name."""
    num_other: int
    """Parameters outside ``linears``: embeddings, output head, norms."""
    num_layers: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    stored_bytes: int | None
    """Of the weights as they lie on disk; None where they are not here."""
    is_quantized: bool
    """Whether they lie there quantised, such as by AWQ or GPTQ."""

    @property
    def num_linear(self) -> int:
        """Parameters of ``linears``."""
        return sum(d_out * d_in for d_out, d_in in self.linears.values())

    @property
    def num_parameters(self) -> int:
        """All parameters; tied embeddings count once."""
        return self.num_linear + self.num_other


def cached_directory(base: str) -> Path | None:
    """Return where a base lies on this disk, the Hub's cache included; else None.

    Raises:
        InputError: a local directory holds no model, or ``base`` is none nor a Hub id.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    directory = local_directory(base)
    if directory is not None:
        return directory
    try:
        config = try_to_load_from_cache(base, "config.json")
    except HFValidationError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"expected a base model, but got {base!r}: {reason}"
        ) from error
    return Path(config).parent if isinstance(config, str) else None


def load_decoder(base: str) -> Decoder:
    """Return the sizes of ``base``: a directory, or a Hub id that needs no download.

    Raises:
        InputError: it is not on this disk and not among ``KNOWN_BASES``, or its
            config.json does not tell what is needed.
    """
    directory = cached_directory(base)
    if directory is None:
        if base not in KNOWN_BASES:
            raise InputError(
                f"expected the base {base} on this disk, but it is neither a directory "
                "nor in the Hub's cache; name a directory, in which config.json alone "
                "is enough to plan with"
            )
        return _of_config(KNOWN_BASES[base], base)
    file = directory / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a readable {file}, but got: {error}; copy it again"
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"expected a JSON object in {file}; copy it again")
    headers = tensor_headers(directory) if _is_whole(directory) else {}
    return _of_headers(config, headers, str(file))


def _is_whole(directory: Path) -> bool:
    """Tell whether all files that the index names are here, as in a finished cache."""
    index = directory / _INDEX_NAME
    if not index.is_file():
        return True
    names = re.findall(r'"([^"/]+\.safetensors)"', index.read_text(encoding="utf-8"))
    return all((directory / name).is_file() for name in names)


def _of_headers(
    config: Mapping[str, Any], headers: Mapping[str, dict[str, list[int]]], source: str
) -> Decoder:
    is_quantized = bool(
        config.get("quantization_config") or config.get("compression_config")
    )
    linears = {
        name.removesuffix(".weight"): (entry["shape"][0], entry["shape"][1])
        for name, entry in headers.items()
        if _IN_A_LAYER.search(name) and len(entry["shape"]) == 2
    }
    offsets = [entry["data_offsets"] for entry in headers.values()]
    stored = sum(end - start for start, end in offsets) or None
    if is_quantized or not linears:  # packed weights do not tell their shapes
        decoder = _of_config(config, source)
        return replace(decoder, stored_bytes=stored, is_quantized=is_quantized)
    num_other = sum(math.prod(entry["shape"]) for entry in headers.values())
    num_other -= sum(d_out * d_in for d_out, d_in in linears.values())
    return Decoder(
        linears=linears,
        num_other=num_other,
        stored_bytes=stored,
        is_quantized=False,
        **_dimensions(config, source),
    )


def _of_config(config: Mapping[str, Any], source: str) -> Decoder:
    if config.get("model_type") not in _LLAMA_KIND:
        raise InputError(
            f"expected a model_type out of {', '.join(_LLAMA_KIND)} in {source} "
            f"without plain weights beside it, but got {config.get('model_type')!r}; "
            "put the base's safetensors files there"
        )
    sizes = _dimensions(config, source)
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    heads = _size(config, "num_attention_heads", source) * sizes["head_dim"]
    kv = sizes["num_kv_heads"] * sizes["head_dim"]
    shapes = {
        "self_attn.q_proj": (heads, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, heads),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    num_layers = sizes["num_layers"]
    num_embeddings = 1 if config.get("tie_word_embeddings", False) else 2
    norms = (2 * num_layers + 1) * hidden
    return Decoder(
        linears={
            f"model.layers.{layer}.{name}": shape
            for layer in range(num_layers)
            for name, shape in shapes.items()
        },
        num_other=num_embeddings * sizes["vocab_size"] * hidden + norms,
        stored_bytes=None,
        is_quantized=False,
        **sizes,
    )


def _dimensions(config: Mapping[str, Any], source: str) -> dict[str, int]:
    hidden = _size(config, "hidden_size", source)
    heads = _size(config, "num_attention_heads", source)
    return {
        "num_layers": _size(config, "num_hidden_layers", source),
        "num_kv_heads": _size(config, "num_key_value_heads", source, heads),
        "head_dim": _size(config, "head_dim", source, hidden // heads),
        "hidden_size": hidden,
        "intermediate_size": _size(config, "intermediate_size", source, 4 * hidden),
        "vocab_size": _size(config, "vocab_size", source),
    }


def _size(
    config: Mapping[str, Any], key: str, source: str, default: int | None = None
) -> int:
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"expected a positive {key} in {source}, but got {value!r}; use the "
            "config.json of a decoder-only language model"
        )
    return value
