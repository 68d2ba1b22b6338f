"""Adapters that are made when somebody asks for them, and forgotten when nobody does.

A name is never made part of a path, and a path is never used twice: vLLM keeps what it
has computed by name and path. Not known here: HTTP, vLLM, what a member is.
"""

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lora_qd.errors import LoraQDError

Materialise = Callable[[str, Path], Path]
"""Writes the member of a name below a directory; returns the PEFT directory."""
GRACE_S = 10.0
"""Seconds after its last request in which an adapter's files stay: vLLM may still end
what a client has broken off."""


@dataclass(slots=True)
class _Place:
    directory: Path
    adapter: Path
    num_users: int
    last_use: float


class Shelf:
    """Holds so many adapters; safe to use from several threads."""

    def __init__(
        self,
        materialise: Materialise,
        root: Path,
        *,
        capacity: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold at most ``capacity`` adapters below ``root`` that nobody uses."""
        self._materialise = materialise
        self._root = root
        self._capacity = capacity
        self._clock = clock
        self._numbers = itertools.count()
        self._places: dict[str, _Place] = {}
        self._making = threading.Lock()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def find(self, name: str) -> Path:
        """Return the adapter of ``name``, made if it is not there.

        Raises:
            LoraQDError: there is no such member, or it is damaged.
        """
        found = self._found(name)
        if found is None:
            with self._making:  # two first requests make one adapter
                found = self._found(name) or self._make(name)
        return found

    def _found(self, name: str) -> Path | None:
        with self._lock:
            place = self._places.get(name)
            if place is None:
                return None
            place.last_use = self._clock()
            return place.adapter

    def _make(self, name: str) -> Path:
        directory = self._root / str(next(self._numbers))
        directory.mkdir(parents=True)
        try:
            adapter = self._materialise(name, directory)
        except BaseException as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, OSError):
                raise LoraQDError(
                    f"expected room for an adapter in {self._root}, but got: "
                    f"{error.strerror}; free space there"
                ) from error
            raise
        with self._lock:
            self._places[name] = _Place(directory, adapter, 0, self._clock())
        return adapter

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Keep the adapter of ``name`` as long as the block lasts.

        Raises:
            LoraQDError: as :meth:`find`.
        """
        while True:
            self.find(name)
            with self._lock:
                place = self._places.get(name)
                if place is not None:  # else it was forgotten in between
                    place.num_users += 1
                    break
        try:
            yield
        finally:
            with self._lock:
                place.num_users -= 1
                place.last_use = self._clock()

    def forget(self, told: Callable[[str], None]) -> list[str]:
        """Delete the adapters over the capacity that were idle for longest.

        One that is used, or was a moment ago, stays.

        Args:
            told: called with each name before its files go.
        """
        with self._lock:
            idle = sorted(
                (place.last_use, name)
                for name, place in self._places.items()
                if not place.num_users and self._clock() - place.last_use >= GRACE_S
            )
            num = max(0, len(self._places) - self._capacity)
            gone = [name for _, name in idle[:num]]
            for name in gone:
                told(name)
            directories = [self._places.pop(name).directory for name in gone]
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)
        return gone
