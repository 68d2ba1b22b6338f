"""Training examples from a skill's generator, a JSONL file or a Hub data set.

Strict: a row that cannot be read is an error that names it, never skipped.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.experts.config import DataConfig, FileData, HubData, SkillData
from lora_qd.records import Message, Sample

_ROLE_BY_ALIAS = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation to learn from; the loss counts the assistant's turns only."""

    turns: tuple[Message, ...]
    """In order; the last is the assistant's."""


class ExampleSource(Protocol):
    """A skill that can be trained for."""

    def training(self, seed: int, num: int) -> Sequence[Sample]:
        """Return ``num`` samples that occur in no other split, drawn by ``seed``."""
        ...


@dataclass(frozen=True, slots=True)
class _Row:
    where: str
    """What an error calls the row."""
    fields: Mapping[str, Any]


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
    rows = _file_rows(data.file) if isinstance(data, FileData) else _hub_rows(data)
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
            f"expected a skill with a training generator, one of "
            f"{', '.join(sorted(skills)) or 'none'}, but got {name!r}"
        )
    if num is None:
        raise InputError(f"expected num_examples for the skill {name!r}; name a number")
    samples = skills[name].training(seed, num)
    if len(samples) < num:
        raise InputError(
            f"expected {num} training examples of the skill {name!r}, but its "
            f"generator gave {len(samples)}; lower num_examples"
        )
    return [example(sample.prompt, sample.target) for sample in samples[:num]]


def _file_rows(path: Path) -> Iterator[_Row]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"expected a JSONL file in UTF-8 at {path}, but got: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{where}: expected one JSON object, but got: {error.msg} at column "
                f"{error.colno}; repair or delete the line"
            ) from error
        if not isinstance(fields, dict):
            raise InputError(
                f"{where}: expected one JSON object, but got {type(fields).__name__}"
            )
        yield _Row(where, fields)


def _hub_rows(data: HubData) -> Iterator[_Row]:
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise MissingExtraError("reading a Hub data set", "train") from error
    try:
        rows = load_dataset(
            data.hub, data.subset, split=data.split, revision=data.revision
        )
    except (OSError, ValueError, DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"expected the data set {data.hub!r} with split {data.split!r}, but got: "
            f"{reason}; check the name, the split and the network"
        ) from error
    for number, fields in enumerate(rows):
        yield _Row(f"{data.hub}, row {number}", fields)


def _is_wanted(row: _Row, where: Mapping[str, str]) -> bool:
    """Return whether all patterns occur; what is no text is searched as JSON."""
    for field, pattern in where.items():
        value = _value(row, field)
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if not re.search(pattern, text):
            return False
    return True


def _example(row: _Row, data: FileData | HubData) -> Example:
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


def _turns(row: _Row, field: str, *, speaker: str) -> list[Message]:
    """Return the turns in a field: a list of turns, or one text said by ``speaker``."""
    value = row.fields.get(field)
    if not isinstance(value, list):
        if not speaker:
            raise InputError(
                f"{row.where}: expected a list of turns in {field!r}, but got "
                f"{type(value).__name__}"
            )
        return [Message(speaker, _text(row, field))]
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


def _text(row: _Row, field: str) -> str:
    value = _value(row, field)
    if not isinstance(value, str) or not value.strip():
        fact = "an empty text" if isinstance(value, str) else type(value).__name__
        raise InputError(f"{row.where}: expected text in {field!r}, but got {fact}")
    return value


def _value(row: _Row, field: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    if field not in row.fields:
        raise InputError(
            f"{row.where}: expected a field {field!r}, but the fields are "
            f"{', '.join(sorted(row.fields)) or 'none'}; name it in the config"
        )
    return row.fields[field]
