"""An engine on a node of a Ray cluster: what runs there, in a process of its own."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from lora_qd.engines.engine import ProbedEngine
from lora_qd.errors import EngineError, LoraQDError
from lora_qd.records import Completion, Member, Request, Swap

if TYPE_CHECKING:  # it brings torch
    from lora_qd.factors import CoreSpace

OpenEngine = Callable[["CoreSpace"], AbstractAsyncContextManager[ProbedEngine]]
"""Opens an engine for the members of a core space; travels to the nodes by pickle."""
Value = TypeVar("Value")
_GATHER_S = 0.002
"""Answers that end so close together travel together."""


@dataclass(frozen=True, slots=True)
class Question:
    """Requests to one member, or to the base."""

    number: int
    """Of the driver's; its answer bears it."""
    member: str | None
    requests: Sequence[Request]


Answered = tuple[int, list[Completion] | Exception]
"""A question's number, and what came of it."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[Value]):
    """An answer, and how often the engine's server was started again before it."""

    value: Value
    num_restarts: int


class EngineActor:
    """Keeps one engine and the members that were added to it, by id.

    Only ``add`` carries cores over the network; all else names its member.
    """

    def __init__(self, space: "CoreSpace", open_engine: OpenEngine) -> None:
        """Keep what ``open`` needs.

        Args:
            space: the run's; Ray brings it once to each node.
            open_engine: called on the node.
        """
        self._space = space
        self._open_engine = open_engine
        self._stack = AsyncExitStack()
        self._members: dict[str, Member] = {}
        self._num_adds: Counter[str] = Counter()
        self._engine: ProbedEngine
        self._jobs: set[asyncio.Task[None]] = set()
        self._done: list[Answered] = []
        self._has_answers = asyncio.Event()

    async def open(self) -> None:
        """Bring the engine up.

        Raises:
            LoraQDError: it does not come up.
        """
        opened = self._open_engine(self._space)
        self._engine = await self._stack.enter_async_context(opened)

    async def close(self) -> None:
        """End the engine and all that it started."""
        await self._stack.aclose()

    async def add(self, member: Member) -> Reply[Swap]:
        """Make ``member`` ready; see ``Engine.add``."""
        swap = await self._engine.add(member)
        self._members[member.id] = member
        self._num_adds[member.id] += 1
        return self._reply(swap)

    async def remove(self, member: str) -> Reply[None]:
        """Undo one ``add``; see ``Engine.remove``."""
        self._num_adds -= Counter([member])  # of which none are negative or zero
        known = self._members[member]
        if member not in self._num_adds:
            del self._members[member]
        await self._engine.remove(known)
        return self._reply(None)

    async def submit(self, questions: Sequence[Question]) -> None:
        """Begin to answer; :meth:`answers` has what is done."""
        for question in questions:
            job = asyncio.create_task(self._answer(question))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def answers(self) -> Reply[list[Answered]]:
        """Wait for answers; return those that are done since the last call."""
        await self._has_answers.wait()
        await asyncio.sleep(_GATHER_S)
        self._has_answers.clear()
        done, self._done = self._done, []
        return self._reply(done)

    async def probe(
        self, member: str | None, requests: Sequence[Request]
    ) -> Reply[list[Mapping[str, float]]]:
        """Show what is predicted; see ``ProbedEngine.probe``."""
        return self._reply(await self._engine.probe(self._member(member), requests))

    async def _answer(self, question: Question) -> None:
        try:
            member = self._member(question.member)
            answers = await self._engine.generate(member, question.requests)
            self._done.append((question.number, answers))
        except Exception as error:  # noqa: BLE001 - raised where it was asked
            self._done.append((question.number, _told(error)))
        self._has_answers.set()

    def _member(self, member: str | None) -> Member | None:
        return None if member is None else self._members[member]

    def _reply(self, value: Value) -> Reply[Value]:
        return Reply(value, self._engine.num_restarts)


def _told(error: Exception) -> Exception:
    """Return an error that survives the way to the driver; libraries' may not."""
    if isinstance(error, LoraQDError) or type(error) is ValueError:
        return error
    reason = " ".join(str(error).split())[:300]
    return EngineError(
        f"expected the engine on a node to answer, but it failed: "
        f"{type(error).__name__}: {reason}; see Ray's log there"
    )
