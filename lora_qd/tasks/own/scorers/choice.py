"""Answers that choose one of several options by its label."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, Self

from pydantic import model_validator

from lora_qd.errors import InputError
from lora_qd.tasks.own.scorers.patterns import ExtractingScorer, quoted
from lora_qd.tasks.published.conversation import Verdict

_PLAIN = str.maketrans(
    "\uff08\uff09\uff3b\uff3d\uff0e\uff1a\uff0c", "()[].:,", '*`$"“”'
)
"""Full-width punctuation as ASCII; quotes and Markdown's marks are dropped."""
_LATEX = re.compile(r"\\(?:boxed|textbf|text|mathrm)\b")
_ENGLISH_WORDS = frozenset({"a", "i"})
"""Labels that are the article or the pronoun as well."""
_AFTER_LABELS = (
    "and|as|because|describes|fits|follows|gives|has|is|isn|looks|matches|means|nor|or|"
    "says|seems|since|so|states|than"
)
"""What may follow a label, but neither the article nor the pronoun."""
_SUBJECTS = "(?! (?:is|isn|are|was|has|does|doesn|says|would|cannot)\\b)"
_OPEN, _CLOSE = r"[(\[{]{0,3}", r"[)\]}]{0,3}"
_PHRASE = (
    r"\b(?:answer|(?:correct|right|best) (?:option|choice|letter|label))"
    r" ?(?:is|:|=) ?:?(?: (?:the )?(?:option|choice|letter|label))?[ \n]?"
)


class Choice(ExtractingScorer):
    """The label that the answer chooses is a target.

    The first of these that holds decides; Markdown's emphasis and quotes are no part
    of the text, and upper and lower case are the same:

    1. The whole answer is a label: ``B``, ``b.``, ``(B)``, ``B:``.
    2. It says ``answer is (B)``, ``answer: B`` or ``correct option is B``; the last
       such phrase counts.
    3. It begins with ``B.``, ``B)``, ``(B)`` or ``B:``, and does not go through all
       the labels in this form.
    4. One label alone has lines of its own.
    5. One label alone stands in it as a word. A label of one letter must be in its own
       case; ``not B`` does not count, nor does the article A or the pronoun I.

    An answer that chooses several labels at once ("B or C") chooses none.
    """

    kind: Literal["choice"]
    """The answer must choose the target among the labels."""
    labels: tuple[str, ...] = ("A", "B", "C", "D")
    """What the options are called."""

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        plain = [_plain(label).casefold() for label in self.labels]
        if len(plain) < 2 or "" in plain or len({*plain}) < len(plain):
            raise ValueError(
                "expected two labels or more that differ in letters or digits, but got "
                f"{list(self.labels)}; name each option once"
            )
        return self

    def check_target(self, target: str) -> None:
        """Check that ``target`` is a label.

        Raises:
            InputError: it is not.
        """
        if target.strip() not in self.labels:
            raise InputError(
                f"expected one of the labels {', '.join(self.labels)} as target, but "
                f"got {quoted(target)}; repair it or name its labels in the scorer"
            )

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return 1 for an answer that chooses a target, else 0."""
        text = self.text_to_compare(answer, targets)
        if isinstance(text, Verdict):
            return text
        chosen = _reader(self.labels).chosen(_plain(text))
        if not chosen:
            return Verdict(0.0, "the answer chooses no label")
        if len(chosen) > 1:
            return Verdict(0.0, f"the answer names {', '.join(sorted(chosen))}")
        if chosen & {target.strip() for target in targets}:
            return Verdict(1.0)
        return Verdict(0.0, f"the answer chooses {chosen.pop()}")


class _Reader:
    """Finds labels in texts; the patterns are made once."""

    def __init__(self, labels: Sequence[str]) -> None:
        plain = [_plain(label) for label in labels]
        self._label_by_text = {
            text.casefold(): label for text, label in zip(plain, labels, strict=True)
        }
        plain.sort(key=len, reverse=True)  # "not good" before "good"
        some = "|".join(map(re.escape, plain))
        word = _standing_alone(map(_unless_english, plain))
        more = (
            rf"(?:{_CLOSE} ?(?:,|/|;|&|or\b|and\b)(?: ?(?:or|and)\b)? ?{_OPEN}({word})"
        )
        more += f"{_SUBJECTS})?"
        marked = rf"(?<![\w-])(?:[(\[]({some})[)\]][.:]?|({some})[).\]:])(?=\s|$)"
        self._whole = re.compile(rf"{_OPEN}({some}){_CLOSE}[.:]?", re.I)
        self._phrase = re.compile(rf"{_PHRASE}{_OPEN}({word}){more}", re.I)
        self._marked = re.compile(marked, re.I)
        self._beginning = re.compile(marked + more, re.I)
        alone = _standing_alone(
            f"(?i:{re.escape(t)})" if len(t) > 1 else _unless_english(t) for t in plain
        )
        self._alone = re.compile(rf"(?<!\b[Nn]ot )(?<!n['\u2019]t )({alone})")

    def chosen(self, text: str) -> set[str]:
        """Return the labels that a plain text chooses."""
        whole = self._whole.fullmatch(text)
        if whole:
            return self._labels(whole)
        phrases = list(self._phrase.finditer(text))
        if phrases:
            return self._labels(phrases[-1])
        beginning = self._beginning.match(text)
        if beginning and not self._is_list(text):
            return self._labels(beginning)
        lines = filter(None, map(self._whole.fullmatch, text.split("\n")))
        return self._labels(*lines) or self._labels(*self._alone.finditer(text))

    def _is_list(self, text: str) -> bool:
        marked = self._labels(*self._marked.finditer(text))
        return len(marked) == len(self._label_by_text)

    def _labels(self, *matches: re.Match[str]) -> set[str]:
        texts = {group.casefold() for m in matches for group in m.groups() if group}
        # Python's case-insensitive i matches İ, whose folded form is another one.
        return {self._label_by_text[t] for t in texts if t in self._label_by_text}


@lru_cache
def _reader(labels: tuple[str, ...]) -> _Reader:
    return _Reader(labels)


def _standing_alone(patterns: Iterable[str]) -> str:
    """Match one of ``patterns``, but no part of a word, of 1,000 or of 1.5."""
    before = r"(?<![\w-])(?<!\w[.'\u2019])(?<!\d,)"
    return rf"{before}(?:{'|'.join(patterns)})(?!\w|['\u2019.-]\w|,\d)"


def _unless_english(text: str) -> str:
    pattern = re.escape(text)
    if text.casefold() in _ENGLISH_WORDS:
        pattern += rf"(?! (?!(?i:{_AFTER_LABELS})\b)\w)"
    return pattern


def _plain(text: str) -> str:
    """Return ``text`` without emphasis, with single spaces and no blank lines."""
    lines = _LATEX.sub("", text.translate(_PLAIN)).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())
