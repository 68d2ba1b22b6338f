"""The skills that a config names: built in, published, of the user's own, bridged.

The one place that knows all of them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)

from lora_qd.errors import InputError, SandboxError
from lora_qd.records import Split
from lora_qd.runs.consent import require_consent
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.tasks.agentbench import DatabaseTask, SystemTask
from lora_qd.tasks.bridges.inspect_task import InspectTask
from lora_qd.tasks.bridges.lm_eval_task import LmEvalTask
from lora_qd.tasks.coding import coding_task
from lora_qd.tasks.own import DataSkill, LmEvalSkill, OwnTask
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


def trainable_skills(config: MeasureConfig) -> dict[str, TrainableTask]:
    """Return the skills that experts of ``config`` can be trained for, by name.

    Raises:
        InputError: the data of one are wrong.
    """
    own = {
        name: OwnTask(name, skill, Sandbox())
        for name, skill in config.own_skills.items()
        if isinstance(skill, DataSkill)
    }
    return {**built_in_skills(), **own}


def load_skills(
    config: MeasureConfig,
    *,
    allow: bool = False,
    splits: Sequence[Split] | None = None,
) -> dict[str, Task]:
    """Return the skills of ``config`` for what executes nothing: samples and counts.

    Args:
        config: names them.
        allow: whether the user agrees to what they execute or send away.
        splits: what is needed of published and own skills; by default what a run
            reads.

    Raises:
        InputError: one is unknown, the source of its samples is wrong, a split that
            a run needs is empty, or consent is missing.
    """
    require_consent(config, is_given=allow)
    tasks = _skills(config, Sandbox(), _NoSystems())
    for name, task in published(tasks).items():
        read = list(SPLITS if name in config.skills else (Split.TEST,))
        needed = read if splits is None else splits
        empty = [split for split in needed if not task.samples(split)]
        if empty:
            raise InputError(
                f"expected samples of {name} in every split, but {', '.join(empty)} "
                f"has none of its {len(task.all_samples)}; change {_shares_of(task)}, "
                "or give it more samples"
            )
    return tasks


@asynccontextmanager
async def open_skills(config: MeasureConfig) -> AsyncIterator[Mapping[str, Task]]:
    """Start what executes answers, and yield the skills of ``config``, by name.

    Consent is asked for by :func:`load_skills`, which front ends call first.

    Raises:
        InputError: one is unknown, or the source of its samples is wrong.
        SandboxError: there is no working sandbox.
    """
    sandbox = Sandbox(config.sandbox_workers, num_remembered=_NUM_REMEMBERED)
    async with sandbox, _systems(config) as systems, AsyncExitStack() as stack:
        tasks = _skills(config, sandbox, systems)
        for task in tasks.values():
            if isinstance(task, OwnTask | InspectTask):
                stack.push_async_callback(task.close)
        yield tasks


def published(tasks: Mapping[str, Task]) -> dict[str, PublishedTask]:
    """Return those skills whose samples are a published benchmark's."""
    return {n: task for n, task in tasks.items() if isinstance(task, PublishedTask)}


def _skills(
    config: MeasureConfig, sandbox: Sandbox, systems: Systems
) -> dict[str, Task]:
    built_in = tiny_tasks(sandbox)
    tasks: dict[str, Task] = {}
    for name in config.all_skills:
        own = config.own_skill(name)
        if isinstance(own, DataSkill):
            tasks[name] = OwnTask(name, own, sandbox)
        elif isinstance(own, LmEvalSkill):
            tasks[name] = LmEvalTask(name, own.lm_eval)
        elif own is not None:
            tasks[name] = InspectTask(name, own.inspect)
        elif name in built_in:
            tasks[name] = built_in[name]
        elif name in config.benchmarks.known:
            tasks[name] = _published(config, name, sandbox, systems)
        else:
            known = (*built_in, *config.own_skills, *config.benchmarks.known)
            raise InputError(
                f"expected a skill out of {', '.join(sorted(known))}, lm-eval:<task> "
                f"or inspect:<task>, but got {name!r}; skills of your own are named "
                "in own_skills"
            )
    return tasks


def _shares_of(task: PublishedTask) -> str:
    """Return where the user says how the samples of ``task`` are split."""
    if isinstance(task, OwnTask):
        return "data.shares of the skill"
    if isinstance(task, LmEvalTask | InspectTask):
        return f"shares: in own_skills.{task.name}"
    return f"benchmarks.{task.name}.shares"


def _published(
    config: MeasureConfig, name: str, sandbox: Sandbox, systems: Systems
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


def _systems(config: MeasureConfig) -> AbstractAsyncContextManager[Systems]:
    if _SYSTEM_SKILL not in config.all_skills:
        return nullcontext(_NoSystems())
    return open_systems(config.systems)


class _NoSystems:
    """For what executes nothing."""

    def open(self, image: str = "default") -> AbstractAsyncContextManager[System]:
        raise SandboxError(
            f"expected systems to be open, but {image!r} was asked for without; this "
            "is a fault of loraqd, please report it"
        )
