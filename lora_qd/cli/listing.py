"""``loraqd runs``."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lora_qd.runs.listing import Listed, list_runs

_STYLES = {"running": "green", "interrupted": "yellow", "damaged": "red"}


def show_runs(directory: Path, *, as_json: bool) -> None:
    """Print one line for each run below ``directory``."""
    runs = list_runs(directory)
    if as_json:
        lines = [asdict(run) | {"path": str(run.path)} for run in runs]
        print(json.dumps(lines, indent=2))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    if not runs:
        console.print(f"No runs in {directory}; start one: loraqd evolve --config ...")
        return
    table = Table()
    for name in ("run", "status"):
        table.add_column(name, overflow="fold")
    for name in ("children", "best mean", "minutes", "money", "written"):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(*_cells(run), style=_STYLES.get(run.status))
    console.print(table)
    for run in runs:
        if run.problem:
            console.print(f"{run.path}: {run.problem}", soft_wrap=True)


def _cells(run: Listed) -> tuple[str, ...]:
    has_budget = run.num_children is not None
    return (
        str(run.path),
        run.status,
        f"{run.num_bred} of {run.num_children}" if has_budget else "",
        "" if run.best is None else f"{run.best:.3f}",
        "" if run.minutes is None else f"{run.minutes:.1f}",
        "" if run.money is None else f"{run.money:.2f}",
        run.changed[:16].replace("T", " "),
    )
