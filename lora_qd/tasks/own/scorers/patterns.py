"""Patterns of a user, searched for in the answers of a model within bounded time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import regex  # type: ignore[import-untyped]  # has no annotations
from pydantic import field_validator

from lora_qd.tasks.published.conversation import Verdict
from lora_qd.tasks.published.source import Strict

PATTERN_S = 2.0
"""Most CPU seconds of one search; the time of all threads of the process counts."""
EMPTY = Verdict(0.0, "the answer is empty")
TOO_SLOW = Verdict(0.0, f"the pattern took over {PATTERN_S:g} s or too much memory")
_QUOTED_CHARACTERS = 60
_REASON_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression in the syntax of the package ``regex``."""

    text: str
    ignore_case: bool = False
    full: bool = False
    """Whether it must match the whole text."""

    def check(self) -> None:
        """Raise a ``ValueError`` unless this is a regular expression."""
        try:
            self._compiled()
        except (regex.error, RecursionError, OverflowError) as error:
            raise ValueError(
                f"expected a regular expression, but got {self.text!r}: {error}; "
                "repair it"
            ) from error

    @property
    def num_groups(self) -> int:
        """How many groups capture text."""
        return int(self._compiled().groups)

    @property
    def first_group(self) -> int:
        """The number of the first named group; 1 if none has a name."""
        return min(self._compiled().groupindex.values(), default=1)

    def matches(self, text: str, *, limit_s: float = PATTERN_S) -> bool:
        """Return whether ``text`` matches.

        Raises:
            TimeoutError: the search takes more than ``limit_s`` or the memory.
        """
        compiled = self._compiled()
        with _bounded():
            search = compiled.fullmatch if self.full else compiled.search
            return search(text, timeout=limit_s) is not None

    def last(self, text: str, group: int) -> str | None:
        """Return what ``group`` captured in the last match that it is part of.

        Raises:
            TimeoutError: the search takes more than `PATTERN_S` or the memory.
        """
        found: str | None = None
        compiled = self._compiled()
        with _bounded():
            if self.full:
                whole = compiled.fullmatch(text, timeout=PATTERN_S)
                return None if whole is None else whole.group(group)
            for match in compiled.finditer(text, timeout=PATTERN_S):
                captured = match.group(group)
                found = found if captured is None else captured
        return found

    def _compiled(self) -> Any:  # noqa: ANN401 - not annotated; the package caches it
        return regex.compile(self.text, regex.IGNORECASE if self.ignore_case else 0)


class ExtractingScorer(Strict):
    """A scorer that may first find the answer in a longer text."""

    extract: str | None = None
    """A regular expression with one group, which captures the answer in what the model
    wrote; the last match counts, and an answer without one scores 0. A text that is
    literally a target always counts."""

    @field_validator("extract")
    @classmethod
    def _check_extract(cls, text: str | None) -> str | None:
        if text is not None:
            pattern = Pattern(text)
            pattern.check()
            if pattern.num_groups != 1:
                raise ValueError(
                    f"expected one group in extract, but {text!r} has "
                    f"{pattern.num_groups}; put the answer in (...), the rest in "
                    "(?:...)"
                )
        return text

    def check_target(self, target: str) -> None:
        """Accept any target."""

    def text_to_compare(self, answer: str, targets: Sequence[str]) -> str | Verdict:
        """Return the stripped text that the targets are compared with.

        It is a verdict where nothing is left to compare: the answer is empty, is
        literally a target, or the pattern finds nothing in it.
        """
        verdict = literal_verdict(answer, targets)
        if verdict is not None:
            return verdict
        if self.extract is None:
            return answer.strip()
        try:
            found = Pattern(self.extract).last(answer, 1)
        except TimeoutError:
            return TOO_SLOW
        if found is None:
            return Verdict(0.0, "no answer was found by the pattern")
        return found.strip()


def literal_verdict(answer: str, targets: Sequence[str]) -> Verdict | None:
    """Return 0 for a blank answer, 1 for a literal target, and None for all others."""
    if not answer.strip():
        return EMPTY
    return Verdict(1.0) if is_among(answer, targets) else None


def is_among(answer: str, targets: Sequence[str]) -> bool:
    """Return whether ``answer`` is a target, but for outer white space."""
    return answer.strip() in (target.strip() for target in targets)


def quoted(text: str) -> str:
    """Return the first 60 characters of ``text`` in quotes, printable and one line."""
    short = one_line(text, _QUOTED_CHARACTERS)
    return repr(short if len(text) <= _QUOTED_CHARACTERS else f"{short}...")


def one_line(text: str, num_characters: int = _REASON_CHARACTERS) -> str:
    """Return the beginning of ``text`` as a reason may say it: printable, one line."""
    line = " ".join(text[:num_characters].split())
    return "".join(each if each.isprintable() else "?" for each in line)


@contextmanager
def _bounded() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:  # what the package raises for runaway recursion
        raise TimeoutError("the search takes all memory") from error
