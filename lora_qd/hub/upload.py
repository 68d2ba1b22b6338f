"""A folder that is shared, uploaded: exactly what its manifest lists, in one commit.

Large files go up first, each once, so that a push that was cut goes on where it stood;
nobody sees any of it before the commit. Not done here: making the folder (``folder``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_qd.errors import InputError, StoreError
from lora_qd.hub.manifest import (
    LICENCE_NAMES,
    MOST_BYTES,
    NAME,
    UNLISTED,
    Manifest,
    parse_manifest,
    sha256_of,
)
from lora_qd.store.hub_failures import hub_failures, plain_transfers
from lora_qd.store.telemetry import no_telemetry

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import ModelInfo

_AGAIN = "repeat the push, which goes on where it stopped"
_MOST_FILES, _MOST_AT_ONCE = 64, 512 * 2**20
"""Files, and bytes, between two words to the user."""
_TIMEOUT_S = 10.0
_BY_THE_HUB = (*UNLISTED, *LICENCE_NAMES)
"""What a repository may hold that was made by hand and is still empty."""

Say = Callable[[str, int, int], None]
"""Called with a file's path, and the bytes done and in all."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of a push."""

    url: str
    """Of the repository."""
    is_new: bool
    """False where it held all of it already."""


def upload(
    directory: Path, repo_id: str, *, is_private: bool = False, say: Say
) -> Upload:
    """Upload what the manifest in ``directory`` lists, the manifest and the card.

    Args:
        directory: what ``build_folder`` made.
        repo_id: ``owner/name``; made where it does not exist.
        is_private: whether others may not see it.
        say: told how far it is.

    Raises:
        InputError: the folder is not what its manifest lists, the repository holds
            something else or is public, or the Hub refuses.
        StoreError: Hub, network or disk fail; a repeated push goes on.
    """
    manifest = read_manifest(directory)
    require_whole(directory, manifest)
    from huggingface_hub import HfApi

    attempt = f"to push to {repo_id}"
    with no_telemetry(), plain_transfers(), hub_failures(attempt, again=_AGAIN):
        api = HfApi()
        info = _repository(api, repo_id, is_private=is_private)
        old = _earlier(api, info, manifest, repo_id)
        additions = _additions(directory, manifest)
        _send(api, repo_id, additions, say)
        deletions = _deletions(old, manifest, info)
        commit = api.create_commit(
            repo_id,
            [*additions, *deletions],
            commit_message="Share a run of loraqd",
            parent_commit=info.sha,
        )
        _require_all_there(api, repo_id, commit.oid, manifest)
    url = f"{api.endpoint}/{repo_id}"
    return Upload(url, is_new=commit.oid != info.sha)


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a folder that is to be uploaded.

    Raises:
        InputError: there is none.
    """
    try:
        content = (directory / NAME).read_bytes()
    except OSError as error:
        raise InputError(
            f"expected a folder with {NAME} in {directory}, but got: "
            f"{error.strerror}; make it with loraqd push --dry-run"
        ) from error
    return parse_manifest(content, source=str(directory))


def require_whole(directory: Path, manifest: Manifest) -> None:
    """Refuse a folder that lacks a file of its manifest, or holds another one.

    Raises:
        InputError: naming the first such file.
    """
    known = {file.path for file in manifest.files} | {NAME, "README.md"}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink() or (not path.is_dir() and name not in known):
            raise InputError(
                f"expected only what {NAME} lists in {directory}, but it holds {name}; "
                "delete it, or make the folder anew"
            )
    for file in manifest.files:
        path = directory / file.path
        is_there = path.is_file() and path.stat().st_size == file.size
        if not is_there or sha256_of(path) != file.sha256:
            raise InputError(
                f"expected {file.path} in {directory} as {NAME} lists it, but it is "
                "missing or changed; make the folder anew"
            )
    if not (directory / "README.md").is_file():
        raise InputError(
            f"expected the card README.md in {directory}, but it is missing; make the "
            "folder anew"
        )


def _repository(api: "HfApi", repo_id: str, *, is_private: bool) -> "ModelInfo":
    """Return the repository as it is now; made where it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo_id, timeout=_TIMEOUT_S)
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=is_private or None)  # None: as the owner set
        info = api.model_info(repo_id, timeout=_TIMEOUT_S)
    if is_private and not info.private:
        raise InputError(
            f"expected {repo_id} to be private, but it exists and is public; change "
            "that in its settings, or leave out --private"
        )
    return info


