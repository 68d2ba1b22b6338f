"""The safetensors files of a PEFT directory, in one piece or sharded.

Names and shapes are checked before any weight is read. Pickle files are never opened.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from lora_qd.errors import InputError
from lora_qd.factors import Matrix

if TYPE_CHECKING:
    from safetensors import safe_open

WEIGHTS_NAME = "adapter_model.safetensors"
INDEX_NAME = f"{WEIGHTS_NAME}.index.json"
PREFIX = "base_model.model."
"""What PEFT puts before a module's name in the base."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHARDS = "adapter_model-*-of-*.safetensors"
_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight$")
_DTYPES = ("F32", "BF16", "F16", "F64")
_AGAIN = "copy, download or save it again"
_FOREIGN = (
    (r"\.lora_magnitude_vector", "is DoRA's magnitude", "train without DoRA"),
    (r"\.lora_embedding_[AB]", "adapts an embedding", "train without embeddings"),
    (r"\.modules_to_save\.", "is a fully trained module", "train without them"),
    (r"\.lora_[AB]\.bias$", "is a bias of LoRA", "train without lora_bias"),
    (r"\.base_layer\.lora_", "adapts a parameter", "train without target_parameters"),
    (r"\.lora_[AB]\.[^.]+\.weight$", "names its adapter", "save it with PEFT"),
    (
        r"^(?!base_model\.model\.).*\.lora_[AB]\.weight$",
        f"does not begin with {PREFIX}",
        "save it with PEFT",
    ),
    (r"\.lora_", "belongs to a variant of LoRA", "train plain LoRA"),
    (
        r"\.(weight|bias)$",
        "is a full weight of the base",
        "train without modules_to_save and save with save_embedding_layers=False",
    ),
    (r"", "is none", "save the adapter with PEFT"),
)
"""(pattern, fact, remedy) for tensors that are no factors; the first match counts."""

Factors = dict[str, dict[str, Matrix]]
"""``{module: {"A": (rank, d_in), "B": (d_out, rank)}}``, float32."""


def load_factors(path: Path) -> Factors:
    """Read all factors in the PEFT directory ``path``; one of a pair may be missing.

    Raises:
        InputError: the weights are missing, damaged or pickled, or hold something else
            than factors of linear layers; the message names the tensor.
    """
    factors: Factors = {}
    for file, keys in _files(path).items():
        for key, factor in _load_file(file, keys):
            match = _KEY.match(key)
            if match is not None:  # as checked before it was read
                factors.setdefault(match["module"], {})[match["factor"]] = factor
    if not factors:
        raise InputError(f"expected LoRA factors in {path}, but it is empty; {_AGAIN}")
    return factors


def weights_hash(path: Path) -> str:
    """Return the SHA-256 of the weights as they lie on disk.

    Of one file, it is that file's; of shards, that of their names and hashes.

    Raises:
        InputError: as :func:`load_factors`, where the files are missing.
    """
    digests = {}
    for file in sorted(_files(path)):
        with file.open("rb") as stream:
            digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    if list(digests) == [WEIGHTS_NAME]:
        return digests[WEIGHTS_NAME]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _files(path: Path) -> dict[Path, set[str] | None]:
    """Return the files that hold the weights, with their keys where an index says."""
    if (path / WEIGHTS_NAME).is_file():
        return {path / WEIGHTS_NAME: None}
    if (path / INDEX_NAME).is_file():
        return _indexed_files(path)
    shards = sorted(path.glob(_SHARDS))
    if shards:
        raise InputError(
            f"expected {INDEX_NAME} beside {shards[0].name} in {path}, but it is "
            f"missing; {_AGAIN}"
        )
    pickles = sorted(p.name for p in path.glob("*") if p.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise InputError(
            f"expected {WEIGHTS_NAME} in {path}, but found {pickles[0]}; pickle files "
            "are not read, because they can run code: load and save it with PEFT"
        )
    raise InputError(f"expected {WEIGHTS_NAME} in {path}, but it is missing; {_AGAIN}")


def _indexed_files(path: Path) -> dict[Path, set[str] | None]:
    index = path / INDEX_NAME
    files: dict[Path, set[str] | None] = {}
    for key, name in _weight_map(index).items():
        is_plain = isinstance(name, str) and PurePath(name).name == name
        if not is_plain or not name.endswith(".safetensors"):
            raise InputError(
                f"expected names of safetensors files in {index}, but got {name!r}; "
                f"{_AGAIN}"
            )
        file = path / name
        if not file.is_file():
            raise InputError(
                f"expected {file}, which {INDEX_NAME} names, but it is missing; "
                f"{_AGAIN}"
            )
        files.setdefault(file, set()).add(key)  # type: ignore[union-attr]
    return files


def _weight_map(index: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        weight_map = content["weight_map"]
        return dict(weight_map.items())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"expected a readable {index}, but got: {error}; {_AGAIN}"
        ) from error
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"expected an object weight_map in {index}, but it has none; {_AGAIN}"
        ) from error


def _load_file(file: Path, keys: set[str] | None) -> Iterator[tuple[str, Matrix]]:
    """Yield the tensors of one file; ``keys`` are those that an index expects."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            held = list(tensors.keys())
            _check_keys(file, held, keys)
            for key in held:
                _check_tensor(file, key, tensors)
            for key in held:
                yield key, tensors.get_tensor(key).float().numpy()
    except (SafetensorError, OSError) as error:
        reason = _damage(file) or " ".join(str(error).split())
        raise InputError(
            f"expected a readable {file}, but got: {reason}; {_AGAIN}"
        ) from error


def _check_keys(file: Path, held: list[str], expected: set[str] | None) -> None:
    if expected is not None and set(held) != expected:
        key = min(expected.symmetric_difference(held))
        raise InputError(
            f"expected in {file} the tensors that {INDEX_NAME} names, but they differ "
            f"by {key!r}; {_AGAIN}"
        )
    for key in held:
        if _KEY.match(key) is None or ".base_layer." in key:
            fact, remedy = next(
                (fact, remedy) for p, fact, remedy in _FOREIGN if re.search(p, key)
            )
            raise InputError(
                f"expected only LoRA factors of linear layers in {file}, but {key!r} "
                f"{fact}; {remedy}"
            )


def _check_tensor(file: Path, key: str, tensors: "safe_open") -> None:
    header = tensors.get_slice(key)  # type: ignore[no-untyped-call]
    shape = tuple(header.get_shape())
    if len(shape) != 2:
        raise InputError(
            f"expected factors of linear layers in {file}, but {key!r} has shape "
            f"{shape}; train without convolutions"
        )
    if 0 in shape:
        raise InputError(
            f"expected factors in {file}, but {key!r} has shape {shape} and is empty; "
            "gather sharded parameters before saving the adapter"
        )
    if header.get_dtype() not in _DTYPES:
        raise InputError(
            f"expected float32, bfloat16 or float16 in {file}, but {key!r} is "
            f"{header.get_dtype()}; save it in one of these"
        )


def _damage(file: Path) -> str:
    """Return why a file is no safetensors file, where the reason is a common one."""
    try:
        with file.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return ""
    if not start:
        return "an empty file"
    return "a Git LFS pointer, not the weights" if start == b"version http" else ""
