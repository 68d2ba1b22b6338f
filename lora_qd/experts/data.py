"""Training examples from a skill's generator, a JSONL file or a Hub data set.

Strict: a row that cannot be read is an error that names it, never skipped.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lora_qd.errors import InputError
from lora_qd.experts.config import DataConfig, FileData, HubData, SkillData
from lora_qd.records import Message, Sample
from lora_qd.tasks.rows import Row, file_rows, hub_rows

_ROLE_BY_ALIAS = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation to learn from; the loss counts the assistant's turns only."""

    turns: tuple[Message, ...]
    """In order; the last is the assistant's."""


class ExampleSource(Protocol):
    """A skill that can be trained for."""

    def training(self, seed: int, num: int | None) -> Sequence[Sample]:
        """Return ``num`` samples, or all, of no other split, drawn by ``seed``."""
        ...


def load_examples(
    data: DataConfig,
    *,
    num: int | None,
    seed: int,
    skills: Mapping[str, ExampleSource],
) -> list[Example]:
    """Return the examples that ``data`` names, in an order drawn by ``seed``.

    Args:
        data: the source.
        num: how many to take; None takes all (a file or data set only).
        seed: seed of the generator and of the order.
        skills: the generators, by skill name.

    Raises:
        InputError: a source that cannot be read or does not hold what was asked for.
    """
    if isinstance(data, SkillData):
        return _from_skill(data.skill, num, seed=seed, skills=skills)
    rows = _rows(data)
    examples = [_example(row, data) for row in rows if _is_wanted(row, data.where)]
    name = str(data.file if isinstance(data, FileData) else data.hub)
    if not examples:
        chosen = f" where {data.where}" if data.where else ""
        raise InputError(f"expected examples in {name}{chosen}, but there are none")
    if num is not None and num > len(examples):
        raise InputError(
            f"expected at least {num} examples in {name}, but there are "
            f"{len(examples)}; lower num_examples"
        )
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[index] for index in order[:num]]


def example(prompt: str, completion: str) -> Example:
    """Return the example of one question and its answer."""
    return Example((Message("user", prompt), Message("assistant", completion)))


def _from_skill(
    name: str, num: int | None, *, seed: int, skills: Mapping[str, ExampleSource]
) -> list[Example]:
    if name not in skills:
        raise InputError(
            f"expected a skill that can be trained for, one of "
            f"{', '.join(sorted(skills)) or 'none'}, but got {name!r}; give the "
            "expert a file or a hub data set instead"
        )
    samples = skills[name].training(seed, num)
    if num is not None and len(samples) < num:
        raise InputError(
            f"expected {num} training examples of the skill {name!r}, but its "
            f"generator gave {len(samples)}; lower num_examples"
        )
    return [_of_sample(sample) for sample in samples[:num]]


def _of_sample(sample: Sample) -> Example:
    """Return the conversation as a candidate is asked it, with the gold answer."""
    asked = example(sample.prompt, sample.target)
    return Example((*sample.before, *asked.turns))


def _rows(data: FileData | HubData) -> Iterator[Row]:
    if isinstance(data, FileData):
        return file_rows(data.file)
    return hub_rows(
        data.hub, subset=data.subset, split=data.split, revision=data.revision
    )


def _is_wanted(row: Row, where: Mapping[str, str]) -> bool:
    """Return whether all patterns occur; what is no text is searched as JSON."""
    for field, pattern in where.items():
        value = row.value(field)
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if not re.search(pattern, text):
            return False
    return True


def _example(row: Row, data: FileData | HubData) -> Example:
    if row.fields.get(data.messages_field) is not None:
        turns = _turns(row, data.messages_field, speaker="")
    else:
        turns = _turns(row, data.prompt_field, speaker="user")
        turns += _turns(row, data.completion_field, speaker="assistant")
    while turns and turns[-1].role != "assistant":  # nothing to learn after it
        turns.pop()
    if len(turns) < 2:
        raise InputError(
            f"{row.where}: expected a question and then a turn of the assistant, but "
            "there is none; give roles user and assistant"
        )
    return Example(tuple(turns))


def _turns(row: Row, field: str, *, speaker: str) -> list[Message]:
    """Return the turns in a field: a list of turns, or one text said by ``speaker``."""
    value = row.fields.get(field)
    if not isinstance(value, list):
        if not speaker:
            raise InputError(
                f"{row.where}: expected a list of turns in {field!r}, but got "
                f"{type(value).__name__}"
            )
        return [Message(speaker, row.text(field))]
    turns = []
    for turn in value:
        fields = turn if isinstance(turn, dict) else {}
        role = fields.get("role", fields.get("from"))
        content = fields.get("content", fields.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise InputError(
                f"{row.where}: expected turns with texts for role and content in "
                f"{field!r}, but got {str(turn)[:80]}"
            )
        turns.append(Message(_ROLE_BY_ALIAS.get(role, role), content))
    return turns
