"""Coalesces requests that arrive together into list calls."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

_Submission = tuple[Item, asyncio.Future[Result]]
_PATIENCE_S = 0.002  # tasks that start together submit within one turn of the loop


class Batcher(Generic[Key, Item, Result]):
    """Sends what arrives in the same moment under one key as few lists.

    A caller that is cancelled gives up its answer only; a list under way is finished,
    so that nothing is left half done in the engine.
    """

    def __init__(
        self,
        send: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_batch: int,
        max_in_flight: int,
    ) -> None:
        """Create a batcher.

        Args:
            send: answers a list of items of one key, one result per item, in order.
            max_batch: most items of a list.
            max_in_flight: most lists under way; the others wait in order of arrival.
        """
        self._send = send
        self._max_batch = max_batch
        self._slots = asyncio.Semaphore(max_in_flight)
        self._arrived: dict[Key, list[_Submission[Item, Result]]] = {}
        self._under_way: set[asyncio.Task[dict[int, Result]]] = set()

    async def submit(self, key: Key, item: Item) -> Result:
        """Return the result of ``item``; what ``send`` raises is raised here."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()
        if key not in self._arrived:
            self._arrived[key] = []
            loop.call_later(_PATIENCE_S, self._flush, key)
        self._arrived[key].append((item, result))
        return await result

    async def close(self) -> None:
        """Abandon what is under way; those who wait for it are cancelled."""
        for arrived in self._arrived.values():
            for _, result in arrived:
                result.cancel()
        self._arrived.clear()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _flush(self, key: Key) -> None:
        arrived = self._arrived.pop(key, [])
        for start in range(0, len(arrived), self._max_batch):
            batch = arrived[start : start + self._max_batch]
            task = asyncio.create_task(self._answer(key, batch))
            self._under_way.add(task)
            task.add_done_callback(partial(self._deliver, batch))

    async def _answer(
        self, key: Key, batch: Sequence[_Submission[Item, Result]]
    ) -> dict[int, Result]:
        """Return results by place in ``batch``; what nobody awaits is not sent."""
        async with self._slots:
            wanted = [n for n, (_, future) in enumerate(batch) if not future.done()]
            if not wanted:
                return {}
            results = await self._send(key, [batch[n][0] for n in wanted])
            return dict(zip(wanted, results, strict=True))

    def _deliver(
        self,
        batch: Sequence[_Submission[Item, Result]],
        task: asyncio.Task[dict[int, Result]],
    ) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        for n, (_, future) in enumerate(batch):
            if future.done():
                continue
            if task.cancelled():
                future.cancel()
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result()[n])
