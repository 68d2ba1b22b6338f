"""The pool: waiting in line, cancelling, dying, closing, and machines without it."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox import Limits, Sandbox
from tests.tasks.sandbox.jobs import bash, is_running, python, run

PATIENT = Limits(wall_s=600)


def test_more_jobs_than_workers_wait_in_line():
    async def main():
        async with Sandbox(2) as sandbox:
            jobs = [sandbox.run(python(f"print({i})")) for i in range(20)]
            return [outcome.output for outcome in await asyncio.gather(*jobs)]

    assert asyncio.run(main()) == [f"{i}\n" for i in range(20)]


def test_a_cancelled_job_is_killed_and_the_pool_goes_on():
    async def main():
        async with Sandbox(1) as sandbox:
            worker = sandbox._idle[0]
            job = asyncio.create_task(sandbox.run(bash("sleep 600"), PATIENT))
            await asyncio.sleep(0.3)
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            return worker._peer._process.poll(), await sandbox.run(python("print(1)"))

    status, outcome = asyncio.run(main())
    assert status == -9
    assert outcome.output == "1\n"


def test_a_job_cancelled_in_the_line_costs_nobody_anything():
    async def main():
        async with Sandbox(1) as sandbox:
            first = asyncio.create_task(sandbox.run(bash("sleep 0.5; echo first")))
            second = asyncio.create_task(sandbox.run(bash("echo second")))
            await asyncio.sleep(0.1)
            second.cancel()
            return (await first).output, (await sandbox.run(bash("echo third"))).output

    assert asyncio.run(main()) == ("first\n", "third\n")


def test_a_dead_worker_is_replaced():
    async def main():
        async with Sandbox(1) as sandbox:
            sandbox._idle[0].kill()
            return await sandbox.run(python("print(1)"))

    assert asyncio.run(main()).output == "1\n"


def test_a_job_whose_worker_dies_is_tried_again():
    async def main():
        async with Sandbox(1) as sandbox:
            job = asyncio.create_task(sandbox.run(bash("sleep 1; echo done"), PATIENT))
            await asyncio.sleep(0.3)
            next(iter(sandbox._busy)).kill()
            return await job

    assert asyncio.run(main()).output == "done\n"


def test_closing_ends_what_still_runs():
    async def main():
        sandbox = Sandbox(1)
        await sandbox.__aenter__()
        jobs = [asyncio.create_task(sandbox.run(bash("sleep 600"), PATIENT))]
        jobs += [asyncio.create_task(sandbox.run(bash("true")))]
        await asyncio.sleep(0.3)
        await sandbox.close()
        return await asyncio.gather(*jobs, return_exceptions=True)

    for error in asyncio.run(main()):
        assert isinstance(error, SandboxError)
        assert "expected an open sandbox" in str(error)


DRIVER = """
import asyncio, sys
from lora_qd.tasks.sandbox import Job, Limits, Sandbox
async def main():
    async with Sandbox(1) as sandbox:
        print(sandbox._idle[0].pid, flush=True)
        await sandbox.run(Job("bash", f"sleep {sys.argv[1]}"), Limits(wall_s=600))
asyncio.run(main())
"""


def until(is_true):
    deadline = time.monotonic() + 60
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_true()


def test_a_killed_driver_leaves_neither_worker_nor_job():
    seconds = f"8{os.getpid()}"
    line = [sys.executable, "-c", DRIVER, seconds]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as driver:
        worker = Path(f"/proc/{int(driver.stdout.readline())}")
        assert until(lambda: is_running("sleep", seconds))
        driver.kill()
    assert until(lambda: not worker.exists())
    assert until(lambda: not is_running("sleep", seconds))


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


def test_a_worker_that_keeps_dying_is_an_error_not_a_score(monkeypatch, tmp_path):
    bwrap = tmp_path / "bwrap"
    ready = "printf '\\0\\0\\0\\2{}' >&0"
    bwrap.write_text(
        f"#!/bin/sh\n{ready}\nhead -c 1 >/dev/null\necho 'out of order' >&2\n"
    )
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxError, match="2 in a row did not: out of order; check"):
        run(python("print(1)"))


def test_a_pool_without_workers_is_refused():
    with pytest.raises(ValueError, match="num_workers >= 1"):
        Sandbox(0)


ORDINARY_USER = """
import asyncio
from lora_qd.tasks.sandbox import Job, Sandbox
async def main():
    async with Sandbox(1) as sandbox:
        for source in (
            "import os\\nwhile True: os.fork()",
            "import os; os.kill(1, 2); os.kill(1, 9); print('alive')",
            "open('/dev/x', 'w')",
            "open('/proc/1/environ').read()",
            "print(6 * 7)",
        ):
            outcome = await sandbox.run(Job("python", source))
            print(outcome.reason, outcome.output.strip(), sep=': ')
asyncio.run(main())
"""


IDENTITY = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
NO_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="needs root and setpriv, to become somebody else",
)


def interpreter_for_all():
    """Return an interpreter that every user may run."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for path in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([*IDENTITY, path, "-c", check], check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return path
    return pytest.skip("no interpreter that another user may run")


@pytest.fixture
def package_for_all():
    """A copy of what the sandbox needs, where every user may read it."""
    root = Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory() as directory:
        sources = ("__init__.py", "errors.py", "tasks/__init__.py", "tasks/sandbox")
        for path in (f"lora_qd/{source}" for source in sources):
            copy = shutil.copytree if (root / path).is_dir() else shutil.copy
            (Path(directory) / path).parent.mkdir(parents=True, exist_ok=True)
            copy(root / path, Path(directory) / path)
        subprocess.run(["chmod", "-R", "a+rX", directory], check=True)
        yield directory


def run_driver(line, package):
    """Run `ORDINARY_USER` by ``line``, somewhere else than in the checkout."""
    return subprocess.run(
        line,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": package},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@needs_root
def test_it_works_without_root_too(package_for_all):
    line = [*IDENTITY, interpreter_for_all(), "-B", "-c", ORDINARY_USER]
    done = run_driver(line, package_for_all)
    assert done.stderr == ""
    bomb, kill, write, read, last = done.stdout.splitlines()
    assert bomb == "started more than 16 processes: "
    assert kill == ": alive"
    assert "Read-only file system" in write
    assert "Permission denied" in read
    assert last == ": 42"


@needs_root
def test_where_namespaces_are_forbidden_nothing_runs(package_for_all):
    line = ["unshare", "-Ur", "sh", "-c", NO_NAMESPACES, "sh"]
    line += [sys.executable, "-B", "-c", ORDINARY_USER]
    done = run_driver(line, package_for_all)
    assert done.stdout == ""
    assert "SandboxError: expected bubblewrap to start, but got: bwrap: " in done.stderr
    assert "allow user namespaces" in done.stderr
