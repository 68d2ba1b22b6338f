"""The process in which Inspect runs, seen from outside."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from typing import Any, NamedTuple

from lora_qd.errors import InputError, MissingExtraError
from lora_qd.records import Completion, Generate, Message, Request
from lora_qd.tasks.bridges.inspect_settings import InspectSettings
from lora_qd.tasks.sandbox.peer import Peer, PeerDied, packed

_COMMAND = (sys.executable, "-m", "lora_qd.tasks.bridges.inspect_child")
_START_S = 600.0
"""A task may download its data."""
_FOREVER_S = 10**9
_PATIENCE_S = 0.01
"""Samples of one candidate are asked for within one turn of the loop."""

Result = dict[str, Any]
"""What became of one sample: value, reason, answer and tokens."""


@dataclass(eq=False)
class _Group:
    """Samples that one candidate answers in one evaluation."""

    generate: Generate
    results: dict[str, asyncio.Future[Result]] = field(default_factory=dict)
    """By sample id."""
    calls: set[asyncio.Task[None]] = field(default_factory=set)
    """Answers under way."""
    error: BaseException | None = None
    """What the candidate's engine raised."""

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for a result."""
        return not all(result.done() for result in self.results.values())


class Child(NamedTuple):
    """A running process that has loaded the task."""

    peer: Peer
    scratch: tempfile.TemporaryDirectory[str]
    """Where Inspect writes its logs, traces and caches."""
    samples: Sequence[dict[str, str]]
    """Id, input and target of each."""

    async def stop(self) -> str:
        """End it, delete its files, and return the last line of its log."""
        reason = await self.peer.stop()
        self.scratch.cleanup()
        return reason


class InspectProcess:
    """Solves and scores samples in Inspect; many callers, one evaluation at a time.

    What is asked for in the same moment goes into one evaluation, each candidate with
    a task of its own.
    """

    def __init__(self, settings: InspectSettings) -> None:
        """Name the task; the process starts with the first sample."""
        self._settings = settings
        self._numbers = count()
        self._groups: dict[int, _Group] = {}
        self._pending: list[_Group] = []
        self._child: Child | None = None
        self._reader: asyncio.Task[None] | None = None
        self._flush: asyncio.Task[None] | None = None

    async def score(self, sample: str, generate: Generate) -> Result:
        """Return what becomes of a sample that ``generate`` answers.

        What ``generate`` raises is raised here, to all samples of the candidate.

        Raises:
            InputError: the task's own code fails, or its process ends.
        """
        group = self._group_of(sample, generate)
        result = asyncio.get_running_loop().create_future()
        group.results[sample] = result
        if self._flush is None:
            self._flush = asyncio.create_task(self._send_pending())
        try:
            return dict(await result)
        finally:
            if not group.is_awaited:
                for call in group.calls:
                    call.cancel()

    async def close(self) -> None:
        """End the process; those who wait are told so."""
        tasks = [task for task in (self._flush, self._reader) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._child is not None:
            await self._child.stop()
        self._child = self._reader = self._flush = None
        left = [*self._groups.values(), *self._pending]
        self._groups, self._pending = {}, []
        self._fail(left, self._failure("was closed"))

    def _group_of(self, sample: str, generate: Generate) -> _Group:
        """Return the candidate's pending group; another, if the sample is in it."""
        for group in self._pending:
            if group.generate == generate and sample not in group.results:
                return group
        self._pending.append(_Group(generate))
        return self._pending[-1]

    async def _send_pending(self) -> None:
        """Send what has come together as one evaluation, until there is no more."""
        try:
            while self._pending:
                await asyncio.sleep(_PATIENCE_S)
                child = await self._running()
                pending, self._pending = self._pending, []
                groups = {next(self._numbers): g for g in pending if g.is_awaited}
                self._groups |= groups
                wanted = [
                    {"group": number, "ids": list(group.results)}
                    for number, group in groups.items()
                ]
                await child.peer.send(packed({"op": "evaluate", "groups": wanted}))
        except Exception as error:  # noqa: BLE001 - raised to those who wait
            has_died = isinstance(error, PeerDied)
            pending, self._pending = self._pending, []
            self._fail(pending, self._failure("ended") if has_died else error)
        finally:
            self._flush = None

    async def _running(self) -> Child:
        if self._child is None:
            self._child = await started(self._settings)
            self._reader = asyncio.create_task(self._read(self._child))
        return self._child

    async def _read(self, child: Child) -> None:
        """Take messages until the process ends."""
        with contextlib.suppress(PeerDied):
            while True:
                message = await child.peer.read(_FOREVER_S)
                group = self._groups.get(message["group"])
                if group is None:
                    continue
                if message["op"] == "generate":
                    call = asyncio.create_task(self._answer(child.peer, group, message))
                    group.calls.add(call)
                    call.add_done_callback(group.calls.discard)
                else:
                    del self._groups[message["group"]]
                    self._deliver(group, message)
        reason = await child.stop()
        self._child = None
        lost, self._groups = self._groups, {}
        self._fail(lost.values(), self._failure(f"ended: {reason}"))

    async def _answer(self, peer: Peer, group: _Group, call: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"op": "answer", "call": call["call"]}
        try:
            if group.is_awaited:
                [said] = await group.generate([_request(call)])
                answer |= _plain(said)
            else:  # nor does its member need to be there any more
                answer["error"] = "nobody waits for it"
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            # Raised to those who wait; a cancelled call has none.
            group.error = group.error or error
            answer["error"] = type(error).__name__
        with contextlib.suppress(PeerDied):
            await peer.send(packed(answer))

    def _deliver(self, group: _Group, message: dict[str, Any]) -> None:
        scores = message.get("scores", {})
        for sample, result in group.results.items():
            if result.done():
                continue
            if isinstance(group.error, asyncio.CancelledError):
                result.cancel()
            elif group.error is not None:
                result.set_exception(group.error)
            elif sample in scores:
                result.set_result(scores[sample])
            else:
                reason = message.get("error", "drew other samples this time")
                result.set_exception(self._failure(reason))

    def _fail(self, groups: Iterable[_Group], error: Exception) -> None:
        for group in groups:
            group.error = group.error or error
            self._deliver(group, {})

    def _failure(self, reason: str) -> InputError:
        return InputError(
            f"expected Inspect's task {self._settings.task!r} to solve and score its "
            f"samples, but it {reason}; mend the task, or leave it out"
        )


