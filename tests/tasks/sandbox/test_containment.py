"""Hostile programs, one property each: contained, not ok, the next job unharmed."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox import Job, Limits, Sandbox

QUICK = Limits(cpu_s=1, wall_s=30.0)  # a busy machine is slow, not wrong
BRIEF = Limits(wall_s=1.0)


def run(*jobs, limits=QUICK, num_workers=1):
    """Run jobs one after the other in one worker, then prove that it still works."""

    async def main():
        async with Sandbox(num_workers) as sandbox:
            outcomes = [await sandbox.run(job, limits) for job in jobs]
            after = await sandbox.run(Job("python", "print(6 * 7)"))
            return outcomes, after

    outcomes, after = asyncio.run(main())
    assert (after.is_ok, after.output, after.reason) == (True, "42\n", "")
    return outcomes


def python(source, **more):
    return Job("python", source, **more)


def bash(source, **more):
    return Job("bash", source, **more)


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (python("while True: pass"), "took more than 1 s of CPU"),
        (bash("while true; do :; done"), "took more than 1 s of CPU"),
        (python("x = bytearray(10 << 30)"), "used more than 512 MiB of memory"),
        (bash("tail /dev/zero"), "used more than 512 MiB of memory"),
        (bash("yes"), "printed more than 64 KiB"),
        (python("while True: print('y' * 999)"), "printed more than 64 KiB"),
        (bash("yes >&2"), "printed more than 64 KiB"),
        (python("import os\nwhile True: os.fork()"), "started more than 16 processes"),
        (bash("f() { f | f & }; f; wait; sleep 1"), "started more than 16 processes"),
        (python("open('x', 'wb').write(bytes(20 << 20))"), "a file larger than 16 MiB"),
        (python("open('/usr/x', 'w')"), "Read-only file system|Permission denied"),
        (python("open('/etc/x', 'w')"), "Read-only file system|Permission denied"),
        (bash("touch /x"), "Read-only file system|Permission denied"),
        (bash("cat /etc/shadow"), "No such file"),
        (bash("cat /root/.bashrc"), "No such file|Permission denied"),
        (python("import os; os.kill(os.getppid(), 9)"), "not permitted"),
        (bash("kill -9 1"), "not permitted"),
        (bash("mount -t tmpfs none /scratch"), "permission|superuser|exit status"),
        (bash("unshare -m true"), "not permitted|exit status"),
        (bash("chroot / true"), "not permitted|exit status"),
        (python("\0"), "null bytes"),
        (bash("exit 3"), "exit status 3"),
        (python("raise SystemExit(4)"), "exit status 4"),
        (python("import os; os.kill(os.getpid(), 11)"), "ended by signal 11"),
    ],
    ids=lambda value: value.source[:40] if isinstance(value, Job) else "",
)
def test_it_is_contained_with_its_reason(job, reason):
    (outcome,) = run(job)
    assert not outcome.is_ok
    assert any(part in outcome.reason for part in reason.split("|")), outcome.reason
    assert "\n" not in outcome.reason


@pytest.mark.parametrize(
    "job", [python("import time; time.sleep(60)"), bash("sleep 60")]
)
def test_waiting_for_ever_is_ended(job):
    (outcome,) = run(job, limits=BRIEF)
    assert outcome.reason == "took longer than 1 s"


def test_the_network_is_out_of_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = "import socket; socket.create_connection(({!r}, {}), timeout=2)"
        here, outside = run(
            python(connect.format("127.0.0.1", port)),
            python(connect.format("192.0.2.1", 80)),
        )
    assert "Connection refused" in here.reason
    assert "unreachable" in outside.reason


def test_the_hosts_files_are_out_of_sight(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("treasure")
    outcome, listing = run(bash(f"cat {secret}"), bash("ls -A /tmp /dev/shm /scratch"))
    assert "No such file" in outcome.reason
    assert listing.output.split() == ["/dev/shm:", "/scratch:", "/tmp:"]


def test_the_drivers_environment_is_out_of_sight(monkeypatch):
    monkeypatch.setenv("LORAQD_TEST_SECRET", "treasure")
    outcomes = run(
        bash("env; cat /proc/*/environ"), python("import os; print(os.environ)")
    )
    assert not any("treasure" in outcome.output for outcome in outcomes)


def test_other_processes_are_out_of_sight():
    (outcome,) = run(bash("ls -d /proc/[0-9]*"))
    assert len(outcome.output.split()) <= 3


def test_killing_everything_kills_only_oneself():
    (outcome,) = run(bash("kill -9 -1; echo alive"))
    assert outcome.output == "alive\n"


def test_a_daemon_dies_with_its_job(tmp_path):
    mark = f"7{os.getpid()}"
    run(bash(f"(setsid sleep {mark} &) ; (setsid sleep {mark} &); true"))
    time.sleep(0.2)
    lines = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not any(mark.encode() in line for line in lines)


def test_nothing_leaks_from_one_job_to_the_next():
    _, files, builtins = run(
        python(
            "import builtins, json\n"
            "builtins.len = json.dumps = None\n"
            "for path in ('/tmp/x', '/scratch/x', '/dev/shm/x'): open(path, 'w')"
        ),
        bash("ls -A /tmp /scratch /dev/shm | grep x"),
        python("import json; print(len(json.dumps([1])))"),
    )
    assert files.output == ""
    assert builtins.output == "3\n"


def test_the_scratch_directory_cannot_be_filled_without_end():
    (outcome,) = run(
        bash("for i in $(seq 99); do head -c 15000000 /dev/zero > $i || exit 7; done"),
        limits=Limits(wall_s=20.0, cpu_s=10),
    )
    assert not outcome.is_ok
    assert "exit status 7" in outcome.reason or "No space left" in outcome.reason


def test_the_tree_is_returned_and_links_are_not_followed():
    (outcome,) = run(
        bash(
            "ln -s /etc/passwd link; mkfifo pipe; mkdir d; echo new > d/f; "
            "chmod 000 d/f; printf 'a\\377b' > raw",
            files={"old.txt": "kept", "e/g": "x", "empty": None},
            collect_tree=True,
        )
    )
    assert outcome.files == {
        "old.txt": "kept",
        "e": None,
        "e/g": "x",
        "empty": None,
        "link": "link to /etc/passwd",
        "pipe": "special file",
        "d": None,
        "d/f": "new\n",
        "raw": "a\ufffdb",
    }


@pytest.mark.parametrize(
    "source",
    ["for i in $(seq 2000); do echo > $i; done", "head -c 9000000 /dev/zero > big"],
)
def test_a_huge_tree_is_not_returned(source):
    (outcome,) = run(bash(source, collect_tree=True), limits=Limits(wall_s=20.0))
    assert len(outcome.files) <= 1
    assert sum(len(text or "") for text in outcome.files.values()) < 2_000_000


def test_output_that_is_no_text_is_replaced_and_unicode_kept():
    binary, text = run(bash("printf 'a\\377b'"), python("print('é😀')"))
    assert binary.output == "a\ufffdb"
    assert text.output == "é😀\n"


def test_an_answer_cannot_write_into_the_answers_channel():
    (outcome,) = run(
        python(
            "import os\n"
            "for fd in range(3, 64):\n"
            "    try: os.write(fd, b'\\0\\0\\0\\2{}')\n"
            "    except OSError: pass\n"
            "print('done')"
        )
    )
    assert outcome.output == "done\n"


def test_closing_standard_output_is_no_crash():
    (outcome,) = run(python("import os; os.close(1); os.close(2)"))
    assert outcome.output == ""


def test_more_jobs_than_workers_wait_in_line():
    async def main():
        async with Sandbox(2) as sandbox:
            jobs = [sandbox.run(python(f"print({i})")) for i in range(20)]
            return [outcome.output for outcome in await asyncio.gather(*jobs)]

    assert asyncio.run(main()) == [f"{i}\n" for i in range(20)]


def test_a_cancelled_job_is_killed_and_the_pool_goes_on():
    async def main():
        async with Sandbox(1) as sandbox:
            job = asyncio.create_task(sandbox.run(bash("sleep 60"), Limits(wall_s=90)))
            await asyncio.sleep(0.3)
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            return await sandbox.run(python("print(1)"))

    assert asyncio.run(main()).output == "1\n"


def test_a_dead_worker_is_replaced():
    async def main():
        async with Sandbox(1) as sandbox:
            sandbox._idle[0]._process.kill()
            return await sandbox.run(python("print(1)"))

    assert asyncio.run(main()).output == "1\n"


def test_a_killed_driver_leaves_no_worker():
    code = (
        "import asyncio, os\n"
        "from lora_qd.tasks.sandbox import Sandbox\n"
        "async def main():\n"
        "    sandbox = Sandbox(1)\n"
        "    await sandbox.__aenter__()\n"
        "    print(sandbox._idle[0]._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    worker = Path(f"/proc/{int(done.stdout)}")
    deadline = time.monotonic() + 10
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()


def test_without_bubblewrap_nothing_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SandboxError, match="bwrap is not on the PATH; install bubblewrap"
    ):
        run(python("print(1)"))


def test_a_bubblewrap_that_may_not_make_namespaces_is_one_line(monkeypatch, tmp_path):
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        SandboxError, match="No permissions to create .*; install bubblewrap"
    ):
        run(python("print(1)"))


def test_a_pool_without_workers_is_refused():
    with pytest.raises(ValueError, match="num_workers >= 1"):
        Sandbox(0)
