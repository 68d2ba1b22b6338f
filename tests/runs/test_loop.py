"""The loop's order: batches, lag, and any order of completion."""

import asyncio
import random

import pytest

from lora_qd.errors import EngineError
from lora_qd.evaluation import Evaluation
from lora_qd.records import Member, Proposal, Score, StageSeconds
from lora_qd.runs.loop import Budget, run_search


class RecordingSearcher:
    """Remembers what it had been told whenever it was asked."""

    def __init__(self):
        self.told = []
        self.told_at_ask = []
        self.num_asked = 0

    def ask(self, n, known=()):
        if self.num_asked == 0:
            n = 3  # the seeds
        self.told_at_ask.append(len(self.told))
        first = self.num_asked
        self.num_asked += n
        return [
            Proposal(i, Member(f"m{i}", {}), (), "", {})
            for i in range(first, first + n)
        ]

    def tell(self, child, scores):
        self.told.append(child.index)
        return {}


def search(budget, *, seed=0, slow=0.003):
    searcher = RecordingSearcher()
    delays = random.Random(seed)
    running = {"now": 0, "most": 0}

    async def evaluate(proposal):
        running["now"] += 1
        running["most"] = max(running.values())
        await asyncio.sleep(delays.uniform(0, slow))
        running["now"] -= 1
        return Evaluation({"code": {"s": Score(0.5)}}, StageSeconds())

    def insert(proposal, evaluation):
        searcher.tell(proposal, evaluation.scores)

    asyncio.run(run_search(searcher, evaluate, insert, budget))
    return searcher, running["most"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lag", [0, 1, 3])
def test_children_are_inserted_in_the_order_of_their_birth(seed, lag):
    searcher, _ = search(Budget(children=20, batch=4, lag=lag), seed=seed)
    assert searcher.told == list(range(23))


@pytest.mark.parametrize("lag", [0, 1, 2])
@pytest.mark.parametrize("batch", [1, 4])
def test_batch_n_sees_exactly_the_batches_up_to_n_minus_1_minus_lag(batch, lag):
    searcher, _ = search(Budget(children=16, batch=batch, lag=lag))
    seeds = 3
    expected = [0] + [seeds + batch * max(0, n - lag) for n in range(16 // batch)]
    assert searcher.told_at_ask == expected


@pytest.mark.parametrize("num_known", [0, 2, 3, 5, 9, 19])
@pytest.mark.parametrize("lag", [0, 1])
def test_recorded_children_are_told_again_at_their_turn(num_known, lag):
    budget = Budget(children=16, batch=4, lag=lag)
    whole, _ = search(budget)
    searcher, evaluated = RecordingSearcher(), []

    async def evaluate(proposal):
        evaluated.append(proposal.index)
        return Evaluation({"code": {"s": Score(0.5)}}, StageSeconds())

    def insert(proposal, evaluation):
        searcher.tell(proposal, evaluation.scores)

    known = [
        (Proposal(i, Member(f"m{i}", {}), (), "", {}), {"code": 0.5})
        for i in range(num_known)
    ]
    asyncio.run(run_search(searcher, evaluate, insert, budget, known))
    assert searcher.told_at_ask == whole.told_at_ask
    assert searcher.told == list(range(19))
    assert sorted(evaluated) == list(range(num_known, 19))


def test_lag_0_is_the_textbook_loop():
    _, most = search(Budget(children=8, batch=1, lag=0))
    assert most == 3  # the seeds; afterwards one at a time


def test_the_budget_counts_bred_members_and_the_last_batch_may_be_short():
    searcher, _ = search(Budget(children=10, batch=4, lag=1))
    assert searcher.num_asked == 13


def test_no_children_still_scores_the_seeds():
    searcher, _ = search(Budget(children=0, batch=4, lag=1))
    assert searcher.told == [0, 1, 2]


def test_an_engine_error_stops_the_search_and_cancels_what_is_in_flight():
    searcher = RecordingSearcher()
    cancelled = []

    async def evaluate(proposal):
        if proposal.index == 4:
            raise EngineError("the engine is gone")
        try:
            await asyncio.sleep(0.01 if proposal.index < 3 else 10)
        except asyncio.CancelledError:
            cancelled.append(proposal.index)
            raise
        return Evaluation({"code": {"s": Score(0.5)}}, StageSeconds())

    def insert(proposal, evaluation):
        searcher.tell(proposal, evaluation.scores)

    with pytest.raises(EngineError, match="the engine is gone"):
        asyncio.run(run_search(searcher, evaluate, insert, Budget(8, 2, 1)))
    assert searcher.told == [0, 1, 2]
    assert 3 in cancelled
