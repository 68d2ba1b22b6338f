"""A small run on real vLLM, the shipped base and its experts."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = (
    "experts_dir=adapters/tiny-experts",
    "merge_gains=[0.5,0.7]",
    "search.children=6",
    "search.batch=2",
    "samples.search=16",
    "samples.validation=16",
    "samples.test=24",
    "finalists=2",
)


def evolve(run, *overrides):
    """Run ``loraqd evolve`` on the tiny config, made small."""
    command = [sys.executable, "cli.py", "evolve", "--config", "configs/tiny.yaml"]
    return subprocess.run(
        [*command, "--run", str(run), *SMALL, *overrides],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=280,
        check=False,
    )
