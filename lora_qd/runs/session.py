"""Everything that a run holds open: sandbox, tasks, engine, evaluator.

The composition root: the one place that names vLLM's engine and the built-in skills.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lora_qd.engines import (
    ProbedEngine,
    ServerSettings,
    VllmEngine,
    VllmServer,
    check_effect,
)
from lora_qd.errors import InputError
from lora_qd.evaluation import Evaluator
from lora_qd.factors import CoreSpace
from lora_qd.records import Cores, Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import ExpertAdapter
from lora_qd.runs.members import adapter_writer
from lora_qd.search.cycleqd import expert_member
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.task import Task, TrainableTask, single_turn
from lora_qd.tasks.tiny import tiny_tasks

_NUM_REMEMBERED = 100_000
"""Outcomes of executed answers that are kept in memory, some 100 MB at most."""
_NUM_CANARIES = 8
"""Questions per skill that prove that an expert changes the base's answers."""


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """What is open while members are scored."""

    space: CoreSpace
    experts: Mapping[str, Cores]
    """By skill, in the order of the config."""
    tasks: Mapping[str, Task]
    evaluator: Evaluator


@asynccontextmanager
async def open_session(
    config: RunConfig, adapters: Mapping[str, ExpertAdapter], log: Path
) -> AsyncIterator[Session]:
    """Start sandbox and vLLM, prove that every expert has an effect, and yield.

    Args:
        config: the run's.
        adapters: the expert of each skill.
        log: where vLLM's output goes.

    Raises:
        EngineError: vLLM does not come up or ignores an expert.
        SandboxError: there is no working sandbox.
    """
    space = CoreSpace.of([adapter.task_vector for adapter in adapters.values()])
    experts = {s: space.project(a.task_vector) for s, a in adapters.items()}
    async with Sandbox(
        config.sandbox_workers, num_remembered=_NUM_REMEMBERED
    ) as sandbox:
        tasks = tiny_tasks(sandbox)
        settings = engine_settings(config, space)
        writer = adapter_writer(space, config)
        async with (
            _server(settings, log) as server,
            VllmEngine(server, writer) as engine,
        ):
            await _check_experts(engine, experts, tasks)
            evaluator = Evaluator(
                engine,
                tasks,
                in_flight=config.engine.max_loras,
                num_samples=config.samples.by_split(),
            )
            yield Session(space, experts, tasks, evaluator)


def built_in_skills() -> dict[str, TrainableTask]:
    """Return the built-in skills for what needs no sandbox: samples and training."""
    return tiny_tasks(Sandbox())


def require_skills(config: RunConfig) -> None:
    """Refuse skills that do not exist.

    Raises:
        InputError: one is unknown; the message names those that exist.
    """
    known = built_in_skills()
    unknown = sorted({*config.skills, *config.retention} - set(known))
    if unknown:
        raise InputError(
            f"expected skills out of {', '.join(known)}, but got {', '.join(unknown)}"
        )


def engine_settings(config: RunConfig, space: CoreSpace) -> ServerSettings:
    """Return how vLLM serves the run's base and members."""
    engine = config.engine
    return ServerSettings(
        model=config.base,
        lora_target_modules=tuple(sorted({m.rpartition(".")[2] for m in space.bases})),
        max_loras=engine.max_loras,
        max_lora_rank=engine.serve_rank,
        dtype=engine.dtype,
        quantization=engine.quantization,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        start_timeout_s=engine.start_timeout_s,
    )


@asynccontextmanager
async def _server(settings: ServerSettings, log: Path) -> AsyncIterator[VllmServer]:
    """Keep a server up for the block; the event loop goes on while it starts."""
    server = VllmServer(settings, log)
    server.launch()
    try:
        await asyncio.to_thread(server.wait_ready)
        yield server
    finally:
        server.stop()


async def _check_experts(
    engine: ProbedEngine, experts: Mapping[str, Cores], tasks: Mapping[str, Task]
) -> None:
    """Prove that every expert changes what the base answers (design, section 6)."""
    requests = [
        single_turn(sample.prompt, max_tokens=16)
        for skill in experts
        for sample in tasks[skill].samples(Split.SEARCH)[:_NUM_CANARIES]
    ]
    members = [expert_member(skill, cores) for skill, cores in experts.items()]
    await check_effect(engine, members, requests)
