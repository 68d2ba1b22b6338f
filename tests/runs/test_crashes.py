"""A run that is killed at any instant goes on, and ends as if nothing had happened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def crash(folder, num_crashes, seed):
    done = subprocess.run(
        [sys.executable, "-m", "tests.runs.crashes", folder, str(num_crashes), seed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path):
    told = crash(tmp_path, 20, "1")
    assert told["wrong"] == []
    assert told["crashes"] >= 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["2", "3"])
def test_many_killed_runs_end_as_an_undisturbed_one(tmp_path, seed):
    told = crash(tmp_path, 150, seed)
    assert told["wrong"] == []
    assert told["crashes"] >= 150
    struck = {at for at, num in told["at"].items() if num}
    assert {"instant", "write", "fsync", "replace", "COMMIT"} <= struck
