"""Our loop against the naive one, on an engine that only waits, as for a GPU.

Loading takes as long as on a GPU, a round of generation as long as its slowest answer;
neither needs the processor, which here has only the answers to execute.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from lora_qd.evaluation import Evaluator
from lora_qd.records import Completion, Member, Request, Split, Swap
from lora_qd.runs.config import RunConfig
from lora_qd.tasks.sandbox import Sandbox
from lora_qd.tasks.task import Task
from lora_qd.tasks.tiny import tiny_tasks

LOAD_S = 0.2
GENERATE_S = 0.6
NUM_CANDIDATES = 24


class WaitingEngine:
    """Gives gold answers, late; every candidate's program differs by a comment."""

    num_restarts = 0

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._answers = {
            sample.prompt: sample.target
            for task in tasks.values()
            for sample in task.samples(Split.SEARCH)
        }

    async def add(self, member: Member) -> Swap:  # noqa: ARG002
        """Wait as for a swap."""
        await asyncio.sleep(LOAD_S)
        return Swap(LOAD_S / 2, LOAD_S / 2)

    async def generate(
        self,
        member: Member | None,  # noqa: ARG002
        requests: Sequence[Request],
    ) -> list[Completion]:
        """Wait as for the slowest of a batch."""
        await asyncio.sleep(GENERATE_S)
        return [
            Completion(self._answers[r.messages[-1].content], 40, 20, is_complete=True)
            for r in requests
        ]

    async def remove(self, member: Member) -> None:
        """Do nothing."""


async def loop_against_naive(config: RunConfig) -> list[str]:
    """Return a line per number of candidates in flight: seconds, and the ratio."""
    naive = await _seconds(config, in_flight=1, ahead=0)
    lines = [
        f"engine that waits ({LOAD_S} s to load, {GENERATE_S} s to generate): "
        f"naive {60 * NUM_CANDIDATES / naive:.0f} candidates a minute"
    ]
    for in_flight in (1, 2, 4, 8):
        ours = await _seconds(config, in_flight=in_flight, ahead=config.engine.ahead)
        rate = 60 * NUM_CANDIDATES / ours
        lines.append(f"  {in_flight} in flight: {rate:.0f}, {naive / ours:.1f}x")
    return lines


async def _seconds(config: RunConfig, *, in_flight: int, ahead: int) -> float:
    """Return what all candidates take; answers are executed, none is remembered."""
    async with Sandbox(config.sandbox_workers) as sandbox:
        tasks = tiny_tasks(sandbox)
        evaluator = Evaluator(
            [WaitingEngine(tasks)],
            tasks,
            in_flight=in_flight,
            ahead=ahead,
            num_samples={Split.SEARCH: 8},
        )
        members = [Member(f"m{n}", {}) for n in range(NUM_CANDIDATES)]
        start = time.perf_counter()
        if ahead:
            jobs = [evaluator.evaluate(m, Split.SEARCH, config.skills) for m in members]
            await asyncio.gather(*jobs)
        else:
            for member in members:
                await evaluator.evaluate(member, Split.SEARCH, config.skills)
        return time.perf_counter() - start
