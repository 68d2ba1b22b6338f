"""The sandbox: a pool of workers behind one coroutine."""

import asyncio
from types import TracebackType

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.job import Job, Limits, Outcome
from lora_qd.tasks.sandbox.worker import Worker, WorkerDied

_TRIES = 2


class Sandbox:
    """Runs untrusted jobs, ``num_workers`` at a time; more of them wait in line.

    Nothing is started before it is entered or the first job comes. Use it in one event
    loop only.
    """

    def __init__(self, num_workers: int = 2, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        """Set the size of the pool.

        Args:
            num_workers: jobs at once.
            limits: what a job may use unless ``run`` says otherwise.

        Raises:
            ValueError: ``num_workers`` is below 1.
        """
        if num_workers < 1:
            raise ValueError(f"expected num_workers >= 1, but got {num_workers}")
        self._limits = limits
        self._slots = asyncio.Semaphore(num_workers)
        self._idle: list[Worker] = []

    async def __aenter__(self) -> "Sandbox":
        """Prove that the sandbox works before anything depends on it."""
        outcome = await self.run(Job("python", ""))
        if not outcome.is_ok:
            raise SandboxError(
                f"expected the sandbox to run an empty program, but it {outcome.reason}"
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
        """Stop all idle workers; jobs still running must have been awaited."""
        while self._idle:
            await self._idle.pop().stop()

    async def run(self, job: Job, limits: Limits | None = None) -> Outcome:
        """Run one job in fresh namespaces and a fresh scratch directory.

        A cancelled job is killed, with the worker that ran it.

        Raises:
            SandboxError: bubblewrap does not work, or a worker broke twice.
        """
        async with self._slots:
            for _ in range(_TRIES):
                worker = self._idle.pop() if self._idle else await Worker.start()
                try:
                    outcome = await worker.run(job, limits or self._limits)
                except WorkerDied:
                    reason = await worker.last_words()
                    continue
                except BaseException:
                    await worker.stop()
                    raise
                self._idle.append(worker)
                return outcome
        raise SandboxError(
            f"expected a sandbox worker to answer, but {_TRIES} died: {reason}; "
            "check free memory"
        )
