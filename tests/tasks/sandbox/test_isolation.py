"""What a program must not see, reach, change or leave behind."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from tests.tasks.sandbox.jobs import bash, is_running, python, run

CONNECT = "import socket; socket.create_connection(({!r}, {}), timeout=2)"
OTHER_FAMILIES = """
import socket
for family in (16, 17, 38, 40):  # netlink, packet, crypto, virtual machine
    try:
        socket.socket(family, socket.SOCK_RAW if family < 20 else socket.SOCK_STREAM)
    except PermissionError:
        print(family)
"""
FORBIDDEN_CALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for call in (
    lambda: libc.unshare(0x10000000),
    lambda: libc.mount(b"none", b"/scratch", b"tmpfs", 0, None),
    lambda: libc.umount2(b"/proc", 2),
    lambda: libc.chroot(b"/scratch"),
    lambda: libc.setuid(1),
    lambda: libc.ptrace(16, 1, 0, 0),
    lambda: libc.memfd_create(b"x", 0),
    lambda: libc.shmget(0, 4096, 0o1600),
    lambda: libc.prlimit(1, 7, 0, 0),
    lambda: libc.process_vm_readv(1, 0, 0, 0, 0, 0),
):
    print(call(), errno.errorcode[ctypes.get_errno()])
"""
SEARCH = """
import re
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
    for line in maps:
        span, rights = line.split()[:2]
        start, end = (int(part, 16) for part in span.split("-"))
        if rights.startswith("rw"):
            memory.seek(start)
            if re.search(rb"(tr[e]asure){3}", memory.read(end - start)):
                print("found")
print("done")
"""
FORGED = b"\0\0\0\2{}"


@pytest.mark.parametrize(
    "source",
    [
        "echo > /x",
        "echo > /usr/x",
        "echo > /etc/x",
        "echo > /dev/x",
        "echo > /worker/x",
        "echo > /proc/sys/kernel/hostname",
        "echo 0 > /proc/1/oom_score_adj",
        "mkdir /home",
        "rm -rf /usr/bin/env",
        "chmod 777 /",
        "mknod x b 8 0",
        "mount -t tmpfs none /scratch",
        "umount -l /scratch",
        "unshare -Ur true",
        "chroot /scratch true",
        "su nobody -c true",
        "cat /etc/shadow",
        "cat /etc/passwd",
        "ls /home",
        "ls /sys",
        "ls /proc/1/root/",
        "cat /proc/1/environ",
        "cat /proc/1/mem",
        "readlink /proc/1/fd/0",
    ],
)
def test_the_system_is_closed(source):
    (outcome,) = run(bash(source))
    assert (outcome.is_ok, outcome.output) == (False, "")
    assert outcome.reason


def test_calls_into_the_kernel_are_refused():
    (outcome,) = run(python(FORBIDDEN_CALLS))
    assert outcome.output.split() == ["-1", "EPERM"] * 10


def test_the_network_is_out_of_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        here, outside, families = run(
            python(CONNECT.format("127.0.0.1", port)),
            python(CONNECT.format("192.0.2.1", 80)),
            python(OTHER_FAMILIES),
        )
        server.setblocking(False)
        with pytest.raises(BlockingIOError, match="temporarily unavailable"):
            server.accept()
    assert "Connection refused" in here.reason
    assert "unreachable" in outside.reason
    assert families.output.split() == ["16", "17", "38", "40"]


@pytest.mark.parametrize("directory", [tempfile.gettempdir(), Path.home(), "/dev/shm"])
def test_the_hosts_files_are_out_of_sight(directory):
    with tempfile.NamedTemporaryFile("w", dir=directory) as secret:
        secret.write("treasure")
        secret.flush()
        os.chmod(secret.name, 0o644)
        (outcome,) = run(bash(f"cat {secret.name}"))
    assert "No such file" in outcome.reason


def test_the_drivers_environment_is_out_of_sight(monkeypatch):
    monkeypatch.setenv("LORAQD_TEST_SECRET", "treasure")
    outcomes = run(
        bash("env; cat /proc/*/environ"),
        python(
            "import os; print(os.environ)\nprint(open('/proc/self/environ').read())"
        ),
    )
    assert "HOME=/scratch" in outcomes[0].output
    assert not any("treasure" in outcome.output for outcome in outcomes)


def test_other_processes_are_out_of_sight():
    (outcome,) = run(bash("ls -d /proc/[0-9]*"))
    assert len(outcome.output.split()) <= 3


@pytest.mark.parametrize("signal", ["INT", "TERM", "CHLD", "STOP", "KILL", "XCPU"])
def test_a_program_cannot_signal_its_supervisor(signal):
    (outcome,) = run(bash(f"kill -{signal} 1; kill -{signal} $PPID; echo alive"))
    assert outcome.output == "alive\n"


def test_killing_everything_kills_only_oneself():
    (outcome,) = run(bash("kill -9 -1; echo alive"))
    assert outcome.output == "alive\n"


def test_a_daemon_dies_with_its_job():
    seconds = f"7{os.getpid()}"
    run(bash(f"(setsid sleep {seconds} &) ; (setsid nohup sleep {seconds} &); true"))
    assert not is_running("sleep", seconds)


def test_nothing_leaks_from_one_job_to_the_next():
    _, files, modules = run(
        python(
            "import builtins, json, os, sys\n"
            "builtins.len = json.dumps = None\n"
            "os.environ['PATH'] = sys.path[:] = ''\n"
            "for path in ('/tmp/x', '/scratch/x', '/dev/shm/x'): open(path, 'w')"
        ),
        bash("find /tmp /scratch /dev/shm -mindepth 1; echo $PATH"),
        python("import json, colorsys; print(len(json.dumps([1])))"),
    )
    assert files.output == "/usr/bin:/bin\n"
    assert modules.output == "3\n"


def test_a_program_cannot_reach_the_channel_of_answers():
    lines = (
        "import os",
        "descriptors = list(range(1024))",
        "for fd in descriptors[3:]:",
        f"    try: os.write(fd, {FORGED!r}); print('wrote', fd)",
        "    except OSError: pass",
        "for fd in range(16):",
        "    try: open(f'/proc/1/fd/{fd}', 'wb'); print('opened', fd)",
        "    except OSError: pass",
    )
    (outcome,) = run(python("\n".join(lines)))
    assert (outcome.is_ok, outcome.output) == (True, "")


def test_a_program_that_prints_an_answer_only_prints_it():
    (outcome,) = run(
        bash("printf '\\0\\0\\0\\2{}'; printf '\\0\\0\\0\\2{}' >&2; exit 1")
    )
    assert (outcome.is_ok, outcome.output) == (False, FORGED.decode())


def test_a_program_does_not_find_an_earlier_one_in_its_memory():
    secret = "treasuretreasuretreasure"
    _, later, itself = run(
        python(f"x = {secret!r}; print(x)", files={"f": secret}),
        python(SEARCH),
        python(f"{SEARCH}\nx = {secret!r}"),
    )
    assert later.output == "done\n"
    assert "found" in itself.output


def test_the_order_of_a_set_is_the_same_in_every_worker():
    source = "print({'a', 'b', 'c', 'd', 'e', 'f', 'g'})"
    outputs = {run(python(source))[0].output for _ in range(3)}
    assert len(outputs) == 1
