"""The scratch directory before and after a job."""

import os
import stat
from collections.abc import Mapping

MOST_TREE_BYTES = 1 << 20
"""Size of names and contents together, beyond which a tree is not returned."""
_MOST_ENTRIES = 1000
_MOST_DEPTH = 64
_TOO_LARGE: dict[str, str | None] = {"...": "too many, too large or too deep files"}


def make(files: Mapping[str, str | None]) -> None:
    """Write ``files`` below the working directory; None is a directory."""
    for path, text in files.items():
        if text is None:
            os.makedirs(path, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)


def collect(root: str) -> dict[str, str | None]:
    """Return text by path, None for a directory.

    Bounded in number, size and depth; nothing but plain files is opened and no link is
    followed. Nothing may write to the tree meanwhile.
    """
    found: dict[str, str | None] = {}
    size = 0
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        if directory.count("/") > _MOST_DEPTH:
            return dict(_TOO_LARGE)
        for name in sorted(os.listdir(os.path.join(root, directory))):
            path = f"{directory}{name}"
            text = _read_entry(os.path.join(root, path))
            if text is None:
                waiting.append(f"{path}/")
            found[_decodable(path)] = text
            size += len(path) + len(text or "")
            if len(found) > _MOST_ENTRIES or size > MOST_TREE_BYTES:
                return dict(_TOO_LARGE)
    return found


def _read_entry(path: str) -> str | None:
    kind = os.lstat(path).st_mode
    if stat.S_ISDIR(kind):
        return None
    if stat.S_ISLNK(kind):
        return _decodable(f"link to {os.readlink(path)}")
    if not stat.S_ISREG(kind):
        return "special file"
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(MOST_TREE_BYTES + 1).decode(errors="replace")


def _decodable(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")
