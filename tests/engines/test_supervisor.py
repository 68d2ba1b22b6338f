"""The process between driver and server; here the server is a shell with a child."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lora_qd.engines

SUPERVISOR = Path(lora_qd.engines.__file__).with_name("supervisor.py")
TREE = "sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait"


def start(directory, command):
    scratch = directory / "scratch"
    scratch.mkdir()
    driver = str(os.getpid())
    ours = [sys.executable, str(SUPERVISOR), driver, "0.5", str(scratch), "--"]
    with (directory / "told").open("wb") as told:
        return subprocess.Popen([*ours, *command], start_new_session=True, stderr=told)


def pids_of(directory):
    file = directory / "pids"
    assert eventually(lambda: file.exists() and len(file.read_text().split()) == 2)
    return [int(pid) for pid in file.read_text().split()]


def is_running(pid):
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition):
    """Return whether ``condition`` comes true within 20 s."""
    for _ in range(400):
        if condition():
            return True
        time.sleep(0.05)
    return False


def tree(directory, prefix=""):
    return ["sh", "-c", prefix + TREE.format(pids=directory / "pids")]


def test_the_whole_group_ends_on_order(tmp_path):
    supervisor = start(tmp_path, tree(tmp_path))
    pids = pids_of(tmp_path)
    supervisor.send_signal(signal.SIGTERM)
    supervisor.wait(10)
    assert eventually(lambda: not any(map(is_running, pids)))
    assert not (tmp_path / "scratch").exists()


def test_a_server_that_ignores_the_order_is_killed(tmp_path):
    supervisor = start(tmp_path, tree(tmp_path, "trap '' TERM; "))
    pids = pids_of(tmp_path)
    supervisor.send_signal(signal.SIGTERM)
    supervisor.wait(10)
    assert eventually(lambda: not any(map(is_running, pids)))


def test_what_a_server_leaves_behind_is_killed_and_its_status_told(tmp_path):
    pids = tmp_path / "pids"
    command = f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; exit 3"
    supervisor = start(tmp_path, ["sh", "-c", command])
    supervisor.wait(10)
    assert eventually(lambda: not any(map(is_running, pids_of(tmp_path))))
    assert "exit status 3" in (tmp_path / "told").read_text()
    assert not (tmp_path / "scratch").exists()


def test_no_orphan_survives_a_killed_driver(tmp_path):
    code = (
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, sys.argv[1], str(os.getpid()), '0.5',"
        " *sys.argv[2:]], start_new_session=True).wait()"
    )
    (tmp_path / "scratch").mkdir()
    scratch = str(tmp_path / "scratch")
    ours = [sys.executable, "-c", code, str(SUPERVISOR), scratch, "--"]
    driver = subprocess.Popen([*ours, *tree(tmp_path)])
    pids = pids_of(tmp_path)
    driver.kill()
    driver.wait(10)
    assert eventually(lambda: not any(map(is_running, pids)))
    assert eventually(lambda: not (tmp_path / "scratch").exists())


@pytest.mark.parametrize("prefix", ["", "trap '' TERM; "])
def test_no_orphan_survives_a_killed_supervisor(tmp_path, prefix):
    supervisor = start(tmp_path, tree(tmp_path, prefix))
    pids = pids_of(tmp_path)
    supervisor.kill()
    supervisor.wait(10)
    assert eventually(lambda: not any(map(is_running, pids)))
    assert eventually(lambda: not (tmp_path / "scratch").exists())
