"""Names that others chose, made safe for a path and for Markdown."""

import re

_LONGEST = 80


def plain_name(name: str) -> str:
    """Return ``name`` as the name of a folder: letters, digits and ``._+-``."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", name)[:_LONGEST].strip(".+-")
    return plain or "member"


def escaped(text: str) -> str:
    """Return ``text`` as Markdown shows it as it is, in one line, also in a table."""
    return re.sub(r"([\\`*_\[\]<>|~#$&!])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Return ``text`` in Markdown's type for code, in one line, also in a table."""
    line = " ".join(text.split()).replace("`", "'").replace("|", r"\|")
    return f"`{line}`"


def listing(names: list[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def free_name(name: str, taken: set[str]) -> str:
    """Return a folder's name for ``name``, numbered where it is taken; take it.

    Letters of either case count as the same, as on some file systems.
    """
    plain = folder = plain_name(name)
    number = 1
    while folder.casefold() in taken:
        number += 1
        folder = f"{plain}-{number}"
    taken.add(folder.casefold())
    return folder
