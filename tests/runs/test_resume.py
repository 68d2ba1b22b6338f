"""Killed and resumed on real vLLM: same children, same scores, same table."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from lora_qd.errors import StoreError
from lora_qd.store.ledger import Ledger
from tests.runs.small import ROOT, SMALL

CLI = [sys.executable, "cli.py"]
EVOLVE = [*CLI, "evolve", "--config", "configs/tiny.yaml"]


def children_of(run):
    with Ledger(run / "ledger.sqlite") as ledger:
        return ledger.children()


def num_children(run):
    try:
        with Ledger(run / "ledger.sqlite") as ledger:
            return ledger.num_children
    except StoreError:  # not there yet
        return 0


def kill_after(command, run, num):
    """Run ``command`` and kill it when ``num`` children are in the ledger."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while num_children(run) < num:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()


def resume(run, *options):
    return subprocess.run(
        [*CLI, "resume", str(run), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def rows_of(run):
    return json.loads((run / "results.json").read_text())["rows"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # six starts of vLLM
def test_a_run_killed_three_times_ends_as_an_undisturbed_one(finished_run, tmp_path):
    whole, _ = finished_run
    run = tmp_path / "run"
    points = sorted(random.Random(time.time_ns()).sample(range(1, 11), 3))
    kill_after([*EVOLVE, "--run", str(run), *SMALL], run, points[0])
    for num in points[1:]:
        kill_after([*CLI, "resume", str(run)], run, num)
    done = resume(run)
    assert done.returncode == 0, done.stderr
    assert children_of(run) == children_of(whole), points
    assert rows_of(run) == rows_of(whole), points
    assert sorted(p.name for p in (run / "members").iterdir()) == sorted(
        p.name for p in (whole / "members").iterdir()
    )


@pytest.mark.slow
def test_a_finished_run_is_left_alone_unless_it_is_extended(finished_run, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished_run[0], run)
    refused = resume(run)
    assert refused.returncode == 2
    assert "expected an unfinished run" in refused.stderr
    assert "--children +200" in refused.stderr
    again = subprocess.run(
        [*EVOLVE, "--run", str(run), *SMALL, "seed=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    assert "seed: 2 instead of 1" in again.stderr
    done = resume(run, "--children", "+2")
    assert done.returncode == 0, done.stderr
    assert children_of(run)[:11] == children_of(finished_run[0])
    assert len(children_of(run)) == 13
