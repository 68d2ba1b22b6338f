"""Base models on disk: the shapes of their layers."""

import json
from collections.abc import Mapping
from pathlib import Path

from lora_qd.errors import InputError

BaseShapes = Mapping[str, tuple[int, int]] | None
"""``(d_out, d_in)`` by module name; None where the base is not on this disk."""


def base_shapes(base: str) -> BaseShapes:
    """Return the shapes of all two-dimensional weights, by module name.

    Reads the headers of the safetensors files only.

    Raises:
        InputError: a local directory holds no model, or a path does not exist.
    """
    directory = local_directory(base)
    if directory is None:
        return None
    shapes = {}
    headers = tensor_headers(directory)
    for name, entry in headers.items():
        module, _, kind = name.rpartition(".")
        shape = entry.get("shape", ())
        if kind == "weight" and len(shape) == 2:
            shapes[module] = (shape[0], shape[1])
        if kind == "qweight" and len(shape) == 2:
            shapes[module] = _unpacked(directory, module, headers)
    return shapes or None


def context_of(base: str) -> int | None:
    """Return the most tokens that a base on this disk was made for; None if unknown.

    Raises:
        InputError: a local directory holds no model, or a path does not exist.
    """
    directory = local_directory(base)
    if directory is None:
        return None
    try:
        config = json.loads((directory / "config.json").read_text())
        return int(config["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def local_directory(base: str) -> Path | None:
    """Return the directory of a base on this disk; None for a Hub id.

    Raises:
        InputError: a local directory holds no model, or a path does not exist.
    """
    directory = Path(base)
    if directory.is_dir():
        _require_model(directory)
        return directory
    if base.startswith((".", "/", "~")) or base.count("/") != 1:
        raise InputError(
            f"expected a base model at {base}, but there is no such directory; "
            "pass the directory of a model or a Hub id"
        )
    return None


def tensor_headers(directory: Path) -> dict[str, dict[str, list[int]]]:
    """Return ``shape`` and ``data_offsets`` of every tensor, by the tensor's name."""
    headers: dict[str, dict[str, list[int]]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        headers |= _header(path)
    return headers


def _unpacked(
    directory: Path, module: str, headers: Mapping[str, Mapping[str, list[int]]]
) -> tuple[int, int]:
    """Return the shape of an AWQ or GPTQ layer, of which several entries share a word.

    Scales are ``(groups, d_out)`` and zeros ``(groups, d_out / packed)``; AWQ packs
    the weight ``(d_in, d_out)`` along d_out, GPTQ along d_in.
    """
    try:
        rows, columns = headers[f"{module}.qweight"]["shape"]
        d_out = headers[f"{module}.scales"]["shape"][1]
        num_words = headers[f"{module}.qzeros"]["shape"][1]
        return d_out, rows if columns == num_words else rows * d_out // num_words
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"expected qweight, scales and qzeros of {module!r} in {directory}, as "
            "AWQ and GPTQ write them; the base is incomplete, copy it again"
        ) from error


def _require_model(directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise InputError(
            f"expected a base model in {directory}, but config.json is missing; pass "
            "the directory that save_pretrained wrote, or a Hub id"
        )


def _header(path: Path) -> dict[str, dict[str, list[int]]]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(
            f"expected a safetensors file at {path}, but got: {error}; the base is "
            "incomplete, copy or download it again"
        ) from error
    if not isinstance(header, dict):
        raise InputError(f"expected a safetensors header in {path}; it is damaged")
    return {k: v for k, v in header.items() if isinstance(v, dict) and "shape" in v}
