"""Hashes that say whether an expert on disk is the one that a config asks for.

Versions of libraries are recorded beside an expert but are not part of its hash: an
upgrade does not retrain.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.experts.config import TrainingConfig
from lora_qd.experts.data import Example

_RECIPE = 1
"""Raised whenever a change of the code changes the weights that it trains."""

_HOW_NOT_WHAT = {"device", "micro_batch_size", "gradient_checkpointing"}
_MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")
_TOKENIZER_FILES = ("*token*.json", "vocab*", "merges.txt", "*.model", "*.jinja")


def config_hash(training: TrainingConfig, *, base_hash: str, data_hash: str) -> str:
    """Return the SHA-256 of all that decides an expert's weights, in hex.

    Where and in what portions it is trained (device, micro-batches, checkpointing)
    does not count.
    """
    content = {
        "recipe": _RECIPE,
        "training": training.model_dump(mode="json", exclude=_HOW_NOT_WHAT),
        "base": base_hash,
        "data": data_hash,
    }
    return hashlib.sha256(_canonical(content)).hexdigest()


def data_hash(examples: Iterable[Example]) -> str:
    """Return the SHA-256 of the examples' roles and texts in their order, in hex."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(_canonical([[t.role, t.content] for t in example.turns]) + b"\n")
    return digest.hexdigest()


def base_hash(base: str) -> str:
    """Return what identifies the base model's weights and tokenizer.

    The SHA-256 of a local directory's model files, or ``hub:<commit>``.

    Raises:
        InputError: there is no such model, here or on the Hub.
    """
    directory = Path(base)
    if not directory.is_dir():
        return f"hub:{_hub_commit(base)}"
    if not (directory / "config.json").is_file():
        raise InputError(
            f"expected a base model in {base}, but config.json is missing; pass a "
            "directory that save_pretrained wrote, or a Hub id"
        )
    return _files_hash(directory, _MODEL_FILES)


def tokenizer_hash(base: str) -> str:
    """Return what identifies the base model's tokenizer and chat template."""
    directory = Path(base)
    if not directory.is_dir():
        return f"hub:{_hub_commit(base)}"
    return _files_hash(directory, _TOKENIZER_FILES)


def _files_hash(directory: Path, kinds: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted({path for kind in kinds for path in directory.glob(kind)}):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()


def _hub_commit(base: str) -> str:
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise MissingExtraError("training experts", "train") from error
    try:
        config = AutoConfig.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a base model at {base!r}, but got: "
            f"{str(error).splitlines()[0]}; pass a local directory or a Hub id"
        ) from error
    commit = config._commit_hash
    if not isinstance(commit, str):
        raise InputError(
            f"expected the Hub to name a commit of {base!r}, but it names none; "
            "download the model and pass its directory"
        )
    return commit


def _canonical(content: object) -> bytes:
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode(errors="surrogatepass")
