"""An engine somewhere in a Ray cluster, as the driver sees it."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from lora_qd.engines.ray_actor import Question, Reply
from lora_qd.engines.ray_nodes import Node
from lora_qd.errors import EngineError, EngineLostError, LoraQDError
from lora_qd.records import Completion, Member, Request, Swap

_CLOSE_S = 20.0
"""Patience with an actor that is to end; then Ray ends it."""


class RayEngine:
    """Passes calls on to an :class:`EngineActor`; a node that is gone is lost."""

    def __init__(self, actor: Any, node: Node) -> None:  # noqa: ANN401 - Ray's handle
        """Bind an actor that runs, or will, on ``node``."""
        self.node = node
        self.num_restarts = 0
        """How often its server was started again, as of the last answer."""
        self._actor = actor
        self._num_adds: Counter[str] = Counter()
        self._numbers = count()
        self._questions: list[Question] = []
        self._futures: dict[int, asyncio.Future[list[Completion]]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._lost: EngineLostError | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it is gone for good."""
        return self._lost is not None

    async def open(self, timeout_s: float) -> None:
        """Wait until the engine answers.

        Raises:
            EngineLostError: the node went away meanwhile.
            LoraQDError: the engine does not come up there, with the node's name.
        """
        try:
            await asyncio.wait_for(self._call("open"), timeout_s)
        except TimeoutError:
            raise EngineError(
                f"expected an engine on node {self.node} within {timeout_s:g} s, but "
                "Ray has not started it; free the node's accelerators, or raise "
                "engine.start_timeout_s"
            ) from None
        except EngineLostError:
            raise
        except LoraQDError as error:
            raise EngineError(f"node {self.node}: {error}") from error
        self._start(self._receive())

    async def close(self) -> None:
        """End the engine; one that is gone is gone."""
        import ray

        for job in self._jobs:
            job.cancel()
        if not self.is_lost:
            with suppress(LoraQDError, ValueError, TimeoutError):
                await asyncio.wait_for(self._call("close"), _CLOSE_S)
        with suppress(ray.exceptions.RayError, ValueError):
            ray.kill(self._actor)

    async def add(self, member: Member) -> Swap:
        """Send ``member`` to the node, which makes it ready; needs one ``remove``.

        Raises:
            EngineError: its adapter cannot be applied.
            EngineLostError: the node is gone.
        """
        swap: Swap = await self._ask("add", member)
        self._num_adds[member.id] += 1
        return swap

    async def remove(self, member: Member) -> None:
        """Undo one ``add``.

        Raises:
            ValueError: ``member`` was not added.
            EngineLostError: the node is gone.
        """
        self._require(member)
        self._num_adds -= Counter([member.id])
        await self._ask("remove", member.id)

    async def generate(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``.

        Raises:
            ValueError: ``member`` was not added.
            EngineError: the engine failed there.
            EngineLostError: the node is gone.
        """
        name = self._require(member)
        if self._lost is not None:
            raise self._lost
        number = next(self._numbers)
        future: asyncio.Future[list[Completion]]
        future = asyncio.get_running_loop().create_future()
        self._futures[number] = future
        if not self._questions:  # what is asked in this moment travels together
            self._start(self._send())
        self._questions.append(Question(number, name, tuple(requests)))
        try:
            return await future
        finally:
            self._futures.pop(number, None)

    async def probe(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Mapping[str, float]]:
        """Return, per request, the log-probabilities of the likeliest first tokens."""
        probes: list[Mapping[str, float]] = await self._ask(
            "probe", self._require(member), list(requests)
        )
        return probes

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside all else; without it, nobody who waits is answered."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever it is, tell who waits
                self._lost = self._lost or self._gone(error)
                for future in self._futures.values():
                    if not future.done():
                        future.set_exception(self._lost)

        job = asyncio.create_task(run())
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _send(self) -> None:
        questions, self._questions = self._questions, []
        await self._call("submit", questions)

    async def _receive(self) -> None:
        """Hand out answers for as long as the engine lives."""
        while True:
            for number, answer in await self._ask("answers"):
                if number not in self._futures or self._futures[number].done():
                    continue  # nobody waits any more
                if isinstance(answer, Exception):
                    self._futures[number].set_exception(answer)
                else:
                    self._futures[number].set_result(answer)

    def _told(self, cause: BaseException) -> BaseException:
        """Return what to raise here for an error of the engine there."""
        if isinstance(cause, LoraQDError | ValueError):
            return cause
        return EngineError(
            f"expected the engine on node {self.node} to answer, but it failed: "
            f"{type(cause).__name__}: {_line(cause)}; see Ray's log there"
        )

    def _require(self, member: Member | None) -> str | None:
        if member is not None and member.id not in self._num_adds:
            raise ValueError(
                f"expected a member that was added, but got {member.id!r}; add it first"
            )
        return None if member is None else member.id

    async def _ask(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - any
        reply: Reply[Any] = await self._call(method, *arguments)
        self.num_restarts = reply.num_restarts
        return reply.value

    async def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - any
        from ray.exceptions import RayError, RayTaskError

        try:
            return await getattr(self._actor, method).remote(*arguments)
        except RayTaskError as error:  # raised by the engine, and brought here
            raise self._told(error.cause) from None
        except RayError as error:
            self._lost = self._gone(error)
            raise self._lost from error

    def _gone(self, error: Exception) -> EngineLostError:
        return EngineLostError(
            f"expected node {self.node} to answer, but it is gone: {_line(error)}; "
            "bring it back, or go on without it: loraqd resume"
        )


def _line(error: object) -> str:
    """Return what an error says, as one line of bounded length."""
    return " ".join(str(error).split())[:300]
