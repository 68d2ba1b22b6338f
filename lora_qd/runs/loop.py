"""The loop: ask, score, commit, tell; deterministic and never idle (design, section 4).

Batch n is proposed from the archives as they stand after batches 0 .. n-1-lag, inserted
in child order, whatever the order in which scores arrive. The seeds come first, as a
batch of their own that every later one waits for.

A run that goes on takes the same way: children that the ledger has are told again
instead of being scored, so whatever is proposed next is what would have been.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from lora_qd.evaluation import Evaluation, task_group
from lora_qd.records import Proposal, Scores
from lora_qd.search import Searcher

Evaluate = Callable[[Proposal], Coroutine[Any, Any, Evaluation]]
Insert = Callable[[Proposal, Evaluation], None]
"""Commits a scored child to the ledger, then tells the searcher."""
Recorded = Sequence[tuple[Proposal, Scores]]
"""The first children of a run as its ledger has them, by index."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to search."""

    children: int
    """Bred members, the seeds not counted."""
    batch: int
    """Children of one generation."""
    lag: int
    """Batches that may be proposed before the oldest one is inserted."""


async def run_search(
    searcher: Searcher,
    evaluate: Evaluate,
    insert: Insert,
    budget: Budget,
    recorded: Recorded = (),
) -> None:
    """Score the seeds, then breed until the budget is spent.

    An error of ``evaluate`` or ``insert`` cancels what is in flight and is raised.
    """
    known = [proposal for proposal, _ in recorded]
    async with task_group() as group:

        def submit(proposals: Sequence[Proposal]) -> list[_Job]:
            return [
                (p, None if p.index < len(known) else group.create_task(evaluate(p)))
                for p in proposals
            ]

        async def take_in(batch: Sequence[_Job]) -> None:
            """Insert one batch in child order, each child as soon as its turn comes."""
            for proposal, job in batch:
                if job is None:
                    searcher.tell(proposal, recorded[proposal.index][1])
                else:
                    insert(proposal, await job)

        seeds = searcher.ask(1, known)
        await take_in(submit(seeds))
        pending: deque[list[_Job]] = deque()
        num_asked, num_all = len(seeds), len(seeds) + budget.children
        while num_asked < num_all or pending:
            while num_asked < num_all and len(pending) <= budget.lag:
                n = min(budget.batch, num_all - num_asked)
                pending.append(
                    submit(searcher.ask(n, known[num_asked : num_asked + n]))
                )
                num_asked += n
            await take_in(pending.popleft())


_Job = tuple[Proposal, asyncio.Task[Evaluation] | None]
"""A child and its evaluation under way; None where the ledger has it."""
