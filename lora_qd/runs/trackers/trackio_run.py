"""A run in Trackio: one SQLite file, unless TRACKIO_... names a Space or a server."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lora_qd.runs.trackers.tracker import TrackedRun

_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class TrackioTracker:
    """Logs through Trackio's own thread, which writes twice a second."""

    def __init__(self, run: TrackedRun) -> None:
        import trackio

        self._before = Path(trackio.utils.TRACKIO_DIR)
        if "TRACKIO_DIR" not in os.environ:
            _point_at(run.directory)
        is_remote = any(os.environ.get(name) for name in _REMOTE)
        with _asking_nobody(is_remote=is_remote), _loud():
            self._run = trackio.init(
                os.environ.get("TRACKIO_PROJECT", "loraqd"),
                name=run.name,
                config=dict(run.hyperparameters),
                resume="never" if run.is_new else "allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Queue the values."""
        with _loud():
            self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until all is written."""
        from trackio import context_vars

        try:
            with _loud():
                self._run.finish()
        finally:
            if context_vars.current_run.get() is self._run:
                context_vars.current_run.set(None)  # or it is finished again at exit
            _point_at(self._before)


def _point_at(directory: Path) -> None:
    """Set where Trackio keeps its files, which it reads once, when it is imported."""
    import trackio
    from trackio import sqlite_storage, utils

    for module in (trackio, utils, sqlite_storage):
        module.TRACKIO_DIR = directory


@contextmanager
def _asking_nobody(*, is_remote: bool) -> Iterator[None]:
    """Keep a local run from asking the Hub for the user's name."""
    from huggingface_hub import constants

    was_offline = constants.HF_HUB_OFFLINE
    try:
        constants.HF_HUB_OFFLINE = was_offline or not is_remote
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline


@contextmanager
def _loud() -> Iterator[None]:
    """Raise what Trackio only warns of: values that it dropped.

    Raises:
        RuntimeError: with what it said.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    lost = [str(each.message) for each in said if "trackio" in str(each.message)]
    if lost:
        raise RuntimeError(lost[0])
