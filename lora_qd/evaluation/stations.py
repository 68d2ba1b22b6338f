"""Engines as places for candidates: who is where, and how busy each engine is."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lora_qd.engines import Engine
from lora_qd.errors import EngineLostError
from lora_qd.evaluation.turns import Turns


class Station:
    """One engine and the candidates that it holds."""

    def __init__(self, engine: Engine, *, in_flight: int, ahead: int) -> None:
        self.engine = engine
        self.turns = Turns(in_flight)
        self.num_free = in_flight + ahead
        """Candidates that it can still take."""
        self._num_requests = 0
        self._busy_s = 0.0
        self._since = 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count the block as time with a request in flight."""
        if not self._num_requests:
            self._since = time.monotonic()
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1
            if not self._num_requests:
                self._busy_s += time.monotonic() - self._since

    @property
    def busy_s(self) -> float:
        """Seconds with a request in flight, up to now."""
        now = time.monotonic() - self._since if self._num_requests else 0.0
        return self._busy_s + now


class Stations:
    """Seats each candidate on the engine with most room, in the order of arrival."""

    def __init__(
        self, engines: Sequence[Engine], *, in_flight: int, ahead: int
    ) -> None:
        self._all = [Station(e, in_flight=in_flight, ahead=ahead) for e in engines]
        self._live = list(self._all)
        self._waiting: deque[asyncio.Future[Station]] = deque()

    async def take(self) -> Station:
        """Wait for a place; it is kept until :meth:`leave`.

        Raises:
            EngineLostError: no engine is left.
        """
        place: asyncio.Future[Station] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._seat()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # seated in the same moment
                self.leave(place.result())
            raise

    def leave(self, station: Station) -> None:
        """Give a place back."""
        station.num_free += 1
        self._seat()

    def drop(self, station: Station, error: EngineLostError) -> None:
        """Seat nobody on ``station`` any more.

        Raises:
            EngineLostError: ``error``, if it was the last engine.
        """
        if station in self._live:
            self._live.remove(station)
        if not self._live:
            raise error

    @property
    def busy_s(self) -> float:
        """Seconds with a request in flight, summed over the engines."""
        return sum(station.busy_s for station in self._all)

    @property
    def num_restarts(self) -> int:
        """Servers that were started again."""
        return sum(station.engine.num_restarts for station in self._all)

    @property
    def num_engines(self) -> int:
        """Engines, those lost since included."""
        return len(self._all)

    def _seat(self) -> None:
        while self._waiting:
            roomiest = max(self._live, key=lambda s: s.num_free, default=None)
            if roomiest is None or not roomiest.num_free:
                return
            place = self._waiting.popleft()
            if not place.done():
                roomiest.num_free -= 1
                place.set_result(roomiest)
