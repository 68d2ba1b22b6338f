"""Which adapters a server holds, for whom, and when their files may go."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from lora_qd.engines.keeper import Keeper
from lora_qd.engines.server import Server
from lora_qd.engines.vllm_client import ServerGoneError, VllmClient
from lora_qd.errors import EngineError
from lora_qd.records import Member, Swap

WriteAdapter = Callable[[Member, Path], str]
"""Writes a member as a PEFT directory below the given one; returns that directory's
name, the hash of the adapter's content."""
CheckAdapter = Callable[[Path], None]
"""Raises EngineError where the server could not apply a PEFT directory in full."""


class LoadedAdapter:
    """An adapter that the server holds, and who counts on it."""

    def __init__(self, name: str, directory: Path, member: Member) -> None:
        self.name = name
        """The hash of its content; what requests name it by."""
        self.directory = directory
        """Deleted with it."""
        self.member = member
        """Whom to write again when the server is lost, and the directory with it."""
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
    """Loads each adapter once, under a name and a path that never mean another one.

    It outlives the server: after a restart all that it holds is written and loaded
    again. Every so many loads it asks for one, since vLLM keeps memory of each.
    """

    def __init__(
        self, server: Server, *, write: WriteAdapter, check: CheckAdapter
    ) -> None:
        """Bind a server that is up.

        Args:
            server: reads adapters from its own directory.
            write: turns a member into an adapter; runs in a thread.
            check: run on each adapter before it is loaded, in that thread.
        """
        self.keeper = Keeper(server, self._restore)
        """The way to the server."""
        self._server = server
        self._write = write
        self._check = check
        self._by_name: dict[str, LoadedAdapter] = {}
        self._by_member: dict[str, LoadedAdapter] = {}
        self._num_written = 0
        self._num_loads = 0
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
                if self._num_loads >= self._server.settings.recycle_after:
                    await self.keeper.recycle()
                self._by_member[member.id], swap = await self.keeper.call(
                    partial(self._load, member)
                )
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
            for adapter in self._by_name.values():
                await self.keeper.call_last(partial(_forget, adapter.name))
                shutil.rmtree(adapter.directory, ignore_errors=True)
            self._by_name.clear()

    async def _load(
        self, member: Member, client: VllmClient
    ) -> tuple[LoadedAdapter, Swap]:
        start = time.monotonic()
        async with self._written(member) as (name, directory):
            written = time.monotonic()
            if name not in self._by_name:
                await client.load(name, directory / name)
                self._by_name[name] = LoadedAdapter(name, directory, member)
                self._num_loads += 1
        swap = Swap(written - start, time.monotonic() - written)
        return self._by_name[name], swap

    async def _restore(self, client: VllmClient) -> None:
        """Write and load everything again, on a server that holds nothing yet."""
        self._num_loads = 0
        for adapter in list(self._by_name.values()):
            async with self._written(adapter.member) as (name, directory):
                await client.load(name, directory / name)
                adapter.directory = directory
                self._num_loads += 1

    @asynccontextmanager
    async def _written(self, member: Member) -> AsyncIterator[tuple[str, Path]]:
        """Yield name and directory of the adapter; deleted if nobody takes it over."""
        self._num_written += 1  # files that the server knows are never written again
        directory = self._server.adapters / str(self._num_written)
        try:
            with self._room(directory):
                directory.mkdir()
                name = await asyncio.to_thread(self._write_checked, member, directory)
                yield name, directory
        finally:
            if not any(a.directory == directory for a in self._by_name.values()):
                shutil.rmtree(directory, ignore_errors=True)

    def _write_checked(self, member: Member, directory: Path) -> str:
        name = self._write(member, directory)
        self._check(directory / name)
        return name

    @contextmanager
    def _room(self, directory: Path) -> Iterator[None]:
        """Tell a full disk from a directory that went away with its server."""
        try:
            yield
        except Exception as error:
            is_missing = isinstance(error, FileNotFoundError)  # files go first
            is_lost = is_missing and str(directory) in str(error)
            if is_lost or not directory.parent.is_dir():
                raise ServerGoneError("went away, and its adapters with it") from error
            if not isinstance(error, OSError):
                raise
            raise EngineError(
                f"expected to write an adapter in {directory}, but got: "
                f"{error.strerror or error}; free space there, or name another "
                "directory: engine.adapter_dir"
            ) from error

    async def _unload(self, adapter: LoadedAdapter) -> None:
        await adapter.wait_idle()  # the engine dies if it must read files that are gone
        del self._by_name[adapter.name]
        try:
            await self.keeper.call(partial(_forget, adapter.name))
        finally:
            shutil.rmtree(adapter.directory, ignore_errors=True)


async def _forget(name: str, client: VllmClient) -> None:
    await client.unload(name)
