"""Scores subjects on skills, sample by sample, and goes on where it was stopped."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_qd import __version__
from lora_qd.engines import (
    ChatEndpoint,
    Engine,
    PeftEngine,
    ProbedEngine,
    VllmEngine,
    check_effect,
)
from lora_qd.engines.loaded_adapters import WriteAdapter
from lora_qd.errors import InputError
from lora_qd.evaluation import Evaluator, task_group
from lora_qd.records import Generate, Member, Sample, Score, Split
from lora_qd.runs.engines import beginning_of, engine_settings, open_engines
from lora_qd.runs.measure_config import MeasureConfig
from lora_qd.runs.members import write_for_engine
from lora_qd.runs.score_table import ScoreTable, Values, score_rows
from lora_qd.runs.skills import SPLITS, open_skills
from lora_qd.runs.subjects import BASE, Subject
from lora_qd.store.base import base_shapes
from lora_qd.store.score_journal import Entry, ScoreJournal
from lora_qd.tasks.published import PublishedTask
from lora_qd.tasks.task import Task, single_turn

Extent = Literal["search", "validation", "test", "all"]
"""A split, or all samples."""
Pool = asyncio.Queue[Engine]
"""Engines that are free."""
_NUM_CANARIES = 8
"""Questions that prove that an adapter changes the base's answers."""


@dataclass(frozen=True, slots=True)
class ScoringWatcher:
    """What a front end wants to hear."""

    stage: Callable[[str], None]
    """Called with a sentence when something long begins."""
    progress: Callable[[int, int], None]
    """Called with the number of samples done, and of all."""


@dataclass(frozen=True, slots=True, eq=False)
class Scoring:
    """What is to be scored."""

    config: MeasureConfig
    subjects: Sequence[Subject]
    extent: Extent
    journal: ScoreJournal
    """Open; has what was scored before."""
    log: Path
    """Where vLLM writes."""
    watcher: ScoringWatcher


async def score_subjects(scoring: Scoring) -> ScoreTable:
    """Score every subject on every skill, and compare them with the first.

    Raises:
        InputError: a skill or its data is wrong, a split is empty, or the kind of
            engine is ray.
        EngineError: a server or an endpoint fails, or an adapter has no effect.
    """
    config = scoring.config
    if config.engine.kind == "ray":
        raise InputError(
            "expected engine.kind vllm or transformers, but got ray, which only a "
            "search uses; leave it out to evaluate on this machine"
        )
    async with open_skills(config) as tasks:
        bench = _Bench(scoring, tasks)
        async with bench.pools() as pool_of, task_group() as group:
            jobs = {
                subject.name: group.create_task(bench.score(subject, pool_of(subject)))
                for subject in scoring.subjects
            }
        values = {name: job.result() for name, job in jobs.items()}
    return ScoreTable(
        skills=config.skills,
        retention=config.retention,
        split=scoring.extent,
        num_samples={name: len(own) for name, own in bench.samples.items()},
        rows=score_rows(values, config.skills, config.retention, base=BASE),
        notes=tuple(subject.note for subject in scoring.subjects if subject.note),
    )


@asynccontextmanager
async def _open_peft(
    config: MeasureConfig, write: WriteAdapter
) -> AsyncIterator[Sequence[PeftEngine]]:
    """Yield the engine for platforms without vLLM; adapters share no core space."""
    engine = PeftEngine(
        config.base,
        write,
        dtype=config.engine.dtype,
        quantization="nf4" if config.engine.quantization == "nf4" else "none",
        max_model_len=config.engine.max_model_len,
    )
    async with engine:
        yield [engine]


def _pool(engines: Sequence[Engine]) -> Pool:
    pool: Pool = asyncio.Queue()
    for engine in engines:
        pool.put_nowait(engine)
    return pool


