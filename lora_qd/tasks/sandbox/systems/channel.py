"""One system, seen from outside: a process that answers orders."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

from lora_qd.errors import SandboxError
from lora_qd.tasks.sandbox.job import Limits, Outcome
from lora_qd.tasks.sandbox.peer import Peer, PeerDied, packed
from lora_qd.tasks.sandbox.system import Script
from lora_qd.tasks.sandbox.verdict import outcome_of

_START_S = 60.0
_GRACE_S = 20.0
_PROGRAMS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
_COMPILERS = {"c": ("gcc", "c"), "c++": ("g++", "cpp")}
_COMPILE = (
    'd=$(mktemp -d) && printf %s "$1" > "$d/main.{end}" && '
    '{tool} -o "$d/main" "$d/main.{end}" && shift && exec "$d/main" "$@"'
)

WhatChanged = Callable[[], Awaitable[frozenset[str]]]
"""Returns what is changed below the places that `Channel.tampered` looks at."""


class Channel:
    """The driver's end of a system."""

    def __init__(
        self,
        peer: Peer,
        limits: Limits,
        what_changed: WhatChanged,
    ) -> None:
        self._peer = peer
        self._limits = limits
        self._what_changed = what_changed
        self._before: frozenset[str] | None = None
        self._programs: frozenset[str] = frozenset()

    async def open(self) -> None:
        """Send the limits and wait until the system is up.

        Raises:
            SandboxError: it is not; the message holds its last words.
        """
        limits = packed({"limits": asdict(self._limits)})
        try:
            await self._peer.ask(limits, _START_S)
        except (PeerDied, TimeoutError) as error:
            raise SandboxError(
                f"expected a system to start, but got: {await self._peer.stop()}; see "
                "docs/security.md for what it needs"
            ) from error

    async def run(self, script: Script, arguments: Sequence[str] = ()) -> Outcome:
        """Run one of the benchmark's scripts as root in a process of its own."""
        return await self._outcome({"kind": "run", "words": _words(script, arguments)})

    async def type(self, text: str) -> Outcome:
        """Run ``text`` in the candidate's shell."""
        if self._before is None:
            listed = await self.run(Script("bash", f"ls {' '.join(_PROGRAMS)} 2>&1"))
            self._programs = frozenset(listed.output.split("\n"))
            self._before = await self._what_changed()
        return await self._outcome({"kind": "type", "text": text})

    async def tampered(self) -> str:
        """Return how the candidate changed what scripts are run with, or nothing."""
        if self._before is None:
            return ""
        changed = sorted(await self._what_changed() - self._before)
        for path in (line.partition("\n")[0] for line in changed):
            directory, _, name = f"/{path}".rpartition("/")
            # Scripts find the system's programs first: a new name is in nobody's way.
            if directory not in _PROGRAMS or name in self._programs:
                return f"the answer changed the system's own /{path[:100]}"
        return ""

    async def _outcome(self, order: dict[str, Any]) -> Outcome:
        try:
            most_s = self._limits.wall_s + _GRACE_S
            answer = await self._peer.ask(packed(order), most_s)
        except (PeerDied, TimeoutError) as error:
            raise SandboxError(
                f"expected a system to answer, but got: {await self._peer.stop()}; "
                "check free memory and the kernel's log"
            ) from error
        return outcome_of(answer | {"files": {}, "cpu_s": 0.0}, self._limits)


def _words(script: Script, arguments: Sequence[str]) -> list[str]:
    clean = [argument.replace("\0", "") for argument in arguments]
    code = script.code.replace("\0", "")
    if script.language == "bash":
        return ["/bin/bash", "--norc", "--noprofile", "-c", code, "--", *clean]
    if script.language == "python":
        return ["/usr/bin/python3", "-I", "-c", code, *clean]
    tool, end = _COMPILERS[script.language]
    build = _COMPILE.format(tool=tool, end=end)
    return ["/bin/bash", "--norc", "--noprofile", "-c", build, "--", code, *clean]
