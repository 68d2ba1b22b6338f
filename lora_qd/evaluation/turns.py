"""Whose turn it is to generate."""

import asyncio
import heapq
from itertools import count


class Turns:
    """At most so many at once; of those who wait, the one born first goes first.

    A child that is late holds up the insertion of all that were born after it, so that
    one that comes back for another round passes those that have not begun.
    """

    def __init__(self, num_turns: int) -> None:
        self._num_free = num_turns
        self._arrivals = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def take(self, order: int) -> None:
        """Wait for a turn; it is kept until :meth:`give_back`."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (order, next(self._arrivals), turn))
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # granted in the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """Leave a turn to the next."""
        self._num_free += 1
        self._grant()

    def _grant(self) -> None:
        while self._num_free and self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._num_free -= 1
                turn.set_result(None)