class _Bench:
    """Skills with their samples, and what is known of each subject's scores."""

    def __init__(self, scoring: Scoring, tasks: Mapping[str, Task]) -> None:
        self._scoring = scoring
        self._tasks = tasks
        self.samples = {name: self._samples_of(task) for name, task in tasks.items()}
        self._hashes = {n: _hash_of(scoring.config, n, t) for n, t in tasks.items()}
        self._num_done = 0
        self._num_all = len(scoring.subjects) * sum(map(len, self.samples.values()))

    @asynccontextmanager
    async def pools(self) -> AsyncIterator[Callable[[Subject], Pool | None]]:
        """Open the engines of those who have something left to answer.

        Yields what tells each subject's engines, of which it takes one.
        """
        scoring = self._scoring
        busy = [s for s in scoring.subjects if not self._is_done(s)]
        local = [subject for subject in busy if subject.endpoint is None]
        by_name: dict[str, Pool] = {}
        async with AsyncExitStack() as stack:
            if local:
                scoring.watcher.stage(beginning_of(scoring.config.engine))
                servers = await stack.enter_async_context(self._servers(local))
                by_name |= dict.fromkeys((s.name for s in local), _pool(servers))
            for subject in busy:
                if subject.endpoint is not None:
                    url, model, _ = subject.endpoint
                    endpoint = ChatEndpoint(url, model, api_key=subject.endpoint.key())
                    engine = await stack.enter_async_context(endpoint)
                    by_name[subject.name] = _pool([engine])
            yield lambda subject: by_name.get(subject.name)

    async def score(self, subject: Subject, pool: Pool | None) -> Values:
        """Return the scores by skill and sample; no engine is needed if all are known.

        Raises:
            EngineError: the adapter has no effect, or an engine fails.
        """
        journalled = {n: self._journalled(subject, t) for n, t in self._tasks.items()}
        if pool is None:
            return {n: self._values(n, task.known) for n, task in journalled.items()}
        engine = await pool.get()
        try:
            self._scoring.watcher.stage(f"Scoring {subject.name}")
            await self._check_effect(engine, subject.member)
            evaluator = Evaluator([engine], journalled, in_flight=1)
            names = list(journalled)
            found = await evaluator.evaluate(subject.member, Split.TEST, names)
        finally:
            pool.put_nowait(engine)
        return {n: self._values(n, scores) for n, scores in found.outcomes.items()}

    async def _check_effect(self, engine: Engine, member: Member | None) -> None:
        """Prove that an adapter changes what the base answers."""
        if member is not None and isinstance(engine, VllmEngine | PeftEngine):
            asked = [s for own in self.samples.values() for s in own][:_NUM_CANARIES]
            requests = [single_turn(sample.prompt, max_tokens=1) for sample in asked]
            await check_effect(engine, [member], requests)

    def _servers(
        self, subjects: Sequence[Subject]
    ) -> AbstractAsyncContextManager[Sequence[ProbedEngine]]:
        config = self._scoring.config
        updates = {s.name: s.update for s in subjects if s.update is not None}
        modules = {module for update in updates.values() for module in update}
        rank = max((subject.rank for subject in subjects), default=0) or 1
        settings = engine_settings(
            config, modules or _some_module(config.base), rank=rank
        )

        def write(member: Member, directory: Path) -> str:
            return write_for_engine(updates[member.id], directory, config)

        if config.engine.kind == "transformers":
            return _open_peft(config, write)
        return open_engines(config, settings, write, self._scoring.log)

    def _journalled(self, subject: Subject, task: Task) -> "_Journalled":
        known = self._known(subject, task.name)

        def keep(sample: Sample, score: Score) -> None:
            entry = Entry(
                subject=subject.name,
                identity=subject.identity,
                skill=task.name,
                skill_hash=self._hashes[task.name],
                sample=sample.id,
                target=sample.target,
                answer=score.answer,
                value=score.value,
                reason=score.reason,
                num_prompt_tokens=score.num_prompt_tokens,
                num_tokens=score.num_tokens,
                seconds=round(score.seconds, 6),
            )
            self._scoring.journal.append(entry)
            self._count(1)

        samples = self.samples[task.name]
        self._count(sum(sample.id in known for sample in samples))
        return _Journalled(task, samples, known, keep)

    def _count(self, num: int) -> None:
        self._num_done += num
        self._scoring.watcher.progress(self._num_done, self._num_all)

    def _known(self, subject: Subject, skill: str) -> Mapping[str, Score]:
        journal = self._scoring.journal
        return journal.known(subject.identity, self._hashes[skill])

    def _is_done(self, subject: Subject) -> bool:
        return all(
            sample.id in self._known(subject, skill)
            for skill, samples in self.samples.items()
            for sample in samples
        )

    def _values(self, skill: str, scores: Mapping[str, Score]) -> dict[str, float]:
        return {sample.id: scores[sample.id].value for sample in self.samples[skill]}

    def _samples_of(self, task: Task) -> Sequence[Sample]:
        extent, config = self._scoring.extent, self._scoring.config
        if extent == "all" and isinstance(task, PublishedTask):
            samples = task.all_samples
        elif extent == "all":
            samples = [sample for split in SPLITS for sample in task.samples(split)]
        else:
            limit = config.samples.by_split().get(Split(extent))
            samples = task.samples(Split(extent))[:limit]
        if not samples:
            raise InputError(
                f"expected samples of {task.name} in {extent}, but there are none; "
                "choose another --split, or change the skill's shares"
            )
        return samples


class _Journalled:
    """A task whose scores are written down as they come, and asked for only once."""

    def __init__(
        self,
        task: Task,
        samples: Sequence[Sample],
        known: Mapping[str, Score],
        keep: Callable[[Sample, Score], None],
    ) -> None:
        self.name = task.name
        self.known = known
        """Scores of earlier, by sample id."""
        self._task = task
        self._samples = samples
        self._keep = keep

    def samples(self, split: Split) -> Sequence[Sample]:  # noqa: ARG002 - chosen before
        """Return the samples to score."""
        return self._samples

    async def run(self, sample: Sample, generate: Generate) -> Score:
        """Score a sample unless it was scored before."""
        if sample.id in self.known:
            return self.known[sample.id]
        score = await self._task.run(sample, generate)
        self._keep(sample, score)
        return score


def _hash_of(config: MeasureConfig, name: str, task: Task) -> str:
    """Return what changes with everything that may change questions or scores."""
    own = config.own_skill(name)
    told = own.model_dump_json() if own else config.benchmarks.model_dump_json()
    source = task.sha256 if isinstance(task, PublishedTask) else f"built in {name}"
    parts = (__version__, name, source, told)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _some_module(base: str) -> tuple[str, ...]:
    """Return a linear layer of the base: a server with adapters on must name one."""
    shapes = base_shapes(base) or {"q_proj": (0, 0)}
    layers = [name for name in shapes if name.endswith("_proj")]
    return (layers[0] if layers else "q_proj",)
