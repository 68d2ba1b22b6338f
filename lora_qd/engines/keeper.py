"""Keeps a server up: one that dies or hangs is started again, and asked again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from lora_qd.engines.server import Server
from lora_qd.engines.vllm_client import ServerGoneError, VllmClient
from lora_qd.errors import EngineError, EngineLostError

Result = TypeVar("Result")

_PAUSES_S = (0.0, 1.0, 4.0, 16.0)
"""Before each attempt to start again; then the engine is lost."""
_PATIENCE_S = 5.0
_MOST_LOSSES = 5
"""Of the server during one call, which is then taken to be what kills it."""


class Keeper:
    """The way to a server for everybody who calls it.

    A call that the server did not live to answer is repeated after the restart, so a
    call must be repeatable; greedy generation, loading and unloading are.
    """

    def __init__(
        self, server: Server, restore: Callable[[VllmClient], Awaitable[None]]
    ) -> None:
        """Bind a server that is up.

        Args:
            server: started again through its own methods.
            restore: brings a fresh server to where the lost one was.
        """
        self.num_restarts = 0
        self._server = server
        self._client = VllmClient(server)
        self._restore = restore
        self._num_calls = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._restart: asyncio.Task[None] | None = None

    async def call(self, do: Callable[[VllmClient], Awaitable[Result]]) -> Result:
        """Return what ``do`` makes of the client; it may run more than once.

        Raises:
            EngineError: the server refused, or this call seems to kill it.
            EngineLostError: it cannot be started again.
        """
        gone = ServerGoneError("nothing was tried")
        for _ in range(_MOST_LOSSES):
            while self._restart is not None:
                await self._join(self._restart)
            client = self._client
            self._count(1)
            try:
                return await do(client)
            except ServerGoneError as error:
                gone = error
            finally:
                self._count(-1)
            if client is self._client and self._restart is None:
                self._restart = asyncio.create_task(self._start_again())
        raise EngineError(
            self._server.failure(
                f"was lost {_MOST_LOSSES} times while it answered the same call "
                f"(the last time it {gone})",
                "take out the adapter or the prompt that it cannot stand",
            )
        )

    async def call_last(self, do: Callable[[VllmClient], Awaitable[object]]) -> None:
        """Do what a server that is up can still do; one that is not stays so."""
        if self._restart is None:
            with suppress(EngineError, ServerGoneError, TimeoutError):
                await asyncio.wait_for(do(self._client), _PATIENCE_S)

    async def recycle(self) -> None:
        """Let the calls under way end, then start the server anew; new calls wait."""
        if self._restart is None:
            self._restart = asyncio.create_task(self._drain())
        await self._join(self._restart)

    async def close(self) -> None:
        """Give up a restart that is under way, and close the connections."""
        if self._restart is not None:
            self._restart.cancel()
            with suppress(asyncio.CancelledError, EngineError):
                await self._restart
        await self._client.close()

    async def _join(self, restart: asyncio.Task[None]) -> None:
        """Wait for a restart that others wait for too; one that failed stays."""
        await asyncio.shield(restart)
        if self._restart is restart:
            self._restart = None

    async def _drain(self) -> None:
        await self._is_idle.wait()
        await self._start_again()

    async def _start_again(self) -> None:
        reason = ""
        for pause in _PAUSES_S:
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self._server.stop)
                await asyncio.to_thread(self._server.start)
                await self._replace_client()
            except (EngineError, ServerGoneError) as error:
                reason = str(error)
                continue
            self.num_restarts += 1
            return
        raise EngineLostError(
            f"expected vLLM to come back, but {len(_PAUSES_S)} attempts failed: "
            f"{reason}"
        )

    async def _replace_client(self) -> None:
        client = VllmClient(self._server)
        try:
            await self._restore(client)
        except BaseException:
            await client.close()
            raise
        old, self._client = self._client, client
        with suppress(TimeoutError):  # calls to what is gone end by themselves
            await asyncio.wait_for(self._is_idle.wait(), _PATIENCE_S)
        await old.close()

    def _count(self, change: int) -> None:
        self._num_calls += change
        if self._num_calls:
            self._is_idle.clear()
        else:
            self._is_idle.set()
