"""One sandbox worker, seen from outside: a bubblewrap process that answers jobs."""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import tempfile
from dataclasses import asdict
from typing import IO, Any

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.bubblewrap import REMEDY, command
from lora_qd.tasks.sandbox.job import Job, Limits, Outcome
from lora_qd.tasks.sandbox.verdict import outcome_of, was_killed

_START_S = 60.0
_GRACE_S = 20.0
"""Beyond a job's own wall time, a worker that is silent for so long is broken."""
_END_S = 10.0
_MOST_LOG_BYTES = 64 * 1024


class WorkerDied(Exception):  # noqa: N818 - an event, not an error of the caller
    """The worker broke, not the job; another worker may do better."""


class Worker:
    """A warm interpreter in bubblewrap; runs one job at a time."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: IO[bytes],
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._process = process
        self._log = log
        self._reader, self._writer = streams

    @classmethod
    async def start(cls) -> "Worker":
        """Start a worker and wait until it is warm.

        Raises:
            SandboxError: bubblewrap is missing or cannot make its namespaces.
        """
        worker = await cls._spawn(command())
        try:
            await asyncio.wait_for(worker._read(), _START_S)
        except (WorkerDied, TimeoutError) as error:
            reason = await worker.stop()
            raise SandboxError(
                f"expected bubblewrap to start, but got: {reason}; {REMEDY}"
            ) from error
        except BaseException:
            await worker.stop()
            raise
        return worker

    @classmethod
    async def _spawn(cls, line: list[str]) -> "Worker":
        ours, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        try:
            with theirs:
                streams = await asyncio.open_unix_connection(sock=ours)
                process = subprocess.Popen(
                    line, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=log
                )
        except BaseException:
            log.close()
            ours.close()
            raise
        return cls(process, log, streams)

    async def run(self, job: Job, limits: Limits) -> Outcome:
        """Run one job.

        Raises:
            WorkerDied: the worker broke and is stopped; the message is its last word.
        """
        message = json.dumps(asdict(job) | {"limits": asdict(limits)}).encode()
        try:
            answer = await self._ask(message, limits.wall_s)
            if was_killed(answer, limits):  # perhaps for want of memory: once more
                answer = await self._ask(message, limits.wall_s)
        except (WorkerDied, OSError, TimeoutError) as error:
            raise WorkerDied(await self.stop()) from error
        return outcome_of(answer, limits)

    async def _ask(self, message: bytes, wall_s: float) -> dict[str, Any]:
        self._writer.write(struct.pack(">I", len(message)) + message)
        await self._writer.drain()
        return await asyncio.wait_for(self._read(), wall_s + _GRACE_S)

    def kill(self) -> None:
        """Kill the worker and, through its namespace, all that runs in it."""
        self._process.kill()

    async def stop(self) -> str:
        """Kill the worker, wait until it is gone; return the last line of its log."""
        self.kill()
        try:
            # Its processes hold the other end of our socket until the last is gone.
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._reader.read(), _END_S)
        finally:
            self._process.wait()  # killed above: a matter of milliseconds
            self._writer.close()
            reason = self._last_words()
        return reason

    def _last_words(self) -> str:
        if self._log.closed:
            return ""
        with self._log:
            size = self._log.seek(0, os.SEEK_END)
            self._log.seek(max(0, size - _MOST_LOG_BYTES))
            lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it died without a word"

    async def _read(self) -> dict[str, Any]:
        try:
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            return dict(json.loads(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError, ValueError) as error:
            raise WorkerDied from error
