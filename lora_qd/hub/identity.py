"""Who a base model is on the Hub, whatever it is called on this machine."""

import re
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import InputError
from lora_qd.runs.run import Run
from lora_qd.store.ledger import Ledger

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_ID = re.compile(f"{_PART}/{_PART}")


@dataclass(frozen=True, slots=True)
class Base:
    """A base model by the name that everybody knows it under."""

    model: str
    """Its id on the Hub."""
    hash: str
    """As the run recorded it: of its files, or ``hub:<commit>``."""
    directory: Path | None
    """Where its files lie on this machine; None: nowhere that is known."""


def base_of(run: Run, named: str | None) -> Base:
    """Return the base of ``run``.

    Args:
        run: names it by a Hub id, a directory of the Hub's cache, or any other one.
        named: the id that the user gives; needed for any other directory.

    Raises:
        InputError: the id is missing, is none, or is not the one that the run names.
    """
    if named is not None:
        require_repo_id(named, "--base-model")
    with Ledger(run.directory.ledger) as ledger:
        recorded = str(ledger.manifest().get("base", ""))
    base = run.config.base
    known = base if recorded.startswith("hub:") else _cached_id(Path(base))
    if known is None and named is None:
        raise InputError(
            f"expected the Hub id of the base model, but the run names the directory "
            f"{base}; pass --base-model owner/name"
        )
    if known and named and known.casefold() != named.casefold():
        raise InputError(
            f"expected --base-model {known}, which the run was made on, but got "
            f"{named}; leave it out"
        )
    model = known or str(named)
    return Base(model, recorded, _directory(base, model, recorded))


def require_repo_id(id_: str, option: str) -> None:
    """Refuse what cannot be a repository's id.

    Raises:
        InputError: it is no ``owner/name`` that the Hub allows.
    """
    owner, _, name = id_.partition("/")
    is_id = _ID.fullmatch(id_) and max(len(owner), len(name)) <= 96
    if not is_id or "--" in id_ or ".." in id_ or id_.endswith(".git"):
        raise InputError(
            f"expected owner/name for {option}, in letters, digits, '.', '_' and '-', "
            f"but got {id_!r}; write it as the Hub shows it"
        )


def _cached_id(directory: Path) -> str | None:
    """Return the id of ``models--owner--name/snapshots/<commit>``; None for others."""
    for path in (directory, directory.resolve()):
        repo = path.parent.parent.name
        if path.parent.name == "snapshots" and repo.startswith("models--"):
            id_ = repo.removeprefix("models--").replace("--", "/")
            if _ID.fullmatch(id_):
                return id_
    return None


def _directory(base: str, model: str, recorded: str) -> Path | None:
    """Return where the base's files lie: as named, or in the Hub's cache."""
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import try_to_load_from_cache

    commit = recorded.removeprefix("hub:") if recorded.startswith("hub:") else None
    config = try_to_load_from_cache(model, "config.json", revision=commit)
    return Path(config).parent if isinstance(config, str) else None
