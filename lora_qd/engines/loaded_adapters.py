"""Which adapters a server holds, for whom, and when their files may go."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from lora_qd.engines.vllm_client import VllmClient
from lora_qd.errors import EngineError
from lora_qd.records import Member, Swap

WriteAdapter = Callable[[Member, Path], str]
"""Writes a member as a PEFT directory below the given one; returns that directory's
name, the hash of the adapter's content."""
CheckAdapter = Callable[[Path], None]
"""Raises EngineError where the server could not apply a PEFT directory in full."""


class LoadedAdapter:
    """An adapter that the server holds, and who counts on it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        """The hash of its content; what requests name it by."""
        self.directory = directory
        """Deleted with it."""
        self.num_adds: Counter[str] = Counter()
        """By member id: equal weights share one load."""
        self._num_calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Keep the adapter where it is for the block."""
        self._num_calls += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._num_calls -= 1
            if not self._num_calls:
                self._is_idle.set()

    async def wait_idle(self) -> None:
        """Wait until no call names the adapter."""
        await self._is_idle.wait()


class LoadedAdapters:
    """Loads each adapter once, under a name and a path that never mean another one."""

    def __init__(
        self,
        client: VllmClient,
        directory: Path,
        *,
        write: WriteAdapter,
        check: CheckAdapter,
    ) -> None:
        """Bind a server.

        Args:
            client: talks to it.
            directory: where adapters are written, readable by the server.
            write: turns a member into an adapter; runs in a thread.
            check: run on each adapter before it is loaded.
        """
        self._client = client
        self._directory = directory
        self._write = write
        self._check = check
        self._by_name: dict[str, LoadedAdapter] = {}
        self._by_member: dict[str, LoadedAdapter] = {}
        self._num_written = 0
        self._lock = asyncio.Lock()

    def of(self, member: Member) -> LoadedAdapter:
        """Return the adapter of ``member``.

        Raises:
            ValueError: ``member`` was not added.
        """
        if member.id not in self._by_member:
            raise ValueError(
                f"expected a member that was added, but got {member.id!r}; add it first"
            )
        return self._by_member[member.id]

    async def add(self, member: Member) -> Swap:
        """Write and load ``member``, unless its weights are loaded already."""
        swap = Swap(0.0, 0.0)
        async with self._lock:
            if member.id not in self._by_member:
                self._by_member[member.id], swap = await self._load(member)
            self._by_member[member.id].num_adds[member.id] += 1
        return swap

    async def remove(self, member: Member) -> None:
        """Undo one ``add``; unload and delete the adapter when nobody needs it.

        Raises:
            ValueError: ``member`` was not added.
        """
        async with self._lock:
            adapter = self.of(member)
            adapter.num_adds -= Counter([member.id])
            if member.id not in adapter.num_adds:
                del self._by_member[member.id]
            if not adapter.num_adds:
                await self._unload(adapter)

    async def clear(self) -> None:
        """Unload and delete everything; no call may be under way."""
        async with self._lock:
            self._by_member.clear()
            for adapter in list(self._by_name.values()):
                with suppress(EngineError):  # a server that is gone holds nothing
                    await self._unload(adapter)

    async def _load(self, member: Member) -> tuple[LoadedAdapter, Swap]:
        start = time.monotonic()
        self._num_written += 1  # files that the server knows are never written again
        directory = self._directory / str(self._num_written)
        directory.mkdir()
        try:
            name = await asyncio.to_thread(self._write, member, directory)
            written = time.monotonic()
            if name not in self._by_name:
                self._check(directory / name)
                await self._client.load(name, directory / name)
                self._by_name[name] = LoadedAdapter(name, directory)
        finally:
            if not any(a.directory == directory for a in self._by_name.values()):
                shutil.rmtree(directory, ignore_errors=True)
        swap = Swap(written - start, time.monotonic() - written)
        return self._by_name[name], swap

    async def _unload(self, adapter: LoadedAdapter) -> None:
        await adapter.wait_idle()  # the engine dies if it must read files that are gone
        del self._by_name[adapter.name]
        try:
            await self._client.unload(adapter.name)
        finally:
            shutil.rmtree(adapter.directory, ignore_errors=True)
