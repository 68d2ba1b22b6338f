"""``loraqd reproduce``."""

from pathlib import Path

import typer

from lora_qd.cli.evolving import console, run_until_interrupted
from lora_qd.errors import InputError
from lora_qd.runs.continuing import is_finished, recorded_config, require_same_search
from lora_qd.runs.reproduce import (
    compare,
    other_versions,
    repeated,
    require_reproducible,
)
from lora_qd.runs.run import Run
from lora_qd.runs.skills import load_skills
from lora_qd.store.run_directory import RunDirectory


def reproduce_run(path: Path, out: Path | None, *, allow: bool = False) -> None:
    """Run a finished run again, or go on with that; then compare."""
    run = Run.open(path)
    directory = RunDirectory(out or path.with_name(f"{path.resolve().name}-reproduced"))
    if directory.path.resolve() == path.resolve():
        raise InputError(
            f"expected another directory than {path}, but got the same; choose one "
            "with --run"
        )
    experts = require_reproducible(run)
    load_skills(run.config, allow=allow)
    for line in other_versions(run):
        console.print(f"Another version here: {line}", soft_wrap=True)
    config = repeated(run.config, directory.path)
    with directory.lock():
        before = recorded_config(directory) if directory.is_run else None
        if before is None:
            directory.clear()
        else:
            require_same_search(directory, before, config)
        if before is None or not is_finished(directory, config):
            run_until_interrupted(config, experts, directory)
    show_comparison(run, Run.open(directory.path))


def show_comparison(first: Run, second: Run) -> None:
    """Say whether two runs are the same; exit code 1 if they are not."""
    found = compare(first, second)
    scope = (
        f"{found.num_children} children, {found.num_outcomes} outcomes and "
        f"{found.num_elites} elites"
    )
    if not found.num_differences:
        console.print(f"identical: {scope}")
        return
    console.print(f"{found.num_differences} differences in {scope}; the first of them:")
    for line in found.differences:
        console.print(f"  {line}", soft_wrap=True, markup=False)
    raise typer.Exit(1)
