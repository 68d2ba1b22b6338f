"""Scores members on tasks, several candidates in flight on each of several engines.

Not done here: the order of insertion (``runs.loop``) and what an engine does with a
batch. A failing engine or sandbox raises; it never becomes a score.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import count

from lora_qd.engines import Engine
from lora_qd.engines.groups import task_group
from lora_qd.errors import EngineLostError, InputError
from lora_qd.evaluation.stations import Stations
from lora_qd.evaluation.stopping import Samples, Stopping, Values
from lora_qd.evaluation.visit import Stopwatch, Visit
from lora_qd.records import (
    Generate,
    Member,
    Sample,
    Score,
    Scored,
    Scores,
    Split,
    Usage,
)
from lora_qd.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Evaluation(Scored):
    """What one candidate reached on one split, in figures."""

    @property
    def scores(self) -> Scores:
        """Mean score by task, over the samples that it was asked."""
        return {
            task: sum(s.value for s in by_sample.values()) / len(by_sample)
            for task, by_sample in self.outcomes.items()
        }

    @property
    def num_tokens(self) -> int:
        """Generated tokens over all tasks."""
        return sum(s.num_tokens for o in self.outcomes.values() for s in o.values())


class Evaluator:
    """Runs candidates through engines: no barriers, nothing lost with an engine.

    On each engine at most ``in_flight`` candidates have requests under way, and at
    most ``in_flight + ahead`` are there at all: loaded and waiting for a turn,
    generating, or done with it while their answers are executed. The others wait in
    order of arrival.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        tasks: Mapping[str, Task],
        *,
        in_flight: int,
        ahead: int = 1,
        num_samples: Mapping[Split, int] | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """Bind engines to tasks.

        Args:
            engines: who generates; a candidate stays on one of them.
            tasks: by name; more may be here than a call scores.
            in_flight: most candidates that generate on an engine at once.
            ahead: how many more an engine holds, ready or being scored.
            num_samples: at most so many samples of a split, per task; all by default.
            patience_s: how long to wait for another engine when the last is lost.

        Raises:
            ValueError: there is no engine, ``in_flight < 1`` or ``ahead < 0``.
        """
        if not engines or in_flight < 1 or ahead < 0:
            raise ValueError(
                "expected engines, in_flight >= 1 and ahead >= 0, but got "
                f"{len(engines)} engines, in_flight {in_flight} and ahead {ahead}"
            )
        self.tasks = dict(tasks)
        self._stations = Stations(
            in_flight=in_flight, ahead=ahead, patience_s=patience_s
        )
        self._num_samples = dict(num_samples or {})
        self._num_places = in_flight + ahead
        self._orders = count()
        for engine in engines:
            self._stations.add(engine)
        self._start = time.monotonic()

    def join(self, engine: Engine) -> None:
        """Take in one engine more."""
        self._stations.add(engine)

    async def evaluate(
        self,
        member: Member | None,
        split: Split,
        tasks: Sequence[str],
        stopping: Stopping | None = None,
    ) -> Evaluation:
        """Score ``member`` (``None``: the bare base) on ``tasks``; waits for a place.

        A candidate whose engine is lost for good begins again on another one.

        Args:
            member: who is asked.
            split: whose samples.
            tasks: by name.
            stopping: leaves it in the middle; without it, every sample is asked.

        Raises:
            EngineError: an adapter cannot be applied, or no engine is left.
        """
        samples = {task: self._samples(task, split) for task in tasks}
        order, watch = next(self._orders), Stopwatch()
        while True:
            station = await self._stations.take()
            try:
                async with Visit(station, member, order, watch) as visit:
                    outcomes = await self._run_all(visit.generate, samples, stopping)
                    stages = watch.read()
                return Evaluation(outcomes, stages, _size(samples) - _size(outcomes))
            except EngineLostError as error:
                self._stations.drop(station, error)
                watch.enter("wait")
            finally:
                self._stations.leave(station)

    @property
    def num_places(self) -> int:
        """Candidates that all engines together hold."""
        return self._stations.num_live * self._num_places

    @property
    def usage(self) -> Usage:
        """What the engines were used for since this was made."""
        return Usage(
            seconds=time.monotonic() - self._start,
            busy_s=self._stations.busy_s,
            num_engines=self._stations.num_engines(self._start),
            num_restarts=self._stations.num_restarts,
        )

    async def _run_all(
        self, generate: Generate, samples: Samples, stopping: Stopping | None
    ) -> dict[str, dict[str, Score]]:
        """Ask the samples, chunk by chunk if it may be left; return them in order."""
        done: dict[tuple[str, str], Score] = {}
        num_samples = {task: len(s) for task, s in samples.items()}
        for chunk in stopping.chunks(samples) if stopping else [samples]:
            done |= await self._run(generate, chunk)
            if stopping and len(done) < _size(samples):
                values = _values(samples, done)
                if stopping.may_leave(values, num_samples):
                    break
        return {
            task: {s.id: done[task, s.id] for s in every if (task, s.id) in done}
            for task, every in samples.items()
        }

    async def _run(
        self, generate: Generate, samples: Samples
    ) -> dict[tuple[str, str], Score]:
        """Ask samples all at once."""

        async def run(task: str, sample: Sample) -> Score:
            return await self.tasks[task].run(sample, generate)

        jobs: dict[tuple[str, str], asyncio.Task[Score]] = {}
        async with task_group() as group:
            for task, every in samples.items():
                for sample in every:
                    jobs[task, sample.id] = group.create_task(run(task, sample))
        return {question: job.result() for question, job in jobs.items()}

    def _samples(self, task: str, split: Split) -> Sequence[Sample]:
        samples = self.tasks[task].samples(split)[: self._num_samples.get(split)]
        if not samples:
            raise InputError(
                f"expected samples of skill {task!r} in the {split} split, but there "
                "are none; check the skill's data"
            )
        return samples


def _values(samples: Samples, done: Mapping[tuple[str, str], Score]) -> Values:
    return {
        task: [done[task, s.id].value for s in every if (task, s.id) in done]
        for task, every in samples.items()
    }


def _size(by_task: Mapping[str, Sized]) -> int:
    return sum(map(len, by_task.values()))
