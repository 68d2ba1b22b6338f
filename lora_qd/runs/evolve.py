"""One run from experts to final table."""

import asyncio
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lora_qd.evaluation import Evaluation
from lora_qd.factors import CoreSpace
from lora_qd.records import Member, Proposal, Split, Usage
from lora_qd.runs.config import RunConfig
from lora_qd.runs.costs import run_costs, spent
from lora_qd.runs.experts import ExpertAdapter
from lora_qd.runs.finals import AGGREGATE, BALANCED, Finals
from lora_qd.runs.heatmaps import save_heatmaps
from lora_qd.runs.loop import Budget, run_search
from lora_qd.runs.manifest import manifest
from lora_qd.runs.progress import Progress, meter
from lora_qd.runs.results import Results, Row, markdown, save_results
from lora_qd.runs.session import Session, open_session
from lora_qd.search import CycleQD
from lora_qd.search.cycleqd import expert_member
from lora_qd.store.files import write_bytes
from lora_qd.store.genomes import save_cores, save_space
from lora_qd.store.ledger import Ledger
from lora_qd.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Watcher:
    """What a front end wants to hear of a run."""

    stage: Callable[[str], None]
    """Called with a sentence when something long begins."""
    progress: Callable[[Progress], None]
    """Called after every inserted member."""


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A run under way."""

    config: RunConfig
    directory: RunDirectory
    ledger: Ledger
    session: Session
    searcher: CycleQD
    watcher: Watcher
    start: float
    """On the monotonic clock."""
    usage_id: int
    """Of this session in the ledger."""

    def keep_usage(self) -> Usage:
        """Record, and return, what the engines were used for so far."""
        usage = self.session.evaluator.usage
        self.ledger.keep_usage(self.usage_id, usage)
        return usage


async def evolve(
    config: RunConfig,
    adapters: Mapping[str, ExpertAdapter],
    directory: RunDirectory,
    watcher: Watcher,
) -> Results:
    """Search, choose, test and report; ``directory`` is locked and empty.

    Raises:
        EngineError: vLLM does not come up, fails, or ignores an expert.
        SandboxError: there is no working sandbox.
    """
    start = time.monotonic()
    watcher.stage("Starting vLLM")
    # Made first: whatever fails from here on, this is known to be a run's directory.
    with Ledger(directory.ledger, is_new=True) as ledger:
        async with open_session(config, adapters, directory.log) as session:
            _write_start(config, directory, session.space)
            ledger.write_manifest(manifest(config, adapters, session.tasks))
            settings = config.search.settings(config.merge_gains)
            searcher = CycleQD(session.experts, settings, seed=config.seed)
            run = _Run(
                config=config,
                directory=directory,
                ledger=ledger,
                session=session,
                searcher=searcher,
                watcher=watcher,
                start=start,
                usage_id=ledger.open_session(session.evaluator.usage),
            )
            await _search(run)
            results = await _finish(run)
    save_heatmaps(searcher.archives, directory.heatmaps)
    write_bytes(directory.table, markdown(results).encode())
    save_results(results, directory.results)
    return results


def _write_start(config: RunConfig, directory: RunDirectory, space: CoreSpace) -> None:
    directory.members.mkdir()
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_bytes(directory.config, text.encode())
    save_space(space, directory.space)


async def _search(run: _Run) -> None:
    search = run.config.search
    budget = Budget(search.children, search.batch, search.lag)
    progress = meter(run.searcher, run.searcher.num_seeds + search.children)
    run.watcher.stage(
        f"Searching: {run.searcher.num_seeds} seeds, then {search.children} children"
    )
    num_known = search.batch * (search.lag + 1)
    num_places = run.session.evaluator.num_places
    if num_known < num_places and search.lag:  # without lag it is the textbook loop
        run.watcher.stage(
            f"Note: the engines have places for {num_places} candidates, but only "
            f"search.batch x (search.lag + 1) = {num_known} are known at a time; the "
            "rest stays empty"
        )

    async def evaluate(proposal: Proposal) -> Evaluation:
        return await run.session.evaluator.evaluate(
            proposal.member, Split.SEARCH, run.config.skills
        )

    def insert(proposal: Proposal, evaluation: Evaluation) -> None:
        member = proposal.member
        save_cores(member.cores, run.directory.genome(member.id))
        run.ledger.commit(proposal, evaluation.outcomes, evaluation.stages)
        usage = run.keep_usage()
        run.searcher.tell(proposal, evaluation.scores)
        money = spent(usage, run.config.engine)
        run.watcher.progress(progress.count(evaluation, usage, money))

    await run_search(run.searcher, evaluate, insert, budget)


async def _finish(run: _Run) -> Results:
    config, experts = run.config, run.session.experts
    finals = Finals(
        run.searcher, run.session, run.ledger, config.engine.serve_rank, config.skills
    )
    run.watcher.stage("Choosing on the validation split")
    merge = await finals.best_merge(config.merge_gains)
    bred = await finals.best_bred(config.finalists)
    elites = finals.best_elites()
    aggregate = await finals.aggregate(elites)
    named: dict[str, Member | None] = {"base": None}
    named |= {f"expert {s}": expert_member(s, cores) for s, cores in experts.items()}
    named[f"best static {merge.id.replace('-', ' ')}"] = merge
    if bred is not None:
        named["best bred member"] = bred
    named[AGGREGATE] = aggregate
    run.watcher.stage("Scoring the final table on the test split")
    tasks = [*config.skills, *config.retention]
    rows = await asyncio.gather(*(finals.test(n, m, tasks) for n, m in named.items()))
    run.keep_usage()
    served = {AGGREGATE: aggregate, BALANCED: bred or merge, **elites}
    _keep(run, [m for m in [*named.values(), *served.values()] if m is not None])
    return _results(run, tuple(rows), served)


def _keep(run: _Run, members: list[Member]) -> None:
    """Leave the genomes of elites and named members, and no others."""
    for member in members:
        save_cores(member.cores, run.directory.genome(member.id))
    kept = run.searcher.elite_ids() | {member.id for member in members}
    for path in run.directory.members.glob("*.safetensors"):
        if path.name.removesuffix(".safetensors") not in kept:
            path.unlink()


def _results(run: _Run, rows: tuple[Row, ...], served: Mapping[str, Member]) -> Results:
    config = run.config
    values = run.ledger.values("base", Split.TEST)
    return Results(
        skills=config.skills,
        retention=config.retention,
        rows=rows,
        members={name: member.id for name, member in served.items()},
        num_samples={task: len(scores) for task, scores in values.items()},
        costs=run_costs(run.ledger, config.engine),
        notes={
            "seed": str(config.seed),
            "children": str(config.search.children),
            "processor": _processor(),
            "minutes": f"{(time.monotonic() - run.start) / 60:.1f}",
        },
    )


def _processor() -> str:
    """Return the processor's name as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()
