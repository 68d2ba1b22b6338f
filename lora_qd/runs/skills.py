"""The skills that a config names: built in, or of published benchmarks.

The one place that knows all of them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from lora_qd.errors import InputError, SandboxError
from lora_qd.records import Split
from lora_qd.runs.config import RunConfig
from lora_qd.tasks.agentbench import DatabaseTask, SystemTask
from lora_qd.tasks.coding import coding_task
from lora_qd.tasks.published import PublishedTask
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.sandbox.system import System, Systems
from lora_qd.tasks.sandbox.systems import open_systems
from lora_qd.tasks.task import Task, TrainableTask
from lora_qd.tasks.tiny import tiny_tasks

_NUM_REMEMBERED = 100_000
"""Outcomes of executed answers that are kept in memory, some 100 MB at most."""
_SYSTEM_SKILL = "agentbench-os"
SPLITS = (Split.SEARCH, Split.VALIDATION, Split.TEST)
"""What a run reads of the skills that it optimises."""


def built_in_skills() -> dict[str, TrainableTask]:
    """Return the built-in skills for what needs no sandbox: samples and training."""
    return tiny_tasks(Sandbox())


def load_skills(config: RunConfig) -> dict[str, Task]:
    """Return the skills of ``config`` for what executes nothing: samples and counts.

    Raises:
        InputError: one is unknown, the source of its samples is wrong, or a split that
            a run needs is empty.
    """
    tasks = _skills(config, Sandbox(), _NoSystems())
    for name, task in published(tasks).items():
        needed = SPLITS if name in config.skills else (Split.TEST,)
        empty = [split for split in needed if not task.samples(split)]
        if empty:
            raise InputError(
                f"expected samples of {name} in every split, but {', '.join(empty)} "
                f"has none; change benchmarks.{name}.shares, or name more files"
            )
    return tasks


@asynccontextmanager
async def open_skills(config: RunConfig) -> AsyncIterator[Mapping[str, Task]]:
    """Start what executes answers, and yield the skills of ``config``, by name.

    Raises:
        InputError: one is unknown, or the source of its samples is wrong.
        SandboxError: there is no working sandbox.
    """
    sandbox = Sandbox(config.sandbox_workers, num_remembered=_NUM_REMEMBERED)
    async with sandbox, _systems(config) as systems:
        yield _skills(config, sandbox, systems)


def published(tasks: Mapping[str, Task]) -> dict[str, PublishedTask]:
    """Return those skills whose samples are a published benchmark's."""
    return {n: task for n, task in tasks.items() if isinstance(task, PublishedTask)}


def _skills(config: RunConfig, sandbox: Sandbox, systems: Systems) -> dict[str, Task]:
    built_in = tiny_tasks(sandbox)
    known = {*built_in, *config.benchmarks.known}
    names = (*config.skills, *config.retention)
    unknown = sorted({*names} - known)
    if unknown:
        raise InputError(
            f"expected skills out of {', '.join(sorted(known))}, but got "
            f"{', '.join(unknown)}"
        )
    return {
        name: built_in.get(name) or _published(config, name, sandbox, systems)
        for name in names
    }


def _published(
    config: RunConfig, name: str, sandbox: Sandbox, systems: Systems
) -> PublishedTask:
    benchmarks = config.benchmarks
    if name == "agentbench-db" and benchmarks.agentbench_db:
        return DatabaseTask(benchmarks.agentbench_db, sandbox)
    if name == _SYSTEM_SKILL and benchmarks.agentbench_os:
        return SystemTask(benchmarks.agentbench_os, systems)
    settings = benchmarks.coding(name)
    if settings:
        return coding_task(name, settings, sandbox)
    raise InputError(
        f"expected benchmarks.{name} in the config, which names the data of the skill, "
        "but there is nothing; give it path: (files) or hub: (a data set)"
    )


def _systems(config: RunConfig) -> AbstractAsyncContextManager[Systems]:
    if _SYSTEM_SKILL not in (*config.skills, *config.retention):
        return nullcontext(_NoSystems())
    return open_systems(config.systems)


class _NoSystems:
    """For what executes nothing."""

    def open(self, image: str = "default") -> AbstractAsyncContextManager[System]:
        raise SandboxError(
            f"expected systems to be open, but {image!r} was asked for without; this "
            "is a fault of loraqd, please report it"
        )
