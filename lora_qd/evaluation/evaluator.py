"""Scores members on tasks, several candidates in flight.

Not done here: the order of insertion (``runs.loop``) and what an engine does with a
batch. A failing engine or sandbox raises; it never becomes a score.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_qd.engines import Engine
from lora_qd.errors import InputError
from lora_qd.evaluation.groups import task_group
from lora_qd.records import Completion, Member, Request, Sample, Score, Scores, Split
from lora_qd.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one candidate reached on one split."""

    outcomes: Mapping[str, Mapping[str, Score]]
    """Scores by task, then by sample id."""
    seconds: float
    """Wall time from entering the engine to the last score."""

    @property
    def scores(self) -> Scores:
        """Mean score by task."""
        return {
            task: sum(s.value for s in by_sample.values()) / len(by_sample)
            for task, by_sample in self.outcomes.items()
        }

    @property
    def num_tokens(self) -> int:
        """Generated tokens over all tasks."""
        return sum(s.num_tokens for o in self.outcomes.values() for s in o.values())


class Evaluator:
    """Runs candidates through an engine, at most ``in_flight`` at once."""

    def __init__(
        self,
        engine: Engine,
        tasks: Mapping[str, Task],
        *,
        in_flight: int,
        num_samples: Mapping[Split, int] | None = None,
    ) -> None:
        """Bind an engine to tasks.

        Args:
            engine: who generates.
            tasks: by name; more may be here than a call scores.
            in_flight: most candidates that the engine holds at once.
            num_samples: at most so many samples of a split, per task; all by default.

        Raises:
            ValueError: ``in_flight`` is below 1.
        """
        if in_flight < 1:
            raise ValueError(f"expected in_flight >= 1, but got {in_flight}")
        self.tasks = dict(tasks)
        self._engine = engine
        self._num_samples = dict(num_samples or {})
        self._slots = asyncio.Semaphore(in_flight)

    async def evaluate(
        self, member: Member | None, split: Split, tasks: Sequence[str]
    ) -> Evaluation:
        """Score ``member`` (``None``: the bare base) on ``tasks``; waits for a slot."""
        async with self._slots:
            start = time.monotonic()
            if member is None:
                outcomes = await self._run_all(None, split, tasks)
            else:
                await self._engine.add(member)
                try:
                    outcomes = await self._run_all(member, split, tasks)
                finally:
                    await self._engine.remove(member)
            return Evaluation(outcomes, time.monotonic() - start)

    async def _run_all(
        self, member: Member | None, split: Split, tasks: Sequence[str]
    ) -> dict[str, dict[str, Score]]:
        async def generate(requests: Sequence[Request]) -> list[Completion]:
            return await self._engine.generate(member, requests)

        async def run(name: str, sample: Sample) -> Score:
            return await self.tasks[name].run(sample, generate)

        jobs: dict[tuple[str, str], asyncio.Task[Score]] = {}
        async with task_group() as group:
            for name in tasks:
                for sample in self._samples(name, split):
                    jobs[name, sample.id] = group.create_task(run(name, sample))
        outcomes: dict[str, dict[str, Score]] = {name: {} for name in tasks}
        for (name, sample_id), job in jobs.items():
            outcomes[name][sample_id] = job.result()
        return outcomes

    def _samples(self, task: str, split: Split) -> Sequence[Sample]:
        samples = self.tasks[task].samples(split)[: self._num_samples.get(split)]
        if not samples:
            raise InputError(
                f"expected samples of skill {task!r} in the {split} split, but there "
                "are none; check the skill's data"
            )
        return samples
