"""``loraqd evolve`` and ``loraqd resume``."""

import asyncio
import resource
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lora_qd.cli.progress_bar import SearchBar
from lora_qd.cli.table import print_results
from lora_qd.dashboard.report import write_report
from lora_qd.errors import InputError, MissingExtraError
from lora_qd.runs.config import RunConfig, load_config, parse_config
from lora_qd.runs.continuing import (
    is_finished,
    recorded_config,
    require_same_search,
)
from lora_qd.runs.evolve import Watcher, evolve
from lora_qd.runs.experts import ExpertAdapter, load_experts
from lora_qd.runs.results import Results
from lora_qd.runs.skills import load_skills
from lora_qd.runs.trackers import require_trackers
from lora_qd.store.run_directory import RunDirectory

_NUM_FILES = 256
"""Open files that a run needs at least: sockets, pipes, libraries, the ledger."""

# Without a terminal rich takes 80 columns, too narrow for the table.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True, slots=True)
class Where:
    """Engines that the command line names in place of the config's."""

    kind: str | None = None
    address: str | None = None

    def moved(self, config: RunConfig) -> RunConfig:
        """Return ``config`` with these engines.

        Raises:
            InputError: there is an address, but no cluster, or the kind is none.
        """
        if self.address is not None and self.kind != "ray":
            raise InputError(
                f"expected --engine ray with --address {self.address}, but got "
                f"{self.kind or 'none'}; add --engine ray, or leave the address out"
            )
        if self.kind is None:
            return config
        raw = config.model_dump(mode="json")
        raw["engine"]["kind"] = self.kind
        raw["engine"]["address"] = self.address or config.engine.address
        return parse_config(raw, source="the command")


HERE = Where()
"""As the config says."""


def start(
    config_path: Path,
    overrides: Sequence[str],
    *,
    run: Path | None,
    overwrite: bool,
    where: Where = HERE,
    allow: bool = False,
) -> None:
    """Run a config in a free directory, or go on with the same run there."""
    _require_open_files()
    config = where.moved(load_config(config_path, overrides))
    directory = RunDirectory(run or config.run)
    # Checked before anything is written, or of an earlier run deleted.
    require_trackers(config)
    load_skills(config, allow=allow)
    adapters = load_experts(config)
    with directory.lock():
        is_replaced = overwrite or not directory.is_run
        before = None if is_replaced else recorded_config(directory)
        if before is None:
            directory.clear()
        else:
            require_same_search(directory, before, config)
            _require_unfinished(directory, config)
            console.print(f"Going on with {directory.path}.", soft_wrap=True)
        _evolve(config, adapters, directory)


def go_on(
    run: Path, *, children: str | None, where: Where = HERE, allow: bool = False
) -> None:
    """Go on with a run from its own config, perhaps with more children."""
    _require_open_files()
    directory = RunDirectory(run)
    require_run(directory)
    with directory.lock():
        before = recorded_config(directory)
        if before is None:
            raise InputError(
                f"expected a run in {run}, but it was stopped before it began; start "
                "it with loraqd evolve"
            )
        config = where.moved(with_children(before, children) if children else before)
        require_same_search(directory, before, config)
        _require_unfinished(directory, config)
        require_trackers(config)
        load_skills(config, allow=allow)
        _evolve(config, load_experts(config), directory)


def require_run(directory: RunDirectory) -> None:
    """Refuse a directory without a run.

    Raises:
        InputError: there is none.
    """
    if not directory.is_run:
        raise InputError(
            f"expected a run in {directory.path}, but there is none; start one with "
            "loraqd evolve"
        )


def _require_open_files() -> None:
    """Refuse a limit that a search of several candidates is sure to reach."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < _NUM_FILES:
        raise InputError(
            f"expected that at least {_NUM_FILES} files may be open, but the limit is "
            f"{limit}; raise it: ulimit -n 4096"
        )


def _require_unfinished(directory: RunDirectory, config: RunConfig) -> None:
    if is_finished(directory, config):
        raise InputError(
            f"expected an unfinished run in {directory.path}, but it has its "
            f"{config.search.children} children and {directory.table}; extend it with "
            f"loraqd resume {directory.path} --children +200"
        )


def with_children(config: RunConfig, children: str) -> RunConfig:
    """Return ``config`` with another budget: ``+200`` more, or ``1400`` in all.

    Raises:
        InputError: it is neither.
    """
    if not children.removeprefix("+").isdecimal():
        raise InputError(f"expected --children like +200 or 1400, but got {children!r}")
    num = int(children) + (config.search.children if children[0] == "+" else 0)
    search = config.search.model_copy(update={"children": num})
    return config.model_copy(update={"search": search})


def _evolve(
    config: RunConfig, adapters: Mapping[str, ExpertAdapter], directory: RunDirectory
) -> None:
    results = run_until_interrupted(config, adapters, directory)
    print_results(console, results)
    _print_next(directory, _report(directory))


def run_until_interrupted(
    config: RunConfig, adapters: Mapping[str, ExpertAdapter], directory: RunDirectory
) -> Results:
    """Search with a progress bar; Ctrl-C and SIGTERM end it, with exit code 130."""
    with SearchBar(console) as bar:
        watcher = Watcher(stage=bar.stage, progress=bar.show)
        run = evolve(config, adapters, directory, watcher)
        try:
            return asyncio.run(_cancel_on_sigterm(run))
        except (KeyboardInterrupt, asyncio.CancelledError):
            pass
    console.print(
        f"Stopped. What was scored is in {directory.path}.\n"
        f"Go on: loraqd resume {directory.path}"
    )
    raise SystemExit(130)


async def _cancel_on_sigterm(run: Coroutine[Any, Any, Results]) -> Results:
    """Await ``run``; SIGTERM is the same clean stop as Ctrl-C."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run


def _report(directory: RunDirectory) -> Path:
    """Write the report; without pictures where what draws them is not installed."""
    try:
        return write_report(directory.path)
    except MissingExtraError as error:
        console.print(f"Note: {error}", soft_wrap=True)
        return write_report(directory.path, has_pictures=False)


def _print_next(directory: RunDirectory, report: Path) -> None:
    console.print(f"\nTable:    {directory.table}", soft_wrap=True)
    console.print(f"Report:   {report}", soft_wrap=True)
    console.print(f"Ledger:   {directory.ledger}", soft_wrap=True)
    console.print(f"\nLook at it live:   loraqd watch {directory.path}", soft_wrap=True)
    console.print(f"Serve the elites:  loraqd serve {directory.path}", soft_wrap=True)
    console.print(
        f"Export an adapter: loraqd export {directory.path} --member balanced "
        "--out my-adapter",
        soft_wrap=True,
    )
