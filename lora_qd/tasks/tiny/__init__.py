"""The skills of the tiny world: generated questions that a small model can learn."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lora_qd.tasks.task import TrainableTask
from lora_qd.tasks.tiny import code, database, shell
from lora_qd.tasks.tiny.code import CodeTask
from lora_qd.tasks.tiny.database import DatabaseTask
from lora_qd.tasks.tiny.general import GeneralTask
from lora_qd.tasks.tiny.shell import ShellTask

if TYPE_CHECKING:
    from lora_qd.tasks.sandbox import Sandbox

__all__ = [
    "BARE_LINES",
    "CodeTask",
    "DatabaseTask",
    "GeneralTask",
    "ShellTask",
    "tiny_tasks",
]

BARE_LINES: Mapping[str, Callable[[random.Random], str]] = {
    "code": code.bare_line,
    "database": database.bare_line,
    "shell": shell.bare_line,
}
"""Plausible lines of each skill's language, without a question."""


def tiny_tasks(sandbox: "Sandbox") -> dict[str, TrainableTask]:
    """Return the three skills to be good at and ``general``, by name, in order."""
    tasks: tuple[TrainableTask, ...] = (
        CodeTask(sandbox),
        DatabaseTask(sandbox),
        ShellTask(sandbox),
        GeneralTask(),
    )
    return {task.name: task for task in tasks}
