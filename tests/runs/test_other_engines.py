"""The same run on other engines: a Ray cluster that loses nodes, and without vLLM."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ray_machines import ray_machines
from tests.runs.small import ROOT, SMALL, evolve
from tests.runs.test_resume import children_of, num_children, rows_of

CLI = [sys.executable, "cli.py"]
# In 16 bits vLLM on CPU rounds by who else is in the batch, hence by the engines.
EXACT = "engine.dtype=float32"


@pytest.fixture(scope="module")
def machines():
    with ray_machines() as machines:
        yield machines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on one vLLM server, undisturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = evolve(run, EXACT)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def assert_same(run, whole):
    assert children_of(run) == children_of(whole)
    assert rows_of(run) == rows_of(whole)
    assert sorted(p.name for p in (run / "members").iterdir()) == sorted(
        p.name for p in (whole / "members").iterdir()
    )


def orphans():
    """Return the servers whose supervisor is gone."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            own = process.joinpath("cmdline").read_bytes()
            above = Path("/proc", parent, "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        is_server = b"api_server" in own and b"supervisor.py" not in own
        if is_server and b"api_server" not in above:  # its supervisor's words have it
            found.append(process.name)
    return found


class Driver:
    """A ``loraqd`` that runs."""

    def __init__(self, run, *command):
        self._run = run
        self._process = subprocess.Popen(
            [*CLI, *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, num):
        """Wait until so many children are in the ledger."""
        while num_children(self._run) < num:
            assert self._process.poll() is None, self._process.stdout.read()
            time.sleep(0.02)

    def kill(self):
        self._process.kill()
        self._process.communicate()

    def end(self):
        """Wait for its end; return the exit code and what it printed."""
        said, _ = self._process.communicate(timeout=600)
        return self._process.returncode, said


@pytest.mark.slow
@pytest.mark.timeout(1200)  # six starts of vLLM, two of them at a time
def test_lost_nodes_and_a_killed_driver_leave_the_same_archives(
    machines, whole, tmp_path
):
    run = tmp_path / "run"
    on_ray = ("--engine", "ray", "--address", machines.address)
    config = ("--config", "configs/tiny.yaml", "--run", str(run), *SMALL, EXACT)
    first, second = machines.add(), machines.add()
    driver = Driver(run, "evolve", *on_ray, *config)
    driver.until(2)
    machines.kill(first)
    driver.until(5)
    driver.kill()
    driver = Driver(run, "resume", str(run), *on_ray)
    driver.until(7)
    machines.kill(second)
    third = machines.add()
    code, said = driver.end()
    machines.end(third)

    assert code == 0, said
    for _ in range(200):
        if not orphans():
            break
        time.sleep(0.1)
    assert not orphans()
    assert "Lost an engine on node" in said
    assert "joined" in said
    assert_same(run, whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_vllm_in_float32_the_search_is_the_same(whole, tmp_path):
    run = tmp_path / "run"
    done = evolve(run, EXACT, "engine.kind=transformers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(run, whole)
