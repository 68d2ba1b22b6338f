"""Keeps the bare base and adapters out of each other's batches."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Lets any number of one side in, never two sides at once.

    Who waits first goes first: newcomers of the side that is inside queue behind those
    who wait for the other one, so that neither side starves.
    """

    def __init__(self) -> None:
        self._side = ""
        self._num_inside = 0
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def enter(self, side: str) -> AsyncIterator[None]:
        """Wait until nobody of another side is inside, then stay for the block."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((side, turn))
        self._let_in()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._num_inside -= 1
            self._let_in()

    def _let_in(self) -> None:
        """Admit from the front of the queue while the side inside stays the same."""
        while self._queue:
            side, turn = self._queue[0]
            if self._num_inside and side != self._side and not turn.cancelled():
                return
            self._queue.popleft()
            if not turn.cancelled():
                self._side = side
                self._num_inside += 1
                turn.set_result(None)
