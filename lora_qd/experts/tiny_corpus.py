"""What the tiny Llama reads before any expert: generated text, mixed by shares.

All of it is in chat format, so that experts need not learn the format. Questions come
from the training generators, never from a split that is scored.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_qd.records import Sample

_ASK_FOR_LINE = {"code": "Some Python", "database": "Some SQL", "shell": "Some bash"}
_ASK_TO_REPEAT = ("Repeat", "Say again")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of what one stage reads; they sum to 1."""

    general: float
    """Exercises of the skill ``general``, answered."""
    line: float
    """Lines of the skills' languages without a question."""
    question: float
    """Questions of the skills without an answer."""
    repeat: float
    """Lines to repeat."""
    solved: Mapping[str, float]
    """Questions with their answers, by skill."""

    def shares(self) -> dict[str, float]:
        """Return all shares by kind; solved questions go by the skill's name."""
        plain = {"general": self.general, "line": self.line}
        return {
            **plain,
            "question": self.question,
            "repeat": self.repeat,
            **self.solved,
        }


@dataclass(frozen=True, slots=True)
class Passage:
    """One conversation of the corpus."""

    prompt: str
    answer: str
    """Empty where only the question is read."""
    is_question_learned: bool
    """Whether the loss counts the prompt instead of the answer."""


@dataclass(frozen=True, slots=True)
class Source:
    """A skill as a source of text."""

    samples: Sequence[Sample]
    """Training samples."""
    bare_line: Callable[[random.Random], str]


class Corpus:
    """An endless stream of passages."""

    def __init__(
        self, sources: Mapping[str, Source], general: Sequence[Sample]
    ) -> None:
        """Bind the skills' texts, by skill name, and the general exercises."""
        self._sources = dict(sources)
        self._general = general

    def passages(self, mixture: Mixture, rng: random.Random) -> Iterator[Passage]:
        """Yield passages for ever, drawn by ``rng`` with the shares of ``mixture``."""
        kinds, weights = zip(*mixture.shares().items(), strict=True)
        while True:
            (kind,) = rng.choices(kinds, weights)
            yield self._draw(kind, rng)

    def lines(self, num: int, rng: random.Random) -> Iterator[str]:
        """Yield prompts and answers for the tokenizer, ``num`` of each source."""
        for samples in (self._general, *(s.samples for s in self._sources.values())):
            for sample in rng.sample(samples, min(num, len(samples))):
                yield sample.prompt
                yield sample.target

    def _draw(self, kind: str, rng: random.Random) -> Passage:
        if kind == "general":
            return _solved(rng.choice(self._general))
        if kind in self._sources:
            return _solved(rng.choice(self._sources[kind].samples))
        skill = rng.choice(tuple(self._sources))
        source = self._sources[skill]
        if kind == "question":
            return Passage(rng.choice(source.samples).prompt, "", True)
        line = source.bare_line(rng)
        if kind == "repeat":
            return Passage(f"{rng.choice(_ASK_TO_REPEAT)}: {line}", line, False)
        return Passage(_ASK_FOR_LINE[skill], line, False)


def tiny_corpus(seed: int, *, num_of_skill: int, num_general: int) -> Corpus:
    """Return the corpus of the built-in skills, its samples drawn by ``seed``.

    Args:
        seed: seed of the training generators.
        num_of_skill: distinct questions of each skill.
        num_general: distinct general exercises.
    """
    from lora_qd.tasks.sandbox import Sandbox
    from lora_qd.tasks.tiny import BARE_LINES, tiny_tasks

    tasks: dict[str, Any] = dict(tiny_tasks(Sandbox()))  # nothing is executed here
    sources = {
        skill: Source(tasks[skill].training(seed, num_of_skill), bare_line)
        for skill, bare_line in BARE_LINES.items()
    }
    return Corpus(sources, tasks["general"].training(seed, num_general))


def _solved(sample: Sample) -> Passage:
    return Passage(sample.prompt, sample.target, False)
