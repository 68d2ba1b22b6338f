"""The seam between evaluation and generation."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from lora_qd.records import Completion, Member, Request, Swap


class Engine(Protocol):
    """Answers requests as the base model or as a member."""

    @property
    def num_restarts(self) -> int:
        """Servers that it had to start again so far; 0 for an engine without one."""
        ...

    async def add(self, member: Member) -> Swap:
        """Make ``member`` ready to answer; every ``add`` needs one ``remove``.

        Raises:
            EngineError: the adapter cannot be applied.
        """
        ...

    async def generate(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``.

        Args:
            member: who answers, added before; None is the bare base.
            requests: decoded greedily.

        Raises:
            ValueError: ``member`` was not added.
            EngineError: the engine failed.
            EngineLostError: it is gone for good.
        """
        ...

    async def remove(self, member: Member) -> None:
        """Undo one ``add``; the last one frees what ``member`` occupies.

        Raises:
            ValueError: ``member`` was not added.
        """
        ...


class ProbedEngine(Engine, Protocol):
    """An engine that shows what it predicts, not only what it writes."""

    async def probe(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Mapping[str, float]]:
        """Return, per request, the log-probabilities of the likeliest first tokens.

        Requests are answered one at a time, so that equal weights give equal numbers.
        """
        ...
