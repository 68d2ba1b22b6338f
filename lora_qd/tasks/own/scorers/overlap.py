"""Answers that share words with a target: F1 and ROUGE."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from lora_qd.errors import MissingExtraError
from lora_qd.tasks.own.scorers.patterns import (
    ExtractingScorer,
    is_among,
    literal_verdict,
)
from lora_qd.tasks.own.scorers.text import normalised
from lora_qd.tasks.published.conversation import Verdict
from lora_qd.tasks.published.source import Strict


class F1(ExtractingScorer):
    """SQuAD's F1: how many words an answer shares with a target.

    Words are what white space separates once both texts are normalised as for
    ``normalised``; a script without spaces has one word a sentence. A target of which
    normalising leaves nothing is compared literally.
    """

    kind: Literal["f1"]
    """The harmonic mean of precision and recall of the answer's words, as in SQuAD."""

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return the F1 with the best target (arXiv:1606.05250, section 6.1)."""
        text = self.text_to_compare(answer, targets)
        if isinstance(text, Verdict):
            return text
        if is_among(text, targets):
            return Verdict(1.0)
        words = normalised(text).split()
        return _best([_f1(words, normalised(t).split()) for t in targets])


class Rouge(Strict):
    """ROUGE's F-measure, in the words of the package ``rouge_score``, not stemmed.

    Words are runs of ASCII letters and digits, so other scripts have none: a target
    without them, or with one word only for ``rouge2``, is compared literally.
    """

    kind: Literal["rouge"]
    """The F-measure of the word sequences that the answer shares with a target."""
    variant: Literal["rouge1", "rouge2", "rougeL"] = "rougeL"
    """What is shared: words, pairs of words, or the longest common subsequence."""

    def check_target(self, target: str) -> None:
        """Accept any target."""

    def score(self, answer: str, targets: Sequence[str]) -> Verdict:
        """Return the F-measure with the best target.

        Raises:
            MissingExtraError: the package is not installed.
        """
        verdict = literal_verdict(answer, targets)
        if verdict is not None:
            return verdict
        measure = _longest if self.variant == "rougeL" else self._shared
        return _best([measure(target, answer) for target in targets])

    def _shared(self, target: str, answer: str) -> float:
        scores = _rouge().RougeScorer([self.variant]).score(target, answer)
        return float(scores[self.variant].fmeasure)


def _f1(answer: Sequence[str], target: Sequence[str]) -> float:
    num_shared = (Counter(answer) & Counter(target)).total()
    return _harmonic_mean(num_shared, answer, target)


def _longest(target: str, answer: str) -> float:
    """ROUGE-L as the package has it, in the time of a long answer too."""
    tokenize = _rouge().tokenizers.DefaultTokenizer().tokenize
    words, wanted = tokenize(answer), tokenize(target)
    return _harmonic_mean(longest_common_subsequence(words, wanted), words, wanted)


def longest_common_subsequence(words: Sequence[str], target: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    One bit per word of ``target``, so that a word of ``words`` costs three operations
    on integers (Hyyrö 2004); the package's table would take seconds and gigabytes.
    """
    places_by_word: dict[str, int] = {}
    for place, word in enumerate(target):
        places_by_word[word] = places_by_word.get(word, 0) | 1 << place
    everywhere = (1 << len(target)) - 1
    unmatched = everywhere
    for word in words:
        matches = unmatched & places_by_word.get(word, 0)
        unmatched = ((unmatched + matches) | (unmatched - matches)) & everywhere
    return len(target) - unmatched.bit_count()


def _harmonic_mean(
    num_shared: int, answer: Sequence[str], target: Sequence[str]
) -> float:
    """Of precision and recall: 0 where nothing is shared, if only for want of words."""
    return 2 * num_shared / (len(answer) + len(target)) if num_shared else 0.0


def _best(values: Sequence[float]) -> Verdict:
    value = max(values, default=0.0)
    return Verdict(value, "" if value == 1 else f"overlaps a target by {value:.2f}")


def _rouge() -> Any:  # noqa: ANN401 - the package has no annotations
    try:
        from rouge_score import rouge_scorer  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("scoring by ROUGE", "skills") from error
    return rouge_scorer
