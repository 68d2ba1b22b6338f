"""One sandbox worker, seen from outside: a bubblewrap process that answers jobs."""

import asyncio
import contextlib
import json
import struct
from dataclasses import asdict
from typing import Any

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.bubblewrap import REMEDY, command
from lora_qd.tasks.sandbox.job import MIB, Job, Limits, Outcome

_START_S = 30.0
_GRACE_S = 20.0
"""Beyond a job's own wall time, a worker that is silent for so long is broken."""
_MEMORY_SIGNS = (
    "MemoryError",
    "Cannot allocate memory",
    "cannot allocate",
    "exhausted",
)
_PROCESS_SIGNS = ("Resource temporarily unavailable", "can't start new thread")


class WorkerDied(Exception):  # noqa: N818 - an event, not an error of the caller
    """The worker broke, not the job; another worker may do better."""


class Worker:
    """A warm interpreter in bubblewrap; runs one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> "Worker":
        """Start a worker and wait until it is warm.

        Raises:
            SandboxError: bubblewrap is missing or cannot make its namespaces.
        """
        process = await asyncio.create_subprocess_exec(
            *command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=32 * MIB,
        )
        worker = cls(process)
        try:
            await asyncio.wait_for(worker._read(), _START_S)
        except (WorkerDied, TimeoutError) as error:
            reason = await worker.last_words()
            raise SandboxError(
                f"expected bubblewrap to start, but got: {reason}; {REMEDY}"
            ) from error
        except BaseException:
            await worker.stop()
            raise
        return worker

    async def run(self, job: Job, limits: Limits) -> Outcome:
        """Run one job.

        Raises:
            WorkerDied: the worker broke; it must be replaced.
        """
        message = json.dumps(asdict(job) | {"limits": asdict(limits)}).encode()
        try:
            if self._process.stdin is None:
                raise WorkerDied
            self._process.stdin.write(struct.pack(">I", len(message)) + message)
            await self._process.stdin.drain()
            answer = await asyncio.wait_for(self._read(), limits.wall_s + _GRACE_S)
        except (OSError, TimeoutError) as error:
            raise WorkerDied from error
        return _outcome(answer, limits)

    async def last_words(self) -> str:
        """Stop the worker and return the last line that it wrote to its log."""
        await self.stop()
        stream = self._process.stderr
        text = (await stream.read()).decode(errors="replace") if stream else ""
        return (text.strip().splitlines() or ["no message"])[-1]

    async def stop(self) -> None:
        """Kill the worker with all its jobs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _read(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise WorkerDied
        try:
            head = await self._process.stdout.readexactly(4)
            (length,) = struct.unpack(">I", head)
            answer = json.loads(await self._process.stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ValueError) as error:
            raise WorkerDied from error
        return dict(answer)


def _outcome(answer: dict[str, Any], limits: Limits) -> Outcome:
    reason = _reason(answer, limits)
    return Outcome(not reason, answer["output"], reason, answer.get("files", {}))


def _reason(answer: dict[str, Any], limits: Limits) -> str:
    """Return why a job failed, in one line; empty if it did not."""
    limit = answer["broken"] or answer["limit"]
    said = (answer["error"].strip().splitlines() or [""])[-1][:200]
    if any(sign in answer["error"] for sign in _PROCESS_SIGNS):
        return f"started more than {limits.num_processes} processes"
    if not limit:
        return ""
    if limit == "status":
        if any(sign in said for sign in _MEMORY_SIGNS):
            return f"used more than {limits.memory_bytes // MIB} MiB of memory"
        return f"exit status {answer['code']}: {said}".rstrip(": ")
    by_limit = {
        "cpu": f"took more than {limits.cpu_s} s of CPU",
        "wall": f"took longer than {limits.wall_s:g} s",
        "output": f"printed more than {limits.output_bytes // 1024} KiB",
        "file": f"wrote a file larger than {limits.file_bytes // MIB} MiB",
    }
    return by_limit.get(limit, f"ended by {limit}")
