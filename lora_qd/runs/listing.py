"""The runs below a directory, in one line each."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lora_qd.errors import InputError, LoraQDError
from lora_qd.runs.costs import spent
from lora_qd.runs.run import Run
from lora_qd.store.ledger import Ledger, best_first, mean
from lora_qd.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Listed:
    """One run, or what is wrong with it."""

    path: Path
    status: str
    """``new``, ``running``, ``interrupted``, ``finished`` or ``damaged``."""
    changed: str
    """When something was last written, in ISO format."""
    num_bred: int | None = None
    num_children: int | None = None
    """The budget."""
    best: float | None = None
    """Highest mean search score; None before the first child."""
    minutes: float | None = None
    """That engines were up, over all sessions; None if no session recorded it."""
    money: float | None = None
    """In the currency of the price; None without one."""
    problem: str = ""
    """What is wrong with a damaged run."""


def list_runs(directory: Path) -> list[Listed]:
    """Return the runs below ``directory``, the one written last first.

    Raises:
        InputError: there is no such directory.
    """
    if not directory.is_dir():
        raise InputError(
            f"expected a directory of runs in {directory}, but there is none; name it: "
            "loraqd runs DIR"
        )
    runs = [_listed(path) for path in _run_directories(directory)]
    return sorted(runs, key=lambda run: run.changed, reverse=True)


def _run_directories(directory: Path) -> Iterator[Path]:
    for path, below, _ in os.walk(directory):
        if RunDirectory(Path(path)).is_run:
            below.clear()  # what a run holds is no run
            yield Path(path)


def _listed(path: Path) -> Listed:
    changed = _changed(path)
    try:
        return _described(path, changed)
    except (LoraQDError, OSError, ValueError) as error:  # ValueError: JSON of sessions
        problem = " ".join(str(error).split())
        return Listed(path, "damaged", changed, problem=problem)


def _described(path: Path, changed: str) -> Listed:
    directory = RunDirectory(path)
    with Ledger(directory.ledger) as ledger:
        sessions = ledger.sessions()
        has_begun = bool(ledger.manifest())
    if not has_begun:
        return Listed(path, "running" if directory.is_locked else "new", changed)
    run = Run.open(path)
    costs = [spent(usage, run.config.engine) for usage in sessions]
    known = [cost for cost in costs if cost is not None]
    return Listed(
        path,
        run.status.value,
        changed,
        num_bred=run.num_bred,
        num_children=run.config.search.children,
        best=mean(best_first(run.children)[0].scores) if run.children else None,
        minutes=sum(u.seconds for u in sessions) / 60 if sessions else None,
        money=sum(known) if known else None,
    )


def _changed(path: Path) -> str:
    ledger = RunDirectory(path).ledger
    files = [ledger, ledger.with_name(f"{ledger.name}-wal")]
    # A reader leaves an empty log behind, which tells nothing.
    times = [f.stat().st_mtime for f in files if f.is_file() and f.stat().st_size]
    newest = max(times, default=path.stat().st_mtime)
    return datetime.fromtimestamp(newest, UTC).astimezone().isoformat("T", "seconds")
