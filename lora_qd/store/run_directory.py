"""A run on disk: where its files lie, and the lock of its one writer."""

import fcntl
import os
import shutil
import time
from pathlib import Path
from types import TracebackType

from lora_qd.errors import InputError, StoreError
from lora_qd.store.files import remove_leftovers

_PATIENCE_S = 1.0


class RunDirectory:
    """The paths of a run. Nothing is made or read until asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.ledger = path / "ledger.sqlite"
        self.space = path / "space.safetensors"
        self.members = path / "members"
        self.results = path / "results.json"
        self.table = path / "results.md"
        self.log = path / "vllm.log"
        self.report = path / "report"
        self.trackers = path / "trackers"
        self._lock_file = path / "lock"

    def genome(self, name: str) -> Path:
        """Return where the cores of this hash lie."""
        return self.members / f"{name}.safetensors"

    @property
    def is_run(self) -> bool:
        """Whether a run has been started here."""
        return self.ledger.is_file()

    @property
    def is_locked(self) -> bool:
        """Whether another process writes this run now."""
        try:
            file = os.open(self._lock_file, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def require_run(self) -> None:
        """Refuse a directory in which no run has been started.

        Raises:
            InputError: there is none.
        """
        if not self.is_run:
            raise InputError(
                f"expected a run in {self.path}, but there is none; start one with "
                "loraqd evolve"
            )

    def require_finished(self) -> None:
        """Refuse a directory that holds no finished run.

        Raises:
            InputError: there is no run in the directory, or it was interrupted.
        """
        self.require_run()
        if not self.results.is_file():
            raise InputError(
                f"expected a finished run in {self.path}, but it has no results yet; "
                f"wait for it, or run: loraqd resume {self.path}"
            )

    def remove_leftovers(self) -> None:
        """Delete half-written files of a killed writer; the lock is held."""
        remove_leftovers(self.path)
        remove_leftovers(self.members)

    def lock(self) -> "RunLock":
        """Return the lock that the writer of this run holds."""
        return RunLock(self._lock_file)

    def clear(self) -> None:
        """Delete what an earlier run left here, except the lock.

        Raises:
            InputError: the directory holds something that is no run.
        """
        foreign = [p for p in self.path.iterdir() if p.name != self._lock_file.name]
        if foreign and not self.is_run:
            raise InputError(
                f"expected a run or an empty directory in {self.path}, but it holds "
                f"{foreign[0].name}; choose another directory"
            )
        # The ledger goes last: as long as it is there, this is known to be a run.
        for entry in sorted(foreign, key=lambda p: p == self.ledger):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


class RunLock:
    """An advisory lock on a run; the kernel drops it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> "RunLock":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"expected to write in {self._path.parent}, but got: "
                f"{error.strerror}; choose another directory with --run"
            ) from error
        if not _is_locked(self._file):
            os.close(self._file)
            raise InputError(
                f"expected {self._path.parent} to be free, but another process is "
                "writing this run; wait for it or choose another directory with --run"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)


def _is_locked(file: int) -> bool:
    """Lock ``file`` unless somebody holds it for longer than a moment.

    A process that a killed holder was just starting shares its lock until it runs a
    program of its own.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PATIENCE_S / 20)
        else:
            return True
