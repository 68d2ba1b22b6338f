"""A shared repository, fetched: only what its manifest lists, each file by its hash.

Whatever else a repository holds is a reason to refuse it whole: a pickle or a script
beside the adapters is for somebody to load. Files lie in the Hub client's own cache.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from lora_qd.errors import InputError
from lora_qd.hub.manifest import (
    MOST_BYTES,
    NAME,
    UNLISTED,
    Manifest,
    SharedFile,
    parse_manifest,
    sha256_of,
)
from lora_qd.store.hub_failures import hub_failures, plain_transfers
from lora_qd.store.telemetry import no_telemetry

_AGAIN = "repeat the pull, which goes on where it stopped"
_TIMEOUT_S = 10.0
_ASK = "ask its owner"
_BYTES = dict.fromkeys(("F64", "I64"), 8) | dict.fromkeys(("F32", "I32"), 4)
_BYTES |= dict.fromkeys(("F16", "BF16", "I16"), 2) | dict.fromkeys(("I8", "U8"), 1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository as it was at one commit, as far as it was wanted."""

    repo_id: str
    commit: str
    directory: Path
    """Of the client's cache; only listed files in it are to be read."""
    manifest: Manifest


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    is_wanted: Callable[[str], bool] = lambda _: True,
) -> Snapshot:
    """Fetch a shared repository.

    Args:
        repo_id: ``owner/name``.
        revision: a branch, tag or commit; None: the newest.
        is_wanted: says of a listed path whether it is fetched.

    Raises:
        InputError: there is no such repository, or it holds what its manifest does not
            list, or not what it lists.
        StoreError: Hub, network or disk fail; a repeated pull goes on.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    where = f"{repo_id}@{revision}" if revision else repo_id
    with (
        no_telemetry(),
        plain_transfers(),
        hub_failures(f"to pull {where}", again=_AGAIN),
    ):
        info = HfApi().model_info(
            repo_id, revision=revision, timeout=_TIMEOUT_S, files_metadata=True
        )
        sizes = {s.rfilename: s.size or 0 for s in info.siblings or ()}
        _require_manifest(repo_id, sizes)
        path = Path(hf_hub_download(repo_id, NAME, revision=info.sha))
        manifest = parse_manifest(path.read_bytes(), source=repo_id)
        _require_listed(repo_id, manifest, sizes)
        wanted = [file for file in manifest.files if is_wanted(file.path)]
        if wanted:
            snapshot_download(
                repo_id,
                revision=info.sha,
                allow_patterns=[escape(file.path) for file in wanted],
            )
        for file in wanted:
            _require_content(repo_id, path.parent / file.path, file)
    return Snapshot(repo_id, str(info.sha), path.parent, manifest)


def _require_manifest(repo_id: str, sizes: dict[str, int]) -> None:
    if NAME not in sizes:
        is_adapter = "adapter_config.json" in sizes
        remedy = (
            "it is a plain adapter: name it as it is in merge, inspect, evaluate or a "
            "config's experts"
            if is_adapter
            else "pass a repository that loraqd push made"
        )
        raise InputError(
            f"expected a shared run in {repo_id}, but it has no {NAME}; {remedy}"
        )
    if sizes[NAME] > MOST_BYTES:
        raise InputError(
            f"expected {NAME} of at most {MOST_BYTES:,} bytes in {repo_id}, but it has "
            f"{sizes[NAME]:,}; {_ASK}"
        )


def _require_listed(repo_id: str, manifest: Manifest, sizes: dict[str, int]) -> None:
    """Refuse by name what is too much, too little or of another size."""
    listed = {file.path: file.size for file in manifest.files}
    foreign = sorted(set(sizes) - {*listed, NAME, *UNLISTED})
    if foreign:
        raise InputError(
            f"expected only what {NAME} lists in {repo_id}, but it holds {foreign[0]!r}"
            f", which may run code when somebody loads it; {_ASK}"
        )
    for path, size in listed.items():
        if path not in sizes:
            raise InputError(
                f"expected {path} in {repo_id}, as {NAME} lists it, but it is missing; "
                f"{_ASK}"
            )
        if sizes[path] != size:
            raise InputError(
                f"expected {path} of {size:,} bytes in {repo_id}, as {NAME} lists it, "
                f"but it has {sizes[path]:,}; {_ASK}"
            )


def _require_content(repo_id: str, path: Path, file: SharedFile) -> None:
    """Refuse a file with another hash, and forget it; then look into safetensors."""
    if path.stat().st_size != file.size or sha256_of(path) != file.sha256:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise InputError(
            f"expected {file.path} of {repo_id} to have the hash that {NAME} lists, but"
            f" it has another; {_ASK}"
        )
    if path.suffix == ".safetensors" and not _is_safetensors(path):
        raise InputError(
            f"expected tensors in {file.path} of {repo_id}, but it is no safetensors "
            f"file; {_ASK}"
        )


def _is_safetensors(path: Path) -> bool:
    """Tell whether a header describes exactly the bytes behind it."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(size - 8, MOST_BYTES):
            return False
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            end = 0
            for entry in sorted(header.values(), key=lambda e: e["data_offsets"]):
                start, stop = entry["data_offsets"]
                num_bytes = math.prod(entry["shape"]) * _BYTES[entry["dtype"]]
                if start != end or stop - start != num_bytes or num_bytes < 0:
                    return False
                end = stop
        except (ArithmeticError, LookupError, RecursionError):
            return False
        except (AttributeError, TypeError, ValueError):
            return False
    return bool(end == size - 8 - length)
