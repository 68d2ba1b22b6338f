"""Inspect's tasks as they are loaded in its process, and what is refused of them."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai._eval.loader import load_tasks
from inspect_ai._util.decorator import parse_decorators
from inspect_ai._util.registry import (
    is_registry_object,
    registry_info,
    registry_lookup,
)
from inspect_ai.dataset import Sample

from lora_qd.tasks.bridges.inspect_candidate import is_text

_GRADERS = {"model_graded_qa", "model_graded_fact"}


class Refusal(Exception):  # noqa: N818 - what the user is told
    """The task cannot be a skill; the message follows "but"."""


def load(spec: str, args: dict[str, Any], *, is_file: bool) -> Task:
    """Return the task.

    Args:
        spec: its name, or a file's.
        args: its own arguments.
        is_file: whether a file's Python may run; else an installed package's only.

    Raises:
        Refusal: there is none, or it cannot be a skill.
    """
    # Inspect takes whatever is no name for files, directories and patterns of them.
    if not (is_file or spec.startswith("hf/") or registry_lookup("task", spec)):
        raise Refusal(
            "no installed package has it; install the package, or write FILE.py@NAME"
        )
    try:
        tasks = load_tasks([spec], args)
    except Exception as error:
        raise Refusal(
            f"got {type(error).__name__}: {one_line(error)}{_hint(spec)}"
        ) from error
    if len(tasks) != 1:
        names = ", ".join(str(task.name) for task in tasks) or "no task"
        raise Refusal(f"found {names}; write FILE.py@NAME")
    [task] = tasks
    _check(task)
    return task


def by_id(task: Task) -> dict[str, Sample]:
    """Return the samples by what names them, in whatever order the task loads them.

    Raises:
        Refusal: one is not of text alone.
    """
    samples: dict[str, Sample] = {}
    num_equal: Counter[str] = Counter()
    for sample in task.dataset:
        name = _id_of(sample)
        num_equal[name] += 1
        number = f"-{num_equal[name]}" if num_equal[name] > 1 else ""
        samples[name + number] = sample
    return samples


def described(sample: Sample) -> dict[str, str]:
    """Return a sample's input and target as text."""
    return {"input": _text(sample), "target": _target(sample)}


def one_line(what: object) -> str:
    """Return the beginning of a text as one line."""
    return " ".join(str(what).split())[:300]


def _hint(spec: str) -> str:
    """Return what a file's tasks are, for who misspelt one."""
    path = Path(spec.partition("@")[0])
    if path.suffix != ".py":
        return ""
    if not path.is_file():
        return f"; there is no file {path}"
    try:
        names = [name for name, _ in parse_decorators(path, "task")]
    except SyntaxError:
        return ""
    return f"; the tasks of {path.name} are {', '.join(names) or 'none'}"


def _check(task: Task) -> None:
    sandboxes = [task.sandbox, *(sample.sandbox for sample in task.dataset)]
    if any(each is not None and each.type == "local" for each in sandboxes):
        raise Refusal(
            "its sandbox is 'local', which runs what the model wrote on this machine; "
            "give it another sandbox"
        )
    scorers = task.scorer or []
    for scorer in scorers if isinstance(scorers, list) else [scorers]:
        name = registry_info(scorer).name if is_registry_object(scorer) else ""
        if name.rpartition("/")[2] in _GRADERS:
            raise Refusal(
                f"its scorer {name} asks a model, here the candidate itself; score it "
                "otherwise, or write a skill with scorer: {kind: judge}"
            )
    if not scorers:
        raise Refusal("it has no scorer; add one")


def _id_of(sample: Sample) -> str:
    content = [sample.id if isinstance(sample.id, str) else "", _text(sample)]
    content += [_target(sample), json.dumps(sample.choices)]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()[:16]


def _text(sample: Sample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    if not all(map(is_text, sample.input)):
        raise Refusal(
            f"its sample {sample.id or one_line(sample.input[-1].text)!r} holds more "
            "than text; leave the task out"
        )
    return "\n\n".join(message.text for message in sample.input)


def _target(sample: Sample) -> str:
    return sample.target if isinstance(sample.target, str) else "\n".join(sample.target)
