"""Adapters named by a Hub id: downloaded once, then read from the client's own cache.

Only the config and safetensors files of one adapter are fetched: never pickle, never
code. The token is huggingface_hub's own business. Not done: uploads, data sets, bases.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath

from lora_qd.errors import InputError, StoreError
from lora_qd.store.hub_failures import LOG_IN, hub_failures, is_local, no_answer
from lora_qd.store.peft_config import CONFIG_NAME
from lora_qd.store.peft_weights import INDEX_NAME, PICKLE_SUFFIXES, WEIGHTS_NAME
from lora_qd.store.telemetry import no_telemetry

_TIMEOUT_S = 10.0
_REFERENCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(/(?P<folder>[^@]+?))?/?(@(?P<revision>[\w./-]+))?",
    re.ASCII,
)
_SHARD = re.compile(r"adapter_model-\d+-of-\d+\.safetensors")


@dataclass(frozen=True, slots=True)
class _HubAdapter:
    """Where on the Hub an adapter lies."""

    repo: str
    """``owner/name``."""
    folder: str
    """The folder of the repo that holds it; empty for the top."""
    revision: str | None
    """A branch, tag or commit; None for the default branch."""

    def __str__(self) -> str:
        """Return the reference in its long form."""
        name = f"{self.repo}/{self.folder}" if self.folder else self.repo
        return f"{name}@{self.revision}" if self.revision else name


def fetch_adapter(
    reference: str, *, revision: str | None = None, also: Sequence[str] = ()
) -> Path:
    """Return the directory of the adapter that ``reference`` names.

    Args:
        reference: a local directory, which wins, or ``owner/name``, optionally with a
            folder of the repo and a revision: ``owner/name/folder@revision``.
        revision: a branch, tag or commit on the Hub, instead of ``@revision``.
        also: names of JSON files that are fetched with it where they lie beside it.

    Raises:
        InputError: the reference is malformed, or the Hub shows no such adapter.
        StoreError: the Hub cannot be reached and the adapter was not fetched before.
    """
    local = os.path.expanduser(reference)  # leaves ~nobody as it is, Path raises
    if os.path.exists(local):
        return _local_directory(Path(local), revision)
    adapter = _parsed(reference, revision)
    with no_telemetry(), _failures_in_one_line(adapter):
        return _download(adapter, also)


def _local_directory(local: Path, revision: str | None) -> Path:
    if not local.is_dir():
        raise InputError(
            f"expected the directory of an adapter, but {local} is a file; pass the "
            "directory that holds it"
        )
    if revision is not None:
        raise InputError(
            f"expected no revision for a local adapter, but got {revision!r} for "
            f"{local}; leave it out"
        )
    return local


def _parsed(reference: str, revision: str | None) -> _HubAdapter:
    match = _REFERENCE.fullmatch(reference)
    if match is None or reference.startswith((".", "/", "~")):
        raise InputError(
            f"expected an adapter's directory or a Hub id, but got {reference!r}, "
            "which is neither; pass a directory that exists or "
            "owner/name[/folder][@revision]"
        )
    named = match["revision"]
    if named is not None and revision is not None and named != revision:
        raise InputError(
            f"expected one revision of {match['repo']}, but got {named!r} and "
            f"{revision!r}; pass one of them"
        )
    folder = match["folder"] or ""
    if {".", "..", ""} & set(folder.split("/")) and folder:
        raise InputError(
            f"expected a folder of {match['repo']}, but got {folder!r}; pass its plain "
            "path in the repo"
        )
    return _HubAdapter(match["repo"], folder, revision or named)


def _download(adapter: _HubAdapter, also: Sequence[str]) -> Path:
    """Ask the Hub what the repo holds, then fetch what belongs to the adapter."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().model_info(
            adapter.repo, revision=adapter.revision, timeout=_TIMEOUT_S
        )
    except no_answer() as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
            raise
        if is_local(error):
            raise
        return _cached(adapter)
    names = [sibling.rfilename for sibling in info.siblings or ()]
    snapshot = snapshot_download(
        adapter.repo,
        revision=adapter.revision,
        allow_patterns=[escape(name) for name in _files_of(adapter, names, also)],
    )
    return Path(snapshot) / adapter.folder


def _cached(adapter: _HubAdapter) -> Path:
    """Return what was fetched before.

    Raises:
        LocalEntryNotFoundError: nothing was, or not all of it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    snapshot = snapshot_download(
        adapter.repo,
        revision=adapter.revision,
        allow_patterns=[escape(_in_folder(adapter, CONFIG_NAME))],
        local_files_only=True,
    )
    path = Path(snapshot) / adapter.folder
    if not any((path / name).is_file() for name in (WEIGHTS_NAME, INDEX_NAME)):
        raise LocalEntryNotFoundError(f"no weights in {path}")
    return path


def _files_of(
    adapter: _HubAdapter, names: Sequence[str], also: Sequence[str]
) -> list[str]:
    """Return the files to fetch, of all that the repo holds.

    Raises:
        InputError: there is no adapter among them, or a pickled one only.
    """
    folder = PurePosixPath(adapter.folder)
    here = {PurePosixPath(n).name for n in names if PurePosixPath(n).parent == folder}
    if CONFIG_NAME not in here:
        raise InputError(
            f"expected an adapter in {adapter} on the Hub, but it has no "
            f"{CONFIG_NAME}; {_remedy(adapter, names)}"
        )
    weights = [WEIGHTS_NAME] if WEIGHTS_NAME in here else []
    if not weights and INDEX_NAME in here:
        weights = [INDEX_NAME, *sorted(n for n in here if _SHARD.fullmatch(n))]
    if not weights:
        pickles = sorted(n for n in here if n.endswith(PICKLE_SUFFIXES))
        fact = f"only the pickle {pickles[0]}" if pickles else "only a config"
        raise InputError(
            f"expected {WEIGHTS_NAME} in {adapter} on the Hub, but it has {fact}; ask "
            "its owner for safetensors (pickle files are not read: they can run code)"
        )
    others = [name for name in also if name in here]
    return [_in_folder(adapter, name) for name in (CONFIG_NAME, *weights, *others)]


def _remedy(adapter: _HubAdapter, names: Sequence[str]) -> str:
    paths = [PurePosixPath(n) for n in names]
    folders = sorted(str(p.parent) for p in paths if p.name == CONFIG_NAME)
    known = [adapter.repo if f == "." else f"{adapter.repo}/{f}" for f in folders]
    if known:
        return f"pass one of its adapters: {', '.join(known[:4])}"
    return "pass the repo of a PEFT adapter"


def _in_folder(adapter: _HubAdapter, name: str) -> str:
    return f"{adapter.folder}/{name}" if adapter.folder else name


@contextmanager
def _failures_in_one_line(adapter: _HubAdapter) -> Iterator[None]:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    with hub_failures(f"to fetch {adapter} from the Hub"):
        try:
            yield
        except GatedRepoError:
            raise
        except RepositoryNotFoundError as error:
            raise InputError(
                f"expected an adapter at {adapter}, but there is no such directory "
                "here, and on the Hub no such repo or a private one; check the name, "
                f"or {LOG_IN}"
            ) from error
        except LocalEntryNotFoundError as error:
            fact, remedy = "the Hub does not answer", "check the network"
            if constants.HF_HUB_OFFLINE:
                fact, remedy = "HF_HUB_OFFLINE is set", "unset it"
            raise StoreError(
                f"expected to fetch {adapter} from the Hub, but {fact} and it was not "
                f"fetched before; {remedy}, or pass a local directory"
            ) from error
