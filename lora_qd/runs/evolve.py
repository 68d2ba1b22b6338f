"""One run from experts to final table."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lora_qd.evaluation import Evaluation
from lora_qd.records import Member, Proposal, Split, Usage
from lora_qd.runs.beginning import begin, fix_samples
from lora_qd.runs.config import RunConfig
from lora_qd.runs.costs import run_costs, spent
from lora_qd.runs.engines import beginning_of
from lora_qd.runs.experts import ExpertAdapter, Span
from lora_qd.runs.finals import AGGREGATE, BALANCED, Finals
from lora_qd.runs.history import bred_from, recorded_children, whole_history
from lora_qd.runs.lineage import Lineage
from lora_qd.runs.loop import Budget, run_search
from lora_qd.runs.machine import processor
from lora_qd.runs.manifest import about
from lora_qd.runs.progress import Progress, meter
from lora_qd.runs.results import Results, Row, markdown, save_results
from lora_qd.runs.session import Session, open_session
from lora_qd.runs.stopping import stopping_of
from lora_qd.runs.trackers import RunTrackers, open_run_trackers, require_trackers
from lora_qd.search import Breeder, CycleQD
from lora_qd.search.breeding import expert_member
from lora_qd.store.files import write_bytes
from lora_qd.store.genomes import save_genome
from lora_qd.store.ledger import ChildRow, Ledger, mean
from lora_qd.store.run_directory import RunDirectory

OpenSession = Callable[[RunConfig, Span, Path], AbstractAsyncContextManager[Session]]
"""Opens what scores members; by default :func:`open_session`."""


CHILDREN_BETWEEN_PRUNES = 100
"""Genomes that a run keeps on disk beyond those that it needs."""


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
    breeder: Breeder
    searcher: CycleQD
    watcher: Watcher
    trackers: RunTrackers
    start: float
    """On the monotonic clock."""
    usage_id: int
    """Of this session in the ledger."""

    def lineage_of(self, rows: Sequence[ChildRow]) -> Lineage:
        """Return how the children in ``rows`` came to be."""
        return Lineage(rows, self.ledger.genomes(), self.directory, self.breeder)

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
    opener: OpenSession | None = None,
) -> Results:
    """Search, choose, test and report: from the start, or on from where a run stood.

    ``directory`` is locked, and empty or a run that may go on with ``config``.

    Raises:
        InputError: base, experts or samples are not those that the run began with.
        StoreError: what is on disk is damaged.
        EngineError: vLLM does not come up, fails, or ignores an expert.
        SandboxError: there is no working sandbox.
        MissingExtraError: a tracker is not installed.
    """
    start = time.monotonic()
    require_trackers(config)
    # Made first: whatever fails from here on, this is known to be a run's directory.
    with Ledger(directory.ledger, is_writer=True) as ledger:
        span = begin(config, adapters, directory, ledger)
        rows = whole_history(ledger)
        settings = config.search.settings(config.merge_gains)
        breeder = Breeder(span.experts, settings, config.seed)
        usage_id = ledger.open_session(about(config))
        watcher.stage(beginning_of(config.engine))
        opener = opener or partial(open_session, say=watcher.stage)
        with open_run_trackers(config, directory, rows, watcher.stage) as trackers:
            async with opener(config, span, directory.log) as session:
                fix_samples(config, session.tasks, ledger)
                run = _Run(
                    config=config,
                    directory=directory,
                    ledger=ledger,
                    session=session,
                    breeder=breeder,
                    searcher=CycleQD(span.experts, settings, seed=config.seed),
                    watcher=watcher,
                    trackers=trackers,
                    start=start,
                    usage_id=usage_id,
                )
                await _search(run, rows)
                results = await _finish(run)
            write_bytes(directory.table, markdown(results).encode())
            save_results(results, directory.results)
            trackers.results(results, config.num_seeds + config.search.children - 1)
    return results


async def _search(run: _Run, rows: Sequence[ChildRow]) -> None:
    """Go on after the children in ``rows`` until the budget is spent."""
    search, num_recorded = run.config.search, len(rows)
    budget = Budget(search.children, search.batch, search.lag)
    num_all = run.config.num_seeds + search.children
    progress = meter(run.searcher, num_all - num_recorded)
    best = max((mean(r.scores) for r in rows if not r.num_left), default=0.0)
    _announce(run, num_recorded)

    def evaluate(proposal: Proposal) -> Coroutine[Any, Any, Evaluation]:
        """Begin at once, with the archives as they are when it is proposed."""
        stopping = stopping_of(
            search, run.config.seed, proposal.index, run.searcher.archives
        )
        return run.session.evaluator.evaluate(
            proposal.member, Split.SEARCH, run.config.skills, stopping
        )

    def insert(proposal: Proposal, evaluation: Evaluation) -> None:
        genome = save_genome(proposal.member.cores, run.directory)
        scores = evaluation.scores
        run.ledger.commit(proposal, genome, scores, evaluation)
        usage = run.keep_usage()
        run.searcher.tell(proposal, scores)
        if (proposal.index + 1) % CHILDREN_BETWEEN_PRUNES == 0:
            _prune(run)
        shown = progress.count(evaluation, usage, spent(usage, run.config.engine))
        shown = replace(
            shown,
            num_done=num_recorded + shown.num_done,
            num_total=num_all,
            best_mean=max(best, shown.best_mean),
        )
        run.trackers.child(proposal.index, scores, run.searcher.archives, shown)
        run.watcher.progress(shown)

    recorded = recorded_children(rows, run.lineage_of(rows))
    await run_search(run.searcher, evaluate, insert, budget, recorded)


def _announce(run: _Run, num_recorded: int) -> None:
    """Say what is searched, and where engines will idle."""
    search = run.config.search
    before = f" ({num_recorded} of them are done)" if num_recorded else ""
    run.watcher.stage(
        f"Searching: {run.config.num_seeds} seeds, then {search.children} children"
        f"{before}"
    )
    num_known = search.batch * (search.lag + 1)
    num_places = run.session.evaluator.num_places
    if num_known < num_places and search.lag:  # without lag it is the textbook loop
        run.watcher.stage(
            f"Note: the engines have places for {num_places} candidates, but only "
            f"search.batch x (search.lag + 1) = {num_known} are known at a time; the "
            "rest stays empty"
        )


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
    tasks = list(config.all_skills)
    rows = await asyncio.gather(*(finals.test(n, m, tasks) for n, m in named.items()))
    run.keep_usage()
    served = {AGGREGATE: aggregate, BALANCED: bred or merge, **elites}
    _keep(run, [m for m in [*named.values(), *served.values()] if m is not None])
    return _results(run, tuple(rows), served)


def _prune(run: _Run) -> None:
    """Delete genomes that nobody breeds from any more; they can be bred again."""
    rows = run.ledger.children()
    lineage = run.lineage_of(rows)
    needed = run.searcher.elite_ids() | bred_from(rows, run.config)
    needed |= {row.member for row in rows if not row.parents}
    kept = {lineage.path(row.member) for row in rows if row.member in needed}
    for path in {lineage.path(row.member) for row in rows} - kept:
        path.unlink(missing_ok=True)


def _keep(run: _Run, members: list[Member]) -> None:
    """Leave the genomes of elites, named members and parents to be, and no others."""
    rows = run.ledger.children()
    bred = {row.member for row in rows}
    kept = set()
    for member in members:
        genome = save_genome(member.cores, run.directory)
        kept.add(genome)
        if member.id not in bred:
            run.ledger.keep_genome(member.id, genome)
    lineage = run.lineage_of(rows)
    needed = run.searcher.elite_ids() | bred_from(rows, run.config)
    paths = {lineage.path(row.member): row for row in rows if row.member in needed}
    for path, row in paths.items():
        if not path.is_file():
            save_genome(lineage.cores(row.member), run.directory)
    for path in run.directory.members.glob("*.safetensors"):
        if path not in paths and path.stem not in kept:
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
            "processor": processor(),
            "minutes": f"{_seconds(run) / 60:.1f}",
        },
    )


def _seconds(run: _Run) -> float:
    """Return what all sessions took together."""
    earlier = run.ledger.sessions()[:-1]
    return time.monotonic() - run.start + sum(usage.seconds for usage in earlier)
