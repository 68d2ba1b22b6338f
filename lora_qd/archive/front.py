"""What an archive does not tell: who is beaten on no task, and how much that covers."""

from collections.abc import Sequence

import numpy as np

_NUM_POINTS = 1 << 14


class ParetoFront:
    """The solutions that no other one equals or beats on every task."""

    def __init__(self, tasks: Sequence[str]) -> None:
        """Start empty; ``tasks`` names the objectives, higher is better."""
        self.tasks = tuple(tasks)
        self.ids: list[str] = []
        """In the order in which they came."""
        self._scores = np.empty((0, len(self.tasks)))

    @property
    def scores(self) -> np.ndarray:
        """``(num, num_tasks)``, in the order of ``ids``."""
        return self._scores

    def add(self, solution: str, scores: Sequence[float]) -> bool:
        """Offer a solution; return whether the front changed.

        The first of two with equal scores stays.
        """
        new = np.asarray(scores, dtype=np.float64)
        if (self._scores >= new).all(axis=1).any():
            return False
        stays = ~(self._scores <= new).all(axis=1)
        kept = np.flatnonzero(stays)
        self.ids = [*(self.ids[i] for i in kept), solution]
        self._scores = np.vstack([self._scores[stays], new])
        return True


class Hypervolume:
    """The share of [0, 1]^K that lies below some solution (Zitzler & Thiele 1998).

    The reference point is 0 on every task. It is estimated, for any K, as the share of
    16,384 fixed random points that a solution equals or beats on every task: the
    standard error is 0.004 at most, and since the points stay the same it never falls
    as solutions come.
    """

    def __init__(self, num_tasks: int) -> None:
        rng = np.random.default_rng(0)
        self._above = rng.random((_NUM_POINTS, num_tasks))

    @property
    def value(self) -> float:
        """In [0, 1]."""
        return 1.0 - len(self._above) / _NUM_POINTS

    def add(self, scores: Sequence[float]) -> None:
        """Count what a solution with these scores covers."""
        is_below = (self._above <= np.asarray(scores, dtype=np.float64)).all(axis=1)
        self._above = self._above[~is_below]
