"""Engines as places for candidates: who is where, and how busy each engine is."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from lora_qd.engines import Engine
from lora_qd.errors import EngineLostError
from lora_qd.evaluation.turns import Turns


class Station:
    """One engine and the candidates that it holds."""

    def __init__(self, engine: Engine, *, in_flight: int, ahead: int) -> None:
        self.engine = engine
        self.since = time.monotonic()
        self.until: float | None = None
        """When it was lost; None: it is there."""
        self.turns = Turns(in_flight)
        self.num_free = in_flight + ahead
        """Candidates that it can still take."""
        self._num_requests = 0
        self._busy_s = 0.0
        self._busy_since = 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count the block as time with a request in flight."""
        if not self._num_requests:
            self._busy_since = time.monotonic()
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1
            if not self._num_requests:
                self._busy_s += time.monotonic() - self._busy_since

    @property
    def busy_s(self) -> float:
        """Seconds with a request in flight, up to now."""
        now = time.monotonic() - self._busy_since if self._num_requests else 0.0
        return self._busy_s + now


class Stations:
    """Seats each candidate on the engine with most room, in the order of arrival."""

    def __init__(self, *, in_flight: int, ahead: int, patience_s: float) -> None:
        """Begin without engines.

        Args:
            in_flight: candidates that generate at once on each engine.
            ahead: candidates more that each holds.
            patience_s: seconds to wait for another engine when the last is lost.
        """
        self._in_flight = in_flight
        self._ahead = ahead
        self._patience_s = patience_s
        self._all: list[Station] = []
        self._live: list[Station] = []
        self._waiting: deque[asyncio.Future[Station]] = deque()
        self._end: asyncio.TimerHandle | None = None
        self._gone: EngineLostError | None = None
        """Why there is no engine any more, nor will be."""

    def add(self, engine: Engine) -> None:
        """Seat candidates on one engine more."""
        station = Station(engine, in_flight=self._in_flight, ahead=self._ahead)
        self._all.append(station)
        self._live.append(station)
        if self._end is not None:
            self._end.cancel()
        self._gone = self._end = None
        self._seat()

    async def take(self) -> Station:
        """Wait for a place; it is kept until :meth:`leave`.

        Raises:
            EngineLostError: no engine is left.
        """
        if self._gone is not None:
            raise self._gone
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
            EngineLostError: ``error``, if it was the last engine and no other may come.
        """
        if station in self._live:
            self._live.remove(station)
            station.until = time.monotonic()
        if self._live:
            return
        if not self._patience_s or self._gone is not None:
            raise error
        if self._end is None:
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(self._patience_s, self._give_up, error)

    def _give_up(self, error: EngineLostError) -> None:
        """End the wait of all who wait, and of those to come."""
        self._gone, self._end = error, None
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)

    @property
    def busy_s(self) -> float:
        """Seconds with a request in flight, summed over the engines."""
        return sum(station.busy_s for station in self._all)

    @property
    def num_restarts(self) -> int:
        """Servers that were started again."""
        return sum(station.engine.num_restarts for station in self._all)

    @property
    def num_live(self) -> int:
        """Engines that are there."""
        return len(self._live)

    def num_engines(self, start: float) -> float:
        """Return the engines on average since ``start``, on the monotonic clock."""
        now = time.monotonic()
        whole = [s for s in self._live if s.since <= start]
        part = [s for s in self._all if s not in whole]
        seconds = sum((s.until or now) - max(start, s.since) for s in part)
        return len(whole) + seconds / max(now - start, 1e-9)

    def _seat(self) -> None:
        while self._waiting:
            roomiest = max(self._live, key=lambda s: s.num_free, default=None)
            if roomiest is None or not roomiest.num_free:
                return
            place = self._waiting.popleft()
            if not place.done():
                roomiest.num_free -= 1
                place.set_result(roomiest)
