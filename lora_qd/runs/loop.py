"""The loop: ask, score, commit, tell; deterministic and never idle (design, section 4).

Batch n is proposed from the archives as they stand after batches 0 .. n-1-lag, inserted
in child order, whatever the order in which scores arrive. The seeds come first, as a
batch of their own that every later one waits for.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from lora_qd.evaluation import Evaluation, task_group
from lora_qd.records import Proposal
from lora_qd.search import Searcher

Evaluate = Callable[[Proposal], Coroutine[Any, Any, Evaluation]]
Insert = Callable[[Proposal, Evaluation], None]
"""Commits a scored child to the ledger, then tells the searcher."""


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
    searcher: Searcher, evaluate: Evaluate, insert: Insert, budget: Budget
) -> None:
    """Score the seeds, then breed until the budget is spent.

    An error of ``evaluate`` or ``insert`` cancels what is in flight and is raised.
    """
    async with task_group() as group:

        def submit(proposals: Sequence[Proposal]) -> list[_Job]:
            return [(p, group.create_task(evaluate(p))) for p in proposals]

        await _insert(submit(searcher.ask(1)), insert)
        pending: deque[list[_Job]] = deque()
        num_left = budget.children
        while num_left or pending:
            while num_left and len(pending) <= budget.lag:
                offspring = searcher.ask(min(budget.batch, num_left))
                num_left -= len(offspring)
                pending.append(submit(offspring))
            await _insert(pending.popleft(), insert)


_Job = tuple[Proposal, asyncio.Task[Evaluation]]


async def _insert(batch: Sequence[_Job], insert: Insert) -> None:
    """Insert one batch in child order, each child as soon as its turn comes."""
    for proposal, job in batch:
        insert(proposal, await job)
