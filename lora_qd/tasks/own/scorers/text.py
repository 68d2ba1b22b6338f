"""Answers that must be a target: literally, normalised, or as a pattern says."""

from collections.abc import Sequence
from typing import Literal, Self
from unicodedata import normalize

import regex  # type: ignore[import-untyped]  # has no annotations
from pydantic import model_validator

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.patterns import (
    EMPTY,
    TOO_SLOW,
    ExtractingScorer,
    Pattern,
    is_among,
    literal_verdict,
    quoted,
)
from lora_qd.tasks.published.conversation import Verdict
from lora_qd.tasks.published.source import Strict

_LONG_MARKS = regex.compile(r"([\p{M}\uff9e\uff9f]{30})[\p{M}\uff9e\uff9f]+")
"""More combining marks in a row than UAX #15 has in its Stream-Safe Text Format."""
_NOT_WORDS = regex.compile(r"[\p{P}\p{Cf}$+<=>^`|~]")
"""Punctuation, ASCII's symbols, which SQuAD drops too, and invisible marks."""
_ARTICLES = regex.compile(r"\b(?:a|an|the)\b")


class Exact(ExtractingScorer):
    """The answer is a target, letter by letter."""

    kind: Literal["exact"]
    """The answer must equal a target, but for outer white space."""

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return 1 for an answer that is a target, else 0."""
        text = self.text_to_compare(answer, targets)
        if isinstance(text, Verdict):
            return text
        return Verdict(1.0) if is_among(text, targets) else _unequal(text)


class Normalised(ExtractingScorer):
    """The answer is a target after `normalised`."""

    kind: Literal["normalised"]
    """The answer must equal a target, but for case, punctuation, the articles a, an and
    the, and white space."""

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return 1 for an answer that is a target once both are normalised, else 0."""
        text = self.text_to_compare(answer, targets)
        if isinstance(text, Verdict):
            return text
        # A target of which nothing is left ("the", "!") equals itself alone.
        wanted = {normalised(target) for target in targets} - {""}
        is_right = is_among(text, targets) or normalised(text) in wanted
        return Verdict(1.0) if is_right else _unequal(text)


class Regex(Strict):
    """The answer matches a pattern."""

    kind: Literal["regex"]
    """The answer must match a pattern."""
    pattern: str
    """A regular expression, in the syntax of Python and of the package `regex`. The
    answer's outer white space is dropped first."""
    full: bool = False
    """Whether the pattern must match the whole answer, not some part of it."""
    ignore_case: bool = False
    """Whether upper and lower case are the same."""
    compare: bool = False
    """Whether what the first named group, or else the first group, captures in the last
    match must be a target. Without it a match is enough."""

    @model_validator(mode="after")
    def _check_pattern(self) -> Self:
        pattern = self._searched
        pattern.check()
        if self.compare and not pattern.num_groups:
            raise ValueError(
                f"expected a group to compare, but {self.pattern!r} has none; put what "
                "is compared in (...), or leave compare out"
            )
        return self

    @property
    def _searched(self) -> Pattern:
        return Pattern(self.pattern, ignore_case=self.ignore_case, full=self.full)

    def check_target(self, target: str) -> None:
        """Check that ``target`` matches, unless captured text is compared with it.

        Raises:
            InputError: it does not.
        """
        fault = self.score(target, [target]).reason
        if fault:
            raise InputError(
                f"expected a target that matches {self.pattern!r}, but got "
                f"{quoted(target)}: {fault}; repair the target or the pattern"
            )

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return 1 for an answer that matches as the settings say, else 0.

        With `compare`, an answer that is literally a target scores 1 too.
        """
        try:
            return (
                self._compared(answer, targets) if self.compare else self._any(answer)
            )
        except TimeoutError:
            return TOO_SLOW

    def _any(self, answer: str) -> Verdict:
        if not answer.strip():
            return EMPTY
        is_right = self._searched.matches(answer.strip())
        return Verdict(1.0) if is_right else Verdict(0.0, "the pattern does not match")

    def _compared(self, answer: str, targets: Sequence[str]) -> Verdict:
        verdict = literal_verdict(answer, targets)
        if verdict is not None:
            return verdict
        pattern = self._searched
        found = pattern.last(answer.strip(), pattern.first_group)
        if found is None:
            return Verdict(0.0, "the pattern does not match")
        return Verdict(1.0) if is_among(found, targets) else _unequal(found)


def normalised(text: str) -> str:
    """Return ``text`` as SQuAD's scorer compares it.

    In lower case, without punctuation, without a, an and the, with single spaces: the
    function ``normalize_answer`` of evaluate-v1.1.py (Rajpurkar et al. 2016,
    arXiv:1606.05250). It knows ASCII; here NFKC, case folding and Unicode's
    punctuation serve other scripts, and direction marks and the like go too.
    """
    text = normalize("NFKC", normalize("NFKC", _bounded_marks(text)).casefold())
    words = _ARTICLES.sub(" ", _NOT_WORDS.sub("", text))
    return " ".join(words.split())


def _bounded_marks(text: str) -> str:
    """Sorting a run of marks takes quadratic time; no script needs more than 30."""
    return str(_LONG_MARKS.sub(r"\1", text))


def _unequal(text: str) -> Verdict:
    return Verdict(0.0, f"{quoted(text)} is no target")
