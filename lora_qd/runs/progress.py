"""How far a search is, in figures that a front end shows."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from lora_qd.archive import overall
from lora_qd.evaluation import Evaluation
from lora_qd.records import Usage
from lora_qd.search import CycleQD
from lora_qd.store.ledger import mean


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot after one more member was inserted."""

    num_done: int
    """Members inserted, the seeds among them."""
    num_total: int
    coverage: float
    """Share of occupied cells, mean over the archives."""
    qd_score: float
    """Sum over the archives."""
    best_mean: float
    """Best mean search score of any member so far, seeds included."""
    children_per_minute: float
    tokens_per_second: float
    """Generated tokens."""
    busy_share: float
    """Share of the time with a request in flight, mean over the engines."""
    money: float | None
    """Spent so far; None without a price."""
    seconds_left: float


class ProgressMeter:
    """Counts members and tokens since it was made."""

    def __init__(
        self, searcher: CycleQD, num_total: int, clock: Callable[[], float]
    ) -> None:
        self._searcher = searcher
        self._num_total = num_total
        self._clock = clock
        self._start = clock()
        self._num_done = 0
        self._num_tokens = 0
        self._best = 0.0

    def count(
        self, evaluation: Evaluation, usage: Usage, money: float | None
    ) -> Progress:
        """Count one inserted member; ``usage`` and ``money`` are the session's."""
        self._num_done += 1
        self._num_tokens += evaluation.num_tokens
        if not evaluation.num_left:
            self._best = max(self._best, mean(evaluation.scores))
        seconds = max(self._clock() - self._start, 1e-9)
        now = overall(self._searcher.archives.values())
        return Progress(
            num_done=self._num_done,
            num_total=self._num_total,
            coverage=now.coverage,
            qd_score=now.qd_score,
            best_mean=self._best,
            children_per_minute=60 * self._num_done / seconds,
            tokens_per_second=self._num_tokens / seconds,
            busy_share=usage.busy_s / max(usage.seconds * usage.num_engines, 1e-9),
            money=money,
            seconds_left=seconds / self._num_done * (self._num_total - self._num_done),
        )


def meter(searcher: CycleQD, num_total: int) -> ProgressMeter:
    """Return a meter on the monotonic clock."""
    return ProgressMeter(searcher, num_total, time.monotonic)
