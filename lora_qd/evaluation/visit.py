"""One candidate's time on an engine: its turns to generate, and where the time went."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from lora_qd.evaluation.stations import Station
from lora_qd.records import Completion, Member, Request, StageSeconds, Swap


class Stopwatch:
    """Gives every moment to one stage; begins in ``wait``."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(StageSeconds.__slots__, 0.0)
        self._stage = "wait"
        self._since = time.monotonic()

    def enter(self, stage: str) -> None:
        """End the stage so far and begin ``stage``."""
        now = time.monotonic()
        self._seconds[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def note(self, swap: Swap) -> None:
        """Take what ``swap`` took out of the wait in which it happened."""
        self.enter("wait")
        self._seconds["wait"] -= swap.materialise_s + swap.load_s
        self._seconds["materialise"] += swap.materialise_s
        self._seconds["load"] += swap.load_s

    def read(self) -> StageSeconds:
        """Return the seconds by stage up to now."""
        self.enter(self._stage)
        return StageSeconds(**self._seconds)


class Visit:
    """A member, or the base, on a station.

    It holds a turn from its first request in flight to its last: while its answers are
    executed, another candidate generates.
    """

    def __init__(
        self, station: Station, member: Member | None, order: int, watch: Stopwatch
    ) -> None:
        """Begin a visit.

        Args:
            station: where it has a place.
            member: who answers; None is the bare base.
            order: the lower, the sooner its turn.
            watch: keeps its time.
        """
        self._station = station
        self._member = member
        self._order = order
        self._watch = watch
        self._num_requests = 0
        self._has_turn = False
        self._turn_lock = asyncio.Lock()

    async def __aenter__(self) -> "Visit":
        """Have the engine make the member ready."""
        if self._member is not None:
            self._watch.note(await self._station.engine.add(self._member))
        self._watch.enter("score")
        return self

    async def __aexit__(self, *error: object) -> None:
        """Let the engine forget the member."""
        if self._member is not None:
            await self._station.engine.remove(self._member)

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Ask the candidate: what tasks are handed."""
        async with self._turn():
            with self._station.busy():
                return await self._station.engine.generate(self._member, requests)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Have a turn for the block; all requests of the visit share one."""
        self._num_requests += 1
        try:
            async with self._turn_lock:
                if not self._has_turn:
                    self._watch.enter("wait")
                    await self._station.turns.take(self._order)
                    self._has_turn = True
                    self._watch.enter("generate")
            yield
        finally:
            self._num_requests -= 1
            if not self._num_requests:
                self._watch.enter("score")
                if self._has_turn:
                    self._has_turn = False
                    self._station.turns.give_back()
