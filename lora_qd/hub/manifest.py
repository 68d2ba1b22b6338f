"""``loraqd.json``: what a shared repository holds, by path, size and hash.

It is the list of what a push uploads and of what a pull fetches; nothing else of a
repository is ever read. Not listed: the manifest itself, and :data:`UNLISTED`, which
people and the Hub change.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import lora_qd
from lora_qd.errors import InputError
from lora_qd.store.files import write_bytes

NAME = "loraqd.json"
UNLISTED = ("README.md", ".gitattributes")
"""Files of a repository that a manifest does not list, and that a pull leaves alone."""
RUN_FOLDER = "run"
"""Holds the run in its compact form."""
EXPERTS_FOLDER = "experts"
"""Holds the experts, a folder each, as PEFT adapters."""
KINDS = (".safetensors", ".json", ".png", ".md", ".txt")
"""How the listed files' names may end: weights, plain data, pictures and texts."""
LICENCE_NAMES = ("LICENSE", "NOTICE", "USE_POLICY.md")
"""Listed files at the root that tell of the base's licence."""
MOST_BYTES = 16 * 2**20
"""Of a manifest; one of 10,000 files takes 2 MB."""
FORMAT = 1
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_SHA256 = "^[0-9a-f]{64}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Format(BaseModel):
    """What every version of a manifest has."""

    format: int = FORMAT


class SharedFile(_Strict):
    """One file of the repository."""

    path: str
    """Relative, its parts joined by ``/``."""
    size: Annotated[int, Field(ge=0)]
    """In bytes."""
    sha256: Annotated[str, Field(pattern=_SHA256)]

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        parts = self.path.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise ValueError(f"{self.path!r} is no plain relative path")
        if not self.path.endswith(KINDS) and self.path not in LICENCE_NAMES:
            raise ValueError(f"{self.path!r} is none of {', '.join(KINDS)}")
        if self.path == NAME or self.path in UNLISTED:
            raise ValueError(f"{self.path!r} cannot be listed")
        return self


class SharedBase(_Strict):
    """The base model under all adapters of a repository."""

    model: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    """Its id on the Hub."""
    hash: str
    """As the run recorded it: of its files, or ``hub:<commit>``."""
    quantization: str
    """How it was quantised when members were scored."""
    licence: str | None = None
    """Its licence as the Hub abbreviates it, such as ``llama3``; None: unknown."""


class Manifest(_Strict):
    """A whole repository."""

    format: Annotated[int, Field(ge=1)] = FORMAT
    loraqd: str = lora_qd.__version__
    """The version that wrote it."""
    run_id: Annotated[str, Field(pattern=_SHA256)]
    """The same for every state of one run: its beginning's hash."""
    base: SharedBase
    adapters: dict[str, str]
    """Folder by the name that a member is served under; ``""`` is the root."""
    files: tuple[SharedFile, ...]
    """Everything that is uploaded but the manifest and :data:`UNLISTED`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise ValueError("a file is listed twice")
        for name, folder in self.adapters.items():
            parts = name.split("/")
            is_inside = not {"", ".", ".."} & set(parts) and "\\" not in name
            if not is_inside or not name.isprintable():
                raise ValueError(f"{name!r} is no name of a member")
            inside = f"{folder}/" if folder else ""
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                if inside + name not in paths:
                    raise ValueError(f"{inside}{name} is not listed")
        return self

    def save(self, directory: Path) -> None:
        """Write it into ``directory``."""
        text = self.model_dump_json(indent=2) + "\n"
        write_bytes(directory / NAME, text.encode())


def parse_manifest(content: bytes, *, source: str) -> Manifest:
    """Read a manifest that nobody vouches for.

    Args:
        content: the file's.
        source: where it comes from, for the message.

    Raises:
        InputError: it is none, is of a newer version, or names what is not allowed.
    """
    try:
        newer = _Format.model_validate_json(content).format
        if newer > FORMAT:  # said first: its fields may be unknown here
            raise InputError(
                f"expected {source} in format {FORMAT}, but it has {newer}; update "
                "loraqd"
            )
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
            for e in error.errors()[:3]
        )
        raise InputError(
            f"expected the manifest of a loraqd run in {source}, but got: "
            f"{' '.join(details.split())}; ask its owner to push it again"
        ) from error


def listed(directory: Path) -> tuple[SharedFile, ...]:
    """Return the files below ``directory`` as a manifest lists them, by path."""
    return tuple(
        SharedFile(path=name, size=path.stat().st_size, sha256=sha256_of(path))
        for name, path in _files_below(directory)
        if name != NAME and name not in UNLISTED
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_below(directory: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield path.relative_to(directory).as_posix(), path
