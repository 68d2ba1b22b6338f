"""The folder that is shared: adapters, model card, licence, the run itself, a list.

The same run and the same order give the same bytes. Not done here: packing the run
(``pack``), drawing pictures, uploading.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lora_qd.errors import InputError
from lora_qd.hub.card import CardFacts, model_card
from lora_qd.hub.identity import Base, base_of, require_repo_id
from lora_qd.hub.licences import LicenceOptions, terms_of
from lora_qd.hub.manifest import (
    EXPERTS_FOLDER,
    RUN_FOLDER,
    Manifest,
    SharedBase,
    listed,
)
from lora_qd.hub.names import free_name
from lora_qd.hub.secrets import private_to, refuse_secrets
from lora_qd.runs.finals import AGGREGATE
from lora_qd.runs.members import export
from lora_qd.runs.run import Run
from lora_qd.store.files import new_directory, write_bytes

PICTURES_FOLDER = "pictures"
_TAKEN = (RUN_FOLDER, EXPERTS_FOLDER, PICTURES_FOLDER)
_PICTURE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\.png")


class Pack(Protocol):
    """Writes the run and its experts in their compact form."""

    def __call__(self, run: Run, directory: Path, *, base: str) -> None:
        """Write ``run/`` and ``experts/`` below ``directory``."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """What a folder is to be."""

    repo_id: str
    """``owner/name`` that it is for."""
    run_id: str
    """The run's, as the manifest has it."""
    pack: Pack
    base_model: str | None = None
    """The base's Hub id, where the run names a directory."""
    licence: LicenceOptions = field(default_factory=LicenceOptions)
    """What is said of the base's licence."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by name, for the card; what they show is their names' business."""


def build_folder(run: Run, out: Path, order: Order) -> Manifest:
    """Write all that is shared of ``run`` to ``out``, in place of what is there.

    Raises:
        InputError: the run is not finished, its base has no Hub id, a duty of the
            base's licence is not met, or a file holds a secret or a path of this
            machine.
        StoreError: a member is damaged, or ``out`` cannot be written.
    """
    run.directory.require_finished()
    require_repo_id(order.repo_id, "the repository")
    base = base_of(run, order.base_model)
    if order.repo_id.casefold() == base.model.casefold():
        raise InputError(
            f"expected a repository of its own, but {order.repo_id} is the base "
            "model's; choose another name"
        )
    terms = terms_of(base, order.repo_id, order.licence)
    folders = folder_by_name(run.results.members if run.results else {})
    with new_directory(out, replace=True) as beside:
        _write_adapters(run, beside, base, folders)
        _write_all(beside, terms.files)
        if order.pictures:
            (beside / PICTURES_FOLDER).mkdir()
            _write_all(beside / PICTURES_FOLDER, _checked(order.pictures))
        order.pack(run, beside, base=base.model)
        pictures = tuple(f"{PICTURES_FOLDER}/{name}" for name in sorted(order.pictures))
        facts = CardFacts(order.repo_id, base, terms, folders, pictures)
        write_bytes(beside / "README.md", model_card(run, facts).encode())
        manifest = Manifest(
            run_id=order.run_id,
            base=SharedBase(
                model=base.model,
                hash=base.hash,
                quantization=run.config.engine.quantization,
                licence=terms.licence.id if terms.licence else None,
            ),
            adapters=dict(folders),
            files=listed(beside),
        )
        manifest.save(beside)
        refuse_secrets(beside, private_to(_paths_of(run, base)))
    return manifest


def folder_by_name(names: Iterable[str]) -> dict[str, str]:
    """Return the folder of each served member; the aggregate's is the root, ``""``.

    A name that is no plain folder's is changed, and numbered where it is taken.
    """
    taken = {folder.casefold() for folder in _TAKEN}
    return {name: "" if name == AGGREGATE else free_name(name, taken) for name in names}


def _write_adapters(
    run: Run, directory: Path, base: Base, folders: Mapping[str, str]
) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        for number, (name, folder) in enumerate(folders.items()):
            adapter = Path(scratch) / str(number)
            export(run.member(name), run.space, run.config, adapter, base=base.model)
            target = directory / folder
            target.mkdir(exist_ok=True)
            for path in sorted(adapter.iterdir()):
                path.rename(target / path.name)


def _write_all(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_bytes(directory / name, content)


def _checked(pictures: Mapping[str, bytes]) -> Mapping[str, bytes]:
    for name, content in pictures.items():
        if not _PICTURE.fullmatch(name) or not content.startswith(b"\x89PNG"):
            raise ValueError(f"expected the name and bytes of a PNG, but got {name!r}")
    return pictures


def _paths_of(run: Run, base: Base) -> list[Path]:
    """Return the paths that the run knows of, wherever it was made."""
    config = run.config
    named = [
        *(run.directory.path, config.run, config.experts_dir),
        *(config.engine.adapter_dir, base.directory),
    ]
    if config.base != base.model:
        named.append(Path(config.base))
    return [path for path in named if path is not None]
