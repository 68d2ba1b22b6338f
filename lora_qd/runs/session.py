"""Everything that a run holds open: sandbox, tasks, engines, evaluator."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lora_qd.engines import ProbedEngine, check_effect
from lora_qd.evaluation import Evaluator, task_group
from lora_qd.factors import CoreSpace
from lora_qd.records import Cores, Member, Split
from lora_qd.runs.config import RunConfig
from lora_qd.runs.experts import Span
from lora_qd.runs.opening import open_kind
from lora_qd.runs.skills import open_skills
from lora_qd.search.breeding import expert_member
from lora_qd.tasks.task import Task, single_turn

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
    config: RunConfig,
    span: Span,
    log: Path,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Session]:
    """Start sandbox and engines, prove that every expert has an effect, and yield.

    Args:
        config: the run's.
        span: the core space and the expert of each skill in it.
        log: where vLLM's output goes.
        say: hears of engines that come and go.

    Raises:
        InputError: there are too few accelerators, or no such cluster.
        EngineError: an engine does not come up or ignores an expert.
        SandboxError: there is no working sandbox.
    """
    space, experts = span.space, span.experts
    async with (
        open_skills(config) as tasks,
        open_kind(config, space, log, say) as engines,
    ):
        is_foreign = bool(config.engine.urls)
        check = partial(
            _check_experts, experts=experts, tasks=tasks, is_foreign=is_foreign
        )
        async with task_group() as group:
            for engine in engines.first:
                group.create_task(check(engine))
        evaluator = Evaluator(
            engines.first,
            tasks,
            in_flight=config.engine.max_loras,
            ahead=config.engine.ahead,
            num_samples=config.samples.by_split(),
            patience_s=engines.patience_s,
        )

        async def welcome(engine: ProbedEngine) -> None:
            await check(engine)
            evaluator.join(engine)

        async with task_group() as group:
            watch = group.create_task(engines.watch(welcome))
            yield Session(space, experts, tasks, evaluator)
            watch.cancel()


async def _check_experts(
    engine: ProbedEngine,
    *,
    experts: Mapping[str, Cores],
    tasks: Mapping[str, Task],
    is_foreign: bool,
) -> None:
    """Prove that every expert changes what the base answers (design, section 6)."""
    requests = [
        single_turn(sample.prompt, max_tokens=16)
        for skill in experts
        for sample in tasks[skill].samples(Split.SEARCH)[:_NUM_CANARIES]
    ]
    members = [expert_member(skill, cores) for skill, cores in experts.items()]
    await check_effect(engine, members, requests)
    if is_foreign:
        await check_effect(engine, by_kind(members[0]), requests[:_NUM_CANARIES])


def by_kind(member: Member) -> list[Member]:
    """Return one member per kind of module, such as ``q_proj``, that changes only it.

    A server that was started with fewer ``--lora-target-modules`` leaves the others out
    and says nothing; the one it leaves out has no effect.
    """
    kinds = sorted({module.rpartition(".")[2] for module in member.cores})
    return [
        Member(
            f"{member.id}/{kind}",
            {
                m: c if m.endswith(f".{kind}") else 0 * c
                for m, c in member.cores.items()
            },
        )
        for kind in kinds
    ]
