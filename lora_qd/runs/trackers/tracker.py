"""What every tracker can do, and the guard that no failure of one gets through."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_qd.runs.trackers.surroundings import local, quiet_and_local

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a library is told of the run that it tracks."""

    name: str
    id: str
    """Of this run and no other, wherever its directory lies."""
    directory: Path
    """Where the library keeps its files, unless the user's environment says more."""
    hyperparameters: Mapping[str, Scalar]
    """The config, by dotted key."""
    first_step: int
    """The step that is logged next; those before it are logged already."""
    is_new: bool
    """Whether the library has not heard of the run yet."""


class Tracker(Protocol):
    """One run in one library."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep ``values`` as those of ``step``."""

    def close(self) -> None:
        """Write what is not written yet, and end the run's part of this session."""


class Trackers:
    """Several trackers as one; one that fails is named once and left out."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._by_name: dict[str, Tracker] = {}

    def __bool__(self) -> bool:
        """Tell whether anybody listens."""
        return bool(self._by_name)

    def add(self, name: str, opener: Callable[[], Tracker]) -> bool:
        """Open a tracker; return whether that worked."""
        try:
            with quiet_and_local():
                self._by_name[name] = opener()
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            self._name(name, error)
        return name in self._by_name

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell every tracker."""
        for name in tuple(self._by_name):
            self.log_to(name, values, step)

    def log_to(self, name: str, values: Mapping[str, float], step: int) -> None:
        """Tell one tracker, unless it failed before."""
        tracker = self._by_name.get(name)
        if tracker is None:
            return
        try:
            with local():
                tracker.log(values, step)
        except Exception as error:  # noqa: BLE001 - as above
            del self._by_name[name]
            self._name(name, error)
            with suppress(Exception), quiet_and_local():
                tracker.close()

    def close(self) -> None:
        """End all."""
        while self._by_name:
            name, tracker = self._by_name.popitem()
            try:
                with quiet_and_local():
                    tracker.close()
            except Exception as error:  # noqa: BLE001 - as above
                self._name(name, error)

    def _name(self, name: str, error: Exception) -> None:
        said = str(error).strip() or type(error).__name__
        self._say(
            f"Note: the tracker {name} failed and is left out from here on "
            f"({said.splitlines()[0]}); the run goes on, and its ledger has everything"
        )
