"""The sandbox: a pool of workers behind one coroutine."""

import asyncio
from types import TracebackType

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.job import Job, Limits, Outcome
from lora_qd.tasks.sandbox.memory import OutcomeMemory
from lora_qd.tasks.sandbox.worker import Worker, WorkerDied

_TRIES = 2
_DEFAULT_LIMITS = Limits()


class Sandbox:
    """Runs untrusted jobs, ``num_workers`` at a time; more of them wait in line.

    Nothing is started before it is entered or the first job comes. Use it in one event
    loop only.
    """

    def __init__(
        self,
        num_workers: int = 2,
        limits: Limits = _DEFAULT_LIMITS,
        *,
        num_remembered: int = 0,
    ) -> None:
        """Set the size of the pool.

        Args:
            num_workers: jobs at once.
            limits: what a job may use unless ``run`` says otherwise.
            num_remembered: outcomes to remember; a job among them is not run again.

        Raises:
            ValueError: ``num_workers`` is below 1.
        """
        if num_workers < 1:
            raise ValueError(f"expected num_workers >= 1, but got {num_workers}")
        self._limits = limits
        self._memory = OutcomeMemory(num_remembered)
        self._num_workers = num_workers
        self._slots = asyncio.Semaphore(num_workers)
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._is_closed = False

    async def __aenter__(self) -> "Sandbox":
        """Prove that the sandbox works before anything depends on it."""
        outcome = await self.run(Job("python", ""))
        if not outcome.is_ok:
            await self.close()
            raise SandboxError(
                f"expected the sandbox to run an empty program, but it failed: "
                f"{outcome.reason}; check free memory and the limits"
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Kill all workers with what they run, and wait until all of it is gone.

        A ``run`` that is still going on raises.
        """
        self._is_closed = True
        for worker in self._busy:
            worker.kill()
        for _ in range(self._num_workers):  # all runs have ended once we hold all slots
            await self._slots.acquire()
        while self._idle:
            await self._idle.pop().stop()
        for _ in range(self._num_workers):
            self._slots.release()

    async def run(self, job: Job, limits: Limits | None = None) -> Outcome:
        """Run one job in fresh namespaces and a fresh scratch directory.

        A cancelled job is killed, with the worker that ran it. A remembered outcome is
        returned at once.

        Raises:
            SandboxError: bubblewrap does not work, a worker broke twice, or the sandbox
                is closed.
        """
        self._check_open()
        limits = limits or self._limits
        known = self._memory.find(job, limits)
        if known is not None:  # without waiting for a worker
            return known
        reason = ""
        async with self._slots:
            # Other candidates write the same; one of them may have been first.
            known = self._memory.find(job, limits)
            if known is not None:
                return known
            for _ in range(_TRIES):
                try:
                    return await self._try(job, limits)
                except WorkerDied as error:
                    reason = str(error)
        raise SandboxError(
            f"expected a sandbox worker to answer, but {_TRIES} in a row did not: "
            f"{reason}; check free memory and the kernel's log"
        )

    async def _try(self, job: Job, limits: Limits) -> Outcome:
        self._check_open()
        worker = self._idle.pop() if self._idle else await Worker.start()
        self._busy.add(worker)
        try:
            self._check_open()  # it may have closed while the worker started
            outcome = await worker.run(job, limits)
            self._memory.keep(job, limits, outcome)
            self._idle.append(worker)
            return outcome
        finally:
            self._busy.discard(worker)
            if worker not in self._idle:
                await worker.stop()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SandboxError(
                "expected an open sandbox, but this one was closed; make a new one"
            )
