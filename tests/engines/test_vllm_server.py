"""The life of a real vLLM server: bad starts, ends, and no orphans."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lora_qd.engines import VllmServer
from lora_qd.engines.server_log import excerpt, read_log, remedy
from lora_qd.errors import EngineError
from tests.engines.test_supervisor import eventually, is_running
from tests.tiny_base import server_settings

ROOT = Path(__file__).parents[2]


def group_of(leader):
    """Return the ids of the running processes of a process group."""
    pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [pid for pid in pids if is_running(pid) and pgid_of(pid) == leader]


def pgid_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_the_cause_of_a_failure_is_shown_above_the_last_lines(tmp_path):
    log = tmp_path / "log"
    cause = "(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:1] ValueError: too small"
    log.write_text("\n".join(["start", cause, *(f"line {n}" for n in range(30))]))
    lines = excerpt(read_log(log))
    assert lines[0] == "ValueError: too small"
    assert lines[-1] == "line 29"
    assert len(lines) < 16


def test_a_missing_log_has_no_last_lines(tmp_path):
    assert excerpt(read_log(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to",
            "lower engine.max_num",
        ),
        ("ValueError: No available memory for the cache blocks.", "lower engine.max"),
        (
            "ValueError: Free memory on device (1/8 GiB) is less than desired "
            "GPU memory utilization (0.9, 7 GiB).",
            "or serve a quantised base",
        ),
        (
            "the server ended with exit status -9",
            "the kernel does when memory runs out",
        ),
        ("OSError: [Errno 98] Address already in use", "stop who listens there"),
        ("KeyError: 'x'", "mend it"),
    ],
)
def test_the_log_names_the_remedy(line, advice):
    assert advice in remedy(f"INFO start\n{line}\nbye", otherwise="mend it")


def test_a_restarted_server_s_log_is_read_from_its_start(tmp_path):
    log = tmp_path / "log"
    log.write_text("ValueError: of the first\nsecond\n")
    assert excerpt(read_log(log, offset=len("ValueError: of the first\n"))) == [
        "second"
    ]


def test_a_closed_server_is_not_started_again():
    server = VllmServer(server_settings("base"))
    server.close()
    with pytest.raises(EngineError, match="expected an open vLLM server"):
        server.start()


def test_a_server_that_is_not_started_is_no_running_one():
    with pytest.raises(EngineError, match="it is not started"):
        VllmServer(server_settings("base")).require_alive()


@pytest.mark.slow
def test_a_bad_model_path_is_one_error_with_the_last_log_lines(tmp_path):
    settings = server_settings(tmp_path / "nothing")
    server = VllmServer(settings, tmp_path / "log")
    with pytest.raises(EngineError, match=r"(?s)nothing, but it ended.*log:\n.*Error"):
        server.start()
    assert not server.adapters.exists()
    assert (tmp_path / "log").is_file()


@pytest.mark.slow
def test_a_server_that_is_silent_too_long_is_ended(tiny_base, tmp_path):
    settings = server_settings(tiny_base, start_timeout_s=1.0)
    server = VllmServer(settings, tmp_path / "log")
    with pytest.raises(EngineError, match="it was silent for 1 s"):
        server.start()
    with pytest.raises(EngineError, match="it is not started"):
        server.require_alive()


@pytest.mark.slow
def test_a_stopped_server_leaves_no_process_socket_or_file(tiny_base):
    with VllmServer(server_settings(tiny_base)) as server:
        pids = group_of(server.pid)
        assert len(pids) >= 3  # supervisor, API server, engine
        places = [server.adapters, server.socket.parent, server.log]
        assert server.socket.is_socket()
        assert server.socket.parent.stat().st_mode & 0o077 == 0
    assert not any(map(is_running, pids))
    assert not any(place.exists() for place in places)


@pytest.mark.slow
def test_no_orphan_survives_a_killed_driver(tiny_base, tmp_path):
    code = (
        "import json, sys, time\n"
        "from lora_qd.engines import VllmServer\n"
        "from tests.tiny_base import server_settings\n"
        "server = VllmServer(server_settings(sys.argv[1]))\n"
        "server.start()\n"
        "print(json.dumps([server.pid, str(server.adapters), str(server.socket)]),"
        " flush=True)\n"
        "time.sleep(600)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(tiny_base)], stdout=subprocess.PIPE, cwd=ROOT
    )
    leader, *places = json.loads(driver.stdout.readline())
    pids = group_of(leader)
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=10)
    assert len(pids) >= 3
    assert eventually(lambda: not any(map(is_running, pids)))
    assert not any(Path(place).exists() for place in places)
