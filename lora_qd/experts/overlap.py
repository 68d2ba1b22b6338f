"""Finds training examples that contain evaluation samples.

A sample is found in an example in two ways. *exact*: its prompt is a user's turn, or
the words of its prompt stand in the example in a row; words that all prompts begin or
end with need not. *13-gram*: 13 words in a row of its prompt and target stand in the
example, the length that Brown et al. (2020), appendix C, use for GPT-3.

Template text says nothing about a sample. It is what more than a tenth of the skill's
samples have, or of those with the sample's `Sample.template` (of fewer than 100
samples: more than ten, of fewer than 20: more than half); such 13-grams and prompts are
left out. So is text from between the slots of a template with a few equal values in
them. It is known by its pairs of neighbouring words: a pair is a sample's own if no
other sample has it, except those that share the whole text, such as a paragraph that
several questions are about. A 13-gram counts if nine different words of it are in own
pairs; a prompt of fewer than 13 words, if eight are, or else as a whole turn only.

Both are counted among at most 1,000 samples at a time, so that a large benchmark does
not come to share all its pairs.

What is not found: paraphrases and translations; shorter parts of samples; parts of
samples that a generator composed of few words; parts in languages without spaces; parts
of a sample of more than 2,000 words that are not among its first or last 1,000.
Examples and instructions before the prompt (`Sample.before`) are not compared. The
fewer samples of a generated skill are given, the less is known of its templates; give
all of them.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Literal

from lora_qd.experts.data import Example
from lora_qd.records import Sample

_NUM_WORDS = 13
_NUM_ANCHOR = 8
"""Words by which the start of a text is recognised."""
_MIN_OWN_OF_PROMPT = 8
_MIN_OWN_OF_NGRAM = 9
_MAX_GROUP = 1000
_MAX_WORDS = 2000
_WORD = re.compile(r"\w+")

Kind = Literal["exact", "13-gram"]
_KINDS: tuple[Kind, ...] = ("exact", "13-gram")
Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A sample of an evaluation that occurs in a training example."""

    skill: str
    sample: str
    """The sample's id."""
    example: int
    """The place of the first such example, from 0."""
    kind: Kind
    words: str
    """The text that they share, shortened."""


@dataclass(frozen=True, slots=True)
class _Needle:
    """A text to search for, and the samples that it gives away."""

    words: Words
    kind: Kind
    samples: tuple[tuple[str, str], ...]
    """Skill and id of each."""


def find_overlaps(
    examples: Sequence[Example], samples_by_skill: Mapping[str, Sequence[Sample]]
) -> list[Overlap]:
    """Return what of the samples occurs in the examples, in the order of the samples.

    A sample is named at most once of each kind, with the first example. Linear in the
    words of both.

    Args:
        examples: what an expert is to be trained on.
        samples_by_skill: all samples that any expert is evaluated on.
    """
    groups = [
        (skill, group)
        for skill, samples in samples_by_skill.items()
        for group in _groups(samples)
    ]
    turns = _merged(_whole_prompts(*group) for group in groups)
    needles: dict[Words, list[_Needle]] = defaultdict(list)
    for group in groups:
        for needle in (*_prompt_cores(*group), *_ngrams(*group)):
            needles[needle.words[:_NUM_ANCHOR]].append(needle)
    found: dict[tuple[str, str, Kind], Overlap] = {}
    for place, example in enumerate(examples):
        for needle in _found_in(example, turns, needles):
            for skill, sample in needle.samples:
                text = shorten(" ".join(needle.words), 100, placeholder=" ...")
                overlap = Overlap(skill, sample, place, needle.kind, text)
                found.setdefault((skill, sample, needle.kind), overlap)
    return [
        found[skill, sample.id, kind]
        for skill, group in groups
        for sample in group
        for kind in _KINDS
        if (skill, sample.id, kind) in found
    ]


def describe(overlaps: Sequence[Overlap]) -> str:
    """Return one line for an error: how many samples, of what, and what to do.

    Raises:
        ValueError: there are no overlaps.
    """
    if not overlaps:
        raise ValueError("expected at least one overlap to describe, but got none")
    num_by_skill = Counter(
        skill for skill, _ in {(o.skill, o.sample) for o in overlaps}
    )
    skills = ", ".join(f"{num_by_skill[s]} of {s}" for s in sorted(num_by_skill))
    total = num_by_skill.total()
    noun = "sample occurs" if total == 1 else "samples occur"
    first = overlaps[0]
    return (
        f"expected training examples without evaluation samples, but {total} {noun} in "
        f"them ({skills}), first {first.sample!r} of {first.skill} ({first.kind}: "
        f"{first.words!r}); remove those rows, or repeat with --allow-overlap"
    )