def _earlier(
    api: "HfApi", info: "ModelInfo", manifest: Manifest, repo_id: str
) -> Manifest | None:
    """Return the manifest of an earlier push of the same run; None: there was none.

    Raises:
        InputError: the repository holds something else.
    """
    names = _names(info)
    if NAME not in names:
        foreign = sorted(names - {*_BY_THE_HUB})
        if foreign:
            raise _taken(repo_id, f"holds {foreign[0]}")
        return None
    path = Path(api.hf_hub_download(repo_id, NAME, revision=info.sha))
    if path.stat().st_size > MOST_BYTES:
        raise _taken(repo_id, f"has a {NAME} of another kind")
    old = parse_manifest(path.read_bytes(), source=repo_id)
    if old.run_id != manifest.run_id:
        raise _taken(repo_id, "holds another run")
    return old


def _taken(repo_id: str, fact: str) -> InputError:
    return InputError(
        f"expected {repo_id} to be new, or an earlier push of this run, but it {fact}; "
        "choose another name"
    )


def _additions(directory: Path, manifest: Manifest) -> "list[CommitOperationAdd]":
    from huggingface_hub import CommitOperationAdd

    names = [*(file.path for file in manifest.files), "README.md", NAME]
    return [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=directory / name)
        for name in names
    ]


def _deletions(
    old: Manifest | None, new: Manifest, info: "ModelInfo"
) -> "list[CommitOperationDelete]":
    """Return what an earlier push left and this one lacks; nothing else is touched."""
    from huggingface_hub import CommitOperationDelete

    before = {file.path for file in old.files} if old else set()
    gone = (before - {file.path for file in new.files}) & _names(info)
    return [CommitOperationDelete(path_in_repo=name) for name in sorted(gone)]


def _send(
    api: "HfApi", repo_id: str, additions: "Sequence[CommitOperationAdd]", say: Say
) -> None:
    """Upload the large files; those that the Hub has already are not sent again."""
    num_bytes = sum(addition.upload_info.size for addition in additions)
    num_done = 0
    for group in _groups(additions):
        say(group[-1].path_in_repo, num_done, num_bytes)
        api.preupload_lfs_files(repo_id, group, free_memory=False)
        num_done += sum(addition.upload_info.size for addition in group)
        say(group[-1].path_in_repo, num_done, num_bytes)


def _groups(
    additions: "Sequence[CommitOperationAdd]",
) -> "Iterator[list[CommitOperationAdd]]":
    group: list[CommitOperationAdd] = []
    for addition in additions:
        group.append(addition)
        size = sum(each.upload_info.size for each in group)
        if len(group) == _MOST_FILES or size >= _MOST_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _require_all_there(
    api: "HfApi", repo_id: str, commit: str, manifest: Manifest
) -> None:
    """Prove that the commit has every file: a .gitignore of the Hub drops silently."""
    names = _names(api.model_info(repo_id, revision=commit, timeout=_TIMEOUT_S))
    missing = [file.path for file in manifest.files if file.path not in names]
    if missing:
        raise StoreError(
            f"expected {missing[0]} in {repo_id} after the push, but it is not there; "
            "delete the repository's .gitignore, then repeat"
        )


def _names(info: "ModelInfo") -> set[str]:
    return {sibling.rfilename for sibling in info.siblings or ()}
