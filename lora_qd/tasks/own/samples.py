"""The samples of a user's skill, made of the rows of its data."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from lora_qd.errors import InputError
from lora_qd.records import Message, Sample
from lora_qd.tasks.own.scorers.question import Question
from lora_qd.tasks.own.settings import DataSkill
from lora_qd.tasks.own.templates import render
from lora_qd.tasks.rows import Row


def question_of(skill: DataSkill, row: Row) -> Question:
    """Return the question that a row makes.

    Raises:
        InputError: the row lacks a field, or what it makes is empty.
    """
    before, prompt = _turns(skill, row)
    gold = render(skill.answer, row, what="answer").strip()
    for what, text in (("prompt", prompt), ("answer", gold)):
        if not text.strip():
            raise InputError(
                f"{row.where}: expected text from {what}, but it is empty; repair the "
                "row or the template"
            )
    sample = Sample(_id(skill, row), prompt, gold, before=before)
    return Question(sample, row, (gold, *_aliases(skill, row)))


def with_examples(question: Question, examples: Sequence[Question]) -> Question:
    """Return ``question`` with ``examples`` before it, after its instructions."""
    own = question.sample.before
    num_instructions = sum(turn.role == "system" for turn in own)
    shown = tuple(
        turn
        for example in examples
        for turn in (
            *(t for t in example.sample.before if t.role != "system"),
            Message("user", example.sample.prompt),
            Message("assistant", example.sample.target),
        )
    )
    before = (*own[:num_instructions], *shown, *own[num_instructions:])
    sample = replace(question.sample, before=before)
    return replace(question, sample=sample)


def _turns(skill: DataSkill, row: Row) -> tuple[tuple[Message, ...], str]:
    """Return what comes before the question, and the question."""
    if skill.prompt is not None:
        return (), render(skill.prompt, row, what="prompt")
    turns = [
        Message(turn.role, render(turn.content, row, what=f"messages[{n}].content"))
        for n, turn in enumerate(skill.messages)
    ]
    return tuple(turns[:-1]), turns[-1].content


def _aliases(skill: DataSkill, row: Row) -> tuple[str, ...]:
    if skill.aliases is None:
        return ()
    aliases = row.value(skill.aliases)
    if not isinstance(aliases, list) or not all(
        isinstance(alias, str) and alias.strip() for alias in aliases
    ):
        raise InputError(
            f"{row.where}: expected a list of texts in {skill.aliases!r}, but got "
            f"{str(aliases)[:80]}; repair the row"
        )
    return tuple(aliases)


def _id(skill: DataSkill, row: Row) -> str:
    """Return what names the row, whatever the skill and its prompt are called."""
    if skill.id is None:
        text = json.dumps(row.fields, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
    value = row.value(skill.id)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InputError(
            f"{row.where}: expected a text or a whole number in {skill.id!r}, but got "
            f"{value!r}; repair the row or name another field as id"
        )
    return str(value)
