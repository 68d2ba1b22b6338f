"""One sandbox worker, seen from outside: a bubblewrap process that answers jobs."""

from dataclasses import asdict

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.bubblewrap import REMEDY, command
from lora_qd.tasks.sandbox.job import Job, Limits, Outcome
from lora_qd.tasks.sandbox.peer import Peer, PeerDied, packed
from lora_qd.tasks.sandbox.verdict import outcome_of, was_killed

_START_S = 60.0
_GRACE_S = 20.0
"""Beyond a job's own wall time, a worker that is silent for so long is broken."""


class WorkerDied(Exception):  # noqa: N818 - an event, not an error of the caller
    """The worker broke, not the job; another worker may do better."""


class Worker:
    """A warm interpreter in bubblewrap; runs one job at a time."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    @classmethod
    async def start(cls) -> "Worker":
        """Start a worker and wait until it is warm.

        Raises:
            SandboxError: bubblewrap is missing or cannot make its namespaces.
        """
        peer = await Peer.start(command())
        try:
            await peer.read(_START_S)
        except (PeerDied, TimeoutError) as error:
            reason = await peer.stop()
            raise SandboxError(
                f"expected bubblewrap to start, but got: {reason}; {REMEDY}"
            ) from error
        except BaseException:
            await peer.stop()
            raise
        return cls(peer)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._peer.pid

    async def run(self, job: Job, limits: Limits) -> Outcome:
        """Run one job.

        Raises:
            WorkerDied: the worker broke and is stopped; the message is its last word.
        """
        order = asdict(job) | {"limits": asdict(limits), "is_judged": bool(job.judge)}
        # Apart, so that the process of an answer is forked before its judge is read.
        judge = {"source": order.pop("judge")}
        message = packed(order) + (packed(judge) if job.judge else b"")
        most_s = limits.wall_s + _GRACE_S
        try:
            answer = await self._peer.ask(message, most_s)
            if was_killed(answer, limits):  # perhaps for want of memory: once more
                answer = await self._peer.ask(message, most_s)
        except (PeerDied, TimeoutError) as error:
            raise WorkerDied(await self.stop()) from error
        return outcome_of(answer, limits)

    def kill(self) -> None:
        """Kill the worker and, through its namespace, all that runs in it."""
        self._peer.kill()

    async def stop(self) -> str:
        """Kill the worker, wait until it is gone; return the last line of its log."""
        return await self._peer.stop()
