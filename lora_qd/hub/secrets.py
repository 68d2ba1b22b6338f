"""The last look before something is shared: secrets, and paths of this machine.

Every text is read, and the header of every safetensors file. What is found is named by
its kind and never shown. Not found: secrets in no known form that no environment
variable holds, and what a picture shows.
"""

import getpass
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import InputError

_NO_TEXT = (".png",)
_MOST_NAMED = 4
_MIN_SECRET = 8
"""Characters of an environment variable's value that is looked for."""
_SECRET_NAME = re.compile("TOKEN|KEY|SECRET|PASSW|CREDENTIAL")
_KINDS: Mapping[str, re.Pattern[str]] = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "a Hugging Face token": r"\bhf_[A-Za-z0-9]{16,}",
        "an API key": r"(?<![\w-])sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}"
        r"|\bAIza[\w-]{35}|\bxox[abprs]-[\w-]{10,}|\bglpat-[\w-]{20,}",
        "a GitHub token": r"\bgh[oprsu]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{22,}",
        "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        "a bearer token": r"\b[Bb]earer\s+(?=\S*\d)[A-Za-z0-9._~+/-]{16,}",
        "a web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}",
        "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
        "a URL with a password": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'{}]+:[^\s/@\"'{}]+@",
        "a path of this machine": r"\bfile:///\w",
    }.items()
}
_START = r"(?<![\w.~:/\\$<}%-])"
"""Before an absolute path: nothing that makes it a part of a URL, a tag or a name."""
_PATH = re.compile(rf"{_START}/[\w.+@-]+(?:/[\w.+@-]+)+")
_HOME = re.compile(
    rf"{_START}/(?:home|Users)/(?!(?:user|username|you|me|name)\b)[\w.-]+"
)
_TEMPORARY = re.compile(rf"{_START}/(?:tmp|var/tmp|dev/shm)/[\w.+@-]+")
_EVERYWHERE = ("bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr")
"""Directories that each Linux has: such a path tells nothing of this machine."""


@dataclass(frozen=True, slots=True)
class Private:
    """What only this machine knows, and nobody else is to learn."""

    values: Mapping[str, str]
    """Secrets by what they are."""
    paths: tuple[str, ...]
    """Absolute, the longest first."""


def private_to(paths: Sequence[Path]) -> Private:
    """Return what must not leave this machine.

    Args:
        paths: of the run, its base and whatever else is named by path; relative ones
            are meant from the working directory.
    """
    from huggingface_hub import get_token

    values = {
        f"the value of {name}": value
        for name, value in sorted(os.environ.items())
        if _SECRET_NAME.search(name.upper()) and len(value) >= _MIN_SECRET
    }
    token = get_token()
    if token:
        values["the Hub's token"] = token
    known = {str(path.absolute()) for path in paths}
    known |= {str(path.resolve()) for path in paths}
    known |= {str(Path.cwd()), os.path.expanduser("~"), f"/home/{_user()}"}
    inside = {path for path in known if path.startswith("/") and path != "/"}
    return Private(values, tuple(sorted(inside, key=lambda path: (-len(path), path))))


def refuse_secrets(directory: Path, private: Private) -> None:
    """Refuse a directory with anything in it that is not to be shared.

    Raises:
        InputError: there is something; the message names files and kinds.
    """
    hits = [
        f"{path.relative_to(directory).as_posix()} holds {kind}"
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        for kind in dict.fromkeys(k for t in _texts(path) for k in kinds_in(t, private))
    ]
    if hits:
        more = f" and {len(hits) - _MOST_NAMED} more" if len(hits) > _MOST_NAMED else ""
        raise InputError(
            "expected nothing secret and no path of this machine in what is shared, "
            f"but {', '.join(hits[:_MOST_NAMED])}{more}; take it out of the config or "
            "the skill that it comes from"
        )


def kinds_in(text: str, private: Private) -> Iterator[str]:
    """Yield the kinds of what ``text`` must not hold."""
    for kind, value in private.values.items():
        if value in text:
            yield kind
    for kind, pattern in _KINDS.items():
        if pattern.search(text):
            yield kind
    if _has_path(text, private):
        yield "a path of this machine"


def _has_path(text: str, private: Private) -> bool:
    if _HOME.search(text) or _TEMPORARY.search(text):
        return True
    for path in private.paths:
        if re.search(rf"{_START}{re.escape(path)}(?![\w-])", text):
            return True
    return any(_is_here(match[0]) for match in _PATH.finditer(text))


def _is_here(path: str) -> bool:
    if path.split("/")[1] in _EVERYWHERE:
        return False
    try:
        return os.path.exists(path.rstrip("."))
    except OSError:  # a name that no file system takes
        return False


def _texts(path: Path) -> Iterator[str]:
    """Yield what can be read of a file; of JSON also what its escapes stand for."""
    if path.suffix in _NO_TEXT:
        return
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            content = file.read(int.from_bytes(file.read(8), "little"))
    else:
        content = path.read_bytes()
    text = content.decode("utf-8", errors="replace")
    yield text
    if path.suffix in (".json", ".safetensors") and "\\" in text:
        try:
            yield from _strings(json.loads(text))
        except ValueError:
            return


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as nobody
        return "nobody"