def _groups(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    """Yield the samples in groups of about equal size, of at most 1,000."""
    num = math.ceil(len(samples) / _MAX_GROUP)
    for n in range(num):
        yield samples[len(samples) * n // num : len(samples) * (n + 1) // num]


def _is_template(num: int, total: int) -> bool:
    """Return whether what ``num`` of ``total`` samples contain is template text."""
    return num > max(total / 10, min(10, total / 2), 1)


def _whole_prompts(skill: str, samples: Sequence[Sample]) -> dict[str, _Needle]:
    """Return what to search for as a user's turn, by its normalised text."""
    ids_by_prompt: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for sample in samples:
        ids_by_prompt[_normalised(sample.prompt)].append((skill, sample.id))
    return {
        prompt: _Needle(tuple(prompt.split()), "exact", tuple(ids))
        for prompt, ids in ids_by_prompt.items()
        if prompt and not _is_template(len(ids), len(samples))
    }


def _merged(parts: Iterable[Mapping[str, _Needle]]) -> dict[str, list[_Needle]]:
    merged: dict[str, list[_Needle]] = defaultdict(list)
    for part in parts:
        for text, needle in part.items():
            merged[text].append(needle)
    return dict(merged)


def _prompt_cores(skill: str, samples: Sequence[Sample]) -> Iterator[_Needle]:
    """Yield the prompts' words, less what all begin and end with."""
    prompts = [_words(sample.prompt) for sample in samples]
    start = end = 0
    if len(samples) > 1:
        start = _num_common(prompts)
        end = _num_common([prompt[start:][::-1] for prompt in prompts])
    cores = [tuple(prompt[start : len(prompt) - end]) for prompt in prompts]
    num_by_core, num_by_pair = Counter(cores), _num_by_pair(cores)
    for sample, core in zip(samples, cores, strict=True):
        num = num_by_core[core]
        is_long = len(core) >= _NUM_WORDS
        is_own = _num_own_words(core, num, num_by_pair) >= _MIN_OWN_OF_PROMPT
        if (is_long or is_own) and not _is_template(num, len(samples)):
            yield _Needle(core, "exact", ((skill, sample.id),))


def _num_common(texts: Sequence[Sequence[str]]) -> int:
    """Return how many words all texts begin with."""
    num_words = [len(set(column)) for column in zip(*texts, strict=False)]
    return next((n for n, num in enumerate(num_words) if num > 1), len(num_words))


def _ngrams(skill: str, samples: Sequence[Sample]) -> Iterator[_Needle]:
    """Yield the 13-grams that tell something about the samples they are in."""
    texts = [_ends(_words(f"{sample.prompt}\n{sample.target}")) for sample in samples]
    num_by_pair = _num_by_pair(texts)
    ngrams = [set(_runs(text, _NUM_WORDS)) for text in texts]
    template_text = _template_ngrams(samples, ngrams)
    ids_by_ngram: dict[Words, list[tuple[str, str]]] = defaultdict(list)
    for sample, own in zip(samples, ngrams, strict=True):
        for ngram in own:
            ids_by_ngram[ngram].append((skill, sample.id))
    for ngram, ids in ids_by_ngram.items():
        num_own = _num_own_words(ngram, len(ids), num_by_pair)
        if num_own >= _MIN_OWN_OF_NGRAM and ngram not in template_text:
            yield _Needle(ngram, "13-gram", tuple(ids))


def _num_by_pair(texts: Sequence[Sequence[str]]) -> Counter[Words]:
    """Return how many texts hold each pair of neighbouring words."""
    return Counter(pair for text in texts for pair in set(_runs(text, 2)))


def _num_own_words(
    words: Words, num_sharing: int, num_by_pair: Mapping[Words, int]
) -> int:
    """Return how many words are in pairs of only those ``num_sharing`` samples."""
    own = [pair for pair in _runs(words, 2) if num_by_pair[pair] <= num_sharing]
    return len({word for pair in own for word in pair})


def _template_ngrams(
    samples: Sequence[Sample], ngrams: Sequence[set[Words]]
) -> set[Words]:
    """Return what is template text in the skill or in any of its named templates."""
    members: dict[Hashable, list[set[Words]]] = defaultdict(list)
    for sample, own in zip(samples, ngrams, strict=True):
        members[None].append(own)
        if sample.template:
            members[sample.template].append(own)
    return {
        ngram
        for group in members.values()
        for ngram, num in Counter(ngram for own in group for ngram in own).items()
        if _is_template(num, len(group))
    }


def _found_in(
    example: Example,
    turns: Mapping[str, Sequence[_Needle]],
    needles: Mapping[Words, Sequence[_Needle]],
) -> Iterator[_Needle]:
    """Yield what of the needles is in ``example``."""
    for turn in example.turns:
        if turn.role == "user":
            yield from turns.get(_normalised(turn.content), ())
    words = _words("\n".join(turn.content for turn in example.turns))
    if needles.keys().isdisjoint(_runs(words, _NUM_ANCHOR)):  # nearly always
        return
    for place, anchor in enumerate(_runs(words, _NUM_ANCHOR)):
        for needle in needles.get(anchor, ()):
            if tuple(words[place : place + len(needle.words)]) == needle.words:
                yield needle


def _ends(words: Sequence[str]) -> Sequence[str]:
    """Return the words, or the first and last 1,000: a whole book fills the memory."""
    if len(words) <= _MAX_WORDS:
        return words
    return [*words[: _MAX_WORDS // 2], *words[-_MAX_WORDS // 2 :]]


def _runs(words: Sequence[str], num: int) -> Iterator[Words]:
    """Return all ``num`` words in a row."""
    return zip(*(words[skip:] for skip in range(num)), strict=False)


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
