"""The skill ``general``: what the base can do before any expert; never optimised.

Copying, ordering and counting of words and numbers, scored by exact match. It measures
what a search forgets.
"""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from lora_qd.records import Generate, Sample, Score, Split
from lora_qd.tasks.task import single_turn
from lora_qd.tasks.tiny.code_templates import WORDS
from lora_qd.tasks.tiny.template import Draft, GeneratedSamples, Template

NAME = "general"
_MAX_TOKENS = 32

_COLUMNS = (
    "cost size age year rank mass score stock speed width name item kind code tag title"
)
_WORDS = (*WORDS, *_COLUMNS.split())


class GeneralTask:
    """Small exercises on words and numbers."""

    name = NAME

    def __init__(self) -> None:
        self._samples = GeneratedSamples(NAME, TEMPLATES)

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, always the same, in a fixed order."""
        return self._samples.samples(split)

    def training(self, seed: int, num: int | None) -> Sequence[Sample]:
        """Return ``num`` samples that occur in no other split, drawn by ``seed``."""
        return self._samples.training(seed, num)

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Ask the candidate and compare its answer with the target."""
        (completion,) = await generate([single_turn(sample.prompt, _MAX_TOKENS)])
        start = time.monotonic()
        is_right = completion.text.strip() == sample.target
        return Score(
            value=float(is_right),
            reason="" if is_right else f"expected {sample.target!r}",
            answer=completion.text,
            num_prompt_tokens=completion.num_prompt_tokens,
            num_tokens=completion.num_tokens,
            seconds=time.monotonic() - start,
        )


def _draw_words(rng: random.Random, low: int, high: int) -> list[str]:
    return rng.sample(_WORDS, rng.randint(low, high))


def _draft(
    rng: random.Random, phrases: Sequence[str], items: str, target: str
) -> Draft:
    return Draft(f"{rng.choice(phrases)}: {items}", target, {})


_WORD_EXERCISES: tuple[
    tuple[str, tuple[str, ...], Callable[[list[str]], str]], ...
] = (
    ("repeat", ("Repeat", "Say again"), " ".join),
    ("reverse", ("Reverse", "Say backwards"), lambda words: " ".join(words[::-1])),
    ("first", ("First word", "Which word comes first"), lambda words: words[0]),
    ("last", ("Last word", "Which word comes last"), lambda words: words[-1]),
    ("second", ("Second word", "Which word is second"), lambda words: words[1]),
    ("join", ("Join with commas", "Put commas between"), ", ".join),
    ("count", ("How many words", "Count the words"), lambda words: str(len(words))),
    ("drop first", ("All but the first word", "Drop the first word"),
     lambda words: " ".join(words[1:])),
    ("swap", ("Swap the first two words", "Exchange the first two words"),
     lambda words: " ".join([words[1], words[0], *words[2:]])),
    ("quote", ("Put each word in quotes", "Quote every word"),
     lambda words: " ".join(f"'{word}'" for word in words)),
    ("bracket", ("Put each word in brackets", "Brackets around every word"),
     lambda words: " ".join(f"({word})" for word in words)),
)  # fmt: skip


def _make_words(
    phrases: tuple[str, ...], solve: Callable[[list[str]], str], rng: random.Random
) -> Draft:
    words = _draw_words(rng, 3, 6)
    return _draft(rng, phrases, " ".join(words), solve(words))


def _make_numbers(
    phrases: tuple[str, ...], solve: Callable[[list[int]], int], rng: random.Random
) -> Draft:
    numbers = rng.sample(range(100), 2)
    return _draft(rng, phrases, " ".join(map(str, numbers)), str(solve(numbers)))


def _make_after(rng: random.Random) -> Draft:
    words = _draw_words(rng, 3, 6)
    index = rng.randrange(len(words) - 1)
    phrases = (f"Word after {words[index]}", f"What follows {words[index]}")
    return _draft(rng, phrases, " ".join(words), words[index + 1])


def _make_swap(rng: random.Random) -> Draft:
    a, b = rng.sample(range(100), 2)
    return _draft(rng, ("Swap", "Exchange"), f"{a} {b}", f"{b} {a}")


def _draw_pairs(rng: random.Random) -> tuple[list[tuple[str, int]], str]:
    words = _draw_words(rng, 2, 4)
    pairs = list(zip(words, rng.sample(range(100), len(words)), strict=True))
    return pairs, ", ".join(f"{word} {number}" for word, number in pairs)


def _make_lookup(rng: random.Random) -> Draft:
    pairs, shown = _draw_pairs(rng)
    word, number = rng.choice(pairs)
    return _draft(rng, (f"Number of {word}", f"Look up {word}"), shown, str(number))


def _make_owner(rng: random.Random) -> Draft:
    pairs, shown = _draw_pairs(rng)
    word, number = rng.choice(pairs)
    return _draft(rng, (f"Word with {number}", f"Who has {number}"), shown, word)


def _make_replace(rng: random.Random) -> Draft:
    words = _draw_words(rng, 4, 6)
    new, old = words.pop(), rng.choice(words)
    target = " ".join(new if word == old else word for word in words)
    phrases = (f"Write {new} for {old}", f"Change {old} to {new}")
    return _draft(rng, phrases, " ".join(words), target)


TEMPLATES = (
    *(
        Template(name, partial(_make_words, phrases, solve))
        for name, phrases, solve in _WORD_EXERCISES
    ),
    Template("larger", partial(_make_numbers, ("Larger number", "The larger of"), max)),
    Template(
        "smaller", partial(_make_numbers, ("Smaller number", "The smaller of"), min)
    ),
    Template("after", _make_after),
    Template("swap numbers", _make_swap),
    Template("lookup", _make_lookup),
    Template("owner", _make_owner),
    Template("replace", _make_replace),
)
"""Every kind of exercise."""
