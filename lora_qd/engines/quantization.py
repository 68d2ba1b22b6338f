"""How a base is quantised, and whether its checkpoint agrees.

Not done here: quantising. nf4 and fp8 are made by the engine when it loads the base;
awq and gptq must be in the checkpoint.
"""

import json
from pathlib import Path
from typing import Any, Literal

from lora_qd.errors import InputError

Quantization = Literal["none", "nf4", "fp8", "awq", "gptq"]
"""``none``; made when the base is loaded (``nf4``, and ``fp8`` unless the checkpoint is
in fp8 already); or read from the checkpoint (``awq``, ``gptq``)."""

_METHODS: dict[Quantization, tuple[str, ...]] = {
    "none": ("",),
    "nf4": ("",),
    "fp8": ("", "fp8"),
    "awq": ("awq",),
    "gptq": ("gptq",),
}
"""What a checkpoint may say about itself; the empty text is a checkpoint in 16 bit."""


def checkpoint_method(model: str) -> str | None:
    """Return how the checkpoint of ``model`` is quantised; empty if it is not.

    None where the model is neither a directory nor in the Hub's local cache.

    Raises:
        InputError: its config.json is damaged.
    """
    file = _config_file(model)
    if file is None:
        return None
    try:
        config = json.loads(file.read_text())
        entry = config.get("quantization_config") or config.get("compression_config")
        return str(entry.get("quant_method", "unknown")).lower() if entry else ""
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"expected a config.json of a model in {file.parent}, but got: {error!r}; "
            "copy or download the base again"
        ) from error


def check_checkpoint(model: str, quantization: Quantization) -> None:
    """Check that the checkpoint of ``model`` is what ``quantization`` needs.

    Raises:
        InputError: it is not quantised but should be, or the other way round.
    """
    method = checkpoint_method(model)
    if method is None or method in _METHODS[quantization]:
        return
    fact = f"its config.json names {method or 'none'}"
    if quantization in ("awq", "gptq"):
        raise InputError(
            f"expected {_an(quantization.upper())} checkpoint in {model}, but {fact}; "
            f"name a base that was quantised by {quantization.upper()}, or set another "
            "quantization"
        )
    known = [name for name, methods in _METHODS.items() if method in methods]
    serve = f", or serve it with engine.quantization: {known[0]}" if known else ""
    raise InputError(
        f"expected a checkpoint that is not quantised in {model} for quantization: "
        f"{quantization}, but {fact}; name the checkpoint in 16 bit{serve}"
    )


def nf4_config(dtype: str) -> Any:  # noqa: ANN401 - transformers is not typed
    """Return what transformers takes to load a base in nf4, doubly quantised.

    The same as vLLM makes, so that training and serving see one base.
    """
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def _an(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AEIOU" else f"a {noun}"


def _config_file(model: str) -> Path | None:
    """Return the model's config.json, if it is on this machine."""
    if Path(model).is_dir():
        file = Path(model) / "config.json"
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # a path that does not exist
        return None
    return Path(cached) if isinstance(cached, str) else None
