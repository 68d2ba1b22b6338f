"""``loraqd verify`` and ``loraqd gc``."""

from pathlib import Path

import typer
from rich.console import Console

from lora_qd.runs.collecting import collect
from lora_qd.runs.verify import verify


def show_verification(path: Path, *, derive: bool) -> None:
    """Print one line per check and one per problem; exit code 1 if there are any."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    num_problems = 0
    for check in verify(path, derive=derive):
        num_problems += len(check.problems)
        fact = _counted(len(check.problems)) if check.problems else "ok"
        style = "red" if check.problems else None
        console.print(f"{check.name:9} {fact}: {check.summary}", style=style)
        for problem in check.problems:
            console.print(f"  {problem}")
    if num_problems:
        console.print(f"{path}: {_counted(num_problems)}")
        raise typer.Exit(1)
    console.print(f"{path}: nothing is wrong")


def collect_garbage(path: Path, *, dry_run: bool) -> None:
    """Delete what can be bred again and say how much that freed."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    found = collect(path, dry_run=dry_run)
    verb = "Would delete" if dry_run else "Deleted"
    console.print(
        f"{verb} {found.num_genomes} genomes and {found.num_leftovers} half-written "
        f"files: {found.num_bytes / 1e6:.1f} MB. {found.num_kept} genomes stay."
    )
    if found.not_bred:
        console.print(
            f"Of these, {len(found.not_bred)} only because they cannot be bred again "
            f"here, bit by bit: {', '.join(found.not_bred[:5])}"
            f"{' ...' if len(found.not_bred) > 5 else ''}"
        )


def _counted(num: int) -> str:
    return f"{num} problem" if num == 1 else f"{num} problems"
