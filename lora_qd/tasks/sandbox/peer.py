"""A process at the other end of a socket, which answers one message at a time.

Not asyncio's own subprocess: its start never ends if it is cancelled with its loop.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO, Any

_END_S = 10.0
_MOST_LOG_BYTES = 64 * 1024


class PeerDied(Exception):  # noqa: N818 - an event, not an error of the caller
    """It ended, or says what is no message."""


class Peer:
    """A running process; its standard error is kept for its last words."""

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
    async def start(cls, line: Sequence[str], *, prints: bool = False) -> "Peer":
        """Start a program with the socket as its standard input.

        Args:
            line: the program and its arguments.
            prints: whether it answers on standard output instead.
        """
        ours, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        try:
            with theirs:
                streams = await asyncio.open_unix_connection(sock=ours)
                end = theirs.fileno()
                out = end if prints else subprocess.DEVNULL
                process = subprocess.Popen(line, stdin=end, stdout=out, stderr=log)
        except BaseException:
            log.close()
            ours.close()
            raise
        return cls(process, log, streams)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def ask(self, message: bytes, timeout_s: float) -> dict[str, Any]:
        """Send packed messages and return the answer.

        Raises:
            PeerDied: there is none.
            TimeoutError: none comes in time.
        """
        await self.send(message)
        return await self.read(timeout_s)

    async def send(self, message: bytes) -> None:
        """Send packed messages without waiting for an answer.

        Raises:
            PeerDied: it is gone.
        """
        try:
            self._writer.write(message)
            await self._writer.drain()
        except OSError as error:
            raise PeerDied from error

    async def read(self, timeout_s: float) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            PeerDied: there is none.
            TimeoutError: none comes in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                (length,) = struct.unpack(">I", await self._reader.readexactly(4))
                return dict(json.loads(await self._reader.readexactly(length)))
        except TimeoutError:  # which is an OSError
            raise
        except (asyncio.IncompleteReadError, OSError, ValueError) as error:
            raise PeerDied from error

    def kill(self) -> None:
        """Kill the process and, through its namespace, all that runs in it."""
        self._process.kill()

    async def stop(self) -> str:
        """Kill it, wait until it is gone; return the last line of its log."""
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


def packed(message: dict[str, Any]) -> bytes:
    """Return a message as bytes: its length and its JSON."""
    data = json.dumps(message).encode()
    return struct.pack(">I", len(data)) + data
