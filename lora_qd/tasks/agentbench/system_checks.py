"""The benchmark's checks that are known by name, done on this side.

An answer and what it should be are compared here, where no candidate can interfere.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

MOST_CHARACTERS = 10_000
"""Of an answer; what is longer is cut."""
_UNITS = "BKMGTP"
_SIZE = re.compile(rf"([0-9]*\.?[0-9]+)\s*([{_UNITS}])?(?:i?B)?", re.I)


def check_named(file: str) -> str | None:
    """Return the name of the check that a script's file stands for, if it is one."""
    name = PurePosixPath(file).stem
    return name if name in _CHECKS else None


def holds(name: str, answer: str, expected: str) -> bool:
    """Return whether an answer is what the named check expects; an empty one is not."""
    return bool(_normal(answer)) and _CHECKS[name](answer, expected)


def _integer_match(answer: str, expected: str) -> bool:
    left, right = _integer(answer), _integer(expected)
    return left is not None and left == right


def _string_match(answer: str, expected: str) -> bool:
    return _normal(answer) == _normal(expected)


def _containing(answer: str, expected: str) -> bool:
    return bool(_normal(expected)) and _normal(expected) in _normal(answer)


def _in(answer: str, expected: str) -> bool:
    return _normal(answer) in _normal(expected)


def _size_match(answer: str, expected: str) -> bool:
    left, right = _num_bytes(answer), _num_bytes(expected)
    return left is not None and left == right


_CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "integer-match": _integer_match,
    "string-match": _string_match,
    "containing": _containing,
    "in": _in,
    "size-match": _size_match,
}


def _normal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # also beyond 4,300 digits
        return None


def _num_bytes(text: str) -> float | None:
    """Return a size in bytes; its unit is a power of 1024."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        return None
    return float(found[1]) * 1024.0 ** _UNITS.index((found[2] or "B").upper())