async def started(settings: InspectSettings) -> Child:
    """Return a process that has loaded the task.

    Raises:
        InputError: the task cannot be loaded, or cannot be a skill here.
        MissingExtraError: Inspect is not installed.
    """
    if find_spec("inspect_ai") is None:
        raise MissingExtraError(f"the skill inspect:{settings.task}", "inspect")
    prefix = "loraqd-inspect-"
    scratch = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    order = settings.model_dump(mode="json") | {
        "is_file": settings.runs_python,
        "scratch": scratch.name,
    }
    try:
        peer = await Peer.start(_COMMAND)
    except BaseException:
        scratch.cleanup()
        raise
    child = Child(peer, scratch, [])
    try:
        loaded = await peer.ask(packed(order), _START_S)
    except (PeerDied, TimeoutError) as error:
        reason = await child.stop()
        raise _refused(settings, f"got: {reason}") from error
    except BaseException:
        await child.stop()
        raise
    if loaded["op"] == "refused":
        await child.stop()
        raise _refused(settings, loaded["reason"])
    return child._replace(samples=loaded["samples"])


def _refused(settings: InspectSettings, reason: str) -> InputError:
    return InputError(
        f"expected a task of Inspect that can be a skill at {settings.task!r}, but "
        f"{reason}"
    )


def _request(call: dict[str, Any]) -> Request:
    return Request(
        messages=tuple(Message(role, text) for role, text in call["messages"]),
        max_tokens=call["max_tokens"],
        stop=tuple(call["stop"]),
        temperature=call["temperature"],
        seed=call["seed"],
    )


def _plain(said: Completion) -> dict[str, Any]:
    return {
        "text": said.text,
        "num_prompt_tokens": said.num_prompt_tokens,
        "num_tokens": said.num_tokens,
        "is_complete": said.is_complete,
    }
