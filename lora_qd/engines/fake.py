"""An engine without a model, for tests of everything above."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from lora_qd.errors import EngineError
from lora_qd.records import Completion, Member, Request, Swap

Answers = Mapping[str, str] | Callable[[Member | None, Request], str]
"""Texts by prompt (the last message), or a function of member and request."""


class FakeEngine:
    """Answers from a table, remembers what it was asked, raises on anything else.

    A word counts as a token.
    """

    num_restarts = 0

    def __init__(self, answers: Answers, *, shuffle: int | None = None) -> None:
        """Create an engine.

        Args:
            answers: what it says.
            shuffle: a seed; completions then arrive late and in another order.
        """
        self.requests: list[tuple[str | None, Request]] = []
        """Everything asked, in order: the member's id (None: the base), the request."""
        self.members: Counter[str] = Counter()
        """How often each id is added."""
        self.most_members = 0
        """The most members that it held at once."""
        self._answers = answers
        self._rng = None if shuffle is None else random.Random(shuffle)

    async def add(self, member: Member) -> Swap:
        """Hold ``member``."""
        await self._dawdle()
        self.members[member.id] += 1
        self.most_members = max(self.most_members, len(self.members))
        return Swap(0.0, 0.0)

    async def remove(self, member: Member) -> None:
        """Let go of ``member``."""
        self._require(member)
        self.members -= Counter([member.id])
        await self._dawdle()

    async def generate(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Completion]:
        """Return one completion per request, in the order of ``requests``."""
        return list(await asyncio.gather(*(self._answer(member, r) for r in requests)))

    async def probe(
        self, member: Member | None, requests: Sequence[Request]
    ) -> list[Mapping[str, float]]:
        """Predict the first word of each answer with certainty."""
        completions = await self.generate(member, requests)
        return [{(c.text.split() or [""])[0]: 0.0} for c in completions]

    async def _answer(self, member: Member | None, request: Request) -> Completion:
        if member is not None:
            self._require(member)
        self.requests.append((member.id if member else None, request))
        text = self._text(member, request)
        for stop in request.stop:
            text = text.split(stop)[0]
        await self._dawdle()
        words = text.split(" ") if text else []
        is_complete = len(words) < request.max_tokens
        words = words[: request.max_tokens]
        num_prompt_tokens = sum(len(m.content.split()) for m in request.messages)
        return Completion(" ".join(words), num_prompt_tokens, len(words), is_complete)

    def _text(self, member: Member | None, request: Request) -> str:
        if callable(self._answers):
            return self._answers(member, request)
        prompt = request.messages[-1].content
        if prompt not in self._answers:
            raise EngineError(
                f"expected one of {len(self._answers)} known prompts, but got "
                f"{prompt!r}; add it to the fake's answers"
            )
        return self._answers[prompt]

    def _require(self, member: Member) -> None:
        if member.id not in self.members:
            raise ValueError(
                f"expected a member that was added, but got {member.id!r}; add it first"
            )

    async def _dawdle(self) -> None:
        """Let others pass, a random number of times."""
        if self._rng is not None:
            for _ in range(self._rng.randrange(8)):
                await asyncio.sleep(0)
