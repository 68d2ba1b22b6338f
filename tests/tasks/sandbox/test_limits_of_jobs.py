"""Greedy and broken programs: each ends with its reason, the next is unharmed."""

import asyncio

import pytest

from lora_qd.tasks.sandbox import Job, Limits, Sandbox
from tests.tasks.sandbox.jobs import QUICK, bash, python, run

HOG = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        block = bytearray(200 << 20)
        block[::4096] = bytes(len(block[::4096]))
        time.sleep(60)
time.sleep(60)
"""
THREADS = """
import threading, time
for _ in range(40):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
CASES = [
    (python("while True: pass"), "took more than 1 s of CPU"),
    (bash("while true; do :; done"), "took more than 1 s of CPU"),
    (bash("for i in 1 2 3; do while :; do :; done & done; wait"), "1 s of CPU"),
    (
        python("import signal\nsignal.signal(24, lambda *_: 0)\nwhile True: pass"),
        "took more than 1 s of CPU",
    ),
    (python("x = bytearray(10 << 30)"), "used more than 512 MiB of memory"),
    (python("x = []\nwhile True: x.append('y' * 99999)"), "512 MiB of memory"),
    (bash("dd if=/dev/zero of=/dev/null bs=2G count=1"), "512 MiB of memory"),
    (python(HOG), "used more than 512 MiB of memory"),
    (bash("yes"), "printed more than 64 KiB"),
    (bash("yes >&2"), "printed more than 64 KiB"),
    (python("while True: print('y' * 999)"), "printed more than 64 KiB"),
    (python("import os\nwhile True: os.fork()"), "started more than 16 processes"),
    (bash("f() { f | f & wait; }; f"), "started more than 16 processes"),
    (bash("for i in $(seq 99); do sleep 60 & done; wait"), "more than 16 processes"),
    (python(THREADS), "started more than 16 processes"),
    (python("open('x', 'wb').write(bytes(20 << 20))"), "a file larger than 16 MiB"),
    (bash("head -c 20000000 /dev/zero > x; exit"), "a file larger than 16 MiB"),
    (python("print('a\0b')"), "null bytes"),
    (bash("echo a\0b"), "null byte"),
    (python("print('\ud800')"), "exit status 1: UnicodeEncodeError"),
    (python("(" * 100_000), "exit status 1"),
    (python("1 / 0"), "exit status 1: ZeroDivisionError: division by zero"),
    (bash("exit 3"), "exit status 3"),
    (bash("echo >&2 'no \033[31mcolour'; exit 3"), "exit status 3: no ?[31mcolour"),
    (python("raise SystemExit(4)"), "exit status 4"),
    (python("import os; os.kill(os.getpid(), 11)"), "ended by signal 11"),
    (bash("kill -9 $$"), "ended by signal 9"),
    (python("import os; os.close(1); print(2)"), "exit status 1"),
]


def title(value):
    return value.source.strip()[:30] if isinstance(value, Job) else ""


@pytest.fixture(scope="module")
def ask():
    """One worker for all cases: what one leaves behind would show in a later one."""
    with asyncio.Runner() as runner:
        sandbox = Sandbox(1)
        runner.run(sandbox.__aenter__())
        yield lambda job, limits=QUICK: runner.run(sandbox.run(job, limits))
        runner.run(sandbox.close())


@pytest.mark.parametrize(("job", "reason"), CASES, ids=title)
def test_a_bad_program_is_ended_with_its_reason(ask, job, reason):
    outcome = ask(job)
    assert not outcome.is_ok
    assert reason in outcome.reason
    assert "\n" not in outcome.reason
    after = ask(python("print(6 * 7)"))
    assert (after.is_ok, after.output, after.reason) == (True, "42\n", "")


@pytest.mark.parametrize(
    "job", [python("import time; time.sleep(99)"), bash("sleep 99")]
)
def test_waiting_for_ever_is_ended(ask, job):
    outcome = ask(job, Limits(wall_s=0.7))
    assert (outcome.is_ok, outcome.reason) == (False, "took longer than 0.7 s")


def test_what_was_printed_before_the_end_is_kept(ask):
    outcome = ask(bash("echo first; sleep 99"), Limits(wall_s=0.7))
    assert outcome.output == "first\n"


def test_output_is_cut_to_its_limit(ask):
    outcome = ask(bash("yes"), Limits(output_bytes=1000))
    assert len(outcome.output) == 1000


@pytest.mark.parametrize("place", ["/scratch", "/tmp", "/dev/shm"])
def test_a_directory_cannot_be_filled_without_end(ask, place):
    fill = (
        f"cd {place}; for i in $(seq 99); do head -c 9999999 /dev/zero > $i || exit 7"
    )
    outcome = ask(bash(f"{fill}; done"), Limits(cpu_s=20, wall_s=60))
    assert "exit status 7" in outcome.reason
    assert "No space left" in outcome.reason


def test_the_number_of_files_is_limited(ask):
    outcome = ask(
        bash("for i in $(seq 9999); do echo > $i || exit 7; done"), Limits(wall_s=60)
    )
    assert "No space left" in outcome.reason


def test_a_job_may_bring_its_own_limits():
    (outcome,) = run(
        bash("sleep 0.1 & sleep 0.1 & wait"), limits=Limits(num_processes=2)
    )
    assert "started more than 2 processes" in outcome.reason
