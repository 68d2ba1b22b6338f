"""The profile ``os``: a throw-away Linux system of one sample.

Where the profile ``code`` (`Sandbox`) runs one program and forgets it, a system lives
through all rounds of a sample: its root is writable, belongs to the sample alone and is
gone afterwards.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from lora_qd.tasks.sandbox.job import MIB, Limits, Outcome

SYSTEM_LIMITS = Limits(
    cpu_s=10,
    wall_s=60.0,
    memory_bytes=1024 * MIB,
    num_processes=128,
    file_bytes=64 * MIB,
)
"""Of one call; memory and processes are those of the whole system."""


@dataclass(frozen=True, slots=True)
class Script:
    """A program of the benchmark's own: it prepares a system or judges it."""

    language: Literal["bash", "python", "c", "c++"]
    code: str


class System(Protocol):
    """One sample's system. Calls come one at a time."""

    async def run(self, script: Script, arguments: Sequence[str] = ()) -> Outcome:
        """Run one of the benchmark's scripts as root in a process of its own.

        What the candidate left running cannot look into it. An outcome with status 0
        is ``is_ok``.
        """
        ...

    async def type(self, text: str) -> Outcome:
        """Run ``text`` in the candidate's shell, as if it had been typed there.

        Directory, variables and background processes outlive the call; ``exit`` or a
        broken limit ends the shell, and the next call has a new one. The output is
        what the terminal would show: both streams in order.
        """
        ...

    async def tampered(self) -> str:
        """Return how the candidate changed what scripts are run with, or nothing.

        One line that names a changed program or library of the system, or a file that
        a loader or an interpreter reads; empty if there is none. A new command is no
        such change, nor is what `run` changed before the first `type`.
        """
        ...


class Systems(Protocol):
    """Where systems come from: bubblewrap or a container engine."""

    def open(self, image: str = "default") -> AbstractAsyncContextManager[System]:
        """Start a fresh system; all of it is gone after the block.

        Args:
            image: what the sample asks for; ``default`` suits most.

        Raises:
            SandboxError: none can be started here, or none of this image.
        """
        ...
