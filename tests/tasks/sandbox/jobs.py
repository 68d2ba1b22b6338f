"""What the tests of the sandbox share: short jobs, short limits and a way to run."""

import asyncio
import contextlib
from pathlib import Path

from lora_qd.tasks.sandbox import Job, Limits, Sandbox

QUICK = Limits(cpu_s=1, wall_s=20.0)
"""Enough wall time for a busy machine to spend the processor time first."""


def python(source, **more):
    return Job("python", source, **more)


def bash(source, **more):
    return Job("bash", source, **more)


def run(*jobs, limits=QUICK):
    """Run jobs one after the other in one worker, then prove that it still works."""

    async def main():
        async with Sandbox(1) as sandbox:
            outcomes = [await sandbox.run(job, limits) for job in jobs]
            return outcomes, await sandbox.run(python("print(6 * 7)"))

    outcomes, after = asyncio.run(main())
    assert (after.is_ok, after.output, after.reason) == (True, "42\n", "")
    return outcomes


def is_running(*words):
    """Return whether this machine runs a process with these arguments."""
    command = "\0".join(words).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if command in path.read_bytes():
                return True
    return False
