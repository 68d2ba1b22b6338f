"""Which trackers there are, and how those that a config names are opened."""

import importlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lora_qd.errors import MissingExtraError
from lora_qd.runs.config import RunConfig
from lora_qd.runs.continuing import flat_values
from lora_qd.runs.trackers.mlflow_run import MlflowTracker
from lora_qd.runs.trackers.surroundings import quiet_and_local
from lora_qd.runs.trackers.tensorboard_run import TensorboardTracker
from lora_qd.runs.trackers.tracker import Scalar, TrackedRun, Tracker, Trackers
from lora_qd.runs.trackers.trackio_run import TrackioTracker
from lora_qd.runs.trackers.wandb_run import WandbTracker


@dataclass(frozen=True, slots=True)
class _Library:
    """A library that can track; the extra has its name."""

    package: str
    """What the extra installs."""
    module: str
    """What the tracker imports."""
    tracker: Callable[[TrackedRun], Tracker]


_LIBRARIES = {
    "tensorboard": _Library(
        "tensorboard", "torch.utils.tensorboard", TensorboardTracker
    ),
    "wandb": _Library("wandb", "wandb", WandbTracker),
    "trackio": _Library("trackio", "trackio", TrackioTracker),
    "mlflow": _Library("mlflow", "mlflow", MlflowTracker),
}


def require_trackers(config: RunConfig) -> None:
    """Refuse a config that reports to what is not installed; imports nothing.

    Raises:
        MissingExtraError: naming the extra.
    """
    for name in config.report_to:
        if find_spec(_LIBRARIES[name].package) is None:
            raise MissingExtraError(f"report_to: {name}", name)


@contextmanager
def open_trackers(
    config: RunConfig,
    directory: Path,
    say: Callable[[str], None],
    *,
    name: str,
    first_step: int | None = None,
) -> Iterator["OpenTrackers"]:
    """Open what ``config`` reports to, and close it at the end.

    Args:
        config: the run's.
        directory: where files of the libraries lie, each in one of its own.
        say: told of a tracker that fails, once.
        name: what the libraries call the run.
        first_step: where a run goes on that may be known to them; None for one that
            is new whatever lies there.

    Raises:
        MissingExtraError: a library is not installed.
    """
    trackers, new = Trackers(say), set()
    _import_all(config)
    for library in config.report_to:
        mark = directory / f"{library}.id"
        is_new = first_step is None or not mark.is_file()
        run = TrackedRun(
            name=name,
            id=uuid.uuid4().hex if is_new else mark.read_text().strip(),
            directory=(directory / library).absolute(),
            hyperparameters=_hyperparameters(config),
            first_step=first_step or 0,
            is_new=is_new,
        )
        if _open(trackers, library, run) and is_new:
            new.add(library)
            mark.write_text(f"{run.id}\n")
    try:
        yield OpenTrackers(trackers, frozenset(new))
    finally:
        trackers.close()


@dataclass(frozen=True, slots=True)
class OpenTrackers:
    """The trackers of a run, and which of them hear of it for the first time."""

    all: Trackers
    new: frozenset[str]


def _import_all(config: RunConfig) -> None:
    require_trackers(config)
    for name in config.report_to:
        try:
            with quiet_and_local():
                importlib.import_module(_LIBRARIES[name].module)
        except ImportError as error:
            raise MissingExtraError(f"report_to: {name}", name) from error


def _open(trackers: Trackers, library: str, run: TrackedRun) -> bool:
    def opener() -> Tracker:
        run.directory.mkdir(parents=True, exist_ok=True)
        return _LIBRARIES[library].tracker(run)

    return trackers.add(library, opener)


def _hyperparameters(config: RunConfig) -> dict[str, Scalar]:
    return {
        key: value if isinstance(value, Scalar) else str(value)
        for key, value in flat_values(config).items()
    }
