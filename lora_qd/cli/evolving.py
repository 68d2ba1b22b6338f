"""``loraqd evolve`` and ``loraqd resume``."""

import asyncio
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lora_qd.cli.progress_bar import SearchBar
from lora_qd.cli.table import print_results
from lora_qd.errors import InputError
from lora_qd.runs.config import RunConfig, load_config
from lora_qd.runs.evolve import Watcher, evolve
from lora_qd.runs.experts import ExpertAdapter, load_experts
from lora_qd.runs.results import Results
from lora_qd.runs.session import require_skills
from lora_qd.store.run_directory import RunDirectory

# Without a terminal rich takes 80 columns, too narrow for the table.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def start(
    config_path: Path, overrides: Sequence[str], *, run: Path | None, overwrite: bool
) -> None:
    """Run a config in a free directory, or in place of an earlier run."""
    config = load_config(config_path, overrides)
    directory = RunDirectory(run or config.run)
    if directory.is_run and not overwrite:
        raise InputError(
            f"expected a free directory, but {directory.path} holds a run; choose "
            "another with --run, or replace it with --overwrite"
        )
    _evolve(config, directory)


def start_over(run: Path) -> None:
    """Repeat a run from its own config; nothing of it is taken over yet."""
    directory = RunDirectory(run)
    if not directory.is_run:
        raise InputError(
            f"expected a run in {run}, but there is none; start one with loraqd evolve"
        )
    if directory.results.is_file():
        raise InputError(
            f"expected an interrupted run in {run}, but it is finished; see "
            f"{directory.table}"
        )
    config = load_config(directory.config)
    console.print(
        "This version cannot go on in the middle: it starts over, from the same "
        "config and seed."
    )
    _evolve(config, directory)


def _evolve(config: RunConfig, directory: RunDirectory) -> None:
    # Checked before anything is written, or of an earlier run deleted.
    require_skills(config)
    adapters = load_experts(config)
    with directory.lock():
        directory.clear()
        results = _run_until_interrupted(config, adapters, directory)
    print_results(console, results)
    _print_next(directory)


def _run_until_interrupted(
    config: RunConfig, adapters: Mapping[str, ExpertAdapter], directory: RunDirectory
) -> Results:
    with SearchBar(console) as bar:
        watcher = Watcher(stage=bar.stage, progress=bar.show)
        run = evolve(config, adapters, directory, watcher)
        try:
            return asyncio.run(_cancel_on_sigterm(run))
        except (KeyboardInterrupt, asyncio.CancelledError):
            pass
    console.print(
        f"Stopped. What was scored is in {directory.path}.\n"
        f"Start over with the same config: loraqd resume {directory.path}"
    )
    raise SystemExit(130)


async def _cancel_on_sigterm(run: Coroutine[Any, Any, Results]) -> Results:
    """Await ``run``; SIGTERM is the same clean stop as Ctrl-C."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run


def _print_next(directory: RunDirectory) -> None:
    console.print(f"\nTable:    {directory.table}", soft_wrap=True)
    console.print(f"Pictures: {directory.heatmaps}", soft_wrap=True)
    console.print(f"Ledger:   {directory.ledger}", soft_wrap=True)
    console.print(f"\nServe the elites:  loraqd serve {directory.path}", soft_wrap=True)
    console.print(
        f"Export an adapter: loraqd export {directory.path} --member balanced "
        "--out my-adapter",
        soft_wrap=True,
    )
