"""Generated samples: templates composed by chance, split by the hash of the sample.

Membership follows from the sample's id alone, so the training generator cannot emit a
sample of another split, whatever its seed.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lora_qd.errors import InputError
from lora_qd.records import Sample, Split
from lora_qd.tasks.task import sample_id, split_of

SIZE_BY_SPLIT = {Split.SEARCH: 128, Split.VALIDATION: 256, Split.TEST: 400}
"""Samples of each split, per skill."""

_MOST_DRAWS_PER_SAMPLE = 1000
"""Beyond this a template has too few variants to fill a split."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A question before it has an id."""

    prompt: str
    target: str
    """The gold answer."""
    checks: Mapping[str, Any] = field(default_factory=dict)
    """Plain data for the scorer."""


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of question."""

    name: str
    make: Callable[[random.Random], Draft]
    """Fills the slots from the generator that it is handed, and from nothing else."""


class GeneratedSamples:
    """The samples of one skill, the same on every machine."""

    def __init__(self, task: str, templates: Sequence[Template]) -> None:
        """Bind the templates of the skill named ``task``; nothing is drawn yet."""
        self._task = task
        self._templates = tuple(templates)
        self._drawn = cache(self._draw_split)

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the samples of ``split``, in a fixed order, balanced over templates.

        Raises:
            ValueError: ``split`` is for training, which has no end.
        """
        if split not in SIZE_BY_SPLIT:
            raise ValueError(
                f"expected one of {', '.join(SIZE_BY_SPLIT)}, but got {split}; "
                "training samples come from training()"
            )
        return self._drawn(split)

    def training(self, seed: int, num: int | None) -> Sequence[Sample]:
        """Return ``num`` distinct training samples, drawn by ``seed``.

        Raises:
            InputError: ``num`` is None: there is no end.
        """
        if num is None:
            raise InputError(
                f"expected num_examples for the skill {self._task!r}, whose generator "
                "has no end; add for example num_examples: 5000"
            )
        return self._take(Split.TRAIN, num, f"{self._task}/training/{seed}")

    def _draw_split(self, split: Split) -> tuple[Sample, ...]:
        return self._take(split, SIZE_BY_SPLIT[split], f"{self._task}/{split}")

    def _take(self, split: Split, num: int, seed: str) -> tuple[Sample, ...]:
        rng = random.Random(seed)  # a string seeds alike on all versions
        taken: dict[str, Sample] = {}
        for template in self._in_turns(rng):
            if len(taken) == num:
                return tuple(taken.values())
            sample = self._draw(template, rng, split, taken)
            taken[sample.id] = sample
        raise ValueError(f"expected templates of {self._task!r}, but there are none")

    def _in_turns(self, rng: random.Random) -> Iterator[Template]:
        """Yield all templates in a fresh order, again and again."""
        while self._templates:
            yield from rng.sample(self._templates, len(self._templates))

    def _draw(
        self,
        template: Template,
        rng: random.Random,
        split: Split,
        taken: Mapping[str, Sample],
    ) -> Sample:
        for _ in range(_MOST_DRAWS_PER_SAMPLE):
            draft = template.make(rng)
            id_ = sample_id(self._task, draft.prompt)
            if id_ not in taken and split_of(id_) is split:
                return Sample(
                    id_, draft.prompt, draft.target, draft.checks, template.name
                )
        raise ValueError(
            f"expected more variants of the template {template.name!r} of "
            f"{self._task!r}; give it more slots"
        )
