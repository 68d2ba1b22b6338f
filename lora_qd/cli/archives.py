"""``loraqd archive``."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lora_qd.archive import GridArchive
from lora_qd.errors import InputError
from lora_qd.runs.run import Run


def show_archives(path: Path, skill: str | None, *, as_json: bool) -> None:
    """Print the archives of a run, or one of them."""
    run = Run.open(path)
    run.require_archives()
    if skill is not None and skill not in run.archives:
        raise InputError(
            f"expected a skill out of {', '.join(run.archives)}, but got {skill!r}"
        )
    chosen = {s: a for s, a in run.archives.items() if skill in (None, s)}
    if as_json:
        print(json.dumps({s: _plain(a) for s, a in chosen.items()}, indent=2))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for archive in chosen.values():
        _print_archive(console, archive)


def _plain(archive: GridArchive) -> dict[str, Any]:
    return {
        "num_cells": archive.num_cells,
        **asdict(archive.stats()),
        "axes": [asdict(axis) for axis in archive.axes],
        "elites": [asdict(elite) for elite in archive.elites],
    }


def _print_archive(console: Console, archive: GridArchive) -> None:
    stats = archive.stats()
    console.print(
        f"{archive.task}: {stats.num_elites} of {archive.num_cells} cells "
        f"({stats.coverage:.1%}), QD score {stats.qd_score:.2f}, best "
        f"{stats.best:.3f}; {stats.num_clipped} offered from outside the axes"
    )
    table = Table()
    table.add_column("cell")
    table.add_column(archive.task, justify="right", style="bold")
    for axis in archive.axes:
        table.add_column(axis.task, justify="right")
    table.add_column("member")
    for elite in archive.elites:
        cell = ", ".join(map(str, elite.index))
        values = (f"{value:.3f}" for value in (elite.objective, *elite.measures))
        table.add_row(cell, *values, elite.id)
    console.print(table)
