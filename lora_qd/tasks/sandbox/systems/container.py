"""Systems in containers of Docker or Podman, by their command line."""

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.job import Limits
from lora_qd.tasks.sandbox.peer import Peer
from lora_qd.tasks.sandbox.system import SYSTEM_LIMITS, System
from lora_qd.tasks.sandbox.systems.bubblewrap import (
    CAPABILITIES,
    FLAGS,
    GUARDED,
    INSIDE,
    PLACE,
    SHARED_BYTES,
    START,
    UPPER_BYTES,
)
from lora_qd.tasks.sandbox.systems.channel import Channel

_LABEL = "loraqd.driver"
_TRY_S = 120.0


class ContainerSystems:
    """Opens systems, a few at a time."""

    def __init__(
        self,
        engine: str,
        images: Mapping[str, str],
        *,
        num_systems: int = 2,
        limits: Limits = SYSTEM_LIMITS,
    ) -> None:
        """Bind an engine and its images.

        Args:
            engine: ``docker`` or ``podman``.
            images: the engine's image by what samples call it; needs ``default``. It
                holds python3 and bash.
            num_systems: at once.
            limits: of a call, and of a whole system.
        """
        self._engine = engine
        self._images = dict(images)
        self._limits = limits
        self._places = asyncio.Semaphore(num_systems)

    async def fault(self) -> str:
        """Return why no system can be started here, one line; empty if one can.

        An engine that is installed need not work, so it is tried.
        """
        if shutil.which(self._engine) is None:
            return f"{self._engine} is not installed"
        try:
            async with asyncio.timeout(_TRY_S), self.open() as system:
                outcome = await system.type("true")
        except (SandboxError, TimeoutError) as error:
            return str(error) or f"{self._engine} is silent"
        return outcome.reason

    @asynccontextmanager
    async def open(self, image: str = "default") -> AsyncIterator[System]:
        """Start a fresh system; all of it is gone after the block.

        Raises:
            SandboxError: it does not start, or there is no such image.
        """
        if image not in self._images:
            raise SandboxError(
                f"expected an image for {image!r}, but systems.images has "
                f"{', '.join(self._images) or 'none'}; name one in the config"
            )
        async with self._places:
            name = f"loraqd-{secrets.token_hex(8)}"
            line = self._line(name, self._images[image])
            peer = await Peer.start(line, prints=True)
            try:
                channel = Channel(peer, self._limits, _Diff(self._engine, name).read)
                await channel.open()
                yield channel
            finally:
                await peer.stop()
                await self._call("rm", "--force", name)

    async def remove_leftovers(self) -> None:
        """Remove containers whose driver is gone: killed, it could not."""
        form = '{{.Names}} {{.Label "' + _LABEL + '"}}'
        listed = await self._call(
            "ps", "--all", "--filter", f"label={_LABEL}", "--format", form
        )
        for line in listed.splitlines():
            name, _, pid = line.partition(" ")
            if name.startswith("loraqd-") and not _is_alive(pid):
                await self._call("rm", "--force", name)

    def _line(self, name: str, image: str) -> list[str]:
        limits = self._limits
        # A backstop: the system itself holds its processes to the limit, with a reason.
        memory = 2 * limits.memory_bytes + UPPER_BYTES + SHARED_BYTES
        kept = [part for each in CAPABILITIES for part in ("--cap-add", each[4:])]
        return [
            *(self._engine, "run", "--rm", "--interactive", "--name", name),
            *("--label", f"{_LABEL}={os.getpid()}", "--network", "none"),
            *("--cap-drop", "ALL", *kept, "--security-opt", "no-new-privileges"),
            *("--memory", str(memory), "--memory-swap", str(memory), "--user", "0"),
            *("--hostname", "system", "--shm-size", str(SHARED_BYTES)),
            *("--pids-limit", str(2 * limits.num_processes), "--workdir", "/"),
            *("--ulimit", "nofile=1024:1024", "--ulimit", "core=0", "--pull", "never"),
            *("--tmpfs", f"/tmp:mode=1777,size={UPPER_BYTES}"),
            *("--volume", f"{INSIDE}:{PLACE}:ro", "--entrypoint", "python3"),
            *(image, *FLAGS, START),
        ]

    async def _call(self, *words: str) -> str:
        return await _output_of(self._engine, *words)


class _Diff:
    """A container's changed files, as its engine tells them."""

    def __init__(self, engine: str, name: str) -> None:
        self._engine = engine
        self._name = name

    async def read(self) -> frozenset[str]:
        """Return one line for each changed entry below the guarded places."""
        lines = (await _output_of(self._engine, "diff", self._name)).splitlines()
        paths = [(line[:1], line[2:].lstrip("/")) for line in lines]
        parents = {path.rpartition("/")[0] for _, path in paths}
        return frozenset(
            f"{path}\n{kind}"
            for kind, path in paths
            if path not in parents and path.startswith(tuple(f"{g}" for g in GUARDED))
        )


async def _output_of(*words: str) -> str:
    """Return what a program prints; it also ends if this is cancelled."""

    def run() -> str:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout.decode(errors="replace")

    return await asyncio.to_thread(run)


def _is_alive(pid: str) -> bool:
    with contextlib.suppress(ProcessLookupError, ValueError, PermissionError):
        os.kill(int(pid), 0)
        return True
    return False
